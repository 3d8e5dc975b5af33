//! `kill -9` at every call that changes something: before it, after half of a write, and after it,
//! while a channel is created, rolls, recycles segments, writes checkpoints, is drained. And at
//! every call of the opening that follows.

use super::channel_fixture::{Known, Start, committed, copy, hits, rest, run_with, sound};
use super::shim::{Deed, Hit, Tried, chosen, part, shim, try_all};
use std::os::unix::process::ExitStatusExt;

const DEEDS: [Deed; 3] = [Deed::KillBefore, Deed::KillAmid, Deed::KillAfter];

/// Two kills: of the command, and of the take that opens what the first one left.
type Kills = (Hit, Hit);

fn killed(command: &'static str, start: Start) {
    let Some(shim) = shim() else { return };
    let template = tempfile::tempdir().expect("a directory");
    start.make(template.path());
    let (calls, ended) = sound(shim, template.path(), (start, command), true);
    assert!(calls.len() > 20, "{command}: only {} calls, is the shim there?", calls.len());
    // The opening after makes about as many as one of a filled channel. One after the other, so
    // that each of them is hit after several first kills.
    let filled = tempfile::tempdir().expect("a directory");
    Start::Filled.make(filled.path());
    let (later, _) = sound(shim, filled.path(), (Start::Filled, "take"), true);
    let later = hits(&later, &DEEDS);
    let first = hits(&calls, &DEEDS);
    let all: Vec<Kills> = first.into_iter().zip(later.into_iter().cycle()).collect();
    let count = all.len();
    let one = |(first, later): Kills| {
        let directory = copy(template.path());
        let top = directory.path();
        let ended = run_with(shim, top, (start, command), Some(first));
        let mut said = ended.calls.clone() + &ended.stderr;
        let reached = ended.status.signal() == Some(libc::SIGKILL) && !ended.calls.is_empty();
        let (from, to) = start.waiting();
        let mut known = Known { put: (from, to), ..Known::default() };
        let mut judge = || {
            if !reached && !ended.status.success() {
                return Err(format!("ended with {:?}", ended.status));
            }
            if command == "put" {
                known.put.1 += committed(&ended.stdout);
                known.in_doubt = reached;
            } else {
                known.took(&ended)?;
            }
            let again = run_with(shim, top, (start, "take"), Some(later));
            said += &(again.calls.clone() + &again.stderr);
            // Fewer calls than in the other run: then it ran to its end.
            if again.status.signal() != Some(libc::SIGKILL) && !again.status.success() {
                return Err(format!("the opening ended with {:?}", again.status));
            }
            known.took(&again)?;
            known.judge(&rest(top)?)
        };
        judge().map_err(|why| format!("{why}\n{said}"))?;
        Ok(Tried { took: ended.took, reached })
    };
    let name = format!("kill {command} {start:?}");
    try_all(&name, (chosen(all, part()), count), ended.took, one);
}

#[test]
fn kills_during_creation_and_rolls_lose_no_acknowledged_event() {
    killed("put", Start::New);
}

#[test]
fn killed_while_segments_are_recycled_nothing_acknowledged_is_lost() {
    killed("put", Start::Used);
}

#[test]
fn killed_while_it_is_drained_nothing_acknowledged_comes_again() {
    killed("take", Start::Filled);
}
