//! More files than a position holds, files that begin alike, patterns that match nothing.

use super::*;
use crate::base::limits::{TAIL_CHANGED_MAX, TAIL_CHANGED_UNWRITTEN_MAX};

/// More than all that a channel's positions could name.
const MANY: usize = 2_500;

fn position_bytes(channel: &Arc<dyn Channel>) -> usize {
    channel.position("r1").unwrap().expect("left with the lines").bytes.len()
}

async fn read_all(ground: &Ground, channel: &Arc<dyn Channel>, events: u64) -> Arc<Trial> {
    let trial = Arc::new(Trial::over(channel));
    let put = channel.status().put + events;
    let source = ground.source(r".*\.log", &[]);
    let read = async {
        until("the lines", || channel.status().put >= put).await;
        trial.until_started().await;
    };
    trial.run(&*source, read).await.unwrap();
    assert_eq!(channel.status().put, put);
    trial
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
async fn every_file_of_thousands_is_read_once_and_batches_stay_small() {
    let ground = Ground::new();
    let name = |at: usize| format!("{at:05}.log");
    let line = |at: usize| format!("{at:05}");
    for at in 0..MANY {
        std::fs::write(ground.log(&name(at)), format!("{}\n", line(at))).unwrap();
    }
    let channel = ground.channel();
    read_all(&ground, &channel, MANY as u64).await;
    let all: Vec<String> = (0..MANY).map(line).collect();
    assert_eq!(drain_all(&channel), all);
    let most = (TAIL_CHANGED_MAX + 1) * place::Entry::BYTES_MAX + 100;
    assert!(position_bytes(&channel) < most, "{}", position_bytes(&channel));
    // The next lives go on there, whatever positionFile says, and with what only a position says.
    for round in 0..2 {
        std::fs::write(ground.at("pos/positions.json"), "[]").unwrap();
        for at in [3, MANY - 1] {
            ground.append(&name(at), &format!("{round}\n"));
        }
        read_all(&ground, &channel, 2).await;
        assert_eq!(drain_all(&channel), [round.to_string(), round.to_string()]);
    }
}

#[tokio::test]
async fn a_journal_that_is_lost_costs_nothing_where_the_position_file_is_there() {
    let ground = Ground::new();
    let files = TAIL_CHANGED_MAX * 3;
    for at in 0..files {
        ground.append(&format!("{at}.log"), "1\n");
    }
    let channel = ground.channel();
    read_all(&ground, &channel, files as u64).await;
    for journal in ["a", "b"] {
        let _ = std::fs::remove_file(ground.at(&format!("pos/positions.json.places-{journal}")));
    }
    ground.append("0.log", "2\n");
    let trial = read_all(&ground, &channel, 1).await;
    assert_eq!(trial.context.counters.event_read_fail.get(), 1, "it is said");
    drain_all(&channel);
    // And without that the files are read as if they were new: nothing is left out.
    for journal in ["a", "b"] {
        let _ = std::fs::remove_file(ground.at(&format!("pos/positions.json.places-{journal}")));
    }
    std::fs::write(ground.at("pos/positions.json"), "[]").unwrap();
    ground.append("1.log", "2\n");
    let trial = Arc::new(Trial::over(&channel));
    let source = ground.source(r".*\.log", &[]);
    let put = channel.status().put;
    let read = until("the line", || channel.status().put > put);
    trial.run(&*source, read).await.unwrap();
    assert!(drain_all(&channel).contains(&"2".to_owned()));
}

#[test]
fn while_the_journal_cannot_be_written_so_many_files_are_read_as_a_position_holds() {
    let ground = Ground::new();
    let many = TAIL_CHANGED_UNWRITTEN_MAX + 10;
    for at in 0..many {
        ground.append(&format!("app.{at}"), "1\n");
    }
    // A directory stands where the journal should.
    let stands = ground.at("positions.json.places-b");
    std::fs::create_dir(&stands).unwrap();
    let mut life = tails(&ground, Vec::new());
    let read = news(&mut life, 0).0.len();
    assert!((TAIL_CHANGED_UNWRITTEN_MAX - 1..=TAIL_CHANGED_UNWRITTEN_MAX + 1).contains(&read));
    std::fs::remove_dir(&stands).unwrap();
    assert_eq!(news(&mut life, 1).0.len(), many - read, "the others waited");
}

/// Logs of W3C, of garbage collectors, of CSV begin with hundreds of bytes that are always the same.
#[test]
fn a_file_that_was_written_anew_and_begins_alike_is_read_from_its_start() {
    let ground = Ground::new();
    let head = format!("#{}\n", "-".repeat(400));
    let first = format!("{head}1\n2\n");
    ground.append("app.log", &first);
    let mut life = tails(&ground, Vec::new());
    let (read, known) = news(&mut life, 0);
    assert_eq!(read.len(), 3);
    // Longer by the time of the next look than what was read of it.
    std::fs::write(ground.log("app.log"), format!("{head}3\n4\n5\n6\n")).unwrap();
    assert_eq!(news(&mut life, 1).0[1..], ["3", "4", "5", "6"]);
    // The same while nobody looked.
    let mut next = tails(&ground, known);
    assert_eq!(news(&mut next, 0).0[1..], ["3", "4", "5", "6"]);
}

#[test]
fn a_file_that_is_what_it_was_is_gone_on_with_whatever_its_file_system_is_called() {
    let ground = Ground::new();
    ground.append("app.log", "1\n");
    let mut known = news(&mut tails(&ground, Vec::new()), 0).1;
    // As after a restart of the machine.
    known[0].identity.device = known[0].identity.device.map(|device| device + 1);
    ground.append("app.log", "2\n");
    assert_eq!(news(&mut tails(&ground, known.clone()), 0).0, ["2"]);
    // Made at another time, it is another, however it begins.
    let Some(born) = known[0].identity.born_ns else { return };
    known[0].identity.born_ns = Some(born - 1);
    assert_eq!(news(&mut tails(&ground, known), 0).0, ["1", "2"]);
}

#[tokio::test]
async fn a_pattern_that_matches_nothing_shows() {
    let ground = Ground::new();
    let trial = Trial::new();
    let source = ground.source(r"app\.log", &[]);
    let counters = Arc::clone(&trial.context.counters);
    let script = async {
        until("the empty pattern", || counters.empty_patterns.get() == 1).await;
        ground.append("app.log", "1\n");
        trial.until_events(1).await;
        until("it to be over", || counters.empty_patterns.get() == 0).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(counters.files_left_out.get(), 0);
}

#[test]
fn files_for_which_there_is_no_room_show_and_are_read_once_there_is() {
    let ground = Ground::new();
    for name in ["app.1", "app.2", "app.3"] {
        ground.append(name, &format!("{name}\n"));
    }
    let counters = Arc::default();
    let mut life = tails_counted(&ground, Vec::new(), Arc::clone(&counters));
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
