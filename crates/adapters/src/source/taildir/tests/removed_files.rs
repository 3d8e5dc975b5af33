//! Tests of files that are removed, renamed or truncated before they were read to their end.

use super::*;
use millpond_flow::metrics::SourceCounters;

/// A source's files, with a count of those lost.
struct TailRun {
    tails: TailedFiles,
    counters: Arc<SourceCounters>,
}

impl TailRun {
    fn new(fixture: &TailFixture) -> Self {
        let counters = Arc::<SourceCounters>::default();
        let tails = tails_counted(fixture, Vec::new(), Arc::clone(&counters));
        Self { tails, counters }
    }

    fn gone(&self) -> u64 {
        self.counters.drops.get(DropReason::FileGone)
    }

    /// Reads at most `most` lines of each file.
    fn read(&mut self, most: usize, seconds: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for id in look(&mut self.tails, seconds) {
            let Some(batch) = self.tails.read(id, most, false) else { continue };
            let end = batch.pieces.last().unwrap().end.offset;
            lines.extend(batch.pieces.into_iter().map(|piece| piece.event));
            let mark = Some(batch.place.journal);
            self.tails.reached(id, end, mark, Duration::from_secs(seconds));
        }
        bodies(&lines)
    }

    /// Closes idle files, as after each round.
    fn close_idle(&mut self, seconds: u64) {
        let now = Duration::from_secs(seconds);
        let idle = self.tails.idle(now);
        for id in idle {
            let _ = self.tails.read(id, 100, true);
            self.tails.close(id, now);
        }
    }
}

fn cut(fixture: &TailFixture, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(fixture.log("app.log")).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn a_file_truncated_before_it_was_read_is_counted() {
    // Truncated to nothing, to what was read, to less than what was seen, and rewritten.
    for (len, next, wanted) in [
        (0, "new\n", &["new"][..]),
        (2, "new\n", &["new"]),
        (4, "", &["2"]),
        (0, "another one that is longer\n", &["another one that is longer"]),
    ] {
        let fixture = TailFixture::new();
        fixture.append("app.log", "1\n2\n3\n4\n");
        let mut life = TailRun::new(&fixture);
        assert_eq!(life.read(1, 0), ["1"]);
        cut(&fixture, len);
        fixture.append("app.log", next);
        assert_eq!(life.read(100, 1), wanted, "cut to {len}");
        assert_eq!(life.gone(), 1, "cut to {len}");
        // A file that was read to its end loses nothing.
        cut(&fixture, 0);
        life.read(100, 2);
        assert_eq!(life.gone(), 1, "cut to {len}");
    }
}

#[test]
fn lines_written_while_the_channel_was_full_are_seen_before_truncation() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let mut life = TailRun::new(&fixture);
    let id = look(&mut life.tails, 0)[0];
    let batch = life.tails.read(id, 1, false).unwrap();
    // While this batch waited for room.
    fixture.append("app.log", "2\n");
    life.tails.reached(id, 2, Some(batch.place.journal), Duration::ZERO);
    cut(&fixture, 0);
    assert!(life.read(100, 1).is_empty());
    assert_eq!(life.gone(), 1);
}

#[test]
fn a_closed_file_that_grew_and_left_its_group_is_read_to_its_end() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let mut life = TailRun::new(&fixture);
    assert_eq!(life.read(100, 0), ["1"]);
    life.close_idle(120);
    fixture.append("app.log", "2\n");
    fixture.rename("app.log", "old.log");
    fixture.append("app.log", "3\n");
    assert_eq!(life.read(100, 121), ["3", "2"]);
    // The writer may continue for some time.
    fixture.append("old.log", "4\n");
    assert_eq!(life.read(100, 125), ["4"]);
    life.close_idle(300);
    assert_eq!(life.gone(), 0);
}

#[test]
fn a_closed_file_removed_after_its_growth_was_seen_is_counted() {
    for (grown, gone) in [("2\n", 1), ("", 0)] {
        let fixture = TailFixture::new();
        fixture.append("app.log", "1\n");
        let mut life = TailRun::new(&fixture);
        assert_eq!(life.read(100, 0), ["1"]);
        fixture.append("app.log", grown);
        look(&mut life.tails, 1);
        let (found, now) = (fixture.log("app.log").metadata().unwrap(), Duration::from_secs(1));
        life.tails.close((found.dev(), found.ino()), now);
        std::fs::remove_file(fixture.log("app.log")).unwrap();
        assert!(life.read(100, 2).is_empty());
        life.close_idle(200);
        assert_eq!(life.gone(), gone);
        assert_eq!(life.counters.event_read_fail.get(), 0, "it is gone and not unreadable");
        assert!(life.tails.lines().is_empty(), "it is forgotten");
    }
}

#[test]
fn names_of_unreadable_files_are_kept_while_they_exist() {
    let fixture = TailFixture::new();
    let mut life = TailRun::new(&fixture);
    // It opens, but its first bytes cannot be read: nothing is mapped there.
    std::os::unix::fs::symlink("/proc/self/mem", fixture.log("app.log")).unwrap();
    for seconds in 0..2 {
        look(&mut life.tails, seconds);
        assert_eq!((life.tails.refused_names(), life.counters.event_read_fail.get()), (1, 1));
    }
    std::fs::remove_file(fixture.log("app.log")).unwrap();
    look(&mut life.tails, 3);
    assert_eq!(life.tails.refused_names(), 0);
}
