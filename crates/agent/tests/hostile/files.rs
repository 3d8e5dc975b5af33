//! The files in fuzz/seeds, one folder for each target.

use std::path::{Path, PathBuf};

/// Most bytes of one seed.
const SEED_BYTES_MAX: usize = 4096;

/// A seed with its name.
pub(crate) type Named = (String, Vec<u8>);

/// Returns the folder of a target's seeds. The package is at the root of the repository or below:
/// the simulation includes this file as well.
fn folder(target: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = package.ancestors().map(|directory| directory.join("fuzz/seeds"));
    all.find(|seeds| seeds.is_dir()).expect("the repository has seeds").join(target)
}

/// Returns the seeds of a target, by name.
pub(crate) fn read(target: &str) -> Vec<Named> {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let paths =
        entries.map(|entry| entry.expect("a folder of seeds can be read and written").path());
    let named = |path: PathBuf| {
        let name = path
            .file_name()
            .expect("a folder of seeds can be read and written")
            .to_str()
            .expect("SEED")
            .to_owned();
        (name, std::fs::read(path).expect("a folder of seeds can be read and written"))
    };
    let mut seeds: Vec<Named> = paths.map(named).collect();
    seeds.sort();
    seeds
}

/// Returns the seeds of a target without their names; there is at least one.
pub(crate) fn bytes_of(target: &str) -> Vec<Vec<u8>> {
    let seeds: Vec<Vec<u8>> = read(target).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(!seeds.is_empty(), "fuzz/seeds/{target} has seeds");
    seeds
}

/// Checks that the checked-in seeds of a target equal `made`; `MILLPOND_FUZZ_SEEDS=write` writes them.
pub(crate) fn check(target: &str, mut made: Vec<Named>) {
    made.sort();
    for (name, bytes) in &made {
        assert!(bytes.len() <= SEED_BYTES_MAX, "{target}/{name} is small");
    }
    if std::env::var("MILLPOND_FUZZ_SEEDS").is_ok_and(|what| what == "write") {
        std::fs::create_dir_all(folder(target)).expect("a folder of seeds can be read and written");
        for (name, bytes) in &made {
            std::fs::write(folder(target).join(name), bytes)
                .expect("a folder of seeds can be read and written");
        }
    }
    let names = |seeds: &[Named]| -> Vec<String> { seeds.iter().map(|s| s.0.clone()).collect() };
    let found = read(target);
    assert_eq!(names(&found), names(&made), "fuzz/seeds/{target}: the files");
    assert!(
        found == made,
        "fuzz/seeds/{target} is outdated; MILLPOND_FUZZ_SEEDS=write rewrites it"
    );
}
