//! `SimpleHBase2EventSerializer`: the body in one column of a row of its own, and a counter of events.

use super::mutations::{
    CounterIncrement, EventMutations, HbaseSerializer, ROW_BYTES_MAX, UnwritableEvent,
};
use crate::wire::thrift::hbase::HbasePut;
use bytes::Bytes;
use millpond::internal::base::ids::Uuid;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{Clock, Event};
use millpond_flow::settings::{SettingError, SettingsReader, Severity};

/// Bytes of the longest suffix, a UUID.
const SUFFIX_BYTES_MAX: usize = 36;

/// The rest of a row key after the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowSuffix {
    Uuid,
    Random,
    Timestamp,
    Nano,
}

pub(super) struct SimpleSerializer {
    prefix: String,
    suffix: RowSuffix,
    /// The column of the body.
    payload: Option<Bytes>,
    increment: Option<CounterIncrement>,
    /// The last suffix of the kind nano.
    last_nano: u64,
}

impl SimpleSerializer {
    pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let text = |key: &str, default: &'static str| {
            reader.text(&format!("serializer.{key}")).unwrap_or(default).to_owned()
        };
        let prefix = text("rowPrefix", "default");
        let column = |name: String| (!name.is_empty()).then(|| Bytes::from(name));
        let payload = column(text("payloadColumn", "pCol"));
        let row = Bytes::from(text("incrementRow", "incRow"));
        let column = column(text("incrementColumn", "iCol"));
        if payload.is_none() && column.is_none() {
            let message =
                "is empty, and serializer.incrementColumn too: nothing would be written; set one";
            return Err(reader.error("serializer.payloadColumn", message));
        }
        if prefix.len() + SUFFIX_BYTES_MAX > ROW_BYTES_MAX {
            return Err(reader.error("serializer.rowPrefix", "is longer than a row key can be"));
        }
        if column.is_some() && !(1..=ROW_BYTES_MAX).contains(&row.len()) {
            let message = format!("has to have 1 to {ROW_BYTES_MAX} bytes");
            return Err(reader.error("serializer.incrementRow", message));
        }
        let suffix = Self::suffix(reader, payload.is_some());
        let increment = column.map(|column| CounterIncrement { row, column, amount: 1 });
        Ok(Self { prefix, suffix, payload, increment, last_nano: 0 })
    }

    /// Reads the suffix. An unknown word is uuid, as in Flume.
    fn suffix(reader: &mut SettingsReader<'_>, matters: bool) -> RowSuffix {
        const KEY: &str = "serializer.suffix";
        match reader.text(KEY).unwrap_or("uuid") {
            "uuid" => RowSuffix::Uuid,
            "random" => RowSuffix::Random,
            "nano" => RowSuffix::Nano,
            "timestamp" => {
                if matters {
                    let message = "events of one millisecond have one row, of which HBase keeps the last unless the family has more VERSIONS, as in Flume; uuid and nano give each event its own row";
                    reader.find(Severity::Warning, KEY, message);
                }
                RowSuffix::Timestamp
            }
            other => {
                let message = format!(
                    "\"{other}\" is taken as uuid, as in Flume; there are uuid, random, timestamp and nano"
                );
                reader.find(Severity::Warning, KEY, message);
                RowSuffix::Uuid
            }
        }
    }

    fn row_key(&mut self, clock: &dyn Clock) -> Bytes {
        let prefix = &self.prefix;
        Bytes::from(match self.suffix {
            RowSuffix::Uuid => format!("{prefix}{}", random_uuid()),
            RowSuffix::Random => format!("{prefix}{}", SystemRandom.next_u64().cast_signed()),
            RowSuffix::Timestamp => format!("{prefix}{}", clock.wall_ms()),
            RowSuffix::Nano => {
                let now = clock.wall_ms().saturating_mul(1_000_000);
                self.last_nano = now.max(self.last_nano.saturating_add(1));
                format!("{prefix}{}", self.last_nano)
            }
        })
    }
}

/// Returns a random UUID: version 4, variant 1 (RFC 9562).
fn random_uuid() -> Uuid {
    let bits = u128::from(SystemRandom.next_u64()) << 64 | u128::from(SystemRandom.next_u64());
    let mut bytes = bits.to_be_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Uuid(bytes)
}

impl HbaseSerializer for SimpleSerializer {
    fn mutations(
        &mut self,
        event: &Event,
        row: &mut Option<Bytes>,
        clock: &dyn Clock,
    ) -> Result<EventMutations, UnwritableEvent> {
        let put = self.payload.clone().map(|column| {
            let row = row.get_or_insert_with(|| self.row_key(clock)).clone();
            HbasePut { row, columns: vec![(column, event.body.clone())] }
        });
        Ok(EventMutations { put, increment: self.increment.clone() })
    }
}
