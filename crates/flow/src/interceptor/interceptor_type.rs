//! What an interceptor is.

use crate::settings::{Key, SettingError, SettingsReader};
use millpond::{BoxFuture, Clock, Event, FaultCause};

/// A type of interceptor: its names, its keys and its constructor. Each type declares one constant.
pub struct InterceptorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings.
    pub build: fn(&mut SettingsReader<'_>) -> Result<Box<dyn Interceptor>, SettingError>,
}

/// The outcome for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// It goes on.
    Keep,
    /// It is dropped, as configured.
    Drop,
    /// It is dropped, because its pattern could not be matched.
    DropUnmatched,
}

/// An interceptor. Batches pass it concurrently.
pub trait Interceptor: Send + Sync {
    /// Handles one event, and may change it. `clock` provides the time of day.
    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate;

    /// Returns true if it may take long for an event, so that it must not run on threads that serve connections.
    fn is_heavy(&self) -> bool {
        false
    }

    /// Returns the handler of whole batches, for an interceptor that calls an external process.
    fn outside(&self) -> Option<&dyn BatchInterceptor> {
        None
    }
}

/// An interceptor that passes whole batches to an external process. Several batches may wait for it at once.
pub trait BatchInterceptor: Send + Sync {
    /// Returns what becomes of `events`; their number may change.
    ///
    /// # Errors
    /// There is no valid reply, and nothing of the batch goes on. It may be tried again.
    fn pass(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, FaultCause>>;

    /// Stops the external process.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
