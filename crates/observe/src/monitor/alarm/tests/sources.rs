//! Tests of sources that run and do not do all their work.

use super::{AlarmHarness, at};
use millpond_flow::metrics::{ComponentId, ComponentRole};

#[test]
fn what_a_source_leaves_out_or_waits_for_is_an_alarm_with_the_reason() {
    let member = |kind| ComponentId { role: ComponentRole::Source, name: "r1".to_owned(), kind };
    for (kind, words) in [
        ("taildir", "3 files match and are not read, since the source holds 100000 already"),
        ("spooldir", "3 directories are more than 64 levels below spoolDir"),
    ] {
        let mut rig = AlarmHarness::new("sourceFailing.seconds = 5");
        rig.registry.keep(&[member(kind)]);
        let source = rig.registry.source("r1");
        source.started(1);
        source.up.set(1);
        assert_eq!(rig.pass(20), []);
        source.files_left_out.set(3);
        assert_eq!(rig.pass(20), [at(6, "raised 90008 SOURCE.r1")]);
        let message = rig.evaluator.active()[0].message.clone();
        assert!(message.starts_with(words), "{message}");
        assert_eq!(&*rig.evaluator.active()[0].parameters["files"], "3");
        source.files_left_out.set(0);
        let seen = rig.pass(30);
        assert!(seen.len() == 1 && seen[0].1.starts_with("cleared 90008 SOURCE.r1"), "{seen:?}");
    }
    let mut rig = AlarmHarness::new("sourceFailing.seconds = 5");
    let source = rig.registry.source("r1");
    source.position_refused.set(1);
    assert_eq!(rig.pass(20), [at(6, "raised 90008 SOURCE.r1")]);
    let message = rig.evaluator.active()[0].message.clone();
    assert!(message.contains("its position has no room in a channel"), "{message}");
    source.position_refused.set(0);
    assert_eq!(rig.pass(30).len(), 1);
}
