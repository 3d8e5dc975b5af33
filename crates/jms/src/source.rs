//! The loop of the source.
//!
//! 1. The channels say for how many events they have room; the broker may have so many messages on the way, and no
//!    more than [`Credit`] allows. A full channel receives nothing, so no delivery is counted while it is full.
//! 2. Messages are collected up to `batchSize`, or until none has come for [`LINGER`].
//! 3. They are committed as one transaction, and tried again while the channels refuse.
//! 4. They are accepted: the broker forgets them. If the connection is lost between 3 and 4, the broker sends them
//!    again, so a batch can come twice and is never lost.
//!
//! A lost connection ends [`JmsSource::run`] with the reason; the flow calls it again.

use super::broker::{BrokerError, BrokerLink, Incoming, Login};
use super::credit::Credit;
use super::message;
use super::settings::{self, JmsSettings};
use fe2o3_amqp::link::delivery::DeliveryInfo;
use millpond::internal::base::quantity::Quantity;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond::{BoxFuture, CommitError, Event};
use millpond_flow::backoff::Backoff;
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use millpond_flow::net::http_auth::Secret;
use millpond_flow::net::tls::{ClientTls, StoreReloader};
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The type `jms`.
pub(crate) const TYPE: SourceType = SourceType {
    names: &["jms", "org.apache.flume.source.jms.JMSSource"],
    keys: settings::KEYS,
    build,
};

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    Ok(Box::new(JmsSource::new(settings::read(reader)?)))
}

/// A batch is committed when no message has come for this time.
const LINGER: Duration = Duration::from_millis(10);

/// How long the source looks away from a full channel.
const FULL: Duration = Duration::from_millis(250);

/// Pauses between two tries of a commit: the step and the longest.
const PAUSE_STEP: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The source.
struct JmsSource {
    settings: JmsSettings,
    tls: StoreReloader<ClientTls>,
    /// The broker that is tried first.
    turn: AtomicUsize,
    /// A message was too long; its link is gone.
    was_too_long: AtomicBool,
}

/// A message that waits for its commit.
struct Received {
    info: DeliveryInfo,
    event: Event,
}

impl JmsSource {
    fn new(settings: JmsSettings) -> Self {
        let tls = StoreReloader::new(settings.tls.clone());
        Self { settings, tls, turn: AtomicUsize::new(0), was_too_long: AtomicBool::new(false) }
    }

    /// Returns the user with the password as it is now.
    fn user(&self) -> Result<Option<(String, String)>, Failure> {
        let Some((name, file)) = &self.settings.user else { return Ok(None) };
        let password = match file {
            Some(file) => Secret::File(file.clone())
                .read()
                .map_err(|error| Failure::caused("passwordFile cannot be used", error))?,
            None => String::new(),
        };
        Ok(Some((name.clone(), password)))
    }

    /// Opens a link to the first broker that grants one.
    async fn open(&self, context: &SourceContext) -> Result<BrokerLink, Failure> {
        let user = self.user()?;
        let brokers = &self.settings.brokers;
        let first = self.turn.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for turn in 0..brokers.len() {
            let broker = &brokers[(first + turn) % brokers.len()];
            let random = SystemRandom.next_u64();
            let client = self.settings.client.clone();
            let login = Login {
                user: user.clone(),
                client: client
                    .unwrap_or_else(|| format!("millpond-{}-{random:016x}", context.name)),
                link: match &self.settings.destination.subscription {
                    Some(subscription) => subscription.clone(),
                    None => format!("{}-{random:016x}", context.name),
                },
                tls: &self.tls,
            };
            match BrokerLink::open(broker, &self.settings.destination, login).await {
                Ok(link) => {
                    tracing::info!(source = %context.name, "reads {} at {broker}", self.settings.destination.name);
                    return Ok(link);
                }
                Err(error) => failures.push(format!("{broker}: {error}")),
            }
        }
        self.turn.store((first + 1) % brokers.len().max(1), Ordering::Relaxed);
        Err(Failure::new(failures.join("; ")))
    }

    /// Reads until the stop signal, or until the connection is lost.
    async fn read(
        &self,
        context: &SourceContext,
        link: &mut BrokerLink,
        held: &mut Vec<Received>,
    ) -> Result<(), BrokerError> {
        let capacity = context.intake.transaction_capacity().max(1);
        let batch = self.settings.batch.min(capacity);
        let mut credit = Credit::new(batch);
        if self.was_too_long.swap(false, Ordering::Relaxed) {
            credit.one_by_one();
        }
        // Messages that the broker may still send.
        let mut allowed = 0;
        while !context.stop.fired() {
            let target = credit.target(context.intake.free_events());
            if allowed < target.div_ceil(2) {
                link.allow(target).await?;
                allowed = target;
            }
            // Nothing can come while nothing is allowed; the loss of the connection is noticed all the same.
            let first_within = if allowed == 0 { FULL } else { self.settings.poll_timeout };
            self.collect(context, link, held, batch, first_within, &mut allowed).await?;
            if held.is_empty() {
                continue;
            }
            context.counters.batch_received(held.len() as u64);
            let largest = held.iter().map(|one| one.event.body.len()).max().unwrap_or(0);
            let messages = held.len();
            if !self.commit(context, link, held).await? {
                return Ok(());
            }
            credit.committed(messages, largest);
        }
        Ok(())
    }

