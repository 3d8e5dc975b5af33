pub(crate) mod reading;
mod real_hdfs;

use super::codec::Codec;
use super::sequence_file::{BLOCK_BYTES, Compression, SequenceFile, ValueClass};
use super::{FileFormat, FormatSettings};
use millpond::Event;
use millpond_flow::settings::{SettingError, Settings, SettingsReader};
use proptest::prelude::*;

fn read(pairs: &[(&str, &str)]) -> Result<FormatSettings, SettingError> {
    FormatSettings::read(&mut SettingsReader::new(&Settings::from_pairs("k1", pairs)))
}

fn event(time: &str, body: impl Into<Vec<u8>>) -> Event {
    let mut event = Event::new(body.into());
    event.headers.set("timestamp", time);
    event
}

/// Returns the bytes of a file after its header and each of `batches`.
fn written(format: &mut dyn FileFormat, batches: &[Vec<Event>]) -> Vec<Vec<u8>> {
    let (mut file, mut cuts) = (Vec::new(), Vec::new());
    format.begin(&batches[0][0], &mut file).unwrap();
    for batch in batches {
        format.append_batch(batch, &mut file).unwrap();
        cuts.push(file.clone());
    }
    format.finish(&mut file).unwrap();
    assert_eq!(Some(&file), cuts.last(), "nothing follows the last batch");
    cuts
}

#[test]
fn a_sequence_file_is_byte_for_byte_that_of_hadoop() {
    let golden = include_bytes!("../../../../../tests/golden/hadoop/text.seq");
    let mut format = SequenceFile::new(ValueClass::Text, Compression::Nothing);
    format.marker = *golden.last_chunk().unwrap();
    let batches =
        [vec![event("1700000000123", "first"), event("-1", "")], vec![event("0", "x".repeat(200))]];
    assert_eq!(written(&mut format, &batches).pop().unwrap(), golden);
}

#[test]
fn a_record_without_a_readable_time_has_the_one_of_the_clock() {
    for time in ["", "soon", "99999999999999999999"] {
        let mut format = SequenceFile::new(ValueClass::Bytes, Compression::Nothing);
        let file = written(&mut format, &[vec![event(time, "x")]]).pop().unwrap();
        let records = reading::records(&file);
        assert!(records[0].0 > 1_500_000_000_000, "{time}: {}", records[0].0);
    }
}

#[test]
fn a_block_ends_at_the_stated_size() {
    let batch: Vec<Event> = (0..5).map(|n| event("1", vec![n; BLOCK_BYTES / 2])).collect();
    let mut format = SequenceFile::new(ValueClass::Bytes, Compression::Blocks(Codec::Default));
    let marker = format.marker;
    let file = written(&mut format, &[batch]).pop().unwrap();
    let markers = file.windows(16).filter(|window| **window == marker).count();
    assert_eq!(markers, 1 + 3, "that of the header, and one before each block");
    assert_eq!(reading::records(&file).len(), 5);
}

#[test]
fn formats_are_found_and_impossible_combinations_refused() {
    let avro = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    for (extension, pairs) in [
        (None, &[][..]),
        (None, &[("hdfs.writeFormat", "text"), ("hdfs.codeC", "none")]),
        (None, &[("hdfs.writeFormat", "org.apache.flume.sink.hdfs.HDFSTextSerializer$Builder")]),
        (Some(".gz"), &[("hdfs.codeC", "GZIP")]),
        (Some(".zst"), &[("hdfs.codeC", "ZStandard"), ("hdfs.compressionType", "record")]),
        (None, &[("hdfs.fileType", "datastream"), ("serializer", "header_and_text")]),
        (None, &[("hdfs.fileType", "DataStream"), ("serializer", avro)]),
        (Some(".bz2"), &[("hdfs.fileType", "compressedstream"), ("hdfs.codeC", "bzip2codec")]),
    ] {
        let format = read(pairs).unwrap();
        assert_eq!(format.extension(), extension, "{pairs:?}");
        let _ = format.create();
    }
    for (key, pairs) in [
        ("k1.hdfs.codeC", &[("hdfs.fileType", "DataStream"), ("hdfs.codeC", "none")][..]),
        ("k1.hdfs.codeC", &[("hdfs.codeC", "lzo")]),
        ("k1.hdfs.codeC", &[("hdfs.fileType", "CompressedStream")]),
        ("k1.hdfs.codeC", &[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "None")]),
        ("k1.hdfs.fileType", &[("hdfs.fileType", "Text")]),
        ("k1.hdfs.compressionType", &[("hdfs.compressionType", "RECORD")]),
        ("k1.hdfs.writeFormat", &[("hdfs.writeFormat", "x.Own$Builder")]),
        ("k1.serializer", &[("hdfs.fileType", "DataStream"), ("serializer", "x.Own$Builder")]),
    ] {
        assert_eq!(read(pairs).unwrap_err().key, key, "{pairs:?}");
    }
    let message = read(&[("hdfs.codeC", "lzo")]).unwrap_err().to_string();
    assert!(message.contains("\"lzo\"") && message.contains(Codec::NAMES), "{message}");
}

