//! The buckets that are open, by directory and prefix; at most `hdfs.maxOpenFiles`.

use super::bucket::Bucket;
use super::keys::RollRules;
use super::recovery::{Closing, ClosingFiles};
use millpond::Event;
use millpond_flow::event_set::EventPlace;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Where events go: the directory and the prefix of their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    pub(super) directory: String,
    pub(super) prefix: String,
}

/// Events of one bucket, in their order.
pub(super) struct BucketEvents {
    pub(super) key: BucketKey,
    pub(super) events: Vec<Event>,
    /// Where they are in the channel, with `hdfs.exactlyOnce`; otherwise empty.
    pub(super) places: Vec<EventPlace>,
}

/// The buckets.
#[derive(Default)]
pub(super) struct Buckets {
    all: HashMap<BucketKey, Bucket>,
    uses: u64,
}

impl Buckets {
    /// Returns the buckets of `groups`, new ones among them; closes the least recently used ones that are too many.
    pub(super) fn of<'b>(
        &'b mut self,
        groups: &'b [BucketEvents],
        open_files_max: usize,
        (wall_ms, now): (u64, Duration),
        (closing, closing_files): (&Closing, &Mutex<ClosingFiles>),
    ) -> Vec<(&'b mut Bucket, &'b BucketEvents)> {
        self.uses += 1;
        let by_key: HashMap<&BucketKey, &BucketEvents> =
            groups.iter().map(|group| (&group.key, group)).collect();
        let new = by_key.keys().filter(|key| !self.all.contains_key(**key)).count();
        while self.all.len() + new > open_files_max {
            let unused = self.all.iter().filter(|(key, _)| !by_key.contains_key(key));
            let Some(oldest) = unused.min_by_key(|(_, bucket)| bucket.last_used) else { break };
            let key = oldest.0.clone();
            if let Some(mut bucket) = self.all.remove(&key) {
                bucket.close(closing, closing_files);
            }
        }
        for key in by_key.keys() {
            let BucketKey { directory, prefix } = (*key).clone();
            let fresh = || Bucket::new(directory, prefix, wall_ms, now);
            self.all.entry((*key).clone()).or_insert_with(fresh).last_used = self.uses;
        }
        let wanted = self.all.iter_mut();
        wanted.filter_map(|(key, bucket)| Some((bucket, *by_key.get(key)?))).collect()
    }

    /// Closes and removes the buckets for which `is_due` holds.
    pub(super) fn close_if(
        &mut self,
        (closing, closing_files): (&Closing, &Mutex<ClosingFiles>),
        is_due: impl Fn(&BucketKey, &Bucket) -> bool,
    ) {
        self.all.retain(|key, bucket| {
            let is_due = is_due(key, bucket);
            if is_due {
                bucket.close(closing, closing_files);
            }
            !is_due
        });
    }

    /// Closes the files that have been full for long enough; their buckets go on with the next number.
    pub(super) fn close_full(
        &mut self,
        (closing, closing_files): (&Closing, &Mutex<ClosingFiles>),
        rolls: &RollRules,
        now: Duration,
    ) {
        for bucket in self.all.values_mut() {
            if bucket.closes_full_at(rolls).is_some_and(|at| now >= at) {
                bucket.close(closing, closing_files);
            }
        }
    }

    /// Returns when the next file is closed by time.
    pub(super) fn next_close(&self, rolls: &RollRules) -> Option<Duration> {
        let times = |bucket: &Bucket| [bucket.closes_at(rolls), bucket.closes_full_at(rolls)];
        self.all.values().flat_map(times).flatten().min()
    }

    /// Returns how many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }
}
