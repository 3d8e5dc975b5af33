//! Test support for sinks.

use millpond::ManualClock;
use millpond_flow::context::StopSignal;
use millpond_flow::settings::{SettingError, Settings, SettingsReader};
use millpond_flow::sink::{Sink, SinkContext, SinkType};
use std::sync::Arc;

pub(crate) use millpond_flow::log_capture::captured_log;

/// Returns a context whose clock does not advance.
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

/// Builds the sink that `pairs` describe.
pub(crate) fn build(
    kind: &SinkType,
    pairs: &[(&str, &str)],
) -> Result<Box<dyn Sink>, SettingError> {
    let settings = Settings::from_pairs("k1", pairs);
    (kind.build)(&mut SettingsReader::new(&settings))
}
