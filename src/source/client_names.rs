//! Names of clients by DNS, looked up where nothing else waits for a resolver.
//!
//! Limits: [`NAME_LOOKUPS_MAX`] look-ups at once in the whole process, [`NAME_LOOKUP_SECONDS_MAX`] that a caller
//! waits, [`NAMES_KNOWN_MAX`] addresses whose names are kept for [`NAME_KEPT_SECONDS`].
//!
//! The name of an address is what its reverse zone says, provided that this name resolves to the address again:
//! whoever has an address can write any name into its reverse zone. Otherwise the name is the address itself as
//! text. Java's `InetAddress.getHostName`, and so Flume, does both the same way.
//!
//! A resolver that hangs keeps the thread of its look-up and one of the permits, and nothing else: connections from
//! an address whose name is being looked up wait for that one look-up.

use crate::base::limits::{
    NAME_KEPT_SECONDS, NAME_LOOKUP_SECONDS_MAX, NAME_LOOKUPS_MAX, NAMES_KNOWN_MAX,
};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

type NameOf = dyn Fn(IpAddr) -> io::Result<String> + Send + Sync;
type AddressesOf = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Where names come from; both block.
struct Resolver {
    name_of: Box<NameOf>,
    addresses_of: Box<AddressesOf>,
}

impl Resolver {
    /// DNS and what else the system asks.
    fn system() -> Self {
        Self {
            name_of: Box::new(|address| dns_lookup::lookup_addr(&address).map_err(|e| failed(&e))),
            addresses_of: Box::new(|name| {
                Ok(dns_lookup::lookup_host(name).map_err(|e| failed(&e))?.collect())
            }),
        }
    }

    /// Returns the name of `address`, or the address as text where it has none that leads back.
    ///
    /// # Errors
    /// The resolver failed: nobody knows whether there is a name.
    fn confirmed_name(&self, address: IpAddr) -> io::Result<String> {
        let none = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let name = match (self.name_of)(address) {
            Ok(name) => name,
            Err(error) if none(&error) => return Ok(address.to_string()),
            Err(error) => return Err(error),
        };
        match (self.addresses_of)(&name) {
            Ok(found) if found.iter().any(|found| found.to_canonical() == address) => Ok(name),
            Err(error) if !none(&error) => Err(error),
            _ => Ok(address.to_string()),
        }
    }
}

/// A look-up that found nothing is told from one that failed.
fn failed(error: &dns_lookup::LookupError) -> io::Error {
    use dns_lookup::LookupErrorKind::{NoData, NoName};
    match error.kind() {
        NoName | NoData => io::ErrorKind::NotFound.into(),
        kind => io::Error::other(format!("{kind:?}")),
    }
}

const PATIENCE: Duration = Duration::from_secs(NAME_LOOKUP_SECONDS_MAX);

/// The look-ups of the process.
static OF_PROCESS: LazyLock<Arc<ClientNames>> =
    LazyLock::new(|| Arc::new(ClientNames::by(Resolver::system(), PATIENCE)));

type Name = Option<Arc<str>>;

/// Names that were looked up or are being looked up.
pub(crate) struct ClientNames {
    resolver: Arc<Resolver>,
    patience: Duration,
    lookups: Arc<Semaphore>,
    known: Mutex<HashMap<IpAddr, Lookup>>,
}

/// One look-up, which may have ended.
#[derive(Debug)]
struct Lookup {
    name: watch::Receiver<Name>,
    begun: Instant,
}

