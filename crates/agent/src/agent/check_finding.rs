//! A finding about a component, and a value of its settings.

use millpond_config::agent::ComponentConfig;
use millpond_flow::settings::{ConfigFinding, SettingPlace, Severity, split_comment};

/// Returns the value without the comment that may follow it.
pub(super) fn value<'a>(component: &'a ComponentConfig, key: &str) -> Option<&'a str> {
    let value = component.settings.entries.get(key)?.value.as_str();
    Some(split_comment(value).map_or(value, |(before, _)| before))
}

pub(super) fn finding(
    severity: Severity,
    component: &ComponentConfig,
    key: &str,
    message: impl Into<String>,
) -> ConfigFinding {
    let set = component.settings.entries.get(key);
    let place: &SettingPlace = set.map_or(&component.place, |setting| &setting.place);
    let key = format!("{}.{key}", component.settings.prefix);
    ConfigFinding { severity, place: place.clone(), key, message: message.into() }
}
