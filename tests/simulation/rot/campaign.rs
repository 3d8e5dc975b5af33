//! Every byte flipped, every file truncated at every length, removed, duplicated, swapped, renamed, replaced by another
//! channel's: one at a time, each judged.
//!
//! A normal run takes a part of it, from an offset that is new each time; `MILLPOND_ROT=whole` takes all,
//! `MILLPOND_SIM_SEED` repeats the part of that seed, `MILLPOND_ROT_ONLY` those whose description contains it. See
//! docs/testing.md.

use super::actors::{Judged, judge_all};
use super::judge::{self, More};
use super::quiescence::{FilesAtRest, Name, Range};
use crate::counts::Tally;
use crate::workload::{Dice, Setup};
use millpond::internal::record::segment::SEGMENT_HEADER_BYTES;
use millpond_sim::disk::{Model, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Flips and cuts of one channel in a normal run.
const PART: usize = 700;

/// Step between flips of bytes that no reader uses.
const PADDING_STEP: u64 = 509;

/// Bytes around a written place of a slot file that are flipped one by one.
const WRITTEN_PIECE: usize = 512;

/// Failures that are reported; more of the same are of no use.
const FAILURES_MAX: usize = 20;

/// One damage to the channel.
#[derive(Clone, Debug)]
enum Strike {
    Flip {
        file: PathBuf,
        at: u64,
        mask: u8,
    },
    Cut {
        file: PathBuf,
        len: u64,
    },
    /// Everything before byte `end` reads as `byte`.
    Beginning {
        file: PathBuf,
        end: u64,
        byte: u8,
    },
    Files(Files),
}

/// Changed files.
#[derive(Clone, Debug)]
struct Files {
    what: String,
    /// The new content of each; `None` if it is removed.
    changed: BTreeMap<PathBuf, Option<Vec<u8>>>,
    /// Files whose bytes are missing where they were needed.
    hit: Vec<PathBuf>,
    /// A directory has a wrong member record or another's segment: the opening may be refused for that.
    may_be_refused: bool,
}

impl Strike {
    fn words(&self) -> String {
        match self {
            Self::Files(files) => files.what.clone(),
            other => format!("{other:?}"),
        }
    }

    /// Applies the damage; returns what was hit.
    fn inflict(&self, disk: &SimDisk) -> Vec<Range> {
        match self {
            Self::Flip { file, at, mask } => {
                disk.flip(file, *at, *mask).expect("a file of the still");
                vec![Range { file: file.clone(), start: *at, end: at + 1 }]
            }
            Self::Cut { file, len } => {
                disk.cut(file, *len).expect("a file of the still");
                // A partial device block counts as missing.
                vec![Range { file: file.clone(), start: len / 4096 * 4096, end: u64::MAX }]
            }
            Self::Beginning { file, end, byte } => {
                let mut bytes = disk.contents(file).expect("a file of the still");
                bytes[..*end as usize].fill(*byte);
                disk.put_in_place(file, Some(&bytes)).expect("a directory of the still");
                vec![Range { file: file.clone(), start: 0, end: *end }]
            }
            Self::Files(files) => {
                for (file, bytes) in &files.changed {
                    disk.put_in_place(file, bytes.as_deref()).expect("a directory of the still");
                }
                let whole = |file: &PathBuf| Range { file: file.clone(), start: 0, end: u64::MAX };
                files.hit.iter().map(whole).collect()
            }
        }
    }

    fn may_be_refused(&self) -> bool {
        matches!(self, Self::Files(files) if files.may_be_refused)
    }
}

fn name_of(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).expect("names of the engine are text")
}

fn is_segment(file: &Path) -> bool {
    name_of(file).starts_with("segment-")
}

/// Returns where bytes of a file are flipped: everywhere in a segment; in a file of slots wherever something was
/// written, and at some places in the room after it.
fn places(file: &Path, bytes: &[u8]) -> Vec<u64> {
    if is_segment(file) {
        return (0..bytes.len() as u64).collect();
    }
    let mut places = Vec::new();
    for (at, piece) in bytes.chunks(WRITTEN_PIECE).enumerate() {
        let start = (at * WRITTEN_PIECE) as u64;
        let all = start..start + piece.len() as u64;
        let step = if piece.iter().all(|byte| *byte == 0) { PADDING_STEP } else { 1 };
        places.extend(all.filter(|at| at.is_multiple_of(step)));
    }
    places
}

fn bytes_and_lengths(still: &FilesAtRest) -> Vec<Strike> {
    let mut strikes = Vec::new();
    for file in still.disk.files() {
        let bytes = still.disk.contents(&file).expect("listed");
        for at in places(&file, &bytes) {
            let mask = 1 << (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61);
            strikes.push(Strike::Flip { file: file.clone(), at, mask });
            strikes.push(Strike::Cut { file: file.clone(), len: at });
        }
    }
    strikes
}

