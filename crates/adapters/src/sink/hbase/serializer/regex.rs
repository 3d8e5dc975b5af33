//! `RegexHBase2EventSerializer`: the groups of a pattern become columns.

use super::mutations::{EventMutations, HbaseSerializer, ROW_BYTES_MAX, UnwritableEvent};
use crate::wire::thrift::hbase::HbasePut;
use bytes::Bytes;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{Clock, Event};
use millpond_flow::pattern::Pattern;
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::wire::charset::Charset;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the column whose group is the row key.
const ROW_KEY: &str = "ROW_KEY";

/// Random characters of a row key.
const RANDOM_CHARS: usize = 10;

/// The random characters of this process's row keys, in Flume those of a JVM.
static PROCESS_KEY: OnceLock<String> = OnceLock::new();
/// The number of the next row key of this process.
static NEXT_ROW: AtomicU64 = AtomicU64::new(0);

pub(super) struct RegexSerializer {
    pattern: Pattern,
    columns: Vec<Bytes>,
    /// The index of the group that is the row key.
    row_key: Option<usize>,
    deposits_headers: bool,
    charset: Charset,
}

impl RegexSerializer {
    pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let charset = reader.text("serializer.charset").unwrap_or("UTF-8");
        let charset = Charset::named(charset).ok_or_else(|| {
            let message = format!("\"{charset}\" is not {}", Charset::LEGAL);
            reader.error("serializer.charset", message)
        })?;
        let case = if reader.boolean("serializer.regexIgnoreCase", false) { "i" } else { "" };
        let regex = reader.text("serializer.regex").unwrap_or("(.*)");
        // As in Flume a dot matches line ends too.
        let pattern = Pattern::new(&format!("(?s{case}){regex}"))
            .map_err(|error| reader.error("serializer.regex", error.to_string()))?;
        let names = reader.text("serializer.colNames").unwrap_or("payload");
        // As Java splits: empty names at the end do not count.
        let names: Vec<&str> = match names.trim_end_matches(',') {
            "" => vec![""],
            names => names.split(',').collect(),
        };
        if names.len() != pattern.groups() {
            let message = format!(
                "{} columns for {} groups of serializer.regex: no event could be written; name one for each group",
                names.len(),
                pattern.groups()
            );
            return Err(reader.error("serializer.colNames", message));
        }
        let index: Option<i64> =
            reader.number("serializer.rowKeyIndex", -1..=i64::from(i32::MAX))?;
        let row_key = index.and_then(|index| usize::try_from(index).ok());
        if let Some(index) = row_key
            && !names.get(index).is_some_and(|name| name.eq_ignore_ascii_case(ROW_KEY))
        {
            let message = format!(
                "the name at this index of serializer.colNames has to be {ROW_KEY}; it has {} names, the first at 0",
                names.len()
            );
            return Err(reader.error("serializer.rowKeyIndex", message));
        }
        let deposits_headers = reader.boolean("serializer.depositHeaders", false);
        if row_key.is_some() && names.len() == 1 && !deposits_headers {
            let message = "has no column but the row key: a row needs one";
            return Err(reader.error("serializer.colNames", message));
        }
        let columns = names.iter().map(|name| Bytes::from(charset.encode(name))).collect();
        Ok(Self { pattern, columns, row_key, deposits_headers, charset })
    }

    fn new_row_key(&self, clock: &dyn Clock) -> Bytes {
        let process = PROCESS_KEY.get_or_init(random_chars);
        let number = NEXT_ROW.fetch_add(1, Ordering::Relaxed);
        Bytes::from(self.charset.encode(&format!("{}-{process}-{number}", clock.wall_ms())))
    }
}

/// Returns random letters and digits.
fn random_chars() -> String {
    const ALL: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let one = |_| char::from(ALL[usize::try_from(SystemRandom.next_u64() % 62).unwrap_or(0)]);
    (0..RANDOM_CHARS).map(one).collect()
}

impl HbaseSerializer for RegexSerializer {
    fn mutations(
        &mut self,
        event: &Event,
        row: &mut Option<Bytes>,
        clock: &dyn Clock,
    ) -> Result<EventMutations, UnwritableEvent> {
        let text = self.charset.decode(&event.body);
        let found = self.pattern.find_whole(&text).map_err(UnwritableEvent::Abandoned)?;
        let found = found.ok_or(UnwritableEvent::Unmatched)?;
        let group = |index: usize| {
            let range = found.group(index + 1)?;
            Some(Bytes::copy_from_slice(text[range].as_bytes()))
        };
        let row = match self.row_key {
            Some(index) => group(index).unwrap_or_default(),
            None => row.get_or_insert_with(|| self.new_row_key(clock)).clone(),
        };
        match row.len() {
            0 => return Err(UnwritableEvent::EmptyRow),
            ROW_BYTES_MAX.. if row.len() > ROW_BYTES_MAX => {
                return Err(UnwritableEvent::LongRow(row.len()));
            }
            _ => {}
        }
        // A group that took no part in the match has no cell; in Flume such an event blocks the channel.
        let cells = self.columns.iter().enumerate().filter(|(at, _)| Some(*at) != self.row_key);
        let mut columns: Vec<(Bytes, Bytes)> =
            cells.filter_map(|(at, name)| Some((name.clone(), group(at)?))).collect();
        if self.deposits_headers {
            let encoded = |text: &str| Bytes::from(self.charset.encode(text));
            let headers = event.headers.iter();
            columns.extend(headers.map(|(name, value)| (encoded(name), encoded(value))));
        }
        if columns.is_empty() {
            return Err(UnwritableEvent::NoColumn);
        }
        Ok(EventMutations { put: Some(HbasePut { row, columns }), increment: None })
    }
}
