//! Selectors: which channels of a source an event goes to.

use crate::event::Event;

/// Where one event goes, as places in the source's list of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Channels that must commit it; one that does not is an error of the source.
    pub required: &'a [usize],
    /// Channels that may fail: that is logged and counted.
    pub optional: &'a [usize],
}

/// Decides where events go.
pub trait Selector: Send + Sync {
    /// Where `event` goes.
    fn route(&self, event: &Event) -> Route<'_>;
}

/// Every event to every channel; those named `optional` may fail.
#[derive(Clone, Debug)]
pub struct Replicating {
    required: Vec<usize>,
    optional: Vec<usize>,
}

impl Replicating {
    /// Over `channels`, of which those that `optional` names may fail. Names in `optional` that
    /// are no channel of the source are answered: they have no effect.
    #[must_use]
    pub fn new(channels: &[String], optional: &[&str]) -> (Self, Vec<String>) {
        let (optional_places, required) =
            (0..channels.len()).partition(|&at| optional.contains(&channels[at].as_str()));
        let foreign = optional
            .iter()
            .filter(|name| !channels.iter().any(|channel| channel == **name))
            .map(|name| (*name).to_owned())
            .collect();
        (Self { required, optional: optional_places }, foreign)
    }
}

impl Selector for Replicating {
    fn route(&self, _event: &Event) -> Route<'_> {
        Route { required: &self.required, optional: &self.optional }
    }
}
