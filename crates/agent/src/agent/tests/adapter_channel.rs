//! A channel of another crate: configured, opened, stopped and left out as the engine's are.

use super::*;
use millpond::{Channel, MemoryChannel, MemoryOptions};
use millpond_flow::channel_type::{ChannelContext, ChannelOpenError, ChannelOpener, ChannelType};
use millpond_flow::codes;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens at the second try; its channel stands for one whose events a server stores.
#[derive(Debug)]
struct Remote {
    log: String,
    durable: bool,
    was_away: AtomicBool,
}

impl ChannelOpener for Remote {
    fn transaction_capacity(&self) -> usize {
        7
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn open(&self, context: ChannelContext) -> Result<Arc<dyn Channel>, ChannelOpenError> {
        if !self.was_away.swap(true, Ordering::SeqCst) {
            let what = "its key store cannot be read".to_owned();
            return Err(ChannelOpenError { code: &codes::STORE_UNUSABLE, what });
        }
        note(&self.log, format!("{} of {} open", context.name, context.agent));
        let options = MemoryOptions { transaction_capacity: 7, ..MemoryOptions::default() };
        Ok(Arc::new(MemoryChannel::new(options).expect("legal")))
    }
}

fn read(reader: &mut SettingsReader<'_>) -> Result<Arc<dyn ChannelOpener>, SettingError> {
    reader.number("number", 0..=9)?;
    Ok(Arc::new(Remote {
        log: reader.text("log").unwrap_or_default().to_owned(),
        durable: reader.word("mode", &["durable"])?.is_some(),
        was_away: AtomicBool::new(false),
    }))
}

const REMOTE: &ChannelType = &ChannelType { names: &["remote", "org.Remote"], keys: KEYS, read };

const WITH_REMOTE: ComponentTypes = ComponentTypes { channels: &[REMOTE], ..TYPES };

fn remote(log: &str, more: &str) -> String {
    let text = configuration(log, "").replace("type = memory", "type = org.Remote");
    format!("{text}\na.channels.c1.log = {log}\n{more}\n")
}

#[tokio::test(start_paused = true)]
async fn a_channel_of_another_crate_opens_when_it_can_and_carries_events() {
    let log = "remote";
    let (plan, findings) = planned_with(&remote(log, ""), WITH_REMOTE);
    assert!(findings.is_empty(), "{findings:?}");
    let of_channel = (plan.channels[0].type_name, plan.channels[0].kind.transaction_capacity());
    assert_eq!(of_channel, ("remote", 7));
    assert!(!plan.channels[0].kind.is_durable() && plan.channels[0].kind.files().is_none());
    let (running, registry) = start_plan(plan);
    let failure = || registry.channel("c1").failure.get();
    until("the first try has failed", || failure().is_some()).await;
    let words = failure().expect("noted").words();
    assert!(words.contains("its key store cannot be read") && words.contains("MP-4011"), "{words}");
    timeout(TIMEOUT, running.all_started()).await.expect("it opens");
    until("the events are there", || did(log).contains(&"r1 2".to_owned())).await;
    assert!(did(log).contains(&"c1 of a open".to_owned()));
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
    assert_eq!(registry.channel("c1").event_take_success.get(), 3);
}

#[test]
fn a_channel_with_a_wrong_setting_is_left_out_with_what_is_attached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.conf");
    std::fs::write(&path, remote("", "a.channels.c1.number = ten")).unwrap();
    let types = WITH_REMOTE.catalogue();
    let error = load(&path, "a", &BTreeMap::new(), &types).expect_err("nothing is left to run");
    let found = error.findings().iter().map(ConfigFinding::to_string).collect::<Vec<_>>();
    let of_channel = found.iter().find(|line| line.contains("a.channels.c1.number"));
    let of_channel = of_channel.unwrap_or_else(|| panic!("{found:?}"));
    assert!(of_channel.contains("the channel is left out"), "{of_channel}");
    assert!(found.iter().any(|line| line.contains("a.sinks.k1.channel")), "{found:?}");
}

#[test]
fn refused_events_go_to_a_channel_of_another_crate_only_if_it_is_durable() {
    let dead = "a.channels = c1 c2\na.channels.c2.type = remote\na.sinks = k1 k2\na.sinks.k2.type = trial\n\
                a.sinks.k2.channel = c2\na.sinks.k1.deadLetter.channel = c2\n";
    let sinks = |more: &str| {
        let (plan, _) = planned_with(&configuration("", &format!("{dead}{more}")), WITH_REMOTE);
        plan.sinks.into_iter().map(|sink| sink.name).collect::<Vec<_>>()
    };
    assert_eq!(sinks("a.channels.c2.mode = durable"), ["k1", "k2"]);
    assert_eq!(sinks(""), ["k2"], "refused events would be lost with the process");
}
