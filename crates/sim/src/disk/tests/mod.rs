mod faults;
mod mutants;

use super::*;
use millpond::internal::base::limits::DEVICE_BLOCK_BYTES;
use millpond::internal::disk::memory::{SlabPool, Span};
use millpond::internal::disk::{Access, File, LockError, Submitted};
use std::collections::BTreeSet;

const BLOCK: usize = DEVICE_BLOCK_BYTES;
const BLOCK_AT: u64 = BLOCK as u64;

fn block(byte: u8, blocks: usize) -> Span {
    let mut writer = SlabPool::new(blocks * BLOCK, 0).writer(0).expect("memory");
    let mut span = writer.reserve(blocks * BLOCK).expect("room");
    span.bytes_mut().fill(byte);
    span
}

fn submit(file: &dyn File, at: u64, byte: u8, blocks: usize) -> io::Result<()> {
    file.write_durable(at, block(byte, blocks).bytes_mut())
}

fn start(file: &dyn File, at: u64, byte: u8, blocks: usize) -> WriteToken {
    match file.submit(at, block(byte, blocks).bytes_mut()) {
        Submitted::Pending(token) => token,
        Submitted::Done(result) => panic!("ended at once: {result:?}"),
    }
}

fn both_models() -> [SimOptions; 2] {
    [Model::StrictPosix, Model::Journalling].map(|model| SimOptions { model, ..options() })
}

fn options() -> SimOptions {
    SimOptions::new(1)
}

fn root(disk: &SimDisk) -> Arc<dyn Directory> {
    disk.open_dir(Path::new("/pond"), true).expect("directory")
}

/// Returns a file of `blocks` zero blocks whose bytes, length and name are durable.
fn prepared(disk: &SimDisk, name: &str, blocks: usize) -> Arc<dyn File> {
    let dir = root(disk);
    let file = dir.create(name).expect("created");
    file.write_at(0, &vec![0; blocks * BLOCK]).expect("written");
    file.sync().expect("synced");
    dir.sync().expect("synced");
    file
}

/// Returns what the disk has under a name: the file's bytes, or nothing.
fn read(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let dir = disk.open_dir(Path::new("/pond"), false).ok()?;
    let file = dir.open(name, Access::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().expect("told")).expect("small")];
    let read = file.read_at(0, &mut bytes).expect("read");
    assert_eq!(read, bytes.len(), "short only at the end");
    Some(bytes)
}

fn after_worst(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    read(&disk.crash_with(0, Odds::NONE), name)
}

fn after_best(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    read(&disk.crash_with(0, Odds::ALL), name)
}

// ---- what is durable when ----

#[test]
fn a_buffered_write_is_seen_at_once_and_survives_only_by_luck() {
    for options in both_models() {
        let disk = SimDisk::new(options);
        let file = prepared(&disk, "a", 1);
        file.write_at(10, b"abc").expect("written");
        assert_eq!(&read(&disk, "a").expect("there")[9..14], b"\0abc\0");
        assert_eq!(after_worst(&disk, "a").expect("there"), vec![0; BLOCK]);
        assert_eq!(&after_best(&disk, "a").expect("there")[9..14], b"\0abc\0");
        file.sync().expect("synced");
        assert_eq!(&after_worst(&disk, "a").expect("there")[9..14], b"\0abc\0");
    }
}

#[test]
fn a_synced_file_without_a_synced_name_is_lost_under_strict_posix() {
    let disk = SimDisk::new(options());
    let file = root(&disk).create("a").expect("created");
    file.write_at(0, b"abc").expect("written");
    file.sync().expect("synced");
    assert_eq!(after_worst(&disk, "a"), None);
    assert_eq!(after_best(&disk, "a").as_deref(), Some(&b"abc"[..]));
    root(&disk).sync().expect("synced");
    assert_eq!(after_worst(&disk, "a").as_deref(), Some(&b"abc"[..]));
}

