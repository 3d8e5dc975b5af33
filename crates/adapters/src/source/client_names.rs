//! Names of clients by DNS, looked up on threads of their own.
//!
//! Limits: [`NAME_LOOKUPS_MAX`] lookups at once in the whole process, [`NAME_LOOKUPS_PREFIX_MAX`] of them for
//! addresses of one prefix (/24, or /64 of IPv6), [`NAME_LOOKUP_SECONDS_MAX`] that a caller waits,
//! [`NAMES_KNOWN_MAX`] addresses whose names are kept for [`NAME_KEPT_SECONDS`], and used for
//! [`NAME_STALE_SECONDS_MAX`] while a lookup is late or fails.
//!
//! The name of an address is the one in its reverse zone, provided that this name resolves to the address again: the
//! owner of an address can write any name into its reverse zone. Otherwise the name is the address itself as text.
//! Java's `InetAddress.getHostName`, and so Flume, does both the same way.
//!
//! A resolver that hangs holds the thread of its lookup and one of the permits, and nothing else: connections from an
//! address whose lookup is running wait for that lookup. Addresses whose reverse zone never replies can take all
//! permits; a client whose name was found earlier then keeps that name for a while.

use millpond_flow::base::limits::{
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

type NameLookupFn = dyn Fn(IpAddr) -> io::Result<String> + Send + Sync;
type AddressLookupFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The resolver functions; both block.
struct Resolver {
    name_of: Box<NameLookupFn>,
    addresses_of: Box<AddressLookupFn>,
}

impl Resolver {
    /// The resolver of the system, usually DNS.
    fn system() -> Self {
        Self {
            name_of: Box::new(|address| dns_lookup::lookup_addr(&address).map_err(|e| failed(&e))),
            addresses_of: Box::new(|name| {
                Ok(dns_lookup::lookup_host(name).map_err(|e| failed(&e))?.collect())
            }),
        }
    }

    /// Returns the name of `address`, or the address as text if it has none that resolves back.
    ///
    /// # Errors
    /// The resolver failed: it is unknown whether there is a name.
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

/// Converts a lookup error; a lookup without a result is distinguished from a failed one.
fn failed(error: &dns_lookup::LookupError) -> io::Error {
    use dns_lookup::LookupErrorKind::{NoData, NoName};
    match error.kind() {
        NoName | NoData => io::ErrorKind::NotFound.into(),
        kind => io::Error::other(format!("{kind:?}")),
    }
}

const TIMEOUT: Duration = Duration::from_secs(NAME_LOOKUP_SECONDS_MAX);

/// The lookups of the process.
static OF_PROCESS: LazyLock<Arc<ClientNames>> =
    LazyLock::new(|| Arc::new(ClientNames::by(Resolver::system(), TIMEOUT)));

type HostName = Option<Arc<str>>;

/// Names that were looked up or are being looked up.
pub(crate) struct ClientNames {
    resolver: Arc<Resolver>,
    time_limit: Duration,
    lookups: Arc<Semaphore>,
    prefixes: Mutex<PrefixLimits>,
    known: Mutex<HashMap<IpAddr, Lookup>>,
}

/// One lookup, which may have ended.
#[derive(Debug)]
struct Lookup {
    name: watch::Receiver<HostName>,
    begun: Instant,
    /// The result of an earlier lookup, and when that began.
    earlier: Option<(Arc<str>, Instant)>,
}

/// The permits that a lookup holds until it ends.
struct LookupPermit {
    _of_prefix: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl ClientNames {
    /// Returns the lookups that all sources share.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    fn by(resolver: Resolver, time_limit: Duration) -> Self {
        let lookups = Arc::new(Semaphore::new(NAME_LOOKUPS_MAX));
        let (prefixes, known) = Default::default();
        Self { resolver: Arc::new(resolver), time_limit, lookups, prefixes, known }
    }

    /// Looks up the name of `address`. After [`NAME_LOOKUP_SECONDS_MAX`] returns the name found at most
    /// [`NAME_STALE_SECONDS_MAX`] ago; `None` if there is none.
    pub(crate) async fn name_of(&self, address: IpAddr) -> HostName {
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
        let name = timeout(self.time_limit, name).await.ok().flatten();
        name.or_else(|| self.known().get(&address)?.last_found())
    }

    /// Returns the lookup of `address`, if one is running or recent.
    fn begun(&self, address: IpAddr) -> Option<watch::Receiver<HostName>> {
        let known = self.known();
        known.get(&address).filter(|lookup| lookup.is_of_use()).map(|lookup| lookup.name.clone())
    }

    /// Waits for a permit among addresses of its prefix, then among all: lookups of one prefix that never end cannot
    /// block the others.
    async fn permit(&self, address: IpAddr) -> Option<LookupPermit> {
        let prefix = lock(&self.prefixes).of(address);
        let of_prefix = prefix.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.lookups).acquire_owned().await.ok()?;
        Some(LookupPermit { _of_prefix: of_prefix, _of_all: of_all })
    }

    fn begin(&self, address: IpAddr, permit: LookupPermit) -> watch::Receiver<HostName> {
        let mut known = self.known();
        // Another connection may have begun a lookup while this one waited for its permit.
        if let Some(lookup) = known.get(&address).filter(|lookup| lookup.is_of_use()) {
            return lookup.name.clone();
        }
        make_room(&mut known);
        let (ended, name) = watch::channel(None);
        let earlier = known.get(&address).and_then(Lookup::found);
        known.insert(address, Lookup { name: name.clone(), begun: Instant::now(), earlier });
        let resolver = Arc::clone(&self.resolver);
        tokio::task::spawn_blocking(move || {
            // A failed lookup counts as late for all waiters, and is retried for the next client.
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
    // No update under the lock can be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes useless entries, and if there are none, the older half of those that have ended: many new addresses cannot
/// evict those that connect repeatedly.
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

    /// Returns whether it is still running, or its name is not too old.
    fn is_of_use(&self) -> bool {
        let is_recent = self.begun.elapsed() < Duration::from_secs(NAME_KEPT_SECONDS);
        if self.name.borrow().is_some() { is_recent } else { self.name.has_changed().is_ok() }
    }

    /// Returns the last name found, and when that lookup began.
    fn found(&self) -> Option<(Arc<str>, Instant)> {
        let own = self.name.borrow().clone().map(|name| (name, self.begun));
        own.or_else(|| self.earlier.clone())
    }

    /// Returns the last name found, unless it is too old.
    fn last_found(&self) -> HostName {
        let (name, when) = self.found()?;
        (when.elapsed() < Duration::from_secs(NAME_STALE_SECONDS_MAX)).then_some(name)
    }
}

/// Permits by prefix: a single network cannot take all lookups.
#[derive(Default)]
struct PrefixLimits {
    turns: HashMap<IpAddr, Weak<Semaphore>>,
    /// Size at which unused entries are removed.
    sweep_at: usize,
}

impl PrefixLimits {
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

/// Returns the network of an address: usually that of one site or one customer of a provider.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) & !0xff).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// Returns the name of `address` as known to the system, or the address as text. Blocks as long as the resolver
/// takes.
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

    /// Lookups without a network and with short waits: 192.0.2.1 is web1.example, 192.0.2.2 claims to be so too,
    /// 192.0.2.3 has no name, and lookups of 192.0.2.9 and higher end only after the flag is set.
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
    async fn a_name_counts_only_if_it_resolves_back() {
        let (names, _) = in_zone();
        for (last, expected) in [(1, "web1.example"), (2, "192.0.2.2"), (3, "192.0.2.3")] {
            assert_eq!(names.name_of(address(last)).await.as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_failed_lookup_gives_no_name_and_is_retried() {
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
    async fn a_hanging_resolver_is_queried_once_per_address_without_blocking() {
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
        // Prefixes without waiters leave no entry.
        let mut prefixes = PrefixLimits::default();
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
    async fn an_earlier_name_counts_while_lookups_are_late() {
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
    fn of_many_names_the_older_ones_are_evicted() {
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