#[test]
fn each_codec_is_found_by_alias_class_and_path() {
    for codec in Codec::ALL {
        let path = codec.class_path();
        let class = path.rsplit('.').next().unwrap();
        for name in
            [codec.name(), &codec.name().to_uppercase(), class, &class.to_lowercase(), &path]
        {
            assert_eq!(Codec::named(name), Some(codec), "{name}");
        }
        assert_eq!(Codec::named(&path.to_lowercase()), None, "Java's class names have a case");
    }
}

#[test]
fn events_of_another_avro_schema_are_refused_in_an_open_file() {
    let schema = |name: &str| format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
    let of = |name: &str| {
        let mut event = event("1", "");
        event.headers.set("flume.avro.schema.literal", schema(name));
        event
    };
    let avro = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    let pairs = [("hdfs.fileType", "DataStream"), ("serializer", avro)];
    let mut format = read(&pairs).unwrap().create();
    let mut file = Vec::new();
    format.begin(&of("A"), &mut file).unwrap();
    format.append_batch(&[of("A")], &mut file).unwrap();
    let whole = file.len();
    let refused = format.append_batch(&[of("A"), of("B")], &mut file);
    assert_eq!(refused, Err(super::FormatError::OtherSchema));
    assert_eq!(file.len(), whole, "nothing of the batch was written");
    format.append_batch(&[of("A")], &mut file).unwrap();
}

#[test]
fn a_compressed_avro_file_has_its_header_in_the_first_member() {
    let pairs = [
        ("hdfs.fileType", "CompressedStream"),
        ("hdfs.codeC", "gzip"),
        ("serializer", "avro_event"),
    ];
    let mut format = read(&pairs).unwrap().create();
    let cuts = written(format.as_mut(), &[vec![event("1", "a")], vec![event("2", "b")]]);
    let all = reading::unpacked(Codec::Gzip, &cuts[1]);
    assert!(
        all.starts_with(b"Obj\x01") && all.starts_with(&reading::unpacked(Codec::Gzip, &cuts[0]))
    );
    assert_eq!(all.windows(4).filter(|window| window == b"Obj\x01").count(), 1);
}

fn batches() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let body = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0usize..300_000).prop_map(|(byte, bytes)| vec![byte; bytes]),
        Just(b"a\n\nb\n".to_vec()),
    ];
    let event = (any::<i64>(), body).prop_map(|(time, body)| event(&time.to_string(), body));
    proptest::collection::vec(proptest::collection::vec(event, 1..5), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_stream_cut_after_any_batch_is_readable(batches in batches()) {
        for codec in Codec::ALL {
            let pairs = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", codec.name())];
            let mut format = read(&pairs).unwrap().create();
            let mut expected = Vec::new();
            for (cut, batch) in written(format.as_mut(), &batches).iter().zip(&batches) {
                for event in batch {
                    expected.extend_from_slice(&event.body);
                    expected.push(b'\n');
                }
                prop_assert!(reading::unpacked(codec, cut) == expected, "{codec:?}");
            }
        }
    }

    #[test]
    fn a_sequence_file_cut_after_any_batch_is_readable(batches in batches(), text in any::<bool>()) {
        let of_codecs = Codec::ALL.into_iter().flat_map(|c| [Compression::Records(c), Compression::Blocks(c)]);
        for compression in std::iter::once(Compression::Nothing).chain(of_codecs) {
            let class = if text { ValueClass::Text } else { ValueClass::Bytes };
            let mut format = SequenceFile::new(class, compression);
            let mut expected = Vec::new();
            for (cut, batch) in written(&mut format, &batches).iter().zip(&batches) {
                let time = |event: &Event| event.headers.get("timestamp").unwrap().parse().unwrap();
                expected.extend(batch.iter().map(|event| (time(event), event.body.to_vec())));
                prop_assert!(reading::records(cut) == expected, "{compression:?}");
            }
        }
    }
}
