//! `host`: a header with the name or address of this machine.
//!
//! The result of a look-up is kept for the life of the process. A failed look-up is repeated when events arrive,
//! at most every [`AGAIN`] and concurrently to them, so that a name server that is down at the start does not
//! disable the header forever.

use super::{EventFate, Interceptor, InterceptorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use millpond::internal::base::threads;
use millpond::{Clock, Event, SystemClock};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

/// Time that the start waits for a name server.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);
/// Time after a failed look-up before the next one.
const AGAIN: Duration = Duration::from_secs(60);

/// The type `host`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["host", "org.apache.flume.interceptor.HostInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

/// Returns the address of this machine; with `by_name` its full name, or the address if it has none. Waits for the
/// name server, 5 s at most; the result is kept.
///
/// # Errors
/// It cannot be looked up; the text says why.
pub fn this_machine(by_name: bool) -> Result<&'static str, String> {
    if by_name { NAME.now() } else { ADDRESS.now() }
}

/// Returns the name of this machine as the system has it.
///
/// # Errors
/// The system has none; the text says why.
pub fn host_name() -> Result<String, String> {
    dns_lookup::get_hostname()
        .map_err(|error| format!("the name of this machine cannot be looked up: {error}"))
}

const KEYS: &[Key] = &[
    Key {
        name: "useIP",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "The address of the machine's name; false for its full name, or for the address if it has none. Looked up when the agent starts, for 5 s at most; every minute while it is not found.",
    },
    Key {
        name: "hostHeader",
        kind: KeyKind::Text,
        default: "host",
        meaning: "Name of the header.",
    },
    Key {
        name: "preserveExisting",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether an existing header of this name is kept.",
    },
];

struct HostInterceptor {
    header: String,
    /// While the name cannot be resolved no header is set, as in Flume.
    value: &'static HostLookup,
    preserves: bool,
}

