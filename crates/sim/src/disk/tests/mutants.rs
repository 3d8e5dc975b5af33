//! Disk mutations: each breaks exactly one promise.

use super::*;

fn pretending(lie: Lie) -> SimDisk {
    SimDisk::new(SimOptions { mutant: Some(lie.everywhere()), ..options() })
}

#[test]
fn every_pretence_is_invisible_while_the_machine_runs() {
    for lie in Lie::ALL {
        for direct in [true, false] {
            let disk =
                SimDisk::new(SimOptions { mutant: Some(lie.everywhere()), direct, ..options() });
            let file = prepared(&disk, "a", 2);
            submit(&*file, 0, 1, 1).expect("written");
            submit(&*file, BLOCK_AT, 2, 1).expect("written");
            let mut page = block(0, 2);
            file.read_at(0, page.bytes_mut()).expect("read");
            let page = page.bytes_mut();
            assert_eq!((page[0], page[BLOCK]), (1, 2), "{lie:?}");
        }
    }
}

#[test]
fn a_skipped_file_sync_loses_bytes_and_length() {
    let disk = pretending(Lie::SkipFileSync);
    prepared(&disk, "a", 1);
    assert_eq!(after_worst(&disk, "a"), Some(vec![]));
    assert_eq!(after_best(&disk, "a"), Some(vec![0; BLOCK]));
}

#[test]
fn a_forgotten_length_loses_the_end() {
    for model in [Model::StrictPosix, Model::Journalling] {
        let disk = SimDisk::new(SimOptions {
            model,
            mutant: Some(Lie::SkipLength.everywhere()),
            ..options()
        });
        let file = root(&disk).create("a").expect("created");
        root(&disk).sync().expect("synced");
        file.write_at(0, b"abc").expect("written");
        file.sync().expect("synced");
        assert_eq!(after_worst(&disk, "a"), Some(vec![]));
        assert_eq!(
            read(&disk.crash_with(0, Odds { contents: 0, lengths: 100, names: 100 }), "a"),
            Some(b"abc".to_vec()),
            "the bytes are there"
        );
    }
}

#[test]
fn a_skipped_directory_sync_loses_names() {
    let disk = pretending(Lie::SkipDirSync);
    prepared(&disk, "a", 1);
    assert_eq!(after_worst(&disk, "a"), None);
    assert_eq!(after_best(&disk, "a"), Some(vec![0; BLOCK]));
}

#[test]
fn a_forgotten_new_directory_is_lost_with_what_is_in_it() {
    let disk = pretending(Lie::ForgetNewDirectory);
    prepared(&disk, "a", 1);
    assert!(disk.crash_with(0, Odds::NONE).open_dir(Path::new("/pond"), false).is_err());
}

#[test]
fn a_door_that_lies_about_some_paths_is_honest_about_the_others() {
    let disk =
        SimDisk::new(SimOptions { mutant: Some(Lie::SkipFileSync.about("/a")), ..options() });
    prepared(&disk, "a", 1);
    prepared(&disk, "b", 1);
    assert_eq!(after_worst(&disk, "a"), Some(vec![]));
    assert_eq!(after_worst(&disk, "b"), Some(vec![0; BLOCK]));
}

#[test]
fn of_half_a_write_the_first_half_is_durable() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, ..options() });
        let file = prepared(&disk, "a", 2);
        disk.set_mutation(Some(Lie::HalfWrite.everywhere()));
        submit(&*file, 0, 1, 2).expect("written");
        let left = after_worst(&disk, "a").expect("there");
        assert_eq!((left[0], left[BLOCK]), (1, 0));
    }
}

#[test]
fn a_hidden_failure_returns_success() {
    let disk = SimDisk::new(options());
    let file = prepared(&disk, "a", 2);
    for (lie, on) in [
        (Lie::HideSyncErrors, FaultTarget::Sync),
        (Lie::HideSyncErrors, FaultTarget::SyncDir),
        (Lie::HideWriteErrors, FaultTarget::Submit),
    ] {
        let fails = |disk: &SimDisk| match on {
            // A description each: after a failed sync a description is not trusted any more.
            FaultTarget::Sync => {
                root(disk).open("a", Access::Write).expect("opened").sync().is_err()
            }
            FaultTarget::SyncDir => root(disk).sync().is_err(),
            _ => submit(&*file, 0, 1, 1).is_err(),
        };
        disk.fail(Fault::next(on, ""));
        assert!(fails(&disk), "{on:?}");
        disk.fail(Fault::next(on, ""));
        disk.set_mutation(Some(lie.everywhere()));
        assert!(!fails(&disk), "{on:?}");
        disk.set_mutation(None);
    }
    assert_eq!(after_worst(&disk, "a"), Some(vec![0; 2 * BLOCK]), "nothing of it has happened");
}

