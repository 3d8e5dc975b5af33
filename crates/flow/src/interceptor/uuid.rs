//! `UUIDInterceptor`: sets a header with a unique id on every event.

use super::{EventFate, Interceptor, InterceptorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::internal::base::ids::Uuid;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{Clock, Event};

/// The type of `UUIDInterceptor`. Flume has no alias for it; `uuid` is millpond's.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["uuid", "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key { name: "headerName", kind: KeyKind::Text, default: "id", meaning: "Name of the header." },
    Key {
        name: "preserveExisting",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether an existing header of this name is kept.",
    },
    Key {
        name: "prefix",
        kind: KeyKind::Text,
        default: "",
        meaning: "Prefix of the UUID, which is random (version 4).",
    },
];

struct UuidInterceptor {
    header: String,
    prefix: String,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<UuidInterceptor, SettingError> {
    Ok(UuidInterceptor {
        header: reader.text("headerName").unwrap_or("id").to_owned(),
        prefix: reader.text("prefix").unwrap_or_default().to_owned(),
        preserves: reader.boolean("preserveExisting", true),
    })
}

/// Returns a random UUID: version 4, variant 1 (RFC 9562).
fn random() -> Uuid {
    let bits = u128::from(SystemRandom.next_u64()) << 64 | u128::from(SystemRandom.next_u64());
    let mut bytes = bits.to_be_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Uuid(bytes)
}

impl Interceptor for UuidInterceptor {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> EventFate {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            event.headers.set(self.header.as_str(), format!("{}{}", self.prefix, random()));
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn id(pairs: &[(&str, &str)], mut event: Event) -> String {
        let settings = Settings::from_pairs("i1", pairs);
        let interceptor = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        interceptor.intercept(&mut event, &SystemClock::new());
        event.headers.get("id").unwrap().to_owned()
    }

    #[test]
    fn every_event_gets_another_uuid_of_version_4_unless_it_has_one() {
        let (one, other) = (id(&[], Event::new("")), id(&[("prefix", "p-")], Event::new("")));
        assert_eq!((one.len(), other.len()), (36, 38));
        assert_eq!((&one[14..15], &other[..2]), ("4", "p-"));
        assert!("89ab".contains(&one[19..20]), "{one}");
        assert_ne!(one, other[2..]);
        let mut there = Event::new("");
        there.headers.set("id", "old");
        assert_eq!(id(&[], there.clone()), "old");
        assert_ne!(id(&[("preserveExisting", "false")], there), "old");
    }
}
