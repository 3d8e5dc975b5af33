//! Selects the server for each call of `avro-client`, and holds the connections.

use super::rpc_properties::{ClientProtocol, RpcProperties, ServerSelection};
use millpond::{Clock, Event, SystemClock};
use millpond_adapters::sink::rpc::connection::{RpcCodec, RpcConnection, RpcError};
use millpond_adapters::sink::thrift::ThriftCalls;
use millpond_adapters::wire::avro::exchange::AvroExchange;
use millpond_flow::net::connect::Layers;
use millpond_flow::net::tls::Connector;
use millpond_flow::processor::Processor;
use std::io;
use tokio::runtime::Runtime;

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error("{host}:{port}: {source}")]
    Send { host: String, port: u16, source: Box<RpcError> },
    #[error("cannot begin: {0}")]
    Runtime(#[from] io::Error),
}

/// The route to the servers.
pub(super) struct ServerRoute {
    target: RpcProperties,
    connector: Option<Connector>,
    order: ServerOrder,
    connections: Vec<Option<RpcConnection>>,
    clock: SystemClock,
    runtime: Runtime,
}

/// The order of servers to try for a call.
enum ServerOrder {
    /// The server of the last call, then those after it in a ring; this many in all.
    Ring {
        at: usize,
        attempts: usize,
    },
    Balance(Box<dyn Processor>),
}

impl ServerRoute {
    /// Connects to the first server that can be reached: like Flume's clients, before there is
    /// anything to send.
    ///
    /// # Errors
    /// No server can be reached.
    pub(super) fn open(target: RpcProperties) -> Result<Self, RouteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = target.hosts.iter().map(|_| None).collect();
        let (clock, connector) = (SystemClock::new(), None);
        let order = match target.balance() {
            Some(processor) => ServerOrder::Balance(processor),
            None => {
                let attempts = match target.choice {
                    ServerSelection::Failover { attempts } => attempts,
                    _ => 1,
                };
                ServerOrder::Ring { at: 0, attempts }
            }
        };
        let mut route = Self { target, connector, order, connections, clock, runtime };
        route.try_each(|_, _| Ok(()))?;
        Ok(route)
    }

    /// Sends `events` as one call and returns once a server has committed them.
    ///
    /// # Errors
    /// No server is known to have committed them: a server that did and could not reply is followed
    /// by another attempt all the same.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<(), RouteError> {
        let time_limit = self.target.timeouts.request;
        self.try_each(|runtime, open| runtime.block_on(open.append(events, time_limit, None)))
    }

    /// Calls `act` with one server after the other until it succeeds.
    fn try_each(
        &mut self,
        mut act: impl FnMut(&Runtime, &mut RpcConnection) -> Result<(), RpcError>,
    ) -> Result<(), RouteError> {
        let mut last = None;
        for at in self.turns() {
            let ended = self.connected(at).and_then(|()| {
                let open = self.connections[at].as_mut().expect("it was opened above");
                act(&self.runtime, open)
            });
            let Err(source) = ended else {
                self.delivered(at);
                return Ok(());
            };
            // A late reply on it could be taken for that of another call.
            self.connections[at] = None;
            if let ServerOrder::Balance(processor) = &mut self.order {
                processor.failed(at, self.clock.now());
            }
            let (host, port) = self.target.hosts[at].clone();
            last = Some(RouteError::Send { host, port, source: Box::new(source) });
        }
        Err(last.expect("there is a server to try"))
    }

    /// Returns the indices of the servers to try, at least one.
    fn turns(&mut self) -> Vec<usize> {
        let count = self.target.hosts.len();
        match &mut self.order {
            ServerOrder::Ring { at, attempts } => {
                (*at..*at + *attempts).map(|at| at % count).collect()
            }
            ServerOrder::Balance(processor) => {
                let order = processor.order(self.clock.now(), &|_| true);
                // If all are in their backoff, waiting gains nothing.
                if order.is_empty() { (0..count).collect() } else { order }
            }
        }
    }

    fn delivered(&mut self, place: usize) {
        match &mut self.order {
            ServerOrder::Ring { at, .. } => *at = place,
            ServerOrder::Balance(processor) => processor.delivered(place),
        }
    }

    fn connected(&mut self, at: usize) -> Result<(), RpcError> {
        if let (Some(tls), None) = (&self.target.tls, &self.connector) {
            self.connector = Some(tls.load()?);
        }
        if self.connections[at].as_mut().is_some_and(RpcConnection::is_over) {
            self.connections[at] = None;
        }
        if self.connections[at].is_none() {
            let (host, port) = &self.target.hosts[at];
            let layers = Layers { tls: self.connector.as_ref(), zlib: self.target.zlib };
            let time_limit = self.target.timeouts;
            let codec: Box<dyn RpcCodec> = match self.target.rpc_protocol {
                ClientProtocol::Avro => Box::new(AvroExchange::new()),
                ClientProtocol::Thrift(protocol) => Box::new(ThriftCalls::new(protocol)),
            };
            let opening = RpcConnection::open(host, *port, layers, time_limit.connect, codec);
            self.connections[at] = Some(self.runtime.block_on(opening)?);
        }
        Ok(())
    }
}
