//! The channel whose calls fail: commands on it, copies of it, and its expected contents.

use super::shim::{CALLS, Deed, Ended, Hit, to_its_end, under};
use crate::process::{millpond, run, run_expecting};
use std::collections::BTreeSet;
use std::path::Path;

/// Segments of two transactions each, of blocks of two pages: rolls, new files and recycling within
/// a few transactions, and writes that can be cut between two pages.
pub(super) const CONFIGURATION: &str = "a.channels=c\na.sinks=k\na.sinks.k.type=null\na.sinks.k.channel=c\n\
    a.channels.c.type=file\na.channels.c.checkpointDir=cp\na.channels.c.dataDirs=d1,d2\n\
    a.channels.c.maxFileSize=28672\na.channels.c.minimumRequiredSpace=1048576\n\
    a.channels.c.checkpointInterval=1000\na.channels.c.keep-alive=1\n";

pub(super) const LINES: usize = 60;
pub(super) const BATCH: usize = 5;
pub(super) const DIRECTORIES: [&str; 3] = ["cp", "d1", "d2"];

pub(super) fn words(command: &str) -> Vec<&str> {
    let more = match command {
        "put" | "take" => &["--batch", "5", "--acks"][..],
        _ => &[],
    };
    [&["channel", command, "-n", "a", "-f", "a.conf", "--channel", "c"][..], more].concat()
}

pub(super) fn lines(from: usize, to: usize) -> String {
    (from..to).map(|number| format!("line {number} {}\n", "x".repeat(1000))).collect()
}

/// The contents of the channel before a command, which also decide the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: the command creates it.
    New,
    /// Lines `0..LINES`.
    Filled,
    /// Lines `TAKEN..LINES`; segments of those before can be recycled.
    Used,
}

/// Lines that were taken of a [`Start::Used`].
const TAKEN: usize = 45;

impl Start {
    /// Returns the waiting lines, from and to.
    pub(super) fn waiting(self) -> (usize, usize) {
        match self {
            Self::New => (0, 0),
            Self::Filled => (0, LINES),
            Self::Used => (TAKEN, LINES),
        }
    }

    /// Creates it in `top`.
    pub(super) fn make(self, top: &Path) {
        std::fs::write(top.join("a.conf"), CONFIGURATION).expect("a configuration");
        if self == Self::New {
            return;
        }
        run_expecting(top, &words("put"), lines(0, LINES).as_bytes(), 0);
        if self == Self::Used {
            let count = TAKEN.to_string();
            let take = [&words("take")[..], &["--count", &count]].concat();
            run_expecting(top, &take, b"", 0);
        }
    }
}

/// Copies a channel, to try one thing on.
pub(super) fn copy(template: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in [&DIRECTORIES[..], &["a.conf"]].concat() {
        let (from, to) = (template.join(name), directory.path().join(name));
        if !from.is_dir() {
            if from.exists() {
                std::fs::copy(&from, &to).expect("copied");
            }
            continue;
        }
        std::fs::create_dir(&to).expect("made");
        for entry in std::fs::read_dir(&from).expect("listed") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
    directory
}

/// Runs `channel <command>` in `top` while `hit` happens. A put puts the lines after those that the
/// channel was made with.
pub(super) fn run_with(
    shim: &Path,
    top: &Path,
    (start, command): (Start, &str),
    hit: Option<Hit>,
) -> Ended {
    let mut process = millpond(top);
    process.args(words(command));
    under(shim, top, &DIRECTORIES, hit, &mut process);
    let first = start.waiting().1;
    let input = if command == "put" { lines(first, first + LINES) } else { String::new() };
    to_its_end(top, process, input)
}

/// Returns the calls that the command makes without failures, by name; those that change something
/// if `keeps`. And how long it took.
pub(super) fn sound(
    shim: &Path,
    template: &Path,
    what: (Start, &str),
    keeps: bool,
) -> (Vec<String>, Ended) {
    let directory = copy(template);
    let mut process = millpond(directory.path());
    process.args(words(what.1));
    under(shim, directory.path(), &DIRECTORIES, None, &mut process);
    if keeps {
        process.env("SHIM_KEEPS", "yes");
    }
    let first = what.0.waiting().1;
    let input = if what.1 == "put" { lines(first, first + LINES) } else { String::new() };
    let ended = to_its_end(directory.path(), process, input);
    assert!(ended.status.success(), "{what:?} without failures: {}", ended.stderr);
    let names = ended.calls.lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned()));
    (names.collect(), ended)
}

