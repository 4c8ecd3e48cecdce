//! The lines of `--log-format json`: one object, its fields at the top level beside those of the request that it is about
//! (`rpc`, `principal`, `trace_id`), as collectors look for them.
//!
//! Names of the trace: <https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/>

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Written first in each line; fields of these names are left out.
const HEAD: [&str; 3] = ["timestamp", "level", "target"];

/// Formats an event.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let text = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(more)) = serde_json::from_str(text) {
                fields.extend(more);
            }
        }
        event.record(&mut Fields(&mut fields));
        writer.write_str(r#"{"timestamp":""#)?;
        SystemTime.format_time(&mut writer)?;
        let (level, target) = (event.metadata().level(), Value::from(event.metadata().target()));
        write!(writer, r#"","level":"{level}","target":{target}"#)?;
        for (name, value) in fields.iter().filter(|(name, _)| !HEAD.contains(&name.as_str())) {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writer.write_str("}\n")
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_own_fields_and_those_of_its_request_at_the_top() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("rpc", rpc = "SpendCredits", trace_id = tracing::field::Empty);
            span.record("trace_id", "4bf9");
            span.in_scope(|| tracing::info!(version = 3, level = "x", "say \"hi\"\n"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["rpc"], "SpendCredits");
        assert_eq!(line["trace_id"], "4bf9");
        assert_eq!(line["version"], 3);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "say \"hi\"\n");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
}
