//! Memory that connections keep, while unknown clients ask for all of it.

use super::*;

/// Bytes of a silent connection, and of one that sends something.
const SILENT_BYTES: usize = 8 * 1024;
const SPEAKING_BYTES: usize = 32 * 1024;

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_events_gets_memory_to_keep_during_a_flood() {
    let trial = Arc::new(LimitsHarness::new(100_000, 100_000));
    trial.enter(1).unwrap().is_heard();
    let crowd = Arc::clone(&trial);
    let strangers = tokio::spawn(async move {
        let mut inside: Vec<Arc<AdmittedConnection>> = Vec::new();
        for step in 0_u32.. {
            for n in 0..100 {
                let [.., a, b] = (step % 60 * 100 + n).to_be_bytes();
                let stranger = IpAddr::from([10, 1, a, b]);
                inside.extend(crowd.gate.admit(stranger, SILENT_BYTES, &crowd.counters));
            }
            inside.retain(|client| !client.leaves());
            sleep(Duration::from_millis(20)).await;
        }
    });
    sleep(Duration::from_secs(30)).await;
    let mut served = 0;
    for _ in 0..50 {
        if let Ok(client) = trial.enter(1) {
            let kept = timeout(Duration::from_secs(2), client.keep(SPEAKING_BYTES)).await;
            served += usize::from(kept == Ok(Ok(())));
        }
        sleep(Duration::from_millis(200)).await;
    }
    assert!(served >= 45, "{served} of 50");
    strangers.abort();
}

/// The unknown clients of each source: how many of a thousand, the bytes that each asks to keep after its
/// admission, and those of a request that arrives quickly and then stops.
const CROWD: [(usize, usize, usize); 9] = [
    (240, 0, 0),
    (150, 0, 0),
    (50, 48 * 1024, 0),
    (100, 0, 0),
    (100, 48 * 1024, 0),
    (250, 0, 0),
    (50, 32 * 1024, 0),
    (50, 32 * 1024, 600_000),
    (60, 0, 1_200_000),
];
/// The index of the source to which newcomers connect.
const HTTP: usize = 7;
/// Bytes by which requests grow.
const STEP: usize = 64_000;

/// Actions of an admitted unknown client: it keeps, holds and is silent.
async fn stays(client: &AdmittedConnection, keeps: usize, holds: usize) {
    if keeps > 0 && client.keep(keeps).await.is_err() {
        return;
    }
    for step in 1..=holds / STEP {
        if client.hold(step * STEP).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Returns the seconds until a client at `address` has what it needs to be served.
async fn newcomer(
    gate: Arc<SourceAdmission>,
    counters: Arc<SourceCounters>,
    address: [u8; 4],
) -> f64 {
    let begun = Instant::now();
    loop {
        if let Ok(client) = gate.admit(address.into(), SILENT_BYTES, &counters) {
            let kept = tokio::select! {
                kept = client.keep(SPEAKING_BYTES) => kept.is_ok(),
                () = client.evicted() => false,
            };
            if kept {
                return begun.elapsed().as_secs_f64();
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_client_gets_memory_to_keep_among_thousands_of_strangers() {
    let limits = ClientLimits::new(20 * MIB, 100_000, Arc::default());
    let gates: Vec<Arc<SourceAdmission>> =
        CROWD.iter().map(|_| Arc::new(limits.gate(100_000))).collect();
    let counters: Arc<SourceCounters> = Arc::default();
    let mut strangers = tokio::task::JoinSet::new();
    for (source, (part, keeps, holds)) in CROWD.into_iter().enumerate() {
        for number in 0..part * 3 {
            let [a, b] = u16::try_from((source * 37 + number) % 300).unwrap().to_be_bytes();
            let address = if number % 2 == 0 { [10, 9, 0, 0] } else { [10, 1, a, b] };
            let (gate, counters) = (Arc::clone(&gates[source]), Arc::clone(&counters));
            strangers.spawn(async move {
                sleep(Duration::from_millis(number as u64 % 100 * 20)).await;
                loop {
                    if let Ok(client) = gate.admit(address.into(), SILENT_BYTES, &counters) {
                        tokio::select! {
                            () = stays(&client, keeps, holds) => {}
                            () = client.evicted() => {}
                        }
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
    }
    sleep(Duration::from_secs(3)).await;
    let mut newcomers = Vec::new();
    for number in 0..6 {
        let gate = Arc::clone(&gates[HTTP]);
        let waits = newcomer(gate, Arc::clone(&counters), [10, 8, 0, number]);
        newcomers.push(tokio::spawn(timeout(Duration::from_secs(60), waits)));
        sleep(Duration::from_secs(2)).await;
    }
    for newcomer in newcomers {
        let waited = newcomer.await.unwrap().unwrap();
        assert!(waited < 4.0, "{waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_connection_was_closed_to_make_room_waits_after_a_new_one() {
    let trial = LimitsHarness::new(100, 100);
    let (first, second) = (trial.enter(8).unwrap(), trial.enter(9).unwrap());
    first.keep(4 * MIB).await.unwrap();
    second.keep(4 * MIB).await.unwrap();
    let (in_use, also) = (first.busy(), second.busy());
    let closed = trial.enter(1).unwrap();
    seconds(SILENT).await;
    trial.gate.relieve();
    assert!(closed.leaves());
    drop(closed);
    let (again, new) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    let waits = |client: Arc<AdmittedConnection>| {
        tokio::spawn(async move { client.keep(4 * MIB).await.map(|()| client) })
    };
    let again = waits(again);
    sleep(Duration::from_millis(50)).await;
    let new = waits(new);
    sleep(Duration::from_millis(50)).await;
    drop(in_use);
    drop(first);
    sleep(Duration::from_millis(500)).await;
    assert!(new.is_finished() && !again.is_finished());
    drop(also);
}
