//! The clients of a source.

use crate::base::limits::CLIENTS_HEARD_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Identity of a client of a source: its address, and the names that it gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    /// Address that it connects from.
    pub address: IpAddr,
    /// Agent name that the client states; may be empty.
    pub agent: String,
    /// Name of the sink of that agent; may be empty.
    pub sink: String,
    /// First name of its verified client certificate; may be empty.
    pub certificate: String,
}

impl ClientId {
    /// Returns the identity of a client at `address` with the names that it states.
    #[must_use]
    pub fn new(address: IpAddr, agent: &str, sink: &str) -> Self {
        // An IPv4 address mapped to IPv6 is the same client.
        let address = address.to_canonical();
        let (agent, sink) = (agent.to_owned(), sink.to_owned());
        Self { address, agent, sink, certificate: String::new() }
    }

    /// Adds the first name of its verified certificate.
    #[must_use]
    pub fn with_certificate(mut self, name: &str) -> Self {
        name.clone_into(&mut self.certificate);
        self
    }
}

/// Clients seen by a source since the last [`take_heard`](Self::take_heard), and those that are connected.
///
/// Holds at most [`CLIENTS_HEARD_MAX`] clients; further ones are not recorded.
#[derive(Debug, Default)]
pub struct SourceClients {
    known: Mutex<BTreeMap<ClientId, Arc<ClientPresence>>>,
    unheard: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
}

#[derive(Debug, Default)]
struct ClientPresence {
    /// Open connections.
    open: AtomicU64,
    /// Messages since the last `take_heard`.
    messages: AtomicU64,
    /// True once the events of a request are in a channel.
    accepted: AtomicBool,
}

/// A connection of an identified client; counted until it is dropped.
#[derive(Debug)]
pub struct ClientConnection(Arc<ClientPresence>);

/// A connection over which nothing was received yet; dropped when its client is identified or it ends.
#[derive(Debug)]
pub struct SilentConnection {
    address: IpAddr,
    all: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
}

/// A client that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenClient {
    /// Its identity.
    pub client: ClientId,
    /// True while it is connected.
    pub connected: bool,
    /// True if it has sent a message since the last `take_heard`.
    pub spoke: bool,
    /// True if events of it were accepted since it was first seen.
    pub accepted: bool,
}

impl SourceClients {
    /// Records a new connection from `address` over which nothing was received yet. `None` beyond the limit.
    pub fn connected(&self, address: IpAddr) -> Option<SilentConnection> {
        let (address, all) = (address.to_canonical(), Arc::clone(&self.unheard));
        let mut unheard = lock(&all);
        if unheard.len() >= CLIENTS_HEARD_MAX && !unheard.contains_key(&address) {
            return None;
        }
        *unheard.entry(address).or_default() += 1;
        drop(unheard);
        Some(SilentConnection { address, all })
    }

    /// Returns the addresses of connections over which nothing was received yet.
    #[must_use]
    pub fn unheard(&self) -> BTreeSet<IpAddr> {
        lock(&self.unheard).keys().copied().collect()
    }

    /// Records the first message on a connection of `client`. `None` beyond the limit.
    pub fn meet(&self, client: ClientId) -> Option<ClientConnection> {
        let mut known = lock(&self.known);
        if known.len() >= CLIENTS_HEARD_MAX && !known.contains_key(&client) {
            return None;
        }
        let presence = Arc::clone(known.entry(client).or_default());
        presence.open.fetch_add(1, Ordering::Relaxed);
        presence.messages.fetch_add(1, Ordering::Relaxed);
        Some(ClientConnection(presence))
    }

    /// Returns the clients seen since the last call and those that are connected. Supports one caller only:
    /// clients that have disconnected are removed by the call.
    pub fn take_heard(&self) -> Vec<SeenClient> {
        let mut heard = Vec::new();
        lock(&self.known).retain(|client, presence| {
            let connected = presence.open.load(Ordering::Relaxed) > 0;
            let spoke = presence.messages.swap(0, Ordering::Relaxed) > 0;
            let accepted = presence.accepted.load(Ordering::Relaxed);
            if connected || spoke {
                heard.push(SeenClient { client: client.clone(), connected, spoke, accepted });
            }
            connected
        });
        heard
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No operation can panic halfway while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientConnection {
    /// Records a further message.
    pub fn message(&self) {
        self.0.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the events of a request are in a channel.
    pub fn accepted(&self) {
        self.0.accepted.store(true, Ordering::Relaxed);
    }
}

impl Drop for SilentConnection {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(open) = all.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.address);
            }
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(number: u32) -> ClientId {
        ClientId::new(Ipv4Addr::from(number).into(), "web", "k1")
    }

    #[test]
    fn a_client_is_reported_while_connected_and_once_after_its_last_message() {
        let clients = SourceClients::default();
        let told = || -> Vec<(bool, bool)> {
            clients.take_heard().iter().map(|heard| (heard.connected, heard.spoke)).collect()
        };
        assert_eq!(told(), []);
        let (one, other) = (clients.meet(client(1)).unwrap(), clients.meet(client(1)).unwrap());
        assert_eq!(told(), [(true, true)]);
        assert_eq!(told(), [(true, false)]);
        drop(one);
        other.message();
        assert_eq!(told(), [(true, true)]);
        other.message();
        drop(other);
        assert_eq!(told(), [(false, true)]);
        assert_eq!(told(), []);
        let mapped = ClientId::new("::ffff:10.0.0.1".parse().unwrap(), "", "");
        assert_eq!(mapped.address, IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn clients_beyond_the_limit_are_not_recorded_until_others_leave() {
        let clients = SourceClients::default();
        let most = u32::try_from(CLIENTS_HEARD_MAX).unwrap();
        let mut contacts: Vec<ClientConnection> =
            (0..most).filter_map(|n| clients.meet(client(n))).collect();
        assert_eq!(contacts.len(), CLIENTS_HEARD_MAX);
        assert!(clients.meet(client(most)).is_none());
        assert!(clients.meet(client(0)).is_some(), "a known client may open another connection");
        contacts.pop();
        assert_eq!(clients.take_heard().len(), CLIENTS_HEARD_MAX);
        assert!(clients.meet(client(most)).is_some());
    }

    #[test]
    fn a_connection_is_unheard_until_its_client_is_known_or_it_ends() {
        let clients = SourceClients::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let both = (clients.connected(address), clients.connected(address));
        assert_eq!(clients.unheard(), BTreeSet::from([address]));
        drop(both.0);
        assert_eq!(clients.unheard(), BTreeSet::from([address]));
        drop(both.1);
        assert_eq!(clients.unheard(), BTreeSet::new());
    }
}
