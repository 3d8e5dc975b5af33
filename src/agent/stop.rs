//! Signals, and the order in which things stop.

use super::supervise::{ChannelPart, Part, Running, Task};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

/// How long an aborted task gets to hand its batch back.
const ABORT: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT, as they come.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }

    /// The name of the next one that comes after a pause: what comes within it is dropped.
    pub(super) async fn next_after(&mut self, pause: Duration) -> &'static str {
        let begun = Instant::now() + pause;
        loop {
            let name = self.next().await;
            if Instant::now() >= begun {
                return name;
            }
            tracing::debug!("{name} once more, at the same time as the first");
        }
    }
}

impl Running {
    /// Stops sources, then sinks, then channels, and answers what had to be cut off.
    ///
    /// Sources may use half of `deadline`, sinks what is then left but for a tenth, which is kept
    /// for the channels to close.
    pub async fn stop(mut self, deadline: Duration) -> Vec<String> {
        let began = Instant::now();
        let mut cut_off = Vec::new();
        let tasks = |parts: &mut BTreeMap<String, Part>| {
            std::mem::take(parts).into_values().map(|part| part.task).collect()
        };
        end(tasks(&mut self.sources), began + deadline / 2, &mut cut_off).await;
        end(tasks(&mut self.sinks), began + deadline / 10 * 9, &mut cut_off).await;
        let channels = self.channels.into_iter().collect();
        close(channels, began + deadline, &mut cut_off).await;
        cut_off
    }
}

/// Closes channels, and names those that are not closed by `until`.
pub(super) async fn close(
    channels: Vec<(String, ChannelPart)>,
    until: Instant,
    cut_off: &mut Vec<String>,
) {
    let (mut openers, mut slots, mut estates) = (Vec::new(), Vec::new(), Vec::new());
    for (name, part) in channels {
        openers.push(part.opener);
        estates.push((name.clone(), part.estate));
        // One that spills moves to its disk what fits there, and says itself what does not.
        slots.push((name, part.slot, part.carries));
    }
    end(openers, until, cut_off).await;
    for (name, estate) in estates {
        estate.lose(&name);
    }
    let mut closing = Vec::new();
    for (name, slot, in_memory) in slots {
        let Some(channel) = slot.borrow().clone() else { continue };
        let left = channel.status().events;
        let closed = tokio::task::spawn_blocking(move || channel.close());
        closing.push((name, left, left > 0 && in_memory, closed));
    }
    for (name, left, lost, closed) in closing {
        if lost {
            tracing::warn!(
                channel = name,
                "{left} events in memory were not delivered and are lost"
            );
        }
        match timeout_at(until, closed).await {
            Ok(Ok(Ok(()))) => tracing::info!(channel = name, "closed with {left} events"),
            Ok(Ok(Err(error))) => tracing::error!(channel = name, "{error}"),
            Ok(Err(panic)) => tracing::error!(channel = name, "closing it panicked: {panic}"),
            Err(_) => cut_off.push(format!("channel {name}")),
        }
    }
}

/// Tells tasks to stop and waits for them; aborts those that have not by `until`.
pub(super) async fn end(tasks: Vec<Task>, until: Instant, cut_off: &mut Vec<String>) {
    for task in &tasks {
        task.stop.send_replace(true);
    }
    // The senders stay until all have ended: without one a signal counts as fired.
    for Task { name, mut handle, stop: _stop } in tasks {
        match timeout_at(until, &mut handle).await {
            Ok(Ok(())) => tracing::debug!("{name} stopped"),
            Ok(Err(error)) => tracing::error!("{name} ended early: {error}"),
            Err(_) => {
                tracing::error!("{name} did not stop in time and is cut off");
                handle.abort();
                let _ = tokio::time::timeout(ABORT, handle).await;
                cut_off.push(name);
            }
        }
    }
}