#[test]
fn a_synced_name_without_a_synced_file_is_an_empty_file() {
    for options in both_models() {
        let strict = options.model == Model::StrictPosix;
        let disk = SimDisk::new(options);
        let file = root(&disk).create("a").expect("created");
        file.write_at(0, b"abc").expect("written");
        root(&disk).sync().expect("synced");
        // The journal took the length along, and not the bytes.
        let expected = if strict { vec![] } else { vec![0; 3] };
        assert_eq!(after_worst(&disk, "a"), Some(expected));
    }
}

#[test]
fn a_removed_name_comes_back_until_the_directory_is_synced() {
    for options in both_models() {
        let disk = SimDisk::new(options);
        prepared(&disk, "a", 1);
        root(&disk).remove("a").expect("removed");
        assert_eq!(read(&disk, "a"), None);
        assert_eq!(after_worst(&disk, "a"), Some(vec![0; BLOCK]));
        root(&disk).sync().expect("synced");
        assert_eq!(after_worst(&disk, "a"), None);
    }
}

#[test]
fn a_journal_keeps_the_order_of_names_and_strict_posix_does_not() {
    let outcomes = |model| {
        let disk = SimDisk::new(SimOptions { model, ..options() });
        root(&disk).create("a").expect("created");
        root(&disk).create("b").expect("created");
        let odds = Odds { contents: 50, lengths: 50, names: 50 };
        (0..200)
            .map(|seed| {
                let after = disk.crash_with(seed, odds);
                (read(&after, "a").is_some(), read(&after, "b").is_some())
            })
            .collect::<BTreeSet<_>>()
    };
    let ordered = BTreeSet::from([(false, false), (true, false), (true, true)]);
    assert_eq!(outcomes(Model::Journalling), ordered);
    assert_eq!(outcomes(Model::StrictPosix).len(), 4);
}

#[test]
fn any_sync_in_a_directory_takes_its_journal_along() {
    let disk = SimDisk::new(SimOptions { model: Model::Journalling, ..options() });
    let other = prepared(&disk, "other", 1);
    root(&disk).create("a").expect("created");
    let elsewhere = disk.open_dir(Path::new("/elsewhere"), true).expect("directory");
    elsewhere.sync().expect("synced");
    assert_eq!(after_worst(&disk, "a"), None, "another disk's sync");
    other.sync().expect("synced");
    assert_eq!(after_worst(&disk, "a"), Some(vec![]));
}

#[test]
fn a_submitted_write_survives_when_it_is_done() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, ..options() });
        let file = prepared(&disk, "a", 2);
        submit(&*file, BLOCK_AT, 7, 1).expect("written");
        let mut expected = vec![0; 2 * BLOCK];
        expected[BLOCK..].fill(7);
        assert_eq!(read(&disk, "a"), Some(expected.clone()));
        assert_eq!(after_worst(&disk, "a"), Some(expected));
    }
}

#[test]
fn a_submitted_write_goes_with_an_unsynced_length_or_name() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    file.write_at(BLOCK_AT, &[0; BLOCK]).expect("grown");
    submit(&*file, BLOCK_AT, 7, 1).expect("written");
    assert_eq!(after_worst(&disk, "a"), Some(vec![0; BLOCK]), "the length was pending");

    let file = root(&disk).create("b").expect("created");
    file.write_at(0, &[0; BLOCK]).expect("grown");
    file.sync().expect("synced");
    submit(&*file, 0, 7, 1).expect("written");
    assert_eq!(after_worst(&disk, "b"), None, "the name was pending");
}

#[test]
fn a_write_in_flight_arrives_whole_torn_or_not_at_all() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, pending: true, ..options() });
        let file = prepared(&disk, "a", 2);
        start(&*file, 0, 7, 2);
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let bytes = read(&disk.crash(seed), "a").expect("there");
            let whole = bytes.iter().all(|byte| *byte == 7);
            let none = bytes.iter().all(|byte| *byte == 0);
            let garbage = bytes.iter().any(|byte| !matches!(byte, 0 | 7));
            seen.insert(if whole {
                "whole"
            } else if none {
                "none"
            } else {
                "torn"
            });
            if garbage {
                seen.insert("garbage");
            }
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }
}

