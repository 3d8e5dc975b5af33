//! Finds the type of one component and checks its keys.

use super::agent::ComponentConfig;
use super::catalogue::{Catalogue, TypeEntry};
use super::effective_settings;
use super::findings::ConfigFindings;
use super::types::{self, ComponentKind, TypeStatus};
use millpond_flow::settings::secret::{MASK, is_secret};
use millpond_flow::settings::{
    ConfigSetting, Key, KeyKind, SettingPlace, Settings, Severity, dead_letter, flume_names,
    joined, split_comment, utf8_read_as_latin1,
};

/// The finding about a removed trailing comment.
const COMMENT: &str =
    "a comment after a value belongs to the value in a .properties file; give it a line of its own";

const fn key(name: &'static str, kind: KeyKind) -> Key {
    Key { name, kind, default: "", meaning: "" }
}

const SOURCE_KEYS: &[Key] = &[
    key("type", KeyKind::Word),
    key("config", KeyKind::Text),
    key("channels", KeyKind::Names),
    key("selector.*", KeyKind::Word),
    key("interceptors", KeyKind::Names),
    key("interceptors.*", KeyKind::Word),
    key("backoffSleepIncrement", KeyKind::Number),
    key("maxBackoffSleep", KeyKind::Number),
];
const SINK_KEYS: &[Key] = &joined::<7>(&[
    &[key("type", KeyKind::Word), key("config", KeyKind::Text), key("channel", KeyKind::Names)],
    &dead_letter::KEYS,
]);
const TYPE_KEYS: &[Key] = &[key("type", KeyKind::Word), key("config", KeyKind::Text)];

fn shared_keys(part: ComponentKind) -> &'static [Key] {
    match part {
        ComponentKind::Source => SOURCE_KEYS,
        ComponentKind::Sink => SINK_KEYS,
        ComponentKind::Channel
        | ComponentKind::Selector
        | ComponentKind::Interceptor
        | ComponentKind::SinkProcessor => TYPE_KEYS,
    }
}

/// Why a component cannot be built.
pub(super) enum UnavailableType {
    /// Flume would leave it out too.
    LeftOut,
    /// The agent does not run; the other components are checked nevertheless.
    Stops,
}

/// Finds the type of a component and checks its keys. `default` is the type if none is named, `listed` the place
/// that lists it. Errors become findings.
pub(super) fn component(
    catalogue: &Catalogue,
    part: ComponentKind,
    mut settings: Settings,
    default: Option<&'static str>,
    listed: &SettingPlace,
    findings: &mut ConfigFindings,
) -> Result<ComponentConfig, UnavailableType> {
    let whole = |key: &str| format!("{}.{key}", settings.prefix);
    let mut from_map = Vec::new();
    let (entry, place) = match (settings.entries.get("type").cloned(), default) {
        (Some(setting), _) => {
            let text = named_type(&whole("type"), &setting, findings);
            let entry = match catalogue.mapped_command(part, &text) {
                Some((entry, own)) => {
                    let command = own.first().map_or("", |(_, command)| &command.value);
                    let message = format!(
                        "a process replaces {text}: {}",
                        effective_settings::program(command)
                    );
                    findings.note(&setting.place, &whole("type"), message);
                    from_map = own;
                    entry
                }
                None => available(catalogue, part, &text, &whole("type"), &setting, findings)?,
            };
            settings
                .entries
                .insert("type".to_owned(), ConfigSetting { value: text, ..setting.clone() });
            (entry, setting.place)
        }
        (None, Some(name)) => {
            let Some(entry) = catalogue.find(part, name) else {
                let message = format!("the {} {name} is not available here", part.word());
                findings.stop(listed, &settings.prefix, message);
                return Err(UnavailableType::Stops);
            };
            (entry, SettingPlace::nowhere())
        }
        (None, None) => {
            let place = if settings.entries.is_empty() { listed } else { &first_place(&settings) };
            let written = settings.entries.keys().map(String::as_str);
            let hint = flume_names::nearest("type", written)
                .map(|key| format!("; perhaps it is written {key}"))
                .unwrap_or_default();
            let message = format!("is not set, so {}, as in Flume{hint}", goes_with(part));
            findings.leave_out(place, &whole("type"), message);
            return Err(UnavailableType::LeftOut);
        }
    };
    if let Some(setting) = settings.entries.get("config") {
        findings.note(
            &setting.place,
            &whole("config"),
            "names a Java class that checks the settings; it is not used",
        );
    }
    look_over(part, entry, &settings, findings);
    settings.entries.extend(from_map);
    Ok(ComponentConfig { name: settings.name.clone(), type_name: entry.names[0], place, settings })
}

/// Returns what Flume leaves out when a component of this kind cannot be built.
fn goes_with(part: ComponentKind) -> &'static str {
    match part {
        ComponentKind::Channel => "the channel is left out",
        ComponentKind::Sink => "the sink is left out",
        ComponentKind::Source | ComponentKind::Selector | ComponentKind::Interceptor => {
            "the source is left out"
        }
        ComponentKind::SinkProcessor => "the group and its sinks are left out",
    }
}

/// Returns the place of a component as a whole: its first line.
pub(super) fn first_place(settings: &Settings) -> SettingPlace {
    let places = settings.entries.values().map(|setting| &setting.place);
    places.min().cloned().unwrap_or_else(SettingPlace::nowhere)
}

/// Returns a list of names without its trailing comment.
pub(super) fn name_list(
    whole: &str,
    setting: &ConfigSetting,
    findings: &mut ConfigFindings,
) -> Vec<String> {
    if let Some(list) = flume_names::legal_list(&setting.value) {
        return list;
    }
    let before = split_comment(&setting.value).map(|(before, _)| before);
    if let Some((before, list)) = before.and_then(|b| Some((b, flume_names::legal_list(b)?))) {
        findings.warn(&setting.place, whole, format!("taken as \"{before}\": {COMMENT}"));
        return list;
    }
    flume_names::split(&setting.value).into_iter().map(str::to_owned).collect()
}

