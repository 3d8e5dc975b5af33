//! Injected faults.

use super::*;

fn lossy(loss: Loss) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 4);
    file.write_at(0, &[9; 4 * BLOCK]).expect("written");
    disk.fail(Fault::next(FaultTarget::Sync, "a").effect(FaultEffect::Lost(loss)));
    file.sync().expect_err("ordered");
    file.sync().expect_err("the disk trusts no further sync of this description");
    let file = root(&disk).open("a", Access::Write).expect("opened");
    file.sync().expect("another description's sync says that all is well");
    (disk, file)
}

/// Returns how many bytes of the file a reader sees new, by unaligned reads through the cache.
fn new_bytes(file: &dyn File) -> usize {
    let mut bytes = vec![0; 4 * BLOCK - 1];
    file.read_at(0, &mut bytes).expect("read");
    bytes.iter().filter(|byte| **byte == 9).count()
}

#[test]
fn after_a_lost_sync_the_next_one_succeeds_with_the_bytes_gone() {
    for loss in [Loss::KeepsNew, Loss::RevertsToOld, Loss::DropsAtNextRead] {
        let (disk, file) = lossy(loss);
        let best = after_best(&disk, "a").expect("there");
        let durable = best.iter().filter(|byte| **byte == 9).count();
        assert!(durable < 4 * BLOCK, "{loss:?}: something was lost for good");
        let seen = (new_bytes(&*file), new_bytes(&*file));
        match loss {
            Loss::KeepsNew => assert_eq!(seen, (4 * BLOCK - 1, 4 * BLOCK - 1)),
            Loss::RevertsToOld => assert!(seen.0 < 4 * BLOCK - 1 && seen.0 == seen.1),
            Loss::DropsAtNextRead => assert!(seen.0 == 4 * BLOCK - 1 && seen.1 < seen.0),
        }
        // Written again, the bytes are dirty again and can be saved.
        file.write_at(0, &[9; 4 * BLOCK]).expect("written");
        file.sync().expect("synced");
        assert_eq!(after_worst(&disk, "a"), Some(vec![9; 4 * BLOCK]));
    }
}

#[test]
fn a_direct_read_sees_the_medium_and_not_a_cache_that_pretends() {
    let (_disk, file) = lossy(Loss::KeepsNew);
    let mut page = block(0, 4);
    file.read_at(0, page.bytes_mut()).expect("read");
    assert!(page.bytes_mut().contains(&0), "lost sectors show their old bytes");
    file.write_at(0, &[5; 10]).expect("written");
    file.read_at(0, page.bytes_mut()).expect("read");
    assert_eq!(page.bytes_mut()[..10], [5; 10], "dirty ones are written back first");
}

#[test]
fn a_failed_sync_may_have_done_nothing_a_part_or_all() {
    let durable = |effect, seed| {
        let disk = SimDisk::new(SimOptions { seed, ..options() });
        let file = prepared(&disk, "a", 4);
        file.write_at(0, &[9; 4 * BLOCK]).expect("written");
        disk.fail(Fault::next(FaultTarget::Sync, "a").effect(effect).kind(io::ErrorKind::TimedOut));
        assert_eq!(file.sync().expect_err("ordered").kind(), io::ErrorKind::TimedOut);
        assert_eq!(after_best(&disk, "a"), Some(vec![9; 4 * BLOCK]), "the rest is pending");
        after_worst(&disk, "a").expect("there").iter().filter(|byte| **byte == 9).count()
    };
    assert_eq!(durable(FaultEffect::Nothing, 1), 0);
    assert_eq!(durable(FaultEffect::Later, 1), 0);
    assert_eq!(durable(FaultEffect::All, 1), 4 * BLOCK);
    assert!((0..10).map(|seed| durable(FaultEffect::Part, seed)).any(|n| n > 0 && n < 4 * BLOCK));
}

#[test]
fn a_failed_submit_may_have_arrived_and_may_arrive_later() {
    for pending in [false, true] {
        for direct in [true, false] {
            let run = |effect, seed| {
                let disk = SimDisk::new(SimOptions { seed, pending, direct, ..options() });
                let file = prepared(&disk, "a", 4);
                let on = if pending { FaultTarget::Finish } else { FaultTarget::Submit };
                disk.fail(Fault::next(on, "a").effect(effect));
                submit(&*file, 0, 9, 4).expect_err("ordered");
                assert!(disk.pending().is_empty());
                let count = |bytes: Option<Vec<u8>>| {
                    bytes.expect("there").iter().filter(|byte| **byte == 9).count()
                };
                (count(after_worst(&disk, "a")), count(after_best(&disk, "a")))
            };
            let all = 4 * BLOCK;
            assert_eq!(run(FaultEffect::All, 1), (all, all));
            assert_eq!(run(FaultEffect::Later, 1), (0, all));
            let parts: BTreeSet<usize> =
                (0..20).map(|seed| run(FaultEffect::Part, seed).0).collect();
            assert!(parts.len() > 2, "{parts:?}");
            // A buffered write whose sync failed without effect is still dirty.
            let dirty = !direct && pending;
            assert_eq!(run(FaultEffect::Nothing, 1), (0, if dirty { all } else { 0 }));
        }
    }
}

