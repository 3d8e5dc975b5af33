//! Numbers that no channel reaches, forged under right checksums.

use super::*;

/// Sets the number in what a writer writes next.
type Set = fn(&mut Pen, u64);

/// Under a right checksum, which damage never has.
#[test]
fn numbers_that_no_channel_comes_to_are_refused_by_their_place() {
    let high = u64::MAX - 2;
    let set: [(&str, Set); 4] = [
        ("an epoch", |pen, high| pen.epoch.number = EpochNumber(high)),
        ("a segment", |pen, high| pen.segment = high),
        ("a block", |pen, high| {
            (pen.next_block, pen.epoch.start) = (high - 9, BlockNumber(high - 9));
        }),
        ("a sequence", |pen, high| pen.next_sequence = high - 9),
    ];
    for (what, set) in set {
        let (mut stage, mut pens) = Stage::new(2);
        set(&mut pens[1], high);
        pens[1].roll(&mut stage);
        pens[1].durable(&mut stage, &[Ink::Put(3)]);
        let refused = stage.try_open().err().unwrap_or_else(|| panic!("{what}")).to_string();
        assert!(refused.contains("data1") && refused.contains(what), "{what}: {refused}");
    }
    let (mut stage, _) = Stage::new(1);
    stage.state.advance_source_offset(
        "tail",
        &crate::record::state::SourceOffset { counter: high, bytes: vec![] },
    );
    let file = stage.file(&stage.options.data_dirs[0], CHECKPOINT_NAME);
    let made = stage.open();
    let mut home = SlotFile::new(file, 7);
    write_state(&mut home, made.channel, made.stripes[0].uuid, &stage.state);
    drop(made);
    let refused = stage.try_open().err().expect("refused").to_string();
    assert!(refused.contains("a position's counter"), "{refused}");
}

#[test]
fn a_segment_file_with_the_last_number_is_refused_and_stays() {
    let (stage, _) = Stage::new(1);
    let path = stage.options.data_dirs[0].join(layout::segment_name(u32::MAX));
    std::fs::write(&path, vec![0u8; SEGMENT_BYTES as usize]).expect("written");
    let refused = stage.try_open().err().expect("refused").to_string();
    assert!(refused.contains("a segment file"), "{refused}");
    assert!(path.exists());
}
