//! Cycles of refused events: a sink puts them into a channel from which other sinks' dead letters return to its
//! own channel.

use crate::agent::SinkConfig;
use crate::findings::ConfigFindings;
use millpond_flow::settings::dead_letter::DeadLetterPlace;

/// Returns the channel for the refused events of `sink`, if it has one.
fn leads_to(sink: &SinkConfig) -> Option<&str> {
    match &sink.dead_letter.as_ref()?.place {
        DeadLetterPlace::Channel(name) => Some(name),
        DeadLetterPlace::Directory { .. } => None,
    }
}

/// Returns true if `sink` closes a cycle with `others`, which have none; adds the finding that it is left out.
pub(super) fn closes(
    others: &[SinkConfig],
    sink: &SinkConfig,
    findings: &mut ConfigFindings,
) -> bool {
    let Some(first) = leads_to(sink) else { return false };
    // All paths from there, with their sinks; each channel is visited once.
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

fn say(sink: &SinkConfig, way: &[&str], findings: &mut ConfigFindings) {
    let settings = &sink.component.settings;
    let key = "deadLetter.channel";
    let place = settings.entries.get(key).map_or(&sink.component.place, |set| &set.place);
    let message = format!(
        "closes a cycle: an event that the sinks {} refuse one after the other would come back to the channel {} for ever; the sink is left out",
        way.join(", "),
        sink.channel
    );
    findings.leave_out(place, &format!("{}.{key}", settings.prefix), message);
}
