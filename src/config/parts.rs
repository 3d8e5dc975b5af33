//! One part of an agent: its type found, its keys looked over.

use super::agent::Component;
use super::catalogue::{Catalogue, TypeEntry};
use super::dead_letter;
use super::effective;
use super::findings::Findings;
use super::names;
use super::secret::{MASK, is_secret};
use super::settings::{Key, Kind, Place, Setting, Settings, Severity, joined, split_comment};
use super::types::{self, Part, Status};

/// What a trailing comment gives when it was left off.
const COMMENT: &str =
    "a comment after a value belongs to the value in a .properties file; give it a line of its own";

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, default: "", meaning: "" }
}

const SOURCE_KEYS: &[Key] = &[
    key("type", Kind::Word),
    key("config", Kind::Text),
    key("channels", Kind::Names),
    key("selector.*", Kind::Word),
    key("interceptors", Kind::Names),
    key("interceptors.*", Kind::Word),
    key("backoffSleepIncrement", Kind::Number),
    key("maxBackoffSleep", Kind::Number),
];
const SINK_KEYS: &[Key] = &joined::<7>(&[
    &[key("type", Kind::Word), key("config", Kind::Text), key("channel", Kind::Names)],
    &dead_letter::KEYS,
]);
const TYPE_KEYS: &[Key] = &[key("type", Kind::Word), key("config", Kind::Text)];

fn shared_keys(part: Part) -> &'static [Key] {
    match part {
        Part::Source => SOURCE_KEYS,
        Part::Sink => SINK_KEYS,
        Part::Channel | Part::Selector | Part::Interceptor | Part::SinkProcessor => TYPE_KEYS,
    }
}

/// Why a part cannot be built.
pub(super) enum Unbuilt {
    /// Flume would leave it out too.
    LeftOut,
    /// The agent does not run; the other parts are looked over all the same.
    Stops,
}