/// Returns strikes on the header of each segment and some of its first blocks.
fn beginnings(still: &FilesAtRest) -> Vec<Strike> {
    let headers = still.blocks.iter().map(|block| (&block.range.file, SEGMENT_HEADER_BYTES as u64));
    let blocks = still.blocks.iter().map(|block| (&block.range.file, block.range.end));
    let places: BTreeSet<(&PathBuf, u64)> = headers.chain(blocks).collect();
    let each = |(file, end): (&PathBuf, u64)| {
        [0, 0xA5].map(|byte| Strike::Beginning { file: file.clone(), end, byte })
    };
    places.into_iter().flat_map(each).collect()
}

/// Makes [`Strike::Files`] from the content of the files.
struct Shuffle {
    files: BTreeMap<PathBuf, Vec<u8>>,
    strikes: Vec<Strike>,
}

impl Shuffle {
    fn new(still: &FilesAtRest) -> Self {
        let files = still.disk.files().into_iter();
        let files = files.map(|f| (f.clone(), still.disk.contents(&f).expect("listed"))).collect();
        Self { files, strikes: Vec::new() }
    }

    fn add(&mut self, what: String, changed: Vec<(PathBuf, Option<Vec<u8>>)>, hit: Vec<PathBuf>) {
        self.add_some(what, changed, hit, false);
    }

    fn add_some(
        &mut self,
        what: String,
        changed: Vec<(PathBuf, Option<Vec<u8>>)>,
        hit: Vec<PathBuf>,
        misplaces: bool,
    ) {
        let says = |(file, bytes): &(PathBuf, Option<Vec<u8>>)| {
            name_of(file) == "member" && bytes.as_ref().is_some_and(|b| b.starts_with(b"MPSLOT"))
        };
        let may_be_refused = misplaces || changed.iter().any(says);
        let changed = changed.into_iter().collect();
        self.strikes.push(Strike::Files(Files { what, changed, hit, may_be_refused }));
    }

    fn single_files(&mut self) {
        for (file, bytes) in self.files.clone() {
            let is = file.display();
            let free = file.with_file_name("segment-00090.log");
            let foreign = file.with_file_name("segment-00090.log.old");
            let hit = vec![file.clone()];
            self.add(format!("{is} removed"), vec![(file.clone(), None)], hit.clone());
            let emptied = vec![(file.clone(), Some(Vec::new()))];
            self.add(format!("{is} emptied"), emptied, hit.clone());
            let doubled = vec![(free.clone(), Some(bytes.clone()))];
            self.add(format!("{is} doubled"), doubled, vec![]);
            let renamed = vec![(file.clone(), None), (foreign, Some(bytes.clone()))];
            self.add(format!("{is} renamed to a foreign name"), renamed, hit.clone());
            let moved = vec![(file.clone(), None), (free, Some(bytes))];
            let hit = if is_segment(&file) { vec![] } else { hit };
            self.add(format!("{is} renamed to another segment's name"), moved, hit);
        }
    }

    fn in_pairs(&mut self) {
        let files: Vec<(PathBuf, Vec<u8>)> = self.files.clone().into_iter().collect();
        for (at, (a, a_bytes)) in files.iter().enumerate() {
            for (b, b_bytes) in &files[at + 1..] {
                let same = is_segment(a) && is_segment(b) && a.parent() == b.parent();
                let hit = if same { vec![] } else { vec![a.clone(), b.clone()] };
                let swapped =
                    vec![(a.clone(), Some(b_bytes.clone())), (b.clone(), Some(a_bytes.clone()))];
                let misplaces = is_segment(a) && is_segment(b) && !same;
                let what = format!("{} and {} swapped", a.display(), b.display());
                self.add_some(what, swapped, hit, misplaces);
            }
        }
    }

    /// Adds replacements by files of another channel, or of another directory of this one.
    fn from(&mut self, other: &BTreeMap<PathBuf, Vec<u8>>, whose: &str) {
        for (from, bytes) in other {
            for to in self.files.clone().into_keys().filter(|to| name_of(to) == name_of(from)) {
                if self.files.get(&to) == Some(bytes) {
                    continue;
                }
                let what = format!("{} replaced by {} of {whose}", to.display(), from.display());
                self.add(what, vec![(to.clone(), Some(bytes.clone()))], vec![to.clone()]);
                if is_segment(from) {
                    let extra = to.with_file_name("segment-00091.log");
                    let what = format!("{} of {whose} next to {}", from.display(), to.display());
                    self.add(what, vec![(extra, Some(bytes.clone()))], vec![]);
                }
            }
        }
    }
}

fn files(still: &FilesAtRest, other: &FilesAtRest) -> Vec<Strike> {
    let mut shuffle = Shuffle::new(still);
    shuffle.single_files();
    shuffle.in_pairs();
    let own = shuffle.files.clone();
    shuffle.from(&own, "this channel");
    shuffle.from(&Shuffle::new(other).files, "another channel");
    shuffle.strikes
}

fn strike(
    still: &FilesAtRest,
    strike: &Strike,
    waiting: &[Name],
    more: More,
) -> Result<usize, String> {
    let disk = still.disk.kill(2);
    let hits = still.reach(&strike.inflict(&disk), &disk);
    let before = disk.kill(3);
    let judged = catch_unwind(AssertUnwindSafe(|| judge::judge(still, disk, &hits, waiting, more)));
    match judged.unwrap_or_else(|_| Err("a panic".to_owned())) {
        Err(words) if words.starts_with("refused") && strike.may_be_refused() => {
            undone(still, &before, strike, waiting)
        }
        other => other,
    }
}

