//! A changed configuration: what is different in it stops and starts, all else goes on.

use super::build::Plan;
use super::carry::Estate;
use super::stop::{close, closed, end};
use super::supervise::{ChannelPart, Part, Running, SINKS_FIRST, Task, all_tried};
use crate::flow::context::StopSignal;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a reload did, by names such as `source r1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Runs now and did not before.
    pub added: Vec<String>,
    /// Was stopped and started with other settings.
    pub restarted: Vec<String>,
    /// Runs no more.
    pub removed: Vec<String>,
    /// Had to be cut off, as at a stop.
    pub cut_off: Vec<String>,
    /// A stop came into it; the other lists are empty then.
    pub abandoned: bool,
}

impl Adopted {
    /// Whether nothing was to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.restarted.is_empty() && self.removed.is_empty()
    }

    /// In words, for one line.
    #[must_use]
    pub fn words(&self) -> String {
        let lists = [("new", &self.added), ("restarted", &self.restarted), ("gone", &self.removed)];
        let words = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let words: Vec<String> =
            words.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        words.join("; ")
    }
}

impl Running {
    /// Brings what runs in line with `plan`. A component with the same settings on the same channels
    /// goes on untouched. Sources stop first, then sinks, then channels, as when the agent stops,
    /// within `deadline`; then what is new starts. A channel in memory that has other settings now
    /// passes on what it holds.
    ///
    /// Once `stop` has fired it returns as it is, for [`Running::stop`] to go on from there: then
    /// nothing of `plan` has started, but sinks on channels in memory whose own sinks have ended.
    pub async fn adopt(&mut self, plan: Plan, deadline: Duration, stop: &StopSignal) -> Adopted {
        let before = self.names();
        let stale = self.stale(&plan);
        let mut adopted = Adopted::default();
        // What stays, or passes its events on, need not be emptied by sinks that stop now.
        for channel in &plan.channels {
            if let Some(part) = self.channels.get(&channel.name) {
                part.drains.set(false);
            }
        }
        let made_way = tokio::select! {
            biased;
            () = stop.wait() => false,
            () = self.make_way(&plan, &stale, deadline, &mut adopted.cut_off) => true,
        };
        for part in self.channels.values() {
            part.drains.set(part.volatile);
        }
        if !made_way {
            adopted.abandoned = true;
            self.empty_orphans(plan).await;
            return adopted;
        }
        self.start_missing(plan);
        let after = self.names();
        let stopped = |name: &&String| stale.contains(*name);
        adopted.restarted = after.iter().filter(stopped).cloned().collect();
        adopted.added = after.difference(&before).cloned().collect();
        adopted.removed = before.difference(&after).cloned().collect();
        adopted
    }

    /// Stops what is not as in `plan`. May be dropped at any await: until all of it has stopped, what
    /// holds something is still among the parts, and what channels pass on among them or the estates.
    async fn make_way(
        &mut self,
        plan: &Plan,
        stale: &BTreeSet<String>,
        deadline: Duration,
        cut_off: &mut Vec<String>,
    ) {
        let began = Instant::now();
        let sources = self.sources.values_mut().map(|part| &mut part.task);
        end(sources.filter(|task| stale.contains(&task.name)), began + deadline / 2, cut_off).await;
        let until = began + deadline / 10 * 9;
        self.drain_until(until);
        let sinks = self.sinks.values_mut().map(|part| &mut part.task);
        end(sinks.filter(|task| stale.contains(&task.name)), until, cut_off).await;
        self.close_stale(plan, stale, began + deadline, cut_off).await;
        self.sources.retain(|name, _| !stale.contains(name));
        self.sinks.retain(|name, _| !stale.contains(name));
    }

    /// Starts the sinks of `plan` on channels in memory that hold events and have no sink any more: a
    /// stop that comes into a reload must not lose what they would have emptied without it.
    async fn empty_orphans(&mut self, plan: Plan) {
        self.sinks.retain(|_, part| !ended(&part.task));
        let holds = |part: &ChannelPart| {
            part.slot.borrow().as_ref().is_some_and(|channel| channel.status().events > 0)
        };
        let full = self.channels.iter().filter(|(_, part)| part.carries && holds(part));
        let served: BTreeSet<&String> =
            self.sinks.values().flat_map(|part| &part.channels).collect();
        let orphans: BTreeSet<String> =
            full.map(|(name, _)| name).filter(|name| !served.contains(name)).cloned().collect();
        for sink in plan.sinks.into_iter().filter(|sink| orphans.contains(&sink.channel)) {
            self.start_sink(sink);
        }
        for group in plan.groups {
            if group.sinks.iter().any(|sink| orphans.contains(&sink.channel)) {
                self.start_group(group);
            }
        }
        let on_them = |part: &&Part| part.channels.iter().any(|name| orphans.contains(name));
        let tried = self.sinks.values().filter(on_them).flat_map(|part| part.tried.clone());
        // One that is told to stop before it is open empties nothing.
        let _ = tokio::time::timeout(SINKS_FIRST, all_tried(tried.collect())).await;
    }

    /// Why `plan` cannot take over while the agent runs.
    #[must_use]
    pub fn refuses(&self, plan: &Plan) -> Option<String> {
        let stale = self.stale(plan);
        let cannot = |(name, part): &(&String, &ChannelPart)| {
            let stays = plan.channels.iter().any(|channel| channel.name == **name);
            part.volatile && !part.carries && stays && stale.contains(&task_of(name))
        };
        let (name, _) = self.channels.iter().find(cannot)?;
        Some(format!(
            "channel {name} would lose the events that it has in memory if it took other settings while it runs; leave its settings, or stop and start the agent"
        ))
    }

    /// Closes the channels that are not as in `plan`. What passes to those that take their place, what
    /// is in memory and behind it what had not been taken over yet, is in the estates then.
    async fn close_stale(
        &mut self,
        plan: &Plan,
        stale: &BTreeSet<String>,
        until: Instant,
        cut_off: &mut Vec<String>,
    ) {
        let openers = self.channels.values_mut().map(|part| &mut part.opener);
        end(openers.filter(|task| stale.contains(&task.name)), until, cut_off).await;
        let names: Vec<String> = self.channels.keys().cloned().collect();
        let stays = |name: &String| plan.channels.iter().any(|channel| channel.name == *name);
        let names = names.into_iter().filter(|name| stale.contains(&task_of(name)));
        let (heirs, gone): (Vec<String>, Vec<String>) = names.partition(stays);
        let mut closing = Vec::new();
        for name in &heirs {
            let Entry::Occupied(part) = self.channels.entry(name.clone()) else { continue };
            if part.get().volatile {
                continue;
            }
            let mut part = part.remove();
            self.estates.insert(name.clone(), std::mem::take(&mut part.estate));
            closing.push((name.clone(), part));
        }
        closing.extend(gone.into_iter().filter_map(|name| self.channels.remove_entry(&name)));
        self.closing.push(tokio::spawn(async move {
            let mut cut_off = Vec::new();
            close(closing, until, &mut cut_off).await;
            cut_off
        }));
        closed(&mut self.closing, cut_off).await;
        // What is left of them is in memory, and is let go of only when nothing is waited for any more.
        for name in heirs {
            let Some(part) = self.channels.remove(&name) else { continue };
            let mut channels: Vec<_> = part.slot.borrow().clone().into_iter().collect();
            channels.extend(part.estate.take());
            self.estates.insert(name, Estate::of(channels));
        }
    }

    /// The tasks that are not in `plan`, or are otherwise there, or work on a channel that is.
    pub(super) fn stale(&self, plan: &Plan) -> BTreeSet<String> {
        let channels = plan.channels.iter().map(|c| (task_of(&c.name), &c.print));
        let sinks = plan.sinks.iter().map(|s| (format!("sink {}", s.name), &s.print));
        let groups = plan.groups.iter().map(|g| (format!("sink group {}", g.name), &g.print));
        let sources = plan.sources.iter().map(|s| (format!("source {}", s.name), &s.print));
        let wanted: BTreeMap<String, _> =
            channels.chain(sinks).chain(groups).chain(sources).collect();
        let mut stale = BTreeSet::new();
        for (name, part) in &self.channels {
            let task = task_of(name);
            // What does not run, run it again: its task has ended.
            if wanted.get(&task) != Some(&&part.print) || ended(&part.opener) {
                stale.insert(task);
            }
        }
        for (task, part) in self.sources.iter().chain(&self.sinks) {
            let mut channels = part.channels.iter().chain(&part.dead_letters);
            let attached = channels.any(|name| stale.contains(&task_of(name)));
            if wanted.get(task) != Some(&&part.print) || attached {
                stale.insert(task.clone());
            }
        }
        stale
    }

    fn names(&self) -> BTreeSet<String> {
        let parts = self.sources.keys().chain(self.sinks.keys()).cloned();
        parts.chain(self.channels.keys().map(|name| task_of(name))).collect()
    }
}

/// Whether it does nothing more.
pub(super) fn ended(task: &Task) -> bool {
    task.handle.as_ref().is_none_or(JoinHandle::is_finished)
}

pub(super) fn task_of(channel: &str) -> String {
    format!("channel {channel}")
}
