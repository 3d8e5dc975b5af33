//! Refused events that would go round in a circle: a sink puts them into a channel from which, by way of
//! other sinks' dead letters, they come back to its own.

use crate::config::agent::SinkConfig;
use crate::config::dead_letter::DeadLetterPlace;
use crate::config::findings::Findings;

/// Where the refused events of `sink` go, if into a channel.
fn leads_to(sink: &SinkConfig) -> Option<&str> {
    match &sink.dead_letter.as_ref()?.place {
        DeadLetterPlace::Channel(name) => Some(name),
        DeadLetterPlace::Directory { .. } => None,
    }
}

/// Whether `sink` closes a circle with `others`, which have none; then it is left out, and that is said.
pub(super) fn closes(others: &[SinkConfig], sink: &SinkConfig, findings: &mut Findings) -> bool {
    let Some(first) = leads_to(sink) else { return false };
    // Every way from there, with the sinks that it takes; a channel is entered once.
    let mut ways = vec![(first, vec![sink.component.name.as_str()])];
    let mut at = 0;
    while let Some((channel, way)) = ways.get(at).cloned() {
        for next in others.iter().filter(|next| next.channel == channel) {
            let Some(to) = leads_to(next) else { continue };
            let mut way = way.clone();
            way.push(&next.component.name);
            if to == sink.channel {
                say(sink, &way, findings);
                return true;
            }
            if ways.iter().all(|(known, _)| *known != to) {
                ways.push((to, way));
            }
        }
        at += 1;
    }
    false
}

fn say(sink: &SinkConfig, way: &[&str], findings: &mut Findings) {
    let settings = &sink.component.settings;
    let key = "deadLetter.channel";
    let place = settings.entries.get(key).map_or(&sink.component.place, |set| &set.place);
    let message = format!(
        "closes a circle: an event that the sinks {} refuse one after the other would come back to the channel {} for ever; the sink is left out",
        way.join(", "),
        sink.channel
    );
    findings.leave_out(place, &format!("{}.{key}", settings.prefix), message);
}
