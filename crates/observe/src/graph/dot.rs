//! The graph in Graphviz's language.

use super::flow_graph::{FlowGraphs, GraphNode};
use std::fmt::Write;

/// Returns the graph as a directed graph of Graphviz (`dot -Tpng`).
#[must_use]
pub fn dot(picture: &FlowGraphs) -> String {
    let mut out = String::from("digraph flow {\n  rankdir=LR;\n  node [shape=box];\n");
    for (at, agent) in picture.agents.iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{at} {{\n    label={};", quoted(&agent.name));
        let sinks = agent.sinks.iter().map(|s| &s.part);
        for (i, source) in agent.sources.iter().enumerate() {
            node(&mut out, &id('s', at, i), &source.whole(), "box");
        }
        let channels = agent.channels.iter().enumerate();
        channels.for_each(|(i, part)| node(&mut out, &id('c', at, i), part, "cylinder"));
        sinks.enumerate().for_each(|(i, part)| node(&mut out, &id('k', at, i), part, "box"));
        for (i, group) in agent.groups.iter().enumerate() {
            let members: String = group.sinks.iter().map(|s| id('k', at, *s) + "; ").collect();
            let label = quoted(&label(&group.part));
            let _ = writeln!(
                out,
                "    subgraph cluster_{at}_{i} {{ style=dashed; label={label}; {members}}}"
            );
        }
        out.push_str("  }\n");
        for (i, source) in agent.sources.iter().enumerate() {
            for channel in &source.channels {
                let _ = writeln!(out, "  {} -> {};", id('s', at, i), id('c', at, *channel));
            }
        }
        for (i, sink) in agent.sinks.iter().enumerate() {
            let _ = writeln!(out, "  {} -> {};", id('c', at, sink.channel), id('k', at, i));
        }
    }
    for hop in &picture.hops {
        let (from, to) = (id('k', hop.from.0, hop.from.1), id('s', hop.to.0, hop.to.1));
        let _ = writeln!(out, "  {from} -> {to} [style=bold];");
    }
    out.push_str("}\n");
    out
}

fn id(letter: char, agent: usize, place: usize) -> String {
    format!("{letter}{agent}_{place}")
}

fn node(out: &mut String, id: &str, part: &GraphNode, shape: &str) {
    let _ = writeln!(out, "    {id} [shape={shape}, label={}];", quoted(&label(part)));
}

fn label(part: &GraphNode) -> String {
    let head = format!("{} ({})", part.title(), part.type_name);
    std::iter::once(head).chain(part.about.iter().cloned()).collect::<Vec<_>>().join("\n")
}

/// Quotes a string: quotes and backslashes escaped, newlines as `\n`.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