/// Finds the type of a part and looks its keys over. `default` is the type of one that names
/// none, `listed` the place that asks for it. What is wrong is found and said here.
pub(super) fn component(
    catalogue: &Catalogue,
    part: Part,
    mut settings: Settings,
    default: Option<&'static str>,
    listed: &Place,
    findings: &mut Findings,
) -> Result<Component, Unbuilt> {
    let whole = |key: &str| format!("{}.{key}", settings.prefix);
    let mut from_map = Vec::new();
    let (entry, place) = match (settings.entries.get("type").cloned(), default) {
        (Some(setting), _) => {
            let text = named_type(&whole("type"), &setting, findings);
            let entry = match catalogue.stand_in(part, &text) {
                Some((entry, own)) => {
                    let command = own.first().map_or("", |(_, command)| &command.value);
                    let message =
                        format!("a process stands in for {text}: {}", effective::program(command));
                    findings.note(&setting.place, &whole("type"), message);
                    from_map = own;
                    entry
                }
                None => available(catalogue, part, &text, &whole("type"), &setting, findings)?,
            };
            settings.entries.insert("type".to_owned(), Setting { value: text, ..setting.clone() });
            (entry, setting.place)
        }
        (None, Some(name)) => {
            let Some(entry) = catalogue.find(part, name) else {
                let message = format!("the {} {name} is not available here", part.word());
                findings.stop(listed, &settings.prefix, message);
                return Err(Unbuilt::Stops);
            };
            (entry, Place::nowhere())
        }
        (None, None) => {
            let place = if settings.entries.is_empty() { listed } else { &first_place(&settings) };
            let written = settings.entries.keys().map(String::as_str);
            let hint = names::nearest("type", written)
                .map(|key| format!("; perhaps it is written {key}"))
                .unwrap_or_default();
            let message = format!("is not set, so {}, as in Flume{hint}", goes_with(part));
            findings.leave_out(place, &whole("type"), message);
            return Err(Unbuilt::LeftOut);
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
    Ok(Component { name: settings.name.clone(), type_name: entry.names[0], place, settings })
}

/// What Flume leaves out when a part of this sort cannot be built.
fn goes_with(part: Part) -> &'static str {
    match part {
        Part::Channel => "the channel is left out",
        Part::Sink => "the sink is left out",
        Part::Source | Part::Selector | Part::Interceptor => "the source is left out",
        Part::SinkProcessor => "the group and its sinks are left out",
    }
}

/// The place of a component as a whole: its first line.
pub(super) fn first_place(settings: &Settings) -> Place {
    let places = settings.entries.values().map(|setting| &setting.place);
    places.min().cloned().unwrap_or_else(Place::nowhere)
}

/// A list of names without its trailing comment.
pub(super) fn name_list(whole: &str, setting: &Setting, findings: &mut Findings) -> Vec<String> {
    if let Some(list) = names::legal_list(&setting.value) {
        return list;
    }
    let before = split_comment(&setting.value).map(|(before, _)| before);
    if let Some((before, list)) = before.and_then(|b| Some((b, names::legal_list(b)?))) {
        findings.warn(&setting.place, whole, format!("taken as \"{before}\": {COMMENT}"));
        return list;
    }
    names::split(&setting.value).into_iter().map(str::to_owned).collect()
}

/// The text of a type without its trailing comment.
fn named_type(whole: &str, setting: &Setting, findings: &mut Findings) -> String {
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

/// The catalogue's entry of a type, or why there is none.
fn available<'a>(
    catalogue: &'a Catalogue,
    part: Part,
    text: &str,
    whole: &str,
    setting: &Setting,
    findings: &mut Findings,
) -> Result<&'a TypeEntry, Unbuilt> {
    let place = &setting.place;
    if let Some(entry) = catalogue.find(part, text) {
        return Ok(entry);
    }
    let word = part.word();
    if let Some(known) = types::find(part, text) {
        let message = match known.status {
            Status::Planned => {
                format!("the {word} type {text} is not available yet{}", known.meanwhile())
            }
            Status::Refused(why) => format!("the {word} type {text} is not available: {why}"),
            Status::Gone(instead) => {
                format!("Flume has no class for the {word} type {text} and ends: {instead}")
            }
        };
        findings.stop(place, whole, message);
        return Err(Unbuilt::Stops);
    }
    let known = catalogue.entries(part).iter().flat_map(|entry| entry.names.iter().copied());
    let flumes = types::TYPES.iter().filter(|t| t.part == part).flat_map(|t| t.names);
    let hint = names::did_you_mean(text, known.chain(flumes.copied()));
    if text.contains('.') && hint.is_empty() {
        let how = catalogue.how_to_stand_in(part, text);
        let how = how.map(|how| format!("{how}; or ")).unwrap_or_default();
        findings.stop(
            place,
            whole,
            format!(
                "{text} is a Java class, and Java classes cannot be loaded here; {how}use one of the {word} types, or run this part on Flume and connect the two"
            ),
        );
        return Err(Unbuilt::Stops);
    }
    match part {
        Part::Source | Part::Sink | Part::Channel => {
            let message = format!("unknown {word} type \"{text}\", with which Flume ends{hint}");
            findings.stop(place, whole, message);
            Err(Unbuilt::Stops)
        }
        Part::Selector | Part::Interceptor | Part::SinkProcessor => {
            let message =
                format!("unknown {word} type \"{text}\": {}, as in Flume{hint}", goes_with(part));
            findings.leave_out(place, whole, message);
            Err(Unbuilt::LeftOut)
        }
    }
}

/// Says which keys the type does not know, and what is doubtful about the text of the others.
fn look_over(part: Part, entry: &TypeEntry, settings: &Settings, findings: &mut Findings) {
    // Those of every part first: a type may take any other key.
    let known = || shared_keys(part).iter().chain(entry.keys);
    for (name, setting) in &settings.entries {
        let whole = format!("{}.{name}", settings.prefix);
        let Some(key) = known().find(|key| matches(key.name, name)) else {
            let words = known().map(|k| k.name).filter(|n| !n.ends_with('*'));
            let hint = match findings.are_full(Severity::Warning) {
                false => names::did_you_mean(name, words),
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
        // Selectors and interceptors are parts of their own and are looked over as such.
        if !(part == Part::Source && matches!(key.name, "selector.*" | "interceptors.*")) {
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

fn look_at_text(whole: &str, kind: Kind, setting: &Setting, findings: &mut Findings) {
    let comment = split_comment(&setting.value);
    let free = matches!(kind, Kind::Text | Kind::Path);
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

/// The text that was meant, where `text` is UTF-8 read as ISO-8859-1.
pub(super) fn utf8_read_as_latin1(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    String::from_utf8(bytes?).ok()
}
