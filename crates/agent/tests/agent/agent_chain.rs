//! Three agents in a chain, each killed with SIGKILL at random times: netcat, avro, avro, files,
//! and a file channel in each.

use super::kill::{Client, count};
use super::process::{Agent, Random, free_port, fresh_seed, lines_in, until};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Events of a batch, at every hop.
const BATCH: u64 = 100;
/// Batches that the file_roll sink makes durable, and acknowledges, together.
const TOGETHER: u64 = 32;

const NAMES: [&str; 3] = ["front", "middle", "back"];

/// Events that one kill may repeat: the batch whose acknowledgement it was making durable, and the
/// one in its channel whose sender had no reply.
const REPEATS: [u64; 3] = [BATCH, 2 * BATCH, (TOGETHER + 1) * BATCH];

fn configuration(at: usize, ports: &[u16]) -> String {
    let (name, port) = (NAMES[at], ports[at]);
    let kind = if at == 0 { "netcat" } else { "avro" };
    let sink = match ports.get(at + 1) {
        Some(next) => format!(
            "type = avro\nhostname = 127.0.0.1\nport = {next}\nbatch-size = {BATCH}\n\
             connect-timeout = 2000"
        ),
        None => format!(
            "type = file_roll\nsink.directory = out\nsink.rollInterval = 0\nsink.batchSize = {BATCH}"
        ),
    };
    let sink: String = sink.lines().map(|line| format!("{name}.sinks.out.{line}\n")).collect();
    format!(
        "{name}.sources = in\n{name}.channels = c\n{name}.sinks = out\n\
         {name}.sources.in.type = {kind}\n{name}.sources.in.bind = 127.0.0.1\n\
         {name}.sources.in.port = {port}\n{name}.sources.in.channels = c\n\
         {name}.channels.c.type = file\n{name}.channels.c.checkpointDir = cp\n\
         {name}.channels.c.dataDirs = d1,d2\n{name}.channels.c.maxFileSize = 1048576\n\
         {name}.channels.c.minimumRequiredSpace = 1048576\n{sink}{name}.sinks.out.channel = c\n"
    )
}

fn started(directory: &Path, name: &str) -> Agent {
    Agent::start(&directory.join(name), name, "a.conf")
}

/// Kills one after the other, at least `kills` times and until `events` were acknowledged; returns
/// how often each was killed.
fn kill_repeatedly(
    directory: &Path,
    agents: &mut [Option<Agent>],
    client: &Client,
    random: &mut Random,
    (events, kills): (u64, u64),
) -> [u64; 3] {
    let mut killed = [0; 3];
    while client.answered.load(Ordering::SeqCst) < events || killed.iter().sum::<u64>() < kills {
        std::thread::sleep(Duration::from_millis(100 + random.below(900)));
        let at = usize::try_from(random.below(3)).expect("one of three");
        let mut agent = agents[at].take().expect("all three run");
        agent.assert_alive();
        agent.kill();
        killed[at] += 1;
        // Now and then the others notice that it is down.
        std::thread::sleep(Duration::from_millis(random.below(600)));
        let before = client.answered.load(Ordering::SeqCst);
        agents[at] = Some(started(directory, NAMES[at]));
        // Without progress it would be the opening that is killed, again and again.
        if at == 0 {
            let agent = agents[0].as_ref().expect("it was started");
            let answered = || client.answered.load(Ordering::SeqCst) > before;
            until("an answer after a restart", || agent.words(), answered);
        }
    }
    killed
}

#[test]
fn three_agents_in_a_chain_that_are_killed_at_random_lose_and_alter_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("MILLPOND_SEED").unwrap_or_else(fresh_seed);
    let events = number("MILLPOND_SOAK").unwrap_or(2000);
    let kills = 6 + events / 1000;
    eprintln!("seed {seed}, {events} events, {kills} kills; repeat with MILLPOND_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let ports: Vec<u16> = NAMES.iter().map(|_| free_port()).collect();
    for (at, name) in NAMES.iter().enumerate() {
        std::fs::create_dir_all(directory.join(name).join("out")).expect("a directory");
        let path = directory.join(name).join("a.conf");
        std::fs::write(path, configuration(at, &ports)).expect("written");
    }

    let (client, mut random) = (Client::default(), Random::new(seed));
    let mut agents: Vec<_> = NAMES.iter().map(|name| Some(started(directory, name))).collect();
    let (acknowledged, killed) = std::thread::scope(|scope| {
        let running = scope.spawn(|| client.run(ports[0]));
        let tormented = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kill_repeatedly(directory, &mut agents, &client, &mut random, (events, kills))
        }));
        client.stop.store(true, Ordering::SeqCst);
        let acknowledged = running.join().expect("the client ends");
        (acknowledged, tormented.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let sent = client.sent.load(Ordering::SeqCst);

    let out = directory.join("back/out");
    let mut counts = BTreeMap::new();
    let words = || agents.iter().flatten().map(Agent::words).collect::<String>();
    until("every acknowledged line in the files", words, || {
        counts = count(&lines_in(&out), sent);
        acknowledged.iter().all(|n| counts.contains_key(n))
    });
    // Sources first, so that nothing comes after the check.
    for agent in agents.into_iter().flatten() {
        assert_eq!(agent.terminate().code(), Some(0));
    }
    counts = count(&lines_in(&out), sent);
    let repeats: u64 = counts.values().map(|times| times - 1).sum();
    let allowed: u64 = killed.iter().zip(REPEATS).map(|(kills, each)| kills * each).sum();
    eprintln!(
        "{sent} sent, {} acknowledged, {} came out, {repeats} repeats of {allowed}; killed {killed:?}",
        acknowledged.len(),
        counts.len()
    );
    assert!(acknowledged.len() as u64 >= events, "the client must have got through");
    assert!(repeats <= allowed, "more repeats than the batches that were in doubt");
}