    /// Collects messages until a batch is full or none has come for a while.
    async fn collect(
        &self,
        context: &SourceContext,
        link: &mut BrokerLink,
        held: &mut Vec<Received>,
        batch: usize,
        first_within: Duration,
        allowed: &mut u32,
    ) -> Result<(), BrokerError> {
        let mut within = first_within;
        while held.len() < batch {
            let next = tokio::select! {
                () = context.stop.wait() => return Ok(()),
                next = timeout(within, link.next()) => next,
            };
            let Ok(next) = next else { return Ok(()) };
            *allowed = allowed.saturating_sub(1);
            match next? {
                Incoming::Message(info, message) => {
                    let event = message::event(*message, self.settings.charset);
                    let bytes = event.size_bytes();
                    if bytes as u64 > self.settings.message_bytes_max {
                        context.counters.drops.add(DropReason::TooLarge, 1);
                        let what = format!("of {bytes} bytes is longer than maxMessageBytes");
                        self.reject(context, link, info, "message too long", &what).await?;
                    } else {
                        held.push(Received { info, event });
                    }
                }
                Incoming::Undecodable(info, why) => {
                    context.counters.event_read_fail.add(1);
                    context.counters.drops.add(DropReason::Unreadable, 1);
                    let what = format!("cannot be decoded ({why})");
                    self.reject(context, link, info, "undecodable message", &what).await?;
                }
            }
            within = if *allowed == 0 { Duration::from_millis(1) } else { LINGER };
        }
        Ok(())
    }

    /// Rejects a message, so that the broker sets it aside, and logs it; `kind` is what the log counts it as.
    async fn reject(
        &self,
        context: &SourceContext,
        link: &BrokerLink,
        message: DeliveryInfo,
        kind: &'static str,
        what: &str,
    ) -> Result<(), BrokerError> {
        let cause = format!("a message {what} and is rejected, so that the broker sets it aside");
        context.client_error(&self.settings.destination.name, kind, &cause);
        link.reject(message, what).await
    }

    /// Commits and accepts what is held; returns false at a stop, and then it is still held.
    async fn commit(
        &self,
        context: &SourceContext,
        link: &BrokerLink,
        held: &mut Vec<Received>,
    ) -> Result<bool, BrokerError> {
        let mut backoff = Backoff::new(PAUSE_STEP, PAUSE_MAX);
        let mut part = held.len();
        while !held.is_empty() {
            let part_now = part.min(held.len());
            let events: Vec<Event> = held[..part_now].iter().map(|one| one.event.clone()).collect();
            match context.intake.commit(events).await {
                Ok(()) => {
                    context.counters.batch_accepted();
                    let done = held.drain(..part_now).map(|one| one.info).collect();
                    link.accept(done).await?;
                    backoff.reset();
                }
                // Smaller parts may fit, and one that does not is found.
                Err(error) if error.never_fits() && part_now > 1 => part = part_now.div_ceil(2),
                Err(error) if error.never_fits() => {
                    let one = held.remove(0);
                    Self::never_fits(context, &one.event, &error);
                    link.reject(one.info, "no channel can hold it").await?;
                }
                Err(error) => {
                    if context.stop.fired() {
                        return Ok(false);
                    }
                    context.client_error(&self.settings.destination.name, "not taken", &format!("the channel does not take a batch of {}, which is tried again: {error}", Quantity(part_now as u64, "event")));
                    tokio::select! {
                        () = context.stop.wait() => {}
                        () = tokio::time::sleep(backoff.fail()) => {}
                    }
                }
            }
        }
        Ok(true)
    }

    fn never_fits(context: &SourceContext, event: &Event, error: &CommitError) {
        context.counters.drops.add(DropReason::TooLarge, 1);
        tracing::error!(
            code = %codes::EVENT_FITS_NO_CHANNEL,
            source = %context.name,
            bytes = event.body.len(),
            "a message is rejected, so that the broker sets it aside: {error}"
        );
    }
}

impl Source for JmsSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let opened = tokio::select! {
                () = context.stop.wait() => return Ok(()),
                opened = self.open(context) => opened,
            };
            let mut link = match opened {
                Ok(link) => link,
                Err(error) => {
                    context.waits();
                    // The flow notices the wait before the end.
                    tokio::task::yield_now().await;
                    return Err(error);
                }
            };
            context.started();
            let mut held = Vec::new();
            let ended = self.read(context, &mut link, &mut held).await;
            let back = held.into_iter().map(|one| one.info).collect();
            link.close(back).await;
            ended.map_err(|error| {
                if matches!(error, BrokerError::TooLong) {
                    self.was_too_long.store(true, Ordering::Relaxed);
                }
                Failure::new(error.to_string())
            })
        })
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            self.user()?;
            if self.settings.brokers.iter().any(|broker| broker.is_tls) {
                let stores = self.tls.current("the jms source").await;
                stores.map_err(|error| Failure::caused("TLS cannot be used", error))?;
            }
            Ok(())
        })
    }
}
