//! The sink: batches of events as puts and increments.

use super::gateway::{Gateway, GatewayError, LARGE_CALL_BYTES, is_missing_family};
use super::retry_memory::{PendingEvent, RetryMemory};
use super::serializer::{CounterIncrement, HbaseSerializer, UnwritableEvent};
use crate::sink::rpc::try_stores;
use crate::wire::thrift::hbase::{
    HbaseException, HbaseIncrement, HbasePut, HbaseTarget, put_increment, put_put_multiple,
};
use bytes::Bytes;
use millpond::{BoxFuture, Event};
use millpond_flow::failure_log::FailureLog;
use millpond_flow::metrics::DropReason;
use millpond_flow::sink::{Failure, Sink, SinkContext};
use std::collections::BTreeMap;

/// Thrift's number of an exception of a server that does not have the method.
const UNKNOWN_METHOD: i32 = 1;

pub(super) struct HbaseSink {
    pub(super) table: Bytes,
    pub(super) family: Bytes,
    pub(super) wal: bool,
    pub(super) coalesces: bool,
    pub(super) batch_events: usize,
    pub(super) serializer: Box<dyn HbaseSerializer>,
    pub(super) gateway: Gateway,
    pub(super) memory: RetryMemory,
    /// Throttles the log of events that match no pattern.
    pub(super) unmatched: FailureLog,
}

/// What a batch writes.
#[derive(Default)]
struct BatchMutations {
    puts: Vec<HbasePut>,
    /// The increments that HBase has not acknowledged, with the index of their events.
    increments: Vec<(usize, CounterIncrement)>,
    /// Events that write nothing because their body does not match.
    unmatched: u64,
}

impl HbaseSink {
    async fn deliver_all(&mut self, context: &SinkContext, batch: &[Event]) -> Result<(), Failure> {
        let pending = self.memory.recall(batch);
        let mutations = mutations(&mut *self.serializer, context, batch, pending)?;
        let target = HbaseTarget { table: &self.table, family: &self.family, wal: self.wal };
        let connected = self.gateway.connected(context, target).await;
        let names = TargetNames { table: &self.table, family: &self.family };
        connected.map_err(|error| names.failure(error, 0))?;
        for call in pieces(&mutations.puts, &self.family) {
            let bytes = call.iter().map(|put| put.wire_bytes(&self.family)).sum();
            let write = |out: &mut Vec<u8>, protocol, number| {
                put_put_multiple(out, protocol, number, target, &call);
            };
            let done = self.gateway.exchange(context, write).await;
            done.map_err(|error| names.failure(error, bytes))?;
        }
        // After all puts, as in Flume: a failed put is repeated, a repeated increment would count twice.
        for (events, increment) in increments(mutations.increments, self.coalesces) {
            let write = |out: &mut Vec<u8>, protocol, number| {
                put_increment(out, protocol, number, target, &increment);
            };
            let done = self.gateway.exchange(context, write).await;
            done.map_err(|error| names.failure(error, 0))?;
            events.into_iter().for_each(|at| pending[at].is_counted = true);
        }
        self.memory.delivered(batch.len());
        self.note_unmatched(context, mutations.unmatched);
        Ok(())
    }

    fn note_unmatched(&self, context: &SinkContext, events: u64) {
        if events == 0 {
            return;
        }
        context.counters.drops.add(DropReason::Unmatched, events);
        let cause = "events whose body does not match serializer.regex are dropped, as in Flume; deadLetter.directory or deadLetter.channel keeps them";
        if let Some(words) = self.unmatched.failed(context.clock.now(), cause) {
            tracing::warn!(sink = context.name, "{words}");
        }
    }

    async fn connected(&mut self, context: &SinkContext) -> Result<(), Failure> {
        let target = HbaseTarget { table: &self.table, family: &self.family, wal: self.wal };
        let connected = self.gateway.connected(context, target).await;
        let names = TargetNames { table: &self.table, family: &self.family };
        connected.map_err(|error| names.failure(error, 0))
    }
}

/// Returns what `batch` writes.
fn mutations(
    serializer: &mut dyn HbaseSerializer,
    context: &SinkContext,
    batch: &[Event],
    pending: &mut [PendingEvent],
) -> Result<BatchMutations, Failure> {
    let mut all = BatchMutations::default();
    for (at, (event, pending)) in batch.iter().zip(pending).enumerate() {
        match serializer.mutations(event, &mut pending.row, &*context.clock) {
            Ok(one) => {
                all.puts.extend(one.put);
                let increment = one.increment.filter(|_| !pending.is_counted);
                all.increments.extend(increment.map(|increment| (at, increment)));
            }
            Err(UnwritableEvent::Unmatched) if !context.gives_up => all.unmatched += 1,
            Err(error) => {
                return Err(Failure::caused("an event cannot be written", error).refused_for_ever());
            }
        }
    }
    Ok(all)
}

