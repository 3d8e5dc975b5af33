//! `regex_extractor`: sets headers from the groups of a pattern that is found in the body.

use super::settings::{required_pattern, say};
use super::{EventFate, Interceptor, InterceptorType};
use crate::date::read::DatePattern;
use crate::failure_log::FailureLog;
use crate::pattern::Pattern;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use millpond::{Clock, Event};

/// The type `regex_extractor`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["regex_extractor", "org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "regex",
        kind: KeyKind::Text,
        default: "",
        meaning: "Java pattern; its groups in the first place where it is found in the body.",
    },
    Key {
        name: "serializers",
        kind: KeyKind::Names,
        default: "",
        meaning: "One name for each group, in order.",
    },
    Key {
        name: "serializers.*",
        kind: KeyKind::Text,
        default: "",
        meaning: "NAME.name is the header; NAME.type is default (the text as it is) or the class name of the millisecond serializer, with NAME.pattern for its date.",
    },
];

const MILLIS: &str = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer";
const TEXT: &str = "org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer";

struct RegexExtractor {
    pattern: Pattern,
    /// One header for each group, from the first.
    headers: Vec<Header>,
    gives_up: FailureLog,
}

struct Header {
    name: String,
    /// Converts the group from a date to milliseconds; otherwise its text is used.
    date: Option<HeaderDate>,
    /// Throttled like abandoned matching: a client can cause it with each event.
    no_date: FailureLog,
}

/// A date in the zone of this machine.
struct HeaderDate {
    words: String,
    pattern: DatePattern,
    zone: TimeZone,
}

impl HeaderDate {
    /// Returns `text` in milliseconds since 1970.
    fn millis(&self, text: &str, clock: &dyn Clock) -> Result<i64, String> {
        let now = i64::try_from(clock.wall_ms()).ok();
        let now = now.and_then(|now| Timestamp::from_millisecond(now).ok()).unwrap_or_default();
        let this_year = now.to_zoned(TimeZone::UTC).year();
        let millis = self.pattern.millis(text, this_year, &self.zone);
        millis.ok_or_else(|| format!("\"{text}\" is not a date of the form {}", self.words))
    }
}

fn build(reader: &mut SettingsReader<'_>) -> Result<RegexExtractor, SettingError> {
    let pattern = required_pattern(reader, "regex")?;
    let names = reader.required_text("serializers")?;
    let mut headers = Vec::new();
    for name in names.split_whitespace() {
        headers.push(header(reader, name)?);
    }
    if headers.len() != pattern.groups() {
        let message = format!(
            "{} names for {} groups; what has no partner is not used, as in Flume",
            headers.len(),
            pattern.groups()
        );
        reader.find(Severity::Warning, "serializers", message);
    }
    Ok(RegexExtractor { pattern, headers, gives_up: FailureLog::default() })
}

fn header(reader: &SettingsReader<'_>, name: &str) -> Result<Header, SettingError> {
    let key = |rest: &str| format!("serializers.{name}.{rest}");
    let header = reader.required_text(&key("name"))?.to_owned();
    let date = match reader.text(&key("type")).unwrap_or("DEFAULT") {
        kind if kind == "DEFAULT" || kind == "default" || kind == TEXT => None,
        MILLIS => {
            let pattern = reader.required_text(&key("pattern"))?;
            let words = pattern.to_owned();
            let pattern = DatePattern::joda(pattern);
            let pattern =
                pattern.map_err(|error| reader.error(&key("pattern"), error.to_string()))?;
            Some(HeaderDate { words, pattern, zone: TimeZone::system() })
        }
        other => {
            let message = format!(
                "\"{other}\" is not there; default and {MILLIS} are (other classes need a Java process)"
            );
            return Err(reader.error(&key("type"), message));
        }
    };
    Ok(Header { name: header, date, no_date: FailureLog::default() })
}

impl Interceptor for RegexExtractor {
    fn is_heavy(&self) -> bool {
        true
    }

    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate {
        let body = String::from_utf8_lossy(&event.body).into_owned();
        let found = match self.pattern.find(&body) {
            Ok(found) => found,
            Err(error) => {
                let cause = format!("an event passes without regex_extractor: {error}");
                say(&self.gives_up, clock, self.pattern.as_str(), &cause);
                None
            }
        };
        let Some(found) = found else { return EventFate::Keep };
        for (at, header) in self.headers.iter().enumerate() {
            let Some(text) = found.group(at + 1).map(|range| &body[range]) else { continue };
            match header.date.as_ref().map(|date| date.millis(text, clock)) {
                None => event.headers.set(header.name.as_str(), text),
                Some(Ok(millis)) => event.headers.set(header.name.as_str(), millis.to_string()),
                Some(Err(error)) => {
                    let cause = "an event passes without this header";
                    if let Some(words) = header.no_date.failed(clock.now(), cause) {
                        tracing::warn!(header = header.name.as_str(), "{words}: {error}");
                    }
                }
            }
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn built(pairs: &[(&str, &str)]) -> Result<Box<dyn Interceptor>, SettingError> {
        let settings = Settings::from_pairs("i1", pairs);
        (TYPE.build)(&mut SettingsReader::new(&settings))
    }

    fn headers(pairs: &[(&str, &str)], body: &str) -> Vec<(String, String)> {
        let mut event = Event::new(body.to_owned());
        built(pairs).unwrap().intercept(&mut event, &SystemClock::new());
        event.headers.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    const THREE: &[(&str, &str)] = &[
        ("regex", r"(\d):(\d):(\d)"),
        ("serializers", "s1 s2 s3"),
        ("serializers.s1.name", "one"),
        ("serializers.s2.name", "two"),
        ("serializers.s3.name", "three"),
    ];

    #[test]
    fn groups_become_headers_by_their_place() {
        let found = headers(THREE, "1:2:3.4foobar5");
        let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(found, [("one", "1"), ("two", "2"), ("three", "3")]);
        assert!(headers(THREE, "none").is_empty());
        let two = [("regex", "(a)|(b)"), ("serializers", "x"), ("serializers.x.name", "h")];
        assert_eq!(headers(&two, "b"), []);
    }

    #[test]
    fn a_date_becomes_milliseconds() {
        let date = [
            ("regex", r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+\d{4})"),
            ("serializers", "s1"),
            ("serializers.s1.name", "timestamp"),
            ("serializers.s1.type", MILLIS),
            ("serializers.s1.pattern", "yyyy-MM-dd'T'HH:mm:ssZ"),
        ];
        let found = headers(&date, "2012-10-17T14:34:44+0000 hello");
        assert_eq!(found, [("timestamp".to_owned(), "1350484484000".to_owned())]);
        assert!(headers(&date, "2012-13-17T14:34:44+0000").is_empty(), "no such month");
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let word = |pairs: &[(&str, &str)]| built(pairs).err().unwrap().to_string();
        assert!(word(&[("serializers", "a")]).contains("regex"));
        assert!(word(&[("regex", "a")]).contains("serializers"));
        assert!(word(&[("regex", "(a)"), ("serializers", "a")]).contains("serializers.a.name"));
        let class = [
            ("regex", "(a)"),
            ("serializers", "a"),
            ("serializers.a.name", "x"),
            ("serializers.a.type", "com.example.Own"),
        ];
        assert!(word(&class).contains("com.example.Own"));
    }
}
