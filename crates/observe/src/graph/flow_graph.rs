//! The graph of configured agents.

use millpond_config::agent::{
    AgentConfig, ComponentConfig, SinkConfig, SinkGroupConfig, SourceConfig,
};
use millpond_flow::settings::split_comment;

/// Longest line of a node, characters.
const LINE_CHARS_MAX: usize = 48;

/// Addresses that listen on every interface.
const ANY: [&str; 3] = ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"];

/// Keys whose values say where data comes from or goes to, and contain no secrets.
const SHOWN: [&str; 6] =
    ["ports", "spoolDir", "filegroups", "sink.directory", "capacity", "dataDirs"];

/// Keys whose legal values contain no `#`.
const WITHOUT_COMMENT: [&str; 6] = ["bind", "hostname", "host", "port", "ports", "capacity"];

/// Agents and the links between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowGraphs {
    /// In the order in which they were given.
    pub agents: Vec<AgentGraph>,
    /// Links from sinks to sources.
    pub hops: Vec<AgentLink>,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentGraph {
    /// Its name.
    pub name: String,
    /// Its sources.
    pub sources: Vec<SourceNode>,
    /// Its channels.
    pub channels: Vec<GraphNode>,
    /// Its sinks, those of a group next to each other.
    pub sinks: Vec<SinkNode>,
    /// Its sink groups.
    pub groups: Vec<GroupNode>,
}

/// The common part of every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// Its full name in the configuration.
    pub name: String,
    /// Its type.
    pub type_name: String,
    /// Further facts worth showing, line by line.
    pub about: Vec<String>,
}

impl GraphNode {
    /// Returns its name as it is drawn.
    #[must_use]
    pub fn title(&self) -> String {
        shown(&self.name)
    }
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    /// Name, type and where it listens or reads.
    pub part: GraphNode,
    /// What its events pass, line by line: interceptors, then the selector.
    pub passes: Vec<String>,
    /// The channels it feeds, as indices into [`AgentGraph::channels`].
    pub channels: Vec<usize>,
}

impl SourceNode {
    /// Returns the node with the interceptors and selector.
    #[must_use]
    pub fn whole(&self) -> GraphNode {
        let mut part = self.part.clone();
        part.about.extend(self.passes.iter().cloned());
        part
    }
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkNode {
    /// Name and type.
    pub part: GraphNode,
    /// The channel it drains, as an index into [`AgentGraph::channels`].
    pub channel: usize,
}

/// A sink group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNode {
    /// Name, processor, priorities.
    pub part: GraphNode,
    /// Its sinks, as indices into [`AgentGraph::sinks`]; they are consecutive.
    pub sinks: Vec<usize>,
}

/// A sink that sends to a source: agent and index of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentLink {
    /// The agent and its sink.
    pub from: (usize, usize),
    /// The agent and its source.
    pub to: (usize, usize),
}

impl FlowGraphs {
    /// Returns the graph of `agents`.
    #[must_use]
    pub fn of(agents: &[AgentConfig]) -> Self {
        let drawn: Vec<AgentGraph> = agents.iter().map(agent).collect();
        let mut hops = Vec::new();
        for (at, (config, agent)) in agents.iter().zip(&drawn).enumerate() {
            for (sink, drawn) in agent.sinks.iter().enumerate() {
                let named = |s: &&SinkConfig| s.component.name == drawn.part.name;
                let found = config.sinks.iter().find(named).and_then(|s| target(s, agents));
                hops.extend(found.map(|to| AgentLink { from: (at, sink), to }));
            }
        }
        Self { agents: drawn, hops }
    }
}

fn agent(config: &AgentConfig) -> AgentGraph {
    let channels: Vec<GraphNode> = config.channels.iter().map(|c| part(&c.component)).collect();
    let channel = |name: &String| channels.iter().position(|c| c.name == *name);
    let source = |s: &SourceConfig| SourceNode {
        part: part(&s.component),
        passes: [interceptors(s), selector(s)].concat(),
        channels: s.channels.iter().filter_map(channel).collect(),
    };
    let grouped = |s: &SinkConfig| {
        let mine = |group: &SinkGroupConfig| group.sinks.contains(&s.component.name);
        config.sink_groups.iter().position(mine)
    };
    let mut sinks: Vec<&SinkConfig> = config.sinks.iter().collect();
    sinks.sort_by_key(|s| grouped(s).map_or((1, 0), |at| (0, at)));
    let group = |(at, group): (usize, &SinkGroupConfig)| GroupNode {
        part: group_part(group),
        sinks: (0..sinks.len()).filter(|s| grouped(sinks[*s]) == Some(at)).collect(),
    };
    let groups = config.sink_groups.iter().enumerate().map(group).collect();
    let sink = |s: &&SinkConfig| {
        let channel = channel(&s.channel)?;
        Some(SinkNode { part: part(&s.component), channel })
    };
    AgentGraph {
        name: shown(&config.name),
        sources: config.sources.iter().map(source).collect(),
        sinks: sinks.iter().filter_map(sink).collect(),
        groups,
        channels,
    }
}

