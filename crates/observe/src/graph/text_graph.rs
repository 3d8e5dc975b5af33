//! The graph as a list.

use super::flow_graph::{FlowGraphs, GraphNode};
use std::fmt::Write;

/// Returns the graph as a list, for a terminal.
#[must_use]
pub fn text(picture: &FlowGraphs) -> String {
    let mut out = String::new();
    for (at, agent) in picture.agents.iter().enumerate() {
        let names = |places: &[usize], of: &dyn Fn(usize) -> String| {
            places.iter().map(|place| of(*place)).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(out, "agent {}", agent.name);
        for source in &agent.sources {
            let channels = names(&source.channels, &|c| agent.channels[c].title());
            part(&mut out, "source", &source.whole(), &format!("-> {channels}"));
        }
        for (place, channel) in agent.channels.iter().enumerate() {
            let sinks: Vec<usize> =
                (0..agent.sinks.len()).filter(|s| agent.sinks[*s].channel == place).collect();
            let sinks = names(&sinks, &|s| agent.sinks[s].part.title());
            part(&mut out, "channel", channel, &format!("-> {sinks}"));
        }
        for (place, sink) in agent.sinks.iter().enumerate() {
            let hop = picture.hops.iter().find(|hop| hop.from == (at, place));
            let to = hop.map(|hop| {
                let agent = &picture.agents[hop.to.0];
                format!(
                    "=> source {} of agent {}",
                    agent.sources[hop.to.1].part.title(),
                    agent.name
                )
            });
            part(&mut out, "sink", &sink.part, &to.unwrap_or_default());
        }
        for group in &agent.groups {
            let sinks = names(&group.sinks, &|s| agent.sinks[s].part.title());
            part(&mut out, "group", &group.part, &format!("of {sinks}"));
        }
    }
    out
}

fn part(out: &mut String, word: &str, part: &GraphNode, ends: &str) {
    let line = format!("  {word:<8}{} ({}) {ends}", part.title(), part.type_name);
    let _ = writeln!(out, "{}", line.trim_end());
    for line in &part.about {
        let _ = writeln!(out, "            {line}");
    }
}
