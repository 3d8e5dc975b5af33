//! The evaluation loop: evaluates once a second, persists changes, notifies targets.

use super::alarm_record::{Alarm, ClearedAlarm};
use super::delivery::notice::Notice;
use super::delivery::queue::DeliveryQueue;
use super::drop_rule::{DropLog, DropLogLine};
use super::evaluator::{AlarmChange, AlarmEvaluator};
use super::free_space::FreeSpaceProbe;
use super::limits::{LOOK, PANIC_CHARS_MAX, REST, REST_MAX};
use super::observation::{AgentSnapshot, EvaluationTime};
use super::page::{AlarmSnapshot, AlarmView};
use super::persistence::AlarmPersistence;
use super::settings::AlarmSettings;
use millpond::Clock;
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::{ComponentReading, MetricsRegistry};
use millpond_flow::panic_guard::catch_panics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Requests from the agent to the engine.
#[derive(Clone)]
pub(super) struct EngineRequests {
    pub(super) settings: Arc<AlarmSettings>,
    /// Why a changed configuration was refused, while that lasts.
    pub(super) refused: Option<String>,
}

/// The loop and what it works with.
pub(super) struct AlarmEngine {
    pub(super) orders: watch::Receiver<EngineRequests>,
    pub(super) registry: Arc<MetricsRegistry>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) window: AlarmView,
    pub(super) stop: StopSignal,
    /// Fires once everything has stopped: then no more events are lost.
    pub(super) ended: StopSignal,
}

impl AlarmEngine {
    /// Evaluates until the stop; then the last state is persisted. Losses during the stop are
    /// logged when everything has ended.
    pub(super) async fn run(mut self) {
        let mut losses = DropLog::default();
        self.looks(&mut losses).await;
        self.ended.wait().await;
        // What cannot be read any more is not logged.
        let gone = self.registry.take_last();
        let _ = catch_panics(async { self.log_losses(&mut losses, &gone, true) }).await;
    }

