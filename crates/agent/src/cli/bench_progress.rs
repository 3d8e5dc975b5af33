//! The progress bar of `bench` on stderr; only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond_tools::bench::BenchStage;

/// The bar.
pub(super) struct BenchProgress(ProgressBar);

impl BenchProgress {
    /// Returns an empty bar; hidden if stderr is not a terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The style has no colours, so NO_COLOR needs no handling.
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {elapsed} of about {duration}  {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// Shows the progress.
    pub(super) fn show(&self, stage: &BenchStage) {
        self.0.set_length(stage.steps);
        self.0.set_position(stage.done);
        self.0.set_message(stage.what.clone());
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
