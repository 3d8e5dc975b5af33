//! The progress bar of a run on stderr; only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond::internal::base::quantity::Quantity;
use millpond_tools::torture::{RunLimit, TortureReport};

/// The bar of a run.
pub(super) struct TortureProgress {
    bar: ProgressBar,
    by_kills: bool,
}

impl TortureProgress {
    /// Returns an empty bar for a run within `limit`; hidden if stderr is not a terminal.
    pub(super) fn new(limit: RunLimit) -> Self {
        let by_kills = limit.kills.is_some();
        let steps = limit.kills.or_else(|| limit.time.map(|time| time.as_secs())).unwrap_or(0);
        // The style has no colours, so NO_COLOR needs no handling.
        let style = ProgressStyle::with_template("{bar:30} {msg}").ok();
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        if let Some(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, by_kills }
    }

    /// Returns a counter without an end.
    pub(super) fn counting() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {pos} events acknowledged") {
            bar.set_style(style);
        }
        Self { bar, by_kills: false }
    }

    /// Shows the count.
    pub(super) fn count(&self, events: u64) {
        self.bar.set_position(events);
    }

    /// Shows the progress of the run.
    pub(super) fn show(&self, report: &TortureReport) {
        let seconds = report.took().as_secs();
        self.bar.set_position(if self.by_kills { report.kills() } else { seconds });
        self.bar.set_message(format!(
            "{seconds} s, {}, {} acknowledged",
            Quantity(report.kills(), "kill"),
            Quantity(report.acknowledged(), "event")
        ));
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
