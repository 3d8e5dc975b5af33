//! Settings that come from the mapping of a Java class to a command, next to a component's own.

use crate::settings::Settings;

/// The prefix of the options.
pub const PREFIX: &str = "millpond.external.";
/// The prefix of keys from the map among a component's settings.
pub const OWN: &str = "millpond.external/";

/// Returns true if a key of a component's settings comes from the map.
#[must_use]
pub fn is_own(key: &str) -> bool {
    key.starts_with(OWN)
}

/// Returns the map's settings of the component with these `settings`; `None` if it is not mapped.
#[must_use]
pub fn own_settings(settings: &Settings) -> Option<Settings> {
    let class = settings.entries.get(&format!("{OWN}class"))?.value.clone();
    let mut own = settings.subset(OWN);
    own.entries.remove("class");
    own.prefix = format!("{PREFIX}{class}");
    Some(own)
}
