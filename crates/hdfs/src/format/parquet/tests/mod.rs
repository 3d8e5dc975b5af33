//! Events to files, read back by the library's own reader; `pyarrow` reads them in the sink's tests.

mod spool;

use super::*;
use crate::format::FormatSettings;
use bytes::Bytes;
use millpond::Event;
use millpond_flow::settings::{SettingError, Settings, SettingsReader};
use parquet::file::reader::{FileReader, SerializedFileReader};

fn read_settings(pairs: &[(&str, &str)]) -> Result<ParquetSettings, SettingError> {
    let settings = Settings::from_pairs("k1", pairs);
    ParquetSettings::read(&mut SettingsReader::new(&settings))
}

fn of(schema: &str) -> ParquetSettings {
    read_settings(&[("serializer.schema", schema)]).unwrap()
}

fn file(settings: &ParquetSettings, events: &[Event]) -> Bytes {
    let mut writer = ParquetWriter::new(settings).unwrap();
    let mut bytes = Vec::new();
    for event in events {
        writer.add(event).unwrap();
        if writer.is_full() {
            bytes.extend(writer.row_group().unwrap());
        }
    }
    bytes.extend(writer.end().unwrap());
    bytes.into()
}

/// Returns the rows of a file as JSON.
fn rows(file: Bytes) -> Vec<String> {
    let reader = SerializedFileReader::new(file).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().to_json_value_text()).collect()
}

trait RowText {
    fn to_json_value_text(&self) -> String;
}

impl RowText for parquet::record::Row {
    fn to_json_value_text(&self) -> String {
        self.to_string()
    }
}

/// Checks that a body becomes a row, or what of it does not fit.
fn row(schema: &str, body: &str) -> Result<String, String> {
    let (settings, event) = (of(schema), Event::new(body.to_owned()));
    settings.check(&event, &mut settings.scratch()).map_err(|misfit| misfit.to_string())?;
    Ok(rows(file(&settings, &[event])).remove(0))
}

const NESTED: &str = "message log {
  required int64 id;
  optional group user { required binary name (STRING); optional int32 age; }
  optional group tags (LIST) { repeated group list { optional binary element (STRING); } }
  optional group points (LIST) { repeated group list { required group element { required int32 x; optional group ys (LIST) { repeated group list { required int32 element; } } } } }
  optional group counts (MAP) { repeated group key_value { required binary key (STRING); optional int64 value; } }
  repeated binary codes (STRING);
}";

