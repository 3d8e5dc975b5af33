//! Doors that pretend: each breaks one promise, and only that.

use super::*;

fn pretending(mutant: Mutant) -> SimDisk {
    SimDisk::new(SimOptions { mutant: Some(mutant), ..options() })
}

#[test]
fn every_pretence_is_invisible_while_the_machine_runs() {
    for mutant in Mutant::ALL {
        for direct in [true, false] {
            let disk = SimDisk::new(SimOptions { mutant: Some(mutant), direct, ..options() });
            let file = prepared(&disk, "a", 2);
            submit(&*file, 0, 1, 1).expect("written");
            submit(&*file, BLOCK_AT, 2, 1).expect("written");
            let mut page = block(0, 2);
            file.read_at(0, page.bytes_mut()).expect("read");
            let page = page.bytes_mut();
            assert_eq!((page[0], page[BLOCK]), (1, 2), "{mutant:?}");
        }
    }
}

#[test]
fn a_skipped_file_sync_loses_bytes_and_length() {
    let disk = pretending(Mutant::SkipFileSync);
    prepared(&disk, "a", 1);
    assert_eq!(after_worst(&disk, "a"), Some(vec![]));
    assert_eq!(after_best(&disk, "a"), Some(vec![0; BLOCK]));
}

#[test]
fn a_forgotten_length_loses_the_end() {
    for model in [Model::StrictPosix, Model::Journalling] {
        let disk =
            SimDisk::new(SimOptions { model, mutant: Some(Mutant::SkipLength), ..options() });
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
fn a_skipped_directory_sync_loses_names_and_new_directories() {
    let disk = pretending(Mutant::SkipDirSync);
    prepared(&disk, "a", 1);
    assert!(disk.crash_with(0, Odds::NONE).open_dir(Path::new("/pond"), false).is_err());
    let disk = SimDisk::new(options());
    root(&disk);
    disk.set_mutant(Some(Mutant::SkipDirSync));
    prepared(&disk, "a", 1);
    assert_eq!(after_worst(&disk, "a"), None);
    assert_eq!(after_best(&disk, "a"), Some(vec![0; BLOCK]));
}

#[test]
fn a_submit_that_stays_in_a_cache_is_lost() {
    for direct in [true, false] {
        let disk = SimDisk::new(SimOptions { direct, ..options() });
        let file = prepared(&disk, "a", 1);
        disk.set_mutant(Some(Mutant::SubmitNotDurable));
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
        disk.set_mutant(Some(Mutant::SwapWrites));
        submit(&*file, 0, 1, 1).expect("written");
        let between = after_worst(&disk, "a").expect("there");
        assert_eq!((between[0], between[BLOCK]), (0, 0), "answered, and not durable");
        submit(&*file, BLOCK_AT, 2, 1).expect("written");
        let after = after_worst(&disk, "a").expect("there");
        assert_eq!((after[0], after[BLOCK]), (1, 2));
    }
}

#[test]
fn a_lock_that_is_always_granted_keeps_nobody_out() {
    let disk = pretending(Mutant::LockAnyway);
    let _one = root(&disk).lock("in_use.lock").expect("granted");
    let _two = root(&disk).lock("in_use.lock").expect("granted");
}
