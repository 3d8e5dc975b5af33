//! Signals, and the order in which parts stop.

use super::supervise::{ComponentTask, LiveAgent, RunningChannel};
use millpond::internal::base::quantity::Quantity;
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long an aborted task may take to hand its batch back.
const ABORT: Duration = Duration::from_millis(500);

/// Sinks end by themselves before they are cut off: their retries during a stop end this much
/// sooner.
const MARGIN: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT, as they come.
pub(crate) struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    /// Takes the signals over: they do not end the process by themselves any more.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Returns the name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }

    /// Returns the name of the next one after a pause: signals during the pause are dropped.
    pub(crate) async fn next_after(&mut self, pause: Duration) -> &'static str {
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

impl LiveAgent {
    /// Stops sources, then sinks, then channels, and returns what had to be cut off.
    ///
    /// Sources may use half of `deadline`, sinks what is then left except a tenth, which is
    /// reserved for closing the channels.
    pub async fn stop(mut self, deadline: Duration) -> Vec<String> {
        let began = Instant::now();
        let mut cut_off = Vec::new();
        end(
            self.sources.values_mut().map(|part| &mut part.task),
            began + deadline / 2,
            &mut cut_off,
        )
        .await;
        let sinks_until = began + deadline / 10 * 9;
        self.drain_until(sinks_until);
        let sinks = self.sinks.values_mut().map(|part| &mut part.task);
        end(sinks, sinks_until, &mut cut_off).await;
        close(self.channels.into_iter().collect(), began + deadline, &mut cut_off).await;
        // Of a reload that this stop interrupted: their deadline is not later.
        closed(&mut self.closing, &mut cut_off).await;
        for (name, handover) in self.handovers {
            handover.lose(&name, &self.registry.channel(&name));
        }
        cut_off
    }
}

impl LiveAgent {
    /// Gives sinks that stop and are to empty their channels the time until shortly before they are
    /// cut off.
    pub(super) fn drain_until(&self, cut_off: Instant) {
        let left = cut_off.saturating_duration_since(Instant::now()).saturating_sub(MARGIN);
        let until = self.clock.now() + left;
        for (name, part) in &self.channels {
            part.drains.until(until);
            let events = part.slot.borrow().as_ref().map_or(0, |channel| channel.status().events);
            if part.carries && events > 0 {
                tracing::info!(
                    channel = name,
                    "the sinks have {} s to deliver {} that {} in memory only",
                    left.as_secs(),
                    Quantity(events, "event"),
                    if events == 1 { "is" } else { "are" }
                );
            }
        }
    }
}

/// Closes channels, and returns the names of those that are not closed by `until`.
pub(super) async fn close(
    mut channels: Vec<(String, RunningChannel)>,
    until: Instant,
    cut_off: &mut Vec<String>,
) {
    end(channels.iter_mut().map(|(_, part)| &mut part.opener), until, cut_off).await;
    for (name, part) in &channels {
        part.handover.lose(name, &part.counters);
    }
    let mut closing = Vec::new();
    for (name, part) in channels {
        let Some(channel) = part.slot.borrow().clone() else { continue };
        let left = channel.status().events;
        let closed = tokio::task::spawn_blocking(move || channel.close());
        // A spillable channel moves what fits to its disk, and itself logs the rest.
        let lost = left > 0 && part.carries;
        if lost {
            part.counters.drops.add(DropReason::Memory, left);
        }
        closing.push((name, left, lost, closed));
    }
    for (name, left, lost, closed) in closing {
        if lost {
            tracing::warn!(
                code = %codes::MEMORY_EVENTS_LOST,
                channel = name,
                "{} in memory {} not delivered and {} lost",
                Quantity(left, "event"),
                Quantity(left, "event").was(),
                if left == 1 { "is" } else { "are" }
            );
        }
        match timeout_at(until, closed).await {
            Ok(Ok(Ok(()))) => {
                tracing::info!(channel = name, "closed with {}", Quantity(left, "event"));
            }
            Ok(Ok(Err(error))) => {
                tracing::error!(code = %codes::CHANNEL_NOT_CLOSED, channel = name, "{error}");
            }
            Ok(Err(panic)) => {
                tracing::error!(code = %codes::COMPONENT_PANICKED, channel = name, "closing it panicked: {panic}");
            }
            Err(_) => name_once(cut_off, format!("channel {name}")),
        }
    }
}

/// A channel may hang twice, while it is reopened and while it is closed.
fn name_once(cut_off: &mut Vec<String>, name: String) {
    if !cut_off.contains(&name) {
        cut_off.push(name);
    }
}

/// Tells tasks to stop and waits for them; aborts those that have not ended by `until`. May be
/// cancelled and called again: a task that has ended has no handle any more.
pub(super) async fn end<'t>(
    tasks: impl Iterator<Item = &'t mut ComponentTask>,
    until: Instant,
    cut_off: &mut Vec<String>,
) {
    let tasks: Vec<&mut ComponentTask> = tasks.collect();
    for task in &tasks {
        task.stop.send_replace(true);
    }
    // The senders stay until all have ended: without a sender a signal counts as fired.
    for ComponentTask { name, handle: slot, .. } in tasks {
        let Some(handle) = slot else { continue };
        match timeout_at(until, &mut *handle).await {
            Ok(Ok(())) => tracing::debug!("{name} stopped"),
            Ok(Err(error)) => {
                tracing::error!(code = %codes::COMPONENT_PANICKED, "{name} ended early: {error}");
            }
            Err(_) => {
                tracing::error!(code = %codes::STOP_CUT_OFF, "{name} did not stop in time and is cut off");
                name_once(cut_off, name.clone());
                handle.abort();
                let _ = tokio::time::timeout(ABORT, handle).await;
            }
        }
        *slot = None;
    }
}

/// Waits for channels that are being closed, and takes those that could not be. May be cancelled
/// and called again.
pub(super) async fn closed(closing: &mut Vec<JoinHandle<Vec<String>>>, cut_off: &mut Vec<String>) {
    while let Some(last) = closing.last_mut() {
        match last.await {
            Ok(names) => names.into_iter().for_each(|name| name_once(cut_off, name)),
            Err(panic) => {
                tracing::error!(code = %codes::COMPONENT_PANICKED, "closing channels panicked: {panic}");
            }
        }
        closing.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentError;
    use millpond_flow::context::StopSignal;

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_hangs_at_two_places_is_named_once() {
        let hung = || {
            let (name, stop) = ("channel c1".to_owned(), StopSignal::new().0);
            ComponentTask { name, handle: Some(tokio::spawn(std::future::pending())), stop }
        };
        let mut cut_off = vec!["sink k1".to_owned()];
        let mut opener = hung();
        end([&mut opener].into_iter(), Instant::now(), &mut cut_off).await;
        let mut closing = vec![tokio::spawn(async move {
            let mut names = Vec::new();
            end([&mut hung()].into_iter(), Instant::now(), &mut names).await;
            names
        })];
        closed(&mut closing, &mut cut_off).await;
        assert_eq!(cut_off, ["sink k1", "channel c1"]);
        let words = AgentError::CutOff { deadline: Duration::from_secs(20), names: cut_off };
        let words = [words.to_string(), AgentError::Interrupted.to_string()];
        // What the message calls safe is safe.
        assert!(words.iter().all(|words| {
            words.contains("what file channels acknowledged is not lost")
                && words.contains("what memory channels held is lost")
        }));
    }
}
