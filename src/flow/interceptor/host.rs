//! `host`: a header with the name or address of this machine.

use super::{Interceptor, InterceptorType, Verdict};
use crate::base::clock::{Clock, SystemClock};
use crate::base::threads;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::event::Event;
use std::net::IpAddr;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// How long the start waits for a name server.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// The type `host`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["host", "org.apache.flume.interceptor.HostInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "useIP",
        kind: Kind::Boolean,
        default: "true",
        meaning: "The address that the machine's name stands for; false for its full name, or the address where it has none. Looked up once, when the agent starts, for 5 s at most.",
    },
    Key { name: "hostHeader", kind: Kind::Text, default: "host", meaning: "Name of the header." },
    Key {
        name: "preserveExisting",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether a header of this name that is there already stays as it is.",
    },
];

struct Host {
    header: String,
    /// None when the machine's name stands for no address: then no header is set, as in Flume.
    value: Option<String>,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Host, SettingError> {
    let by_address = reader.boolean("useIP", true);
    static ADDRESS: OnceLock<Result<String, String>> = OnceLock::new();
    static NAME: OnceLock<Result<String, String>> = OnceLock::new();
    let value = match by_address {
        true => ADDRESS.get_or_init(|| in_time(look_up, false, LOOK_UP_MAX)),
        false => NAME.get_or_init(|| in_time(look_up, true, LOOK_UP_MAX)),
    };
    if let Err(why) = &value {
        let message = format!("{why}; no header is set, as in Flume");
        reader.find(Severity::Warning, "useIP", message);
    }
    Ok(Host {
        header: reader.text("hostHeader").unwrap_or("host").to_owned(),
        value: value.clone().ok(),
        preserves: reader.boolean("preserveExisting", false),
    })
}

/// Tells what was found so far, the last one counting.
type Tell<'t> = &'t dyn Fn(Result<String, String>);

/// What `look_up` has told within `most`. A name server that does not answer keeps neither the start nor
/// anything else: the look-up goes on beside, and is not waited for.
fn in_time(look_up: fn(bool, Tell<'_>), by_name: bool, most: Duration) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        look_up(by_name, &|found| {
            // Nobody listens any more when it took too long.
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

/// What Java's `getLocalHost` answers: the first address of the machine's name, or the full name
/// that this address has; the address where it has none.
fn look_up(by_name: bool, tell: Tell<'_>) {
    let address = address();
    tell(address.as_ref().map(ToString::to_string).map_err(Clone::clone));
    if let (true, Ok(address)) = (by_name, address)
        && let Ok(name) = dns_lookup::lookup_addr(&address)
    {
        tell(Ok(name));
    }
}

fn address() -> Result<IpAddr, String> {
    let name = dns_lookup::get_hostname()
        .map_err(|error| format!("the name of this machine cannot be had: {error}"))?;
    match dns_lookup::lookup_host(&name) {
        Ok(found) => {
            let found: Vec<IpAddr> = found.collect();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
            first.ok_or_else(|| format!("the name of this machine, {name}, has no address"))
        }
        Err(error) => Err(format!("the name of this machine, {name}, cannot be resolved: {error}")),
    }
}

impl Interceptor for Host {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> Verdict {
        if let Some(value) = &self.value
            && !(self.preserves && event.headers.get(&self.header).is_some())
        {
            event.headers.set(self.header.as_str(), value.as_str());
        }
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: Option<&str>, preserves: bool, mut event: Event) -> Option<String> {
        let value = value.map(str::to_owned);
        let host = Host { header: "host".to_owned(), value, preserves };
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
    fn an_address_is_an_address_and_a_name_is_none() {
        // A machine whose own name is not known to it says so; that is tested above.
        if let Ok(address) = in_time(look_up, false, LOOK_UP_MAX) {
            assert!(address.parse::<IpAddr>().is_ok(), "{address}");
            assert!(!in_time(look_up, true, LOOK_UP_MAX).unwrap().is_empty());
        }
    }

    /// Longer than anybody waits, and not for ever: a test that fails shall end.
    fn hang() {
        std::thread::sleep(Duration::from_secs(20));
    }

    fn all_hangs(_: bool, _: Tell<'_>) {
        hang();
    }

    fn name_hangs(_: bool, tell: Tell<'_>) {
        tell(Ok("10.0.0.1".to_owned()));
        hang();
        tell(Ok("too.late".to_owned()));
    }

    #[test]
    fn a_name_server_that_hangs_is_not_waited_for_and_the_address_takes_the_names_place() {
        let short = Duration::from_millis(50);
        assert!(in_time(all_hangs, true, short).unwrap_err().contains("not resolved"));
        assert_eq!(in_time(name_hangs, true, short).as_deref(), Ok("10.0.0.1"));
    }
}
