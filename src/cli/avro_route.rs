//! Which server gets a call of `avro-client`, and the connections to them.

use super::rpc_properties::{Choice, RpcProperties, Tongue};
use crate::base::clock::{Clock, SystemClock};
use crate::event::Event;
use crate::flow::processor::Processor;
use crate::net::dial::Layers;
use crate::net::tls::{Connector, TlsError};
use crate::sink::{avro::connection as avro, thrift::connection as thrift};
use crate::wire::avro::handshake::ClientName;
use crate::wire::thrift::Protocol;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error("{host}:{port}: {source}")]
    Send { host: String, port: u16, source: Box<SendError> },
    #[error("cannot begin: {0}")]
    Runtime(#[from] io::Error),
}

/// Why a server has not taken it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Avro(#[from] avro::SendError),
    #[error(transparent)]
    Thrift(#[from] thrift::SendError),
}

/// A connection to a server, by what it speaks.
enum Connection {
    Avro(avro::Connection),
    Thrift(thrift::Connection, Protocol),
}

impl Connection {
    async fn append(&mut self, events: &[Event], patience: Duration) -> Result<(), SendError> {
        match self {
            Self::Avro(open) => Ok(open.append(events, patience, None).await?),
            Self::Thrift(open, protocol) => Ok(open.append(*protocol, events, patience).await?),
        }
    }

    fn is_over(&mut self) -> bool {
        match self {
            Self::Avro(open) => open.is_over(),
            Self::Thrift(open, _) => open.is_over(),
        }
    }
}

/// The way to the servers.
pub(super) struct Route {
    target: RpcProperties,
    connector: Option<Connector>,
    order: Order,
    connections: Vec<Option<Connection>>,
    clock: SystemClock,
    runtime: Runtime,
}

/// The servers to try for a call.
enum Order {
    /// The one that the last call went to, then those behind it in a ring; so many in all.
    Ring {
        at: usize,
        attempts: usize,
    },
    Balance(Box<dyn Processor>),
}

impl Route {
    /// Connects, to the first server that can be reached: Flume's clients too ask before there is
    /// anything to send.
    ///
    /// # Errors
    /// None can be.
    pub(super) fn open(target: RpcProperties) -> Result<Self, RouteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = target.hosts.iter().map(|_| None).collect();
        let (clock, connector) = (SystemClock::new(), None);
        let order = match target.balance() {
            Some(processor) => Order::Balance(processor),
            None => {
                let attempts = match target.choice {
                    Choice::Failover { attempts } => attempts,
                    _ => 1,
                };
                Order::Ring { at: 0, attempts }
            }
        };
        let mut route = Self { target, connector, order, connections, clock, runtime };
        route.try_each(|_, _| Ok(()))?;
        Ok(route)
    }

    /// Sends `events` as one call and returns once a server has committed them.
    ///
    /// # Errors
    /// No server has, as far as is known: one that did and could not say so is tried for all that.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<(), RouteError> {
        let patience = self.target.patience.request;
        self.try_each(|runtime, open| runtime.block_on(open.append(events, patience)))
    }

    /// Until `act` ends well with one of the servers.
    fn try_each(
        &mut self,
        mut act: impl FnMut(&Runtime, &mut Connection) -> Result<(), SendError>,
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
            // What still comes on it could be the answer to another call.
            self.connections[at] = None;
            if let Order::Balance(processor) = &mut self.order {
                processor.failed(at, self.clock.now());
            }
            let (host, port) = self.target.hosts[at].clone();
            last = Some(RouteError::Send { host, port, source: Box::new(source) });
        }
        Err(last.expect("there is a server to try"))
    }

    /// The places of the servers to try, at least one.
    fn turns(&mut self) -> Vec<usize> {
        let count = self.target.hosts.len();
        match &mut self.order {
            Order::Ring { at, attempts } => (*at..*at + *attempts).map(|at| at % count).collect(),
            Order::Balance(processor) => {
                let order = processor.order(self.clock.now(), &|_| true);
                // Where all are left out for a while, waiting gains nothing.
                if order.is_empty() { (0..count).collect() } else { order }
            }
        }
    }

    fn delivered(&mut self, place: usize) {
        match &mut self.order {
            Order::Ring { at, .. } => *at = place,
            Order::Balance(processor) => processor.delivered(place),
        }
    }

    fn connected(&mut self, at: usize) -> Result<(), SendError> {
        if let (Some(tls), None) = (&self.target.tls, &self.connector) {
            self.connector = Some(tls.load()?);
        }
        if self.connections[at].as_mut().is_some_and(Connection::is_over) {
            self.connections[at] = None;
        }
        if self.connections[at].is_none() {
            let (host, port) = &self.target.hosts[at];
            let layers = Layers { tls: self.connector.as_ref(), zlib: self.target.zlib };
            let patience = self.target.patience;
            let opening = async {
                Ok::<_, SendError>(match self.target.tongue {
                    Tongue::Avro => {
                        let open = avro::Connection::open(
                            host,
                            *port,
                            layers,
                            patience,
                            ClientName::default(),
                        );
                        Connection::Avro(open.await?)
                    }
                    Tongue::Thrift(protocol) => {
                        let open = thrift::Connection::open(host, *port, layers, patience.connect);
                        Connection::Thrift(open.await?, protocol)
                    }
                })
            };
            self.connections[at] = Some(self.runtime.block_on(opening)?);
        }
        Ok(())
    }
}
