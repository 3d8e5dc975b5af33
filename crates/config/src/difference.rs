//! One intended difference from Flume.

use super::agent::ComponentConfig;
use super::types::ComponentKind;

/// One difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The kind of component.
    pub part: ComponentKind,
    /// The types that it applies to, each by its first name.
    pub types: &'static [&'static str],
    /// The keys that it is about; empty if it is about the type as a whole.
    pub keys: &'static [&'static str],
    /// The key that has to be set for it to apply; empty if it always applies.
    pub with: &'static str,
    /// Values of that key for which it applies, ignoring case; empty for any value.
    pub says: &'static [&'static str],
    /// The description.
    pub what: &'static str,
}

/// Returns a difference that applies to every component of its types.
pub(crate) const fn always(
    part: ComponentKind,
    types: &'static [&'static str],
    keys: &'static [&'static str],
    what: &'static str,
) -> Difference {
    Difference { part, types, keys, with: "", says: &[], what }
}

/// Returns a difference that applies only if the key `with` is set.
pub(crate) const fn with(
    with: &'static str,
    part: ComponentKind,
    types: &'static [&'static str],
    keys: &'static [&'static str],
    what: &'static str,
) -> Difference {
    Difference { part, types, keys, with, says: &[], what }
}

impl Difference {
    /// Applies only if its key has one of these values.
    pub(crate) const fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    pub(crate) fn matters(&self, component: &ComponentConfig) -> bool {
        let says = |value: &str| {
            self.says.is_empty() || self.says.iter().any(|word| word.eq_ignore_ascii_case(value))
        };
        let set = |key| component.settings.entries.get(key);
        self.with.is_empty() || set(self.with).is_some_and(|setting| says(&setting.value))
    }
}
