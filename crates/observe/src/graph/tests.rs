use super::{AgentLink, FlowGraphs, dot, json, svg, text};
use millpond_config::agent::{
    AgentConfig, ChannelConfig, ChannelKind, ComponentConfig, SinkConfig, SinkGroupConfig,
    SourceConfig,
};
use millpond_config::channels::MemoryChannelSettings;
use millpond_flow::settings::{SettingPlace, Settings, SettingsReader};

fn component(name: &str, type_name: &'static str, pairs: &[(&str, &str)]) -> ComponentConfig {
    let settings = Settings::from_pairs(name, pairs);
    ComponentConfig { name: name.to_owned(), type_name, place: SettingPlace::nowhere(), settings }
}

fn source(name: &str, kind: &'static str, pairs: &[(&str, &str)], to: &[&str]) -> SourceConfig {
    SourceConfig {
        component: component(name, kind, pairs),
        channels: to.iter().map(|&c| c.to_owned()).collect(),
        selector: component("selector", "replicating", &[]),
        interceptors: Vec::new(),
    }
}

fn sink(name: &str, kind: &'static str, pairs: &[(&str, &str)], channel: &str) -> SinkConfig {
    SinkConfig {
        component: component(name, kind, pairs),
        channel: channel.to_owned(),
        dead_letter: None,
    }
}

fn agent(name: &str, sources: Vec<SourceConfig>, sinks: Vec<SinkConfig>) -> AgentConfig {
    let memory = Settings::from_pairs("c1", &[]);
    let kind = MemoryChannelSettings::read(&mut SettingsReader::new(&memory)).expect("defaults");
    let channel = |name: &str| ChannelConfig {
        component: component(name, "memory", &[("capacity", "100")]),
        kind: ChannelKind::Memory(kind.clone()),
    };
    AgentConfig {
        name: name.to_owned(),
        channels: vec![channel("c1"), channel("c2")],
        sources_listed: sources.iter().map(|s| s.component.name.clone()).collect(),
        sources,
        sinks,
        sink_groups: Vec::new(),
        alarms: Settings::new(format!("{name}.alarms"), "alarms"),
    }
}

fn avro(host: &'static str, port: &'static str) -> [(&'static str, &'static str); 2] {
    [("hostname", host), ("port", port)]
}

/// Returns an edge agent with a failover group, and a collector that it sends to.
fn two() -> [AgentConfig; 2] {
    let mut first = source("r1", "netcat", &[("bind", "0.0.0.0"), ("port", "4444")], &["c1", "c2"]);
    first.interceptors.push(component("i1", "timestamp", &[]));
    first.selector = component(
        "selector",
        "multiplexing",
        &[("header", "state"), ("mapping.CZ", "c1"), ("default", "c2")],
    );
    let sinks = vec![
        sink("k0", "logger", &[], "c2"),
        sink("k1", "avro", &avro("10.0.0.2", "4141"), "c1"),
        sink("k2", "avro", &avro("10.0.0.3", "4141"), "c1"),
    ];
    let mut edge = agent("edge", vec![first], sinks);
    edge.sink_groups.push(SinkGroupConfig {
        name: "g1".to_owned(),
        sinks: vec!["k1".to_owned(), "k2".to_owned()],
        processor: component("processor", "failover", &[("priority.k1", "9")]),
    });
    let bound = [("bind", "10.0.0.2"), ("port", "4141")];
    let receives = source("s1", "avro", &bound, &["c1"]);
    let writes = sink("out", "file_roll", &[("sink.directory", "/var/log/<&\"x\">")], "c1");
    [edge, agent("collector", vec![receives], vec![writes])]
}

#[test]
fn a_sink_is_joined_to_the_source_that_listens_where_it_sends() {
    let picture = FlowGraphs::of(&two());
    // Sinks of a group are drawn together, before the others.
    let names: Vec<&str> = picture.agents[0].sinks.iter().map(|s| s.part.name.as_str()).collect();
    assert_eq!(names, ["k1", "k2", "k0"]);
    assert_eq!(
        picture.hops,
        [AgentLink { from: (0, 0), to: (1, 0) }],
        "k2 sends to no drawn source"
    );
}

#[test]
fn comments_after_addresses_and_numbers_are_not_drawn() {
    let pairs = [
        ("bind", "localhost # \u{e8}\u{a1}"),
        ("port", "44444 # a port"),
        ("capacity", "5 # five"),
    ];
    let config = agent("a", vec![source("r", "netcat", &pairs, &["c"])], Vec::new());
    let text = text(&FlowGraphs::of(&[config]));
    assert!(text.contains("localhost:44444") && text.contains("capacity 5"), "{text}");
    assert!(!text.contains('#'), "{text}");
}