/// The look-up of this machine's name or address.
struct HostLookup {
    by_name: bool,
    ask: fn(bool, ReportHost<'_>),
    most: Duration,
    again: Duration,
    clock: SystemClock,
    found: OnceLock<String>,
    /// Time and cause of the last failed look-up.
    failed: Mutex<Option<(Duration, String)>>,
    asks: AtomicBool,
}

static ADDRESS: LazyLock<HostLookup> =
    LazyLock::new(|| HostLookup::new(false, look_up, LOOK_UP_MAX, AGAIN));
static NAME: LazyLock<HostLookup> =
    LazyLock::new(|| HostLookup::new(true, look_up, LOOK_UP_MAX, AGAIN));

impl HostLookup {
    fn new(by_name: bool, ask: fn(bool, ReportHost<'_>), most: Duration, again: Duration) -> Self {
        let (clock, found) = (SystemClock::new(), OnceLock::new());
        let (failed, asks) = (Mutex::default(), AtomicBool::new(false));
        Self { by_name, ask, most, again, clock, found, failed, asks }
    }

    /// Returns the known value, or looks it up and waits for the name server; or the error.
    fn now(&self) -> Result<&str, String> {
        if self.found.get().is_none()
            && let Some(why) = self.recent_failure()
        {
            return Err(why);
        }
        self.look();
        let why = || self.recent_failure().unwrap_or_else(|| "its look-up has failed".to_owned());
        self.found.get().map(String::as_str).ok_or_else(why)
    }

    /// Returns the known value; starts a look-up in the background if there is none.
    fn known(&'static self) -> Option<&'static str> {
        if let Some(found) = self.found.get() {
            return Some(found);
        }
        if !self.asks.swap(true, Ordering::SeqCst) {
            let due = self.recent_failure().is_none();
            let work = move || {
                self.look();
                self.asks.store(false, Ordering::SeqCst);
            };
            // If no thread can be started, the next event tries again.
            if !due || threads::spawn("host-again", work).is_err() {
                self.asks.store(false, Ordering::SeqCst);
            }
        }
        None
    }

    fn look(&self) {
        if self.found.get().is_some() {
            return;
        }
        match in_time(self.ask, self.by_name, self.most) {
            // Another look-up may have been faster.
            Ok(found) => drop(self.found.set(found)),
            Err(why) => *self.failure() = Some((self.clock.now(), why)),
        }
    }

    /// Returns the cause of the last failed look-up within [`AGAIN`].
    fn recent_failure(&self) -> Option<String> {
        let failure = self.failure();
        let (at, why) = failure.as_ref()?;
        (self.clock.now().saturating_sub(*at) < self.again).then(|| why.clone())
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<(Duration, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(reader: &mut SettingsReader<'_>) -> Result<HostInterceptor, SettingError> {
    let value: &'static HostLookup = if reader.boolean("useIP", true) { &ADDRESS } else { &NAME };
    if let Err(why) = value.now() {
        let message = format!(
            "{why}; no header is set, as in Flume, until it is found: it is looked up again every {} s",
            AGAIN.as_secs()
        );
        reader.find(Severity::Warning, "useIP", message);
    }
    Ok(HostInterceptor {
        header: reader.text("hostHeader").unwrap_or("host").to_owned(),
        value,
        preserves: reader.boolean("preserveExisting", false),
    })
}

/// Reports each result so far; the last one counts.
type ReportHost<'t> = &'t dyn Fn(Result<String, String>);

/// Returns what `look_up` reports within `most`. A name server that does not reply delays neither the start nor
/// events: the look-up goes on in the background, without a waiter.
fn in_time(
    look_up: fn(bool, ReportHost<'_>),
    by_name: bool,
    most: Duration,
) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        look_up(by_name, &|found| {
            // The receiver is gone if it took too long.
            let _ = tell.send(found);
        });
    };
    let _runs = threads::spawn("host-name", work)
        .map_err(|error| format!("no thread for looking up this machine's name: {error}"))?;
    let clock = SystemClock::new();
    let mut last =
        Err(format!("the name of this machine was not resolved within {} s", most.as_secs()));
    while let Ok(found) = told.recv_timeout(most.saturating_sub(clock.now())) {
        last = found;
    }
    last
}

/// Returns the result of Java's `getLocalHost`: the first address of the machine's name, or the full name of this
/// address, or the address if it has none.
fn look_up(by_name: bool, tell: ReportHost<'_>) {
    let address = address();
    tell(address.as_ref().map(ToString::to_string).map_err(Clone::clone));
    if let (true, Ok(address)) = (by_name, address)
        && let Ok(name) = dns_lookup::lookup_addr(&address)
    {
        tell(Ok(name));
    }
}

fn address() -> Result<IpAddr, String> {
    let name = host_name()?;
    match dns_lookup::lookup_host(&name) {
        Ok(found) => {
            let found: Vec<IpAddr> = found.collect();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
            first.ok_or_else(|| format!("the name of this machine, {name}, has no address"))
        }
        Err(error) => Err(format!("the name of this machine, {name}, cannot be resolved: {error}")),
    }
}

impl Interceptor for HostInterceptor {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> EventFate {
        if let Some(value) = self.value.known()
            && !(self.preserves && event.headers.get(&self.header).is_some())
        {
            event.headers.set(self.header.as_str(), value);
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn of(ask: fn(bool, ReportHost<'_>)) -> &'static HostLookup {
        Box::leak(Box::new(HostLookup::new(false, ask, LOOK_UP_MAX, Duration::from_secs(3600))))
    }

    fn no_answer(_: bool, tell: ReportHost<'_>) {
        tell(Err("the name server is away".to_owned()));
    }

    fn after(found: Option<&str>, preserves: bool, mut event: Event) -> Option<String> {
        let value = of(no_answer);
        if let Some(found) = found {
            value.found.set(found.to_owned()).unwrap();
        }
        let host = HostInterceptor { header: "host".to_owned(), value, preserves };
        host.intercept(&mut event, &SystemClock::new());
        event.headers.get("host").map(str::to_owned)
    }

    #[test]
    fn the_machine_is_named_unless_its_name_stands_for_nothing() {
        let mut there = Event::new("");
        there.headers.set("host", "old");
        assert_eq!(after(Some("10.0.0.1"), false, there.clone()).as_deref(), Some("10.0.0.1"));
        assert_eq!(after(Some("10.0.0.1"), true, there.clone()).as_deref(), Some("old"));
        assert_eq!(after(None, false, there).as_deref(), Some("old"));
        assert_eq!(after(None, false, Event::new("")), None);
    }

    #[test]
    fn a_failed_look_up_is_repeated_in_the_background_and_not_per_event() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        fn away_at_first(_: bool, tell: ReportHost<'_>) {
            match ASKED.fetch_add(1, Ordering::SeqCst) {
                0 => tell(Err("the name server is away".to_owned())),
                _ => tell(Ok("10.0.0.1".to_owned())),
            }
        }
        let look_up = of(away_at_first);
        assert!(look_up.now().unwrap_err().contains("away"));
        assert!(look_up.now().is_err() && look_up.known().is_none());
        assert_eq!(ASKED.load(Ordering::SeqCst), 1, "not again so soon");
        let long_ago: &'static HostLookup = Box::leak(Box::new(HostLookup {
            again: Duration::ZERO,
            ..HostLookup::new(false, away_at_first, LOOK_UP_MAX, AGAIN)
        }));
        let clock = SystemClock::new();
        while long_ago.known().is_none() {
            assert!(clock.now() < Duration::from_secs(60), "the look-up is not repeated");
            std::thread::yield_now();
        }
        assert_eq!(long_ago.known(), Some("10.0.0.1"));
        assert_eq!(ASKED.load(Ordering::SeqCst), 2, "what was found stays");
    }

    #[test]
    fn an_address_is_an_address_and_a_name_is_none() {
        // A machine that cannot resolve its own name reports that; it is tested above.
        if let Ok(address) = in_time(look_up, false, LOOK_UP_MAX) {
            assert!(address.parse::<IpAddr>().is_ok(), "{address}");
            assert!(!in_time(look_up, true, LOOK_UP_MAX).unwrap().is_empty());
        }
    }

    /// Sleeps longer than any test waits, but not forever, so that a failing test ends.
    fn hang() {
        std::thread::sleep(Duration::from_secs(20));
    }

    fn all_hangs(_: bool, _: ReportHost<'_>) {
        hang();
    }

    fn name_hangs(_: bool, tell: ReportHost<'_>) {
        tell(Ok("10.0.0.1".to_owned()));
        hang();
        tell(Ok("too.late".to_owned()));
    }

    #[test]
    fn the_address_replaces_a_name_while_the_name_server_hangs() {
        let short = Duration::from_millis(50);
        assert!(in_time(all_hangs, true, short).unwrap_err().contains("not resolved"));
        assert_eq!(in_time(name_hangs, true, short).as_deref(), Ok("10.0.0.1"));
    }
}
