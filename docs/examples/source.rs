//! `heartbeat`: says every so often that it is there.

use crate::source::commit_retry;
use millpond::{BoxFuture, Event};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::time::Duration;

/// The type `heartbeat`.
pub const TYPE: SourceType = SourceType { names: &["heartbeat"], keys: KEYS, build };

const KEYS: &[Key] = &[Key {
    name: "every",
    kind: KeyKind::Number,
    default: "1000",
    meaning: "Milliseconds from one event to the next.",
}];

struct Heartbeat {
    every: Duration,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let every = reader.millis("every", 1..=86_400_000)?.unwrap_or(Duration::from_secs(1));
    Ok(Box::new(Heartbeat { every }))
}

impl Source for Heartbeat {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            context.started();
            while !context.stop.fired() {
                let event = Event::new(format!("{} is here", context.name));
                // Tries again while the channel is full, until the agent stops.
                commit_retry::commit(context, vec![event]).await;
                // A pause that the stop ends.
                let _ = tokio::time::timeout(self.every, context.stop.wait()).await;
            }
            Ok(())
        })
    }
}
