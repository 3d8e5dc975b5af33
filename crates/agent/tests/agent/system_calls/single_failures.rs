//! Every system call that touches the channel's files fails once, at each of its occurrences, with
//! each error that a kernel may return, or moves only a part of its data: the process neither
//! panics nor hangs, reports what failed, and nothing acknowledged is lost or comes twice.

use super::channel_fixture::{
    DIRECTORIES, Known, LINES, Start, committed, copy, hits, lines, rest, run_with, sound,
};
use super::shim::{Deed, Ended, Hit, Tried, chosen, part, shim, try_all};
use std::path::Path;

const DEEDS: [Deed; 6] = [
    Deed::Error(libc::EIO),
    Deed::Error(libc::ENOSPC),
    Deed::Error(libc::EINTR),
    Deed::Error(libc::EAGAIN),
    Deed::Half,
    Deed::Few,
];

/// However it ended, it ended by itself and gave the reason.
fn judge_end(ended: &Ended) -> Result<(), String> {
    let said = &ended.stderr;
    // A report goes to stdout, including what could not be read.
    let place = |name: &&str| said.contains(*name) || ended.stdout.contains(*name);
    match ended.status.code() {
        Some(0) => {}
        Some(1) if said.contains("millpond: ") && DIRECTORIES.iter().any(place) => {}
        _ => return Err(format!("ended with {:?}: {said}", ended.status)),
    }
    if said.contains("panicked") { Err(format!("a panic: {said}")) } else { Ok(()) }
}

type Judge = fn(&Path, Start, &Ended) -> Result<(), String>;

fn put_is_whole(top: &Path, start: Start, ended: &Ended) -> Result<(), String> {
    let answered = committed(&ended.stdout);
    if ended.status.success() && answered != LINES {
        return Err(format!("done, and only {answered} lines were answered"));
    }
    let (from, first) = start.waiting();
    let known = Known {
        put: (from, first + answered),
        in_doubt: !ended.status.success(),
        given: Vec::new(),
    };
    let left = rest(top)?;
    known.judge(&left)?;
    let count = left.lines().count();
    if left == lines(from, from + count) { Ok(()) } else { Err("out of order".to_owned()) }
}

fn take_is_whole(top: &Path, start: Start, ended: &Ended) -> Result<(), String> {
    let mut known = Known { put: start.waiting(), ..Known::default() };
    let answered = known.took(ended)?;
    if ended.status.success() && answered != LINES {
        return Err(format!("done, and only {answered} lines were answered"));
    }
    // Events of a failed disk come when it is back, so the order is not the original one.
    known.judge(&rest(top)?)
}

/// A failed call is not damage, and inspection changes nothing.
fn check_is_fair(top: &Path, start: Start, ended: &Ended) -> Result<(), String> {
    if ended.stdout.contains("damage") {
        return Err(ended.stdout.clone());
    }
    Known { put: start.waiting(), ..Known::default() }.judge(&rest(top)?)
}

fn each(command: &'static str, start: Start, judge: Judge) {
    let Some(shim) = shim() else { return };
    let template = tempfile::tempdir().expect("a directory");
    start.make(template.path());
    let (calls, ended) = sound(shim, template.path(), (start, command), false);
    assert!(calls.len() > 50, "{command}: only {} calls, is the shim there?", calls.len());
    let all = hits(&calls, &DEEDS);
    let count = all.len();
    let one = |hit: Hit| {
        let directory = copy(template.path());
        let top = directory.path();
        let ended = run_with(shim, top, (start, command), Some(hit));
        let judged = judge_end(&ended).and_then(|()| judge(top, start, &ended));
        judged.map_err(|why| format!("{}{why}\n{}", ended.calls, ended.stderr))?;
        Ok(Tried { took: ended.took, reached: !ended.calls.is_empty() })
    };
    let name = format!("{command} {start:?}");
    try_all(&name, (chosen(all, part()), count), ended.took, one);
}

#[test]
fn a_put_that_creates_the_channel_loses_no_acknowledged_event() {
    each("put", Start::New, put_is_whole);
}

#[test]
fn a_put_into_used_segments_while_a_call_fails_loses_nothing_acknowledged() {
    each("put", Start::Used, put_is_whole);
}

#[test]
fn a_take_while_a_call_fails_repeats_nothing_acknowledged() {
    each("take", Start::Filled, take_is_whole);
}

#[test]
fn a_check_while_a_call_fails_calls_nothing_damaged() {
    each("check", Start::Used, check_is_fair);
}
