//! Paths and prefixes with the escapes of Flume, expanded for each event.
//!
//! Limits: a header's text can never leave the configured path. In what an escape expands to, control characters and,
//! where the file system refuses it, `:` become `_`; so does each point of a name that is `.` or `..`.
//!
//! `%{header}`, `%t` and the letters of dates are described in docs/hdfs.md. A letter without a meaning expands to
//! nothing, as in Flume; text that is not an escape stays.

use super::place_error::PlaceError;
use super::time::TimeRules;
use millpond::Event;
use millpond_flow::date::path_letter;
use millpond_flow::escapes::{self, EscapePart, HostPart};

/// Names of this machine, looked up once.
#[derive(Clone, Debug, Default)]
pub(super) struct HostNames {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) full_name: String,
}

/// A text with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathTemplate {
    parts: Vec<EscapePart>,
    keeps_colons: bool,
}

impl PathTemplate {
    /// Reads `text`; the error is for a person.
    pub(super) fn read(text: &str, keeps_colons: bool) -> Result<Self, String> {
        let parts = escapes::read(text)?;
        let template = Self { parts, keeps_colons };
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> Result<(), String> {
        for part in &self.parts {
            let EscapePart::Text(text) = part else { continue };
            if text.chars().any(char::is_control) {
                return Err("has a control character".to_owned());
            }
            if !self.keeps_colons && text.contains(':') {
                return Err("has a \":\", which no name on HDFS may have".to_owned());
            }
            if text.split('/').any(|name| name == "..") {
                return Err("has \"..\"; write the path that is meant".to_owned());
            }
        }
        Ok(())
    }

    /// Returns the directory that every expansion is in: the names before the first escape, without a slash at the end.
    pub(super) fn fixed_directory(&self) -> &str {
        match self.parts.as_slice() {
            [EscapePart::Text(text)] => text.trim_end_matches('/'),
            [EscapePart::Text(text), ..] => {
                text.rsplit_once('/').map_or("", |(directory, _)| directory)
            }
            _ => "",
        }
    }

    /// Returns true if it needs names of this machine.
    pub(super) fn names_host(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, EscapePart::Host(_)))
    }

    /// Expands it for `event`, and returns whether a character was replaced.
    pub(super) fn expand(
        &self,
        event: &Event,
        time: &TimeRules,
        now_ms: u64,
        hosts: &HostNames,
        out: &mut String,
    ) -> Result<bool, PlaceError> {
        let begin = out.len();
        let mut replaced = false;
        let mut moment = None;
        for part in &self.parts {
            match part {
                EscapePart::Text(text) => out.push_str(text),
                EscapePart::Header(name) => {
                    let value = event.headers.get(name).unwrap_or_default();
                    replaced |= self.push_safely(value, out);
                }
                EscapePart::Host(host) => out.push_str(match host {
                    HostPart::Name => &hosts.name,
                    HostPart::Address => &hosts.address,
                    HostPart::FullName => &hosts.full_name,
                }),
                EscapePart::Letter('%') => out.push('%'),
                EscapePart::Letter(letter) if !path_letter::is_known(*letter) => {}
                EscapePart::Letter(letter) => {
                    let text = match &moment {
                        Some(text) => text,
                        None => moment.insert(time.of(event, now_ms)?),
                    };
                    // The times of `%c` have colons: a date that the administrator wrote, so nothing to report.
                    self.push_safely(&text.letter(*letter), out);
                }
            }
        }
        Ok(replaced | without_dots(out, begin))
    }

    /// Adds an expanded text without what no name may have; returns whether something was replaced.
    fn push_safely(&self, text: &str, out: &mut String) -> bool {
        let illegal = |c: char| c.is_control() || (c == ':' && !self.keeps_colons);
        out.extend(text.chars().map(|c| if illegal(c) { '_' } else { c }));
        text.chars().any(illegal)
    }
}

/// Replaces names that are `.` or `..` after `begin`; returns whether there was one.
fn without_dots(out: &mut String, begin: usize) -> bool {
    if !out[begin..].split('/').any(|name| matches!(name, "." | "..")) {
        return false;
    }
    let safe = |name: &str| match name {
        "." => "_".to_owned(),
        ".." => "__".to_owned(),
        other => other.to_owned(),
    };
    let names: Vec<String> = out[begin..].split('/').map(safe).collect();
    out.truncate(begin);
    out.push_str(&names.join("/"));
    true
}