#[test]
fn sectors_are_whole_and_neighbours_keep_their_bytes_by_default() {
    for (torn_block, may_damage_neighbours) in
        [(TornBlock::Clean, false), (TornBlock::DamageWritten, false), (TornBlock::DamageAll, true)]
    {
        let disk = SimDisk::new(SimOptions { torn_block, ..options() });
        let file = prepared(&disk, "a", 1);
        submit(&*file, 0, 1, 1).expect("written");
        // Two sectors of the block's eight.
        file.write_at(1024, &[2; 1024]).expect("written");
        let (mut torn, mut written_damaged, mut others_damaged) = (false, false, false);
        for seed in 0..300 {
            let bytes = read(&disk.crash(seed), "a").expect("there");
            let sectors: Vec<&[u8]> = bytes.chunks(512).collect();
            let is = |n: usize, byte: u8| sectors[n].iter().all(|b| *b == byte);
            torn |= is(2, 1) != is(3, 1);
            written_damaged |= [2, 3].iter().any(|n| !is(*n, 1) && !is(*n, 2));
            others_damaged |= [0, 1, 4, 5, 6, 7].iter().any(|n| !is(*n, 1));
        }
        assert!(torn);
        assert_eq!(written_damaged, torn_block != TornBlock::Clean);
        assert_eq!(others_damaged, may_damage_neighbours);
    }
}

#[test]
fn writes_in_flight_end_in_any_order() {
    let disk = SimDisk::new(SimOptions { pending: true, ..options() });
    let file = prepared(&disk, "a", 3);
    let tokens = [0, 1, 2].map(|n| start(&*file, n * BLOCK_AT, 1 + n as u8, 1));
    assert_eq!(disk.pending(), tokens);
    file.finish(tokens[2]).expect("done");
    disk.complete(tokens[0], Completion::Failed(io::ErrorKind::TimedOut, FaultEffect::Nothing));
    assert_eq!(disk.pending(), [tokens[1]]);
    assert_eq!(
        file.finish(tokens[0]).expect_err("failed").kind(),
        io::ErrorKind::TimedOut,
        "the owner learns how it ended"
    );
    let bytes = after_worst(&disk, "a").expect("there");
    assert_eq!((bytes[0], bytes[BLOCK], bytes[2 * BLOCK]), (0, 0, 3));
    let other = prepared(&disk, "b", 1);
    assert!(other.finish(tokens[1]).is_err(), "another file's write");
    file.finish(tokens[1]).expect("done");
    assert!(file.finish(tokens[1]).is_err(), "it ended already");
}

#[test]
fn a_killed_process_leaves_a_readable_cache_that_a_power_cut_may_still_take() {
    let disk = SimDisk::new(SimOptions { pending: true, ..options() });
    let file = prepared(&disk, "a", 2);
    file.write_at(0, &[3; BLOCK]).expect("written");
    let lock = root(&disk).lock("in_use.lock").expect("locked");
    start(&*file, BLOCK_AT, 7, 1);
    let mut arrived = BTreeSet::new();
    for seed in 0..50 {
        let after = disk.kill(seed);
        let bytes = read(&after, "a").expect("there");
        assert_eq!(bytes[..BLOCK], [3; BLOCK]);
        arrived.insert(bytes[BLOCK..].iter().filter(|byte| **byte == 7).count());
        assert_eq!(after_worst(&after, "a").expect("there")[..BLOCK], [0; BLOCK]);
        root(&after).lock("in_use.lock").expect("locks die with the process");
    }
    assert!(arrived.contains(&0) && arrived.contains(&BLOCK) && arrived.len() > 2, "{arrived:?}");
    drop(lock);
}

