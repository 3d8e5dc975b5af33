//! Names of clients by DNS, looked up where nothing else waits for a resolver.
//!
//! Limits: [`NAME_LOOKUPS_MAX`] look-ups at once in the whole process, [`NAME_LOOKUPS_PREFIX_MAX`] of them for
//! addresses of one prefix (/24, or /64 of IPv6), [`NAME_LOOKUP_SECONDS_MAX`] that a caller waits,
//! [`NAMES_KNOWN_MAX`] addresses whose names are kept for [`NAME_KEPT_SECONDS`], and used for
//! [`NAME_STALE_SECONDS_MAX`] where a look-up is late or fails.
//!
//! The name of an address is what its reverse zone says, provided that this name resolves to the address again:
//! whoever has an address can write any name into its reverse zone. Otherwise the name is the address itself as
//! text. Java's `InetAddress.getHostName`, and so Flume, does both the same way.
//!
//! A resolver that hangs keeps the thread of its look-up and one of the permits, and nothing else: connections from
//! an address whose name is being looked up wait for that one look-up. Addresses whose reverse zone never answers can
//! take all permits; a client whose name was found before then keeps that name for a while.

use crate::base::limits::{
    NAME_KEPT_SECONDS, NAME_LOOKUP_SECONDS_MAX, NAME_LOOKUPS_MAX, NAME_LOOKUPS_PREFIX_MAX,
    NAME_STALE_SECONDS_MAX, NAMES_KNOWN_MAX,
};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
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
    prefixes: Mutex<Prefixes>,
    known: Mutex<HashMap<IpAddr, Lookup>>,
}

/// One look-up, which may have ended.
#[derive(Debug)]
struct Lookup {
    name: watch::Receiver<Name>,
    begun: Instant,
    /// What an earlier one found, and when it began.
    earlier: Option<(Arc<str>, Instant)>,
}

/// What a look-up holds until it ends.
struct Permit {
    _of_prefix: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl ClientNames {
    /// The look-ups that all sources share.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    fn by(resolver: Resolver, patience: Duration) -> Self {
        let lookups = Arc::new(Semaphore::new(NAME_LOOKUPS_MAX));
        let (prefixes, known) = Default::default();
        Self { resolver: Arc::new(resolver), patience, lookups, prefixes, known }
    }

    /// Looks up the name of `address`. Where it is not there within [`NAME_LOOKUP_SECONDS_MAX`], what was found at
    /// most [`NAME_STALE_SECONDS_MAX`] ago; `None` where nothing was.
    pub(crate) async fn name_of(&self, address: IpAddr) -> Name {
        let name = async {
            let mut lookup = match self.begun(address) {
                Some(lookup) => lookup,
                None => {
                    let permit = self.permit(address).await?;
                    self.begin(address, permit)
                }
            };
            lookup.wait_for(Option::is_some).await.ok()?.clone()
        };
        let name = timeout(self.patience, name).await.ok().flatten();
        name.or_else(|| self.known().get(&address)?.last_found())
    }

    /// The look-up of `address`, if one is under way or not long over.
    fn begun(&self, address: IpAddr) -> Option<watch::Receiver<Name>> {
        let known = self.known();
        known.get(&address).filter(|lookup| lookup.is_of_use()).map(|lookup| lookup.name.clone())
    }

