//! Keeps alarms on disk, beside the loop that looks.

use super::machine::{Kept, Machine};
use super::settings::AlarmSettings;
use super::store::{Store, StoreError};
use super::{KEEP_EVERY, KEEP_PAUSE, OPEN_PATIENCE};
use crate::codes;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// What came of opening a store.
type Opened = Result<(Store, Kept, Option<String>), StoreError>;

/// Keeps alarms beside the loop: a disk that hangs holds up the keeping only.
#[derive(Default)]
pub(super) struct Keeper {
    /// `None` while it writes, and where nothing can be kept.
    store: Option<Store>,
    saving: Option<JoinHandle<(Store, Result<(), StoreError>)>>,
    /// The store that is being opened, and where.
    opening: Option<(PathBuf, JoinHandle<Opened>)>,
    /// What is to be kept is newer than what is kept.
    due: bool,
    last: Duration,
    /// Not before: behind a try that failed.
    next: Duration,
    /// Where the store is or is to be; without a store it is opened there.
    directory: Option<PathBuf>,
    /// That it fails was said.
    said: bool,
}

impl Keeper {
    pub(super) async fn open(settings: &AlarmSettings, now: Duration) -> (Self, Kept) {
        let mut keeper = Self::default();
        keeper.adopt(settings);
        keeper.begin_to_open(now);
        let mut kept = None;
        if let Some((place, mut opening)) = keeper.opening.take() {
            if let Ok(opened) = timeout(OPEN_PATIENCE, &mut opening).await {
                kept = keeper.opened(now, opened);
            } else {
                keeper.fails(now, &format!("{} does not answer", place.display()));
                keeper.opening = Some((place, opening));
            }
        } else {
            without();
        }
        (keeper, kept.unwrap_or_default())
    }

    /// From now on alarms are kept where these settings say.
    pub(super) fn adopt(&mut self, settings: &AlarmSettings) {
        if self.directory == settings.directory {
            return;
        }
        self.directory.clone_from(&settings.directory);
        // What is being opened or written elsewhere is let go of when that has ended.
        (self.store, self.next, self.said) = (None, Duration::ZERO, false);
        if self.directory.is_none() {
            without();
        }
    }

    /// Opens the store if there is none and it is time for that; never waits for it.
    fn begin_to_open(&mut self, now: Duration) {
        let is_busy = self.store.is_some() || self.saving.is_some() || self.opening.is_some();
        if let Some(directory) = self.directory.clone().filter(|_| !is_busy && now >= self.next) {
            let place = directory.clone();
            self.opening = Some((place, spawn_blocking(move || Store::open(&directory))));
        }
    }

    /// What was kept; `None` where the store cannot be used.
    fn opened(&mut self, now: Duration, opened: Result<Opened, JoinError>) -> Option<Kept> {
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

    /// The store cannot be opened.
    fn fails(&mut self, now: Duration, why: &str) {
        self.next = now + KEEP_PAUSE;
        if !std::mem::replace(&mut self.said, true) {
            let seconds = KEEP_PAUSE.as_secs();
            tracing::warn!(
                code = %codes::ALARMS_NOT_KEPT,
                "alarms are not kept from one start to the next, which is tried again each {seconds} s: {why}; name a directory of this agent's own with alarms.directory"
            );
        }
    }

    /// Writes what has changed, unless that is being done; never waits for it.
    pub(super) async fn keep(&mut self, now: Duration, machine: &mut Machine) {
        // When clients were heard last changes all the time.
        let is_old = now.saturating_sub(self.last) >= KEEP_EVERY;
        self.due |= machine.take_changed() || (is_old && machine.knows_clients());
        if let Some(saving) = self.saving.take_if(|saving| saving.is_finished()) {
            self.saved(now, saving).await;
        }
        if let Some((place, opening)) = self.opening.take_if(|(_, opening)| opening.is_finished()) {
            let opened = opening.await;
            if self.directory.as_ref() == Some(&place)
                && let Some(kept) = self.opened(now, opened)
            {
                *machine = machine.joined(kept);
                self.due = true;
            }
        }
        self.begin_to_open(now);
        if self.store.is_none() || !self.due || now < self.next {
            return;
        }
        let kept = machine.kept();
        if let Some(mut store) = self.store.take() {
            (self.due, self.last) = (false, now);
            self.saving = Some(spawn_blocking(move || {
                let saved = store.save(&kept);
                (store, saved)
            }));
        }
    }

    async fn saved(&mut self, now: Duration, saving: JoinHandle<(Store, Result<(), StoreError>)>) {
        let (store, why) = match saving.await {
            Ok((store, saved)) => (Some(store), saved.err().map(|error| error.to_string())),
            // With it went the store and its lock.
            Err(panic) => (self.directory.as_deref().map(Store::at), Some(panic.to_string())),
        };
        // They are kept elsewhere by now.
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
            tracing::warn!(code = %codes::ALARMS_NOT_KEPT, "alarms cannot be kept, and are tried again each {seconds} s: {why}");
        }
    }

