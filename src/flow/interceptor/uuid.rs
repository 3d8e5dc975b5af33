//! `UUIDInterceptor`: a header with a name of its own for every event.

use super::{Interceptor, InterceptorType, Verdict};
use crate::base::clock::Clock;
use crate::base::ids::Uuid;
use crate::base::random::{Random, SystemRandom};
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;

/// The type of `UUIDInterceptor`. Flume has no short name for it; `uuid` is ours.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["uuid", "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key { name: "headerName", kind: Kind::Text, default: "id", meaning: "Name of the header." },
    Key {
        name: "preserveExisting",
        kind: Kind::Boolean,
        default: "true",
        meaning: "Whether a header of this name that is there already stays as it is.",
    },
    Key {
        name: "prefix",
        kind: Kind::Text,
        default: "",
        meaning: "What stands before the UUID, which is random (version 4).",
    },
];

struct NameOfItsOwn {
    header: String,
    prefix: String,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<NameOfItsOwn, SettingError> {
    Ok(NameOfItsOwn {
        header: reader.text("headerName").unwrap_or("id").to_owned(),
        prefix: reader.text("prefix").unwrap_or_default().to_owned(),
        preserves: reader.boolean("preserveExisting", true),
    })
}

/// A random UUID: version 4, variant 1 (RFC 9562).
fn random() -> Uuid {
    let bits = u128::from(SystemRandom.next_u64()) << 64 | u128::from(SystemRandom.next_u64());
    let mut bytes = bits.to_be_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Uuid(bytes)
}

impl Interceptor for NameOfItsOwn {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> Verdict {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            event.headers.set(self.header.as_str(), format!("{}{}", self.prefix, random()));
        }
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::config::settings::Settings;

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
