//! Segments that are missing, and segments that came back.

use super::*;
use crate::recovery::MissingSegments;

#[test]
fn r7_a_missing_segment_is_refused_with_its_directory_and_its_events() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    let path = stage.options.data_dirs[0].clone();
    let directory = stage.disk.open_dir(&path, false).expect("there");
    directory.remove(&layout::segment_name(0)).expect("removed");
    stage.options.open_without_missing_segments = false;
    let refused = |stage: &Stage| match stage.try_open() {
        Err(RecoveryError::SegmentsMissing { missing }) => missing,
        other => panic!("{:?}", other.map(|r| r.report)),
    };
    let (directory, events, sequences) = (path, 3, Some((0, 3)));
    let missing = MissingSegments { directory, events, sequences, end: false };
    assert_eq!(refused(&stage), std::slice::from_ref(&missing));
    // A missing disk and a missing file are different cases.
    stage.options.open_degraded = true;
    assert_eq!(refused(&stage), [missing]);
}

#[test]
fn r16_a_segment_that_came_back_is_neither_used_nor_part_of_the_log() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let first = pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    let directory = stage.disk.open_dir(&stage.options.data_dirs[0], false).expect("there");
    let mut bytes = vec![0; usize::try_from(SEGMENT_BYTES).expect("small")];
    first.file.read_at(0, &mut bytes).expect("readable");
    directory.remove(&layout::segment_name(0)).expect("removed");
    drop(stage.open());
    let back = directory.create(&layout::segment_name(7)).expect("made");
    back.write_at(0, &bytes).expect("written");
    stage.options.open_without_missing_segments = false;
    let found = stage.open();
    assert_eq!(of(&found, Case::R16)[0].sequences, range(0, 3));
    assert_eq!(waiting(&found), [(3, 5)]);
    assert!(found.stripes[0].free.iter().all(|free| free.slot != 7));
    assert!(found.stripes[0].segments.iter().all(|segment| segment.slot != 7));
    let mut again = vec![0; bytes.len()];
    back.read_at(0, &mut again).expect("readable");
    assert!(again == bytes, "it is left alone");
}
