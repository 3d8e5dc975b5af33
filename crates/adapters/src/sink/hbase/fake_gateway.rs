//! A Thrift2 gateway for tests: tables in memory, the messages of HBase 2.5, and faults by a script.

use crate::wire::thrift::hbase::message_bytes;
use crate::wire::thrift::hbase_decode::{HbaseCall, call, exception, reply};
use crate::wire::thrift::{ThriftProtocol, frame};
use bytes::BytesMut;
use millpond::internal::base::threads;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the gateway does with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayAction {
    /// What HBase does.
    Works,
    /// Nothing: no reply.
    Silent,
    /// Closes the connection, without doing it.
    HangsUp,
    /// Does it and closes the connection.
    WorksAndHangsUp,
    /// A part of a reply, then the end of the connection.
    Half,
    /// A reply to another call.
    OtherSequence,
    /// These bytes, and nothing more.
    Bytes(Vec<u8>),
    /// `TIOError` with this message.
    IoError(&'static str),
    /// Thrift's exception with this number.
    Exception(i32),
}

/// The tables, and what was called.
#[derive(Debug, Default)]
pub struct FakeTables {
    /// Tables with their column families.
    pub tables: BTreeMap<String, BTreeSet<String>>,
    /// Values by row and column.
    pub cells: BTreeMap<(String, String), Vec<u8>>,
    /// Counters by row and column.
    pub counters: BTreeMap<(String, String), i64>,
    /// The calls, without `exists`.
    pub calls: Vec<HbaseCall>,
    /// Connections so far.
    pub connections: usize,
    /// What happens with the next calls, `exists` not counted; after them everything works.
    pub script: VecDeque<GatewayAction>,
}

/// A running gateway; it serves until the process ends.
#[derive(Clone, Debug)]
pub struct FakeGateway {
    /// Its port on 127.0.0.1.
    pub port: u16,
    tables: Arc<Mutex<FakeTables>>,
}

impl FakeGateway {
    /// Starts a gateway with the table `t` and its column family `f`, on `port` or, for 0, on any.
    ///
    /// # Panics
    /// There is no such port.
    #[must_use]
    pub fn start(port: u16, protocol: ThriftProtocol, framed: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut tables = FakeTables::default();
        tables.tables.entry("t".to_owned()).or_default().insert("f".to_owned());
        let gateway = Self { port, tables: Arc::new(Mutex::new(tables)) };
        let known = gateway.clone();
        let listen = move || {
            for stream in listener.incoming().flatten() {
                let known = known.clone();
                known.tables().connections += 1;
                let serve = move || known.serve(stream, protocol, framed);
                threads::spawn("gateway", serve).expect("a thread");
            }
        };
        threads::spawn("gateways", listen).expect("a thread");
        gateway
    }

    /// Returns the tables.
    pub fn tables(&self) -> MutexGuard<'_, FakeTables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what happens with the next calls.
    pub fn script(&self, actions: &[GatewayAction]) {
        self.tables().script = actions.iter().cloned().collect();
    }

    fn serve(&self, mut stream: TcpStream, protocol: ThriftProtocol, framed: bool) -> Option<()> {
        let mut input = BytesMut::new();
        loop {
            let message = loop {
                let next = if framed {
                    frame::next(&mut input, 2 << 20).ok()?.map(BytesMut::from)
                } else {
                    message_bytes(protocol, &input).ok()?.map(|len| input.split_to(len))
                };
                if let Some(message) = next {
                    break message;
                }
                let mut piece = [0; 64 * 1024];
                match stream.read(&mut piece).ok()? {
                    0 => return None,
                    len => input.extend_from_slice(&piece[..len]),
                }
            };
            let (number, call) = call(protocol, &message).ok()?;
            let action = self.action(&call);
            let done = |error: Option<String>, number| {
                framed_as(framed, reply(protocol, number, error.as_deref()))
            };
            let out = match action {
                GatewayAction::Works => done(self.tables().apply(call), number),
                GatewayAction::Silent => continue,
                GatewayAction::HangsUp => return None,
                GatewayAction::WorksAndHangsUp => {
                    self.tables().apply(call);
                    return None;
                }
                GatewayAction::Half => {
                    stream.write_all(&done(None, number)[..9]).ok()?;
                    return None;
                }
                GatewayAction::OtherSequence => done(None, number + 1),
                GatewayAction::Bytes(bytes) => bytes,
                GatewayAction::IoError(message) => done(Some(message.to_owned()), number),
                GatewayAction::Exception(code) => {
                    framed_as(framed, exception(protocol, number, code))
                }
            };
            stream.write_all(&out).ok()?;
        }
    }

    fn action(&self, call: &HbaseCall) -> GatewayAction {
        let mut tables = self.tables();
        if matches!(call, HbaseCall::Exists(..)) {
            return GatewayAction::Works;
        }
        tables.calls.push(call.clone());
        tables.script.pop_front().unwrap_or(GatewayAction::Works)
    }
}

fn framed_as(framed: bool, message: Vec<u8>) -> Vec<u8> {
    if !framed {
        return message;
    }
    let mut out = frame::begin();
    out.extend_from_slice(&message);
    frame::finish(&mut out);
    out
}

impl FakeTables {
    /// Does a call; returns HBase's message if it does not. Rows before a failed one are written.
    fn apply(&mut self, call: HbaseCall) -> Option<String> {
        let no_family = |family: &str| {
            format!(
                "Failed 1 action: org.apache.hadoop.hbase.regionserver.NoSuchColumnFamilyException: Column family {family} does not exist in region\n\tat java"
            )
        };
        match call {
            HbaseCall::Exists(table, family) => match self.tables.get(&table) {
                None => Some(table),
                Some(known) => (!known.contains(&family)).then(|| no_family(&family)),
            },
            HbaseCall::Puts(table, rows) => {
                let Some(known) = self.tables.get(&table) else {
                    return Some(format!(
                        "Failed {} actions: {table}: 1 time, servers with issues: null",
                        rows.len()
                    ));
                };
                for (row, cells, _) in rows {
                    for (family, name, value) in cells {
                        if !known.contains(&family) {
                            return Some(no_family(&family));
                        }
                        if value.len() > 1_000_000 {
                            return Some(format!(
                                "org.apache.hadoop.hbase.DoNotRetryIOException: Cell[{row}] with size {} exceeds limit of 1000000 bytes",
                                value.len()
                            ));
                        }
                        self.cells.insert((row.clone(), name), value);
                    }
                }
                None
            }
            HbaseCall::Increment(table, row, cells, _) => {
                self.tables.get(&table)?;
                for (_, name, amount) in cells {
                    *self.counters.entry((row.clone(), name)).or_default() += amount;
                }
                None
            }
        }
    }
}
