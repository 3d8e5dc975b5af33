//! Segments that are in another directory of the channel than theirs.

use super::*;
use crate::recovery::inspection;

const SEGMENT: &str = "segment-00001.log";

/// Returns two stripes of two segments each, closed as by a kill.
fn log() -> Stage {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        for _ in 0..2 {
            pen.roll(&mut stage);
            pen.durable(&mut stage, &[Ink::Put(3)]);
        }
    }
    stage
}

fn path(stage: &Stage, stripe: usize, name: &str) -> PathBuf {
    stage.options.data_dirs[stripe].join(name)
}

/// Returns the moves that an opening asks for.
fn moves(stage: &Stage) -> Vec<(PathBuf, PathBuf)> {
    let Err(error) = stage.try_open() else { panic!("opened") };
    let words = error.to_string();
    let RecoveryError::Misplaced { moves } = error else { panic!("{words}") };
    for (from, to) in &moves {
        assert!(words.contains(&format!("{} to {}", from.display(), to.display())), "{words}");
    }
    moves
}

fn waiting_of(found: &Recovered) -> Vec<Vec<(u64, u64)>> {
    let of = |state: &crate::record::state::StripeState| state.missing(0, state.next.0);
    found.state.stripes.iter().map(of).collect()
}

#[test]
fn r11_a_segment_in_another_directory_is_asked_back_and_nothing_is_missing() {
    for (swapped, named) in [(false, true), (false, false), (true, true), (true, false)] {
        let stage = log();
        if named {
            drop(stage.open());
        }
        let (here, there) = (path(&stage, 0, SEGMENT), path(&stage, 1, SEGMENT));
        let mut expected = vec![here.clone()];
        if swapped {
            let aside = stage.root.path().join("aside");
            rename(&here, &aside);
            rename(&there, &here);
            rename(&aside, &there);
            expected.push(there);
        } else {
            rename(&here, path(&stage, 1, "segment-00009.log"));
            expected = vec![path(&stage, 1, "segment-00009.log")];
        }
        let random = SeededRandom::new(1);
        let clock = ManualClock::default();
        let mended = repair(&*stage.disk, &clock, &random, &stage.options);
        assert!(matches!(mended, Err(RecoveryError::Misplaced { .. })), "{mended:?}");
        let survey = inspection::survey(&*stage.disk, &stage.options).expect("it can be looked at");
        let said = survey.findings.iter().filter(|f| f.words.contains(": move it to"));
        assert_eq!(said.count(), expected.len(), "{:?}", survey.findings);
        let moves = moves(&stage);
        let from: Vec<PathBuf> = moves.iter().map(|(from, _)| from.clone()).collect();
        assert_eq!(from, expected, "swapped: {swapped}, named: {named}");
        for (from, to) in &moves {
            assert!(!to.exists(), "{to:?}");
            rename(from, to);
        }
        let found = stage.open();
        assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
        assert_eq!(waiting_of(&found), [[(0, 6)], [(0, 6)]], "swapped: {swapped}, named: {named}");
    }
}

#[test]
fn r11_a_copy_of_another_directorys_segment_is_left_alone() {
    let stage = log();
    let from = path(&stage, 0, SEGMENT);
    let to = path(&stage, 1, "segment-00009.log");
    std::os::unix::fs::symlink(&from, &to).expect("linked");
    let found = stage.open();
    let copies = of(&found, Case::R11);
    assert_eq!(copies.len(), 1, "{:?}", found.report);
    assert!(copies[0].words.contains("a copy of a segment of"), "{}", copies[0].words);
    assert_eq!(waiting_of(&found), [[(0, 6)], [(0, 6)]]);
}

#[test]
fn r11_a_passed_segment_in_another_directory_prevents_no_opening() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        for _ in 0..2 {
            pen.roll(&mut stage);
            pen.durable(&mut stage, &[Ink::Put(3)]);
        }
    }
    pens[0].durable(&mut stage, &[Ink::Ack(StripeIndex(0), 0, 3)]);
    rename(path(&stage, 0, "segment-00000.log"), path(&stage, 1, "segment-00009.log"));
    let found = stage.open();
    assert_eq!(waiting_of(&found), [[(3, 6)], [(0, 6)]]);
}
