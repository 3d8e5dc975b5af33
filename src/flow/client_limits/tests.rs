//! Everything on a clock that the test moves.

use super::*;
use crate::base::limits::{
    CONNECTION_CROWDED_MS_MIN, CONNECTION_SILENT_MS_MIN, KNOWN_ADDRESS_MS,
    KNOWN_ADDRESS_UNPROVEN_MAX, LEAVING_MAX, REQUEST_SLOW_AFTER_MS, REQUEST_SMALL_BYTES,
};
use tokio::time::{advance, sleep};

const MIB: usize = 1024 * 1024;
/// What the book has of 16 MiB, without what reads and lines have permits for.
const BOOK: usize = 13 * MIB;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

struct Trial {
    totals: Arc<ClientTotals>,
    counters: Arc<SourceCounters>,
    gate: Gate,
}

impl Trial {
    fn new(connections: usize, of_source: usize) -> Self {
        let totals = Arc::new(ClientTotals::default());
        let limits = ClientLimits::new(16 * MIB, connections, Arc::clone(&totals));
        let gate = limits.gate(of_source);
        Self { totals, counters: Arc::default(), gate }
    }

    fn enter(&self, last: u8) -> Result<Arc<Connection>, Full> {
        self.gate.admit(address(last), 1024, &self.counters)
    }

    fn memory(&self) -> usize {
        usize::try_from(self.totals.memory_bytes.get()).unwrap()
    }
}

async fn seconds(n: u64) {
    advance(Duration::from_secs(n)).await;
}

const SILENT: u64 = CONNECTION_SILENT_MS_MIN / 1000 + 1;
const SLOW: u64 = REQUEST_SLOW_AFTER_MS / 1000 + 1;