#[test]
fn a_stray_write_never_lands_over_a_later_durable_one() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    disk.fail(Fault::next(FaultTarget::Submit, "a").effect(FaultEffect::Later));
    submit(&*file, 0, 9, 1).expect_err("ordered");
    submit(&*file, 0, 5, 1).expect("written");
    assert_eq!(after_best(&disk, "a"), Some(vec![5; BLOCK]));
}

#[test]
fn a_failed_buffered_write_may_have_written_its_beginning() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    disk.fail(Fault::next(FaultTarget::Write, "a").effect(FaultEffect::Part));
    disk.fail(Fault::next(FaultTarget::Write, "a").after(1));
    file.write_at(0, &[9; BLOCK]).expect_err("ordered");
    let bytes = read(&disk, "a").expect("there");
    let written = bytes.iter().take_while(|byte| **byte == 9).count();
    assert!(written > 0 && written < BLOCK && bytes[written..].iter().all(|byte| *byte == 0));
    file.write_at(0, &[5; BLOCK]).expect_err("ordered");
    assert_eq!(read(&disk, "a"), Some(bytes), "no effect");
    file.write_at(0, &[5; BLOCK]).expect("no more faults");
}

#[test]
fn failures_of_names_leave_them_made_or_not() {
    let disk = SimDisk::new(options());
    let dir = root(&disk);
    disk.fail(Fault::next(FaultTarget::Create, "/a"));
    disk.fail(Fault::next(FaultTarget::Create, "/b").effect(FaultEffect::All));
    assert!(dir.create("a").is_err() && dir.create("b").is_err());
    assert_eq!(dir.list().expect("listed").len(), 1, "b was made");
    disk.fail(Fault::next(FaultTarget::Remove, "/b"));
    assert!(dir.remove("b").is_err() && read(&disk, "b").is_some());
    disk.fail(Fault::next(FaultTarget::SyncDir, "pond"));
    assert!(dir.sync().is_err());
    assert_eq!((after_worst(&disk, "b"), after_best(&disk, "b")), (None, Some(vec![])));
    disk.fail(Fault::next(FaultTarget::SyncDir, "pond").effect(FaultEffect::Lost(Loss::KeepsNew)));
    assert!(dir.sync().is_err());
    dir.sync().expect("synced");
    assert_eq!((read(&disk, "b"), after_best(&disk, "b")), (Some(vec![]), None), "gone for good");
    dir.create("c").expect("created");
    disk.fail(Fault::next(FaultTarget::SyncDir, "pond").effect(FaultEffect::All));
    assert!(dir.sync().is_err());
    assert_eq!(after_worst(&disk, "c"), Some(vec![]));
}

#[test]
fn faults_choose_operation_path_and_count() {
    let disk = SimDisk::new(options());
    let (a, b) = (prepared(&disk, "a", 1), prepared(&disk, "b", 1));
    disk.fail(Fault::next(FaultTarget::Read, "/a").after(1).times(2));
    let mut byte = [0];
    assert!(b.read_at(0, &mut byte).is_ok());
    let results: Vec<bool> = (0..5).map(|_| a.read_at(0, &mut byte).is_ok()).collect();
    assert_eq!(results, [true, false, false, true, true]);
    disk.fail(Fault::next(FaultTarget::List, "pond").times(u64::MAX));
    assert!(root(&disk).list().is_err() && root(&disk).list().is_err());
    disk.clear_faults();
    root(&disk).list().expect("listed");
    disk.fail(Fault::next(FaultTarget::OpenDir, "pond"));
    assert!(disk.open_dir(Path::new("/pond"), false).is_err());
    disk.fail(Fault::next(FaultTarget::Lock, "in_use"));
    assert!(matches!(root(&disk).lock("in_use.lock"), Err(LockError::Io { .. })));
    disk.fail(Fault::next(FaultTarget::Space, ""));
    assert!(root(&disk).space().is_err());
    disk.fail(Fault::next(FaultTarget::Open, "/a"));
    assert!(root(&disk).open("a", Access::Read).is_err());
}