    /// Waits for its turn among addresses of its prefix, then among all: those of one prefix that never end keep
    /// others from waiting behind more of them.
    async fn permit(&self, address: IpAddr) -> Option<Permit> {
        let prefix = lock(&self.prefixes).of(address);
        let of_prefix = prefix.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.lookups).acquire_owned().await.ok()?;
        Some(Permit { _of_prefix: of_prefix, _of_all: of_all })
    }

    fn begin(&self, address: IpAddr, permit: Permit) -> watch::Receiver<Name> {
        let mut known = self.known();
        // Another connection may have begun while this one waited for its permit.
        if let Some(lookup) = known.get(&address).filter(|lookup| lookup.is_of_use()) {
            return lookup.name.clone();
        }
        make_room(&mut known);
        let (ended, name) = watch::channel(None);
        let earlier = known.get(&address).and_then(Lookup::found);
        known.insert(address, Lookup { name: name.clone(), begun: Instant::now(), earlier });
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
        lock(&self.known)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets what is of no use any more, and where that is nothing the older half of what has ended: many addresses
/// that are new cannot make the agent forget those that come again and again.
fn make_room(known: &mut HashMap<IpAddr, Lookup>) {
    if known.len() < NAMES_KNOWN_MAX {
        return;
    }
    known.retain(|_, lookup| lookup.is_of_use() || lookup.last_found().is_some());
    if known.len() < NAMES_KNOWN_MAX {
        return;
    }
    let ended = known.values().filter(|lookup| lookup.has_ended());
    let mut begun: Vec<Instant> = ended.map(|lookup| lookup.begun).collect();
    let middle = begun.len() / 2;
    if middle < begun.len() {
        let (_, middle, _) = begun.select_nth_unstable(middle);
        let middle = *middle;
        known.retain(|_, lookup| !lookup.has_ended() || lookup.begun > middle);
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

    /// What was found last, and when that look-up began.
    fn found(&self) -> Option<(Arc<str>, Instant)> {
        let own = self.name.borrow().clone().map(|name| (name, self.begun));
        own.or_else(|| self.earlier.clone())
    }

    /// What was found last, if that is not too long ago to count.
    fn last_found(&self) -> Name {
        let (name, when) = self.found()?;
        (when.elapsed() < Duration::from_secs(NAME_STALE_SECONDS_MAX)).then_some(name)
    }
}

/// Turns of addresses by their prefix: a network that somebody has cannot take all look-ups.
#[derive(Default)]
struct Prefixes {
    turns: HashMap<IpAddr, Weak<Semaphore>>,
    /// The number of them at which those are removed for which nobody waits.
    sweep_at: usize,
}

impl Prefixes {
    fn of(&mut self, address: IpAddr) -> Arc<Semaphore> {
        let prefix = prefix(address);
        if let Some(turns) = self.turns.get(&prefix).and_then(Weak::upgrade) {
            return turns;
        }
        if self.turns.len() >= self.sweep_at {
            self.turns.retain(|_, turns| turns.strong_count() > 0);
            self.sweep_at = (2 * self.turns.len()).max(4 * NAME_LOOKUPS_MAX);
        }
        let turns = Arc::new(Semaphore::new(NAME_LOOKUPS_PREFIX_MAX));
        self.turns.insert(prefix, Arc::downgrade(&turns));
        turns
    }
}

/// The network of an address: what one site, or one customer of a provider, usually has.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) & !0xff).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
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
        for network in 1..40 {
            let address = IpAddr::V4(Ipv4Addr::new(198, 51, network, 1));
            assert_eq!(names.name_of(address).await, None);
        }
        assert_eq!(names.lookups.available_permits(), 0);
        assert_eq!(names.known().len(), NAME_LOOKUPS_MAX, "no more threads than permits");
        over.store(true, Ordering::SeqCst);
    }

    #[tokio::test]
    async fn addresses_of_one_network_cannot_take_all_lookups() {
        let (names, over) = in_zone();
        for last in 10..20 {
            assert_eq!(names.name_of(address(last)).await, None);
        }
        let free = names.lookups.available_permits();
        assert_eq!(free, NAME_LOOKUPS_MAX - NAME_LOOKUPS_PREFIX_MAX);
        let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(names.name_of(other).await.as_deref(), Some("10.0.0.1"));
        over.store(true, Ordering::SeqCst);
        // Those that wait for nobody leave nothing behind.
        let mut prefixes = Prefixes::default();
        for network in 0..100_000_u32 {
            drop(prefixes.of(IpAddr::V4((network << 8).into())));
        }
        assert!(prefixes.turns.len() <= 4 * NAME_LOOKUPS_MAX);
        for (one, other, is_same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [one, other] = [one, other].map(|text| prefix(text.parse().unwrap()));
            assert_eq!(one == other, is_same, "{one} {other}");
        }
    }

    #[tokio::test]
    async fn a_name_that_was_found_before_counts_while_lookups_are_late() {
        let hangs = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&hangs);
        let name_of = move |_| {
            while waits.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok("web1.example".to_owned())
        };
        let addresses_of = |_: &str| Ok(vec![address(1)]);
        let resolver =
            Resolver { name_of: Box::new(name_of), addresses_of: Box::new(addresses_of) };
        let names = ClientNames::by(resolver, Duration::from_millis(50));
        let later = async |seconds| {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            tokio::time::resume();
        };
        assert_eq!(names.name_of(address(1)).await.as_deref(), Some("web1.example"));
        hangs.store(true, Ordering::SeqCst);
        later(NAME_KEPT_SECONDS).await;
        for _ in 0..2 {
            assert_eq!(names.name_of(address(1)).await.as_deref(), Some("web1.example"));
        }
        assert_eq!(names.name_of(address(2)).await, None, "it was never found");
        later(NAME_STALE_SECONDS_MAX).await;
        assert_eq!(names.name_of(address(1)).await, None, "it is too long ago");
        hangs.store(false, Ordering::SeqCst);
    }

    #[test]
    fn of_many_names_the_older_ones_are_forgotten() {
        let of = |n: usize| IpAddr::V4(u32::try_from(n).unwrap().into());
        let now = Instant::now();
        let mut known: HashMap<_, _> = (0..NAMES_KNOWN_MAX)
            .map(|n| {
                let (_, name) = watch::channel(Some("web1.example".into()));
                (
                    of(n),
                    Lookup {
                        name,
                        begun: now + Duration::from_millis(n.try_into().unwrap()),
                        earlier: None,
                    },
                )
            })
            .collect();
        make_room(&mut known);
        assert_eq!(known.len(), NAMES_KNOWN_MAX / 2 - 1);
        assert!(known.contains_key(&of(NAMES_KNOWN_MAX - 1)) && !known.contains_key(&of(0)));
    }
}
