//! A reader of the formats, which panics on anything invalid.

use crate::format::codec::Codec;
use std::io::Read;

/// Returns the data of all members or blocks.
pub(super) fn unpacked(codec: Codec, mut packed: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    match codec {
        Codec::Gzip => {
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut data).unwrap();
        }
        Codec::Bzip2 => {
            bzip2::read::MultiBzDecoder::new(packed).read_to_end(&mut data).unwrap();
        }
        Codec::Default | Codec::Deflate => {
            while !packed.is_empty() {
                flate2::bufread::ZlibDecoder::new(&mut packed).read_to_end(&mut data).unwrap();
            }
        }
        Codec::Snappy | Codec::Lz4 => {
            let mut file = Cursor(packed);
            while !file.0.is_empty() {
                let (whole, bytes) = (file.int() as usize, file.int() as usize);
                let frame = file.take(bytes);
                assert!(whole > 0 && whole <= 256 * 1024 && bytes <= 256 * 1024);
                let part = match codec {
                    Codec::Snappy => snap::raw::Decoder::new().decompress_vec(frame).unwrap(),
                    _ => lz4_flex::block::decompress(frame, whole).unwrap(),
                };
                assert_eq!(part.len(), whole);
                data.extend_from_slice(&part);
            }
        }
        Codec::Zstandard => {
            while !packed.is_empty() {
                let decoder = ruzstd::decoding::StreamingDecoder::new(&mut packed);
                decoder.unwrap().read_to_end(&mut data).unwrap();
            }
        }
    }
    data
}

/// Returns the data of all members or blocks of the codec `name`.
pub(crate) fn unpacked_by_name(name: &str, packed: &[u8]) -> Vec<u8> {
    unpacked(Codec::named(name).unwrap(), packed)
}

/// Returns keys and values of a SequenceFile.
pub(crate) fn records(file: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut file = Cursor(file);
    assert_eq!(file.take(4), b"SEQ\x06");
    assert_eq!(file.text(), "org.apache.hadoop.io.LongWritable");
    let class = file.text();
    let flags = (file.take(1)[0], file.take(1)[0]);
    let codec = (flags.0 == 1).then(|| file.text());
    let codec = codec.map(|class| Codec::named(&class).unwrap());
    assert_eq!(file.int(), 0);
    let marker = file.take(16);
    let mut records = Vec::new();
    while !file.0.is_empty() {
        let length = file.int();
        if length == -1 {
            assert_eq!(file.take(16), marker);
            if flags.1 == 1 {
                put_block(&mut file, &class, codec.unwrap(), &mut records);
            }
            continue;
        }
        assert_eq!((flags.1, file.int()), (0, 8));
        let mut record = Cursor(file.take(length as usize));
        let key = i64::from_be_bytes(record.take(8).try_into().unwrap());
        let value = match codec {
            None => record.0.to_vec(),
            Some(codec) => unpacked(codec, record.0),
        };
        records.push((key, body(&class, &value)));
    }
    records
}

fn put_block(file: &mut Cursor<'_>, class: &str, codec: Codec, records: &mut Vec<(i64, Vec<u8>)>) {
    let count = file.variable();
    let mut buffer = || {
        let bytes = file.variable();
        unpacked(codec, file.take(bytes))
    };
    let [key_lengths, keys, value_lengths, values] = [buffer(), buffer(), buffer(), buffer()];
    assert_eq!(key_lengths, vec![8; count]);
    let (mut lengths, mut values) = (Cursor(&value_lengths), Cursor(&values));
    for key in keys.chunks(8) {
        let value = values.take(lengths.variable());
        records.push((i64::from_be_bytes(key.try_into().unwrap()), body(class, value)));
    }
    assert!(lengths.0.is_empty() && values.0.is_empty());
}

fn body(class: &str, value: &[u8]) -> Vec<u8> {
    let mut value = Cursor(value);
    let length = match class {
        "org.apache.hadoop.io.Text" => value.variable(),
        _ => value.int() as usize,
    };
    assert_eq!(value.0.len(), length);
    value.0.to_vec()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn variable(&mut self) -> usize {
        match self.take(1)[0] {
            small @ 0..=127 => usize::from(small),
            more => {
                let bytes = self.take(usize::from(0x90 - more));
                bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
            }
        }
    }

    fn text(&mut self) -> String {
        let bytes = self.variable();
        String::from_utf8(self.take(bytes).to_vec()).unwrap()
    }
}
