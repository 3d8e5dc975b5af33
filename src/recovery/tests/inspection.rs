//! Read-only inspection.

use super::*;
use crate::recovery::inspection::{Presence, WalkStep, survey};
use std::ops::ControlFlow;

const ZERO: StripeIndex = StripeIndex(0);

/// Returns a log of three segments: 6 events, the first 2 of them taken.
fn log() -> (Stage, Vec<TestDir>) {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(pen.roll(&mut stage));
        places.push(pen.durable(&mut stage, &[Ink::PutAt(2, "tail", 1)]));
    }
    places.push(pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 1)]));
    (stage, places)
}

#[test]
fn a_survey_of_a_running_channel_sees_what_an_opening_would() {
    let (stage, _) = log();
    let _running = stage.open();
    let seen = survey(&RealDisk::read_only(), &stage.options).expect("readable");
    assert_eq!((seen.presence, seen.channel), (Presence::Created, stage.channel));
    let stripe = &seen.stripes[0];
    assert_eq!((stripe.waiting, stripe.segments.len()), (5, 3));
    assert_eq!(stripe.segments[0].end_sequence, Sequence(2));
    let check = seen.check().expect("readable");
    assert!(check.is_sound(), "{:?}", check.findings);
    assert_eq!((check.blocks, check.events), (7, 6));
}

#[test]
fn a_check_finds_a_flipped_bit_in_any_block_that_holds_waiting_events() {
    for at in [1, 3] {
        let (stage, places) = log();
        places[at].rot_payload();
        let seen = survey(&*stage.disk, &stage.options).expect("readable");
        let check = seen.check().expect("readable");
        let damage: Vec<_> = check.findings.iter().filter(|f| f.case.is_damage()).collect();
        assert_eq!(damage.len(), 1, "{:?}", check.findings);
        assert_eq!(damage[0].offset, Some(places[at].offset));
        assert_eq!(damage[0].segment, Some(places[at].segment));
        let first = places[at].first.max(1);
        assert_eq!(damage[0].sequences, range(first, places[at].end));
    }
}

#[test]
fn a_torn_tail_an_empty_and_a_half_created_channel_are_sound() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    pens[0].in_flight(&mut stage, &[Ink::Put(2)]).rot_payload();
    let check = survey(&*stage.disk, &stage.options).expect("readable").check().expect("readable");
    assert!(check.is_sound());
    assert!(check.findings.iter().any(|f| f.case == Case::R5), "said, not damage");

    let empty = Stage::empty(1);
    let seen = survey(&*empty.disk, &empty.options).expect("readable");
    assert_eq!(seen.presence, Presence::Empty);
    assert!(seen.check().expect("nothing to read").is_sound());
    let dir = empty.disk.open_dir(&empty.options.data_dirs[0], true).expect("made");
    layout::make_zeroed(&*dir, MEMBER_NAME, 4096)
        .expect("made")
        .write_at(0, &[1])
        .expect("written");
    let seen = survey(&*empty.disk, &empty.options).expect("readable");
    assert_eq!(seen.presence, Presence::HalfCreated);
}

#[test]
fn looking_changes_no_byte() {
    let (stage, places) = log();
    places[5].rot();
    let image = |stage: &Stage| {
        let mut image = Vec::new();
        for path in stage.options.data_dirs.iter().chain([&stage.options.checkpoint_dir]) {
            let dir = stage.disk.open_dir(path, false).expect("there");
            for entry in dir.list().expect("listed") {
                let file = dir.open(&entry.name, Access::Read).expect("opened");
                let mut bytes = vec![0; entry.len as usize];
                file.read_at(0, &mut bytes).expect("read");
                image.push((entry.name, bytes));
            }
        }
        image
    };
    let before = image(&stage);
    let seen = survey(&RealDisk::read_only(), &stage.options).expect("readable");
    seen.check().expect("readable");
    assert_eq!(image(&stage), before);
}

#[test]
fn a_walk_yields_every_event_with_its_place_and_whether_it_waits() {
    let (stage, places) = log();
    let seen = survey(&*stage.disk, &stage.options).expect("readable");
    let (mut events, mut source_offsets) = (Vec::new(), 0);
    seen.walk(&mut |step| {
        match step {
            WalkStep::Event { sequence, segment, offset, waiting, event, .. } => {
                events.push((sequence.0, segment, offset, waiting, event.body));
            }
            WalkStep::SourceOffset { source, source_offset } => {
                assert_eq!((&source[..], source_offset.counter), ("tail", 1));
                source_offsets += 1;
            }
            WalkStep::Finding(finding) => panic!("{finding}"),
        }
        ControlFlow::Continue(())
    })
    .expect("readable");
    assert_eq!(
        events.iter().map(|e| (e.0, e.3)).collect::<Vec<_>>(),
        [(0, false), (1, true), (2, true), (3, true), (4, true), (5, true)]
    );
    assert_eq!((events[2].1, events[2].2), (places[3].segment, places[3].offset));
    assert_eq!((&events[3].4[..], source_offsets), (&b"event 1"[..], 3));
    let mut met = 0;
    seen.walk(&mut |_| {
        met += 1;
        ControlFlow::Break(())
    })
    .expect("readable");
    assert_eq!(met, 1);
}
