//! Who speaks to a source.

use crate::base::limits::CLIENTS_HEARD_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client of a source. Those that tell no names are known by their address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Where it connects from.
    pub address: IpAddr,
    /// The agent that it says it is, or nothing.
    pub agent: String,
    /// The sink of that agent, or nothing.
    pub sink: String,
    /// The first name of the certificate that it has shown and that was verified, or nothing.
    pub certificate: String,
}

impl Client {
    /// The client at `address`, which calls itself so.
    #[must_use]
    pub fn new(address: IpAddr, agent: &str, sink: &str) -> Self {
        // An address of version 4 on a socket of version 6 is the same client.
        let address = address.to_canonical();
        let (agent, sink) = (agent.to_owned(), sink.to_owned());
        Self { address, agent, sink, certificate: String::new() }
    }

    /// The same with a certificate that was verified.
    #[must_use]
    pub fn with_certificate(mut self, name: &str) -> Self {
        name.clone_into(&mut self.certificate);
        self
    }
}

/// The clients that a source has heard since somebody asked for them last, and those that are connected.
///
/// It holds [`CLIENTS_HEARD_MAX`] at most; more at once are overlooked.
#[derive(Debug, Default)]
pub struct Clients {
    known: Mutex<BTreeMap<Client, Arc<Presence>>>,
    unheard: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
}

#[derive(Debug, Default)]
struct Presence {
    /// Its connections.
    open: AtomicU64,
    /// Messages since somebody asked.
    messages: AtomicU64,
    /// Whether the events of a request are in a channel.
    accepted: AtomicBool,
}

/// One connection of a client that has been understood; dropped when that ends.
#[derive(Debug)]
pub struct Contact(Arc<Presence>);

/// A connection over which nothing has come; dropped when its client is known, or when it ends.
#[derive(Debug)]
pub struct UnheardConnection {
    address: IpAddr,
    all: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
}

/// A client that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub client: Client,
    /// Whether it is connected now.
    pub connected: bool,
    /// Whether it has sent something since the last question.
    pub spoke: bool,
    /// Whether events of it were accepted since it came.
    pub accepted: bool,
}

impl Clients {
    /// A connection from `address` was opened, and nothing has come over it. `None` beyond the limit.
    pub fn connected(&self, address: IpAddr) -> Option<UnheardConnection> {
        let (address, all) = (address.to_canonical(), Arc::clone(&self.unheard));
        let mut unheard = lock(&all);
        if unheard.len() >= CLIENTS_HEARD_MAX && !unheard.contains_key(&address) {
            return None;
        }
        *unheard.entry(address).or_default() += 1;
        drop(unheard);
        Some(UnheardConnection { address, all })
    }

    /// The addresses from which there are connections over which nothing has come.
    #[must_use]
    pub fn unheard(&self) -> BTreeSet<IpAddr> {
        lock(&self.unheard).keys().copied().collect()
    }

    /// A connection of `client` has sent its first message. `None` beyond the limit.
    pub fn meet(&self, client: Client) -> Option<Contact> {
        let mut known = lock(&self.known);
        if known.len() >= CLIENTS_HEARD_MAX && !known.contains_key(&client) {
            return None;
        }
        let presence = Arc::clone(known.entry(client).or_default());
        presence.open.fetch_add(1, Ordering::Relaxed);
        presence.messages.fetch_add(1, Ordering::Relaxed);
        Some(Contact(presence))
    }

    /// Who was heard since the last question, or is connected. It is for one asker: those who are gone
    /// are forgotten by being told.
    pub fn take_heard(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        lock(&self.known).retain(|client, presence| {
            let connected = presence.open.load(Ordering::Relaxed) > 0;
            let spoke = presence.messages.swap(0, Ordering::Relaxed) > 0;
            let accepted = presence.accepted.load(Ordering::Relaxed);
            if connected || spoke {
                heard.push(Heard { client: client.clone(), connected, spoke, accepted });
            }
            connected
        });
        heard
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Contact {
    /// It has sent a further message.
    pub fn message(&self) {
        self.0.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// The events of a request are in a channel.
    pub fn accepted(&self) {
        self.0.accepted.store(true, Ordering::Relaxed);
    }
}

impl Drop for UnheardConnection {
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

impl Drop for Contact {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(number: u32) -> Client {
        Client::new(Ipv4Addr::from(number).into(), "web", "k1")
    }

    #[test]
    fn a_client_is_heard_while_it_is_connected_and_once_more_when_it_spoke_before_it_went() {
        let clients = Clients::default();
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
        let mapped = Client::new("::ffff:10.0.0.1".parse().unwrap(), "", "");
        assert_eq!(mapped.address, IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn clients_beyond_the_limit_are_overlooked_until_others_go() {
        let clients = Clients::default();
        let most = u32::try_from(CLIENTS_HEARD_MAX).unwrap();
        let mut contacts: Vec<Contact> =
            (0..most).filter_map(|n| clients.meet(client(n))).collect();
        assert_eq!(contacts.len(), CLIENTS_HEARD_MAX);
        assert!(clients.meet(client(most)).is_none());
        assert!(clients.meet(client(0)).is_some(), "one that is known may have another connection");
        contacts.pop();
        assert_eq!(clients.take_heard().len(), CLIENTS_HEARD_MAX);
        assert!(clients.meet(client(most)).is_some());
    }

    #[test]
    fn a_connection_is_unheard_until_its_client_is_known_or_it_ends() {
        let clients = Clients::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let both = (clients.connected(address), clients.connected(address));
        assert_eq!(clients.unheard(), BTreeSet::from([address]));
        drop(both.0);
        assert_eq!(clients.unheard(), BTreeSet::from([address]));
        drop(both.1);
        assert_eq!(clients.unheard(), BTreeSet::new());
    }
}
