//! The settings of one component and how a component reads them.

use super::parts::utf8_read_as_latin1;
use crate::base::visible::OneLine;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Where a setting stands: file and line, from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1; 0 when the value comes from no line (a default, a `-D` option).
    pub line: u32,
}

impl Place {
    /// A place that is no line of a file.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { file: Arc::from(PathBuf::new()), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; everything runs.
    Note,
    /// Something is not as the file says; everything runs.
    Warning,
    /// A component is left out (where Flume would leave it out), or nothing can start.
    Error,
}

/// One thing found in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How serious.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// The whole key, `agent.sources.r1.port`; empty when it is about the file.
    pub key: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        // A command line or a value that was put together has no file.
        if self.place.file.as_os_str().is_empty() {
            write!(f, "{severity}: ")?;
        } else {
            write!(f, "{}: {severity}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", OneLine(&self.key))?;
        }
        OneLine(&self.message).fmt(f)
    }
}

/// What a key of a component holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

/// One key that a component knows.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key behind the component's prefix, `keep-alive`; a trailing `*` stands for any rest.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The default as it would stand in a file; empty when there is none.
    pub default: &'static str,
    /// What it does, in one sentence, with the unit; how it differs from Flume if it does.
    pub meaning: &'static str,
}

/// The keys of several tables in one: `N` is the number of them all.
///
/// # Panics
/// At compile time, when `N` is another number.
#[must_use]
pub const fn joined<const N: usize>(tables: &[&[Key]]) -> [Key; N] {
    let mut all = [Key { name: "", kind: Kind::Text, default: "", meaning: "" }; N];
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
pub struct Setting {
    /// The text, trimmed as Flume trims it.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// The settings of one component: keys without the component's prefix.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The prefix that the keys had, `a1.sources.r1`.
    pub prefix: String,
    /// The component's name, `r1`.
    pub name: String,
    /// Keys and values.
    pub entries: BTreeMap<String, Setting>,
}

impl Settings {
    /// No settings yet.
    #[must_use]
    pub fn new(prefix: impl Into<String>, name: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), name: name.into(), entries: BTreeMap::new() }
    }

    /// Settings from pairs, for tests and for channels named on the command line.
    #[must_use]
    pub fn from_pairs(name: &str, pairs: &[(&str, &str)]) -> Self {
        let mut settings = Self::new(name, name);
        for (key, value) in pairs {
            let setting = Setting { value: (*value).to_owned(), place: Place::nowhere() };
            settings.entries.insert((*key).to_owned(), setting);
        }
        settings
    }

    /// The settings whose keys begin with `prefix`, without it: `subset("serializer.")`.
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

/// A setting that a component cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {key}: {message}")]
pub struct SettingError {
    /// Where it stands.
    pub place: Place,
    /// The whole key.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Reads one component's settings and collects the warnings that reading them gives.
///
/// Where a value is no legal value of its kind but the part before ` #` is, that part is taken,
/// with a warning: users write comments behind values although Java has no such comments.
#[derive(Debug)]
pub struct SettingsReader<'a> {
    settings: &'a Settings,
    findings: Vec<Finding>,
}