    /// Keeps the last state; whoever ends the agent waits no longer than for its farewell.
    pub(super) async fn end(mut self, machine: &Machine) {
        if let Some(saving) = self.saving.take() {
            self.saved(Duration::ZERO, saving).await;
        }
        if let Some(mut store) = self.store.take() {
            let kept = machine.kept();
            if kept != (Kept { next: 1, ..Kept::default() }) {
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
    use crate::monitor::alarm::kind::{Kind, Severity};
    use crate::monitor::alarm::raised::Alarm;
    use crate::monitor::alarm::tests::read;
    use std::sync::Arc;
    use tokio::time::sleep;

    /// Keeps, and sees how that went.
    async fn keep(keeper: &mut Keeper, seconds: u64, machine: &mut Machine) {
        let now = Duration::from_secs(seconds);
        keeper.keep(now, machine).await;
        while keeper.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            sleep(Duration::from_millis(5)).await;
        }
        if let Some(saving) = keeper.saving.take() {
            keeper.saved(now, saving).await;
        }
    }

    /// Keeps until the store is open.
    async fn keep_open(keeper: &mut Keeper, seconds: u64, machine: &mut Machine) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while keeper.store.is_none() {
            assert!(tokio::time::Instant::now() < end, "it is opened");
            keep(keeper, seconds, machine).await;
            sleep(Duration::from_millis(5)).await;
        }
        keep(keeper, seconds, machine).await;
    }

    #[tokio::test]
    async fn a_store_that_could_not_be_had_is_opened_later_and_another_directory_at_once() {
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
                kind: Kind::ReloadRefused,
                severity: Severity::Major,
                component: format!("AGENT.a{serial}"),
                subject: String::new(),
                message: "refused".to_owned(),
                parameters: std::collections::BTreeMap::new(),
                raised_ms: 1_700_000_000_123,
                cleared: None,
            })
        };
        let mut other = Store::at(&first);
        let before = Kept { next: 8, active: vec![alarm(7)], ..Kept::default() };
        other.save(&before).expect("kept");
        let (mut keeper, kept) = Keeper::open(&orders(&first), Duration::ZERO).await;
        assert!(kept.active.is_empty() && keeper.said, "it is in use");
        let own = Kept { next: 2, active: vec![alarm(1)], ..Kept::default() };
        let mut machine = Machine::new(orders(&first), own);
        drop(other);
        keep(&mut keeper, KEEP_PAUSE.as_secs() - 1, &mut machine).await;
        assert!(keeper.store.is_none() && keeper.opening.is_none(), "not at once");
        keep_open(&mut keeper, KEEP_PAUSE.as_secs(), &mut machine).await;
        let serials = |machine: &Machine| {
            machine.active().iter().map(|alarm| alarm.serial).collect::<Vec<_>>()
        };
        assert_eq!((serials(&machine), machine.kept().next), (vec![1, 7], 8), "both lives");

        keeper.adopt(&orders(&second));
        keep_open(&mut keeper, KEEP_PAUSE.as_secs() + 1, &mut machine).await;
        assert_eq!(serials(&machine), [1, 7], "none twice");
        let (_, kept, _) = Store::open(&first).expect("free again");
        assert_eq!(kept.active.len(), 2);
        assert!(Store::open(&second).is_err(), "in use");
        assert!(second.join("alarms.json").exists());
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_tried_again_behind_a_pause() {
        let (top, pause) = (tempfile::tempdir().expect("a directory"), KEEP_PAUSE.as_secs());
        let place = top.path().join("kept");
        let file = place.join("alarms.json");
        std::fs::write(&place, "in the way").expect("written");
        let (mut settings, _) = read("");
        settings.directory = Some(place.clone());
        let (mut keeper, kept) = Keeper::open(&settings, Duration::ZERO).await;
        let mut machine = Machine::new(Arc::new(settings), kept);
        keeper.due = true;
        keep(&mut keeper, 1, &mut machine).await;
        assert!(keeper.said && keeper.due);
        std::fs::remove_file(&place).expect("removed");
        keep(&mut keeper, pause, &mut machine).await;
        assert!(!file.exists(), "not at once");
        keep(&mut keeper, pause + 1, &mut machine).await;
        assert!(file.exists() && !keeper.said && !keeper.due);

        std::fs::remove_file(&file).expect("removed");
        keeper.store = None;
        keeper.saving = Some(spawn_blocking(|| panic!("torn")));
        keep(&mut keeper, 100, &mut machine).await;
        assert!(keeper.said && keeper.due && !file.exists());
        keep(&mut keeper, 100 + pause, &mut machine).await;
        assert!(file.exists() && !keeper.said);
    }
}
