//! The graph for programs.

use super::flow_graph::{AgentGraph, FlowGraphs, GraphNode};
use serde_json::{Value, json as object};

/// Returns the graph as JSON: agents with their nodes by name, and hops. Names are complete and
/// unescaped, as in the configuration; a program that shows them must escape them.
#[must_use]
pub fn json(picture: &FlowGraphs) -> String {
    let agents: Vec<Value> = picture.agents.iter().map(agent).collect();
    let hops: Vec<Value> = picture
        .hops
        .iter()
        .map(|hop| {
            let (from, to) = (&picture.agents[hop.from.0], &picture.agents[hop.to.0]);
            object!({
                "from": { "agent": from.name, "sink": from.sinks[hop.from.1].part.name },
                "to": { "agent": to.name, "source": to.sources[hop.to.1].part.name },
            })
        })
        .collect();
    object!({ "agents": agents, "hops": hops }).to_string() + "\n"
}

fn agent(agent: &AgentGraph) -> Value {
    let name = |channel: usize| agent.channels[channel].name.as_str();
    let sources = agent.sources.iter().map(|source| {
        let channels: Vec<&str> = source.channels.iter().map(|c| name(*c)).collect();
        with(
            &source.part,
            &[("passes", source.passes.clone().into()), ("channels", channels.into())],
        )
    });
    let sinks =
        agent.sinks.iter().map(|sink| with(&sink.part, &[("channel", name(sink.channel).into())]));
    let groups = agent.groups.iter().map(|group| {
        let sinks: Vec<&str> =
            group.sinks.iter().map(|s| agent.sinks[*s].part.name.as_str()).collect();
        with(&group.part, &[("sinks", sinks.into())])
    });
    object!({
        "name": agent.name,
        "sources": sources.collect::<Vec<_>>(),
        "channels": agent.channels.iter().map(|part| with(part, &[])).collect::<Vec<_>>(),
        "sinks": sinks.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    })
}

fn with(part: &GraphNode, more: &[(&str, Value)]) -> Value {
    let mut value = object!({ "name": part.name, "type": part.type_name, "about": part.about });
    for (key, more) in more {
        value[*key] = more.clone();
    }
    value
}
