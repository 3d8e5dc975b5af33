//! Persists alarms, on a thread next to the evaluation loop.

use super::evaluator::{AlarmEvaluator, PersistedAlarms};
use super::limits::{KEEP_EVERY, KEEP_PAUSE, OPEN_TIMEOUT};
use super::settings::AlarmSettings;
use super::store::{AlarmStore, AlarmStoreError};
use millpond_flow::codes;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// The result of opening a store.
type OpenedStore = Result<(AlarmStore, PersistedAlarms, Option<String>), AlarmStoreError>;

/// Writes alarms to disk next to the loop: a disk that hangs delays only the writes.
#[derive(Default)]
pub(super) struct AlarmPersistence {
    /// `None` while it writes, and if nothing can be stored.
    store: Option<AlarmStore>,
    saving: Option<JoinHandle<(AlarmStore, Result<(), AlarmStoreError>)>>,
    /// The store that is being opened, and its directory.
    opening: Option<(PathBuf, JoinHandle<OpenedStore>)>,
    /// The state in memory is newer than the stored one.
    due: bool,
    last: Duration,
    /// The time of the next attempt after a failure.
    next: Duration,
    /// The directory of the store, open or not; without an open store it is opened there.
    directory: Option<PathBuf>,
    /// The failure was logged.
    said: bool,
}

impl AlarmPersistence {
    pub(super) async fn open(settings: &AlarmSettings, now: Duration) -> (Self, PersistedAlarms) {
        let mut persistence = Self::default();
        persistence.adopt(settings);
        persistence.begin_to_open(now);
        let mut kept = None;
        if let Some((place, mut opening)) = persistence.opening.take() {
            if let Ok(opened) = timeout(OPEN_TIMEOUT, &mut opening).await {
                kept = persistence.opened(now, opened);
            } else {
                persistence.fails(now, &format!("{} does not respond", place.display()));
                persistence.opening = Some((place, opening));
            }
        } else {
            without();
        }
        (persistence, kept.unwrap_or_default())
    }

    /// Stores alarms from now on where these settings say.
    pub(super) fn adopt(&mut self, settings: &AlarmSettings) {
        if self.directory == settings.directory {
            return;
        }
        self.directory.clone_from(&settings.directory);
        // A store that is being opened or written elsewhere is dropped when that has ended.
        (self.store, self.next, self.said) = (None, Duration::ZERO, false);
        if self.directory.is_none() {
            without();
        }
    }

    /// Begins to open the store if there is none and an attempt is due; never waits for it.
    fn begin_to_open(&mut self, now: Duration) {
        let is_busy = self.store.is_some() || self.saving.is_some() || self.opening.is_some();
        if let Some(directory) = self.directory.clone().filter(|_| !is_busy && now >= self.next) {
            let place = directory.clone();
            self.opening = Some((place, spawn_blocking(move || AlarmStore::open(&directory))));
        }
    }

