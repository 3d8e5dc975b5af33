//! Runs every target over its seeds and mutants of them.

use crate::files;
use crate::mutation::{Draws, hex, mutant, number, seed_or};
use crate::targets::{self, Bound, Target};
use millpond::{Clock, SystemClock};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// Most bytes of a mutant.
const BYTES_MAX: usize = 16 << 10;

/// Time after which one input counts as a hang. A guard, not a measure of speed.
const HANG: Duration = Duration::from_secs(60);

/// Most characters shown of a panic's message; the input shows the rest.
const WORDS_MAX: usize = 200;

/// The resources that a target used for one input.
struct Cost {
    peak: u64,
    total: u64,
}

/// Runs one input. Returns an error if the target exceeded a limit.
fn cost(target: &Target, input: &[u8]) -> Result<Cost, String> {
    let mut panicked = None;
    let counted = allocation_counter::measure(|| {
        panicked = catch_unwind(AssertUnwindSafe(|| (target.body)(input))).err();
    });
    if let Some(panic) = panicked {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let words: String = words.unwrap_or_default().chars().take(WORDS_MAX).collect();
        return Err(format!("panic: {words}"));
    }
    let cost = Cost { peak: counted.bytes_max, total: counted.bytes_total };
    let within = |what: &str, bytes: u64, bound: Bound| {
        let most = bound.of(input.len());
        if bytes <= most { Ok(()) } else { Err(format!("{bytes} bytes {what}, at most {most}")) }
    };
    within("at one moment", cost.peak, target.peak)?;
    within("allocated in all", cost.total, target.total)?;
    Ok(cost)
}

/// Runs `inputs` on a thread of their own, so that a hang is noticed.
fn run_all(target: Target, inputs: &[Vec<u8>], hang: Duration) -> Result<String, String> {
    let (done, next) = mpsc::sync_channel(64);
    let (clock, count, on_thread) = (SystemClock::new(), inputs.len(), inputs.to_vec());
    // Not joined: it may hang.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        for input in on_thread {
            // The receiver is closed once an input has failed.
            if done.send(cost(&target, &input)).is_err() {
                return;
            }
        }
    });
    let (mut peak, mut total) = ((0, 0), (0, 0));
    for input in inputs {
        let said = match next.recv_timeout(hang) {
            Ok(Ok(cost)) => {
                peak = peak.max((cost.peak, input.len()));
                total = total.max((cost.total, input.len()));
                continue;
            }
            Ok(Err(words)) => words,
            Err(_) => format!("does not end within {} s", hang.as_secs()),
        };
        return Err(format!("{}: {said}; the input: {}", target.name, hex(input)));
    }
    Ok(format!(
        "{:14} {count} inputs, {} ms; most at one moment {} bytes for {}, in all {} for {}",
        target.name,
        clock.now().as_millis(),
        peak.0,
        peak.1,
        total.0,
        total.1
    ))
}

#[test]
fn no_input_makes_a_decoder_panic_hang_or_allocate_beyond_its_limit() {
    let seed = seed_or(|| RandomState::new().hash_one(0u8) % 1_000_000);
    let only = std::env::var("MILLPOND_FUZZ_ONLY").ok();
    let mut failures = Vec::new();
    for target in targets::all() {
        if only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        let seeds = files::bytes_of(target.name);
        let mut draws = Draws::new(seed);
        let mutants = number("MILLPOND_FUZZ_MUTANTS").map_or(target.mutants, |n| n as usize);
        let mutants = (0..mutants).map(|_| mutant(&seeds, &mut draws, BYTES_MAX));
        let inputs: Vec<Vec<u8>> = seeds.iter().cloned().chain(mutants).collect();
        match run_all(target, &inputs, HANG) {
            Ok(words) => println!("{words}"),
            Err(words) => failures.push(words),
        }
    }
    assert!(failures.is_empty(), "MILLPOND_FUZZ_SEED={seed}: {failures:#?}");
}

#[test]
fn a_panic_an_allocation_excess_work_and_a_hang_are_noticed() {
    let any = |body| Target {
        name: "broken",
        body,
        peak: Bound(1000, 10),
        total: Bound(10_000, 100),
        mutants: 1,
    };
    let run = |body| cost(&any(body), b"\x05bytes").map(|_| ());
    assert_eq!(run(|_| {}), Ok(()));
    assert!(run(|bytes| assert_ne!(bytes[0], 5, "by hand")).unwrap_err().contains("by hand"));
    // As a decoder that trusts a length before checking it.
    let big = run(|bytes| drop(Vec::<u8>::with_capacity(usize::from(bytes[0]) << 20)));
    assert!(big.unwrap_err().contains("at one moment"));
    let slow = run(|bytes| (0..100).for_each(|_| drop(bytes.repeat(100))));
    assert!(slow.unwrap_err().contains("in all"));
    let never = any(|_| std::thread::park_timeout(HANG));
    let words = run_all(never, &[b"bytes".to_vec()], Duration::from_millis(1)).unwrap_err();
    assert!(words.contains("does not end"), "{words}");
}
