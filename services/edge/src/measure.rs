//! What the edge counts: webhooks by outcome, and the time that each took. Handles are made once; a request costs two
//! additions.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::answer::Answer;

/// Upper bounds in seconds: an event that is known takes a millisecond, one whose database is slow up to 8 s.
const BUCKETS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0];

type Labels = [(&'static str, &'static str); 1];

/// The edge's counters. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Measures {
    /// At the places of [`Answer::ALL`].
    answers: Vec<(Counter, Histogram)>,
    shed: Counter,
    by_outcome: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Measures {
    fn default() -> Self {
        let by_outcome = Family::<Labels, Counter>::default();
        let durations = Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS_S)
        });
        let handles = |answer: Answer| {
            let labels = [("outcome", answer.name())];
            (by_outcome.get_or_create_owned(&labels), durations.get_or_create_owned(&labels))
        };
        let answers = Answer::ALL.map(handles).to_vec();
        let shed = by_outcome.get_or_create_owned(&[("outcome", "overloaded")]);
        Self { answers, shed, by_outcome, durations }
    }
}

impl Measures {
    /// Puts the counters where they are read.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Webhooks received, by outcome";
        registry.register("webhooks", help, self.by_outcome.clone());
        let help =
            "Time from a webhook's headers to its answer, by outcome; those refused as overload are left out";
        registry.register_with_unit("webhook_duration", help, Unit::Seconds, self.durations.clone());
    }

    pub(crate) fn answered(&self, answer: Answer, took: Duration) {
        let place = Answer::ALL.iter().position(|known| *known == answer);
        if let Some((count, durations)) = place.and_then(|place| self.answers.get(place)) {
            count.inc();
            durations.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn shed(&self) {
        self.shed.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_series_from_the_start_and_counts_by_itself() {
        let measures = Measures::default();
        measures.answered(Answer::Committed, Duration::from_millis(3));
        measures.shed();
        let mut registry = Registry::default();
        measures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"webhooks_total{outcome="committed"} 1"#,
            r#"webhooks_total{outcome="overloaded"} 1"#,
            r#"webhooks_total{outcome="invalid"} 0"#,
            r#"webhook_duration_seconds_count{outcome="committed"} 1"#,
            r#"webhook_duration_seconds_bucket{le="0.005",outcome="committed"} 1"#,
            r#"webhook_duration_seconds_bucket{le="0.0025",outcome="committed"} 0"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
