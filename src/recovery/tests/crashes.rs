//! A crash at every operation of a creation and of a recovery, on a simulated disk.

use super::twice::outcome;
use super::*;
use crate::simulated_disk::{Model, SimDisk, SimOptions};

fn disks() -> impl Iterator<Item = SimOptions> {
    [Model::StrictPosix, Model::Journalling].into_iter().flat_map(|model| {
        [true, false].map(|direct| SimOptions { model, direct, ..SimOptions::new(3) })
    })
}

/// Returns what a crash now may leave: a killed process, and two power cuts.
fn after(disk: &SimDisk, seed: u64) -> [SimDisk; 3] {
    [disk.kill(seed), disk.crash(seed), disk.crash(seed + 1000)]
}

#[test]
fn a_creation_crashed_at_any_operation_is_finished_or_done_again() {
    for options in disks() {
        let whole = SimDisk::new(options.clone());
        drop(Stage::on(Arc::new(whole.clone()), 2).open());
        for at in 1..=whole.operations() {
            let disk = SimDisk::new(options.clone());
            disk.crash_at(at);
            let mut stage = Stage::on(Arc::new(disk.clone()), 2);
            let _ = stage.try_open();
            for left in after(&disk, at) {
                stage.disk = Arc::new(left.clone());
                let found = stage.open();
                let said = found.report.findings.iter().any(|f| f.case.is_damage());
                assert!(!said, "operation {at} of {options:?}: {:?}", found.report.findings);
                let channel = found.channel;
                drop(found);
                stage.disk = Arc::new(left.crash(at));
                assert_eq!(stage.open().channel, channel, "operation {at} of {options:?}");
            }
        }
    }
}

#[test]
fn a_recovery_crashed_at_any_operation_decides_the_same_the_next_time() {
    for options in disks() {
        let origin = SimDisk::new(options.clone());
        let (mut stage, mut pens) = Stage::on(Arc::new(origin.clone()), 2).created();
        leave_damaged_logs(&mut stage, &mut pens);
        drop(pens);
        let start = origin.kill(0);
        let whole = start.kill(0);
        stage.disk = Arc::new(whole.clone());
        let before = whole.operations();
        let expected = outcome(&stage.open());
        for at in before + 1..=whole.operations() {
            let disk = start.kill(0);
            disk.crash_at(at);
            stage.disk = Arc::new(disk.clone());
            let _ = stage.try_open();
            for left in after(&disk, at) {
                stage.disk = Arc::new(left);
                let found = outcome(&stage.open());
                assert_eq!(found, expected, "operation {at} of {options:?}");
            }
        }
    }
}

/// Two logs with damage, a hole, a fenced block, torn tails and a torn roll.
fn leave_damaged_logs(stage: &mut Stage, pens: &mut [Pen]) {
    for pen in pens.iter_mut() {
        pen.roll(stage);
        pen.durable(stage, &[Ink::PutAt(4, "tail", 3)]);
    }
    let lost = pens[0].durable(stage, &[Ink::Put(2)]);
    pens[0].durable(stage, &[Ink::Ack(StripeIndex(1), 0, 2)]);
    pens[0].durable(stage, &[Ink::Put(1)]);
    let mark = stage.state.stripe(StripeIndex(1)).watermark;
    let fence = FenceBody {
        stripe: StripeIndex(1),
        epoch: Epoch { number: EpochNumber(2), nonce: 9, start: mark.block.next() },
        void_start: mark.sequence,
        void_end: Sequence(mark.sequence.0 + 3),
    };
    pens[1].in_flight(stage, &[Ink::Put(3)]);
    pens[0].durable(stage, &[Ink::Fence(fence)]);
    let hole = pens[0].in_flight(stage, &[Ink::Put(2)]);
    pens[0].in_flight(stage, &[Ink::Put(3)]);
    let torn = pens[0].in_flight(stage, &[Ink::Put(3)]);
    let state = stage.state.clone();
    pens[1].roll(stage).rot();
    stage.state = state;
    lost.rot();
    hole.rot();
    torn.rot_payload();
}
