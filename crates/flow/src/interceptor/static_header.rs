//! `static`: sets one header to the same value on every event.

use super::{EventFate, Interceptor, InterceptorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::{Clock, Event};

/// The type `static`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["static", "org.apache.flume.interceptor.StaticInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key { name: "key", kind: KeyKind::Text, default: "key", meaning: "Name of the header." },
    Key { name: "value", kind: KeyKind::Text, default: "value", meaning: "Value of the header." },
    Key {
        name: "preserveExisting",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether an existing header of this name is kept.",
    },
];

struct StaticHeader {
    name: String,
    value: String,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<StaticHeader, SettingError> {
    Ok(StaticHeader {
        name: reader.text("key").unwrap_or("key").to_owned(),
        value: reader.text("value").unwrap_or("value").to_owned(),
        preserves: reader.boolean("preserveExisting", true),
    })
}

impl Interceptor for StaticHeader {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> EventFate {
        if !self.preserves || event.headers.get(&self.name).is_none() {
            event.headers.set(self.name.as_str(), self.value.as_str());
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn after(pairs: &[(&str, &str)], mut event: Event) -> Vec<(String, String)> {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        assert_eq!(interceptor.intercept(&mut event, &SystemClock::new()), EventFate::Keep);
        event.headers.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_header_is_set_and_an_existing_one_stays_by_default() {
        let pair = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
        let mut there = Event::new("");
        there.headers.set("dc", "old");
        assert_eq!(after(&[], Event::new("")), pair("key", "value"));
        let keys = [("key", "dc"), ("value", "new")];
        assert_eq!(after(&keys, Event::new("")), pair("dc", "new"));
        assert_eq!(after(&keys, there.clone()), pair("dc", "old"));
        let keys = [("key", "dc"), ("value", "new"), ("preserveExisting", "false")];
        assert_eq!(after(&keys, there), pair("dc", "new"));
    }
}
