//! Advice from the figures, as text. Pure: figures in, sentences out.

use super::device::DirectorySpeed;
use super::report_row::{ReportRow, ReportSide, with_separators};
use super::single_dir::SingleDirRatio;

/// A setting is as good as the best from this share of its throughput on.
const NEARLY: f64 = 0.9;

/// From this share of the devices' bandwidth on, they are the limit.
const DEVICE_BOUND: f64 = 0.7;

/// From this share of all processors on, they are the limit.
const PROCESSOR_BOUND: f64 = 0.8;

/// Rounds that differ by more are not reliable.
const SPREAD: f64 = 1.5;

/// Directories that together reach less than this many times the rate of the first alone are not
/// worth it.
const WORTH: f64 = 1.2;

/// Directories that differ by more are not equally fast.
const UNEQUAL: f64 = 2.0;

/// Events per second of a site in an example.
const EXAMPLE_RATE: f64 = 10_000.0;

/// The input of the advice.
pub(super) struct AdviceInput<'r> {
    pub rows: &'r [ReportRow],
    pub device: &'r [DirectorySpeed],
    pub file_systems: usize,
    /// Of several directories, the first alone.
    pub first_directory: Option<SingleDirRatio>,
    /// Whether all directories are written past the page cache.
    pub direct: bool,
    pub body_bytes: usize,
    pub capacity: Option<u64>,
    pub interrupted: bool,
}

/// Returns the sentences, most important first.
pub(super) fn of(findings: &AdviceInput<'_>) -> Vec<String> {
    let puts: Vec<&ReportRow> = findings
        .rows
        .iter()
        .filter(|r| r.side == ReportSide::Put && r.workload.takers == 0)
        .collect();
    let mut sentences = Vec::new();
    if let Some(best) = fastest(puts.iter().copied()) {
        sentences.push(batch(&puts, best));
        sentences.push(producers(&puts, best));
        sentences.extend(
            findings.first_directory.as_ref().map(|first| several(first, findings.device.len())),
        );
        sentences.extend(bound(findings, best));
        sentences.push(capacity(findings, best));
    }
    sentences.extend(takers(findings));
    sentences.extend(unequal(findings));
    sentences.extend(caveats(findings));
    sentences
}

fn fastest<'r>(rows: impl Iterator<Item = &'r ReportRow>) -> Option<&'r ReportRow> {
    rows.max_by(|a, b| a.events_per_second.total_cmp(&b.events_per_second))
}

/// Formats a rate: `2,345 events/s`.
fn rate(row: &ReportRow) -> String {
    format!("{} events/s", with_separators(row.events_per_second))
}

