//! How a turn of a sink ended.

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnOutcome {
    Delivered,
    /// No event, after the channel waited for one.
    Idle,
    /// No event, returned without a wait.
    IdleAtOnce,
    Failed,
}