#[test]
fn a_dead_disk_fails_everything_and_leaves_others_alone() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 1);
    let other = disk.open_dir(Path::new("/other"), true).expect("made");
    disk.fail(Fault::dead("/pond"));
    let mut byte = [0];
    assert!(file.read_at(0, &mut byte).is_err() && file.sync().is_err());
    assert!(submit(&*file, 0, 1, 1).is_err());
    assert!(disk.open_dir(Path::new("/pond"), false).is_err());
    other.create("b").expect("another disk");
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let disk = SimDisk::new(SimOptions { capacity_bytes: 4 * BLOCK_AT, ..options() });
    let file = prepared(&disk, "a", 3);
    let available = || root(&disk).space().expect("told").available_bytes;
    assert_eq!(available(), BLOCK_AT);
    let error = file.write_at(3 * BLOCK_AT, &[1; 2 * BLOCK]).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().expect("told"), 4 * BLOCK_AT, "what fits was written");
    assert_eq!(available(), 0);
    file.write_at(0, &[1; 4 * BLOCK]).expect("overwritten");
    submit(&*file, 0, 2, 4).expect("overwritten");
    let full = root(&disk).create("b").err().map(|error| error.kind());
    assert_eq!(full, Some(io::ErrorKind::StorageFull));
    disk.set_capacity(Path::new("/pond"), BLOCK_AT).expect("known");
    assert_eq!(available(), 0, "shrunk below what is there");
    submit(&*file, 0, 2, 4).expect("what is there stays writable");
    disk.set_capacity(Path::new("/pond"), 5 * BLOCK_AT).expect("known");
    root(&disk).create("b").expect("room again").write_at(0, &[1]).expect("room again");
    root(&disk).remove("a").expect("removed");
    assert_eq!(available(), 4 * BLOCK_AT);
    assert!(disk.set_capacity(Path::new("/none"), 1).is_err());
}

#[test]
fn rot_changes_every_byte_named_and_no_other() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 2);
    submit(&*file, 0, 9, 2).expect("written");
    disk.rot(Path::new("/pond/a"), 500, 100).expect("known");
    for bytes in [read(&disk, "a"), after_worst(&disk, "a")] {
        for (at, byte) in bytes.expect("there").into_iter().enumerate() {
            assert_eq!(byte != 9, (500..600).contains(&at), "{at}");
        }
    }
    assert!(disk.rot(Path::new("/pond/none"), 0, 1).is_err());
}

#[test]
fn an_unplugged_directory_is_missing_until_it_is_back() {
    let disk = SimDisk::new(options());
    let pond = Path::new("/pond");
    let file = prepared(&disk, "a", 1);
    let dir = root(&disk);
    submit(&*file, 0, 7, 1).expect("written");
    disk.remove_directory(pond);
    let gone = Some(io::ErrorKind::NotFound);
    assert_eq!(disk.open_dir(pond, false).err().map(|e| e.kind()), gone);
    assert_eq!(file.read_at(0, &mut [0]).err().map(|e| e.kind()), gone);
    assert_eq!(submit(&*file, 0, 1, 1).err().map(|e| e.kind()), gone);
    assert_eq!(dir.create("b").err().map(|e| e.kind()), gone);
    assert_eq!(dir.remove("a").err().map(|e| e.kind()), gone);
    assert_eq!(dir.identity().err().map(|e| e.kind()), gone);
    // An empty mount point: a directory is created in its place.
    let shadow = disk.open_dir(pond, true).expect("made");
    assert!(shadow.list().expect("listed").is_empty());
    assert_ne!(shadow.identity().expect("told"), (1, 0));
    shadow.create("wrong").expect("created");
    let after = disk.crash(3);
    for disk in [&after, &disk] {
        disk.restore(pond);
        assert_eq!(read(disk, "a"), Some(vec![7; BLOCK]));
        assert_eq!(read(disk, "wrong"), None);
    }
    assert!(shadow.list().is_err());
    assert_eq!(file.read_at(0, &mut [0]).expect("back"), 1);
    disk.remove_directory(pond);
    disk.restore(pond);
    assert_eq!(read(&disk, "wrong"), None, "the shadow does not come back");
}

#[test]
fn a_failed_write_back_is_reported_once_to_each_description_that_was_open() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, ..options() });
        prepared(&disk, "a", 1);
        let open = || root(&disk).open("a", Access::Write).expect("opened");
        let (one, two) = (open(), open());
        disk.fail(Fault::next(FaultTarget::Write, "a").effect(FaultEffect::Lost(Loss::KeepsNew)));
        one.write_at(0, &[7; BLOCK]).expect("only the write-back fails");
        // The error was not reported yet, so the next opener gets it.
        let three = open();
        one.sync().expect_err("told");
        two.sync().expect_err("reported as well");
        three.sync().expect_err("opened before the error was reported");
        let four = open();
        four.sync().expect("opened later: the bytes are gone without an error");
        one.sync().expect_err("a sync that failed is not believed later");
        assert_ne!(after_worst(&disk, "a"), Some(vec![7; BLOCK]));
    }
}

#[test]
fn a_shifted_physical_block_tears_what_lies_in_two_blocks_of_a_file() {
    let torn_block = TornBlock::DamageWritten;
    let disk = SimDisk::new(SimOptions { torn_block, shift_bytes: 1024, ..options() });
    let file = prepared(&disk, "a", 2);
    // The last two sectors of one block and the first two of the next: one physical block.
    file.write_at(3072, &[2; 2048]).expect("written");
    let mut torn = 0;
    for seed in 0..300 {
        let bytes = read(&disk.crash(seed), "a").expect("there");
        assert!(bytes[..3072].iter().chain(&bytes[5120..]).all(|byte| *byte == 0), "not written");
        torn += u32::from(bytes[3072..5120].iter().any(|byte| !matches!(byte, 0 | 2)));
    }
    assert!(torn > 0);
}
