//! Sink processors, which choose the sink of a group that delivers next.
//!
//! A group adds an alternative destination, not parallelism: its sinks run one at a time. A new processor is one
//! file and one line in [`TYPES`].

mod failover;
mod load_balance;
mod processor_type;

pub use processor_type::{BuildProcessor, Processor, ProcessorType};
use std::time::Duration;

/// Every type of sink processor.
pub const TYPES: &[&ProcessorType] = &[&ALONE, &failover::TYPE, &load_balance::TYPE];

/// The type `default`: a single sink.
const ALONE: ProcessorType = ProcessorType {
    names: &["default", "org.apache.flume.sink.DefaultSinkProcessor"],
    keys: &[],
    build: |_, sinks| Ok(Box::new(SingleSink(sinks.len()))),
};

struct SingleSink(usize);

impl Processor for SingleSink {
    fn order(&mut self, _: Duration, _: &dyn Fn(usize) -> bool) -> Vec<usize> {
        (0..self.0).collect()
    }

    fn delivered(&mut self, _: usize) {}

    fn failed(&mut self, _: usize, _: Duration) {}
}

#[cfg(test)]
fn built(
    kind: &ProcessorType,
    pairs: &[(&str, &str)],
    sinks: &[&str],
) -> (Result<Box<dyn Processor>, String>, Vec<String>) {
    let settings = crate::settings::Settings::from_pairs("processor", pairs);
    let sinks: Vec<String> = sinks.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = crate::settings::SettingsReader::new(&settings);
    let built = (kind.build)(&mut reader, &sinks).map_err(|error| error.to_string());
    (built, reader.into_findings().iter().map(ToString::to_string).collect())
}
