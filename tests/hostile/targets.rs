//! The targets: what is called, and what it may allocate.

use millpond::record;

/// A bound that grows with the input: so many bytes, and so many for each byte of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(pub(crate) usize, pub(crate) usize);

impl Bound {
    pub(crate) fn of(self, input: usize) -> u64 {
        (self.0 + self.1 * input) as u64
    }
}

/// One target.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Its name here, in fuzz/fuzz_targets and in fuzz/seeds.
    pub(crate) name: &'static str,
    pub(crate) body: fn(&[u8]),
    /// Bytes that may be allocated at one moment.
    pub(crate) peak: Bound,
    /// Bytes that may be allocated in all, which stands for the work.
    pub(crate) total: Bound,
    /// A number for mutants that cost as much as three thousand of a decoder, at most.
    pub(crate) mutants: usize,
}

const fn target(name: &'static str, body: fn(&[u8]), peak: Bound, total: Bound) -> Target {
    Target { name, body, peak, total, mutants: 3000 }
}

/// A decoder of what the channel writes: it copies what it is given a few times and no more.
const fn on_disk(name: &'static str, body: fn(&[u8])) -> Target {
    target(name, body, Bound(64 << 10, 64), Bound(256 << 10, 512))
}

/// Every target that decodes.
pub(crate) fn all() -> Vec<Target> {
    #[allow(unused_mut)]
    let mut all = vec![
        on_disk("block", record::fuzz::block),
        on_disk("event", record::fuzz::event),
        on_disk("frame", record::fuzz::frame),
        on_disk("member", record::fuzz::member),
        on_disk("segment", record::fuzz::segment),
        on_disk("slot", record::fuzz::slot),
        on_disk("state", record::fuzz::state),
    ];
    #[cfg(feature = "agent")]
    all.extend(of_the_agent());
    all
}

#[cfg(feature = "agent")]
fn of_the_agent() -> Vec<Target> {
    use millpond::agent::build::Types;
    use millpond::{config, source, wire};
    let wide = |name, body| target(name, body, Bound(64 << 10, 64), Bound(256 << 10, 512));
    vec![
        wide("avro", wire::avro::fuzz::avro),
        container(),
        wide("exchange", wire::avro::fuzz::exchange),
        wide("external", wire::external::fuzz::external),
        wide("interpolation", config::fuzz::interpolation),
        wide("json", wire::json_events::fuzz),
        wide("netcat", source::netcat::fuzz),
        pattern(),
        wide("properties", config::fuzz::properties),
        wide("syslog", wire::syslog_relayed::fuzz),
        wide("thrift", wire::thrift::fuzz::thrift),
        wide("settings", |bytes| config::fuzz::settings(bytes, &Types::built_in().catalogue())),
    ]
}

/// What blocks are unpacked with has its own memory, whatever their size: xz's dictionary (8 MiB as
/// Avro writes it), Zstandard's window, bzip2's tables. Each block takes it again, and a block has 17
/// bytes or more.
#[cfg(feature = "agent")]
fn container() -> Target {
    let (peak, total) = (Bound(32 << 20, 64 << 10), Bound(128 << 20, 512 << 10));
    let body = millpond::source::spooldir::fuzz;
    Target { mutants: 500, ..target("container", body, peak, total) }
}

/// Java's patterns become programs of some other engine, which are larger than their text, and
/// each is made twice.
#[cfg(feature = "agent")]
fn pattern() -> Target {
    let (peak, total) = (Bound(48 << 20, 4096), Bound(128 << 20, 16 << 10));
    let body = millpond::pattern::fuzz::pattern;
    Target { mutants: 1000, ..target("pattern", body, peak, total) }
}