/// Splits the puts into calls of at most [`LARGE_CALL_BYTES`], or of one put.
fn pieces<'p>(puts: &'p [HbasePut], family: &[u8]) -> Vec<Vec<&'p HbasePut>> {
    let (mut calls, mut bytes): (Vec<Vec<&HbasePut>>, _) = (Vec::new(), 0);
    for put in puts {
        let len = put.wire_bytes(family);
        match calls.last_mut() {
            Some(call) if bytes + len <= LARGE_CALL_BYTES => {
                call.push(put);
                bytes += len;
            }
            _ => {
                calls.push(vec![put]);
                bytes = len;
            }
        }
    }
    calls
}

/// Returns the increments to send, each with the indices of its events: one for each event, or with `coalesces` one
/// for each row with the sums of its counters.
fn increments(
    single: Vec<(usize, CounterIncrement)>,
    coalesces: bool,
) -> Vec<(Vec<usize>, HbaseIncrement)> {
    if !coalesces {
        let one = |(at, increment): (usize, CounterIncrement)| {
            let columns = vec![(increment.column, increment.amount)];
            (vec![at], HbaseIncrement { row: increment.row, columns })
        };
        return single.into_iter().map(one).collect();
    }
    let mut rows: BTreeMap<Bytes, (Vec<usize>, BTreeMap<Bytes, i64>)> = BTreeMap::new();
    for (at, increment) in single {
        let (events, columns) = rows.entry(increment.row).or_default();
        events.push(at);
        let sum = columns.entry(increment.column).or_default();
        *sum = sum.saturating_add(increment.amount);
    }
    let one = |(row, (events, columns)): (Bytes, (Vec<usize>, BTreeMap<Bytes, i64>))| {
        (events, HbaseIncrement { row, columns: columns.into_iter().collect() })
    };
    rows.into_iter().map(one).collect()
}

/// The names of the table and its column family, for messages.
#[derive(Clone, Copy)]
struct TargetNames<'a> {
    table: &'a [u8],
    family: &'a [u8],
}

impl TargetNames<'_> {
    /// Returns the failure of a call with `bytes` of puts. It is a refusal if HBase works and will never take them.
    fn failure(self, error: GatewayError, bytes: usize) -> Failure {
        let (table, family) =
            (String::from_utf8_lossy(self.table), String::from_utf8_lossy(self.family));
        let what = format!("cannot write to the table {table}");
        let is_large = bytes > LARGE_CALL_BYTES;
        match &error {
            GatewayError::Exception(_, exception) if is_missing_family(exception) => {
                let todo = format!(
                    "{what}: it has no column family {family}; add it (alter '{table}', '{family}' in the HBase shell), or correct columnFamily"
                );
                Failure::new(todo).refused()
            }
            GatewayError::Exception(_, HbaseException::Io(message)) => {
                if is_missing_table(message, &table) {
                    let todo = format!(
                        "{what}: it does not exist; create it (create '{table}', '{family}' in the HBase shell), or correct table"
                    );
                    return Failure::new(todo);
                }
                // The limit of a cell. A counter's cell may be made a number meanwhile.
                let is_too_large = message.contains("exceeds limit of");
                let is_no_counter = message.contains("Field is not a long");
                let failure = Failure::caused(what, error);
                match (is_too_large, is_no_counter) {
                    (true, _) => failure.refused_for_ever(),
                    (false, true) => failure.refused(),
                    (false, false) => failure,
                }
            }
            GatewayError::Exception(_, HbaseException::Protocol { code: UNKNOWN_METHOD, .. }) => {
                let what = format!(
                    "{what}: the gateway has other calls; start HBase's Thrift2 gateway (hbase thrift2 start), not the older thrift"
                );
                Failure::caused(what, error)
            }
            // An event of its own call that the gateway does not take, however often it is sent.
            GatewayError::Exception(_, HbaseException::Protocol { .. })
            | GatewayError::Closed(_)
            | GatewayError::Broken(..)
                if is_large =>
            {
                let what = format!(
                    "{what}: an event of {bytes} bytes; a gateway takes 2 MiB unless hbase.regionserver.thrift.framed.max_frame_size_in_mb says more, and a cell 10 MiB unless hbase.client.keyvalue.maxsize does"
                );
                Failure::caused(what, error).refused()
            }
            _ => Failure::caused(what, error),
        }
    }
}

/// Returns true if the message of an exception says that the table does not exist. HBase 2 says no more than its
/// name: alone where it was read, `Failed 2 actions: NAME: 2 times, …` where it was written.
fn is_missing_table(message: &str, table: &str) -> bool {
    let written = message.strip_prefix("Failed ").and_then(|rest| rest.split_once(": "));
    message == table
        || message.contains("TableNotFoundException")
        || written
            .is_some_and(|(_, rest)| rest.strip_prefix(table).is_some_and(|r| r.starts_with(": ")))
}

impl Sink for HbaseSink {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(try_stores(self.gateway.settings.tls.as_ref()))
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn is_ready(&mut self) -> bool {
        self.gateway.is_ready()
    }

    fn connect<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.connected(context))
    }

    /// An absent gateway or table does not prevent the start: the first delivery looks for them again.
    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if let Err(error) = self.connected(context).await {
                tracing::warn!(sink = context.name, "{error}");
            }
            Ok(())
        })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.deliver_all(context, batch))
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.gateway.hang_up(context);
        Box::pin(async { Ok(()) })
    }
}
