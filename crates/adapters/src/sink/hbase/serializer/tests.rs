use super::*;
use crate::wire::thrift::hbase::HbasePut;
use bytes::Bytes;
use millpond::{Event, ManualClock};
use millpond_flow::settings::Settings;
use std::time::Duration;

fn serializer(pairs: &[(&str, &str)]) -> Result<Box<dyn HbaseSerializer>, String> {
    let settings = Settings::from_pairs("k1", pairs);
    build(&mut SettingsReader::new(&settings)).map_err(|error| error.to_string())
}

fn clock() -> ManualClock {
    let clock = ManualClock::default();
    clock.advance(Duration::from_millis(123));
    clock
}

/// The row, its columns and the increment of an event.
type Written = (String, Vec<(String, Vec<u8>)>, Option<CounterIncrement>);

fn written(pairs: &[(&str, &str)], event: &Event) -> Result<Written, UnwritableEvent> {
    let mut serializer = serializer(pairs).unwrap();
    let mutations = serializer.mutations(event, &mut None, &clock())?;
    let put = mutations.put.unwrap_or(HbasePut { row: Bytes::new(), columns: Vec::new() });
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let columns = put.columns.iter().map(|(name, value)| (text(name), value.to_vec())).collect();
    Ok((text(&put.row), columns, mutations.increment))
}

const REGEX: (&str, &str) =
    ("serializer", "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer");

#[test]
fn simple_writes_the_body_and_counts_as_flume_does() {
    let event = Event::new(&b"\xFFbody"[..]);
    let (row, columns, increment) = written(&[], &event).unwrap();
    let uuid = row.strip_prefix("default").unwrap();
    assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{row}");
    assert_eq!(columns, [("pCol".to_owned(), b"\xFFbody".to_vec())]);
    let increment = increment.unwrap();
    assert_eq!(
        (&*increment.row, &*increment.column, increment.amount),
        (&b"incRow"[..], &b"iCol"[..], 1)
    );

    let own = [
        ("serializer.rowPrefix", "p-"),
        ("serializer.suffix", "timestamp"),
        ("serializer.payloadColumn", "b"),
        ("serializer.incrementColumn", ""),
    ];
    let (row, columns, increment) = written(&own, &event).unwrap();
    assert_eq!((row.as_str(), columns[0].0.as_str(), increment), ("p-1600000000123", "b", None));
    let (row, columns, increment) =
        written(&[("serializer.payloadColumn", ""), ("serializer.incrementRow", "n")], &event)
            .unwrap();
    assert!(row.is_empty() && columns.is_empty());
    assert_eq!(increment.unwrap().row, "n");
    let (row, ..) = written(&[("serializer.suffix", "random")], &event).unwrap();
    row.strip_prefix("default").unwrap().parse::<i64>().unwrap();
}

#[test]
fn nano_gives_each_event_its_own_row_and_a_repetition_the_same() {
    let mut serializer = serializer(&[("serializer.suffix", "nano")]).unwrap();
    let (event, clock) = (Event::new("a"), clock());
    let mut key = None;
    let mut row = |key: &mut Option<Bytes>| {
        serializer.mutations(&event, key, &clock).unwrap().put.unwrap().row
    };
    assert_eq!(row(&mut key), "default1600000000123000000");
    assert_eq!(row(&mut None), "default1600000000123000001");
    assert_eq!(row(&mut key), "default1600000000123000000");
}

#[test]
fn regex_writes_a_column_for_each_group_and_the_headers() {
    let mut event = Event::new("GET\n/ü 200");
    event.headers.set("host", "h1");
    let pairs = [
        REGEX,
        ("serializer.regex", "([a-z]+)\\s(\\S+) (\\d+)( .*)?"),
        ("serializer.regexIgnoreCase", "true"),
        ("serializer.colNames", "ROW_KEY,path,status,rest"),
        ("serializer.rowKeyIndex", "0"),
        ("serializer.depositHeaders", "true"),
    ];
    let (row, columns, increment) = written(&pairs, &event).unwrap();
    let columns: Vec<(&str, &[u8])> = columns.iter().map(|(n, v)| (n.as_str(), &v[..])).collect();
    let expected: [(&str, &[u8]); 3] =
        [("path", "/ü".as_bytes()), ("status", b"200"), ("host", b"h1")];
    assert_eq!((row.as_str(), &columns[..], increment), ("GET", &expected[..], None));
}

