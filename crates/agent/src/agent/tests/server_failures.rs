//! Tests of every server failure, for every sink that is a client: the events return to the
//! channel, the sink logs it once and continues by itself when the server is healthy again.

use super::faulty_proxy::{FaultyProxy, ServerFailure};
use super::{ComponentTypes, TYPES, did, planned_with, start_plan, until};
use crate::agent::supervise::LiveAgent;
use millpond::{Channel, Event};
use millpond_flow::log_capture::captured_log;
use millpond_flow::metrics::{MetricsRegistry, SinkCounters};
use std::fmt::Write as _;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Failures, whether the server may have taken the batch, and what the sink has to log.
const DEATHS: &[(ServerFailure, bool, &[&str])] = &[
    (
        ServerFailure::Killed,
        false,
        &["connection broke", "closed the connection", "did not end well"],
    ),
    (ServerFailure::Refused, false, &["cannot connect"]),
    (ServerFailure::SynDropped, false, &["no connection within 2500 ms"]),
    (ServerFailure::Silent, false, &["did not answer within 2500 ms"]),
    (
        ServerFailure::NotReading,
        false,
        &["did not answer within 2500 ms", "took nothing more of the request for 2500 ms"],
    ),
    (ServerFailure::HalfReply, true, &["did not answer within 2500 ms", "did not end well"]),
    (ServerFailure::HangsUp, true, &["closed the connection", "did not end well"]),
];

/// With TLS a silent server does not reply to the client's hello.
const TLS_DEATHS: &[(ServerFailure, bool, &[&str])] = &[
    (ServerFailure::Killed, false, &["connection broke", "no TLS", "did not end well"]),
    (
        ServerFailure::Silent,
        false,
        &["did not answer within 2500 ms", "no connection within 1000 ms"],
    ),
];

/// More than the buffers of a connection hold.
const LARGE_BYTES: usize = 8 * 1024 * 1024;

struct FailureCase {
    /// The settings of its sink, and of all else that is its own.
    name: String,
    kind: &'static str,
    tls: bool,
    death: ServerFailure,
    /// Whether a batch that failed may have arrived.
    may_repeat: bool,
    causes: &'static [&'static str],
    server: u16,
    proxy_port: u16,
}

fn cases() -> Vec<FailureCase> {
    let mut ports = 20_000..;
    let plain = DEATHS.iter().map(|death| (false, death));
    let all: Vec<_> = plain.chain(TLS_DEATHS.iter().map(|death| (true, death))).collect();
    let mut cases = Vec::new();
    for kind in ["avro", "thrift", "http"] {
        for (tls, (death, may_repeat, causes)) in &all {
            let mut port = || ports.next().unwrap();
            let name = format!("{kind}-{death:?}{}", if *tls { "-tls" } else { "" });
            let (tls, death, may_repeat, causes) = (*tls, *death, *may_repeat, *causes);
            let (server, proxy_port) = (port(), port());
            cases.push(FailureCase {
                name,
                kind,
                tls,
                death,
                may_repeat,
                causes,
                server,
                proxy_port,
            });
        }
    }
    cases
}

/// An address of this process alone: nothing else takes the place of a server that is down.
fn own_address() -> Ipv4Addr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

