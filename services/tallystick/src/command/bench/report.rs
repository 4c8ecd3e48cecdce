//! What a run has shown, for people and for programs. The names of the fields are stable; docs/bench.md explains them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::drive::Measured;
use super::latency::{Summary, micros, tenths};
use super::load::{Load, Mode};
use crate::error::Error;
use crate::output;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    bench: &'static str,
    #[serde(rename = "loop")]
    mode: &'static str,
    connections: usize,
    in_flight: Option<usize>,
    rate: Option<u64>,
    max_outstanding: Option<usize>,
    accounts: u64,
    seed: u64,
    run: String,
    warm_up_s: f64,
    duration_s: f64,
    completed: u64,
    per_second: f64,
    latency_us: Option<Summary>,
    refused: Refused,
    unsent: u64,
    send_delay_us: Option<Summary>,
    generator_cpu_us_per_call: Option<f64>,
    generator_threads: usize,
    per_second_series: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Refused {
    count: u64,
    per_second: f64,
    by_reason: BTreeMap<String, u64>,
    latency_us: Option<Summary>,
}

impl Report {
    /// Of a run of `bench` over this many connections and accounts.
    pub(super) fn new(
        bench: &'static str,
        load: &Load,
        connections: usize,
        accounts: u64,
        measured: Measured,
    ) -> Self {
        let Measured { tally, length, cpu, threads } = measured;
        let refused_count = tally.refused_count();
        let (mode, in_flight, rate, max_outstanding) = match load.mode {
            Mode::Closed { in_flight } => ("closed", Some(in_flight), None, None),
            Mode::Open { rate, max_outstanding } => ("open", None, Some(rate), Some(max_outstanding)),
        };
        let ended = tally.completed + refused_count;
        // Every second that was measured has a number, also one without an answer.
        let mut series = tally.series;
        series.resize(usize::try_from(length.as_millis().div_ceil(1000)).unwrap_or(series.len()), 0);
        Self {
            bench,
            mode,
            connections,
            in_flight,
            rate,
            max_outstanding,
            accounts,
            seed: load.seed,
            run: load.run.clone(),
            warm_up_s: load.warm_up.as_secs_f64(),
            duration_s: (length.as_secs_f64() * 1000.0).round() / 1000.0,
            completed: tally.completed,
            per_second: per_second(tally.completed, length),
            latency_us: tally.latency.summary(),
            refused: Refused {
                count: refused_count,
                per_second: per_second(refused_count, length),
                by_reason: tally.refused,
                latency_us: tally.refused_latency.summary(),
            },
            unsent: tally.unsent,
            send_delay_us: rate.and_then(|_| tally.send_delay.summary()),
            generator_cpu_us_per_call: cpu.and_then(|cpu| each(micros(cpu), ended)),
            generator_threads: threads,
            per_second_series: series,
        }
    }

    /// Writes it, with what a bench of its own kind adds.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Bench`] when no call was answered OK.
    pub(super) fn tell<T: Serialize>(&self, more: Option<(&T, String)>, json: bool) -> Result<(), Error> {
        let (more, text) = more.map_or((None, String::new()), |(more, text)| (Some(more), text));
        if json {
            let whole = Whole { report: self, more };
            let line = serde_json::to_string(&whole).map_err(std::io::Error::from);
            output::line(&line.map_err(Error::io("write the result as JSON"))?)?;
        } else {
            output::line(&format!("{}{text}", self.text()))?;
        }
        if self.completed > 0 {
            return Ok(());
        }
        if self.per_second_series.is_empty() {
            return Err(Error::bench("stopped during the warm-up: nothing was measured".to_owned()));
        }
        let most = self.refused.by_reason.iter().max_by_key(|(_, count)| **count);
        let why = most.map_or_else(|| "none ended".to_owned(), |(reason, _)| format!("most often {reason}"));
        Err(Error::Bench {
            problem: format!("no call was answered OK within the measured time: {why}"),
            hint: most.and_then(|(reason, _)| hint(reason)),
        })
    }

    fn text(&self) -> String {
        let how = match (self.in_flight, self.rate) {
            (_, Some(rate)) => format!("open loop, {rate} calls a second"),
            (in_flight, None) => format!("closed loop, {} calls in flight", in_flight.unwrap_or(0)),
        };
        let mut lines = vec![
            format!(
                "bench {}: {how}, {} connections, {} accounts, seed {}",
                self.bench, self.connections, self.accounts, self.seed
            ),
            format!(
                "{:<12} {:>12}   {:.1} a second over {} s",
                "completed", self.completed, self.per_second, self.duration_s
            ),
            row_of("latency", self.latency_us.as_ref()),
            format!("{:<12} {:>12}   {:.1} a second", "refused", self.refused.count, self.refused.per_second),
        ];
        if self.refused.count > 0 {
            lines.extend(self.refused.by_reason.iter().map(|(reason, count)| format!("  {reason} {count}")));
            lines.push(row_of("  latency", self.refused.latency_us.as_ref()));
        }
        if self.rate.is_some() {
            lines.push(format!("{:<12} {:>12}", "unsent", self.unsent));
            lines.push(row_of("send delay", self.send_delay_us.as_ref()));
        }
        if let Some(cpu) = self.generator_cpu_us_per_call {
            lines.push(format!(
                "{:<12} {cpu:>9} µs   of CPU a call, {} threads",
                "generator", self.generator_threads
            ));
        }
        lines.join("\n")
    }
}

/// What to do about refusals that no load explains.
fn hint(reason: &str) -> Option<&'static str> {
    match reason {
        "CONNECT" => Some("nothing takes connections there: --url tells where the events go"),
        "HTTP_400" => {
            Some("is it the receiver's signing secret? --webhook-secret-file or --webhook-secret give it")
        }
        "HTTP_404" => Some("the URL needs the path, too: --url http://HOST:PORT/api/v1/webhooks/stripe"),
        "FAILED_PRECONDITION/INSUFFICIENT_CREDITS" => {
            Some("without --skip-funding the accounts are given credits")
        }
        _ => None,
    }
}

/// The report with what a bench of its own kind adds, as one object.
#[derive(Serialize)]
struct Whole<'a, T> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    more: Option<&'a T>,
}

/// A row of the table: quantiles in milliseconds.
pub(super) fn row_of(name: &str, summary: Option<&Summary>) -> String {
    let Some(of) = summary else { return format!("{name:<12} {:>12}", "none") };
    let ms = |micros: u64| format!("{}.{:03}", micros / 1000, micros % 1000);
    format!(
        "{name:<12} {:>9} ms p50   {} ms p90   {} ms p99   {} ms p99.9   {} ms max",
        ms(of.p50),
        ms(of.p90),
        ms(of.p99),
        ms(of.p999),
        ms(of.max)
    )
}

/// To one decimal; 0 when nothing was measured.
#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
pub(super) fn per_second(count: u64, length: Duration) -> f64 {
    if length.is_zero() { 0.0 } else { tenths(count as f64 / length.as_secs_f64()) }
}

/// A share of a sum for each of a count, to one decimal.
#[expect(clippy::cast_precision_loss, reason = "counts and microseconds of CPU are far below 2^52")]
fn each(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| tenths(sum as f64 / count as f64))
}
