//! The settings of one component, and their reader.

pub mod class_settings;
pub mod dead_letter;
pub mod flume_names;
pub mod http_auth;
pub mod secret;
pub mod tls;

use crate::base::escape::EscapedLine;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The place of a setting: file and line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingPlace {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1; 0 if the value comes from no line (a default, a `-D` option).
    pub line: u32,
}

impl SettingPlace {
    /// Returns a place outside any file.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { file: Arc::from(PathBuf::new()), line: 0 }
    }
}

impl fmt::Display for SettingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; everything runs.
    Note,
    /// Something does not work as written; everything runs.
    Warning,
    /// A component is left out (as Flume would), or nothing can start.
    Error,
}

/// A finding about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFinding {
    /// Its severity.
    pub severity: Severity,
    /// Its place.
    pub place: SettingPlace,
    /// The full key, `agent.sources.r1.port`; empty if it is about the file.
    pub key: String,
    /// What was found, and what to do.
    pub message: String,
}

impl fmt::Display for ConfigFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        // A command line or a composed value has no file.
        if self.place.file.as_os_str().is_empty() {
            write!(f, "{severity}: ")?;
        } else {
            write!(f, "{}: {severity}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", EscapedLine(&self.key))?;
        }
        EscapedLine(&self.message).fmt(f)
    }
}

/// The kind of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Free text; keeps its `#`.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A host name or address.
    Host,
    /// A port, 0 to 65535.
    Port,
    /// One of a few words.
    Word,
    /// Names separated by blanks.
    Names,
    /// A path, or several separated by commas.
    Path,
}

/// A key of a component type.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key after the component's prefix, `keep-alive`; a trailing `*` matches any rest.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: KeyKind,
    /// The default as written in a file; empty if there is none.
    pub default: &'static str,
    /// Its effect in one sentence, with the unit, and any difference from Flume.
    pub meaning: &'static str,
}

/// Returns a key, for tables of constants.
#[must_use]
pub const fn key(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, meaning }
}

/// Joins the keys of several tables; `N` is their total number.
///
/// # Panics
/// At compile time, if `N` is another number.
#[must_use]
pub const fn joined<const N: usize>(tables: &[&[Key]]) -> [Key; N] {
    let mut all = [Key { name: "", kind: KeyKind::Text, default: "", meaning: "" }; N];
    let (mut next, mut table) = (0, 0);
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            all[next] = tables[table][row];
            (next, row) = (next + 1, row + 1);
        }
        table += 1;
    }
    assert!(next == N, "the number of all keys");
    all
}

/// One value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSetting {
    /// The text, trimmed as in Flume.
    pub value: String,
    /// Its place.
    pub place: SettingPlace,
}

/// The settings of one component: keys without the component's prefix.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The prefix of the keys, `a1.sources.r1`.
    pub prefix: String,
    /// The component's name, `r1`.
    pub name: String,
    /// Keys and values.
    pub entries: BTreeMap<String, ConfigSetting>,
}

impl Settings {
    /// Returns empty settings.
    #[must_use]
    pub fn new(prefix: impl Into<String>, name: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), name: name.into(), entries: BTreeMap::new() }
    }

    /// Returns settings from pairs, for tests and for channels named on the command line.
    #[must_use]
    pub fn from_pairs(name: &str, pairs: &[(&str, &str)]) -> Self {
        let mut settings = Self::new(name, name);
        for (key, value) in pairs {
            let setting =
                ConfigSetting { value: (*value).to_owned(), place: SettingPlace::nowhere() };
            settings.entries.insert((*key).to_owned(), setting);
        }
        settings
    }

    /// Returns the settings whose keys begin with `prefix`, without it: `subset("serializer.")`.
    #[must_use]
    pub fn subset(&self, prefix: &str) -> Self {
        let entries = self
            .entries
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone())))
            .collect();
        let prefix = format!("{}.{}", self.prefix, prefix.trim_end_matches('.'));
        Self { prefix, name: self.name.clone(), entries }
    }
}

/// An invalid setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {key}: {message}")]
pub struct SettingError {
    /// Its place.
    pub place: SettingPlace,
    /// The full key.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Reads one component's settings and collects the findings.
///
/// If a value is invalid but its part before ` #` is valid, that part is used with a warning: users write
/// comments after values although Java does not support that.
#[derive(Debug)]
pub struct SettingsReader<'a> {
    settings: &'a Settings,
    findings: Vec<ConfigFinding>,
}

