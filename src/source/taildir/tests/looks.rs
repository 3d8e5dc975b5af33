//! What looks at a directory make of the files there.

use super::*;

#[test]
fn what_the_first_look_sees_was_there_and_what_was_made_since_is_new() {
    let ground = Ground::new();
    ground.append("a.log", "1\n");
    // Further than a tick of the kernel's clock from the directory's last change.
    std::thread::sleep(Duration::from_millis(20));
    ground.append("else", "1\n");
    if ground.log("a.log").metadata().unwrap().created().is_err() {
        println!("left out taildir: the file system does not tell when a file was made");
        return;
    }
    let group = group(&ground, r".*\.log");
    for _ in 0..2 {
        let mut names = group::Names::default();
        let mut look = || {
            let found = names.matched(&group, false, 0).unwrap();
            let mut found: Vec<(PathBuf, bool)> =
                found.into_iter().map(|file| (file.path, file.is_new)).collect();
            found.sort();
            found
        };
        assert_eq!(look(), [(ground.log("a.log"), false)]);
        std::thread::sleep(Duration::from_millis(20));
        ground.append("b.log", "1\n");
        assert_eq!(look(), [(ground.log("a.log"), false), (ground.log("b.log"), true)]);
        std::fs::remove_file(ground.log("b.log")).unwrap();
        // The removal has changed the directory, which the next first look takes for the time up to
        // which everything in it was made.
    }
    std::thread::sleep(Duration::from_millis(20));
    // Made by the directory's last change, and missed by the first look for its name.
    ground.append("c.tmp", "1\n");
    let mut names = group::Names::default();
    names.matched(&group, false, 0).unwrap();
    ground.rename("c.tmp", "c.log");
    let found = names.matched(&group, false, 0).unwrap();
    assert_eq!(found.iter().filter(|file| file.is_new).count(), 0, "{found:?}");
}
