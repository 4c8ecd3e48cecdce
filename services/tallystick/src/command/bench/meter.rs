//! The progress bar of a run: on a terminal only, moved a few times a second, never by a call.

use std::io;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::latency::micros;
use crate::error::Error;

/// How far a run is.
#[derive(Debug)]
pub(super) struct Meter {
    bar: ProgressBar,
    started: Instant,
}

impl Meter {
    /// For a run that takes this long, warm-up included.
    ///
    /// # Errors
    /// [`Error::Io`] when the bar cannot be drawn, which its constants rule out.
    pub(super) fn try_new(length: Duration) -> Result<Self, Error> {
        let bar = ProgressBar::new(micros(length)).with_style(style("{bar:32} {elapsed} {msg}")?);
        Ok(Self { bar, started: Instant::now() })
    }

    /// One that nobody sees.
    #[cfg(test)]
    pub(super) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), started: Instant::now() }
    }

    /// Shows how many calls have ended.
    pub(super) fn show(&self, calls: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_position(micros(self.started.elapsed()));
            self.bar.set_message(format!("{calls} calls"));
        }
    }

    /// Takes it away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar's style.
///
/// # Errors
/// [`Error::Io`] for a template that is none.
pub(super) fn style(template: &str) -> Result<ProgressStyle, Error> {
    let style = ProgressStyle::with_template(template);
    style.map_err(|error| io::Error::other(error.to_string())).map_err(Error::io("draw the progress bar"))
}
