//! The fuzz targets: their functions, and their allocation limits.

use millpond::internal::record;

/// A limit that grows with the input: a constant, plus a number of bytes per byte of input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(pub(crate) usize, pub(crate) usize);

impl Bound {
    pub(crate) fn of(self, input: usize) -> u64 {
        (self.0 + self.1 * input) as u64
    }
}

/// A fuzz target.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Its name here, in fuzz/fuzz_targets and in fuzz/seeds.
    pub(crate) name: &'static str,
    pub(crate) body: fn(&[u8]),
    /// Most bytes allocated at one time.
    pub(crate) peak: Bound,
    /// Most bytes allocated in total, a measure of the work.
    pub(crate) total: Bound,
    /// Most mutants per run; fewer for targets that cost more than a plain decoder.
    pub(crate) mutants: usize,
}

const fn target(name: &'static str, body: fn(&[u8]), peak: Bound, total: Bound) -> Target {
    Target { name, body, peak, total, mutants: 3000 }
}

/// Creates the target of a decoder of the channel's files: it copies its input only a few times.
const fn on_disk(name: &'static str, body: fn(&[u8])) -> Target {
    target(name, body, Bound(64 << 10, 64), Bound(256 << 10, 512))
}

/// Returns every target that decodes.
pub(crate) fn all() -> Vec<Target> {
    let mut all = vec![
        on_disk("block", record::fuzz::block),
        on_disk("event", record::fuzz::event),
        on_disk("frame", record::fuzz::frame),
        on_disk("member", record::fuzz::member),
        on_disk("segment", record::fuzz::segment),
        on_disk("slot", record::fuzz::slot),
        on_disk("state", record::fuzz::state),
    ];
    all.extend(of_the_agent());
    all
}

fn of_the_agent() -> Vec<Target> {
    use millpond_adapters::{source, wire};
    use millpond_agent::agent::build::ComponentTypes;
    let wide = |name, body| target(name, body, Bound(64 << 10, 64), Bound(256 << 10, 512));
    vec![
        wide("avro", wire::avro::fuzz::avro),
        container(),
        wide("exchange", wire::avro::fuzz::exchange),
        wide("external", millpond_flow::wire::external::fuzz::external),
        wide("interpolation", millpond_config::fuzz::interpolation),
        wide("json", wire::json_events::fuzz),
        wide("netcat", source::netcat::fuzz),
        pattern(),
        wide("properties", millpond_config::fuzz::properties),
        wide("syslog", wire::syslog_relayed::fuzz),
        wide("thrift", wire::thrift::fuzz::thrift),
        wide("settings", |bytes| {
            millpond_config::fuzz::settings(bytes, &ComponentTypes::built_in().catalogue());
        }),
    ]
}

/// Decompressors have memory of their own, whatever the size of a block: xz's dictionary (8 MiB as Avro writes it),
/// Zstandard's window, bzip2's tables. Each block allocates it again, and a block has at least 17 bytes.
fn container() -> Target {
    let (peak, total) = (Bound(32 << 20, 64 << 10), Bound(128 << 20, 512 << 10));
    let body = millpond_adapters::source::spooldir::fuzz;
    Target { mutants: 500, ..target("container", body, peak, total) }
}

/// Java's patterns are compiled for another engine, to programs larger than their text, and each is compiled twice.
fn pattern() -> Target {
    let (peak, total) = (Bound(48 << 20, 4096), Bound(128 << 20, 16 << 10));
    let body = millpond_flow::pattern::fuzz::pattern;
    Target { mutants: 1000, ..target("pattern", body, peak, total) }
}