/// Returns `path` with one slash between names and none at its end.
pub(super) fn with_single_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !name.is_empty()) {
        out.push('/');
        out.push_str(name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::time::Rounding;
    use jiff::tz::TimeZone;

    fn utc() -> TimeRules {
        TimeRules { zone: TimeZone::UTC, rounding: None, uses_clock: false }
    }

    fn event(headers: &[(&str, &str)]) -> Event {
        Event::packed(headers, b"")
    }

    fn expanded(text: &str, headers: &[(&str, &str)], time: &TimeRules) -> (String, bool) {
        let hosts = HostNames {
            name: "box".to_owned(),
            address: "10.0.0.1".to_owned(),
            full_name: "box.example.com".to_owned(),
        };
        let mut out = String::new();
        let template = PathTemplate::read(text, false).unwrap();
        let replaced = template.expand(&event(headers), time, 5, &hosts, &mut out).unwrap();
        (out, replaced)
    }

    #[test]
    fn every_escape_is_as_in_flume() {
        let at = [("timestamp", "1352062205123"), ("h", "v"), ("a.b-c_d", "x")];
        for (text, expected) in [
            ("%{h}/%{none}/%{a.b-c_d}", "v//x"),
            ("%[LocalHost] %[ip] %[fqdn]", "box 10.0.0.1 box.example.com"),
            ("%t %s", "1352062205123 1352062205"),
            ("%a %A %b %B", "Sun Sunday Nov November"),
            ("%c", "Sun Nov 4 20_50_05 2012"),
            ("%d %e %D", "04 4 11/04/12"),
            ("%H %I %j %k %l", "20 08 309 20 8"),
            ("%m %n %M %p %S", "11 11 50 PM 05"),
            ("%y %Y %z", "12 2012 +0000"),
            ("%%Y 100%", "%Y 100%"),
            ("[%q%5%_]", "[]"),
            ("%(yyyy) %{with space} %{} %", "%(yyyy) %{with space} %{} %"),
        ] {
            assert_eq!(expanded(text, &at, &utc()).0, expected, "{text}");
        }
    }

    #[test]
    fn times_are_rounded_in_the_zone_except_milliseconds() {
        use super::super::time::RoundUnit::{Hour, Minute, Second};
        let at = [("timestamp", "1352062205123")];
        for (unit, value, expected) in [
            (Minute, 10, "20:50:00 1352062200"),
            (Minute, 7, "20:49:00 1352062140"),
            (Hour, 5, "20:00:00 1352059200"),
            (Hour, 24, "00:00:00 1351987200"),
            (Second, 60, "20:50:00 1352062200"),
            (Second, 2, "20:50:04 1352062204"),
        ] {
            let time = TimeRules { rounding: Some(Rounding { unit, value }), ..utc() };
            let (text, _) = expanded("%H-%M-%S %s", &at, &time);
            assert_eq!(text, expected.replace(':', "-"), "{unit:?} {value}");
            assert_eq!(expanded("%t", &at, &time).0, "1352062205123");
        }
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let rounding = Some(Rounding { unit: Hour, value: 1 });
        let time = TimeRules { zone, rounding, uses_clock: false };
        assert_eq!(expanded("%d %H-%M %z", &at, &time).0, "05 02-00 +0530");
    }

    #[test]
    fn no_header_leaves_the_path() {
        for (value, expected) in [
            ("../../x", "/base/__/__/x"),
            ("/abs", "/base//abs"),
            ("..", "/base/__"),
            (".", "/base/_"),
            ("a\n\u{1}b", "/base/a__b"),
            ("a:b", "/base/a_b"),
            ("%Y", "/base/%Y"),
            ("a/b", "/base/a/b"),
            ("ü *?{}", "/base/ü *?{}"),
        ] {
            let (path, replaced) = expanded("/base/%{h}", &[("h", value)], &utc());
            assert_eq!(path, expected);
            assert_eq!(replaced, expected.contains('_'), "{value:?}");
        }
        // Two harmless headers that are not harmless together.
        let (path, replaced) = expanded("/b/%{h}%{i}/c", &[("h", "."), ("i", ".")], &utc());
        assert_eq!((path.as_str(), replaced), ("/b/__/c", true));
    }

    #[test]
    fn an_event_without_a_usable_time_has_no_path() {
        let template = PathTemplate::read("/%Y", false).unwrap();
        let expand = |headers: &[(&str, &str)], time: &TimeRules| {
            let mut out = String::new();
            let hosts = HostNames::default();
            template.expand(&event(headers), time, 86_400_000, &hosts, &mut out).map(|_| out)
        };
        assert_eq!(expand(&[], &utc()), Err(PlaceError::NoTimestamp));
        for bad in ["", " 5", "soon", "9223372036854775807"] {
            let expected = PlaceError::BadTimestamp(bad.to_owned());
            assert_eq!(expand(&[("timestamp", bad)], &utc()), Err(expected));
        }
        let local = TimeRules { uses_clock: true, ..utc() };
        assert_eq!(expand(&[("timestamp", "soon")], &local).unwrap(), "/1970");
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        for text in ["/a/../b", "/a:b", "/a\u{1}", "/%[host]"] {
            assert!(PathTemplate::read(text, false).is_err(), "{text}");
        }
        assert!(PathTemplate::read("/a:b", true).is_ok());
        assert_eq!(with_single_slashes("//a///b/"), "/a/b");
    }

    #[test]
    fn the_fixed_directory_is_what_precedes_the_first_escape() {
        for (text, expected) in
            [("/a/b/%Y", "/a/b"), ("/a/b-%Y/c", "/a"), ("/a/b/", "/a/b"), ("/%Y", ""), ("/", "")]
        {
            assert_eq!(PathTemplate::read(text, false).unwrap().fixed_directory(), expected);
        }
    }
}
