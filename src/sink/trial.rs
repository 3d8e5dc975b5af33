//! What tests of sinks stand on.

use crate::base::clock::ManualClock;
use crate::config::settings::{SettingError, Settings, SettingsReader};
use crate::flow::context::StopSignal;
use crate::flow::sink::{Sink, SinkContext, SinkType};
use std::sync::Arc;

pub(crate) use crate::flow::heard::logged;

/// A context with a clock that stands still.
pub(crate) fn context() -> SinkContext {
    context_with(Arc::default())
}

pub(crate) fn context_with(clock: Arc<ManualClock>) -> SinkContext {
    SinkContext {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        stop: StopSignal::new().1,
        clock,
        counters: Arc::default(),
        gives_up: false,
    }
}

/// The sink that `pairs` describe.
pub(crate) fn build(
    kind: &SinkType,
    pairs: &[(&str, &str)],
) -> Result<Box<dyn Sink>, SettingError> {
    let settings = Settings::from_pairs("k1", pairs);
    (kind.build)(&mut SettingsReader::new(&settings))
}
