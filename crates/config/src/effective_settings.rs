//! Every setting of an agent with its effective value and origin.

use super::agent::{AgentConfig, ChannelConfig, ComponentConfig};
use super::catalogue::Catalogue;
use super::file::KeyTable;
use super::types::ComponentKind;
use millpond_flow::net::endpoint;
use millpond_flow::settings::{Key, KeyKind, SettingPlace, secret, split_comment};
use std::collections::BTreeSet;
use std::fmt;

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A line of a file, or the command line.
    Written(SettingPlace),
    /// The default: the key is not set.
    Default,
    /// Written, but for a component that is left out, so without effect.
    LeftOut(SettingPlace),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(place) if place.line > 0 => place.fmt(f),
            Self::Written(_) => write!(f, "command line"),
            Self::Default => write!(f, "default"),
            Self::LeftOut(place) => write!(f, "{}; left out", Self::Written(place.clone())),
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The full key, `a1.sources.r1.port`.
    pub key: String,
    /// The effective value; [`secret::MASK`] for a secret.
    pub value: String,
    /// Its origin.
    pub origin: SettingOrigin,
}

impl fmt::Display for EffectiveSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  ({})", self.key, self.value, self.origin)
    }
}

/// Returns every setting of `agent`: the written ones, and the defaults of the others. Unknown keys are reported
/// as findings, not here.
#[must_use]
pub fn effective(agent: &AgentConfig, catalogue: &Catalogue) -> Vec<EffectiveSetting> {
    let mut all = Vec::new();
    for source in &agent.sources {
        component(ComponentKind::Source, &source.component, catalogue, &mut all);
        component(ComponentKind::Selector, &source.selector, catalogue, &mut all);
        for interceptor in &source.interceptors {
            component(ComponentKind::Interceptor, interceptor, catalogue, &mut all);
        }
    }
    for channel in &agent.channels {
        component(ComponentKind::Channel, &channel.component, catalogue, &mut all);
        directories(channel, &mut all);
    }
    for sink in &agent.sinks {
        component(ComponentKind::Sink, &sink.component, catalogue, &mut all);
    }
    for group in &agent.sink_groups {
        component(ComponentKind::SinkProcessor, &group.processor, catalogue, &mut all);
    }
    all.extend(agent.alarms.entries.iter().map(|(name, setting)| {
        let key = format!("{}.{name}", agent.alarms.prefix);
        let value = shown(&key, name, &setting.value);
        EffectiveSetting { key, value, origin: SettingOrigin::Written(setting.place.clone()) }
    }));
    all
}

/// Returns the written settings of components without an entry in `all`: those that are left out, or all of an
/// agent that cannot run.
pub(super) fn left_out(
    written: KeyTable,
    agent: &str,
    all: &[EffectiveSetting],
) -> Vec<EffectiveSetting> {
    let component = |key: &str| key.splitn(4, '.').take(3).map(str::len).sum::<usize>() + 3;
    let there: BTreeSet<&str> =
        all.iter().filter_map(|it| it.key.get(..component(&it.key))).collect();
    let left_out = written.entries.into_iter().filter_map(|(key, setting)| {
        let mut parts = key.splitn(4, '.');
        let (owner, section, name) = (parts.next()?, parts.next()?, parts.nth(1)?);
        let is_left_out = owner == agent
            && ["sources", "channels", "sinks", "sinkgroups"].contains(&section)
            && !there.contains(key.get(..component(&key))?);
        let value = is_left_out.then(|| shown(&key, name, &setting.value))?;
        Some(EffectiveSetting { value, origin: SettingOrigin::LeftOut(setting.place), key })
    });
    left_out.collect()
}

fn component(
    part: ComponentKind,
    component: &ComponentConfig,
    catalogue: &Catalogue,
    all: &mut Vec<EffectiveSetting>,
) {
    let prefix = &component.settings.prefix;
    let keys = catalogue.find(part, component.type_name).map_or(&[][..], |entry| entry.keys);
    let known = |name: &str| {
        keys.iter().find(|key| match key.name.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => key.name == name,
        })
    };
    for (name, setting) in &component.settings.entries {
        // These are components of their own, and shown as such.
        let is_own = ["selector.", "interceptors.", "processor."];
        if part == ComponentKind::Source && is_own.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        let key = format!("{prefix}.{name}");
        let value = taken(&setting.value, known(name));
        let value = shown(&key, name, value);
        all.push(EffectiveSetting {
            key,
            value,
            origin: SettingOrigin::Written(setting.place.clone()),
        });
    }
    let unset = keys.iter().filter(|key| {
        !key.default.is_empty() && !component.settings.entries.contains_key(key.name)
    });
    all.extend(unset.map(|key| EffectiveSetting {
        key: format!("{prefix}.{}", key.name),
        value: key.default.to_owned(),
        origin: SettingOrigin::Default,
    }));
}

/// Returns the value of `key`, whose last part is `name`, as it may be shown: without secrets, including those
/// within a URL or after a program name.
#[must_use]
pub fn shown(key: &str, name: &str, value: &str) -> String {
    let value = secret::shown(key, value);
    if name == "command" {
        return program(value);
    }
    // A list is checked item by item.
    let one = |word: &str| {
        if word.contains("://") { endpoint::shown(word) } else { word.to_owned() }
    };
    if value.contains("://") {
        value.split_inclusive([' ', ',']).map(one).collect()
    } else {
        value.to_owned()
    }
}

/// Returns the program of a command: its arguments may be secret, and a shell command may begin with variables.
pub(super) fn program(command: &str) -> String {
    let mut words = command.split_whitespace();
    let first = words.next().filter(|word| !word.contains(['=', '"', '\'', '$', ';', '|', '&']));
    let more = words.next().is_some();
    match first {
        Some(program) if more => format!("{program} …"),
        Some(program) => program.to_owned(),
        None => "…".to_owned(),
    }
}

/// Removes a trailing comment from a value whose kind cannot contain one.
fn taken<'a>(value: &'a str, key: Option<&Key>) -> &'a str {
    match key.map(|key| key.kind) {
        None | Some(KeyKind::Text | KeyKind::Path) => value,
        Some(_) => split_comment(value).map_or(value, |(before, _)| before),
    }
}

/// Adds the default directories of a file channel that does not name them.
fn directories(channel: &ChannelConfig, all: &mut Vec<EffectiveSetting>) {
    let Some(file) = channel.kind.files() else { return };
    let settings = &channel.component.settings;
    let data: Vec<_> = file.data_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let chosen = [
        ("checkpointDir", file.checkpoint_dir.display().to_string()),
        ("dataDirs", data.join(",")),
    ];
    for (name, value) in chosen {
        let key = format!("{}.{name}", settings.prefix);
        if settings.entries.contains_key(name) {
            continue;
        }
        all.retain(|setting| setting.key != key);
        all.push(EffectiveSetting { key, value, origin: SettingOrigin::Default });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_or_a_command_is_not_shown() {
        for (name, value, wanted) in [
            ("endpoint", "https://me:pw@h/a?token=t", "https://…@h/a?token=…"),
            ("hosts", "http://me:pw@h/,http://i/", "http://…@h/,http://i/"),
            ("endpoint", "h:80", "h:80"),
            ("command", "curl -H token:t http://h/", "curl …"),
            ("command", "/usr/bin/top", "/usr/bin/top"),
            ("command", "TOKEN=t curl", "…"),
            ("password", "x", "***"),
        ] {
            assert_eq!(shown(&format!("a.sinks.k.{name}"), name, value), wanted, "{name}");
        }
    }
}
