//! `channel take`: bodies to stdout, committed once they are written.

use super::exit::CommandError;
use millpond::internal::base::quantity::Quantity;
use millpond::{Channel, Clock, CommitError, Event, SystemClock, TakeError};
use std::io::{self, Write};
use std::time::Duration;

/// How much to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakePlan {
    /// Events of one transaction.
    pub batch: usize,
    /// Events in all.
    pub count: u64,
    /// How long waiting events may be unavailable before that is a failure.
    pub time_limit: Duration,
}

/// Why taking ended early. Everything counted in `committed` is never delivered again; what was
/// written after that comes again.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeFailure {
    #[error("{source}; {} taken", Quantity(*committed, "event").with_was())]
    Take { committed: u64, source: TakeError },
    #[error(
        "{waiting} waiting, and none could be lent for {} s; {} taken; the messages above may say why", time_limit.as_secs(), Quantity(*committed, "event").with_was(), waiting = Quantity(*events, "event")
    )]
    Stuck { events: u64, committed: u64, time_limit: Duration },
    #[error("cannot write: {source}; {} taken, the others stay", Quantity(*committed, "event").with_was())]
    Output { committed: u64, source: io::Error },
    #[error(
        "events {first} to {last} were written and their take was {source}; {} taken",
        Quantity(*committed, "event").with_was()
    )]
    Commit { first: u64, last: u64, committed: u64, source: CommitError },
}

impl TakeFailure {
    pub(super) fn stop(self) -> CommandError {
        match self {
            Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                CommandError::BrokenPipe
            }
            other => CommandError::Failed(other.to_string()),
        }
    }
}

/// Takes until the channel is empty or `plan.count` events were taken, and returns their number.
/// Each transaction is committed after its bodies were written and flushed; then one line is
/// written to `acknowledged`.
pub(super) fn take_bodies(
    channel: &dyn Channel,
    bodies: &mut dyn Write,
    plan: TakePlan,
    mut acknowledged: Option<&mut dyn Write>,
) -> Result<u64, TakeFailure> {
    let clock = SystemClock::new();
    let (mut committed, mut lent_at) = (0u64, clock.now());
    // Of directories that were left out of the opening; they do not come back while it is open.
    let away = channel.status().out_of_reach;
    while committed < plan.count {
        let wanted = usize::try_from(plan.count - committed).unwrap_or(usize::MAX).min(plan.batch);
        let mut transaction = channel.begin_take();
        while transaction.taken() < wanted {
            let missing = wanted - transaction.taken();
            let events = match transaction.take(missing) {
                Ok(events) => events,
                Err(source) if transaction.taken() == 0 => {
                    return Err(TakeFailure::Take { committed, source });
                }
                // The available events are committed first: if they were rolled back, they would be
                // written again at every attempt, for as long as the rest cannot be read.
                Err(_) => break,
            };
            if events.is_empty() {
                break;
            }
            write(bodies, &events).map_err(|source| TakeFailure::Output { committed, source })?;
        }
        let taken = transaction.taken() as u64;
        if taken == 0 {
            // An empty take within keep-alive is not yet the end: a read from the disk may take
            // longer, and a disk that failed once is retried.
            let (status, time_limit) = (channel.status(), plan.time_limit);
            let events = status.events + status.out_of_reach.saturating_sub(away);
            if events == 0 {
                break;
            }
            if clock.now().saturating_sub(lent_at) > time_limit {
                return Err(TakeFailure::Stuck { events, committed, time_limit });
            }
            continue;
        }
        lent_at = clock.now();
        bodies.flush().map_err(|source| TakeFailure::Output { committed, source })?;
        let (first, last) = (committed + 1, committed + taken);
        transaction.commit().map_err(|source| TakeFailure::Commit {
            first,
            last,
            committed,
            source,
        })?;
        committed = last;
        if let Some(out) = acknowledged.as_deref_mut() {
            // A closed stderr is not a reason to stop.
            let _ = writeln!(out, "committed {committed}").and_then(|()| out.flush());
        }
    }
    Ok(committed)
}

fn write(bodies: &mut dyn Write, events: &[Event]) -> io::Result<()> {
    for event in events {
        bodies.write_all(&event.body)?;
        bodies.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{MemoryChannel, MemoryOptions};

    fn channel(events: u32) -> MemoryChannel {
        let options = MemoryOptions { keep_alive: Duration::ZERO, ..MemoryOptions::default() };
        let channel = MemoryChannel::new(options).expect("good options");
        let mut put = channel.begin_put();
        for n in 0..events {
            put.put(Event::new(n.to_string().into_bytes())).expect("put");
        }
        put.commit().expect("commit");
        channel
    }

    fn check(batch: usize, count: u64, bodies: &str, acks: &str) {
        let channel = channel(5);
        let (mut out, mut acknowledged) = (Vec::new(), Vec::new());
        let plan = TakePlan { batch, count, time_limit: Duration::ZERO };
        let taken = take_bodies(&channel, &mut out, plan, Some(&mut acknowledged));
        assert_eq!(taken.expect("take"), bodies.lines().count() as u64);
        assert_eq!(String::from_utf8_lossy(&out), bodies);
        assert_eq!(String::from_utf8_lossy(&acknowledged), acks);
        assert_eq!(channel.status().events, 5 - bodies.lines().count() as u64);
    }

    #[test]
    fn takes_until_empty_or_count() {
        check(2, u64::MAX, "0\n1\n2\n3\n4\n", "committed 2\ncommitted 4\ncommitted 5\n");
        check(2, 3, "0\n1\n2\n", "committed 2\ncommitted 3\n");
        check(100, u64::MAX, "0\n1\n2\n3\n4\n", "committed 5\n");
        check(2, 0, "", "");
    }

    #[test]
    fn what_could_not_be_written_stays() {
        struct FullOutput(usize);
        impl Write for FullOutput {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0 < bytes.len() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                self.0 -= bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let channel = channel(5);
        let plan = TakePlan { batch: 2, count: u64::MAX, time_limit: Duration::ZERO };
        // Room for two batches less one byte: the second is not committed.
        let ended = take_bodies(&channel, &mut FullOutput(7), plan, None);
        let Err(failure @ TakeFailure::Output { committed: 2, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert!(matches!(failure.stop(), CommandError::BrokenPipe));
        assert_eq!(channel.status().events, 3);
    }

    #[test]
    fn events_that_wait_and_cannot_be_lent_are_no_empty_channel() {
        let channel = channel(5);
        let mut other = channel.begin_take();
        assert_eq!(other.take(2).expect("a take").len(), 2);
        let plan = TakePlan { batch: 9, count: u64::MAX, time_limit: Duration::from_millis(20) };
        let mut out = Vec::new();
        let ended = take_bodies(&channel, &mut out, plan, None);
        assert!(
            matches!(ended, Err(TakeFailure::Stuck { events: 2, committed: 3, .. })),
            "{ended:?}"
        );
        assert_eq!(out, b"2\n3\n4\n");
    }
}