// ---- crash points ----

/// Creates a file, fills it, and overwrites it; stops at the first error.
fn workload(disk: &SimDisk) -> io::Result<()> {
    let dir = disk.open_dir(Path::new("/pond"), true)?;
    let file = dir.create("a")?;
    file.write_at(0, &[0; 2 * BLOCK])?;
    file.sync()?;
    dir.sync()?;
    submit(&*file, 0, 1, 1)?;
    submit(&*file, BLOCK_AT, 2, 1)?;
    dir.remove("a")?;
    dir.sync()
}

#[test]
fn the_machine_stops_at_every_operation_and_nothing_works_afterwards() {
    let whole = SimDisk::new(options());
    workload(&whole).expect("no crash");
    assert_eq!(whole.operations(), 9, "{:#?}", whole.trace());
    for operation in 1..=9 {
        let disk = SimDisk::new(options());
        disk.crash_at(operation);
        assert_eq!(workload(&disk).expect_err("stopped").to_string(), "simulated crash");
        assert!(disk.crashed());
        assert!(disk.open_dir(Path::new("/pond"), false).is_err());
        assert!(disk.open_dir(Path::new("/other"), true).is_err());
        assert_eq!(disk.operations(), operation);
        let last = disk.trace().iter().rev().find(|line| line.ends_with("crash")).cloned();
        assert!(last.is_some_and(|line| line.starts_with(&operation.to_string())));
        // The crash image works.
        let after = disk.crash(operation);
        assert!(!after.crashed());
        let bytes = read(&after, "a");
        if (6..=7).contains(&operation) {
            assert_eq!(bytes.expect("durable").len(), 2 * BLOCK);
        }
    }
}

#[test]
fn the_operation_that_the_machine_stopped_in_may_have_happened() {
    let outcomes = |operation: u64| {
        let disk = SimDisk::new(options());
        disk.crash_at(operation);
        workload(&disk).expect_err("stopped");
        (0..100).map(|seed| read(&disk.crash(seed), "a")).collect::<BTreeSet<_>>()
    };
    // Creation, in a directory that is durable.
    assert_eq!(outcomes(2), BTreeSet::from([None, Some(vec![])]));
    // The first submitted write.
    let first = outcomes(6);
    assert!(first.contains(&Some(vec![0; 2 * BLOCK])) && first.len() > 3);
    // The last sync of the directory.
    assert_eq!(outcomes(9).len(), 2);
}

#[test]
fn a_directory_half_made_leaves_its_outermost_names() {
    let deep = Path::new("/x/y/z");
    let disk = SimDisk::new(options());
    disk.crash_at(1);
    assert!(disk.open_dir(deep, true).is_err());
    let outcomes: BTreeSet<Vec<bool>> = (0..100)
        .map(|seed| {
            let after = disk.crash(seed);
            deep.ancestors().map(|path| after.open_dir(path, false).is_ok()).collect()
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
    for there in outcomes {
        // From the innermost out: once there, always there (the root itself is never opened).
        assert!(there[..3].is_sorted());
    }
    let disk = SimDisk::new(options());
    disk.open_dir(deep, true).expect("made");
    disk.crash_with(0, Odds::NONE).open_dir(deep, false).expect("durable when it returned");
}

#[test]
fn the_same_seed_gives_the_same_disk_and_others_give_others() {
    let run = |seed| {
        let disk = SimDisk::new(SimOptions { pending: true, ..options() });
        let file = prepared(&disk, "a", 8);
        file.write_at(100, &[9; 9000]).expect("written");
        start(&*file, 4 * BLOCK_AT, 7, 4);
        let image = disk.crash(seed);
        (image.image_hash(), read(&image, "a"))
    };
    let hashes: BTreeSet<u64> = (0..100).map(|seed| run(seed).0).collect();
    assert!(hashes.len() > 30, "{}", hashes.len());
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn an_image_hash_tells_durable_states_apart_and_nothing_else() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    let before = disk.image_hash();
    file.write_at(0, b"x").expect("written");
    assert_eq!(disk.image_hash(), before, "pending");
    file.sync().expect("synced");
    assert_ne!(disk.image_hash(), before);
    file.write_at(0, b"\0").expect("written");
    file.sync().expect("synced");
    assert_eq!(disk.image_hash(), before, "the same bytes again");
}

#[test]
fn a_crash_image_is_a_disk_of_its_own() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    let image = disk.crash(1);
    submit(&*file, 0, 1, 1).expect("written");
    assert_eq!(read(&image, "a"), Some(vec![0; BLOCK]));
    root(&image).remove("a").expect("removed");
    assert_eq!(read(&disk, "a"), Some(vec![1; BLOCK]));
}

// ---- locks, names, reads ----

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let disk = SimDisk::new(options());
    let lock = root(&disk).lock("in_use.lock").expect("free");
    assert!(matches!(root(&disk).lock("in_use.lock"), Err(LockError::Held { .. })));
    assert!(root(&disk.crash(0)).lock("in_use.lock").is_ok(), "a crash image has no locks");
    drop(lock);
    drop(root(&disk).lock("in_use.lock").expect("free again"));
    assert_eq!(root(&disk).list().expect("listed").len(), 1, "the lock file stays");
}