/// Returns the text of a type without its trailing comment.
fn named_type(whole: &str, setting: &ConfigSetting, findings: &mut ConfigFindings) -> String {
    let raw = setting.value.as_str();
    if let Some((before, _)) = split_comment(raw)
        && !before.is_empty()
        && !before.contains(char::is_whitespace)
    {
        findings.warn(
            &setting.place,
            whole,
            format!("taken as \"{before}\": {COMMENT} (Flume ends at such a line)"),
        );
        return before.to_owned();
    }
    raw.to_owned()
}

/// Returns the catalogue's entry of a type, or why there is none.
fn available<'a>(
    catalogue: &'a Catalogue,
    part: ComponentKind,
    text: &str,
    whole: &str,
    setting: &ConfigSetting,
    findings: &mut ConfigFindings,
) -> Result<&'a TypeEntry, UnavailableType> {
    let place = &setting.place;
    if let Some(entry) = catalogue.find(part, text) {
        return Ok(entry);
    }
    let word = part.word();
    if let Some(known) = types::find(part, text) {
        let message = match (known.status, known.feature) {
            (TypeStatus::Planned, Some(feature)) => format!(
                "the {word} type {text} is not in this build: build with the feature {feature} or full{}",
                known.meanwhile()
            ),
            (TypeStatus::Planned, None) => {
                format!("the {word} type {text} is not available yet{}", known.meanwhile())
            }
            (TypeStatus::Refused(why), _) => {
                format!("the {word} type {text} is not available: {why}")
            }
            (TypeStatus::Gone(instead), _) => {
                format!("Flume has no class for the {word} type {text} and ends: {instead}")
            }
        };
        findings.stop(place, whole, message);
        return Err(UnavailableType::Stops);
    }
    let known = catalogue.entries(part).iter().flat_map(|entry| entry.names.iter().copied());
    let flumes = types::TYPES.iter().filter(|t| t.part == part).flat_map(|t| t.names);
    let hint = flume_names::did_you_mean(text, known.chain(flumes.copied()));
    if text.contains('.') && hint.is_empty() {
        let how = catalogue.mapping_advice(part, text);
        let how = how.map(|how| format!("{how}; or ")).unwrap_or_default();
        findings.stop(
            place,
            whole,
            format!(
                "{text} is a Java class, and Java classes cannot be loaded here; {how}use one of the {word} types, or run this part on Flume and connect the two"
            ),
        );
        return Err(UnavailableType::Stops);
    }
    match part {
        ComponentKind::Source | ComponentKind::Sink | ComponentKind::Channel => {
            let message = format!("unknown {word} type \"{text}\", with which Flume ends{hint}");
            findings.stop(place, whole, message);
            Err(UnavailableType::Stops)
        }
        ComponentKind::Selector | ComponentKind::Interceptor | ComponentKind::SinkProcessor => {
            let message =
                format!("unknown {word} type \"{text}\": {}, as in Flume{hint}", goes_with(part));
            findings.leave_out(place, whole, message);
            Err(UnavailableType::LeftOut)
        }
    }
}

/// Reports keys that the type does not have, and doubtful values of the others.
fn look_over(
    part: ComponentKind,
    entry: &TypeEntry,
    settings: &Settings,
    findings: &mut ConfigFindings,
) {
    // Shared keys come first: a type may accept any other key.
    let known = || shared_keys(part).iter().chain(entry.keys);
    for (name, setting) in &settings.entries {
        let whole = format!("{}.{name}", settings.prefix);
        let Some(key) = known().find(|key| matches(key.name, name)) else {
            let words = known().map(|k| k.name).filter(|n| !n.ends_with('*'));
            let hint = match findings.are_full(Severity::Warning) {
                false => flume_names::did_you_mean(name, words),
                true => String::new(),
            };
            findings.warn(
                &setting.place,
                &whole,
                format!(
                    "the {} type {} has no such key; ignored, as in Flume{hint}",
                    part.word(),
                    entry.names[0]
                ),
            );
            continue;
        };
        // Selectors and interceptors are components of their own and are checked as such.
        if !(part == ComponentKind::Source && matches!(key.name, "selector.*" | "interceptors.*")) {
            look_at_text(&whole, key.kind, setting, findings);
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn look_at_text(
    whole: &str,
    kind: KeyKind,
    setting: &ConfigSetting,
    findings: &mut ConfigFindings,
) {
    let comment = split_comment(&setting.value);
    let free = matches!(kind, KeyKind::Text | KeyKind::Path);
    if free && comment.is_some() {
        findings.note(
            &setting.place,
            whole,
            "what follows # is part of the value; a comment needs a line of its own",
        );
    }
    let counts =
        if free { &setting.value } else { comment.map_or(setting.value.as_str(), |c| c.0) };
    if let Some(meant) = utf8_read_as_latin1(counts) {
        // Only the characters in question are shown: the value may be a password.
        let foreign: String = meant.chars().filter(|c| !c.is_ascii()).take(4).collect();
        let escaped: String = match is_secret(whole) {
            true => "\\uXXXX".to_owned(),
            false => foreign.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        };
        let foreign = if is_secret(whole) { MASK } else { &foreign };
        findings.warn(
            &setting.place,
            whole,
            format!(
                "holds characters beyond ASCII, which Java and Flume read byte by byte as ISO-8859-1; write {escaped}… for {foreign}…"
            ),
        );
    }
}