#[test]
fn nested_bodies_become_rows_and_come_back() {
    for (body, expected) in [
        (r#"{"id":1}"#, "{id: 1, user: null, tags: null, points: null, counts: null, codes: []}"),
        (
            r#"{"id":2,"user":{"name":"a"},"tags":[],"points":[],"counts":{},"codes":[]}"#,
            "{id: 2, user: {name: \"a\", age: null}, tags: [], points: [], counts: {}, codes: []}",
        ),
        (
            r#"{"id":3,"user":{"name":"b","age":7},"tags":["x",null,"y"],"points":[{"x":1,"ys":[1,2]},{"x":2,"ys":null},{"x":3,"ys":[]}],"counts":{"k":5,"l":null},"codes":["c","d"]}"#,
            "{id: 3, user: {name: \"b\", age: 7}, tags: [\"x\", null, \"y\"], points: [{x: 1, ys: [1, 2]}, {x: 2, ys: null}, {x: 3, ys: []}], counts: {\"k\" -> 5, \"l\" -> null}, codes: [\"c\", \"d\"]}",
        ),
    ] {
        assert_eq!(row(NESTED, body).unwrap(), expected, "{body}");
    }
}

#[test]
fn each_type_takes_what_it_can_hold() {
    let schema = |column: &str| format!("message m {{ required {column}; }}");
    for (column, value, expected) in [
        ("boolean v", "true", "true"),
        ("int32 v", "-5", "-5"),
        ("int32 v (INTEGER(8,false))", "255", "255"),
        ("int64 v (INTEGER(64,false))", "18446744073709551615", "18446744073709551615"),
        ("float v", "1.5", "1.5"),
        ("double v", "2", "2.0"),
        ("binary v (STRING)", r#""a\u00e9""#, r#""aé""#),
        ("binary v (UTF8)", r#""x""#, r#""x""#),
        ("binary v (JSON)", r#"{"a":[1]}"#, r#""{"a":[1]}""#),
        ("binary v (ENUM)", r#""x""#, r#""x""#),
        ("int32 v (DATE)", r#""1970-01-03""#, "1970-01-03"),
        ("int32 v (DATE)", "2", "1970-01-03"),
        (
            "int64 v (TIMESTAMP(MILLIS,true))",
            r#""1970-01-01T01:00:00+01:00""#,
            "1970-01-01 00:00:00.000",
        ),
        ("int64 v (TIMESTAMP(MICROS,true))", "1000000", "1970-01-01 00:00:01.000000"),
    ] {
        let found = row(&schema(column), &format!(r#"{{"v":{value}}}"#)).unwrap();
        let found = found.replace(" +00:00", "");
        assert_eq!(found, format!("{{v: {expected}}}"), "{column}");
    }
}

#[test]
fn what_does_not_fit_names_its_column_and_the_reason() {
    let number = "message m { required int32 v; optional group g { required int64 w (TIMESTAMP(MILLIS,true)); } optional int32 d (DATE); optional int64 c (TIMESTAMP(MILLIS,false)); optional group l (LIST) { repeated group list { required int32 element; } } }";
    for (body, expected) in [
        ("x", "its body is not JSON"),
        ("", "its body is not JSON"),
        ("[1]", "its body is an array, and not a JSON object"),
        ("{}", "column v: it is required and missing or null"),
        (r#"{"v":null}"#, "column v: it is required and missing or null"),
        (r#"{"v":"1"}"#, "column v: it has to be an integer, and is a string"),
        (r#"{"v":1.5}"#, "column v: it has to be an integer, and is a number with a fraction"),
        (r#"{"v":2147483648}"#, "column v: it is not an integer of 32 bits"),
        (r#"{"v":1,"g":{}}"#, "column g.w: it is required"),
        (r#"{"v":1,"g":3}"#, "column g: it has to be an object, and is an integer"),
        (r#"{"v":1,"g":{"w":"1970-01-01T00:00:00"}}"#, "column g.w: it is not a time such as"),
        (r#"{"v":1,"c":"1970-01-01T00:00:00Z"}"#, "column c: it is not a time without a zone"),
        (r#"{"v":1,"d":"1970-13-01"}"#, "column d: it is not a date"),
        (r#"{"v":1,"l":[1,null]}"#, "column l.element: it is required"),
        (r#"{"v":1,"l":{}}"#, "column l: it has to be an array, and is an object"),
    ] {
        let error = row(number, body).unwrap_err();
        assert!(error.starts_with(expected), "{body}: {error}");
    }
    let deep = format!(r#"{{"v":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(row(number, &deep).unwrap_err().starts_with("its body is not JSON"));
}

#[test]
fn an_event_without_a_schema_is_headers_timestamp_and_body() {
    let settings = read_settings(&[]).unwrap();
    let event = |headers: &[(&str, &str)], body: &[u8]| Event::packed(headers, body);
    let events = [
        event(&[("timestamp", "1000"), ("a", "b")], b"\xff"),
        event(&[("timestamp", "noon")], b""),
        event(&[], b"x"),
    ];
    let mut scratch = settings.scratch();
    assert!(events.iter().all(|event| settings.check(event, &mut scratch).is_ok()));
    let found = rows(file(&settings, &events)).join("\n").replace(" +00:00", "");
    let expected = [
        r#"{headers: {"a" -> "b", "timestamp" -> "1000"}, timestamp: 1970-01-01 00:00:01.000, body: [255]}"#,
        r#"{headers: {"timestamp" -> "noon"}, timestamp: null, body: []}"#,
        r#"{headers: {}, timestamp: null, body: [120]}"#,
    ];
    assert_eq!(found, expected.join("\n"));
    let text = read_settings(&[("serializer.bodyType", "string")]).unwrap();
    assert!(rows(file(&text, &events[2..]))[0].ends_with(r#"body: "x"}"#));
    let error = text.check(&events[0], &mut text.scratch()).unwrap_err().to_string();
    assert!(error.starts_with("column body: it is not UTF-8"), "{error}");
}

#[test]
fn columns_of_the_event_and_fields_without_a_column_are_kept() {
    let schema = "message m { optional int32 a; optional group g { optional int32 b; } required group _headers (MAP) { repeated group key_value { required binary key (STRING); required binary value (STRING); } } optional int64 _timestamp (TIMESTAMP(MICROS,true)); required binary _body (STRING); optional binary _extra (JSON); }";
    let event = Event::packed(&[("timestamp", "2")], br#"{"a":1,"g":{"b":2,"c":3},"d":[4]}"#);
    let settings = of(schema);
    let lost = settings.check(&event, &mut settings.scratch()).unwrap();
    assert_eq!(lost.first(), None);
    let found = rows(file(&settings, &[event, Event::new("{}")]));
    assert!(found[0].contains("1970-01-01 00:00:00.002"), "{found:?}");
    assert!(found[0].ends_with(r#"_extra: "{"d":[4],"g.c":3}"}"#), "{found:?}");
    assert!(found[1].ends_with(r#"_body: "{}", _extra: null}"#), "{found:?}");
    // Without such a column the first is reported, or refuses the event.
    let plain = [("serializer.schema", "message m { optional int32 a; }")];
    let body = Event::new(format!(r#"{{"b{}":1}}"#, "\\u0001x".repeat(90)));
    let settings = read_settings(&plain).unwrap();
    let lost = settings.check(&body, &mut settings.scratch()).unwrap().first().unwrap();
    assert!(lost.starts_with("b\\u{1}x") && lost.ends_with('…'), "{lost}");
    let settings = read_settings(&[plain[0], ("serializer.unknownFields", "refuse")]).unwrap();
    let error = settings.check(&body, &mut settings.scratch()).unwrap_err().to_string();
    assert!(error.contains("is not in the schema"), "{error}");
}

#[test]
fn a_schema_that_cannot_be_used_says_why() {
    for (schema, expected) in [
        ("x", "without its end"),
        ("message m { optional int32 a; ", "without its end"),
        ("message m { }", "has no column"),
        ("message m { optional int32 a; } message n { }", "text after the }"),
        ("message m { optional int37 a; }", "is not a message type"),
        ("message m { optional int96 a; }", "the column a of the type INT96"),
        (
            "message m { optional group g { optional int32 d (DECIMAL(4,2)); } }",
            "the column g.d of the type INT32",
        ),
        (
            "message m { optional group g (LIST) { optional int32 a; } }",
            "the column g, a LIST that is not",
        ),
        (
            "message m { optional group g (MAP) { repeated group key_value { required int32 key; } } }",
            "the column g, a MAP whose key",
        ),
        ("message m { optional int32 _body; }", "_body, which has to be binary"),
        ("message m { required binary _extra (STRING); }", "_extra, which has to be optional"),
        ("message m { optional binary _timestamp (STRING); }", "_timestamp, which has to be int64"),
        ("message m { optional binary _headers (STRING); }", "_headers, which has to be a group"),
    ] {
        let error = read_settings(&[("serializer.schema", schema)]).unwrap_err();
        assert_eq!(error.key, "k1.serializer.schema");
        assert!(error.message.contains(expected), "{schema}: {}", error.message);
    }
    let deep = "optional group g { ".repeat(1000) + &"} ".repeat(1000);
    let error = read_settings(&[("serializer.schema", &format!("message m {{ {deep} }}"))]);
    assert!(error.unwrap_err().message.contains("more than 32 deep"));
    for (key, value) in [
        ("serializer.compression", "zstd"),
        ("serializer.bodyType", "text"),
        ("serializer.unknownFields", "keep"),
        ("serializer.rowGroupBytes", "1"),
        ("serializer.schemaFile", "/nonexistent"),
    ] {
        assert_eq!(read_settings(&[(key, value)]).unwrap_err().key, format!("k1.{key}"));
    }
}

#[test]
fn a_schema_may_be_in_a_file() {
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), "message m { required int32 a; }\n").unwrap();
    let path = place.path().to_str().unwrap();
    let settings = read_settings(&[("serializer.schemaFile", path)]).unwrap();
    assert_eq!(rows(file(&settings, &[Event::new(r#"{"a":1}"#)])), ["{a: 1}"]);
}

#[test]
fn row_groups_are_bounded_and_every_codec_is_read() {
    for codec in ["snappy", "gzip", "lz4", "none"] {
        let pairs = [("serializer.compression", codec), ("serializer.rowGroupBytes", "1048576")];
        let settings = read_settings(&pairs).unwrap();
        let events: Vec<Event> =
            (0..40).map(|n| Event::new(format!("{n}").repeat(60_000))).collect();
        let bytes = file(&settings, &events);
        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        let groups = reader.metadata().row_groups();
        assert!((3..8).contains(&groups.len()), "{} row groups", groups.len());
        assert!(groups.iter().all(|group| group.total_byte_size() < 2 << 20));
        assert_eq!(rows(bytes).len(), 40, "{codec}");
    }
}

#[test]
fn parquet_files_need_a_data_stream_without_a_codec() {
    let read = |pairs: &[(&str, &str)]| {
        let mut all = vec![("serializer", "Parquet")];
        all.extend(pairs);
        let settings = Settings::from_pairs("k1", &all);
        let mut reader = SettingsReader::new(&settings);
        let read = FormatSettings::read(&mut reader);
        (read, reader.into_findings().len())
    };
    assert_eq!(read(&[]).0.unwrap_err().key, "k1.hdfs.fileType");
    let stream = ("hdfs.fileType", "DataStream");
    assert_eq!(read(&[stream, ("hdfs.codeC", "gzip")]).0.unwrap_err().key, "k1.hdfs.codeC");
    let (settings, findings) = read(&[stream]);
    assert_eq!((settings.unwrap().extension(), findings), (Some(".parquet"), 2));
    assert_eq!(read(&[stream, ("hdfs.rollCount", "0"), ("hdfs.rollSize", "0")]).1, 0);
}