#[test]
fn regex_makes_a_row_key_of_milliseconds_random_characters_and_a_counter() {
    let mut serializer = serializer(&[REGEX]).unwrap();
    let rows: Vec<String> = (0..2)
        .map(|_| {
            let event = Event::new("line\nline");
            let put = serializer.mutations(&event, &mut None, &clock()).unwrap().put.unwrap();
            assert_eq!(put.columns, [(Bytes::from("payload"), Bytes::from("line\nline"))]);
            String::from_utf8(put.row.to_vec()).unwrap()
        })
        .collect();
    let parts: Vec<Vec<&str>> = rows.iter().map(|row| row.split('-').collect()).collect();
    assert_eq!((parts[0][0], parts[0][1]), ("1600000000123", parts[1][1]));
    assert!(parts[0][1].len() == 10 && parts[0][1].chars().all(|c| c.is_ascii_alphanumeric()));
    let number = |at: usize| parts[at][2].parse::<u64>().unwrap();
    assert!(number(1) > number(0), "{rows:?}");
}

#[test]
fn regex_decodes_by_the_charset_and_stores_groups_in_utf8() {
    let mut event = Event::new(&b"\xE9"[..]);
    event.headers.set("h", "é");
    let pairs =
        [REGEX, ("serializer.charset", "ISO-8859-1"), ("serializer.depositHeaders", "true")];
    let (_, columns, _) = written(&pairs, &event).unwrap();
    assert_eq!(columns, [("payload".to_owned(), vec![0xC3, 0xA9]), ("h".to_owned(), vec![0xE9])]);
}

#[test]
fn events_that_can_never_be_written_are_recognised() {
    let with = |body: &'static str, regex: &str, names: &str| {
        let pairs = [
            REGEX,
            ("serializer.regex", regex),
            ("serializer.colNames", names),
            ("serializer.rowKeyIndex", "0"),
        ];
        written(&pairs, &Event::new(body)).map(|_| ()).unwrap_err()
    };
    assert_eq!(with("x", "(\\d)(.*)", "ROW_KEY,a"), UnwritableEvent::Unmatched);
    assert_eq!(with("x", "(\\d*)(.*)", "ROW_KEY,a"), UnwritableEvent::EmptyRow);
    assert_eq!(with("x", "(\\d)?(.*)", "ROW_KEY,a"), UnwritableEvent::EmptyRow);
    assert_eq!(with("x", "(.)(\\d)?", "row_key,a"), UnwritableEvent::NoColumn);
    let long: &'static str = "k".repeat(40_000).leak();
    assert_eq!(with(long, "(k+)(.*)", "ROW_KEY,a"), UnwritableEvent::LongRow(40_000));
}

#[test]
fn settings_that_would_write_nothing_or_fail_are_refused() {
    for (pairs, words) in [
        (&[("serializer.payloadColumn", ""), ("serializer.incrementColumn", "")][..], "nothing"),
        (&[("serializer.incrementRow", "")], "1 to 32767"),
        (&[REGEX, ("serializer.regex", "(a")], "serializer.regex"),
        (&[REGEX, ("serializer.colNames", "a,b")], "2 columns for 1 groups"),
        (&[REGEX, ("serializer.rowKeyIndex", "0")], "has to be ROW_KEY"),
        (&[REGEX, ("serializer.rowKeyIndex", "3")], "has to be ROW_KEY"),
        (
            &[REGEX, ("serializer.rowKeyIndex", "0"), ("serializer.colNames", "ROW_KEY")],
            "no column but",
        ),
        (&[REGEX, ("serializer.charset", "UTF-99")], "UTF-99"),
        (&[("serializer", "com.example.Own")], "cannot be loaded"),
    ] {
        let error = serializer(pairs).err().unwrap();
        assert!(error.contains(words), "{pairs:?}: {error}");
    }
}

#[test]
fn every_name_that_flume_had_for_a_serializer_is_known() {
    for name in [
        "org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer",
        "org.apache.flume.sink.hbase.SimpleHbaseEventSerializer",
        "org.apache.flume.sink.hbase.SimpleAsyncHbaseEventSerializer",
        "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer",
        "org.apache.flume.sink.hbase.RegexHbaseEventSerializer",
        "RegexHBase2EventSerializer",
    ] {
        assert!(serializer(&[("serializer", name)]).is_ok(), "{name}");
    }
}
