//! The loop around the machine: looks once a second, keeps what changed, tells who is to be told.

use super::delivery::notice::Notice;
use super::delivery::outbox::Outbox;
use super::keeper::Keeper;
use super::losses::{LossLine, LossLog};
use super::machine::{Change, Machine};
use super::page::{View, Window};
use super::raised::{Alarm, Cleared};
use super::settings::AlarmSettings;
use super::sight::{Moment, Sight};
use super::space::Spaces;
use super::{LOOK, PANIC_CHARS_MAX, REST, REST_MAX};
use crate::base::clock::Clock;
use crate::codes;
use crate::flow::contain::contain;
use crate::flow::context::StopSignal;
use crate::metrics::{Reading, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

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
    /// Fires once everything has stopped: then nothing more is lost.
    pub(super) ended: StopSignal,
}

impl Engine {
    /// Looks until the stop; then what there is to keep is kept. What is lost during the stop is logged when everything
    /// has ended.
    pub(super) async fn run(mut self) {
        let mut losses = LossLog::default();
        self.looks(&mut losses).await;
        self.ended.wait().await;
        // What cannot be read any more is not said.
        let gone = self.registry.take_last();
        let _ = contain(async { self.log_losses(&mut losses, &gone, true) }).await;
    }

    async fn looks(&mut self, losses: &mut LossLog) {
        let mut orders = self.orders.borrow_and_update().clone();
        let (keeper, kept) = tokio::select! {
            () = self.stop.wait() => return,
            opened = Keeper::open(&orders.settings, self.clock.now()) => opened,
        };
        let machine = Machine::new(Arc::clone(&orders.settings), kept);
        let (outboxes, spaces) = (Vec::new(), Spaces::default());
        let mut watch = Watch { machine, outboxes, spaces, keeper, losses, is_torn: false };
        let mut rest = Rest::default();
        self.employ(&orders.settings, &mut watch.outboxes);
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
                    watch.machine.adopt(Arc::clone(&orders.settings));
                    watch.keeper.adopt(&orders.settings);
                    self.employ(&orders.settings, &mut watch.outboxes);
                }
                _ = ticks.tick() => {}
            }
            let now = self.clock.now();
            if now < rest.until {
                continue;
            }
            match contain(self.look(&orders, &mut watch)).await {
                Ok(()) => self.window.looked(),
                Err(panic) => {
                    watch.is_torn = true;
                    let words: String = panic.chars().take(PANIC_CHARS_MAX).collect();
                    self.window.panicked(&words);
                    let seconds = rest.behind_panic(now).as_secs();
                    tracing::error!(
                        code = %codes::ALARMS_PANICKED,
                        "alarms: a look panicked, which is a bug of this program ({words}); the next is in {seconds} s, and begins anew with the alarms that there are"
                    );
                }
            }
        }
        watch.keeper.end(&watch.machine).await;
    }

    /// Logs what was lost since the last such line; also where alarms are off.
    fn log_losses(&self, losses: &mut LossLog, gone: &[Reading], is_last: bool) {
        let lines = losses.due(self.clock.now(), gone, &self.registry.snapshot(), is_last);
        lines.iter().for_each(LossLine::log);
    }

    /// Looks once.
    async fn look(&self, orders: &Orders, watch: &mut Watch<'_>) {
        if watch.is_torn {
            watch.machine = watch.machine.anew();
            watch.is_torn = false;
        }
        let gone = self.registry.take_last();
        self.log_losses(watch.losses, &gone, false);
        let at = Moment { now: self.clock.now(), wall_ms: self.clock.wall_ms() };
        let sight = self.sight(orders, gone, &mut watch.spaces).await;
        for change in watch.machine.look(at, &sight) {
            tell(at, change, &watch.outboxes);
        }
        self.show(&orders.settings, &watch.machine);
        watch.keeper.keep(at.now, &mut watch.machine).await;
    }

    async fn sight(&self, orders: &Orders, gone: Vec<Reading>, spaces: &mut Spaces) -> Sight {
        if !orders.settings.enabled {
            return Sight::default();
        }
        let sources = self.registry.components().sources;
        let unheard = sources.iter().map(|(name, source)| (name.clone(), source.clients.unheard()));
        let unheard = unheard.collect();
        let heard = sources.into_iter().map(|(name, source)| (name, source.clients.take_heard()));
        Sight {
            readings: self.registry.snapshot(),
            heard: heard.collect(),
            unheard,
            spaces: spaces.look(&orders.settings).await,
            refused: orders.refused.clone(),
            last: gone,
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

    /// Lets those be told whom the settings name. One whose settings are the same goes on as it is.
    fn employ(&self, settings: &AlarmSettings, outboxes: &mut Vec<Outbox>) {
        let mut before = std::mem::take(outboxes);
        for target in &settings.targets {
            let old = before.iter().position(|old| old.target.name == target.name);
            let old = old.map(|at| before.swap_remove(at));
            let (sender, clock) = (settings.sender.clone(), Arc::clone(&self.clock));
            outboxes.push(match old {
                Some(old) if old.serves(target, &sender) => old,
                Some(old) => old.changed(target.clone(), sender, clock),
                None => Outbox::start(target.clone(), sender, clock),
            });
        }
        self.window.show_queues(outboxes.iter().map(|outbox| Arc::clone(&outbox.queue)).collect());
    }
}

/// What a look works on.
struct Watch<'a> {
    machine: Machine,
    outboxes: Vec<Outbox>,
    spaces: Spaces,
    keeper: Keeper,
    losses: &'a mut LossLog,
    /// The last look ended in the middle.
    is_torn: bool,
}

