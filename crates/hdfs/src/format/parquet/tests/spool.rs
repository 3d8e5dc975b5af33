//! Spool files: whole, cut and damaged.

use super::*;
use crate::format::FileFormat;
use std::io::Cursor;

/// Returns a spool file of two batches, with and without the end, and the offset of the second batch.
fn spool_file() -> (Vec<u8>, Vec<u8>, usize) {
    let mut format = SpoolFormat::new(of("message m { required int32 a; }"));
    let (mut bytes, event) =
        (Vec::new(), |n| Event::packed(&[("h", "v")], format!(r#"{{"a":{n}}}"#).as_bytes()));
    format.begin(&event(0), &mut bytes).unwrap();
    format.append_batch(&[event(1), event(2)], &mut bytes).unwrap();
    let second = bytes.len();
    format.append_batch(&[event(3)], &mut bytes).unwrap();
    let mut ended = bytes.clone();
    format.finish(&mut ended).unwrap();
    (bytes, ended, second)
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, SpoolError> {
    let mut reader = SpoolReader::open(bytes)?;
    let mut all = Vec::new();
    while let Some(events) = reader.next()? {
        all.extend(events);
    }
    Ok(all)
}

#[test]
fn events_come_back_with_the_settings_of_their_file() {
    let (open, ended, _) = spool_file();
    for bytes in [&open, &ended] {
        let all = events(bytes).unwrap();
        let bodies: Vec<&[u8]> = all.iter().map(|event| &event.body[..]).collect();
        assert_eq!(bodies, [br#"{"a":1}"#, br#"{"a":2}"#, br#"{"a":3}"#]);
        assert_eq!(all[0].headers.get("h"), Some("v"));
        let settings = SpoolReader::open(&bytes[..]).unwrap().settings().clone();
        assert_eq!(rows(file(&settings, &all)), ["{a: 1}", "{a: 2}", "{a: 3}"]);
        assert_eq!(whole_bytes(Cursor::new(bytes)).unwrap(), bytes.len() as u64);
    }
}

#[test]
fn a_file_that_a_crash_cut_keeps_its_whole_batches() {
    let (_, bytes, second) = spool_file();
    let first = 16 + 16 + u32::from_le_bytes(bytes[24..28].try_into().unwrap()) as usize;
    for length in 0..=bytes.len() {
        for zeros in [0, 1, 40] {
            let mut cut = bytes[..length].to_vec();
            cut.resize(length + zeros, 0);
            let whole = usize::try_from(whole_bytes(Cursor::new(&cut)).unwrap()).unwrap();
            let end = bytes.len();
            let expected = match length {
                _ if length == end => end,
                _ if length >= end - 16 => end - 16,
                _ if length >= second => second,
                _ => 0,
            };
            assert!(
                whole == expected && (whole == 0 || whole > first),
                "{length} + {zeros}: {whole}"
            );
            if whole > 0 {
                assert_eq!(
                    events(&cut[..whole]).unwrap().len(),
                    if whole == second { 2 } else { 3 }
                );
            }
        }
    }
}

#[test]
fn damage_before_other_batches_is_reported_and_not_taken_for_a_cut() {
    let (_, bytes, second) = spool_file();
    for at in 8..second {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let looked = whole_bytes(Cursor::new(&damaged));
        assert!(matches!(looked, Err(SpoolError::Damaged { .. })), "byte {at}: {looked:?}");
        assert!(events(&damaged).is_err(), "byte {at}");
    }
    for at in [0, 7] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(matches!(whole_bytes(Cursor::new(&other)), Err(SpoolError::Unknown(_))));
    }
}
