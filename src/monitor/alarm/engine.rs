//! The loop around the machine: looks once a second, keeps what changed, tells who is to be told.

use super::delivery::notice::Notice;
use super::delivery::outbox::Outbox;
use super::machine::{Change, Kept, Machine};
use super::page::{View, Window};
use super::raised::{Alarm, Cleared};
use super::settings::AlarmSettings;
use super::sight::{Moment, Sight};
use super::space::Spaces;
use super::store::{Store, StoreError};
use super::{KEEP_EVERY, LOOK, OPEN_PATIENCE};
use crate::base::clock::Clock;
use crate::flow::context::StopSignal;
use crate::metrics::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What the agent tells the engine.
#[derive(Clone)]
pub(super) struct Orders {
    pub(super) settings: Arc<AlarmSettings>,
    /// Why a changed configuration was refused, while that is so.
    pub(super) refused: Option<String>,
}

/// The loop and what it works with.
pub(super) struct Engine {
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) registry: Arc<Registry>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) window: Window,
    pub(super) stop: StopSignal,
}

impl Engine {
    /// Runs until the stop; then what there is to keep is kept.
    pub(super) async fn run(mut self) {
        let mut orders = self.orders.borrow_and_update().clone();
        let (mut keeper, kept) = tokio::select! {
            () = self.stop.wait() => return,
            opened = Keeper::open(&orders.settings) => opened,
        };
        let mut machine = Machine::new(Arc::clone(&orders.settings), kept);
        let (mut outboxes, mut spaces) = (Vec::new(), Spaces::default());
        self.employ(&orders.settings, &mut outboxes);
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => break,
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    orders = self.orders.borrow_and_update().clone();
                    machine.adopt(Arc::clone(&orders.settings));
                    self.employ(&orders.settings, &mut outboxes);
                }
                _ = ticks.tick() => {}
            }
            let at = Moment { now: self.clock.now(), wall_ms: self.clock.wall_ms() };
            let sight = self.sight(&orders, &mut spaces).await;
            for change in machine.look(at, &sight) {
                tell(at, change, &outboxes);
            }
            self.show(&orders.settings, &machine);
            keeper.keep(at.now, &mut machine).await;
        }
        keeper.end(&machine).await;
    }

    async fn sight(&self, orders: &Orders, spaces: &mut Spaces) -> Sight {
        if !orders.settings.enabled {
            return Sight::default();
        }
        let sources = self.registry.components().sources;
        let heard = sources.into_iter().map(|(name, source)| (name, source.clients.take_heard()));
        Sight {
            readings: self.registry.snapshot(),
            heard: heard.collect(),
            spaces: spaces.look(&orders.settings).await,
            refused: orders.refused.clone(),
        }
    }

    fn show(&self, settings: &AlarmSettings, machine: &Machine) {
        self.window.show(View {
            enabled: settings.enabled,
            sender: settings.sender.clone(),
            active: machine.active(),
            history: machine.history(),
            counts: machine.counts(),
        });
    }

    /// Lets those be told whom the settings name. One whose settings are the same goes on where it is.
    fn employ(&self, settings: &AlarmSettings, outboxes: &mut Vec<Outbox>) {
        let before = std::mem::take(outboxes);
        let (mut stay, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|outbox| settings.targets.contains(&outbox.target));
        for target in &settings.targets {
            if !stay.iter().any(|outbox| outbox.target == *target) {
                let clock = Arc::clone(&self.clock);
                let outbox = Outbox::start(target.clone(), settings.sender.clone(), clock);
                let old = gone.iter().find(|old| old.target.name == target.name);
                old.into_iter().for_each(|old| outbox.take_over(old));
                stay.push(outbox);
            }
        }
        self.window.show_queues(stay.iter().map(|outbox| Arc::clone(&outbox.queue)).collect());
        *outboxes = stay;
    }
}

