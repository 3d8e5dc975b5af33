//! The fate of a set of records that are sent together.

use super::error::ClientError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A record that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its number, as its sender gave it.
    pub number: usize,
    /// Why.
    pub error: ClientError,
}

/// A set of records. Clones are the same set.
#[derive(Clone)]
pub struct Deliveries(Arc<Fates>);

struct Fates {
    /// Records without a fate, and one more until the set is complete.
    open: AtomicUsize,
    failed: Mutex<Vec<RefusedRecord>>,
    done: Notify,
    done_blocking: Condvar,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self(Arc::new(Fates {
            open: AtomicUsize::new(1),
            failed: Mutex::default(),
            done: Notify::new(),
            done_blocking: Condvar::new(),
        }))
    }
}

impl Deliveries {
    pub(super) fn add(&self) {
        self.0.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the record that was added last is not under way.
    pub(super) fn withdraw(&self) {
        self.close_one();
    }

    pub(super) fn settle(&self, number: usize, fate: Result<(), ClientError>) {
        if let Err(error) = fate {
            self.failed().push(RefusedRecord { number, error });
            self.0.done.notify_one();
        }
        self.close_one();
    }

    fn close_one(&self) {
        // Without open records, or with none but that of the set itself, a waiter goes on.
        if self.0.open.fetch_sub(1, Ordering::AcqRel) <= 2 {
            // Taken so that a waiter is not between its check and its wait.
            drop(self.failed());
            self.0.done.notify_one();
            self.0.done_blocking.notify_all();
        }
    }

    fn failed(&self) -> MutexGuard<'_, Vec<RefusedRecord>> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of records that have no fate yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Returns true if a record is known not to be delivered.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failed().is_empty()
    }

    /// Waits until every record is delivered, or one is not; returns true if all are. The fates of others may come later:
    /// see [`Self::complete`].
    pub async fn is_delivered(&self) -> bool {
        loop {
            let open = self.open();
            if self.has_failed() {
                return false;
            }
            if open == 1 {
                return true;
            }
            self.0.done.notified().await;
        }
    }

    /// Waits until every record has its fate and returns those that are not delivered, in no order. The set takes no
    /// records after it, and one caller waits.
    pub async fn complete(&self) -> Vec<RefusedRecord> {
        self.close_one();
        while self.open() > 0 {
            self.0.done.notified().await;
        }
        std::mem::take(&mut *self.failed())
    }

    /// Like [`Self::complete`], blocking the thread; `None` if `limit` has passed before. The fates are then lost.
    #[must_use]
    pub fn complete_blocking(&self, limit: Duration) -> Option<Vec<RefusedRecord>> {
        self.close_one();
        let failed = self.failed();
        let waited = self.0.done_blocking.wait_timeout_while(failed, limit, |_| self.open() > 0);
        let (mut failed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (self.open() == 0).then(|| std::mem::take(&mut *failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ErrorKind;

    #[tokio::test]
    async fn a_set_is_complete_when_each_record_has_its_fate() {
        let set = Deliveries::default();
        let error = ClientError::new(ErrorKind::Refused, "sending", &"no");
        for _ in 0..3 {
            set.add();
        }
        set.settle(2, Err(error.clone()));
        set.settle(0, Ok(()));
        let waiting = set.clone();
        let task = tokio::spawn(async move { waiting.complete().await });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        set.settle(1, Ok(()));
        assert_eq!(task.await.unwrap(), [RefusedRecord { number: 2, error }]);
    }

    #[tokio::test]
    async fn a_failure_is_known_before_the_fates_of_the_others() {
        let set = Deliveries::default();
        assert!(set.is_delivered().await, "there is none");
        for _ in 0..3 {
            set.add();
        }
        let waiting = set.clone();
        let task = tokio::spawn(async move { waiting.is_delivered().await });
        set.settle(0, Ok(()));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        let error = ClientError::new(ErrorKind::Refused, "sending", &"no");
        set.settle(1, Err(error.clone()));
        assert!(!task.await.unwrap());
        set.settle(2, Ok(()));
        assert_eq!(set.complete().await, [RefusedRecord { number: 1, error }]);
        let all = Deliveries::default();
        all.add();
        all.settle(0, Ok(()));
        assert!(all.is_delivered().await);
    }

    #[test]
    fn a_blocking_wait_ends_with_the_last_fate_or_with_its_limit() {
        let set = Deliveries::default();
        set.add();
        assert_eq!(set.complete_blocking(Duration::from_millis(5)), None);
        let set = Deliveries::default();
        set.add();
        let other = set.clone();
        let thread = std::thread::Builder::new().spawn(move || other.settle(0, Ok(()))).unwrap();
        assert_eq!(set.complete_blocking(Duration::from_secs(30)), Some(Vec::new()));
        thread.join().unwrap();
        assert_eq!(Deliveries::default().complete_blocking(Duration::ZERO), Some(Vec::new()));
    }
}