/// When to look again behind looks that panicked: what panics at each look must not fill the log.
#[derive(Default)]
struct Rest {
    until: Duration,
    last: Option<(Duration, Duration)>,
}

impl Rest {
    /// A look has panicked at `now`: how long to rest.
    fn behind_panic(&mut self, now: Duration) -> Duration {
        let recent = self.last.filter(|(at, _)| now.saturating_sub(*at) < 2 * REST_MAX);
        let rest = recent.map_or(REST, |(_, rest)| (rest * 4).min(REST_MAX));
        (self.until, self.last) = (now + rest, Some((now, rest)));
        rest
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
            let code = alarm.kind.entry().code;
            tracing::warn!(%code, "alarm {} raised ({severity}): {}", named(&alarm), alarm.message);
            Notice::Raised(alarm)
        }
        Change::Still(alarm) => {
            let severity = alarm.severity.word();
            let code = alarm.kind.entry().code;
            tracing::warn!(
                %code,
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
            tracing::info!("alarm {} cleared after {lasted} s: {why}", named(&alarm));
            Notice::Cleared(alarm)
        }
    };
    outboxes.iter().for_each(|outbox| outbox.put(at.now, &notice));
}

fn named(alarm: &Alarm) -> String {
    let entry = alarm.kind.entry();
    let subject =
        if alarm.subject.is_empty() { String::new() } else { format!(" {}", alarm.subject) };
    format!("{} {} {}{subject}", entry.id(), entry.name, alarm.component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::heard::logged;
    use crate::metrics::{DropReason, Member, Role};
    use crate::monitor::alarm::tests::read;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::time::sleep;

    /// Time as the runtime has it, which a test stops and which then jumps.
    struct RuntimeClock(tokio::time::Instant);

    impl Clock for RuntimeClock {
        fn now(&self) -> Duration {
            self.0.elapsed()
        }

        fn wall_ms(&self) -> u64 {
            1_700_000_000_000
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_while_the_agent_stops_is_logged_once_it_has_stopped() {
        let (mut settings, _) = read("");
        settings.directory = None;
        let orders = Orders { settings: Arc::new(settings), refused: None };
        let (_orders, given) = watch::channel(orders);
        let registry = Arc::new(Registry::default());
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(tokio::time::Instant::now()));
        let ((stop, signal), (end, ended)) = (StopSignal::new(), StopSignal::new());
        let (window, sink) = (Window::default(), registry.sink("k1"));
        let engine = Engine { orders: given, registry, clock, window, stop: signal, ended };
        let script = async {
            sleep(Duration::from_secs(3)).await;
            stop.send_replace(true);
            sleep(Duration::from_secs(3)).await;
            sink.drops.add(DropReason::DeadLetter, 12_345);
            end.send_replace(true);
        };
        let said = logged(async {
            tokio::join!(engine.run(), script);
        });
        let said = said.await;
        assert!(said.contains("12345"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_is_said_now_and_then_and_the_looking_goes_on() {
        let (mut settings, _) = read("");
        settings.directory = None;
        let orders = Orders { settings: Arc::new(settings), refused: Some("torn".to_owned()) };
        let (orders, given) = watch::channel(orders);
        let registry = Arc::new(Registry::default());
        let member = Member { role: Role::Channel, name: "c1".to_owned(), kind: "memory" };
        registry.keep(&[member]);
        registry.channel("c1").open.set(1);
        let panics = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&panics);
        let look = move || {
            assert!(!broken.load(Ordering::Relaxed), "{}", "a beam fell ".repeat(100));
            None
        };
        registry.watch_channel("c1", Arc::new(look));
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(tokio::time::Instant::now()));
        let (stop, signal) = StopSignal::new();
        let window = Window::default();
        window.begin(Arc::clone(&clock));
        let shown = window.clone();
        let engine = Engine {
            orders: given,
            registry,
            clock,
            window: shown,
            stop: signal,
            ended: StopSignal::new().1,
        };
        let script = async {
            let pass = async |seconds| sleep(Duration::from_secs(seconds)).await;
            pass(5).await;
            let before = window.json();
            assert!(before.contains("\"serial\":1") && window.blind().is_none(), "{before}");
            panics.store(true, Ordering::Relaxed);
            pass(3600).await;
            assert!(window.blind().is_some_and(|since| since > Duration::from_secs(3000)));
            assert!(window.panic().is_some_and(|words| words.contains("a beam fell")));
            panics.store(false, Ordering::Relaxed);
            pass(REST_MAX.as_secs() + 5).await;
            assert_eq!((window.blind(), window.json()), (None, before), "the alarm is as it was");
            assert_eq!(window.panic(), None);
            orders.send_modify(|orders| orders.refused = None);
            pass(60).await;
            assert!(window.json().contains("\"active\":[]"), "it goes on: {}", window.json());
            stop.send_replace(true);
        };
        let both = async {
            tokio::join!(engine.run(), script);
        };
        let said = logged(both).await;
        // Behind 1, 4, 16, 64 and 256 s, and then every ten minutes.
        let fallen = said.matches("a look panicked").count();
        assert!((10..=12).contains(&fallen), "{fallen} times: {said}");
        assert!(
            said.contains("(a beam fell ") && said.lines().all(|line| line.len() < 600),
            "{said}"
        );
        assert_eq!(said.matches("raised").count(), 1, "{said}");
        assert!(!said.contains("is still there"), "{said}");
    }
}
