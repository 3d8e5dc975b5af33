//! Tests of more files than a source offset holds, files with equal beginnings, and patterns without a match.

use super::*;
use millpond_flow::base::limits::{TAIL_CHANGED_MAX, TAIL_CHANGED_UNWRITTEN_MAX};

/// More files than the source offset of a channel can hold.
const MANY: usize = 2_500;

fn position_bytes(channel: &Arc<dyn Channel>) -> usize {
    channel.source_offset("r1").unwrap().expect("left with the lines").bytes.len()
}

async fn read_all(
    fixture: &TailFixture,
    channel: &Arc<dyn Channel>,
    events: u64,
) -> Arc<SourceHarness> {
    let harness = Arc::new(SourceHarness::over(channel));
    let put = channel.status().put + events;
    let source = fixture.source(r".*\.log", &[]);
    let read = async {
        until("the lines", || channel.status().put >= put).await;
        harness.until_started().await;
    };
    harness.run(&*source, read).await.unwrap();
    assert_eq!(channel.status().put, put);
    harness
}

fn drain_all(channel: &Arc<dyn Channel>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let more = drain(channel);
        if more.is_empty() {
            all.sort();
            return all;
        }
        all.extend(more);
    }
}

#[tokio::test]
async fn thousands_of_files_are_read_once_with_small_source_offsets() {
    let fixture = TailFixture::new();
    let name = |at: usize| format!("{at:05}.log");
    let line = |at: usize| format!("{at:05}");
    for at in 0..MANY {
        std::fs::write(fixture.log(&name(at)), format!("{}\n", line(at))).unwrap();
    }
    let channel = fixture.channel();
    read_all(&fixture, &channel, MANY as u64).await;
    let all: Vec<String> = (0..MANY).map(line).collect();
    assert_eq!(drain_all(&channel), all);
    let most = (TAIL_CHANGED_MAX + 1) * offset::FileEntry::BYTES_MAX + 100;
    assert!(position_bytes(&channel) < most, "{}", position_bytes(&channel));
    // The next runs continue there, whatever positionFile says, and from the source offset alone.
    for round in 0..2 {
        std::fs::write(fixture.at("pos/positions.json"), "[]").unwrap();
        for at in [3, MANY - 1] {
            fixture.append(&name(at), &format!("{round}\n"));
        }
        read_all(&fixture, &channel, 2).await;
        assert_eq!(drain_all(&channel), [round.to_string(), round.to_string()]);
    }
}

#[tokio::test]
async fn a_lost_journal_loses_nothing_while_the_position_file_exists() {
    let fixture = TailFixture::new();
    let files = TAIL_CHANGED_MAX * 3;
    for at in 0..files {
        fixture.append(&format!("{at}.log"), "1\n");
    }
    let channel = fixture.channel();
    read_all(&fixture, &channel, files as u64).await;
    for journal in ["a", "b"] {
        let _ = std::fs::remove_file(fixture.at(&format!("pos/positions.json.places-{journal}")));
    }
    fixture.append("0.log", "2\n");
    let harness = read_all(&fixture, &channel, 1).await;
    assert_eq!(harness.context.counters.event_read_fail.get(), 1, "it is said");
    drain_all(&channel);
    // Without both, the files are read as new: nothing is skipped.
    for journal in ["a", "b"] {
        let _ = std::fs::remove_file(fixture.at(&format!("pos/positions.json.places-{journal}")));
    }
    std::fs::write(fixture.at("pos/positions.json"), "[]").unwrap();
    fixture.append("1.log", "2\n");
    let harness = Arc::new(SourceHarness::over(&channel));
    let source = fixture.source(r".*\.log", &[]);
    let put = channel.status().put;
    let read = until("the line", || channel.status().put > put);
    harness.run(&*source, read).await.unwrap();
    assert!(drain_all(&channel).contains(&"2".to_owned()));
}

#[test]
fn without_a_journal_only_as_many_files_are_read_as_an_offset_holds() {
    let fixture = TailFixture::new();
    let many = TAIL_CHANGED_UNWRITTEN_MAX + 10;
    for at in 0..many {
        fixture.append(&format!("app.{at}"), "1\n");
    }
    // A directory takes the journal's path.
    let stands = fixture.at("positions.json.places-b");
    std::fs::create_dir(&stands).unwrap();
    let mut life = tails(&fixture, Vec::new());
    let read = news(&mut life, 0).0.len();
    assert!((TAIL_CHANGED_UNWRITTEN_MAX - 1..=TAIL_CHANGED_UNWRITTEN_MAX + 1).contains(&read));
    std::fs::remove_dir(&stands).unwrap();
    assert_eq!(news(&mut life, 1).0.len(), many - read, "the others waited");
}

/// Logs of W3C, of garbage collectors and of CSV begin with hundreds of constant bytes.
#[test]
fn a_rewritten_file_with_an_equal_beginning_is_read_from_its_start() {
    let fixture = TailFixture::new();
    let head = format!("#{}\n", "-".repeat(400));
    let first = format!("{head}1\n2\n");
    fixture.append("app.log", &first);
    let mut life = tails(&fixture, Vec::new());
    let (read, known) = news(&mut life, 0);
    assert_eq!(read.len(), 3);
    // By the next scan longer than what was read of it.
    std::fs::write(fixture.log("app.log"), format!("{head}3\n4\n5\n6\n")).unwrap();
    assert_eq!(news(&mut life, 1).0[1..], ["3", "4", "5", "6"]);
    // The same while the source was down.
    let mut next = tails(&fixture, known);
    assert_eq!(news(&mut next, 0).0[1..], ["3", "4", "5", "6"]);
}

#[test]
fn an_unchanged_file_is_resumed_although_its_device_number_changed() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let mut known = news(&mut tails(&fixture, Vec::new()), 0).1;
    // As after a reboot of the machine.
    known[0].identity.device = known[0].identity.device.map(|device| device + 1);
    fixture.append("app.log", "2\n");
    assert_eq!(news(&mut tails(&fixture, known.clone()), 0).0, ["2"]);
    // With another creation time it is another file, whatever its beginning.
    let Some(born) = known[0].identity.born_ns else { return };
    known[0].identity.born_ns = Some(born - 1);
    assert_eq!(news(&mut tails(&fixture, known), 0).0, ["1", "2"]);
}

#[tokio::test]
async fn a_pattern_that_matches_nothing_is_reported() {
    let fixture = TailFixture::new();
    let harness = SourceHarness::new();
    let source = fixture.source(r"app\.log", &[]);
    let counters = Arc::clone(&harness.context.counters);
    let script = async {
        until("the empty pattern", || counters.empty_patterns.get() == 1).await;
        fixture.append("app.log", "1\n");
        harness.until_events(1).await;
        until("it to be over", || counters.empty_patterns.get() == 0).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(counters.files_left_out.get(), 0);
}

#[test]
fn files_beyond_the_limit_are_reported_and_read_once_there_is_room() {
    let fixture = TailFixture::new();
    for name in ["app.1", "app.2", "app.3"] {
        fixture.append(name, &format!("{name}\n"));
    }
    let counters = Arc::default();
    let mut life = tails_counted(&fixture, Vec::new(), Arc::clone(&counters));
    life.files_max = 2;
    let mut read = news(&mut life, 0).0;
    assert_eq!((read.len(), counters.files_left_out.get()), (2, 1));
    life.files_max = 3;
    read.extend(news(&mut life, 1).0);
    read.sort();
    assert_eq!(
        (&read[..], counters.files_left_out.get()),
        (&["app.1", "app.2", "app.3"].map(str::to_owned)[..], 0)
    );
}