#[test]
fn where_several_sources_could_be_meant_none_is_joined() {
    let listens = |name| source(name, "avro", &[("bind", "0.0.0.0"), ("port", "41")], &["c1"]);
    let sends = agent("a", vec![], vec![sink("k", "avro", &avro("far", "41"), "c1")]);
    let one = [sends.clone(), agent("b", vec![listens("s")], vec![])];
    assert_eq!(FlowGraphs::of(&one).hops.len(), 1);
    let other = agent("c", vec![listens("s")], vec![]);
    assert_eq!(FlowGraphs::of(&[&one[..], &[other]].concat()).hops, []);
    let thrift = source("s", "thrift", &[("bind", "0.0.0.0"), ("port", "41")], &["c1"]);
    assert_eq!(FlowGraphs::of(&[sends, agent("b", vec![thrift], vec![])]).hops, []);
}

#[test]
fn the_list_has_every_part_and_where_it_leads() {
    let list = text(&FlowGraphs::of(&two()));
    for line in [
        "agent edge",
        "  source  r1 (netcat) -> c1, c2",
        "            0.0.0.0:4444",
        "            i1: timestamp",
        "            selector multiplexing by state",
        "            CZ → c1",
        "            default → c2",
        "  channel c1 (memory) -> k1, k2",
        "  sink    k1 (avro) => source s1 of agent collector",
        "  group   g1 (failover) of k1, k2",
        "            k1 priority 9",
    ] {
        assert!(list.lines().any(|found| found == line), "{line:?} in:\n{list}");
    }
}

#[test]
fn the_drawing_is_whole_xml_with_every_name_inside_its_bounds() {
    let drawing = svg(&FlowGraphs::of(&two()));
    assert!(drawing.contains("/var/log/&lt;&amp;&quot;x&quot;&gt;"));
    let number = |line: &str, key: &str| -> f64 {
        let rest = line.split_once(&format!(" {key}=\"")).expect(key).1;
        rest.split_once('"').expect("closed").0.parse().expect("a number")
    };
    let (width, height) = (number(&drawing, "width"), number(&drawing, "height"));
    let frames: Vec<&str> = drawing.lines().filter(|line| line.starts_with("<rect")).collect();
    // Two agents, two sources, four channels, four sinks, a group.
    assert_eq!(frames.len(), 2 + 2 + 4 + 4 + 1);
    for frame in frames {
        let right = number(frame, "x") + number(frame, "width");
        let bottom = number(frame, "y") + number(frame, "height");
        assert!(right <= width && bottom <= height, "{frame} in {width} x {height}");
    }
    for tag in ["svg", "text", "defs", "style", "title", "marker"] {
        let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
        assert_eq!(drawing.matches(&opened).count(), drawing.matches(&closed).count(), "{tag}");
    }
}

#[test]
fn the_list_for_graphviz_quotes_what_a_name_can_hold() {
    let graph = dot(&FlowGraphs::of(&two()));
    assert!(graph.contains("sink.directory /var/log/<&\\\"x\\\">"), "{graph}");
    assert!(graph.contains("k0_0 -> s1_0 [style=bold]"), "{graph}");
    assert_eq!(graph.matches('{').count(), graph.matches('}').count());
}

#[test]
fn programs_get_names_whole_and_what_leads_where() {
    let name = "k1<\u{1b}\"".repeat(20);
    let mut agents = two();
    agents[0].sinks[0].component.name.clone_from(&name);
    let read: serde_json::Value =
        serde_json::from_str(&json(&FlowGraphs::of(&agents))).expect("JSON");
    let edge = &read["agents"][0];
    assert_eq!(edge["sources"][0]["channels"], serde_json::json!(["c1", "c2"]));
    assert_eq!(edge["sources"][0]["passes"][0], "i1: timestamp");
    assert_eq!(edge["sources"][0]["about"], serde_json::json!(["0.0.0.0:4444"]));
    assert_eq!(edge["groups"][0]["sinks"], serde_json::json!(["k1", "k2"]));
    assert_eq!(
        (&edge["sinks"][2]["name"], &edge["sinks"][2]["channel"]),
        (&name.into(), &"c2".into())
    );
    let to = serde_json::json!({ "agent": "collector", "source": "s1" });
    assert_eq!(read["hops"][0]["to"], to);
}

#[test]
fn agents_in_a_circle_nothing_at_all_and_long_names_are_drawn() {
    let ring = |name, at, to| {
        let bind = [("bind", "127.0.0.1"), ("port", at)];
        agent(
            name,
            vec![source("s", "avro", &bind, &["c1"])],
            vec![sink("k", "avro", &avro("localhost", to), "c1")],
        )
    };
    let circle = FlowGraphs::of(&[ring("a", "1", "2"), ring("b", "2", "3"), ring("c", "3", "1")]);
    assert_eq!(circle.hops.len(), 3);
    assert!(svg(&circle).ends_with("</svg>\n"));
    assert!(svg(&FlowGraphs::default()).ends_with("</svg>\n"));
    let long = FlowGraphs::of(&[agent(&"long\u{1b}".repeat(1000), vec![], vec![])]);
    assert!(text(&long).lines().all(|line| line.chars().count() < 100 && !line.contains('\u{1b}')));
}
