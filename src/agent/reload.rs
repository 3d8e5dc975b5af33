//! A changed configuration: what is different in it stops and starts, all else goes on.

use super::build::Plan;
use super::carry::Estate;
use super::stop::{close, end};
use super::supervise::{ChannelPart, Part, Running, Slot, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
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
    pub async fn adopt(&mut self, plan: Plan, deadline: Duration) -> Adopted {
        let began = Instant::now();
        let before = self.names();
        let stale = self.stale(&plan);
        let mut adopted = Adopted::default();
        // What stays, or passes its events on, need not be emptied by sinks that stop now.
        for channel in &plan.channels {
            if let Some(part) = self.channels.get(&channel.name) {
                part.drains.store(false, Ordering::SeqCst);
            }
        }
        let sources = taken(&mut self.sources, &stale);
        end(sources, began + deadline / 2, &mut adopted.cut_off).await;
        let sinks = taken(&mut self.sinks, &stale);
        end(sinks, began + deadline / 10 * 9, &mut adopted.cut_off).await;
        let carried = self.close_stale(&plan, &stale, began + deadline, &mut adopted).await;
        for part in self.channels.values() {
            part.drains.store(part.volatile, Ordering::SeqCst);
        }
        self.start_missing(plan, carried);
        let after = self.names();
        let stopped = |name: &&String| stale.contains(*name);
        adopted.restarted = after.iter().filter(stopped).cloned().collect();
        adopted.added = after.difference(&before).cloned().collect();
        adopted.removed = before.difference(&after).cloned().collect();
        adopted
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

    /// Closes the channels that are not as in `plan`; answers what passes to those that take
    /// their place: what is in memory, and behind it what had not been taken over yet.
    async fn close_stale(
        &mut self,
        plan: &Plan,
        stale: &BTreeSet<String>,
        until: Instant,
        adopted: &mut Adopted,
    ) -> BTreeMap<String, Estate> {
        let names: Vec<String> = self.channels.keys().cloned().collect();
        let (mut closing, mut openers, mut heirs) = (Vec::new(), Vec::new(), Vec::new());
        for name in names.into_iter().filter(|name| stale.contains(&task_of(name))) {
            let Some(mut part) = self.channels.remove(&name) else { continue };
            let stays = plan.channels.iter().any(|channel| channel.name == name);
            if stays {
                let own = part.volatile.then(|| part.slot.clone());
                heirs.push((name.clone(), own, std::mem::take(&mut part.estate)));
            }
            if stays && part.volatile {
                openers.push(part.opener);
            } else {
                closing.push((name, part));
            }
        }
        end(openers, until, &mut adopted.cut_off).await;
        close(closing, until, &mut adopted.cut_off).await;
        let estate = |(name, own, estate): (String, Option<Slot>, Estate)| {
            let mut channels: Vec<_> =
                own.and_then(|slot| slot.borrow().clone()).into_iter().collect();
            channels.extend(estate.take());
            (name, Estate::of(channels))
        };
        heirs.into_iter().map(estate).collect()
    }

    /// The tasks that are not in `plan`, or are otherwise there, or work on a channel that is.
    fn stale(&self, plan: &Plan) -> BTreeSet<String> {
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
            if wanted.get(&task) != Some(&&part.print) || part.opener.handle.is_finished() {
                stale.insert(task);
            }
        }
        for (task, part) in self.sources.iter().chain(&self.sinks) {
            let attached = part.channels.iter().any(|name| stale.contains(&task_of(name)));
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

fn task_of(channel: &str) -> String {
    format!("channel {channel}")
}

fn taken(parts: &mut BTreeMap<String, Part>, stale: &BTreeSet<String>) -> Vec<Task> {
    let names: Vec<String> = parts.keys().filter(|name| stale.contains(*name)).cloned().collect();
    names.iter().filter_map(|name| parts.remove(name)).map(|part| part.task).collect()
}