/// Checks that a refusal has cost nothing: with the files restored, the channel is what it was.
fn undone(
    still: &FilesAtRest,
    disk: &SimDisk,
    strike: &Strike,
    waiting: &[Name],
) -> Result<usize, String> {
    if let Strike::Files(files) = strike {
        for file in files.changed.keys() {
            let bytes = still.disk.contents(file).ok();
            disk.put_in_place(file, bytes.as_deref()).expect("a directory of the still");
        }
    }
    let more = More { mended: false, again: true };
    let judged = judge::judge(still, disk.kill(4), &[], waiting, more);
    judged.map_err(|words| format!("put back: {words}"))
}

/// Runs flips and cuts of a killed channel, from a seed, until one is misjudged.
pub(crate) fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    // Segments with many blocks after their state record, to which nothing else refers.
    let setup = Setup { segment_bytes: 64 * 1024, ..setup(20 + seed, 2) };
    let still = FilesAtRest::new(setup, false);
    let waiting = judge::contents(&still);
    let strikes = part(bytes_and_lengths(&still), seed);
    for (at, it) in strikes.iter().enumerate() {
        tally.state(seed << 32 | at as u64);
        let more = More { mended: false, again: false };
        strike(&still, it, &waiting, more).map_err(|words| format!("{}: {words}", it.words()))?;
    }
    Ok(())
}

/// Selects about [`PART`] of the strikes, alternating flips and cuts: an odd step meets both.
fn part(strikes: Vec<Strike>, seed: u64) -> Vec<Strike> {
    let step = strikes.len().div_ceil(PART).max(1);
    let offset = Dice::new(seed).at() % step;
    strikes.into_iter().skip(offset).step_by(step | 1).collect()
}

/// Runs the campaign on one channel.
fn campaign(setup: Setup, sealed: bool) {
    let seed = std::env::var("MILLPOND_SIM_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one(0u8) % 1_000_000);
    let mut other = setup.clone();
    other.seed += 1;
    let (still, other) = (FilesAtRest::new(setup.clone(), sealed), FilesAtRest::new(other, sealed));
    let waiting = judge::contents(&still);
    assert!(waiting.len() > 10, "events wait");
    let mut strikes = bytes_and_lengths(&still);
    let all = strikes.len();
    let mut threads = 1;
    if std::env::var("MILLPOND_ROT").is_ok_and(|w| w == "whole") {
        println!("{all} flips and cuts");
        threads = std::thread::available_parallelism().map_or(1, usize::from);
    } else {
        strikes = part(strikes, seed);
        println!("seed {seed}: {} of {all} flips and cuts", strikes.len());
    }
    strikes.extend(beginnings(&still));
    strikes.extend(files(&still, &other));
    if let Ok(only) = std::env::var("MILLPOND_ROT_ONLY") {
        strikes.retain(|strike| strike.words().contains(&only));
        still.show();
    }
    // Pages as they are used, not two megabytes of zeroes for each opening.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let (judged, took) = judge_all(strikes.len(), threads, || {
        // A channel belongs to its thread.
        let still = FilesAtRest::new(setup.clone(), sealed);
        let (strikes, waiting) = (&strikes, &waiting);
        move |at| {
            let more = More { mended: at % 8 < 2, again: at % 16 == 0 };
            let it = &strikes[at];
            strike(&still, it, waiting, more).map_err(|words| format!("{}: {words}", it.words()))
        }
    });
    let Judged { costly, lost, failures } = judged;
    println!(
        "{} strikes in {} s, {costly} of them cost {lost} events in all, {} misjudged",
        strikes.len(),
        took.as_secs(),
        failures.len()
    );
    let shown = &failures[..failures.len().min(FAILURES_MAX)];
    assert!(failures.is_empty(), "seed {seed}, {} failures: {shown:#?}", failures.len());
}

fn setup(seed: u64, stripes: usize) -> Setup {
    // Room for a state record and two blocks more: many small segments.
    Setup { segment_bytes: 20 * 1024, ..Setup::plain(seed, stripes, Model::StrictPosix) }
}

#[test]
fn a_damaged_killed_channel_of_long_segments_names_what_is_lost() {
    let judged = run(1, &mut Tally::default());
    assert!(judged.is_ok(), "{judged:?}");
}

#[test]
fn a_damaged_closed_channel_opens_and_names_what_is_lost() {
    campaign(setup(11, 2), true);
}

#[test]
fn a_damaged_killed_channel_opens_and_names_what_is_lost() {
    campaign(setup(12, 2), false);
}

#[test]
fn a_damaged_channel_of_one_directory_opens_and_names_what_is_lost() {
    campaign(setup(13, 1), true);
}

#[test]
fn a_damaged_channel_without_direct_writes_opens_and_names_what_is_lost() {
    campaign(Setup { direct: false, ..setup(14, 1) }, false);
}
