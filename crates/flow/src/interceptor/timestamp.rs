//! `timestamp`: a header with the time of day, in milliseconds since 1970.

use super::{EventFate, Interceptor, InterceptorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::{Clock, Event};

/// The type `timestamp`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["timestamp", "org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "headerName",
        kind: KeyKind::Text,
        default: "timestamp",
        meaning: "Name of the header.",
    },
    Key {
        name: "preserveExisting",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether an existing header of this name is kept.",
    },
];

struct TimestampInterceptor {
    header: String,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<TimestampInterceptor, SettingError> {
    Ok(TimestampInterceptor {
        header: reader.text("headerName").unwrap_or("timestamp").to_owned(),
        preserves: reader.boolean("preserveExisting", false),
    })
}

impl Interceptor for TimestampInterceptor {
    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            event.headers.set(self.header.as_str(), clock.wall_ms().to_string());
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::ManualClock;

    fn after(pairs: &[(&str, &str)], mut event: Event) -> Event {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        interceptor.intercept(&mut event, &ManualClock::default());
        event
    }

    #[test]
    fn the_time_is_set_also_over_an_older_one_by_default() {
        let now = ManualClock::default().wall_ms().to_string();
        let mut there = Event::new("");
        there.headers.set("timestamp", "7");
        assert_eq!(after(&[], there.clone()).headers.get("timestamp"), Some(now.as_str()));
        let keeps = after(&[("preserveExisting", "true")], there.clone());
        assert_eq!(keeps.headers.get("timestamp"), Some("7"));
        let other = after(&[("headerName", "at")], there);
        assert_eq!(other.headers.get("at"), Some(now.as_str()));
        assert_eq!(other.headers.get("timestamp"), Some("7"));
    }
}