impl<'a> SettingsReader<'a> {
    /// Returns a reader of `settings`.
    #[must_use]
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, findings: Vec::new() }
    }

    /// Returns the settings that are read.
    #[must_use]
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// Returns the component's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.settings.name
    }

    /// Returns the agent's name; the component's if it belongs to no agent.
    #[must_use]
    pub fn agent(&self) -> &'a str {
        self.settings.prefix.split('.').next().unwrap_or_default()
    }

    /// Returns the findings so far.
    #[must_use]
    pub fn into_findings(self) -> Vec<ConfigFinding> {
        self.findings
    }

    /// Adds the findings of `other`, a reader of a part of the component.
    pub fn absorb(&mut self, other: SettingsReader<'_>) {
        self.findings.extend(other.findings);
    }

    /// Adds a finding about `key`.
    pub fn find(&mut self, severity: Severity, key: &str, message: impl Into<String>) {
        let place = self.place(key);
        let key = self.whole(key);
        self.findings.push(ConfigFinding { severity, place, key, message: message.into() });
    }

    /// Returns an error about `key`, with its place.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> SettingError {
        SettingError { place: self.place(key), key: self.whole(key), message: message.into() }
    }

    /// Returns the unchanged text; `None` if the key is not set.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.settings.entries.get(key).map(|s| s.value.as_str())
    }

    /// Returns the text decoded from UTF-8, for keys that Flume does not have and that need not be read as
    /// ISO-8859-1.
    #[must_use]
    pub fn text_as_written(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        Some(utf8_read_as_latin1(text).unwrap_or_else(|| text.to_owned()))
    }

    /// Returns a text that is required and must not be empty.
    ///
    /// # Errors
    /// It is missing or empty.
    pub fn required_text(&self, key: &str) -> Result<&'a str, SettingError> {
        match self.text(key) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.error(key, "is required and not set")),
        }
    }

    /// Returns a host name or address; `default` if it is not set.
    ///
    /// # Errors
    /// The value contains blanks or is empty.
    pub fn host(&mut self, key: &str, default: Option<&str>) -> Result<String, SettingError> {
        let legal = |text: &str| {
            (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned())
        };
        match self.legal(key, "a host name or address", legal)? {
            Some(host) => Ok(host),
            None => default
                .map(str::to_owned)
                .ok_or_else(|| self.error(key, "is required and not set (a host or address)")),
        }
    }

    /// Returns a whole number within `range`; `None` if the key is not set.
    ///
    /// # Errors
    /// The value is not a number or is outside the range.
    pub fn number<T>(
        &mut self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, SettingError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        self.legal(key, &what, |text| text.parse().ok().filter(|n| range.contains(n)))
    }

    /// Returns a signed 64-bit number, as Java reads a `long`; `None` if the key is not set. For keys that Flume
    /// corrects if they are out of range.
    ///
    /// # Errors
    /// The value is not such a number.
    pub fn integer(&mut self, key: &str) -> Result<Option<i64>, SettingError> {
        self.legal(key, "a whole number", |text| text.parse().ok())
    }

    /// Returns a duration given in milliseconds; `None` if the key is not set.
    ///
    /// # Errors
    /// The value is not a number or is outside the range.
    pub fn millis(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, SettingError> {
        Ok(self.number(key, range)?.map(Duration::from_millis))
    }

    /// Returns a duration given in seconds; `None` if the key is not set.
    ///
    /// # Errors
    /// The value is not a number or is outside the range.
    pub fn seconds(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, SettingError> {
        Ok(self.number(key, range)?.map(Duration::from_secs))
    }

    /// Returns `true` or `false`, ignoring case; `default` if it is not set. As in Java, any other word is false,
    /// with a warning.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.truth(key, default) {
            Ok(value) => value,
            Err(error) => {
                self.find(Severity::Warning, key, format!("{}; taken as false", error.message));
                false
            }
        }
    }

    /// Returns `true` or `false`, ignoring case, and accepts no other word, for settings where a mistake must not
    /// mean false. `default` if it is not set.
    ///
    /// # Errors
    /// It is another word.
    pub fn truth(&mut self, key: &str, default: bool) -> Result<bool, SettingError> {
        let legal = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Ok(self.legal(key, "true or false", legal)?.unwrap_or(default))
    }

    /// Returns the entry of `words` that equals the value, ignoring case; `None` if it is not set.
    ///
    /// # Errors
    /// It is another word.
    pub fn word(
        &mut self,
        key: &str,
        words: &'static [&'static str],
    ) -> Result<Option<&'static str>, SettingError> {
        let what = format!("one of {}", words.join(", "));
        self.legal(key, &what, |text| words.iter().copied().find(|w| w.eq_ignore_ascii_case(text)))
    }

    fn legal<T>(
        &mut self,
        key: &str,
        what: &str,
        legal: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        let Some(raw) = self.text(key) else { return Ok(None) };
        if let Some(value) = legal(raw) {
            return Ok(Some(value));
        }
        if let Some((before, value)) = before_comment(raw, &legal) {
            let message = format!(
                "taken as \"{before}\": a comment after a value belongs to the value in a .properties file; give it a line of its own"
            );
            self.find(Severity::Warning, key, message);
            return Ok(Some(value));
        }
        Err(self.error(key, format!("\"{raw}\" is not {what}")))
    }

    fn place(&self, key: &str) -> SettingPlace {
        self.settings.entries.get(key).map_or_else(SettingPlace::nowhere, |s| s.place.clone())
    }

    fn whole(&self, key: &str) -> String {
        format!("{}.{key}", self.settings.prefix)
    }
}

