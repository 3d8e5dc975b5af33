//! The source on a real broker.

use super::*;
use crate::client::tests::real_broker::Broker;

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_source_that_is_killed_between_put_and_commit_repeats_nothing() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let directory = tempfile::tempdir().unwrap();
    let channel = file(directory.path());
    let mut events = Vec::new();
    for round in 0..6_u32 {
        produce(&broker.at, &topic, &numbers(round * 300, (round + 1) * 300));
        let running = run(&broker.at, &topic, &[("batchSize", "40")], &channel);
        // Ended in the middle of its work, wherever that is.
        for _ in 0..400 {
            if channel.status().events >= 100 {
                break;
            }
            sleep(Duration::from_millis(25)).await;
        }
        running.task.abort();
        let _ = running.task.await;
        let mut take = channel.begin_take();
        events.extend(take.take_async(10_000).await.unwrap());
        take.commit_async().await.unwrap();
    }
    let running = run(&broker.at, &topic, &[], &channel);
    let left = 1800 - events.len();
    events.extend(taken(&channel, left).await);
    running.stop().await;
    assert_eq!(bodies(&events), numbers(0, 1800));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_sources_of_one_group_hand_over_and_repeat_nothing() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let channels = [file(directories[0].path()), file(directories[1].path())];
    produce(&broker.at, &topic, &numbers(0, 100));
    let first = run(&broker.at, &topic, &[("batchSize", "7")], &channels[0]);
    sleep(Duration::from_secs(2)).await;
    let second = run(&broker.at, &topic, &[("batchSize", "7")], &channels[1]);
    for round in 1..6 {
        produce(&broker.at, &topic, &numbers(round * 100, (round + 1) * 100));
        sleep(Duration::from_secs(1)).await;
    }
    first.stop().await;
    produce(&broker.at, &topic, &numbers(600, 700));
    let mut events = taken(&channels[0], 0).await;
    let left = 700 - events.len();
    events.extend(taken(&channels[1], left).await);
    second.stop().await;
    assert_eq!(bodies(&events), numbers(0, 700));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_source_repeats_nothing_while_the_broker_is_killed_and_frozen() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let directory = tempfile::tempdir().unwrap();
    let channel = file(directory.path());
    produce(&broker.at, &topic, &numbers(0, 100));
    let running = run(&broker.at, &topic, &[("batchSize", "9")], &channel);
    let mut events = taken(&channel, 50).await;
    for (round, [down, up]) in (1_u32..).zip([["kill", "start"], ["freeze", "thaw"]]) {
        produce(&broker.at, &topic, &numbers(round * 100, (round + 1) * 100));
        Broker::control(down);
        sleep(Duration::from_secs(3)).await;
        Broker::control(up);
        let left = ((round + 1) * 100) as usize - events.len();
        events.extend(taken(&channel, left).await);
    }
    running.stop().await;
    assert_eq!(bodies(&events), numbers(0, 300));
}