#[tokio::test(start_paused = true)]
async fn what_all_hold_is_bounded_and_comes_back() {
    let trial = Trial::new(100, 100);
    let (one, other) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    one.is_heard();
    other.is_heard();
    one.hold(6 * MIB).await.unwrap();
    one.hold(1).await.unwrap();
    assert_eq!((trial.memory(), trial.counters.held_bytes.get()), (6 * MIB + 2048, 6 * MIB as u64));
    assert!(!other.try_hold(6 * MIB), "an eighth is for small ones");
    assert!(other.try_hold(5 * MIB));
    let third = trial.enter(3).unwrap();
    third.is_heard();
    assert!(!third.try_hold(MIB) && third.try_hold(REQUEST_SMALL_BYTES));
    assert_eq!(third.hold(BOOK).await, Err(NoRoom::TooLarge));
    one.shrink(MIB);
    assert!(third.try_hold(MIB));
    drop((one, other, third));
    assert_eq!((trial.memory(), trial.counters.held_bytes.get()), (0, 0));
    assert_eq!(trial.totals.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_memory_or_after_a_while() {
    let trial = Trial::new(100, 100);
    let (one, other) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    one.hold(10 * MIB).await.unwrap();
    let busy = one.busy();
    assert_eq!(other.hold(2 * MIB).await, Err(NoRoom::NotInTime));
    assert_eq!(trial.totals.refused.get(), 1);
    let waits = async {
        other.hold(2 * MIB).await.unwrap();
        other.shrink(0);
    };
    let gives = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(trial.totals.waiting.get(), 1);
        one.release();
    };
    tokio::join!(waits, gives);
    assert_eq!(trial.totals.waiting.get(), 0);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_memory_to_others_and_may_have_one_large_request() {
    let trial = Trial::new(100, 100);
    let first = trial.enter(1).unwrap();
    assert!(first.try_hold(11 * MIB), "nobody else is there");
    first.release();
    let crowd: Vec<_> = (0..8).map(|_| trial.enter(1).unwrap()).collect();
    let granted = crowd.iter().filter(|client| client.try_hold(MIB)).count();
    assert_eq!(granted, 6, "half of everything");
    let other = trial.enter(2).unwrap();
    assert!(other.try_hold(4 * MIB));
}

#[tokio::test(start_paused = true)]
async fn who_holds_much_and_sends_it_slowly_gives_way_to_who_waits() {
    let trial = Trial::new(100, 100);
    let (slow, works, next) =
        (trial.enter(1).unwrap(), trial.enter(2).unwrap(), trial.enter(3).unwrap());
    works.is_heard();
    slow.hold(600 * 1024).await.unwrap();
    works.hold(10 * MIB).await.unwrap();
    seconds(SLOW).await;
    assert!(!slow.leaves(), "nobody waits");
    let busy = works.busy();
    let waits = next.hold(2 * MIB);
    let goes = async {
        slow.told_to_go().await;
        drop(busy);
        works.release();
    };
    let (granted, ()) = tokio::join!(waits, goes);
    granted.unwrap();
    assert!(!works.leaves() && trial.totals.gave_way.get() == 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_quick_or_busy_or_has_just_begun_does_not_give_way() {
    let trial = Trial::new(100, 100);
    let all: Vec<_> = (1..4).map(|last| trial.enter(last).unwrap()).collect();
    seconds(3600).await;
    for client in &all {
        client.hold(3 * MIB + MIB / 2).await.unwrap();
    }
    let _busy = all[0].busy();
    let next = trial.enter(9).unwrap();
    let early = timeout(Duration::from_secs(5), next.hold(MIB)).await;
    assert!(early.is_err() && all.iter().all(|client| !client.leaves()));
    assert_eq!(next.hold(MIB).await, Err(NoRoom::NotInTime), "over 100 KiB a second until then");
    assert!(all.iter().all(|client| !client.leaves()));
    seconds(120).await;
    let _ = timeout(Duration::from_secs(1), next.hold(MIB)).await;
    assert!(!all[0].leaves() && (all[1].leaves() ^ all[2].leaves()), "one is enough");
}

#[tokio::test(start_paused = true)]
async fn the_longest_silent_gives_way_when_all_places_are_taken() {
    let trial = Trial::new(100, 3);
    let mut all = Vec::new();
    for last in 1..4 {
        all.push(trial.enter(last).unwrap());
        seconds(1).await;
    }
    assert_eq!(trial.enter(9).err(), Some(Full::Source), "all came a moment ago");
    seconds(SILENT).await;
    all[1].is_heard();
    let next = trial.enter(9).unwrap();
    assert!(all[0].leaves() && !all[1].leaves() && !all[2].leaves());
    seconds(SILENT).await;
    all[1].is_heard();
    drop(all.remove(0));
    let _busy = all[1].busy();
    let more = trial.enter(9).unwrap();
    assert!(!all[0].leaves() && !all[1].leaves() && next.leaves(), "it never said a word");
    assert_eq!(trial.enter(9).err(), Some(Full::Source));
    drop((next, more));
    assert_eq!(trial.totals.gave_way.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_of_a_crowded_address_give_way_first_and_those_that_never_spoke_before_the_others() {
    let trial = Trial::new(100, 8);
    let old = trial.enter(1).unwrap();
    let spoke = trial.enter(2).unwrap();
    spoke.is_heard();
    seconds(1).await;
    let crowd: Vec<_> = (0..6).map(|_| trial.enter(7).unwrap()).collect();
    seconds(SILENT).await;
    let _next = trial.enter(3).unwrap();
    assert!(!old.leaves() && !spoke.leaves());
    assert_eq!(crowd.iter().filter(|client| client.leaves()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_newcomers_does_not_drive_out_those_that_bring_events() {
    let trial = Trial::new(8, 100);
    let quiet: Vec<_> = (1..5).map(|last| trial.enter(last).unwrap()).collect();
    quiet.iter().for_each(|client| client.is_heard());
    seconds(300).await;
    let flood: Vec<_> = (10..14).map(|last| trial.enter(last).unwrap()).collect();
    assert_eq!(
        trial.enter(20).err(),
        Some(Full::Descriptors),
        "until they have been silent a while"
    );
    seconds(SILENT).await;
    let _next = trial.enter(20).unwrap();
    assert!(quiet.iter().all(|client| !client.leaves()));
    assert_eq!(flood.iter().filter(|client| client.leaves()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_silent_ones_give_way_when_their_memory_is_used_up() {
    let trial = Trial::new(100, 100);
    let mut all = Vec::new();
    for _ in 0..9 {
        all.push(trial.enter(1).unwrap());
        all.last().unwrap().keep(MIB).await.unwrap();
        seconds(1).await;
    }
    seconds(SILENT).await;
    let next = trial.enter(2).unwrap();
    let (kept, goes) = (next.keep(MIB), async {
        all[0].told_to_go().await;
        drop(all.remove(0));
    });
    let (kept, ()) = tokio::join!(kept, goes);
    kept.unwrap();
    assert!(all.iter().all(|client| !client.leaves()), "one is enough");
    assert!(next.try_hold(2 * MIB), "a quarter is for requests, whoever is there");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_while_too_many_have_not_gone_yet() {
    let trial = Trial::new(1000, 100);
    trial.enter(3).unwrap().is_heard();
    let _all: Vec<_> = (0..100).map(|_| trial.enter(1).unwrap()).collect();
    seconds(SILENT).await;
    let mut more = Vec::new();
    let full = loop {
        match trial.enter(2) {
            Ok(client) => more.push(client),
            Err(full) => break full,
        }
    };
    assert_eq!(
        (full, more.len()),
        (Full::Leaving, LEAVING_MAX / 4 * 3),
        "the rest is for known ones"
    );
    more.push(trial.enter(3).unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_takes_nothing() {
    let trial = Trial::new(100, 100);
    let (one, other) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    one.hold(10 * MIB).await.unwrap();
    let _busy = one.busy();
    let _ = timeout(Duration::from_millis(50), other.hold(2 * MIB)).await;
    assert_eq!(trial.totals.waiting.get(), 0);
    one.release();
    assert_eq!(trial.memory(), 2048);
}

/// Strangers of a thousand addresses want every place again and again; one that connects for each request goes on.
#[tokio::test(start_paused = true)]
async fn who_brings_events_gets_in_while_strangers_want_every_place() {
    let trial = Trial::new(64, 1000);
    trial.enter(1).unwrap().is_heard();
    let (mut inside, mut taken, mut last, mut pause) = (Vec::new(), 0, 0, 0);
    for step in 0..1500 {
        for n in 0..10 {
            let stranger = IpAddr::from([10, 1, (step % 25) as u8, n * 10 + (step % 7) as u8]);
            inside.extend(trial.gate.admit(stranger, 1024, &trial.counters));
        }
        if let Ok(client) = trial.enter(1) {
            client.is_heard();
            (taken, pause, last) = (taken + 1, pause.max(step - last), step);
        }
        inside.retain(|client| !client.leaves());
        advance(Duration::from_millis(20)).await;
    }
    assert!(inside.len() >= 60, "the places are taken: {}", inside.len());
    assert!(taken >= 750, "{taken} of 1500");
    assert!(pause.max(1499 - last) * 20 <= 2000, "{} ms", pause * 20);
}

#[tokio::test(start_paused = true)]
async fn who_has_few_connections_gets_in_while_one_address_has_many() {
    let trial = Trial::new(64, 1000);
    let crowd: Vec<_> = (0..64).map(|_| trial.enter(7).unwrap()).collect();
    advance(Duration::from_millis(CONNECTION_CROWDED_MS_MIN)).await;
    assert_eq!(trial.enter(7).err(), Some(Full::Descriptors));
    let _next = trial.enter(3).unwrap();
    assert_eq!(crowd.iter().filter(|client| client.leaves()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_event_does_not_bring_thousands_in() {
    let trial = Trial::new(64, 1000);
    let brings = trial.enter(7).unwrap();
    brings.is_heard();
    let crowd: Vec<_> = (0..=KNOWN_ADDRESS_UNPROVEN_MAX).map(|_| trial.enter(7).unwrap()).collect();
    let others: Vec<_> =
        (0..64 - 1 - crowd.len()).map(|n| trial.enter(100 + n as u8).unwrap()).collect();
    seconds(2).await;
    assert_eq!(trial.enter(7).err(), Some(Full::Descriptors));
    drop(crowd);
    assert_eq!(trial.enter(7).map(|_| ()), Ok(()));
    assert!(others.iter().all(|client| !client.leaves()));
}

#[tokio::test(start_paused = true)]
async fn an_address_is_forgotten_after_a_while() {
    let trial = Trial::new(16, 1000);
    trial.enter(1).unwrap().is_heard();
    let fill = || (0..16).map(|n| trial.enter(100 + n).unwrap()).collect::<Vec<_>>();
    let strangers = fill();
    seconds(1).await;
    assert!(trial.enter(1).is_ok(), "known");
    drop(strangers);
    advance(Duration::from_millis(KNOWN_ADDRESS_MS)).await;
    let _strangers = fill();
    seconds(1).await;
    assert_eq!(trial.enter(1).err(), Some(Full::Descriptors));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_quickly_does_not_give_its_place_up_and_one_that_waits_for_much_does()
{
    let trial = Trial::new(3, 1000);
    trial.enter(9).unwrap().is_heard();
    let (quick, waits) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    quick.hold(10 * MIB).await.unwrap();
    let _third = trial.enter(9).unwrap();
    let attempt = async {
        sleep(Duration::from_secs(2)).await;
        trial.enter(9).map(|_| ())
    };
    let (waited, attempt) = tokio::join!(waits.hold(5 * MIB), attempt);
    assert_eq!((waited, attempt), (Err(NoRoom::NotInTime), Ok(())));
    assert!(waits.leaves() && !quick.leaves());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_what_lasts_does_not_keep_the_slow_ones_in() {
    let trial = Trial::new(100, 100);
    let all: Vec<_> = (1..6).map(|last| trial.enter(last).unwrap()).collect();
    let [keeps, slow, works, newcomer, next] = &all[..] else { unreachable!() };
    all.iter().for_each(|client| client.is_heard());
    keeps.keep(9 * MIB).await.unwrap();
    slow.hold(600 * 1024).await.unwrap();
    works.hold(MIB + MIB / 4).await.unwrap();
    let _busy = works.busy();
    seconds(SLOW).await;
    all.iter().for_each(|client| client.is_heard());
    let goes = async {
        slow.told_to_go().await;
        slow.release();
    };
    let within = timeout(Duration::from_secs(5), async {
        tokio::select! {
            biased;
            _ = newcomer.keep(MIB) => panic!("there is no memory that lasts"),
            (granted, ()) = async { tokio::join!(next.hold(MIB), goes) } => granted.unwrap(),
        }
    });
    within.await.expect("the slow one goes at once");
}
