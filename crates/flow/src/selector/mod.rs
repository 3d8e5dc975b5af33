//! Selectors, which choose the channels of a source that an event goes to.
//!
//! A new selector is one file and one line in [`TYPES`].

mod load_balancing;
mod multiplexing;
mod replicating;
mod selector_type;

pub use replicating::Replicating;
pub use selector_type::{BuildSelector, EventRoute, Selector, SelectorType};

/// Every type of selector.
pub const TYPES: &[&SelectorType] =
    &[&replicating::TYPE, &multiplexing::TYPE, &load_balancing::TYPE];

#[cfg(test)]
fn built(
    kind: &SelectorType,
    pairs: &[(&str, &str)],
    channels: &[&str],
) -> Result<Box<dyn Selector>, String> {
    let settings = crate::settings::Settings::from_pairs("selector", pairs);
    let channels: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
    (kind.build)(&mut crate::settings::SettingsReader::new(&settings), &channels)
        .map_err(|error| error.to_string())
}
