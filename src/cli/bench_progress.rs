//! A bar on stderr while it measures. Only where somebody looks: not into a file or a pipe.

use crate::bench::Stage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// An empty bar; hidden when stderr is no terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The style has no colours, so there is nothing that NO_COLOR would have to take away.
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {elapsed} of about {duration}  {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// Shows how far it is.
    pub(super) fn show(&self, stage: &Stage) {
        self.0.set_length(stage.steps);
        self.0.set_position(stage.done);
        self.0.set_message(stage.what.clone());
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
