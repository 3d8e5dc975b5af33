//! The contents of a package in addition to the binary: manual pages, completions, a unit.

use super::process::run_expecting;
use std::path::Path;
use std::process::{Command, Stdio};

fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It must run; not all versions know the option.
    asked.status().is_ok()
}

/// Returns what `program` prints on stdout and stderr, and whether it succeeded.
fn answer(program: &str, words: &[&str], directory: &Path) -> String {
    let ran = Command::new(program).args(words).current_dir(directory).output().expect("it runs");
    let [out, err] = [ran.stdout, ran.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(ran.status.success(), "{program} {words:?}: {out}{err}");
    out + &err
}

#[test]
fn completions_load_and_complete() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    for shell in ["bash", "zsh", "fish"] {
        let script = run_expecting(top, &["completions", shell], b"", 0);
        std::fs::write(top.join(format!("completions.{shell}")), script).expect("written");
        if !has(shell) {
            eprintln!("left out completions: there is no {shell}");
            continue;
        }
        assert_eq!(answer(shell, &["-n", &format!("completions.{shell}")], top), "");
    }
    let complete = "source completions.bash; COMP_WORDS=(millpond channel st); COMP_CWORD=2
        _millpond millpond st channel; echo ${COMPREPLY[@]}";
    assert_eq!(answer("bash", &["-c", complete], top).trim(), "stat");
}

#[test]
fn manual_pages_render() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let names = run_expecting(top, &["man", "pages/man1"], b"", 0);
    assert!(names.lines().count() > 10, "{names}");
    // A second time they are replaced.
    assert_eq!(run_expecting(top, &["man", "pages/man1"], b"", 0), names);
    if has("mandoc") {
        for name in names.lines() {
            answer("mandoc", &["-T", "lint", "-W", "error", name], top);
        }
    } else {
        eprintln!("left out manual pages: there is no mandoc");
    }
    if has("man") {
        let page = answer("man", &["-l", "pages/man1/millpond-channel-put.1"], top);
        assert!(page.contains("--acks < lines"), "{page}");
    } else {
        eprintln!("left out manual pages: there is no man");
    }
}

#[test]
fn the_command_line_of_the_unit_is_one() {
    let unit = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("docs/packaging/millpond@.service");
    let unit = std::fs::read_to_string(unit).expect("the unit can be read");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/millpond "));
    let line = line.expect("it starts the binary").replace("%i", "web");
    let words: Vec<&str> = line.split(' ').chain(["--dryrun"]).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let shown = run_expecting(directory.path(), &words, b"", 0);
    assert!(shown.contains("-n web -f /etc/millpond/web.conf"), "{shown}");
}