fn group_part(group: &SinkGroupConfig) -> GraphNode {
    let mut part = GraphNode { name: group.name.clone(), ..part(&group.processor) };
    part.about.extend(priorities(group));
    part
}

fn part(component: &ComponentConfig) -> GraphNode {
    let mut about = Vec::new();
    about.extend(address(component).map(|(host, port)| shown(&format!("{host}:{port}"))));
    for key in SHOWN {
        about.extend(value(component, key).map(|text| shown(&format!("{key} {text}"))));
    }
    let type_name = component.type_name.to_owned();
    GraphNode { name: component.name.clone(), type_name, about }
}

/// Returns the value that the agent uses: if no legal value contains a `#`, a comment after it is
/// removed.
fn value<'a>(component: &'a ComponentConfig, key: &str) -> Option<&'a str> {
    let value = component.settings.entries.get(key).map(|setting| setting.value.as_str())?;
    match WITHOUT_COMMENT.contains(&key) {
        true => Some(split_comment(value).map_or(value, |(before, _)| before)),
        false => Some(value),
    }
}

/// Returns the address where a component listens, or that it sends to.
fn address(component: &ComponentConfig) -> Option<(&str, &str)> {
    let port = value(component, "port")?;
    let host = ["bind", "hostname", "host"].into_iter().find_map(|key| value(component, key));
    Some((host.unwrap_or(ANY[0]), port))
}

fn interceptors(source: &SourceConfig) -> Vec<String> {
    let line = |i: &ComponentConfig| shown(&format!("{}: {}", i.name, i.type_name));
    source.interceptors.iter().map(line).collect()
}

/// Returns how the source selects channels, if it does not feed all of them alike.
fn selector(source: &SourceConfig) -> Vec<String> {
    let selector = &source.selector;
    let mut lines = Vec::new();
    if selector.type_name != "replicating" {
        let header = value(selector, "header").map(|h| format!(" by {h}")).unwrap_or_default();
        lines.push(shown(&format!("selector {}{header}", selector.type_name)));
    }
    for (key, setting) in &selector.settings.entries {
        let case = match key.split_once('.') {
            Some(("mapping", case)) => case.to_owned(),
            Some(("optional", case)) => format!("{case}, optional"),
            _ if key == "default" || key == "optional" => key.clone(),
            _ => continue,
        };
        lines.push(shown(&format!("{case} → {}", setting.value)));
    }
    lines
}

fn priorities(group: &SinkGroupConfig) -> Vec<String> {
    let of = |sink: &String| {
        let priority = value(&group.processor, &format!("priority.{sink}"))?;
        Some(shown(&format!("{sink} priority {priority}")))
    };
    group.sinks.iter().filter_map(of).collect()
}

/// Returns the source that listens at the address the sink sends to. A source at that very address
/// comes before those that listen on every interface; `None` if several match alike.
fn target(sink: &SinkConfig, agents: &[AgentConfig]) -> Option<(usize, usize)> {
    let kind = sink.component.type_name;
    if !["avro", "thrift"].contains(&kind) {
        return None;
    }
    let (host, port) = address(&sink.component)?;
    let listening = || {
        agents.iter().enumerate().flat_map(|(at, agent)| {
            let place = move |(source, config)| ((at, source), config);
            agent.sources.iter().enumerate().map(place)
        })
    };
    let the_one = |fits: &dyn Fn(&str) -> bool| {
        let mut found = listening().filter(|(_, source): &(_, &SourceConfig)| {
            let at = address(&source.component);
            source.component.type_name == kind
                && at.is_some_and(|(bind, listens)| listens == port && fits(bind))
        });
        let first = found.next().map(|(place, _)| place);
        if found.next().is_none() { first } else { None }
    };
    let here = |bind: &str| bind == host || (is_loopback(bind) && is_loopback(host));
    the_one(&here).or_else(|| the_one(&|bind| ANY.contains(&bind)))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

/// Returns text of a configuration as it is drawn: one line, bounded, without control characters.
fn shown(text: &str) -> String {
    let mut out: String =
        text.chars().map(|c| if c.is_control() { '·' } else { c }).take(LINE_CHARS_MAX).collect();
    if text.chars().nth(LINE_CHARS_MAX).is_some() {
        out.pop();
        out.push('…');
    }
    out
}
