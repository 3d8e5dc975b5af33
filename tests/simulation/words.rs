//! Shows what the channel says, for a run that is looked at.

use std::fmt::{Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

struct Words;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A string takes what is written to it.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Words {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        eprintln!("    {}{}", event.metadata().level(), line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Shows them from now on.
pub(crate) fn show() {
    // A second call changes nothing.
    let _ = tracing::subscriber::set_global_default(Words);
}
