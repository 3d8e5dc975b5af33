//! Cycles of dead-letter channels.

use super::*;

/// Sinks, each with its channel and the channel for its refused events.
fn said(sinks: &[(&str, &str, &str)]) -> (Vec<String>, String) {
    let mut text = "a1.channels = c1 c2 c3\na1.sinks =".to_owned();
    sinks.iter().for_each(|(name, ..)| text += &format!(" {name}"));
    for (n, channel) in ["c1", "c2", "c3"].iter().enumerate() {
        text += &format!(
            "\na1.channels.{channel}.type = file\na1.channels.{channel}.checkpointDir = /c/{n}\n\
             a1.channels.{channel}.dataDirs = /d/{n}"
        );
    }
    for (name, from, to) in sinks {
        text += &format!("\na1.sinks.{name}.type = logger\na1.sinks.{name}.channel = {from}");
        if !to.is_empty() {
            text += &format!("\na1.sinks.{name}.deadLetter.channel = {to}");
        }
    }
    let loaded = read(text.as_bytes(), "a1").expect("the rest runs");
    let names = loaded.agent.sinks.iter().map(|sink| sink.component.name.clone());
    (names.collect(), shown(&loaded.findings))
}

#[test]
fn a_sink_whose_refused_events_would_come_back_to_its_channel_is_left_out() {
    let (sinks, words) = said(&[("k1", "c1", "c2"), ("k2", "c2", "c1"), ("k3", "c3", "")]);
    assert_eq!(sinks, ["k1", "k3"], "{words}");
    assert!(
        words.contains("a1.sinks.k2.deadLetter.channel") && words.contains("k2, k1"),
        "{words}"
    );

    let three = [("k1", "c1", "c2"), ("k2", "c2", "c3"), ("k3", "c3", "c1"), ("k4", "c3", "")];
    let (sinks, words) = said(&three);
    assert_eq!(sinks, ["k1", "k2", "k4"], "{words}");
    assert!(words.contains("the sinks k3, k1, k2 refuse"), "{words}");

    // The cycle may be closed by another sink of a channel.
    let (sinks, _) = said(&[("k1", "c2", "c3"), ("k2", "c2", "c1"), ("k3", "c1", "c2")]);
    assert_eq!(sinks, ["k1", "k2"]);

    let (sinks, words) = said(&[("k1", "c1", "c3"), ("k2", "c2", "c3"), ("k3", "c3", "")]);
    assert_eq!(sinks, ["k1", "k2", "k3"], "{words}");
    assert!(!words.contains("cycle"), "{words}");
}
