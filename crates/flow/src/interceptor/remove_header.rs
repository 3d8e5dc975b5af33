//! `remove_header`: removes headers by name, list or pattern.

use super::settings::{pattern, pattern_or, say};
use super::{EventFate, Interceptor, InterceptorType};
use crate::failure_log::FailureLog;
use crate::pattern::Pattern;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::{Clock, Event};

/// The type `remove_header`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["remove_header", "org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key { name: "withName", kind: KeyKind::Text, default: "", meaning: "The header of this name." },
    Key {
        name: "fromList",
        kind: KeyKind::Text,
        default: "",
        meaning: "The headers of these names, with fromListSeparator between them.",
    },
    Key {
        name: "fromListSeparator",
        kind: KeyKind::Text,
        default: r"\s*,\s*",
        meaning: "Separator between the names of fromList, as a Java pattern.",
    },
    Key {
        name: "matching",
        kind: KeyKind::Text,
        default: "",
        meaning: "The headers whose whole name matches this Java pattern.",
    },
];

struct RemoveHeader {
    names: Vec<String>,
    matching: Option<Pattern>,
    gives_up: FailureLog,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<RemoveHeader, SettingError> {
    let mut names: Vec<String> = reader.text("withName").map(str::to_owned).into_iter().collect();
    if let Some(list) = reader.text("fromList") {
        let separator = pattern_or(reader, "fromListSeparator", r"\s*,\s*")?;
        let split = separator.split(list);
        let split = split.map_err(|error| reader.error("fromListSeparator", error.to_string()))?;
        names.extend(split.into_iter().map(str::to_owned));
    }
    let matching = pattern(reader, "matching")?;
    Ok(RemoveHeader { names, matching, gives_up: FailureLog::default() })
}

impl RemoveHeader {
    fn removes(&self, name: &str, clock: &dyn Clock) -> bool {
        let matching = |pattern: &Pattern| {
            pattern.is_whole(name).unwrap_or_else(|error| {
                let cause = format!("a header stays: {error}");
                say(&self.gives_up, clock, pattern.as_str(), &cause);
                false
            })
        };
        self.names.iter().any(|known| known == name) || self.matching.as_ref().is_some_and(matching)
    }
}

impl Interceptor for RemoveHeader {
    fn is_heavy(&self) -> bool {
        true
    }

    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate {
        let gone: Vec<String> = event
            .headers
            .iter()
            .filter(|(name, _)| self.removes(name, clock))
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in gone {
            event.headers.remove(&name);
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn left(pairs: &[(&str, &str)]) -> Vec<String> {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        let mut event = Event::new("");
        for name in ["a", "b", "key1", "key22", "a,b"] {
            event.headers.set(name, "x");
        }
        interceptor.intercept(&mut event, &SystemClock::new());
        event.headers.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn headers_go_by_name_by_list_and_by_pattern() {
        assert_eq!(left(&[]), ["a", "b", "key1", "key22", "a,b"]);
        assert_eq!(left(&[("withName", "a,b")]), ["a", "b", "key1", "key22"]);
        assert_eq!(left(&[("fromList", "a , b,c")]), ["key1", "key22", "a,b"]);
        let list = [("fromList", "a|b"), ("fromListSeparator", r"\|")];
        assert_eq!(left(&list), ["key1", "key22", "a,b"]);
        assert_eq!(left(&[("matching", r"key\d")]), ["a", "b", "key22", "a,b"]);
        let all = [("withName", "a"), ("fromList", "b"), ("matching", "key.*")];
        assert_eq!(left(&all), ["a,b"]);
    }

    #[test]
    fn a_pattern_that_java_would_not_take_is_refused_with_its_key() {
        let settings = Settings::from_pairs("i1", &[("matching", "(")]);
        let error = (TYPE.build)(&mut SettingsReader::new(&settings)).err().unwrap();
        assert!(error.key.ends_with(".matching") && error.message.contains('('), "{error}");
    }
}