impl<'a> SettingsReader<'a> {
    /// A reader of `settings`.
    #[must_use]
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, findings: Vec::new() }
    }

    /// The settings that are read.
    #[must_use]
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.settings.name
    }

    /// The agent's name; the component's where it belongs to none.
    #[must_use]
    pub fn agent(&self) -> &'a str {
        self.settings.prefix.split('.').next().unwrap_or_default()
    }

    /// What reading has found so far.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Takes over what `other`, a reader of a part of the component, has found.
    pub fn absorb(&mut self, other: SettingsReader<'_>) {
        self.findings.extend(other.findings);
    }

    /// Adds a finding about `key`.
    pub fn find(&mut self, severity: Severity, key: &str, message: impl Into<String>) {
        let place = self.place(key);
        let key = self.whole(key);
        self.findings.push(Finding { severity, place, key, message: message.into() });
    }

    /// An error about `key`, with its place.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> SettingError {
        SettingError { place: self.place(key), key: self.whole(key), message: message.into() }
    }

    /// Free text as it stands; `None` when the key is not set.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.settings.entries.get(key).map(|s| s.value.as_str())
    }

    /// The same of a key that Flume does not have, so that nobody expects of it what Java makes of a file
    /// in UTF-8: the text that its writer sees.
    #[must_use]
    pub fn text_as_written(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        Some(utf8_read_as_latin1(text).unwrap_or_else(|| text.to_owned()))
    }

    /// Free text that must be there and not be empty.
    ///
    /// # Errors
    /// It is missing or empty.
    pub fn required_text(&self, key: &str) -> Result<&'a str, SettingError> {
        match self.text(key) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.error(key, "is required and not set")),
        }
    }

    /// A host name or address; `default` when not set.
    ///
    /// # Errors
    /// The value holds blanks or is empty.
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

    /// A whole number within `range`; `None` when the key is not set.
    ///
    /// # Errors
    /// The value is no number or outside the range.
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

    /// A whole number of 64 bits with its sign, as Java reads a `long`; `None` when the key is
    /// not set. For keys that Flume corrects where they are out of range.
    ///
    /// # Errors
    /// The value is no such number.
    pub fn integer(&mut self, key: &str) -> Result<Option<i64>, SettingError> {
        self.legal(key, "a whole number", |text| text.parse().ok())
    }

    /// A duration given as a number of milliseconds; `None` when the key is not set.
    ///
    /// # Errors
    /// The value is no number or outside the range.
    pub fn millis(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, SettingError> {
        Ok(self.number(key, range)?.map(Duration::from_millis))
    }

    /// A duration given as a number of seconds; `None` when the key is not set.
    ///
    /// # Errors
    /// The value is no number or outside the range.
    pub fn seconds(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, SettingError> {
        Ok(self.number(key, range)?.map(Duration::from_secs))
    }

    /// `true` or `false` in any case; `default` when not set. Like Java, any other word is false,
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

    /// `true` or `false` in any case, and no other word: for what must not be taken for false by
    /// mistake. `default` when not set.
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

    /// One of `words`, in any case, answered as it stands in `words`; `None` when not set.
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

    fn place(&self, key: &str) -> Place {
        self.settings.entries.get(key).map_or_else(Place::nowhere, |s| s.place.clone())
    }

    fn whole(&self, key: &str) -> String {
        format!("{}.{key}", self.settings.prefix)
    }
}

/// The legal value before a trailing ` # comment`, if `raw` has one.
pub fn before_comment<T>(raw: &str, legal: impl Fn(&str) -> Option<T>) -> Option<(&str, T)> {
    let (before, _) = split_comment(raw)?;
    legal(before).map(|value| (before, value))
}

/// What stands before the first ` #` of a value, and the rest from its `#` on.
#[must_use]
pub fn split_comment(raw: &str) -> Option<(&str, &str)> {
    let blank_before = |at: usize| raw[..at].ends_with(char::is_whitespace);
    let (at, _) = raw.match_indices('#').find(|&(at, _)| blank_before(at))?;
    Some((raw[..at].trim_end(), &raw[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_control_characters_and_does_not_send_them() {
        let finding = Finding {
            severity: Severity::Warning,
            place: Place::nowhere(),
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
    fn a_comment_is_taken_off_only_where_the_whole_value_is_not_legal() {
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
    fn a_comment_begins_at_the_first_number_sign_behind_a_blank() {
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
        let finding = |place| Finding {
            severity: Severity::Error,
            place,
            key: "a.sources".to_owned(),
            message: "is empty".to_owned(),
        };
        assert_eq!(finding(Place::nowhere()).to_string(), "error: a.sources: is empty");
        let place = |line| Place { file: Arc::from(PathBuf::from("a.conf")), line };
        assert_eq!(finding(place(3)).to_string(), "a.conf:3: error: a.sources: is empty");
        assert_eq!(finding(place(0)).to_string(), "a.conf: error: a.sources: is empty");
    }
}