    async fn looks(&mut self, losses: &mut DropLog) {
        let mut orders = self.orders.borrow_and_update().clone();
        let (persistence, kept) = tokio::select! {
            () = self.stop.wait() => return,
            opened = AlarmPersistence::open(&orders.settings, self.clock.now()) => opened,
        };
        let evaluator = AlarmEvaluator::new(Arc::clone(&orders.settings), kept);
        let (delivery_queues, spaces) = (Vec::new(), FreeSpaceProbe::default());
        let mut watch = EvaluationState {
            evaluator,
            delivery_queues,
            spaces,
            persistence,
            losses,
            is_torn: false,
        };
        let mut rest = PanicBackoff::default();
        self.employ(&orders.settings, &mut watch.delivery_queues);
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
                    watch.evaluator.adopt(Arc::clone(&orders.settings));
                    watch.persistence.adopt(&orders.settings);
                    self.employ(&orders.settings, &mut watch.delivery_queues);
                }
                _ = ticks.tick() => {}
            }
            let now = self.clock.now();
            if now < rest.until {
                continue;
            }
            match catch_panics(self.look(&orders, &mut watch)).await {
                Ok(()) => self.window.looked(),
                Err(panic) => {
                    watch.is_torn = true;
                    let words: String = panic.chars().take(PANIC_CHARS_MAX).collect();
                    self.window.panicked(&words);
                    let seconds = rest.pause_after_panic(now).as_secs();
                    tracing::error!(
                        code = %codes::ALARMS_PANICKED,
                        "alarms: an evaluation panicked, which is a bug of this program ({words}); the next one is in {seconds} s, with the alarms that are active"
                    );
                }
            }
        }
        watch.persistence.end(&watch.evaluator).await;
    }

    /// Logs the losses since the last such line; also if alarms are off.
    fn log_losses(&self, losses: &mut DropLog, gone: &[ComponentReading], is_last: bool) {
        let lines = losses.due(self.clock.now(), gone, &self.registry.snapshot(), is_last);
        lines.iter().for_each(DropLogLine::log);
    }

    /// Evaluates once.
    async fn look(&self, orders: &EngineRequests, watch: &mut EvaluationState<'_>) {
        if watch.is_torn {
            watch.evaluator = watch.evaluator.anew();
            watch.is_torn = false;
        }
        let gone = self.registry.take_last();
        self.log_losses(watch.losses, &gone, false);
        let at = EvaluationTime { now: self.clock.now(), wall_ms: self.clock.wall_ms() };
        let view = self.view(orders, gone, &mut watch.spaces).await;
        for change in watch.evaluator.look(at, &view) {
            tell(at, change, &watch.delivery_queues);
        }
        self.show(&orders.settings, &watch.evaluator);
        watch.persistence.keep(at.now, &mut watch.evaluator).await;
    }

    async fn view(
        &self,
        orders: &EngineRequests,
        gone: Vec<ComponentReading>,
        spaces: &mut FreeSpaceProbe,
    ) -> AgentSnapshot {
        if !orders.settings.enabled {
            return AgentSnapshot::default();
        }
        let sources = self.registry.components().sources;
        let unheard = sources.iter().map(|(name, source)| (name.clone(), source.clients.unheard()));
        let unheard = unheard.collect();
        let heard = sources.into_iter().map(|(name, source)| (name, source.clients.take_heard()));
        AgentSnapshot {
            readings: self.registry.snapshot(),
            heard: heard.collect(),
            unheard,
            spaces: spaces.look(&orders.settings).await,
            refused: orders.refused.clone(),
            last: gone,
        }
    }

    fn show(&self, settings: &AlarmSettings, evaluator: &AlarmEvaluator) {
        self.window.show(AlarmSnapshot {
            enabled: settings.enabled,
            sender: settings.sender.clone(),
            active: evaluator.active(),
            history: evaluator.history(),
            counts: evaluator.counts(),
        });
    }

    /// Starts the queues that the settings name. A queue whose settings are unchanged is kept as it
    /// is.
    fn employ(&self, settings: &AlarmSettings, delivery_queues: &mut Vec<DeliveryQueue>) {
        let mut before = std::mem::take(delivery_queues);
        for target in &settings.targets {
            let old = before.iter().position(|old| old.target.name == target.name);
            let old = old.map(|at| before.swap_remove(at));
            let (sender, clock) = (settings.sender.clone(), Arc::clone(&self.clock));
            delivery_queues.push(match old {
                Some(old) if old.serves(target, &sender) => old,
                Some(old) => old.changed(target.clone(), sender, clock),
                None => DeliveryQueue::start(target.clone(), sender, clock),
            });
        }
        self.window.show_queues(
            delivery_queues
                .iter()
                .map(|delivery_queue| Arc::clone(&delivery_queue.queue))
                .collect(),
        );
    }
}

/// What an evaluation works on.
struct EvaluationState<'a> {
    evaluator: AlarmEvaluator,
    delivery_queues: Vec<DeliveryQueue>,
    spaces: FreeSpaceProbe,
    persistence: AlarmPersistence,
    losses: &'a mut DropLog,
    /// The last evaluation panicked.
    is_torn: bool,
}

/// The pause after evaluations that panicked: a repeated panic must not fill the log.
#[derive(Default)]
struct PanicBackoff {
    until: Duration,
    last: Option<(Duration, Duration)>,
}

impl PanicBackoff {
    /// Returns the pause after an evaluation that panicked at `now`.
    fn pause_after_panic(&mut self, now: Duration) -> Duration {
        let recent = self.last.filter(|(at, _)| now.saturating_sub(*at) < 2 * REST_MAX);
        let rest = recent.map_or(REST, |(_, rest)| (rest * 4).min(REST_MAX));
        (self.until, self.last) = (now + rest, Some((now, rest)));
        rest
    }
}

