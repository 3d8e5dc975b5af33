//! Tests of plans that are applied while another one runs.

use super::{ReloadReport, configuration, did, file_channel, planned, start, until, value};
use crate::agent::supervise::LiveAgent;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::{DropReason, MetricValue};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Without a stop.
async fn take_over(running: &mut LiveAgent, text: &str) -> ReloadReport {
    let (_stays, stop) = StopSignal::new();
    running.adopt(planned(text).0, TIMEOUT, &stop).await
}

async fn adopt(running: &mut LiveAgent, text: &str) -> ReloadReport {
    let adopted = take_over(running, text).await;
    timeout(TIMEOUT, running.all_started()).await.unwrap();
    assert!(adopted.cut_off.is_empty(), "{adopted:?}");
    adopted
}

fn times(log: &str, what: &str) -> usize {
    did(log).iter().filter(|did| *did == what).count()
}

#[tokio::test]
async fn only_what_is_different_stops_and_starts() {
    let log = "reload";
    let two = format!(
        "a.sources = r1 r2\na.sources.r2.type = trial\na.sources.r2.channels = c1\na.sources.r2.log = {log}"
    );
    let (mut running, _) = start(&configuration(log, &two));
    until("the start", || times(log, "r1 put all") + times(log, "r2 put all") == 2).await;
    let same = adopt(&mut running, &configuration(log, &two)).await;
    assert!(same.is_empty(), "{same:?}");
    assert_eq!((times(log, "k1 open"), times(log, "r2 stopped")), (1, 0));

    // One setting of one source.
    let other = format!("{two}\na.sources.r2.number = 3");
    let one = adopt(&mut running, &configuration(log, &other)).await;
    assert_eq!(one.words(), "restarted: source r2");
    assert_eq!((times(log, "r2 stopped"), times(log, "r1 stopped")), (1, 0));

    // A source is removed, a channel and a sink are added.
    let more = "a.channels = c1 c2\na.sinks = k1 k2\na.channels.c2.type = memory\n\
                a.sinks.k2.type = trial\na.sinks.k2.channel = c2";
    let grown = adopt(&mut running, &configuration(log, more)).await;
    assert_eq!(grown.words(), "new: channel c2, sink k2; gone: source r2");
    assert_eq!((times(log, "r1 stopped"), times(log, "k1 stopped")), (0, 0));
    let line = timeout(TIMEOUT, running.all_started()).await.unwrap();
    assert_eq!(line, "agent a started: 1 source, 2 channels, 2 sinks");
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[tokio::test]
async fn memory_channel_events_survive_other_settings_and_another_type() {
    let log = "reload memory";
    let dir = tempfile::tempdir().unwrap();
    let refusing = "a.sinks.k1.mode = refuse\na.sources.r1.mode = once\n".to_owned();
    let (mut running, registry) = start(&configuration(log, &refusing));
    let put = || registry.channel("c1").event_put_success.get();
    until("the events", || put() == 3).await;
    // Exactly the room that they take, one at a time.
    let small =
        format!("{refusing}a.channels.c1.capacity = 3\na.channels.c1.transactionCapacity = 1");
    let small = small.replace("r1.mode = once", "r1.mode = wait");
    let adopted = take_over(&mut running, &configuration(log, &small)).await;
    assert_eq!(adopted.words(), "restarted: channel c1, sink k1, source r1");
    until("them in the smaller one", || put() == 6).await;
    // Onto a disk, with a sink that takes them.
    let text =
        configuration(log, "a.sources.r1.mode = wait").replace("a.channels.c1.type = memory\n", "");
    let text = text + &file_channel("c1", dir.path());
    adopt(&mut running, &text).await;
    until("the delivery", || times(log, "r1 2") > 0).await;
    for event in ["r1 0", "r1 1", "r1 2"] {
        assert_eq!(times(log, event), 1, "{:?}", did(log));
    }
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[tokio::test]
async fn events_not_taken_over_yet_pass_to_the_next_channel() {
    let log = "reload twice";
    let dir = tempfile::tempdir().unwrap();
    let stuck = configuration(log, "a.sinks.k1.mode = refuse");
    let (mut running, registry) = start(&stuck);
    let put = || registry.channel("c1").event_put_success.get();
    until("the events", || put() == 3).await;
    // Room for one of them, and no sink that makes more.
    let waits = stuck + "a.sources.r1.mode = wait\na.channels.c1.transactionCapacity = 1\n";
    let small = format!("{waits}a.channels.c1.capacity = 1\na.channels.c1.keep-alive = 0");
    take_over(&mut running, &small).await;
    until("the first in the small one", || put() == 4).await;
    // A directory that cannot be used, which no check found before.
    let blocked = dir.path().join("blocked");
    std::fs::write(&blocked, "a file where a directory is meant").unwrap();
    let onto = |dir: &Path, text: &str| {
        text.replace("a.channels.c1.type = memory\n", "") + &file_channel("c1", dir)
    };
    take_over(&mut running, &onto(&blocked, &waits)).await;
    until("it is ill", || value(&registry, "CHANNEL.c1", "Unhealthy") == MetricValue::Level(1))
        .await;
    let good = onto(&dir.path().join("good"), &waits.replace("mode = refuse", "number = 1"));
    adopt(&mut running, &good).await;
    until("the delivery", || times(log, "r1 2") > 0).await;
    let events: Vec<String> = did(log).into_iter().filter(|did| did.len() == 4).collect();
    assert_eq!(events, ["r1 0", "r1 1", "r1 2"]);
    assert_eq!(value(&registry, "CHANNEL.c1", "Open"), MetricValue::Flag(true));
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

/// In the channel, and left over from an earlier one that had more room.
#[tokio::test]
async fn what_a_stop_leaves_in_memory_is_counted_as_dropped() {
    let log = "reload lost";
    let stuck = configuration(log, "a.sinks.k1.mode = refuse");
    let (mut running, registry) = start(&stuck);
    let channel = registry.channel("c1");
    until("the events", || channel.event_put_success.get() == 3).await;
    let small = "a.sources.r1.mode = wait\na.channels.c1.transactionCapacity = 1\na.channels.c1.capacity = 1\na.channels.c1.keep-alive = 0\n";
    take_over(&mut running, &format!("{stuck}{small}")).await;
    until("the first in the small one", || channel.event_put_success.get() == 4).await;
    running.stop(Duration::from_millis(500)).await;
    assert_eq!(channel.drops.get(DropReason::Memory), 3);
}

#[tokio::test]
async fn a_spillable_channel_cannot_take_other_settings_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let text = |memory: u64| {
        let more = format!(
            "a.sources.r1.mode = once\na.channels.c1.type = SPILLABLEMEMORY\n\
             a.channels.c1.memoryCapacity = {memory}\na.channels.c1.checkpointDir = {at}/cp\n\
             a.channels.c1.dataDirs = {at}/data\na.channels.c1.minimumRequiredSpace = 1048576\n"
        );
        configuration("reload spillable", &more)
    };
    let (running, _) = start(&text(100));
    assert_eq!(running.refuses(&planned(&text(100)).0), None);
    let why = running.refuses(&planned(&text(200)).0).unwrap();
    assert!(why.contains("channel c1") && why.contains("stop and start the agent"), "{why}");
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_interrupts_a_reload_starts_nothing_new_and_loses_nothing() {
    let log = "reload stopped";
    // A sink that hangs on a channel of its own delays the reload.
    let hung = format!(
        "a.sources = r1 r2\na.channels = c1 c2\na.sinks = k1 k2\n\
         a.channels.c2.type = memory\na.sinks.k2.type = trial\na.sinks.k2.channel = c2\n\
         a.sinks.k2.log = {log}\na.sources.r2.type = trial\n\
         a.sources.r2.channels = c2\na.sources.r2.log = {log}\n"
    );
    let before = format!("{hung}a.sinks.k2.mode = hang\na.sources.r1.mode = once\n");
    let (mut running, _) = start(&configuration(log, &before));
    until("the sink hangs", || times(log, "k2 hangs") == 1 && times(log, "r1 put all") == 1).await;
    // Both channels get other settings; k3 is new, and k2 no longer hangs.
    let after = format!(
        "{hung}a.channels = c1 c2 c3\na.sinks = k1 k2 k3\na.channels.c3.type = memory\n\
         a.sinks.k3.type = trial\na.sinks.k3.channel = c3\na.sinks.k3.log = {log}\n\
         a.channels.c1.capacity = 50\na.channels.c2.capacity = 50\n\
         a.channels.c1.transactionCapacity = 50\na.channels.c2.transactionCapacity = 50\n"
    );
    let began = tokio::time::Instant::now();
    let deadline = Duration::from_secs(20);
    let (fire, stop) = StopSignal::new();
    let plan = planned(&configuration(log, &after)).0;
    let asking = async {
        until("its own sink has stopped", || times(log, "k1 stopped") == 1).await;
        fire.send_replace(true);
        tokio::time::Instant::now()
    };
    let (adopted, asked) = tokio::join!(running.adopt(plan, deadline, &stop), asking);
    assert!(adopted.abandoned, "{adopted:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "waited for {:?}", began.elapsed());
    let cut_off = running.stop(deadline).await;
    assert_eq!(cut_off, ["sink k2"]);
    // By the clock of the test, which does not advance while anything can run.
    assert!(asked.elapsed() < deadline + Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(times(log, "k3 open"), 0, "nothing of the changed configuration starts");
    for event in ["r1 0", "r1 1", "r1 2"] {
        assert_eq!(times(log, event), 1, "{event}: {:?}", did(log));
    }
}

#[tokio::test]
async fn a_reload_checks_that_a_sink_starts_before_the_old_one_stops() {
    let log = "reload unfit";
    let group = "a.sinkgroups = g\na.sinkgroups.g.sinks = k2 k3\na.sinkgroups.g.processor.type = load_balance\n\
                 a.sinks = k1 k2 k3\na.sinks.k2.type = trial\na.sinks.k2.channel = c1\n\
                 a.sinks.k3.type = trial\na.sinks.k3.channel = c1\n";
    let (running, _) = start(&configuration(log, group));
    let tried = async |more: &str| {
        running.preflight(&planned(&configuration(log, &format!("{group}{more}"))).0).await
    };
    for name in ["k1", "k2"] {
        let why = tried(&format!("a.sinks.{name}.mode = unfit")).await;
        let expected = format!("sink {name} could not start with its new settings: no such store");
        assert_eq!(why, Some(expected));
    }
    assert_eq!(tried("").await, None, "what does not change is not tried");
    // A new component stops no other.
    let more = "a.sinks = k1 k2 k3 k4\na.sinks.k4.type = trial\na.sinks.k4.channel = c1\na.sinks.k4.mode = unfit";
    assert_eq!(tried(more).await, None);
    running.stop(TIMEOUT).await;
}

#[tokio::test]
async fn a_reload_checks_that_a_channel_opens_before_the_old_one_stops() {
    let log = "reload unusable";
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "a file where a directory is meant").unwrap();
    let (good, bad) = (file_channel("c1", &at("good")), file_channel("c1", &at("file/below")));
    let (running, _) = start(&configuration(log, &good));
    until("all is put", || times(log, "r1 put all") == 1).await;
    let tried = async |more: &str| running.preflight(&planned(&configuration(log, more)).0).await;
    assert_eq!(tried(&good).await, None);
    let why = tried(&bad).await.expect("a reason");
    let begins = "channel c1 could not open with its new settings: checkpointDir: ";
    assert!(why.starts_with(begins) && why.contains("file/below"), "{why}");
    let only = |key: &str| format!("{good}a.channels.c1.{key}\n");
    let (place, wrong) = (at("good/data"), at("file"));
    let one = only(&format!("dataDirs = {},{}", place.display(), wrong.display()));
    let why = tried(&one).await.expect("a reason");
    assert!(why.contains("dataDirs: ") && why.contains("is not a directory"), "{why}");
    // It would open without one of its directories.
    assert_eq!(tried(&format!("{one}a.channels.c1.openDegraded = true\n")).await, None);
    // A new channel is checked only if a source or sink that runs now would use it.
    let second = file_channel("c2", &at("file/below"));
    let new = format!("{good}a.channels = c1 c2\n{second}");
    let why = tried(&format!("{new}a.sources.r1.channels = c1 c2\n")).await.expect("a reason");
    assert!(why.starts_with("channel c2 could not open"), "{why}");
    let more =
        format!("{new}a.sources = r1 r2\na.sources.r2.type = trial\na.sources.r2.channels = c2\n");
    assert_eq!(tried(&more).await, None);
    running.stop(TIMEOUT).await;
}
