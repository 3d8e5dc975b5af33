//! Measures the effect of hostile clients on an agent and on its legitimate clients: thousands of connections, each
//! with one of the attacks in `attacks.rs`, against the real binary with little memory and few or many descriptors,
//! while legitimate senders continue.
//!
//! `cargo bench --bench hostile_clients -- [--connections N] [--seconds S] [--descriptors N,N] [--mebibytes N] [--dir
//! DIR]`
//!
//! The agent gets its limits as set by a shell: open files, and the data segment (`ulimit -d`), which counts the
//! memory requested, touched or not, and so is stricter than a control group. The run fails if the agent ends, takes
//! more memory than allowed, a legitimate sender keeps less than a tenth of its rate or pauses for more than 5 s, a
//! new client is not served within 10 s, or an acknowledged event is missing in the files.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod round;

use round::{Plan, Report};
use std::path::PathBuf;

fn main() {
    let mut plan = Plan { connections: 10_000, seconds: 30, mebibytes: 256, descriptors: 0 };
    let mut descriptors = vec![1_024, 20_000];
    let mut directory = std::env::temp_dir();
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} has a value"));
        match word.as_str() {
            "--connections" => plan.connections = value.parse().unwrap(),
            "--seconds" => plan.seconds = value.parse().unwrap(),
            "--mebibytes" => plan.mebibytes = value.parse().unwrap(),
            "--descriptors" => {
                descriptors = value.split(',').map(|n| n.parse().unwrap()).collect();
            }
            "--dir" => directory = PathBuf::from(value),
            other => panic!("no such option: {other}"),
        }
    }
    for descriptors in descriptors {
        let report = round::run(&Plan { descriptors, ..plan }, &directory);
        println!(
            "\n{} connections at {descriptors} descriptors, {} MiB\n",
            plan.connections, plan.mebibytes
        );
        print(&report);
        report.check(plan.mebibytes);
        report.check_pace();
    }
}

fn print(report: &Report) {
    println!("| attack | connections | let in | closed or refused by the agent | bytes sent |");
    println!("|---|---|---|---|---|");
    for (attack, count) in &report.attacks {
        let (connections, bytes) = (count.connections, count.sent());
        println!(
            "| {attack} | {connections} | {} | {} | {bytes} |",
            count.opened(),
            count.closed()
        );
    }
    println!("\n| honest sender | acknowledged/s before | during | longest pause, s | delivered |");
    println!("|---|---|---|---|---|");
    for sender in &report.senders {
        println!(
            "| {} | {:.0} | {:.0} | {:.1} | {} of {} |",
            sender.name,
            sender.before,
            sender.during,
            sender.pause,
            sender.delivered,
            sender.acknowledged
        );
    }
    let newcomers = report.newcomers.iter();
    let newcomers =
        newcomers.map(|it| it.map_or("never".to_owned(), |seconds| format!("{seconds:.2}")));
    println!(
        "\nnewcomers over http, seconds until the first request is taken: {}",
        newcomers.collect::<Vec<_>>().join(", ")
    );
    println!(
        "\npeak resident memory {} MiB, {} MiB before; budget {} MiB, most of it used {} MiB; gave way {}, refused {}",
        report.peak_mib,
        report.before_mib,
        report.budget_mib,
        report.used_mib,
        report.gave_way,
        report.refused
    );
}