#[test]
fn a_submit_that_stays_in_a_cache_is_lost() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, ..options() });
        let file = prepared(&disk, "a", 1);
        disk.set_mutation(Some(Lie::SubmitNotDurable.everywhere()));
        submit(&*file, 0, 1, 1).expect("written");
        assert_eq!(after_worst(&disk, "a"), Some(vec![0; BLOCK]));
        assert_eq!(after_best(&disk, "a"), Some(vec![1; BLOCK]));
    }
}

#[test]
fn of_two_swapped_writes_the_second_arrives_first() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, pending: true, ..options() });
        let file = prepared(&disk, "a", 2);
        disk.set_mutation(Some(Lie::SwapWrites.everywhere()));
        submit(&*file, 0, 1, 1).expect("written");
        let between = after_worst(&disk, "a").expect("there");
        assert_eq!((between[0], between[BLOCK]), (0, 0), "returned Ok, and not durable");
        submit(&*file, BLOCK_AT, 2, 1).expect("written");
        let after = after_worst(&disk, "a").expect("there");
        assert_eq!((after[0], after[BLOCK]), (1, 2));
    }
}

#[test]
fn only_writes_of_the_named_files_are_swapped() {
    let disk = SimDisk::new(SimOptions { pending: true, ..options() });
    let (named, other) = (prepared(&disk, "a", 1), prepared(&disk, "b", 1));
    disk.set_mutation(Some(Lie::SwapWrites.about("a")));
    submit(&*other, 0, 1, 1).expect("written");
    assert_eq!(after_worst(&disk, "b"), Some(vec![1; BLOCK]), "returned Ok and durable");
    submit(&*named, 0, 2, 1).expect("written");
    assert_eq!(after_worst(&disk, "a"), Some(vec![0; BLOCK]), "returned Ok, and not durable");
}

#[test]
fn a_lock_that_is_always_granted_excludes_no_opener() {
    let disk = pretending(Lie::LockAnyway);
    let _one = root(&disk).lock("in_use.lock").expect("granted");
    let _two = root(&disk).lock("in_use.lock").expect("granted");
}

#[test]
fn storage_that_buffers_in_silence_gives_the_error_of_one_write_to_another() {
    let mut hidden = 0;
    for seed in 0..40 {
        let mutant = Some(Lie::SilentBuffering.everywhere());
        let disk = SimDisk::new(SimOptions { seed, pending: true, mutant, ..options() });
        let file = prepared(&disk, "a", 2);
        let (one, two) = (start(&*file, 0, 7, 1), start(&*file, BLOCK_AT, 8, 1));
        let failed = Completion::Failed(io::ErrorKind::Other, FaultEffect::Lost(Loss::KeepsNew));
        disk.complete(one, failed);
        let (first, second) = (file.finish(one), file.finish(two));
        assert!(first.is_err() != second.is_err(), "the error is reported once");
        let bytes = after_worst(&disk, "a").expect("there");
        assert_eq!(bytes[BLOCK], 8, "this one was written, whatever error it got");
        hidden += u32::from(first.is_ok() && bytes[..BLOCK].iter().any(|byte| *byte != 7));
    }
    assert!(hidden > 0, "a write that returned Ok is gone");
}

#[test]
fn shared_physical_blocks_damage_a_neighbour_that_was_durable() {
    let mut damaged = 0;
    for seed in 0..200 {
        let disk = pretending(Lie::SharedBlocks);
        let file = prepared(&disk, "a", 2);
        submit(&*file, 0, 1, 1).expect("written");
        file.write_at(BLOCK_AT, &[2; BLOCK]).expect("written");
        let bytes = read(&disk.crash(seed), "a").expect("there");
        damaged += u32::from(bytes[..BLOCK].iter().any(|byte| *byte != 1));
    }
    assert!(damaged > 0);
}
