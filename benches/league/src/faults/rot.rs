//! Damage to a store at rest: one bit flipped, or one file truncated, each time in a fresh copy of a store that was
//! used and closed cleanly.

use super::{Cell, Fault, Progress, drain};
use crate::bench::{Bench, copy, empty, files};
use crate::draw::Draw;
use crate::ledger::Ledger;
use crate::life::{End, Order, Until, live};
use std::io;
use std::path::{Path, PathBuf};

const ROUNDS: u64 = 30;
/// Transactions in the store.
const TIMES: u64 = 80;

pub(super) fn run(
    bench: &Bench,
    engine: &str,
    fault: Fault,
    progress: &mut Progress<'_>,
) -> io::Result<Cell> {
    let mut cell = Cell::new(engine, fault);
    let mut draw = bench.draw(engine, if fault == Fault::Flip { "flip" } else { "cut" });
    let seed = draw.next() >> 16;
    let (store, whole) = (bench.fresh()?, bench.root.join("whole"));
    let mut made = Ledger::new(seed, false);
    let order = Order { engine, dir: &store, verb: "work", seed, times: TIMES, shim: &[] };
    let life = live(bench, &order, &mut made, Until::Itself);
    copy(&store, &whole)?;
    let mut sound = made.clone();
    let last = drain(bench, engine, &store, seed, &mut sound);
    if life.end != End::Finished || last.end != End::Finished || sound.verdict().harm() {
        cell.left_out = Some(format!("it did not work without damage: {:?}", sound.verdict()));
        return Ok(cell);
    }
    let usual = last.warnings;
    let rounds = bench.rounds(ROUNDS);
    for round in 0..rounds {
        progress(round, rounds);
        copy(&whole, &store)?;
        let what = match fault {
            Fault::Flip => flip(&store, &mut draw)?,
            _ => cut(&store, round, &mut draw)?,
        };
        let mut ledger = made.clone();
        let last = drain(bench, engine, &store, seed, &mut ledger);
        cell.rounds += 1;
        cell.met += 1;
        cell.count_ends(&[&last]);
        cell.judge(&ledger, &last, last.complains(&usual), &what);
    }
    empty(&whole)?;
    Ok(cell)
}

/// Length of a run of equal bytes from which on they count as reserved space.
const FILLER: usize = 64;

/// Returns where a file has content: neither zero nor in a long run of one value.
fn used(bytes: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    for row in bytes.chunk_by(|a, b| a == b) {
        if row[0] != 0 && row.len() < FILLER {
            places.extend(at..at + row.len());
        }
        at += row.len();
    }
    places
}

/// A file with content.
struct Held {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The offsets of its content.
    places: Vec<usize>,
}

fn held(store: &Path) -> io::Result<Vec<Held>> {
    let mut held = Vec::new();
    for path in files(store)? {
        let bytes = std::fs::read(&path)?;
        let places = used(&bytes);
        if !places.is_empty() {
            held.push(Held { path, bytes, places });
        }
    }
    match held.is_empty() {
        true => Err(io::Error::other("the store is empty")),
        false => Ok(held),
    }
}

/// Flips one bit of a byte drawn from all that are in use.
fn flip(store: &Path, draw: &mut Draw) -> io::Result<String> {
    let mut held = held(store)?;
    let places = held.iter().map(|file| file.places.len()).sum::<usize>();
    let mut left = draw.below(places as u64) as usize;
    let mut file = 0;
    while left >= held[file].places.len() {
        left -= held[file].places.len();
        file += 1;
    }
    let Held { path, bytes, places } = &mut held[file];
    let (at, bit) = (places[left], draw.below(8));
    bytes[at] ^= 1 << bit;
    std::fs::write(&*path, &*bytes)?;
    Ok(format!("bit {bit} of byte {at} of {}", name(store, path)))
}

/// Truncates one file, each in turn, to a length drawn below the end of its content.
fn cut(store: &Path, round: u64, draw: &mut Draw) -> io::Result<String> {
    let held = held(store)?;
    let Held { path, places, .. } = &held[round as usize % held.len()];
    let end = places.last().map_or(0, |last| *last as u64 + 1);
    let len = draw.below(end);
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(len)?;
    Ok(format!("{} cut to {len} of {end} bytes", name(store, path)))
}

fn name(store: &Path, path: &Path) -> String {
    path.strip_prefix(store).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_space_is_not_worth_a_flip() {
        let mut bytes = vec![7, 7, 0, 9];
        bytes.extend([0; 100]);
        bytes.extend([0x7F; 100]);
        assert_eq!(used(&bytes), [0, 1, 3]);
    }

    #[test]
    fn a_flip_changes_one_bit_and_a_cut_the_length_of_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let whole: Vec<u8> = (0..200).collect();
        std::fs::write(&path, &whole).unwrap();
        flip(dir.path(), &mut Draw::new(1)).unwrap();
        let flipped = std::fs::read(&path).unwrap();
        let bits: u32 = flipped.iter().zip(&whole).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((flipped.len(), bits), (200, 1));
        cut(dir.path(), 0, &mut Draw::new(1)).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 200);
    }
}