impl ClientNames {
    /// The look-ups that all sources share.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    fn by(resolver: Resolver, patience: Duration) -> Self {
        let lookups = Arc::new(Semaphore::new(NAME_LOOKUPS_MAX));
        Self { resolver: Arc::new(resolver), patience, lookups, known: Mutex::default() }
    }

    /// Looks up the name of `address`; `None` when it is not there within [`NAME_LOOKUP_SECONDS_MAX`].
    pub(crate) async fn name_of(&self, address: IpAddr) -> Name {
        let name = async {
            let mut lookup = match self.begun(address) {
                Some(lookup) => lookup,
                None => {
                    let permit = Arc::clone(&self.lookups).acquire_owned().await.ok()?;
                    self.begin(address, permit)
                }
            };
            lookup.wait_for(Option::is_some).await.ok()?.clone()
        };
        timeout(self.patience, name).await.ok().flatten()
    }

    /// The look-up of `address`, if one is under way or not long over.
    fn begun(&self, address: IpAddr) -> Option<watch::Receiver<Name>> {
        let known = self.known();
        known.get(&address).filter(|lookup| lookup.is_of_use()).map(|lookup| lookup.name.clone())
    }

    fn begin(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> watch::Receiver<Name> {
        let mut known = self.known();
        // Another connection may have begun while this one waited for its permit.
        if let Some(lookup) = known.get(&address).filter(|lookup| lookup.is_of_use()) {
            return lookup.name.clone();
        }
        if known.len() >= NAMES_KNOWN_MAX {
            known.retain(|_, lookup| lookup.is_of_use());
        }
        if known.len() >= NAMES_KNOWN_MAX {
            known.retain(|_, lookup| !lookup.has_ended());
        }
        let (ended, name) = watch::channel(None);
        known.insert(address, Lookup { name: name.clone(), begun: Instant::now() });
        let resolver = Arc::clone(&self.resolver);
        tokio::task::spawn_blocking(move || {
            // One that failed is late for all who wait, and is tried again for the next client.
            if let Ok(name) = resolver.confirmed_name(address) {
                ended.send_replace(Some(name.into()));
            }
            drop(permit);
        });
        name
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Lookup>> {
        // Nothing under the lock can be left half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    fn has_ended(&self) -> bool {
        self.name.borrow().is_some() || self.name.has_changed().is_err()
    }

    /// Whether it is still under way, or its name is not too old.
    fn is_of_use(&self) -> bool {
        let is_recent = self.begun.elapsed() < Duration::from_secs(NAME_KEPT_SECONDS);
        if self.name.borrow().is_some() { is_recent } else { self.name.has_changed().is_ok() }
    }
}

/// The name of `address` as the system knows it, or the address as text. Blocks, for as long as the resolver takes.
pub(crate) fn blocking_name_of(address: IpAddr) -> String {
    Resolver::system().confirmed_name(address).unwrap_or_else(|_| address.to_string())
}

impl fmt::Debug for ClientNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientNames").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    const fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    /// Look-ups without a network, for which nobody waits long: 192.0.2.1 is web1.example, 192.0.2.2 says so too,
    /// 192.0.2.3 has no name, and of 192.0.2.9 and higher none ends before the flag is set.
    pub(crate) fn in_zone() -> (Arc<ClientNames>, Arc<AtomicBool>) {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let name_of = move |asked| {
            while asked >= address(9) && !is_over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if asked < address(3) {
                Ok("web1.example".to_owned())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        };
        let addresses_of = |_: &str| Ok(vec![address(1)]);
        let resolver =
            Resolver { name_of: Box::new(name_of), addresses_of: Box::new(addresses_of) };
        (Arc::new(ClientNames::by(resolver, Duration::from_millis(50))), over)
    }

    #[tokio::test]
    async fn a_name_counts_only_if_it_leads_back() {
        let (names, _) = in_zone();
        for (last, expected) in [(1, "web1.example"), (2, "192.0.2.2"), (3, "192.0.2.3")] {
            assert_eq!(names.name_of(address(last)).await.as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_resolver_that_fails_gives_no_name_and_is_asked_again() {
        for fails_forward in [false, true] {
            let asked = Arc::new(AtomicBool::new(false));
            let fails = move |first: bool| match first == fails_forward {
                true => Err(io::Error::other("SERVFAIL")),
                false => Ok(()),
            };
            let begun = Arc::clone(&asked);
            let name_of = move |_| {
                if begun.swap(true, Ordering::SeqCst) {
                    return Ok("web1.example".to_owned());
                }
                fails(false).map(|()| "web1.example".to_owned())
            };
            let forward = AtomicBool::new(fails_forward);
            let addresses_of = move |_: &str| match forward.swap(false, Ordering::SeqCst) {
                true => Err(io::Error::other("SERVFAIL")),
                false => Ok(vec![address(1)]),
            };
            let resolver =
                Resolver { name_of: Box::new(name_of), addresses_of: Box::new(addresses_of) };
            let names = ClientNames::by(resolver, Duration::from_secs(5));
            assert_eq!(names.name_of(address(1)).await, None, "it counts against the client");
            assert_eq!(names.name_of(address(1)).await.as_deref(), Some("web1.example"));
        }
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_is_asked_once_an_address_and_not_waited_for() {
        let (names, over) = in_zone();
        for _ in 0..3 {
            assert_eq!(names.name_of(address(9)).await, None);
        }
        assert_eq!(names.lookups.available_permits(), NAME_LOOKUPS_MAX - 1);
        for last in 10..60 {
            assert_eq!(names.name_of(address(last)).await, None);
        }
        assert_eq!(names.lookups.available_permits(), 0);
        assert_eq!(names.known().len(), NAME_LOOKUPS_MAX, "no more threads than permits");
        over.store(true, Ordering::SeqCst);
    }
}
