//! Operations for listed places only: disk access, unsafe code, a panic on a value.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};

/// A name and the files (or folders, with a trailing `/`) that may use it, each with its reason.
struct Place {
    word: &'static str,
    instead: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const PLACES: &[Place] = &[
    Place {
        word: "std::fs",
        instead: "use the disk traits (crate::disk), or crate::base::files",
        files: &[
            ("src/disk/real.rs", "the implementation for real disks"),
            ("src/disk/real/", "the implementation for real disks"),
            ("crates/flow/src/base/files.rs", "files that are not the channel's"),
            ("crates/flow/src/base/rolling_file.rs", "files of the log"),
            ("crates/flow/src/base/small_file.rs", "configurations and other small files"),
            (
                "crates/adapters/src/source/spooldir/spool.rs",
                "the file it reads; it is opened through base::files",
            ),
            (
                "crates/adapters/src/source/taildir/",
                "the files it reads; they are opened through base::files",
            ),
            (
                "crates/adapters/src/sink/file_roll/",
                "the files it writes; they are made through base::files",
            ),
            (
                "crates/hdfs/src/file_system/local.rs",
                "the files it writes; they are made through base::files",
            ),
            (
                "crates/hdfs/src/sink/conversion.rs",
                "the spool files it reads; they are opened through the spool",
            ),
            (
                "crates/hdfs/src/sink/ledger.rs",
                "the list of open files; it is opened through base::files",
            ),
            (
                "crates/hdfs/src/file_system/spool/directory.rs",
                "files of events until they are uploaded; they are made through base::files",
            ),
            ("crates/hdfs/src/file_system/spool/open_file.rs", "such a file while it is written"),
        ],
    },
    Place {
        word: "fs2",
        instead: "lock through crate::disk::Directory::lock",
        files: &[
            ("src/disk/real.rs", "the implementation for real disks"),
            ("src/disk/real/", "the implementation for real disks"),
        ],
    },
    Place {
        word: "memmap2",
        instead: "take blocks from crate::disk::memory",
        files: &[("src/disk/memory.rs", "block memory is an anonymous map")],
    },
    Place {
        word: "unsafe",
        instead: "write it safely, or list the file here and in DESIGN.md with its proof",
        files: &[
            (
                "src/disk/memory.rs",
                "disjoint parts of one block are filled at once; the proof is there",
            ),
            ("crates/agent/src/cli/allocator.rs", "one call to the C library, without a pointer"),
        ],
    },
    Place {
        word: "unsafe_code",
        instead: "the lint is lifted in listed files only",
        files: &[
            ("src/disk/memory.rs", "as `unsafe`"),
            ("crates/agent/src/cli/allocator.rs", "as `unsafe`"),
        ],
    },
    Place {
        word: "unwrap()",
        instead: "return an error, or `expect` with the invariant as its text",
        files: &[
            ("crates/flow/src/log_capture.rs", "only tests use it"),
            ("crates/sim/", "only tests use it"),
        ],
    },
];

fn complaints(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for place in PLACES {
        let listed = place.files.iter().any(|(file, _)| {
            source.path == *file || (file.ends_with('/') && source.path.starts_with(file))
        });
        if listed {
            continue;
        }
        let bytes = source.code.as_bytes();
        for (at, _) in source.code.match_indices(place.word) {
            let end = at + place.word.len();
            let whole = (at == 0 || !source::is_word(bytes[at - 1]))
                && !bytes.get(end).is_some_and(|b| source::is_word(*b));
            if whole {
                let (word, instead) = (place.word, place.instead);
                complaints.push(format!("{}: `{word}`: {instead}", source.place(at)));
            }
        }
        if place.word == "std::fs" {
            complaints.extend(grouped_fs(source, place.instead));
        }
    }
    complaints
}

/// `use std::{fs, io};` names `std::fs` too.
fn grouped_fs(source: &Source, instead: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, group) in source.code.match_indices("std::{") {
        let end = source::item_end(source.code.as_bytes(), at + group.len() - 1);
        let inside = &source.code[at + group.len()..end];
        if inside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == "fs") {
            complaints.push(format!("{}: `std::fs`: {instead}", source.place(at)));
        }
    }
    complaints
}

#[test]
fn only_listed_places_reach_the_disk_or_are_unsafe() {
    let all: Vec<String> = source::production().iter().flat_map(complaints).collect();
    nothing_to_complain_about("only listed places may do this", &all);
}

#[test]
fn every_listed_file_is_there() {
    for (file, _) in PLACES.iter().flat_map(|p| p.files) {
        let there = source::top().join(file).exists();
        let optional = ["src/disk/real/", "src/disk/real.rs"].contains(file);
        assert!(there || optional, "{file} is listed and not there");
    }
}

#[test]
fn each_thing_is_found_outside_its_place() {
    for text in [
        "use std::fs;",
        "fn f() { std::fs::read(p); }",
        "use std::{fs::File, io};",
        "use fs2::FileExt;",
        "let m = memmap2::MmapOptions::new();",
        "fn f() { unsafe { g() } }",
        "#![allow(unsafe_code)]",
        "fn f() { x.unwrap(); }",
    ] {
        let found = complaints(&Source::new("src/log/a.rs", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    for text in
        ["// unsafe", "x.unwrap_or(3)", "let s = \"std::fs\";", "#[test] fn t() { x.unwrap(); }"]
    {
        assert!(complaints(&Source::new("src/log/a.rs", text)).is_empty(), "{text}");
    }
    assert!(complaints(&Source::new("src/disk/real/file.rs", "use std::fs;")).is_empty());
}