impl FailureCase {
    /// A server with a sink that notes what arrives, and the sink that is the client.
    fn settings(&self) -> String {
        let Self { name, kind, server, proxy_port, .. } = self;
        let here = own_address();
        let golden =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls");
        let store = |file: &str| golden.join(file).display().to_string();
        let mut lines = vec![
            format!("channels.near-{name}.type=memory"),
            format!("channels.far-{name}.type=memory"),
            format!("sources.r-{name}.type={kind}"),
            format!("sources.r-{name}.bind={here}"),
            format!("sources.r-{name}.port={server}"),
            format!("sources.r-{name}.channels=far-{name}"),
            format!("sinks.t-{name}.type=trial"),
            format!("sinks.t-{name}.log={name}"),
            format!("sinks.t-{name}.channel=far-{name}"),
            format!("sinks.{name}.type={kind}"),
            format!("sinks.{name}.channel=near-{name}"),
        ];
        if *kind == "http" {
            let scheme = if self.tls { "https" } else { "http" };
            lines.extend([
                format!("sources.r-{name}.handler=org.apache.flume.source.http.BLOBHandler"),
                format!("sinks.{name}.endpoint={scheme}://{here}:{proxy_port}/"),
                format!("sinks.{name}.connectTimeout=2500"),
                format!("sinks.{name}.requestTimeout=2500"),
            ]);
            for (table, value) in
                [("rollback", false), ("backoff", false), ("incrementMetrics", true)]
            {
                lines.push(format!("sinks.{name}.{table}.2XX={value}"));
            }
        } else {
            lines.extend([
                format!("sinks.{name}.hostname={here}"),
                format!("sinks.{name}.port={proxy_port}"),
                format!("sinks.{name}.connect-timeout=2500"),
                format!("sinks.{name}.request-timeout=2500"),
            ]);
        }
        if self.tls {
            lines.extend([
                format!("sources.r-{name}.ssl=true"),
                format!("sources.r-{name}.keystore={}", store("server.jks")),
                format!("sources.r-{name}.keystore-password=changeit"),
                format!("sinks.{name}.truststore={}", store("trust.jks")),
                format!("sinks.{name}.truststore-password=changeit"),
                // The certificate is for another address.
                format!("sinks.{name}.verify-hostname=false"),
            ]);
            if *kind != "http" {
                lines.push(format!("sinks.{name}.ssl=true"));
            }
        }
        lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "a.{line}");
            text
        })
    }

    /// Lets the server run, fail and run again.
    async fn run(&self, running: &LiveAgent, registry: &MetricsRegistry) {
        let name = &self.name;
        let (channel, counters) =
            (opened(running, &format!("near-{name}")).await, registry.sink(name));
        let at = |port| SocketAddr::from((own_address(), port));
        let gate = FaultyProxy::open(at(self.proxy_port), at(self.server)).await;
        put(&*channel, (0..3).map(|n| format!("{n}")));
        self.until("a server that is well", &counters, |c| c.event_drain_success.get() == 3).await;

        gate.fall(self.death);
        let zeroes =
            |n| if (self.death, n) == (ServerFailure::NotReading, 3) { LARGE_BYTES } else { 0 };
        put(&*channel, (3..6).map(|n| "0".repeat(zeroes(n)) + &n.to_string()));
        self.until("two tries", &counters, |c| c.rollback.get() >= 2).await;
        assert_eq!(counters.event_drain_success.get(), 3, "{name}: no more was acknowledged");
        assert_eq!(channel.status().events, 3, "{name}: the batch is back in its channel");

        gate.heal();
        self.until("a server that is well again", &counters, |c| c.event_drain_success.get() == 6)
            .await;
        self.until("an empty channel", &counters, |_| channel.status().events == 0).await;
        let far = opened(running, &format!("far-{name}")).await;
        self.until("nothing on the way", &counters, |_| far.status().events == 0).await;
        self.nothing_is_lost_or_repeated(&counters);
    }

    async fn until(
        &self,
        what: &str,
        counters: &SinkCounters,
        reached: impl Fn(&SinkCounters) -> bool,
    ) {
        until(&format!("{}: {what}; {counters:?}", self.name), || reached(counters)).await;
    }

    /// Returns the numbers that have arrived, in order of arrival.
    fn arrived(&self) -> Vec<u64> {
        let numbers = did(&self.name).into_iter();
        numbers.filter_map(|did| did[did.len() - 1..].parse().ok()).collect()
    }

    fn nothing_is_lost_or_repeated(&self, counters: &SinkCounters) {
        let name = &self.name;
        let mut arrived = self.arrived();
        let all = arrived.len();
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived, [0, 1, 2, 3, 4, 5], "{name}");
        if !self.may_repeat {
            assert_eq!(all, 6, "{name}: nothing was taken, so nothing comes twice");
        }
        let (created, closed) =
            (counters.connection_created.get(), counters.connection_closed.get());
        assert_eq!(created, closed + 1, "{name}: one connection is open");
        assert!(created >= 2, "{name}: a connection that failed is not used again");
        let dialled = matches!(self.death, ServerFailure::Refused | ServerFailure::SynDropped);
        assert!(!dialled || counters.connection_failed.get() >= 2, "{name}: {counters:?}");
    }

    /// Each cause is logged once, the end once.
    fn is_said_once(&self, log: &str) {
        let own = format!("sink=\"{}\"", self.name);
        let lines = || log.lines().filter(|line| line.contains(&own));
        let words: Vec<&str> = lines().collect();
        assert_eq!(
            lines().filter(|line| line.contains("recovered after")).count(),
            1,
            "{words:#?}"
        );
        let mut causes: Vec<&str> = lines()
            .filter_map(|line| line.split_once("does not deliver")?.1.split(" (attempt ").next())
            .map(|line| line.split(" sink=").next().unwrap_or(line))
            .collect();
        let said = causes.len();
        causes.sort_unstable();
        causes.dedup();
        assert!(said > 0 && said == causes.len(), "each cause once: {words:#?}");
        let is_known = |line: &&str| self.causes.iter().any(|cause| line.contains(cause));
        assert!(causes.iter().any(is_known), "none of {:?}: {words:#?}", self.causes);
    }
}

async fn opened(running: &LiveAgent, name: &str) -> Arc<dyn Channel> {
    let mut slot = running.channels[name].slot.clone();
    let open = timeout(TIMEOUT, slot.wait_for(Option::is_some)).await.unwrap().unwrap();
    Arc::clone(open.as_ref().unwrap())
}

/// Waits until all of them have ended.
async fn together(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut left: Vec<_> = futures.map(Box::pin).collect();
    poll_fn(|context| {
        left.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Puts them as one transaction.
fn put(channel: &dyn Channel, bodies: impl Iterator<Item = String>) {
    let mut put = channel.begin_put();
    bodies.for_each(|body| put.put(Event::new(body)).unwrap());
    put.commit().unwrap();
}

#[tokio::test]
async fn every_server_failure_returns_the_batch_for_later_delivery() {
    let cases = cases();
    let named = |word: &str, prefixes: &[&str]| {
        let names =
            cases.iter().flat_map(|case| prefixes.iter().map(|p| format!("{p}{}", case.name)));
        format!("a.{word} = {}\n", names.collect::<Vec<_>>().join(" "))
    };
    let mut text = named("sources", &["r-"]) + &named("channels", &["near-", "far-"]);
    text += &named("sinks", &["t-", ""]);
    cases.iter().for_each(|case| text += &case.settings());
    let built_in = ComponentTypes::built_in();
    let sinks: Vec<_> = built_in.sinks.iter().chain(TYPES.sinks).copied().collect();
    let types = ComponentTypes { sinks: Box::leak(sinks.into_boxed_slice()), ..built_in };
    let (plan, findings) = planned_with(&text, types);
    assert!(findings.is_empty(), "{findings:?}");
    let log = captured_log(async {
        let (running, registry) = start_plan(plan);
        timeout(TIMEOUT, running.all_started()).await.unwrap();
        together(cases.iter().map(|case| case.run(&running, &registry))).await;
        assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
    })
    .await;
    cases.iter().for_each(|case| case.is_said_once(&log));
}
