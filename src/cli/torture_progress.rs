//! A bar on stderr while a run goes on. Only where somebody looks: not into a file or a pipe.

use crate::base::quantity::Quantity;
use crate::torture::{Limit, Report};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of a run.
pub(super) struct Progress {
    bar: ProgressBar,
    by_kills: bool,
}

impl Progress {
    /// An empty bar for a run within `limit`; hidden when stderr is no terminal.
    pub(super) fn new(limit: Limit) -> Self {
        let by_kills = limit.kills.is_some();
        let steps = limit.kills.or_else(|| limit.time.map(|time| time.as_secs())).unwrap_or(0);
        // The style has no colours, so there is nothing that NO_COLOR would have to take away.
        let style = ProgressStyle::with_template("{bar:30} {msg}").ok();
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        if let Some(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, by_kills }
    }

    /// A count without an end.
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

    /// Shows how far the run is.
    pub(super) fn show(&self, report: &Report) {
        let seconds = report.took().as_secs();
        self.bar.set_position(if self.by_kills { report.kills() } else { seconds });
        self.bar.set_message(format!(
            "{seconds} s, {}, {} acknowledged",
            Quantity(report.kills(), "kill"),
            Quantity(report.acknowledged(), "event")
        ));
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