/// Logs a change, and puts it into the delivery queues.
fn tell(at: EvaluationTime, change: AlarmChange, delivery_queues: &[DeliveryQueue]) {
    let notice = match change {
        AlarmChange::Note(words) => {
            tracing::warn!("alarms: {words}");
            return;
        }
        AlarmChange::Raised(alarm) => {
            let severity = alarm.severity.word();
            let code = alarm.kind.entry().code;
            tracing::warn!(%code, "alarm {} raised ({severity}): {}", named(&alarm), alarm.message);
            Notice::Raised(alarm)
        }
        AlarmChange::Still(alarm) => {
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
        AlarmChange::Cleared(alarm) => {
            let (lasted, why) = match &alarm.cleared {
                Some(ClearedAlarm { at_ms, why }) => {
                    (at_ms.saturating_sub(alarm.raised_ms) / 1000, &**why)
                }
                None => (0, ""),
            };
            tracing::info!("alarm {} cleared after {lasted} s: {why}", named(&alarm));
            Notice::Cleared(alarm)
        }
    };
    delivery_queues.iter().for_each(|delivery_queue| delivery_queue.put(at.now, &notice));
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
    use crate::monitor::alarm::tests::read;
    use millpond_flow::log_capture::captured_log;
    use millpond_flow::metrics::{ComponentId, ComponentRole, DropReason};
    use millpond_flow::runtime_clock::RuntimeClock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_while_the_agent_stops_is_logged_once_it_has_stopped() {
        let (mut settings, _) = read("");
        settings.directory = None;
        let orders = EngineRequests { settings: Arc::new(settings), refused: None };
        let (_orders, given) = watch::channel(orders);
        let registry = Arc::new(MetricsRegistry::default());
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::at(1_700_000_000_000));
        let ((stop, signal), (end, ended)) = (StopSignal::new(), StopSignal::new());
        let (window, sink) = (AlarmView::default(), registry.sink("k1"));
        let engine = AlarmEngine { orders: given, registry, clock, window, stop: signal, ended };
        let script = async {
            sleep(Duration::from_secs(3)).await;
            stop.send_replace(true);
            sleep(Duration::from_secs(3)).await;
            sink.drops.add(DropReason::DeadLetter, 12_345);
            end.send_replace(true);
        };
        let said = captured_log(async {
            tokio::join!(engine.run(), script);
        });
        let said = said.await;
        assert!(said.contains("12345"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_an_evaluation_is_logged_and_the_loop_goes_on() {
        let (mut settings, _) = read("");
        settings.directory = None;
        let orders =
            EngineRequests { settings: Arc::new(settings), refused: Some("torn".to_owned()) };
        let (orders, given) = watch::channel(orders);
        let registry = Arc::new(MetricsRegistry::default());
        let member =
            ComponentId { role: ComponentRole::Channel, name: "c1".to_owned(), kind: "memory" };
        registry.keep(&[member]);
        registry.channel("c1").open.set(1);
        let panics = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&panics);
        let look = move || {
            assert!(!broken.load(Ordering::Relaxed), "{}", "a beam fell ".repeat(100));
            None
        };
        registry.watch_channel("c1", Arc::new(look));
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::at(1_700_000_000_000));
        let (stop, signal) = StopSignal::new();
        let window = AlarmView::default();
        window.begin(Arc::clone(&clock));
        let shown = window.clone();
        let engine = AlarmEngine {
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
        let said = captured_log(both).await;
        // After 1, 4, 16, 64 and 256 s, and then every ten minutes.
        let fallen = said.matches("an evaluation panicked").count();
        assert!((10..=12).contains(&fallen), "{fallen} times: {said}");
        assert!(
            said.contains("(a beam fell ") && said.lines().all(|line| line.len() < 600),
            "{said}"
        );
        assert_eq!(said.matches("raised").count(), 1, "{said}");
        assert!(!said.contains("is still there"), "{said}");
    }
}
