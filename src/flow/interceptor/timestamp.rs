//! `timestamp`: a header with the time of day, in milliseconds since 1970.

use super::{Interceptor, InterceptorType, Verdict};
use crate::base::clock::Clock;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;

/// The type `timestamp`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["timestamp", "org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "headerName",
        kind: Kind::Text,
        default: "timestamp",
        meaning: "Name of the header.",
    },
    Key {
        name: "preserveExisting",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether a header of this name that is there already stays as it is.",
    },
];

struct Timestamp {
    header: String,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Timestamp, SettingError> {
    Ok(Timestamp {
        header: reader.text("headerName").unwrap_or("timestamp").to_owned(),
        preserves: reader.boolean("preserveExisting", false),
    })
}

impl Interceptor for Timestamp {
    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> Verdict {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            event.headers.set(self.header.as_str(), clock.wall_ms().to_string());
        }
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::config::settings::Settings;

    fn after(pairs: &[(&str, &str)], mut event: Event) -> Event {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        interceptor.intercept(&mut event, &ManualClock::default());
        event
    }

    #[test]
    fn the_time_is_set_also_over_an_older_one_unless_told_otherwise() {
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
