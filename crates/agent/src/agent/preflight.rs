//! Checks that the parts which a changed configuration would start in place of running ones can
//! start, before anything stops.

use super::build::AgentPlan;
use super::opening_space::no_room;
use super::reload::{ended, task_of};
use super::supervise::{LiveAgent, RunningComponent};
use millpond::internal::disk::real::RealDisk;
use millpond::internal::recovery::{RecoverOptions, inspection};
use millpond_config::channels::FileChannelSettings;
use millpond_flow::base::access_check::unmakable;
use millpond_flow::panic_guard::catch_panics;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Time limit of checking one changed component.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(15);

impl LiveAgent {
    /// Returns why a component of `plan` could not start in place of a running one: a channel's
    /// directories, or a source's or sink's key or trust store, password, port or directory. Each
    /// has [`PREFLIGHT_TIMEOUT`].
    pub async fn preflight(&self, plan: &AgentPlan) -> Option<String> {
        let stale = self.stale(plan);
        let replaces = |parts: &BTreeMap<String, RunningComponent>, task: &String| {
            stale.contains(task) && parts.get(task).is_some_and(|part| !ended(&part.task))
        };
        if let Some(why) = self.try_channels(plan, &stale).await {
            return Some(why);
        }
        for source in &plan.sources {
            let task = format!("source {}", source.name);
            if replaces(&self.sources, &task) {
                let tried = async {
                    let built = (source.make)().map_err(|error| error.to_string())?;
                    catch_panics(built.preflight()).await?.map_err(|error| error.to_string())
                };
                if let Err(why) = within_time_limit(tried).await {
                    return Some(format!("{task} could not start with its new settings: {why}"));
                }
            }
        }
        let alone = plan.sinks.iter().map(|sink| (format!("sink {}", sink.name), sink));
        let of_groups = plan.groups.iter().flat_map(|group| {
            let task = format!("sink group {}", group.name);
            group.sinks.iter().map(move |sink| (task.clone(), sink))
        });
        let sinks = alone.chain(of_groups).filter(|(task, _)| replaces(&self.sinks, task));
        for (_, sink) in sinks {
            let tried = async {
                let mut built = (sink.make)().map_err(|error| error.to_string())?;
                catch_panics(built.preflight()).await?.map_err(|error| error.to_string())
            };
            if let Err(why) = within_time_limit(tried).await {
                let name = &sink.name;
                return Some(format!("sink {name} could not start with its new settings: {why}"));
            }
        }
        None
    }

    /// Returns why a channel could not open that replaces an open one, or that a running component
    /// is newly attached to: without its channel it would stop.
    async fn try_channels(&self, plan: &AgentPlan, stale: &BTreeSet<String>) -> Option<String> {
        for channel in &plan.channels {
            let task = task_of(&channel.name);
            let here = self.channels.get(&channel.name);
            let changes = here.is_none_or(|_| stale.contains(&task));
            let is_open = here.is_some_and(|part| part.slot.borrow().is_some());
            if !changes || !(is_open || self.moves_to(plan, &channel.name)) {
                continue;
            }
            let Some(file) = channel.kind.files().cloned() else { continue };
            let looked = async {
                // A file system that hangs must not block the runtime.
                let looked = tokio::task::spawn_blocking(move || unusable_directory(&file)).await;
                looked.map_err(|panic| panic.to_string())?.map_or(Ok(()), Err)
            };
            if let Err(why) = within_time_limit(looked).await {
                return Some(format!("{task} could not open with its new settings: {why}"));
            }
        }
        None
    }

    /// Returns whether a running source or sink uses the channel from now on.
    fn moves_to(&self, plan: &AgentPlan, channel: &str) -> bool {
        let runs = |parts: &BTreeMap<String, RunningComponent>, task: String| {
            parts.get(&task).is_some_and(|part| !ended(&part.task))
        };
        let puts =
            plan.sources.iter().filter(|source| source.channels.iter().any(|c| c == channel));
        let takes = plan.sinks.iter().filter(|sink| sink.channel == channel);
        let group_takes = plan
            .groups
            .iter()
            .filter(|group| group.sinks.iter().any(|sink| sink.channel == channel));
        puts.map(|source| format!("source {}", source.name)).any(|task| runs(&self.sources, task))
            || takes.map(|sink| format!("sink {}", sink.name)).any(|task| runs(&self.sinks, task))
            || group_takes
                .map(|group| format!("sink group {}", group.name))
                .any(|task| runs(&self.sinks, task))
    }
}

/// Returns why the channel cannot have its directories; changes nothing.
fn unusable_directory(file: &FileChannelSettings) -> Option<String> {
    unmakable_directory(file).or_else(|| other_members(file)).or_else(|| no_room(file))
}

/// Returns why the existing directories are not those of one channel: one is missing from the list,
/// or belongs to another channel.
pub(super) fn other_members(file: &FileChannelSettings) -> Option<String> {
    let options = looking(file, file.open_degraded);
    let looked = inspection::check_members(&RealDisk::read_only(), &options);
    looked.err().map(|error| error.to_string())
}

/// Returns the options for inspecting a channel of these settings: nothing is created.
pub(crate) fn looking(file: &FileChannelSettings, open_degraded: bool) -> RecoverOptions {
    RecoverOptions {
        checkpoint_dir: file.checkpoint_dir.clone(),
        data_dirs: file.data_dirs.clone(),
        open_degraded,
        open_without_missing_segments: false,
        create: false,
        segment_bytes: file.max_file_size,
    }
}

fn unmakable_directory(file: &FileChannelSettings) -> Option<String> {
    let why = |key: &str, directory: &Path| Some(format!("{key}: {}", unmakable(directory)?));
    let mut data = file.data_dirs.iter().map(|directory| why("dataDirs", directory));
    // With openDegraded it opens without some of them.
    let data = match file.open_degraded {
        true => data.collect::<Option<Vec<String>>>().and_then(|all| all.into_iter().next()),
        false => data.find_map(|why| why),
    };
    why("checkpointDir", &file.checkpoint_dir).or(data)
}

async fn within_time_limit(tried: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let tried = tokio::time::timeout(PREFLIGHT_TIMEOUT, tried).await;
    tried.unwrap_or_else(|_| {
        Err(format!("trying it took more than {} s", PREFLIGHT_TIMEOUT.as_secs()))
    })
}
