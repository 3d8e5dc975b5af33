//! `regex_filter`: keeps or drops the events in whose body a pattern is found.

use super::settings::{ON_FAILURE, became, on_failure, pattern_or, say};
use super::{EventFate, Interceptor, InterceptorType};
use crate::failure_log::FailureLog;
use crate::pattern::Pattern;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::{Clock, Event};

/// The type `regex_filter`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["regex_filter", "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "regex",
        kind: KeyKind::Text,
        default: ".*",
        meaning: "Java pattern that is looked for anywhere in the body, read as UTF-8.",
    },
    Key {
        name: "excludeEvents",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Drop the events in which it is found, and keep the others.",
    },
    ON_FAILURE,
];

struct RegexFilter {
    pattern: Pattern,
    drops: bool,
    on_failure: EventFate,
    gives_up: FailureLog,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<RegexFilter, SettingError> {
    Ok(RegexFilter {
        pattern: pattern_or(reader, "regex", ".*")?,
        drops: reader.boolean("excludeEvents", false),
        on_failure: on_failure(reader)?,
        gives_up: FailureLog::default(),
    })
}

impl Interceptor for RegexFilter {
    fn is_heavy(&self) -> bool {
        true
    }

    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate {
        match self.pattern.is_in(&String::from_utf8_lossy(&event.body)) {
            Ok(found) if found == self.drops => EventFate::Drop,
            Ok(_) => EventFate::Keep,
            Err(error) => {
                let became = became(self.on_failure);
                let cause = format!("an event {became} without regex_filter: {error}");
                say(&self.gives_up, clock, self.pattern.as_str(), &cause);
                self.on_failure
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn kept(pairs: &[(&str, &str)]) -> Vec<&'static str> {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        let passes = |body: &&'static str| {
            interceptor.intercept(&mut Event::new(*body), &SystemClock::new()) == EventFate::Keep
        };
        ["an ERROR", "info", "", "two\nERRORS"].into_iter().filter(passes).collect()
    }

    #[test]
    fn events_are_kept_or_dropped_by_what_is_found_in_them() {
        assert_eq!(kept(&[]).len(), 4);
        assert_eq!(kept(&[("regex", "ERROR")]), ["an ERROR", "two\nERRORS"]);
        assert_eq!(kept(&[("regex", "ERROR$")]), ["an ERROR"]);
        assert_eq!(kept(&[("regex", "ERROR"), ("excludeEvents", "true")]), ["info", ""]);
        assert!(kept(&[("excludeEvents", "true")]).is_empty());
    }
}