/// Returns the smallest batch that is nearly as fast as any, with any number of producers.
fn batch(puts: &[&ReportRow], best: &ReportRow) -> String {
    let mut batches: Vec<usize> = puts.iter().map(|r| r.workload.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    if batches.len() == 1 {
        return format!(
            "Only batches of {} were measured; give --batch several sizes to learn which is best.",
            batches[0]
        );
    }
    let of =
        |batch: usize| fastest(puts.iter().copied().filter(move |r| r.workload.batch == batch));
    let enough = batches
        .iter()
        .filter_map(|batch| of(*batch))
        .find(|row| row.events_per_second >= NEARLY * best.events_per_second)
        .unwrap_or(best);
    let size = enough.workload.batch;
    let smaller = batches.iter().rev().find(|batch| **batch < size).and_then(|batch| of(*batch));
    let gain = smaller.map_or(String::new(), |row| {
        let times = enough.events_per_second / row.events_per_second.max(1e-9);
        format!(", {times:.1} times what batches of {} reach", row.workload.batch)
    });
    let more = if size == best.workload.batch {
        if batches.last() == Some(&size) { "; larger ones were not measured" } else { "" }
    } else {
        "; larger ones bring less than a tenth more and wait longer"
    };
    format!(
        "Batch: {size} events a transaction. That reaches {}{gain}, with 99 of 100 commits done in {:.2} ms{more}.",
        rate(enough),
        enough.p99_ms
    )
}

/// Returns the fewest producers that are nearly as fast as any, with the best batch.
fn producers(puts: &[&ReportRow], best: &ReportRow) -> String {
    let mut same: Vec<&ReportRow> =
        puts.iter().copied().filter(|r| r.workload.batch == best.workload.batch).collect();
    same.sort_by_key(|row| row.workload.producers);
    let (batch, fewest) = (best.workload.batch, same[0]);
    if same.len() == 1 {
        return format!(
            "Only {} {} measured; give --producers several numbers to see how it scales.",
            counted(fewest.workload.producers, "producer"),
            if fewest.workload.producers == 1 { "was" } else { "were" }
        );
    }
    let enough = same
        .iter()
        .find(|row| row.events_per_second >= NEARLY * best.events_per_second)
        .copied()
        .unwrap_or(best);
    let wanted = enough.workload.producers;
    if wanted == fewest.workload.producers {
        return format!(
            "Producers: {wanted} already reach {} in batches of {batch}; more sources or threads on this channel do not make it faster.",
            rate(enough)
        );
    }
    format!(
        "Producers: {wanted} at once reach {} in batches of {batch}, {:.1} times the rate of {}; they share writes.",
        rate(enough),
        enough.events_per_second / fewest.events_per_second.max(1e-9),
        fewest.workload.producers
    )
}

/// Formats a count: `1 producer`, `2 producers`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns the gain of several directories over the first of them.
fn several(first: &SingleDirRatio, directories: usize) -> String {
    let verdict = if first.times >= WORTH {
        format!("{:.1} times what the first alone does", first.times)
    } else {
        format!(
            "{:.2} times what the first alone does: as they are, the others are not worth it",
            first.times
        )
    };
    format!(
        "Directories: all {directories} together put {} events/s with {}, the first alone {}: {verdict}.",
        with_separators(first.together_events_per_second),
        first.workload,
        with_separators(first.events_per_second)
    )
}

/// Returns the limit, and whether further directories would help.
fn bound(findings: &AdviceInput<'_>, best: &ReportRow) -> Option<String> {
    let (share, directories) = (best.of_bandwidth * 100.0, findings.device.len());
    let shared = if findings.file_systems < directories {
        format!(
            " The {directories} directories are on {} file system{}: that gains nothing; one for each disk is enough.",
            findings.file_systems,
            if findings.file_systems == 1 { "" } else { "s" }
        )
    } else {
        String::new()
    };
    let cpu = best.cpu_share.unwrap_or(0.0);
    let words = if best.of_bandwidth >= DEVICE_BOUND {
        format!(
            "The limit: the fastest workload brings {share:.0} % of the bytes that the disks take, so they are the limit: a further directory on a disk of its own would help, one on the same disk would not."
        )
    } else if cpu >= PROCESSOR_BOUND {
        format!(
            "The limit: the fastest workload keeps {:.0} % of the processors busy and brings {share:.0} % of the bytes that the disks take: the processors are the limit, and further directories would not help.",
            cpu * 100.0
        )
    } else {
        format!(
            "The limit: the fastest workload brings {share:.0} % of the bytes that the disks take, with {:.0} % of the processors busy: neither is used up; try larger batches or more producers before further directories.",
            cpu * 100.0
        )
    };
    Some(words + &shared)
}

/// Returns how much time a capacity covers.
fn capacity(findings: &AdviceInput<'_>, best: &ReportRow) -> String {
    let a_minute = best.events_per_second * 60.0;
    let event_bytes = findings.body_bytes as f64 * best.log_bytes;
    let own = format!(
        "For your own rate, multiply the events per second by the seconds that sinks may be down: {} events/s for an hour need a capacity of {} and {:.1} GB",
        with_separators(EXAMPLE_RATE),
        with_separators(EXAMPLE_RATE * 3600.0),
        EXAMPLE_RATE * 3600.0 * event_bytes / 1e9
    );
    let measured = format!(
        "at the fastest rate, sinks that are down for a minute leave {} events and {:.1} GB on the disks",
        with_separators(a_minute),
        a_minute * event_bytes / 1e9
    );
    match findings.capacity {
        Some(capacity) => format!(
            "Capacity: {} events are full after {} at {}; {measured}. {own}.",
            with_separators(capacity as f64),
            duration(capacity as f64 / best.events_per_second.max(1e-9)),
            rate(best)
        ),
        None => format!("Capacity: {measured}. {own}; waiting events take no memory."),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

/// Returns whether takers keep up.
fn takers(findings: &AdviceInput<'_>) -> Option<String> {
    let mixed = |side: ReportSide| {
        findings
            .rows
            .iter()
            .filter(move |r| r.side == side && r.workload.takers > 0 && r.workload.producers > 0)
    };
    let pairs: Vec<(&ReportRow, &ReportRow)> = mixed(ReportSide::Put)
        .filter_map(|put| {
            Some((put, mixed(ReportSide::Take).find(|t| t.workload == put.workload)?))
        })
        .collect();
    let (put, take) = *pairs
        .iter()
        .max_by(|(_, a), (_, b)| a.events_per_second.total_cmp(&b.events_per_second))?;
    let slow: Vec<&str> = pairs
        .iter()
        .filter(|(put, take)| take.events_per_second < NEARLY * put.events_per_second)
        .map(|(put, _)| put.name.as_str())
        .collect();
    let verdict = if slow.is_empty() {
        "takers kept up in every workload".to_owned()
    } else {
        format!(
            "takers could not keep up in {}: there, give sinks more threads or larger batches, or the channel fills",
            slow.join(", ")
        )
    };
    Some(format!(
        "Takers: at most {} taken while {} put ({}); {verdict}.",
        with_separators(take.events_per_second),
        with_separators(put.events_per_second),
        put.name
    ))
}

/// Reports directories of which one is much slower.
fn unequal(findings: &AdviceInput<'_>) -> Option<String> {
    let speeds = || findings.device.iter().map(|d| d.large_mb_per_second);
    let (slowest, fastest) = (speeds().fold(f64::MAX, f64::min), speeds().fold(0.0, f64::max));
    if findings.device.len() < 2 || fastest < UNEQUAL * slowest {
        return None;
    }
    let at = speeds().position(|speed| speed == slowest)? + 1;
    Some(format!(
        "Directory {at} takes {slowest:.0} MB/s where the fastest takes {fastest:.0}: the channel gives it less, and what it gets waits longer."
    ))
}

fn caveats(findings: &AdviceInput<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if !findings.direct {
        sentences.push("Not every directory can be written past the page cache: there each write is followed by a sync, one at a time, and a file system in memory says nothing about a disk.".to_owned());
    }
    let spread = |row: &&ReportRow| {
        let (low, high) = row.rounds.iter().fold((f64::MAX, 0.0), |(l, h), r| (r.min(l), r.max(h)));
        high > SPREAD * low
    };
    let unsteady: Vec<&ReportRow> = findings.rows.iter().filter(spread).collect();
    if !unsteady.is_empty() {
        sentences.push(format!(
            "In {} of {} rows the rounds differ by more than half: the machine did other things, or the measurement was short; run it again with more --rounds before deciding.",
            unsteady.len(),
            findings.rows.len()
        ));
    }
    if findings.rows.iter().any(|row| row.rounds.len() < 3) {
        sentences.push(
            "Fewer than three rounds were measured; a single one may be off by half.".to_owned(),
        );
    }
    if findings.interrupted {
        sentences.push("It was interrupted: what was not measured is not considered.".to_owned());
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::super::measurement::EndReason;
    use super::super::plan::Workload;
    use super::*;

    /// Returns a row as measured with two threads of each kind in it.
    fn row(
        batch: usize,
        producers: usize,
        takers: usize,
        side: ReportSide,
        rate: f64,
    ) -> ReportRow {
        let workload = Workload { batch, producers, takers };
        ReportRow {
            name: workload.name(),
            workload,
            side,
            events_per_second: rate,
            rounds: vec![rate; 3],
            baseline: None,
            of_baseline: None,
            mb_per_second: rate * 512.0 / 1e6,
            of_device: 0.5,
            of_bandwidth: rate * 512.0 / 1e9,
            p50_ms: 0.1,
            p99_ms: 0.25,
            p999_ms: 0.5,
            longest_ms: 1.0,
            commits: 1000,
            cpu_us: Some(1.0),
            cpu_share: Some(0.3),
            log_bytes: 1.05,
            device_bytes: Some(1.05),
            events_per_write: 100.0,
            seconds: 2.0,
            ended: EndReason::Time,
        }
    }

    fn put(batch: usize, producers: usize, rate: f64) -> ReportRow {
        row(batch, producers, 0, ReportSide::Put, rate)
    }

    const fn device(large_mb_per_second: f64) -> DirectorySpeed {
        DirectorySpeed { small_writes_per_second: 20_000.0, large_mb_per_second }
    }

    fn said(rows: &[ReportRow], change: impl Fn(&mut AdviceInput<'_>)) -> String {
        let device = [device(1000.0)];
        let mut findings = AdviceInput {
            rows,
            device: &device,
            file_systems: 1,
            first_directory: None,
            direct: true,
            body_bytes: 512,
            capacity: None,
            interrupted: false,
        };
        change(&mut findings);
        of(&findings).join("\n")
    }

    #[test]
    fn the_smallest_nearly_fastest_workload_is_recommended() {
        let rows = [
            put(1, 1, 10e3),
            put(1, 4, 30e3),
            put(100, 1, 500e3),
            put(100, 4, 950e3),
            put(1000, 1, 600e3),
            put(1000, 4, 1000e3),
        ];
        let words = said(&rows, |_| {});
        assert!(words.contains("Batch: 100 events"), "{words}");
        assert!(words.contains("950,000 events/s, 31.7 times what batches of 1 reach"), "{words}");
        assert!(words.contains("done in 0.25 ms; larger ones bring less"), "{words}");
        assert!(
            words.contains("Producers: 4 at once reach 1,000,000 events/s in batches of 1000, 1.7"),
            "{words}"
        );
        let rows = [put(1, 1, 10e3), put(100, 1, 99e3), put(100, 4, 100e3)];
        let words = said(&rows, |_| {});
        assert!(words.contains("; larger ones were not measured"), "{words}");
        assert!(words.contains("Producers: 1 already reach 99,000 events/s"), "{words}");
    }

    #[test]
    fn what_was_not_compared_is_not_recommended() {
        let words = said(&[put(100, 4, 1e5)], |_| {});
        assert!(
            words.contains("Only batches of 100") && words.contains("Only 4 producers were"),
            "{words}"
        );
        assert!(said(&[put(100, 1, 1e5)], |_| {}).contains("Only 1 producer was"), "one");
        assert_eq!(said(&[], |_| {}), "");
    }

    #[test]
    fn further_directories_are_recommended_only_where_the_disks_are_the_limit() {
        let by_disk = said(&[put(100, 4, 1.6e6)], |_| {});
        assert!(
            by_disk.contains("82 % of the bytes that the disks take, so they are the limit"),
            "{by_disk}"
        );
        let mut busy = put(100, 4, 1e6);
        busy.cpu_share = Some(0.95);
        let by_processor = said(&[busy], |_| {});
        assert!(by_processor.contains("further directories would not help"), "{by_processor}");
        let by_neither = said(&[put(100, 4, 1e6)], |_| {});
        assert!(by_neither.contains("neither is used up"), "{by_neither}");
        const TWO: [DirectorySpeed; 2] = [device(1000.0), device(1000.0)];
        const SLOW: [DirectorySpeed; 2] = [device(1000.0), device(400.0)];
        let shared = said(&[put(100, 4, 1e6)], |f| f.device = &TWO);
        assert!(shared.contains("2 directories are on 1 file system:"), "{shared}");
        assert!(!shared.contains("Directory 2"), "{shared}");
        let unequal = said(&[put(100, 4, 1e6)], |f| (f.device, f.file_systems) = (&SLOW, 2));
        assert!(
            unequal.contains("Directory 2 takes 400 MB/s") && !unequal.contains("are on"),
            "{unequal}"
        );
    }

    #[test]
    fn several_directories_are_compared_with_the_first() {
        const TWO: [DirectorySpeed; 2] = [device(1000.0), device(1000.0)];
        let found = |times: f64| SingleDirRatio {
            workload: "put b100 x4".to_owned(),
            together_events_per_second: 1e6,
            events_per_second: 1e6 / times,
            times,
        };
        let worth = said(&[put(100, 4, 1e6)], |f| {
            (f.device, f.first_directory) = (&TWO, Some(found(1.94)));
        });
        assert!(
            worth.contains("all 2 together put 1,000,000 events/s with put b100 x4, the first alone 515,464: 1.9 times"),
            "{worth}"
        );
        let not = said(&[put(100, 4, 1e6)], |f| {
            (f.device, f.first_directory) = (&TWO, Some(found(1.04)));
        });
        assert!(
            not.contains(
                "1.04 times what the first alone does: as they are, the others are not worth it"
            ),
            "{not}"
        );
    }

    #[test]
    fn a_capacity_is_shown_as_time() {
        let set = said(&[put(100, 4, 1e6)], |f| f.capacity = Some(3_000_000));
        assert!(
            set.contains("3,000,000 events are full after 3.0 s at 1,000,000 events/s"),
            "{set}"
        );
        let open = said(&[put(100, 4, 1e6)], |_| {});
        assert!(open.contains("a minute leave 60,000,000 events and 32.3 GB"), "{open}");
        assert!(
            open.contains("10,000 events/s for an hour need a capacity of 36,000,000 and 19.4 GB"),
            "{open}"
        );
        let times = [(5.0, "5.0 s"), (600.0, "10 min"), (86_400.0, "24 h")];
        times.iter().for_each(|(seconds, words)| assert_eq!(duration(*seconds), *words));
    }

    #[test]
    fn takers_that_fall_behind_are_named() {
        let both = |put: f64, take: f64| {
            [row(100, 2, 2, ReportSide::Put, put), row(100, 2, 2, ReportSide::Take, take)]
        };
        assert!(said(&both(1e5, 1e5), |_| {}).contains("kept up"));
        assert!(said(&both(1e5, 5e4), |_| {}).contains("could not keep up in mixed b100 x2+2"));
    }

    #[test]
    fn figures_that_cannot_be_trusted_are_said_to_be_so() {
        let mut rows = [put(100, 4, 1e5)];
        assert!(!said(&rows, |_| {}).contains("rounds"));
        rows[0].rounds = vec![1e5, 2e5];
        let words = said(&rows, |f| (f.direct, f.interrupted) = (false, true));
        for part in [
            "In 1 of 1 rows the rounds differ",
            "Fewer than three rounds",
            "page cache",
            "interrupted",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
}
