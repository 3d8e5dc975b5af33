//! Hostile clients, a few of each kind, against the real binary, next to some legitimate ones. The
//! bench of the same name drives thousands, and measures how quick the legitimate ones stay.

// The bench prints results that are not checked here.
#[allow(dead_code, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]
#[path = "../../benches/hostile_clients/round/mod.rs"]
mod round;

use round::Plan;

#[test]
fn attacked_in_every_way_the_agent_keeps_to_its_memory_and_loses_nothing() {
    let plan = Plan { connections: 600, seconds: 6, mebibytes: 256, descriptors: 1024 };
    let report = round::run(&plan, &std::env::temp_dir());
    report.check(plan.mebibytes);
    assert!(report.budget_mib > 0 && report.used_mib > 0, "the agent says what it holds");
    for (attack, count) in &report.attacks {
        assert!(count.opened() > 0, "{attack}: never tried");
    }
    for sender in &report.senders {
        assert!(sender.acknowledged > 0, "{} brought nothing", sender.name);
    }
}
