//! Client limits, on a clock that the test moves.

use super::*;
use crate::base::limits::{
    CONNECTION_CROWDED_MS_MIN, CONNECTION_SILENT_MS_MIN, KNOWN_ADDRESS_MS,
    KNOWN_ADDRESS_UNPROVEN_MAX, LEAVING_MAX, REQUEST_SLOW_AFTER_MS, REQUEST_SMALL_BYTES,
};
use tokio::time::{advance, sleep};

mod kept_memory;

const MIB: usize = 1024 * 1024;
/// The accounting's part of 16 MiB, without the permits of reads and lines.
const BOOK: usize = 13 * MIB;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

struct LimitsHarness {
    totals: Arc<ClientTotals>,
    counters: Arc<SourceCounters>,
    gate: SourceAdmission,
}

impl LimitsHarness {
    fn new(connections: usize, of_source: usize) -> Self {
        let totals = Arc::new(ClientTotals::default());
        let limits = ClientLimits::new(16 * MIB, connections, Arc::clone(&totals));
        let gate = limits.gate(of_source);
        Self { totals, counters: Arc::default(), gate }
    }

    fn enter(&self, last: u8) -> Result<Arc<AdmittedConnection>, AdmissionDenied> {
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
    let trial = LimitsHarness::new(100, 100);
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
    assert_eq!(third.hold(BOOK).await, Err(MemoryDenied::TooLarge));
    one.shrink(MIB);
    assert!(third.try_hold(MIB));
    drop((one, other, third));
    assert_eq!((trial.memory(), trial.counters.held_bytes.get()), (0, 0));
    assert_eq!(trial.totals.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_memory_or_after_a_while() {
    let trial = LimitsHarness::new(100, 100);
    let (one, other) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    one.hold(10 * MIB).await.unwrap();
    let busy = one.busy();
    assert_eq!(other.hold(2 * MIB).await, Err(MemoryDenied::NotInTime));
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
    let trial = LimitsHarness::new(100, 100);
    let first = trial.enter(1).unwrap();
    assert!(first.try_hold(11 * MIB), "there is no other client");
    first.release();
    let crowd: Vec<_> = (0..8).map(|_| trial.enter(1).unwrap()).collect();
    let granted = crowd.iter().filter(|client| client.try_hold(MIB)).count();
    assert_eq!(granted, 6, "half of everything");
    let other = trial.enter(2).unwrap();
    assert!(other.try_hold(4 * MIB));
}

#[tokio::test(start_paused = true)]
async fn a_slow_holder_of_much_memory_is_evicted_for_a_waiting_client() {
    let trial = LimitsHarness::new(100, 100);
    let (slow, works, next) =
        (trial.enter(1).unwrap(), trial.enter(2).unwrap(), trial.enter(3).unwrap());
    works.is_heard();
    slow.hold(600 * 1024).await.unwrap();
    works.hold(10 * MIB).await.unwrap();
    seconds(SLOW).await;
    assert!(!slow.leaves(), "no request waits");
    let busy = works.busy();
    let waits = next.hold(2 * MIB);
    let goes = async {
        slow.evicted().await;
        drop(busy);
        works.release();
    };
    let (granted, ()) = tokio::join!(waits, goes);
    granted.unwrap();
    assert!(!works.leaves() && trial.totals.gave_way.get() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_quick_busy_or_new_connection_is_not_evicted() {
    let trial = LimitsHarness::new(100, 100);
    let all: Vec<_> = (1..4).map(|last| trial.enter(last).unwrap()).collect();
    seconds(3600).await;
    let (begin, second) = (2 * MIB, 72 * 1024);
    for client in &all {
        client.hold(begin).await.unwrap();
    }
    let _busy = all[0].busy();
    let next = trial.enter(9).unwrap();
    let early = timeout(Duration::from_secs(5), next.hold(6 * MIB)).await;
    assert!(early.is_err() && all.iter().all(|client| !client.leaves()));
    let goes_on = async {
        for n in 1..20 {
            sleep(Duration::from_secs(1)).await;
            let more = |client: &Arc<AdmittedConnection>| client.try_hold(begin + n * second);
            assert!(more(&all[1]) && more(&all[2]));
        }
    };
    tokio::select! {
        granted = next.hold(6 * MIB) => panic!("{granted:?}"),
        () = goes_on => {}
    }
    assert!(all.iter().all(|client| !client.leaves()), "over 64 KiB a second until then");
    seconds(SLOW).await;
    let _ = timeout(Duration::from_secs(1), next.hold(3 * MIB)).await;
    assert!(!all[0].leaves() && (all[1].leaves() ^ all[2].leaves()), "one is enough");
}

#[tokio::test(start_paused = true)]
async fn the_longest_silent_is_evicted_when_all_places_are_taken() {
    let trial = LimitsHarness::new(100, 3);
    let mut all = Vec::new();
    for last in 1..4 {
        all.push(trial.enter(last).unwrap());
        seconds(1).await;
    }
    assert_eq!(trial.enter(9).err(), Some(AdmissionDenied::Source), "all have just arrived");
    seconds(SILENT).await;
    all[1].is_heard();
    let next = trial.enter(9).unwrap();
    assert!(all[0].leaves() && !all[1].leaves() && !all[2].leaves());
    seconds(SILENT).await;
    all[1].is_heard();
    drop(all.remove(0));
    let _busy = all[1].busy();
    let more = trial.enter(9).unwrap();
    assert!(!all[0].leaves() && !all[1].leaves() && next.leaves(), "it never sent anything");
    assert_eq!(trial.enter(9).err(), Some(AdmissionDenied::Source));
    drop((next, more));
    assert_eq!(trial.totals.gave_way.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_of_a_crowded_address_are_evicted_first() {
    let trial = LimitsHarness::new(100, 8);
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
async fn a_flood_of_newcomers_does_not_evict_those_that_send_events() {
    let trial = LimitsHarness::new(8, 100);
    let quiet: Vec<_> = (1..5).map(|last| trial.enter(last).unwrap()).collect();
    quiet.iter().for_each(|client| client.is_heard());
    seconds(300).await;
    let flood: Vec<_> = (10..14).map(|last| trial.enter(last).unwrap()).collect();
    assert_eq!(
        trial.enter(20).err(),
        Some(AdmissionDenied::Descriptors),
        "until they have been silent a while"
    );
    seconds(SILENT).await;
    let _next = trial.enter(20).unwrap();
    assert!(quiet.iter().all(|client| !client.leaves()));
    assert_eq!(flood.iter().filter(|client| client.leaves()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_evicted_when_their_memory_is_used_up() {
    let trial = LimitsHarness::new(100, 100);
    let mut all = Vec::new();
    for _ in 0..9 {
        all.push(trial.enter(1).unwrap());
        all.last().unwrap().keep(MIB).await.unwrap();
        seconds(1).await;
    }
    seconds(SILENT).await;
    let next = trial.enter(2).unwrap();
    let (kept, goes) = (next.keep(MIB), async {
        all[0].evicted().await;
        drop(all.remove(0));
    });
    let (kept, ()) = tokio::join!(kept, goes);
    kept.unwrap();
    assert!(all.iter().all(|client| !client.leaves()), "one is enough");
    assert!(next.try_hold(2 * MIB), "a quarter is always for requests");
}

#[tokio::test(start_paused = true)]
async fn no_connection_is_admitted_while_too_many_evicted_ones_are_open() {
    let trial = LimitsHarness::new(1000, 100);
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
        (AdmissionDenied::Leaving, LEAVING_MAX / 4 * 3),
        "the rest is for known ones"
    );
    more.push(trial.enter(3).unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_takes_nothing() {
    let trial = LimitsHarness::new(100, 100);
    let (one, other) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    one.hold(10 * MIB).await.unwrap();
    let _busy = one.busy();
    let _ = timeout(Duration::from_millis(50), other.hold(2 * MIB)).await;
    assert_eq!(trial.totals.waiting.get(), 0);
    one.release();
    assert_eq!(trial.memory(), 2048);
}

/// Unknown clients of a thousand addresses connect again and again; a client that connects for each request goes
/// on.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_events_is_admitted_during_a_flood() {
    let trial = LimitsHarness::new(64, 1000);
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
async fn a_client_with_few_connections_is_admitted_while_one_has_many() {
    let trial = LimitsHarness::new(64, 1000);
    let crowd: Vec<_> = (0..56).map(|_| trial.enter(7).unwrap()).collect();
    let others: Vec<_> = (0..8).map(|n| trial.enter(100 + n).unwrap()).collect();
    advance(Duration::from_millis(CONNECTION_CROWDED_MS_MIN)).await;
    assert_eq!(trial.enter(7).err(), Some(AdmissionDenied::Descriptors));
    let _next = trial.enter(3).unwrap();
    assert_eq!(crowd.iter().filter(|client| client.leaves()).count(), 1);
    assert!(others.iter().all(|client| !client.leaves()));
}

#[tokio::test(start_paused = true)]
async fn one_event_does_not_bring_thousands_in() {
    let trial = LimitsHarness::new(64, 1000);
    let brings = trial.enter(7).unwrap();
    brings.is_heard();
    let crowd: Vec<_> = (0..=KNOWN_ADDRESS_UNPROVEN_MAX).map(|_| trial.enter(7).unwrap()).collect();
    let others: Vec<_> =
        (0..64 - 1 - crowd.len()).map(|n| trial.enter(100 + n as u8).unwrap()).collect();
    seconds(2).await;
    assert_eq!(trial.enter(7).err(), Some(AdmissionDenied::Descriptors));
    drop(crowd);
    assert_eq!(trial.enter(7).map(|_| ()), Ok(()));
    assert!(others.iter().all(|client| !client.leaves()));
}

#[tokio::test(start_paused = true)]
async fn an_address_is_forgotten_after_a_while() {
    let trial = LimitsHarness::new(16, 1000);
    trial.enter(1).unwrap().is_heard();
    let fill = || (0..16).map(|n| trial.enter(100 + n).unwrap()).collect::<Vec<_>>();
    let strangers = fill();
    seconds(1).await;
    assert!(trial.enter(1).is_ok(), "known");
    drop(strangers);
    advance(Duration::from_millis(KNOWN_ADDRESS_MS)).await;
    let _strangers = fill();
    seconds(1).await;
    assert_eq!(trial.enter(1).err(), Some(AdmissionDenied::Descriptors));
}

#[tokio::test(start_paused = true)]
async fn a_quick_request_is_not_evicted_and_one_that_waits_for_much_is() {
    let trial = LimitsHarness::new(3, 1000);
    trial.enter(9).unwrap().is_heard();
    let (quick, waits) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    quick.hold(10 * MIB).await.unwrap();
    let _third = trial.enter(9).unwrap();
    let attempt = async {
        sleep(Duration::from_secs(2)).await;
        trial.enter(9).map(|_| ())
    };
    let (waited, attempt) = tokio::join!(waits.hold(5 * MIB), attempt);
    assert_eq!((waited, attempt), (Err(MemoryDenied::NotInTime), Ok(())));
    assert!(waits.leaves() && !quick.leaves());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_memory_to_keep_does_not_protect_slow_connections() {
    let trial = LimitsHarness::new(100, 100);
    let all: Vec<_> = (1..6).map(|last| trial.enter(last).unwrap()).collect();
    let [keeps, slow, works, newcomer, next] = &all[..] else { unreachable!() };
    all.iter().for_each(|client| client.is_heard());
    keeps.keep(9 * MIB).await.unwrap();
    slow.hold(REQUEST_SMALL_BYTES).await.unwrap();
    // All but a part of what the slow connection has, and a mebibyte.
    works.hold(BOOK / 8 * 7 - 10 * MIB - 21 * 1024).await.unwrap();
    let _busy = works.busy();
    seconds(3).await;
    let goes = async {
        slow.evicted().await;
        slow.release();
    };
    let within = timeout(Duration::from_secs(5), async {
        tokio::select! {
            biased;
            _ = newcomer.keep(MIB) => panic!("there is no memory to keep"),
            (granted, ()) = async { tokio::join!(next.hold(MIB), goes) } => granted.unwrap(),
        }
    });
    within.await.expect("the slow one goes at once");
}

#[tokio::test(start_paused = true)]
async fn what_connections_keep_counts_in_the_share_of_their_address() {
    let trial = LimitsHarness::new(100, 100);
    let crowd: Vec<_> = (0..7).map(|_| trial.enter(1).unwrap()).collect();
    for client in &crowd {
        client.keep(MIB).await.unwrap();
    }
    assert!(crowd[0].try_hold(MIB), "one request of it");
    let other = trial.enter(2).unwrap();
    assert!(other.try_hold(MIB + MIB / 4));
    assert!(!crowd[1].try_hold(MIB), "nine of thirteen");
    crowd[0].release();
    let little = crowd.iter().filter(|client| client.try_hold(MIB / 4)).count();
    assert_eq!(little, 3, "a sixteenth");
    drop(crowd);
    assert!(other.try_hold(6 * MIB));
    drop(other);
    assert_eq!(trial.memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_network_of_ipv6_is_one_address_and_each_of_ipv4_is_its_own() {
    let granted = |addresses: [&str; 8]| {
        let trial = LimitsHarness::new(100, 100);
        let enter = |address: &str| {
            trial.gate.admit(address.parse().unwrap(), 1024, &trial.counters).unwrap()
        };
        let all: Vec<_> = addresses.into_iter().map(enter).collect();
        all.iter().filter(|client| client.try_hold(MIB)).count()
    };
    let own = std::array::from_fn::<_, 8, _>(|n| format!("2001:db8:7:9:{n}::1"));
    assert_eq!(granted(own.each_ref().map(String::as_str)), 6, "half of everything");
    let many = std::array::from_fn::<_, 8, _>(|n| format!("2001:db8:7:{n}::1"));
    assert_eq!(granted(many.each_ref().map(String::as_str)), 8);
    let mapped = std::array::from_fn::<_, 8, _>(|n| format!("::ffff:10.0.0.{n}"));
    assert_eq!(granted(mapped.each_ref().map(String::as_str)), 8);
    let same = ["::ffff:10.0.0.1", "10.0.0.1"];
    assert_eq!(granted(std::array::from_fn(|n| same[n % 2])), 6);
}

fn stranger(n: usize) -> IpAddr {
    IpAddr::from([10, 2, (n / 250) as u8, (n % 250) as u8])
}

#[tokio::test(start_paused = true)]
async fn sources_with_stuck_channels_leave_memory_to_the_others() {
    let trial = LimitsHarness::new(10_000, 10_000);
    let limits = Arc::clone(&trial.gate.limits);
    let others = [limits.gate(10_000), limits.gate(10_000)];
    let read = 24 * 1024;
    let stuck = |gate: &SourceAdmission, from: usize| {
        let clients = (from..).map(|n| {
            let client = gate.admit(stranger(n), 1024, &trial.counters).unwrap();
            client.is_heard();
            client
        });
        clients.take_while(|client| client.try_hold(read)).collect::<Vec<_>>()
    };
    let first = stuck(&trial.gate, 0);
    let half = BOOK / 2 / read;
    assert!((half - 30..=half).contains(&first.len()), "{} of {half}", first.len());
    let second = stuck(&others[0], 5000);
    assert!((half / 2 - 30..=half / 2).contains(&second.len()), "{}", second.len());
    let all: Vec<_> = first.iter().chain(&second).map(|client| client.busy()).collect();
    let works = others[1].admit(address(1), 1024, &trial.counters).unwrap();
    works.is_heard();
    assert!(works.try_hold(MIB), "its only request");
    works.release();
    for _ in 0..50 {
        let client = others[1].admit(address(1), 1024, &trial.counters).unwrap();
        client.hold(read).await.unwrap();
        client.is_heard();
    }
    drop(all);
}

#[tokio::test(start_paused = true)]
async fn large_holders_at_a_source_do_not_block_its_small_requests() {
    let trial = LimitsHarness::new(10_000, 10_000);
    let other = trial.gate.limits.gate(10_000);
    let brings = trial.enter(1).unwrap();
    brings.is_heard();
    let strangers: Vec<_> =
        (0..8).map(|n| trial.gate.admit(stranger(n), 1024, &trial.counters).unwrap()).collect();
    let held = strangers.iter().filter(|client| client.try_hold(MIB)).count();
    assert_eq!(held, 6, "less than half");
    // Another source uses part of what was free.
    let more = other.admit(stranger(10), 1024, &trial.counters).unwrap();
    more.is_heard();
    assert!(more.try_hold(5 * MIB));
    assert!(brings.try_hold(REQUEST_SMALL_BYTES / 2));
    let again = trial.enter(1).unwrap();
    assert!(again.try_hold(REQUEST_SMALL_BYTES), "in addition to it");
    assert!(!strangers[7].try_hold(REQUEST_SMALL_BYTES + 1));
    drop((brings, again, more, strangers));
    assert_eq!(trial.memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_alone_may_use_everything() {
    let trial = LimitsHarness::new(10_000, 10_000);
    let clients: Vec<_> =
        (0..12).map(|n| trial.gate.admit(stranger(n), 1024, &trial.counters).unwrap()).collect();
    clients.iter().for_each(|client| client.is_heard());
    assert_eq!(clients.iter().filter(|client| client.try_hold(MIB)).count(), 11);
}

#[tokio::test(start_paused = true)]
async fn neither_a_source_nor_an_address_takes_every_place() {
    let trial = LimitsHarness::new(64, 1000);
    let other = trial.gate.limits.gate(1000);
    let counters = Arc::default();
    let enter = |gate: &SourceAdmission,
                 from: IpAddr|
     -> Result<Arc<AdmittedConnection>, AdmissionDenied> {
        let client = gate.admit(from, 1024, &counters)?;
        client.is_heard();
        // In progress forever, so it is not evicted.
        client.record.is_busy.store(true, Ordering::Release);
        Ok(client)
    };
    let mut all: Vec<_> = (0..).map_while(|n| enter(&trial.gate, stranger(n)).ok()).collect();
    assert_eq!(all.len(), 56);
    assert_eq!(enter(&trial.gate, stranger(999)).err(), Some(AdmissionDenied::Share));
    all.push(enter(&other, stranger(1000)).unwrap());
    all.clear();
    let trial = LimitsHarness::new(64, 1000);
    let all: Vec<_> = (0..).map_while(|_| enter(&trial.gate, address(1)).ok()).collect();
    assert_eq!(all.len(), 56);
    assert_eq!(enter(&trial.gate, address(1)).err(), Some(AdmissionDenied::Share));
    enter(&trial.gate, address(2)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_holder_of_a_whole_share_is_evicted_for_its_own_newcomers() {
    let trial = LimitsHarness::new(64, 1000);
    let other = trial.enter(2).unwrap();
    seconds(1).await;
    let own: Vec<_> = (0..).map_while(|_| trial.enter(1).ok()).collect();
    assert_eq!(own.len(), 56);
    seconds(SILENT).await;
    let _next = trial.enter(1).unwrap();
    assert!(!other.leaves(), "although it has been silent longer");
    assert_eq!(own.iter().filter(|client| client.leaves()).count(), 1);
}

/// Each read continues its line or frame, so it always holds something.
#[tokio::test(start_paused = true)]
async fn a_sender_of_whole_requests_is_not_slow_however_long_it_holds() {
    let trial = LimitsHarness::new(100, 100);
    let (streams, next) = (trial.enter(1).unwrap(), trial.enter(2).unwrap());
    for _ in 0..300 {
        streams.hold(6 * MIB).await.unwrap();
        streams.is_heard();
        streams.shrink(4 * MIB);
        seconds(1).await;
    }
    let waits = timeout(Duration::from_secs(5), next.hold(8 * MIB));
    assert!(waits.await.is_err());
    assert!(!streams.leaves(), "a request each second");
    seconds(70).await;
    let waits = timeout(Duration::from_secs(5), next.hold(8 * MIB));
    let goes = async {
        streams.evicted().await;
        streams.release();
    };
    let (waited, ()) = tokio::join!(waits, goes);
    waited.expect("it brings nothing more").unwrap();
}

/// Starts a task in which `client` waits for this.
fn waits(
    client: &Arc<AdmittedConnection>,
    bytes: usize,
) -> tokio::task::JoinHandle<Result<(), MemoryDenied>> {
    let client = Arc::clone(client);
    tokio::spawn(async move { client.hold(bytes).await })
}

#[tokio::test(start_paused = true)]
async fn requests_that_have_to_wait_do_not_hide_grantable_ones() {
    let trial = LimitsHarness::new(1000, 1000);
    let (first, works) = (trial.enter(1).unwrap(), trial.enter(3).unwrap());
    works.is_heard();
    first.hold(4 * MIB).await.unwrap();
    works.hold(3 * MIB).await.unwrap();
    let _busy = (first.busy(), works.busy());
    let crowd: Vec<_> = (0..200).map(|_| trial.enter(1).unwrap()).collect();
    let others: Vec<_> =
        (0..100).map(|n| trial.gate.admit(stranger(n), 1024, &trial.counters).unwrap()).collect();
    let mut all: Vec<_> = crowd.iter().map(|client| waits(client, MIB)).collect();
    all.extend(others.iter().map(|client| waits(client, 8 * MIB)));
    sleep(Duration::from_millis(50)).await;
    let next = trial.enter(2).unwrap();
    let waits = waits(&next, 4 * MIB);
    sleep(Duration::from_millis(50)).await;
    assert!(!waits.is_finished(), "eleven of ten and a half");
    works.shrink(2 * MIB);
    timeout(Duration::from_secs(3), waits).await.expect("at once").unwrap().unwrap();
    assert!(all.iter().all(|other| !other.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn addresses_take_turns_however_many_requests_one_has() {
    let trial = LimitsHarness::new(1000, 1000);
    let works = trial.enter(9).unwrap();
    works.is_heard();
    works.hold(11 * MIB).await.unwrap();
    let _busy = works.busy();
    let crowd: Vec<_> = (0..50).map(|_| trial.enter(1).unwrap()).collect();
    let crowd: Vec<_> = crowd.iter().map(|client| waits(client, 100 * 1024)).collect();
    sleep(Duration::from_millis(50)).await;
    let next = trial.enter(2).unwrap();
    let next = waits(&next, 100 * 1024);
    sleep(Duration::from_millis(50)).await;
    works.shrink(10 * MIB + 300 * 1024);
    sleep(Duration::from_millis(1)).await;
    assert!(next.is_finished());
    let granted = crowd.iter().filter(|waits| waits.is_finished()).count();
    assert!((1..5).contains(&granted), "{granted}");
}
