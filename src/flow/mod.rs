//! How events move: the traits of sources and sinks, and everything they share.
//!
//! A source or sink is a protocol and a loop. Transactions, batching by the channel's limits,
//! back-off, counters, retries, restart after a panic and the ordered stop live here, once.

pub mod awaited;
pub mod backoff;
pub mod client_error_log;
pub mod client_limits;
pub(crate) mod contain;
pub mod context;
pub mod counted;
mod deliverers;
pub mod drain;
mod earlier;
pub(crate) mod external;
pub mod group_runner;
#[cfg(test)]
pub(crate) mod heard;
pub mod intake;
pub mod interceptor;
pub mod marks;
pub(crate) mod process;
pub mod processor;
pub mod refused;
pub mod selector;
pub mod sink;
pub mod sink_runner;
mod sink_turn;
pub mod source;
pub mod source_runner;
pub mod spell;
pub mod standing;
pub mod tap;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod tests;