    /// Returns what was stored; `None` if the store cannot be used.
    fn opened(
        &mut self,
        now: Duration,
        opened: Result<OpenedStore, JoinError>,
    ) -> Option<PersistedAlarms> {
        let why = match opened {
            Ok(Ok((store, kept, words))) => {
                words.into_iter().for_each(|words| tracing::warn!("alarms: {words}"));
                (self.store, self.said) = (Some(store), false);
                return Some(kept);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        self.fails(now, &why);
        None
    }

    /// Notes that the store cannot be opened.
    fn fails(&mut self, now: Duration, why: &str) {
        self.next = now + KEEP_PAUSE;
        if !std::mem::replace(&mut self.said, true) {
            let seconds = KEEP_PAUSE.as_secs();
            tracing::warn!(
                code = %codes::ALARMS_NOT_KEPT,
                "alarms are not kept from one start to the next; retrying every {seconds} s: {why}; name a directory of this agent's own with alarms.directory"
            );
        }
    }

    /// Writes what has changed, unless a write is under way; never waits for it.
    pub(super) async fn keep(&mut self, now: Duration, evaluator: &mut AlarmEvaluator) {
        // The times of last contact with clients change all the time.
        let is_old = now.saturating_sub(self.last) >= KEEP_EVERY;
        self.due |= evaluator.take_changed() || (is_old && evaluator.knows_clients());
        if let Some(saving) = self.saving.take_if(|saving| saving.is_finished()) {
            self.saved(now, saving).await;
        }
        if let Some((place, opening)) = self.opening.take_if(|(_, opening)| opening.is_finished()) {
            let opened = opening.await;
            if self.directory.as_ref() == Some(&place)
                && let Some(kept) = self.opened(now, opened)
            {
                *evaluator = evaluator.joined(kept);
                self.due = true;
            }
        }
        self.begin_to_open(now);
        if self.store.is_none() || !self.due || now < self.next {
            return;
        }
        let kept = evaluator.kept();
        if let Some(mut store) = self.store.take() {
            (self.due, self.last) = (false, now);
            self.saving = Some(spawn_blocking(move || {
                let saved = store.save(&kept);
                (store, saved)
            }));
        }
    }

    async fn saved(
        &mut self,
        now: Duration,
        saving: JoinHandle<(AlarmStore, Result<(), AlarmStoreError>)>,
    ) {
        let (store, why) = match saving.await {
            Ok((store, saved)) => (Some(store), saved.err().map(|error| error.to_string())),
            // The store and its lock went with it.
            Err(panic) => (self.directory.as_deref().map(AlarmStore::at), Some(panic.to_string())),
        };
        // They are stored elsewhere by now.
        let Some(store) = store.filter(|store| store.is_at(self.directory.as_ref())) else {
            self.due = true;
            return;
        };
        self.store = Some(store);
        let Some(why) = why else {
            self.said = false;
            return;
        };
        (self.due, self.next) = (true, now + KEEP_PAUSE);
        if !std::mem::replace(&mut self.said, true) {
            let seconds = KEEP_PAUSE.as_secs();
            tracing::warn!(code = %codes::ALARMS_NOT_KEPT, "alarms cannot be stored, retrying every {seconds} s: {why}");
        }
    }

    /// Writes the last state; waits no longer than [`FAREWELL`].
    pub(super) async fn end(mut self, evaluator: &AlarmEvaluator) {
        if let Some(saving) = self.saving.take() {
            self.saved(Duration::ZERO, saving).await;
        }
        if let Some(mut store) = self.store.take() {
            let kept = evaluator.kept();
            if kept != (PersistedAlarms { next: 1, ..PersistedAlarms::default() }) {
                let _ = spawn_blocking(move || store.save(&kept)).await;
            }
        }
    }
}

fn without() {
    tracing::warn!(
        code = %codes::ALARMS_NOT_KEPT,
        "alarms are not kept from one start to the next: there is no file channel and no home directory; name a directory with alarms.directory"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alarm::alarm_record::Alarm;
    use crate::monitor::alarm::kind::AlarmKind;
    use crate::monitor::alarm::severity::AlarmSeverity;
    use crate::monitor::alarm::tests::read;
    use std::sync::Arc;
    use tokio::time::sleep;

    /// Persists for so many seconds.
    async fn keep(
        persistence: &mut AlarmPersistence,
        seconds: u64,
        evaluator: &mut AlarmEvaluator,
    ) {
        let now = Duration::from_secs(seconds);
        persistence.keep(now, evaluator).await;
        while persistence.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            sleep(Duration::from_millis(5)).await;
        }
        if let Some(saving) = persistence.saving.take() {
            persistence.saved(now, saving).await;
        }
    }

    /// Persists until the store is open.
    async fn keep_open(
        persistence: &mut AlarmPersistence,
        seconds: u64,
        evaluator: &mut AlarmEvaluator,
    ) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while persistence.store.is_none() {
            assert!(tokio::time::Instant::now() < end, "it is opened");
            keep(persistence, seconds, evaluator).await;
            sleep(Duration::from_millis(5)).await;
        }
        keep(persistence, seconds, evaluator).await;
    }

    #[tokio::test]
    async fn a_store_in_use_is_opened_later_and_another_directory_at_once() {
        let top = tempfile::tempdir().expect("a directory");
        let (first, second) = (top.path().join("first"), top.path().join("second"));
        let orders = |directory: &std::path::Path| {
            let (mut settings, _) = read("");
            settings.directory = Some(directory.to_owned());
            Arc::new(settings)
        };
        let alarm = |serial| {
            Arc::new(Alarm {
                serial,
                kind: AlarmKind::ReloadRefused,
                severity: AlarmSeverity::Major,
                component: format!("AGENT.a{serial}"),
                subject: String::new(),
                message: "refused".to_owned(),
                parameters: std::collections::BTreeMap::new(),
                raised_ms: 1_700_000_000_123,
                cleared: None,
            })
        };
        let mut other = AlarmStore::at(&first);
        let before =
            PersistedAlarms { next: 8, active: vec![alarm(7)], ..PersistedAlarms::default() };
        other.save(&before).expect("kept");
        let (mut persistence, kept) = AlarmPersistence::open(&orders(&first), Duration::ZERO).await;
        assert!(kept.active.is_empty() && persistence.said, "it is in use");
        let own = PersistedAlarms { next: 2, active: vec![alarm(1)], ..PersistedAlarms::default() };
        let mut evaluator = AlarmEvaluator::new(orders(&first), own);
        drop(other);
        keep(&mut persistence, KEEP_PAUSE.as_secs() - 1, &mut evaluator).await;
        assert!(persistence.store.is_none() && persistence.opening.is_none(), "not at once");
        keep_open(&mut persistence, KEEP_PAUSE.as_secs(), &mut evaluator).await;
        let serials = |evaluator: &AlarmEvaluator| {
            evaluator.active().iter().map(|alarm| alarm.serial).collect::<Vec<_>>()
        };
        assert_eq!((serials(&evaluator), evaluator.kept().next), (vec![1, 7], 8), "both lives");

        persistence.adopt(&orders(&second));
        keep_open(&mut persistence, KEEP_PAUSE.as_secs() + 1, &mut evaluator).await;
        assert_eq!(serials(&evaluator), [1, 7], "none twice");
        let (_, kept, _) = AlarmStore::open(&first).expect("free again");
        assert_eq!(kept.active.len(), 2);
        assert!(AlarmStore::open(&second).is_err(), "in use");
        assert!(second.join("alarms.json").exists());
    }

    #[tokio::test]
    async fn a_failed_write_is_retried_after_a_pause() {
        let (top, pause) = (tempfile::tempdir().expect("a directory"), KEEP_PAUSE.as_secs());
        let place = top.path().join("kept");
        let file = place.join("alarms.json");
        std::fs::write(&place, "in the way").expect("written");
        let (mut settings, _) = read("");
        settings.directory = Some(place.clone());
        let (mut persistence, kept) = AlarmPersistence::open(&settings, Duration::ZERO).await;
        let mut evaluator = AlarmEvaluator::new(Arc::new(settings), kept);
        persistence.due = true;
        keep(&mut persistence, 1, &mut evaluator).await;
        assert!(persistence.said && persistence.due);
        std::fs::remove_file(&place).expect("removed");
        keep(&mut persistence, pause, &mut evaluator).await;
        assert!(!file.exists(), "not at once");
        keep(&mut persistence, pause + 1, &mut evaluator).await;
        assert!(file.exists() && !persistence.said && !persistence.due);

        std::fs::remove_file(&file).expect("removed");
        persistence.store = None;
        persistence.saving = Some(spawn_blocking(|| panic!("torn")));
        keep(&mut persistence, 100, &mut evaluator).await;
        assert!(persistence.said && persistence.due && !file.exists());
        keep(&mut persistence, 100 + pause, &mut evaluator).await;
        assert!(file.exists() && !persistence.said);
    }
}
