//! Costs of a transaction other than time: allocations, context switches, system calls. Counted on the channel and on
//! the hand-written floor.
//!
//! `cargo bench --bench costs -- [--dir DIR] [--only NAME]`
//!
//! Allocations are those of the threads that put and take. System calls are counted by `strace -f -c`, in a short and
//! in a long run: the difference is the cost of transactions, without opening and closing. strace slows each call down,
//! so groups of commits may be larger or smaller than without it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod floor;
mod settings;
mod side;

use floor::Floor;
use millpond::{FileChannel, FileChannelOptions};
use settings::Settings;
use side::Side;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

struct Case {
    name: &'static str,
    takes: bool,
    batch: usize,
    threads: usize,
    /// Transactions counted per thread; of takes, full ones.
    each: usize,
}

const CASES: [Case; 6] = [
    Case { name: "put b1 x1", takes: false, batch: 1, threads: 1, each: 4000 },
    Case { name: "put b1 x16", takes: false, batch: 1, threads: 16, each: 1000 },
    Case { name: "put b100 x1", takes: false, batch: 100, threads: 1, each: 2000 },
    Case { name: "put b100 x16", takes: false, batch: 100, threads: 16, each: 400 },
    Case { name: "take b1 x1", takes: true, batch: 1, threads: 1, each: 4000 },
    Case { name: "take b100 x4", takes: true, batch: 100, threads: 4, each: 500 },
];

const SIDES: [&str; 2] = ["millpond", "floor"];

/// The counts of a run.
#[derive(Clone, Copy, Default)]
struct Count {
    allocations: u64,
    allocated: u64,
    waits: u64,
    pushed: u64,
}

fn main() {
    let settings = Settings::read(1, 1.0);
    // As the traced child: one run without output.
    if let Some(side) = settings.value("--watched") {
        let case = CASES.iter().find(|case| settings.only.as_deref() == Some(case.name)).unwrap();
        let each = settings.value("--each").unwrap().parse().unwrap();
        run_side(&settings.dir, side, case, each);
        return;
    }
    println!(
        "| transaction | | allocations | bytes allocated | waits of a thread | switched away | system calls |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| settings.chooses(case.name)) {
        for side in SIDES {
            let count = run_side(&settings.dir, side, case, case.each);
            let all = (case.each * case.threads) as f64;
            println!(
                "| {} | {side} | {:.2} | {:.0} | {:.2} | {:.3} | {} |",
                case.name,
                count.allocations as f64 / all,
                count.allocated as f64 / all,
                count.waits as f64 / all,
                count.pushed as f64 / all,
                calls(&settings.dir, side, case).unwrap_or_else(|why| format!("left out: {why}")),
            );
        }
    }
}

fn run_side(dir: &Path, side: &str, case: &Case, each: usize) -> Count {
    let dir = tempfile::tempdir_in(dir).unwrap();
    if side == "floor" {
        let floor = Floor::open(&dir.path().join("floor"), 1 << 29, case.takes).unwrap();
        return run(&floor, case, each);
    }
    let mut options =
        FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_secs(30);
    options.hot_window_bytes = 512 << 20;
    options.ready_segments = 12;
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    while channel.ready_segments() < ready {
        std::thread::sleep(Duration::from_millis(20));
    }
    run(&channel, case, each)
}

fn run(side: &impl Side, case: &Case, each: usize) -> Count {
    if case.takes {
        // As many for a short run as for a long one, so that the takes alone differ.
        let waiting = CASES.iter().find(|one| one.name == case.name).map_or(0, |one| one.each);
        for _ in 0..waiting * case.threads * case.batch / 100 + 1 {
            side.put(100);
        }
    }
    let whole = Mutex::new(Count::default());
    std::thread::scope(|scope| {
        for _ in 0..case.threads {
            scope.spawn(|| {
                let before = switches();
                let counted = allocation_counter::measure(|| {
                    if case.takes {
                        // A take may return fewer than requested.
                        let mut left = each * case.batch;
                        while left > 0 {
                            left -= side.take(case.batch.min(left));
                        }
                    } else {
                        (0..each).for_each(|_| side.put(case.batch));
                    }
                });
                let after = switches();
                let mut whole = whole.lock().unwrap();
                whole.allocations += counted.count_total;
                whole.allocated += counted.bytes_total;
                whole.waits += after.0 - before.0;
                whole.pushed += after.1 - before.1;
            });
        }
    });
    whole.into_inner().unwrap()
}

/// Returns the context switches of this thread so far: voluntary and involuntary ones.
fn switches() -> (u64, u64) {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (of("voluntary_ctxt_switches:"), of("nonvoluntary_ctxt_switches:"))
}

/// Returns the system calls of one transaction, by name, the most frequent first.
fn calls(dir: &Path, side: &str, case: &Case) -> Result<String, String> {
    let short = watched(dir, side, case, case.each / 4)?;
    let long = watched(dir, side, case, case.each)?;
    let transactions = ((case.each - case.each / 4) * case.threads) as f64;
    let mut found: Vec<(f64, &str)> = long
        .iter()
        .map(|(name, count)| {
            let more = *count as f64 - short.get(name).copied().unwrap_or(0) as f64;
            (more / transactions, name.as_str())
        })
        .filter(|(count, _)| *count >= 0.02)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(found.iter().map(|(n, name)| format!("{name} {n:.2}")).collect::<Vec<_>>().join(", "))
}

/// Returns the calls of a run of its own, by name.
fn watched(
    dir: &Path,
    side: &str,
    case: &Case,
    each: usize,
) -> Result<BTreeMap<String, u64>, String> {
    let table = tempfile::NamedTempFile::new_in(dir).unwrap();
    let done = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-o"])
        .arg(table.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--watched", side, "--only", case.name, "--each", &each.to_string(), "--dir"])
        .arg(dir)
        .output()
        .map_err(|why| format!("strace does not start ({why})"))?;
    if !done.status.success() {
        return Err(format!("strace failed: {}", String::from_utf8_lossy(&done.stderr)));
    }
    let text = fs::read_to_string(table.path()).unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    let counts = text.lines().filter_map(row).filter(|(_, name): &(u64, String)| name != "total");
    Ok(counts.map(|(count, name)| (name, count)).collect())
}
