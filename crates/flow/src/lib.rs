//! What a source, sink or interceptor of millpond is written with: the traits, and the code that all of them share.
//!
//! A source or sink is a protocol and a loop. Transactions, batching by the channel's limits, back-off, counters,
//! retries, restart after a panic and the ordered stop are implemented here, once.

mod active_sinks;
pub mod backoff;
pub mod base;
pub mod channel_type;
pub mod client_error_log;
pub mod client_limits;
pub mod codes;
pub mod command_run;
pub mod context;
pub mod counted_channel;
pub mod date;
pub mod dead_letter;
pub mod escapes;
pub mod event_set;
pub mod external;
pub mod failure_log;
pub mod group_runner;
pub mod intake;
pub mod interceptor;
#[cfg(any(test, feature = "testing"))]
pub mod log_capture;
pub mod metrics;
mod named_channel;
pub mod net;
pub mod panic_guard;
pub mod pattern;
pub mod pending_channel;
mod pipelined_ack;
pub mod process;
pub mod processor;
pub mod reopenable_channel;
#[cfg(any(test, feature = "testing"))]
pub mod runtime_clock;
pub mod selector;
pub mod settings;
pub mod sink;
pub mod sink_runner;
mod sink_turn;
pub mod source;
pub mod source_offset;
pub mod source_runner;
pub mod stop_drain;
pub mod tap;
mod turn_outcome;
pub mod wire;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod tests;
