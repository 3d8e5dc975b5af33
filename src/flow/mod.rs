//! How events move: the traits of sources and sinks, and everything they share.
//!
//! A source or sink is a protocol and a loop. Transactions, batching by the channel's limits,
//! back-off, counters, retries, restart after a panic and the ordered stop live here, once.

pub mod backoff;
mod contain;
pub mod context;
pub mod counted;
pub mod intake;
pub mod interceptor;
pub mod selector;
pub mod sink;
pub mod sink_runner;
pub mod source;
pub mod source_runner;
pub mod standing;

#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;
