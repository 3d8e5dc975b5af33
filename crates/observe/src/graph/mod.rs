//! The flow of configured agents as a graph: which component feeds which, and which agent sends to
//! which.
//!
//! # Limits
//!
//! A graph has as many nodes as the configurations have components. A line of a node shows 48
//! characters at most; longer lines end in `…`. Passwords and commands are not shown.
//!
//! # How it works
//!
//! [`FlowGraphs::of`] takes the validated agents and keeps what is worth showing: names, types,
//! addresses, interceptors, selectors, groups. A sink that sends to the address of a source of a
//! drawn agent is linked to it ([`AgentLink`]). [`text()`] lists that, [`dot()`] writes it for
//! Graphviz, and [`svg()`] lays it out and draws it: sources left, channels, sinks right; receiving
//! agents are to the right of sending ones. [`json()`] returns it for programs, with complete
//! names.

mod dot;
mod flow_graph;
mod json;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text_graph;

pub use dot::dot;
pub use flow_graph::{
    AgentGraph, AgentLink, FlowGraphs, GraphNode, GroupNode, SinkNode, SourceNode,
};
pub use json::json;
pub use svg::svg;
pub use text_graph::text;