/// Returns the valid value before a trailing ` # comment`, if `raw` has one.
pub fn before_comment<T>(raw: &str, legal: impl Fn(&str) -> Option<T>) -> Option<(&str, T)> {
    let (before, _) = split_comment(raw)?;
    legal(before).map(|value| (before, value))
}

/// Returns the text before the first ` #` of a value, and the rest from its `#` on.
#[must_use]
pub fn split_comment(raw: &str) -> Option<(&str, &str)> {
    let blank_before = |at: usize| raw[..at].ends_with(char::is_whitespace);
    let (at, _) = raw.match_indices('#').find(|&(at, _)| blank_before(at))?;
    Some((raw[..at].trim_end(), &raw[at..]))
}

/// Returns the intended text if `text` is UTF-8 that was read as ISO-8859-1.
#[must_use]
pub fn utf8_read_as_latin1(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_escapes_control_characters() {
        let finding = ConfigFinding {
            severity: Severity::Warning,
            place: SettingPlace::nowhere(),
            key: "a\u{1b}[2J".to_owned(),
            message: "\u{0} is not a number\u{9b}\nerror: b".to_owned(),
        };
        let shown = "warning: a\\u{1b}[2J: \\u{0} is not a number\\u{9b}\\nerror: b";
        assert_eq!(finding.to_string(), shown);
    }

    fn reader(value: &str) -> Settings {
        Settings::from_pairs("r1", &[("key", value)])
    }

    #[test]
    fn a_comment_is_removed_only_if_the_whole_value_is_invalid() {
        for (value, number, warned) in [
            ("5", Some(5), false),
            ("5 # five", Some(5), true),
            ("5\t#five", Some(5), true),
            ("5# five", None, false),
            ("five # 5", None, false),
            ("# 5", None, false),
        ] {
            let settings = reader(value);
            let mut reader = SettingsReader::new(&settings);
            assert_eq!(reader.number::<u32>("key", 0..=9).ok().flatten(), number, "{value}");
            let findings = reader.into_findings();
            assert_eq!(!findings.is_empty(), warned, "{value}");
            assert!(findings.iter().all(|f| f.key == "r1.key" && f.severity == Severity::Warning));
        }
        let settings = reader("a#b");
        assert_eq!(SettingsReader::new(&settings).host("key", None).as_deref(), Ok("a#b"));
        let settings = reader("true # yes");
        assert!(SettingsReader::new(&settings).boolean("key", false));
        let settings = reader("tail -F x # y");
        assert_eq!(SettingsReader::new(&settings).text("key"), Some("tail -F x # y"));
    }

    #[test]
    fn a_comment_begins_at_the_first_number_sign_after_a_blank() {
        assert_eq!(split_comment("a#b # c # d"), Some(("a#b", "# c # d")));
        assert_eq!(split_comment("a#b"), None);
        assert_eq!(split_comment("#b"), None);
        assert_eq!(split_comment("a  \u{3000}#\u{540d}"), Some(("a", "#\u{540d}")));
    }

    #[test]
    fn numbers_outside_their_range_are_refused_with_the_range() {
        let settings = reader("70000");
        let error = SettingsReader::new(&settings).number::<u32>("key", 1..=65535);
        let said = "\"70000\" is not a whole number from 1 to 65535";
        assert_eq!(error.expect_err("too large").message, said);
        let settings = reader("99999999999999999999");
        assert!(SettingsReader::new(&settings).integer("key").is_err());
        let settings = reader("-7");
        assert_eq!(SettingsReader::new(&settings).integer("key"), Ok(Some(-7)));
    }

    #[test]
    fn a_finding_without_a_place_begins_with_what_it_is() {
        let finding = |place| ConfigFinding {
            severity: Severity::Error,
            place,
            key: "a.sources".to_owned(),
            message: "is empty".to_owned(),
        };
        assert_eq!(finding(SettingPlace::nowhere()).to_string(), "error: a.sources: is empty");
        let place = |line| SettingPlace { file: Arc::from(PathBuf::from("a.conf")), line };
        assert_eq!(finding(place(3)).to_string(), "a.conf:3: error: a.sources: is empty");
        assert_eq!(finding(place(0)).to_string(), "a.conf: error: a.sources: is empty");
    }
}