/// Logs a change, and puts it where it is sent from.
fn tell(at: Moment, change: Change, outboxes: &[Outbox]) {
    let notice = match change {
        Change::Note(words) => {
            tracing::warn!("alarms: {words}");
            return;
        }
        Change::Raised(alarm) => {
            let severity = alarm.severity.word();
            tracing::warn!("alarm {} raised ({severity}): {}", named(&alarm), alarm.message);
            Notice::Raised(alarm)
        }
        Change::Still(alarm) => {
            let severity = alarm.severity.word();
            tracing::warn!(
                "alarm {} is still there since before the start ({severity}): {}",
                named(&alarm),
                alarm.message
            );
            Notice::Still(alarm)
        }
        Change::Cleared(alarm) => {
            let (lasted, why) = match &alarm.cleared {
                Some(Cleared { at_ms, why }) => {
                    (at_ms.saturating_sub(alarm.raised_ms) / 1000, &**why)
                }
                None => (0, ""),
            };
            tracing::info!("alarm {} cleared behind {lasted} s: {why}", named(&alarm));
            Notice::Cleared(alarm)
        }
    };
    outboxes.iter().for_each(|outbox| outbox.put(at.now, &notice));
}

fn named(alarm: &Alarm) -> String {
    let entry = alarm.kind.entry();
    let subject =
        if alarm.subject.is_empty() { String::new() } else { format!(" {}", alarm.subject) };
    format!("{} {} {}{subject}", entry.id, entry.name, alarm.component)
}

/// Keeps alarms beside the loop: a disk that hangs holds up the keeping only.
#[derive(Default)]
struct Keeper {
    /// `None` while it writes, and where nothing can be kept.
    store: Option<Store>,
    saving: Option<JoinHandle<(Store, Result<(), StoreError>)>>,
    /// What is to be kept is newer than what is kept.
    due: bool,
    last: Duration,
    /// That it fails was said.
    said: bool,
}

impl Keeper {
    async fn open(settings: &AlarmSettings) -> (Self, Kept) {
        let Some(directory) = settings.directory.clone() else { return Self::default().without() };
        let shown = directory.display().to_string();
        let opening = spawn_blocking(move || Store::open(&directory));
        let why = match timeout(OPEN_PATIENCE, opening).await {
            Ok(Ok(Ok((store, kept, words)))) => {
                words.into_iter().for_each(|words| tracing::warn!("alarms: {words}"));
                return (Self { store: Some(store), ..Self::default() }, kept);
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(panic)) => panic.to_string(),
            Err(_) => format!("{shown} does not answer"),
        };
        tracing::warn!(
            "alarms are not kept from one start to the next: {why}; name a directory of this agent's own with alarms.directory"
        );
        (Self::default(), Kept::default())
    }

    fn without(self) -> (Self, Kept) {
        tracing::warn!(
            "alarms are not kept from one start to the next: there is no file channel and no home directory; name a directory with alarms.directory"
        );
        (self, Kept::default())
    }

    /// Writes what has changed, unless that is being done; never waits for it.
    async fn keep(&mut self, now: Duration, machine: &mut Machine) {
        // When clients were heard last changes all the time.
        let is_old = now.saturating_sub(self.last) >= KEEP_EVERY;
        self.due |= machine.take_changed() || (is_old && machine.knows_clients());
        if let Some(saving) = self.saving.take_if(|saving| saving.is_finished()) {
            self.saved(saving).await;
        }
        if let Some(mut store) = self.store.take_if(|_| self.due) {
            (self.due, self.last) = (false, now);
            let kept = machine.kept();
            self.saving = Some(spawn_blocking(move || {
                let saved = store.save(&kept);
                (store, saved)
            }));
        }
    }

    async fn saved(&mut self, saving: JoinHandle<(Store, Result<(), StoreError>)>) {
        let Ok((store, saved)) = saving.await else { return };
        match saved {
            Ok(()) => self.said = false,
            Err(error) if !self.said => {
                self.said = true;
                tracing::warn!(
                    "alarms cannot be kept, and are tried again with the next change: {error}"
                );
            }
            Err(_) => {}
        }
        self.store = Some(store);
    }

    /// Keeps the last state; whoever ends the agent waits no longer than for its farewell.
    async fn end(mut self, machine: &Machine) {
        if let Some(saving) = self.saving.take() {
            self.saved(saving).await;
        }
        if let Some(mut store) = self.store.take() {
            let kept = machine.kept();
            if kept != (Kept { next: 1, ..Kept::default() }) {
                let _ = spawn_blocking(move || store.save(&kept)).await;
            }
        }
    }
}
