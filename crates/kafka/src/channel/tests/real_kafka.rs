//! The channel on a real broker.

use super::*;
use crate::client::tests::real_broker::Broker;
use std::collections::BTreeMap;

/// A channel on a topic of this broker; `more` are further settings.
fn on(broker: &Broker, topic: &str, more: &[(&str, &str)]) -> KafkaChannel {
    let group = format!("g-{topic}");
    let mut pairs = vec![
        ("kafka.topic", topic),
        ("kafka.consumer.group.id", group.as_str()),
        ("kafka.pollTimeout", "500"),
    ];
    pairs.extend(more);
    channel(&broker.at, &pairs)
}

/// Puts until it is committed; the topic may still be in the making.
fn put_until_done(channel: &KafkaChannel, bodies: &[String]) {
    let mut put = channel.begin_put();
    for body in bodies {
        put.put(Event::new(body.clone())).unwrap();
    }
    for tried in 0.. {
        match put.commit() {
            Ok(()) => return,
            Err(failure) => {
                assert!(tried < 240, "{failure:?}");
                put = failure.transaction.unwrap_or_else(|| {
                    let mut again = channel.begin_put();
                    for body in bodies {
                        again.put(Event::new(body.clone())).unwrap();
                    }
                    again
                });
                std::thread::sleep(Duration::from_millis(250));
            }
        }
    }
}

fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

/// Takes and commits until `count` bodies are `seen` and nothing comes for two seconds more, or nothing comes for 20 s.
fn drain(channel: &KafkaChannel, seen: &mut BTreeMap<String, u32>, count: usize) {
    let mut quiet = 0;
    while quiet < if seen.len() < count { 40 } else { 4 } {
        let mut take = channel.begin_take();
        match take.take(50) {
            Ok(events) if events.is_empty() => quiet += 1,
            Ok(events) => {
                quiet = 0;
                for body in bodies(&events) {
                    *seen.entry(body).or_default() += 1;
                }
            }
            Err(_) => quiet += 1,
        }
        let _ = take.commit();
    }
}

fn assert_each_once(seen: &BTreeMap<String, u32>, count: u32) {
    let missing: Vec<_> = numbers(0, count).into_iter().filter(|n| !seen.contains_key(n)).collect();
    let repeated: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && repeated.is_empty(), "{missing:?} {repeated:?}");
}

#[test]
fn real_kafka_channel_goes_on_after_a_restart_where_the_last_take_ended() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let first = on(&broker, &topic, &[]);
    put_until_done(&first, &numbers(0, 100));
    let mut seen = BTreeMap::new();
    let first = joined(first);
    let mut take = first.begin_take();
    for body in bodies(&take.take(40).unwrap()) {
        *seen.entry(body).or_default() += 1;
    }
    take.commit().unwrap();
    let mut open = first.begin_take();
    assert!(!open.take(20).unwrap().is_empty(), "handed back by the end");
    drop(first);
    drop(open);
    let second = joined(on(&broker, &topic, &[]));
    drain(&second, &mut seen, 100);
    assert_each_once(&seen, 100);
    assert_eq!(second.status().events, 0);
}

#[test]
fn real_kafka_channel_hands_partitions_over_and_repeats_nothing() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let first = on(&broker, &topic, &[]);
    put_until_done(&first, &numbers(0, 200));
    let first = joined(first);
    let mut seen = BTreeMap::new();
    let mut round = |channels: &[&KafkaChannel], rounds: u32| {
        for _ in 0..rounds {
            for channel in channels {
                let mut take = channel.begin_take();
                for body in bodies(&take.take(3).unwrap()) {
                    *seen.entry(body).or_default() += 1;
                }
                take.commit().unwrap();
            }
        }
    };
    round(&[&first], 5);
    let second = on(&broker, &topic, &[]);
    round(&[&first, &second], 10);
    drop(first);
    round(&[&second], 5);
    drain(&second, &mut seen, 200);
    assert_each_once(&seen, 200);
}

#[test]
fn real_kafka_channel_loses_nothing_while_the_broker_is_killed_and_frozen() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let channel = on(&broker, &topic, &[("kafka.producer.delivery.timeout.ms", "8000")]);
    put_until_done(&channel, &numbers(0, 20));
    let channel = joined(channel);
    let mut seen = BTreeMap::new();
    for (step, [down, up]) in (0_u32..).zip([["kill", "start"], ["freeze", "thaw"]]) {
        Broker::control(down);
        let (from, to) = (20 + step * 20, 40 + step * 20);
        let up_again = std::thread::Builder::new()
            .spawn(move || {
                std::thread::sleep(Duration::from_secs(4));
                Broker::control(up);
            })
            .unwrap();
        put_until_done(&channel, &numbers(from, to));
        up_again.join().unwrap();
        drain(&channel, &mut seen, to as usize);
    }
    let missing: Vec<_> = numbers(0, 60).into_iter().filter(|n| !seen.contains_key(n)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:?}");
}