/// Returns every occurrence of every call of `calls` with every failure that fits it.
pub(super) fn hits(calls: &[String], deeds: &[Deed]) -> Vec<Hit> {
    let known = CALLS.iter().map(|call| (*call, calls.iter().filter(|c| c == call).count()));
    let known: Vec<(&'static str, usize)> = known.collect();
    let counted: usize = known.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, calls.len(), "a call that the list does not have");
    let occurrences = |(call, count): (&'static str, usize)| (1..=count).map(move |at| (call, at));
    let each = |deed: Deed| {
        let fitting = known.iter().copied().filter(move |(call, _)| deed.fits(call));
        fitting.flat_map(occurrences).map(move |(call, at)| Hit { call, at, deed })
    };
    deeds.iter().flat_map(|deed| each(*deed)).collect()
}

pub(super) fn committed(text: &str) -> usize {
    let counts = text.lines().filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    counts.fold(0, |_, count| count)
}

/// Checks what a sound process finds afterwards: no damage, and the remaining events.
pub(super) fn rest(top: &Path) -> Result<String, String> {
    let sound = |command: &str| {
        let output = run(top, &words(command), b"");
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            _ => Err(format!("{command} afterwards: {}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    sound("check")?;
    let left = sound("take")?;
    sound("check")?;
    Ok(left)
}

/// The output of the earlier commands about the lines.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Lines that must be there: from, to.
    pub(super) put: (usize, usize),
    /// Whether one more transaction may be there after them, whole.
    pub(super) in_doubt: bool,
    /// Lines that came out, and how many of them were acknowledged.
    pub(super) given: Vec<(Vec<String>, usize)>,
}

impl Known {
    /// Notes the output of a take.
    pub(super) fn took(&mut self, ended: &Ended) -> Result<usize, String> {
        let whole = ended.stdout.rfind('\n').map_or("", |end| &ended.stdout[..=end]);
        let given: Vec<String> = whole.lines().map(str::to_owned).collect();
        let answered = committed(&ended.stderr);
        if given.len() < answered {
            return Err(format!("{} lines came, {answered} were answered", given.len()));
        }
        self.given.push((given, answered));
        Ok(answered)
    }

    /// Judges the remaining lines.
    pub(super) fn judge(&self, left: &str) -> Result<(), String> {
        let (from, to) = self.put;
        let doubtful = if self.in_doubt { to + BATCH } else { to };
        let (must, may) = (lines(from, to), lines(from, doubtful));
        let left: Vec<&str> = left.lines().collect();
        let mut all: BTreeSet<&str> = left.iter().copied().collect();
        if all.len() != left.len() {
            return Err("a line is left twice".to_owned());
        }
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        for (given, answered) in &self.given {
            let now: BTreeSet<&str> = given.iter().map(String::as_str).collect();
            if now.len() != given.len() {
                return Err("a take gave a line twice".to_owned());
            }
            if let Some(line) = gone.intersection(&now).next() {
                return Err(format!("{line} was answered and came again"));
            }
            gone.extend(given[..*answered].iter().map(String::as_str));
            all.extend(now);
        }
        if let Some(line) = left.iter().find(|line| gone.contains(*line)) {
            return Err(format!("{line} was answered and is left"));
        }
        let lost = must.lines().filter(|line| !all.contains(line)).count();
        let known: BTreeSet<&str> = may.lines().collect();
        let foreign = all.iter().filter(|line| !known.contains(*line)).count();
        let more = all.len() - (to - from - lost) - foreign;
        if lost > 0 || foreign > 0 || (more != 0 && more != BATCH) {
            return Err(format!("{lost} lost, {foreign} foreign, {more} of those in doubt"));
        }
        Ok(())
    }
}
