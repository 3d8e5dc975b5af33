//! Memory that connections keep, while strangers want all of it.

use super::*;

/// Bytes of a silent connection, and of one that says something.
const SILENT_BYTES: usize = 8 * 1024;
const SPEAKING_BYTES: usize = 32 * 1024;

#[tokio::test(start_paused = true)]
async fn who_brings_events_gets_memory_to_keep_while_strangers_want_all_of_it() {
    let trial = Arc::new(Trial::new(100_000, 100_000));
    trial.enter(1).unwrap().is_heard();
    let crowd = Arc::clone(&trial);
    let strangers = tokio::spawn(async move {
        let mut inside: Vec<Arc<Connection>> = Vec::new();
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