#[test]
fn names_are_listed_sorted_with_lengths_and_directories() {
    let disk = SimDisk::new(options());
    prepared(&disk, "b", 1);
    prepared(&disk, "a", 2);
    disk.open_dir(Path::new("/pond/inner"), true).expect("made");
    let listed = root(&disk).list().expect("listed");
    let listed: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.len, e.is_file)).collect();
    assert_eq!(listed, [("a", 2 * BLOCK_AT, true), ("b", BLOCK_AT, true), ("inner", 0, false)]);
    let kind = |result: io::Result<Arc<dyn File>>| result.err().map(|error| error.kind());
    assert_eq!(kind(root(&disk).create("a")), Some(io::ErrorKind::AlreadyExists));
    assert_eq!(kind(root(&disk).open("c", Access::Read)), Some(io::ErrorKind::NotFound));
    assert!(root(&disk).remove("c").is_err());
    let reader = root(&disk).open("a", Access::Read).expect("opened");
    assert!(reader.write_at(0, b"x").is_err() && submit(&*reader, 0, 1, 1).is_err());
}

#[test]
fn reads_are_short_only_at_the_end() {
    let disk = SimDisk::new(options());
    let file = root(&disk).create("a").expect("created");
    file.write_at(0, &[5; 700]).expect("written");
    let mut buffer = [0; 400];
    assert_eq!(file.read_at(0, &mut buffer).expect("read"), 400);
    assert_eq!(file.read_at(400, &mut buffer).expect("read"), 300);
    assert!(buffer[..300].iter().all(|byte| *byte == 5));
    assert_eq!(file.read_at(700, &mut buffer).expect("read"), 0);
}

// ---- our own mistakes ----

#[test]
fn mistakes_of_the_caller_panic() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let disk = SimDisk::new(SimOptions { pending: true, ..options() });
    let file = prepared(&disk, "a", 8);
    start(&*file, 0, 1, 2);
    let says = |expected: &str, at: u64, blocks: usize| {
        let payload = catch_unwind(AssertUnwindSafe(|| start(&*file, at, 1, blocks)));
        let payload = payload.expect_err(expected);
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        assert!(text.expect("text").contains(expected));
    };
    says("inside the file", 7 * BLOCK_AT, 2);
    says("aligned", 512, 1);
    says("do not overlap", BLOCK_AT, 1);
    for n in 2..5 {
        start(&*file, n * BLOCK_AT, 1, 1);
    }
    says("no more writes in flight", 6 * BLOCK_AT, 1);
}
