//! Loading as a user sees it: which components run, and the findings about the others.

mod config_filters;
mod dead_letter_cycles;
mod encodings;
mod unsupported_types;

mod only_reader;

use super::*;
use crate::TypeEntry;
use crate::agent::ChannelKind;
use millpond_flow::settings::{Key, KeyKind, Severity};
use std::sync::Arc;

const fn key(name: &'static str, kind: KeyKind) -> Key {
    Key { name, kind, default: "", meaning: "For a test." }
}

fn catalogue() -> Catalogue {
    const NETCAT: &[Key] = &[
        key("bind", KeyKind::Host),
        key("port", KeyKind::Port),
        key("max-line-length", KeyKind::Number),
        key("encoding", KeyKind::Word),
    ];
    const EXEC: &[Key] = &[
        key("command", KeyKind::Text),
        key("shell", KeyKind::Text),
        key("batchSize", KeyKind::Number),
    ];
    const STATIC: &[Key] = &[key("key", KeyKind::Text), key("value", KeyKind::Text)];
    const FAILOVER: &[Key] =
        &[key("priority.*", KeyKind::Number), key("maxpenalty", KeyKind::Number)];
    let entry = |names, keys| TypeEntry { names, keys };
    let mut catalogue = Catalogue::built_in();
    catalogue.sources = vec![
        entry(&["netcat", "org.apache.flume.source.NetcatSource"], NETCAT),
        entry(&["exec"], EXEC),
        entry(&["org.apache.flume.source.StressSource"], &[]),
    ];
    catalogue.sinks = vec![
        entry(&["logger"], &[]),
        entry(&["null"], const { &[key("batchSize", KeyKind::Number)] }),
    ];
    catalogue.interceptors = vec![entry(&["static"], STATIC)];
    catalogue.selectors =
        vec![entry(&["replicating"], const { &[key("optional", KeyKind::Names)] })];
    let processors = [(&["default"], &[][..]), (&["failover"], FAILOVER), (&["load_balance"], &[])];
    catalogue.sink_processors =
        processors.into_iter().map(|(names, keys)| entry(names, keys)).collect();
    catalogue
}

fn read(bytes: &[u8], agent: &str) -> Result<LoadedConfig, ConfigError> {
    let environment = |name: &str| match name {
        "NC_PORT" => Some("44444".to_owned()),
        _ => None,
    };
    let path = Path::new("flume.conf");
    let mut findings = ConfigFindings::default();
    let table = file::parse(&Arc::from(path), bytes, &mut findings)?;
    let system = BTreeMap::from([("host".to_owned(), "127.0.0.1".to_owned())]);
    let program = |command: &str, key: &str| match (command, key) {
        ("get it", "NC_PORT") => Ok(b"44444".to_vec()),
        _ => Err("it failed".to_owned()),
    };
    let environment = &environment;
    let origin = LoadContext { path, agent, system: &system, environment, program: &program };
    from_table(&table, &origin, &catalogue(), findings)
}

/// Returns a whole agent: source r1, channel c1, sink k1. Keys in `more` replace its own.
fn whole(more: &str) -> String {
    let pipe = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
                a1.sources.r1.type = netcat\na1.sources.r1.bind = localhost\n\
                a1.sources.r1.port = 44444\na1.sources.r1.channels = c1\n\
                a1.channels.c1.type = memory\na1.sinks.k1.type = logger\na1.sinks.k1.channel = c1\n";
    let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    let kept = pipe.lines().filter(|line| !more.lines().any(|own| key(own) == key(line)));
    format!("{more}\n{}\n", kept.collect::<Vec<_>>().join("\n"))
}

fn loaded(text: &str) -> LoadedConfig {
    match read(text.as_bytes(), "a1") {
        Ok(loaded) => loaded,
        Err(error) => panic!("{error}\n{}", shown(error.findings())),
    }
}

fn refused(text: &str) -> ConfigError {
    match read(text.as_bytes(), "a1") {
        Ok(loaded) => panic!("it runs:\n{}", shown(&loaded.findings)),
        Err(error) => error,
    }
}

fn shown(findings: &[ConfigFinding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn errors(findings: &[ConfigFinding]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

/// Asserts that there is exactly one finding, at `line` and `key`, with `severity` and all of `words`.
fn one(findings: &[ConfigFinding], line: u32, key: &str, severity: Severity, words: &[&str]) {
    let all = shown(findings);
    assert_eq!(findings.len(), 1, "{all}");
    let finding = &findings[0];
    assert_eq!((finding.place.line, finding.key.as_str()), (line, key), "{all}");
    assert_eq!(finding.severity, severity, "{all}");
    for word in words {
        assert!(finding.message.contains(word), "{word}: {all}");
    }
}

#[test]
fn comments_after_names_types_hosts_and_numbers_are_only_warnings() {
    let text = "# 名字\na1.sources = r1  # r1 是输入\na1.sinks = k1    # k1 是输出\n\
                a1.channels = c1 # c1 是缓冲\n\
                a1.sources.r1.type = netcat    # 类型\na1.sources.r1.bind = localhost # 主机\n\
                a1.sources.r1.port = 44444     # 端口\na1.sinks.k1.type = logger # 控制台\n\
                a1.channels.c1.type = memory   # 内存\na1.channels.c1.capacity = 1000 # 总容量\n\
                a1.channels.c1.transactionCapacity = 100 # 事务\n\
                a1.sources.r1.channels = c1 # 连接\na1.sinks.k1.channel = c1 # 连接\n";
    let LoadedConfig { agent, findings, .. } = loaded(text);
    let source = &agent.sources[0];
    assert_eq!((source.component.name.as_str(), source.component.type_name), ("r1", "netcat"));
    assert_eq!(source.channels, ["c1"]);
    assert_eq!(source.selector.type_name, "replicating");
    assert_eq!(agent.sinks[0].component.type_name, "logger");
    assert_eq!(agent.sinks[0].channel, "c1");
    let ChannelKind::Memory(memory) = &agent.channels[0].kind else { panic!("a memory channel") };
    assert_eq!((memory.capacity, memory.transaction_capacity), (1000, 100));
    assert!(findings.iter().all(|f| f.severity == Severity::Warning), "{}", shown(&findings));
    // The source reads host and port; every other line gives a warning here.
    let lines: Vec<u32> = findings.iter().map(|finding| finding.place.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 8, 9, 10, 11, 12, 13], "{}", shown(&findings));
    let mut reader = millpond_flow::settings::SettingsReader::new(&source.component.settings);
    assert_eq!(reader.host("bind", None).expect("a host"), "localhost");
    assert_eq!(reader.number::<u16>("port", 0..=u16::MAX).expect("a port"), Some(44444));
    let lines: Vec<u32> = reader.into_findings().iter().map(|f| f.place.line).collect();
    assert_eq!(lines, [6, 7]);
}

#[test]
fn free_text_keeps_the_text_after_a_number_sign() {
    let text = whole(
        "a1.sources.r1.type = exec\na1.sources.r1.command = grep x # y\na1.sources.r1.bind=\na1.sources.r1.port=",
    );
    let LoadedConfig { agent, findings, .. } = loaded(&text);
    let command = &agent.sources[0].component.settings.entries["command"];
    assert_eq!(command.value, "grep x # y");
    let notes: Vec<_> = findings.into_iter().filter(|f| f.severity == Severity::Note).collect();
    one(&notes, 2, "a1.sources.r1.command", Severity::Note, &["part of the value"]);
}

#[test]
fn the_grammar_of_the_format_reaches_the_values() {
    let text = "# comment\n! another\n\n   \t a1.sources=r1\na1.channels : c1\na1.sinks k1\n\
                a1.sources.r1.type = \\\n      netcat\na1.sources.r1.port\t=\t1\n\
                a1.sources.r1.channels = \\\n  c1\na1.channels.c1.type = mem\\u006fry\n\
                a1.sinks.k1.type=logger\na1.sinks.k1.channel=c1\n\
                a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = static\n\
                a1.sources.r1.interceptors.i1.key = k\n\
                a1.sources.r1.interceptors.i1.value = a\\tb \\u65e5 c\\:d = e # no comment\\\n   joined\n";
    let LoadedConfig { agent, .. } = loaded(text);
    let interceptor = &agent.sources[0].interceptors[0];
    assert_eq!((interceptor.name.as_str(), interceptor.type_name), ("i1", "static"));
    assert_eq!(interceptor.settings.entries["value"].value, "a\tb 日 c:d = e # no commentjoined");
    assert_eq!(interceptor.settings.prefix, "a1.sources.r1.interceptors.i1");
}

#[test]
fn values_are_trimmed_as_java_trims_them() {
    let text = whole("a1.sources.r1.bind = \\u0001 h\\u0007\\u00a0 \\u0000\\t");
    let bind = &loaded(&text).agent.sources[0].component.settings.entries["bind"];
    assert_eq!(bind.value, "h\u{7}\u{a0}");
}

#[test]
fn a_sound_configuration_gives_no_finding() {
    let LoadedConfig { agent, findings, .. } = loaded(&whole(""));
    assert_eq!(shown(&findings), "");
    assert_eq!((agent.sources.len(), agent.channels.len(), agent.sinks.len()), (1, 1, 1));
}

#[test]
fn several_agents_in_a_file_do_not_see_each_other() {
    let other = whole("").replace("a1.", "b2.").replace("netcat", "nettcat");
    let both = whole("") + &other + "b2.sinks.k1.type = null\n";
    let LoadedConfig { findings, .. } = loaded(&both);
    assert_eq!(shown(&findings), "");
    let other = read(both.as_bytes(), "b2").expect_err("its type is unknown");
    assert!(other.to_string().contains("did you mean netcat?"), "{other}");
}

#[test]
fn all_agents_of_a_file_are_read_as_each_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("all.conf");
    let other = whole("").replace("a1.", "b2.").replace("netcat", "nettcat");
    std::fs::write(&path, whole("") + &other + "no key\n").expect("written");
    let all = load_all(&path, &BTreeMap::new(), &catalogue()).expect("readable");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a1", "b2"]);
    for (name, loaded) in all {
        let alone = load(&path, &name, &BTreeMap::new(), &catalogue());
        match (loaded, alone) {
            (Ok(loaded), Ok(alone)) => {
                assert_eq!(shown(&loaded.findings), shown(&alone.findings));
                assert_eq!(format!("{:?}", loaded.agent), format!("{:?}", alone.agent));
            }
            (loaded, alone) => {
                let (loaded, alone) = (loaded.expect_err("refused"), alone.expect_err("refused"));
                assert_eq!(loaded.to_string(), alone.to_string());
                assert_eq!(shown(loaded.findings()), shown(alone.findings()));
            }
        }
    }
}

#[test]
fn an_unknown_agent_is_refused_with_the_names_of_the_others() {
    let text = whole("") + "web.sources = r1\nlog4j.rootLogger = INFO\n";
    let error = read(text.as_bytes(), "a2").expect_err("there is no a2");
    assert!(matches!(&error, ConfigError::AgentAbsent { .. }));
    let said = "flume.conf: there is no agent a2; it has a1, web; did you mean a1? (MP-4004)";
    assert_eq!(error.to_string(), said);
    let error = read(b"", "a1").expect_err("nothing");
    let said = "flume.conf: there is no agent a1; it describes no agent at all (MP-4004)";
    assert_eq!(error.to_string(), said);
}

#[test]
fn references_are_replaced_in_the_agents_values() {
    let text = whole("a1.sources.r1.port = ${env:NC_PORT}\na1.sources.r1.bind = ${sys:host}");
    let LoadedConfig { agent, findings, .. } = loaded(&text);
    let entries = &agent.sources[0].component.settings.entries;
    assert_eq!(
        (entries["port"].value.as_str(), entries["bind"].value.as_str()),
        ("44444", "127.0.0.1")
    );
    assert_eq!(shown(&findings), "");
    let LoadedConfig { findings, .. } = loaded(&whole("a1.sources.r1.bind = ${env:NOPE}"));
    one(&findings, 1, "a1.sources.r1.bind", Severity::Warning, &["NOPE", "environment"]);
    let error = refused(&whole("a1.sources.r1.bind = ${a1.sources.r1.bind}"));
    one(error.findings(), 1, "a1.sources.r1.bind", Severity::Error, &["refers to itself"]);
    let error = refused(&whole("a1.sources.r1.bind = ${java:hardware}"));
    one(error.findings(), 1, "a1.sources.r1.bind", Severity::Error, &["Java process"]);
}

#[test]
fn unavailable_types_stop_the_agent_and_are_named() {
    for (line, words) in [
        ("a1.sinks.k1.type = loger", &["unknown", "Flume ends", "did you mean logger?"][..]),
        ("a1.sinks.k1.type = nonsense", &["unknown sink type \"nonsense\""]),
        ("a1.sinks.k1.type = hdfs", &["hdfs is not in this build", "feature hdfs", "file_roll"]),
        ("a1.sinks.k1.type = kafka", &["kafka is not in this build", "feature kafka"]),
        ("a1.sinks.k1.type = org.apache.flume.sink.kudu.KuduSink", &["not available yet"]),
        ("a1.sinks.k1.type = elasticsearch", &["no class for", "http sink"]),
        ("a1.sinks.k1.type = com.example.MySink", &["com.example.MySink is a Java class"]),
        ("a1.sinks.k1.type = com.example.MySink # mine", &["com.example.MySink is a Java class"]),
        (
            "a1.sinks.k1.type = org.apache.flume.sink.LogerSink",
            &["did you mean org.apache.flume.sink.LoggerSink?"],
        ),
    ] {
        let error = refused(&whole(line));
        let findings: Vec<_> =
            error.findings().iter().filter(|f| f.severity == Severity::Error).cloned().collect();
        one(&findings, 1, "a1.sinks.k1.type", Severity::Error, words);
    }
    // Channels and groups that are unused only for that reason give no finding.
    for more in [
        "a1.sinks.k1.type = hdfs\na1.sources.r1.type = avro",
        "a1.sinks.k1.type = hdfs\na1.channels.c1.type = jdbc\na1.sinkgroups = g\n\
         a1.sinkgroups.g.sinks = k1\na1.sinkgroups.g.processor.type = failover",
    ] {
        let error = refused(&whole(more));
        let lines: Vec<_> = error.findings().iter().map(|finding| finding.place.line).collect();
        assert_eq!(lines, [1, 2], "{}", shown(error.findings()));
    }
    // The other components are checked nevertheless.
    let error = refused(&whole(
        "a1.sinks.k1.type = hdfs\na1.channels.c1.type = fiel\na1.sources.r1.prot = 1",
    ));
    let lines: Vec<_> = error.findings().iter().map(|finding| finding.place.line).collect();
    assert_eq!(lines, [1, 2, 3], "{}", shown(error.findings()));
}

#[test]
fn a_type_is_found_by_alias_in_any_case_and_by_class() {
    for text in ["NetCat", "org.apache.flume.source.NetcatSource"] {
        let LoadedConfig { agent, findings, .. } =
            loaded(&whole(&format!("a1.sources.r1.type = {text}")));
        assert_eq!(agent.sources[0].component.type_name, "netcat");
        assert_eq!(shown(&findings), "");
    }
    // The catalogue has only the alias of exec; its class is known nevertheless.
    let text = whole("a1.sources.r1.type = org.apache.flume.source.ExecSource");
    assert_eq!(loaded(&text).agent.sources[0].component.type_name, "exec");
}

#[test]
fn a_key_that_the_type_does_not_know_is_a_warning_with_the_nearest_one() {
    let LoadedConfig { findings, .. } = loaded(&whole("a1.sources.r1.max-line-lenght = 5"));
    let words = ["no such key", "ignored, as in Flume", "did you mean max-line-length?"];
    one(&findings, 1, "a1.sources.r1.max-line-lenght", Severity::Warning, &words);
    let LoadedConfig { findings, .. } = loaded(&whole("a1.source.r1.port = 5"));
    one(
        &findings,
        1,
        "a1.source.r1.port",
        Severity::Warning,
        &["no section", "did you mean sources?"],
    );
    let LoadedConfig { findings, .. } = loaded(&whole("a1.sources.r1.selector.typ = x"));
    one(&findings, 1, "a1.sources.r1.selector.typ", Severity::Warning, &["did you mean type?"]);
}

#[test]
fn keys_that_count_for_nothing_are_warned_about() {
    let LoadedConfig { findings, .. } = loaded(&whole("a1.sources.r1.bind ="));
    one(&findings, 1, "a1.sources.r1.bind", Severity::Warning, &["no value"]);
    let LoadedConfig { findings, .. } = loaded(&whole("nonsense = 1"));
    one(&findings, 1, "nonsense", Severity::Warning, &["is not a key"]);
    let LoadedConfig { findings, .. } =
        loaded(&whole("a1.sinks.k2.type = logger\na1.sinks.k2.channel = c1"));
    one(&findings, 1, "a1.sinks.k2", Severity::Warning, &["not listed in a1.sinks"]);
    let LoadedConfig { agent, findings, .. } = loaded(&(whole("") + "a1.sources.r1.port = 1\n"));
    one(&findings, 12, "a1.sources.r1.port", Severity::Warning, &["second time", "line 7"]);
    assert_eq!(agent.sources[0].component.settings.entries["port"].value, "1");
}

#[test]
fn a_part_without_type_or_keys_is_left_out_and_the_rest_runs() {
    let LoadedConfig { agent, findings, .. } = loaded(&whole("a1.sinks.k1.type ="));
    assert!(agent.sinks.is_empty());
    assert_eq!(agent.sources.len(), 1);
    assert!(errors(&findings)[0].contains("a1.sinks.k1.type: is not set, so the sink is left out"));
    let LoadedConfig { agent, findings, .. } = loaded(&whole("a1.sinks = k1 k2,k3"));
    assert_eq!(agent.sinks.len(), 1);
    one(&findings, 1, "a1.sinks", Severity::Error, &["k2,k3", "not commas"]);
    let LoadedConfig { findings, .. } =
        loaded(&whole("a1.channels = c1 c2\na1.sources.r1.channels = c1 c2"));
    let lines: Vec<_> = findings.iter().map(|f| (f.place.line, f.severity)).collect();
    assert_eq!(lines, [(1, Severity::Error), (2, Severity::Warning)], "{}", shown(&findings));
}

#[test]
fn sources_and_sinks_need_a_channel_that_works() {
    let LoadedConfig { agent, findings, .. } = loaded(&whole("a1.sinks.k1.channel ="));
    assert!(agent.sinks.is_empty());
    assert!(
        errors(&findings)[0].contains("a1.sinks.k1.channel: is not set"),
        "{}",
        shown(&findings)
    );
    let LoadedConfig { agent, findings, .. } = loaded(&whole("a1.sinks.k1.channel = c2"));
    assert!(agent.sinks.is_empty());
    assert!(shown(&findings).contains("did you mean c1?"), "{}", shown(&findings));
    let LoadedConfig { agent, .. } = loaded(&whole("a1.sinks.k1.channel = c1 c1x"));
    assert_eq!(agent.sinks[0].channel, "c1");
    let text = whole("a1.sinks.k1.channel =\na1.sinks.k1.channels = c1");
    assert!(shown(&loaded(&text).findings).contains("a sink has the key channel, not channels"));
    let error = refused(&whole("a1.channels.c1.capacity = 10"));
    let said = errors(error.findings());
    assert!(
        said[0].contains(
            "a1.channels.c1.capacity: transactionCapacity 100 is larger than capacity 10"
        ),
        "{said:?}"
    );
    assert!(said.iter().any(|said| said.contains("no channel that can be used")), "{said:?}");
}

#[test]
fn a_batch_larger_than_a_transaction_leaves_the_part_out() {
    let LoadedConfig { agent, findings, .. } =
        loaded(&whole("a1.sinks.k1.type = null\na1.sinks.k1.batchSize = 101"));
    assert!(agent.sinks.is_empty());
    assert!(errors(&findings)[0].contains("flume.conf:2"), "{}", shown(&findings));
    assert!(errors(&findings)[0].contains("101 events do not fit"), "{}", shown(&findings));
    // The default of exec is 20.
    let text = whole("a1.sources.r1.type = exec\na1.channels.c1.transactionCapacity = 19");
    assert!(loaded(&text).agent.sources.is_empty());
    let text = whole("a1.sources.r1.type = exec\na1.channels.c1.transactionCapacity = 20");
    assert_eq!(loaded(&text).agent.sources.len(), 1);
}

#[test]
fn an_unused_channel_is_left_out() {
    let LoadedConfig { agent, findings, .. } =
        loaded(&whole("a1.channels = c1 c2\na1.channels.c2.type = memory"));
    assert_eq!(agent.channels.len(), 1);
    one(&findings, 2, "a1.channels.c2", Severity::Error, &["neither a source nor a sink"]);
}

#[test]
fn an_agent_with_nothing_to_run_is_refused() {
    let error = refused("a1.sources = r1\n");
    assert!(error.to_string().contains("the source r1, which has no keys"), "the cause: {error}");
    let last = error.findings().last().map(ToString::to_string).unwrap_or_default();
    assert!(last.contains("no channel that can be used"), "the consequence: {last}");
    let text = "a1.channels = c1\na1.channels.c1.type = memory\n";
    assert!(refused(text).findings().iter().any(|f| f.message.contains("left out")));
}

#[test]
fn an_unknown_interceptor_or_selector_leaves_the_source_out() {
    let text = whole(
        "a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = static\na1.sources.r1.interceptors.i2.type = statc",
    );
    let LoadedConfig { agent, findings, .. } = loaded(&text);
    assert!(agent.sources.is_empty());
    let said = errors(&findings);
    assert!(
        said[0].contains("flume.conf:3")
            && said[0].contains("the source is left out, as in Flume; did you mean static?"),
        "{said:?}"
    );
    let LoadedConfig { agent, .. } = loaded(&whole("a1.sources.r1.selector.type = replicatin"));
    assert!(agent.sources.is_empty());
    // Flume would run these, so the agent does not run.
    refused(&whole("a1.sources.r1.selector.type = multiplexing"));
    refused(&whole("a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = host"));
    let LoadedConfig { findings, .. } =
        loaded(&whole("a1.sources.r1.interceptors.i1.type = static"));
    one(&findings, 1, "a1.sources.r1.interceptors.i1.type", Severity::Warning, &["not listed"]);
}

const GROUP: &str = "a1.sinks = k1 k2\na1.sinks.k2.type = logger\na1.sinks.k2.channel = c1\n\
                     a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k2 k1\n\
                     a1.sinkgroups.g1.processor.type = failover # 主备\n\
                     a1.sinkgroups.g1.processor.priority.k1 = 5";

#[test]
fn a_sink_group_keeps_its_order_and_its_processor() {
    let LoadedConfig { agent, findings, .. } = loaded(&whole(GROUP));
    assert_eq!(agent.sink_groups[0].sinks, ["k2", "k1"]);
    assert_eq!(agent.sink_groups[0].processor.type_name, "failover");
    assert_eq!(agent.sink_groups[0].processor.settings.entries["priority.k1"].value, "5");
    assert_eq!(agent.sinks.len(), 2);
    one(
        &findings,
        6,
        "a1.sinkgroups.g1.processor.type",
        Severity::Warning,
        &["taken as \"failover\""],
    );
}

#[test]
fn a_broken_sink_group_is_treated_as_flume_treats_it() {
    // A sink that does not exist: the group continues without it.
    let LoadedConfig { agent, findings, .. } = loaded(&whole(&GROUP.replace("k2 k1", "k2 k9")));
    assert_eq!(agent.sink_groups[0].sinks, ["k2"]);
    assert!(shown(&findings).contains("there is no sink k9"));
    let LoadedConfig { findings, .. } = loaded(&whole(&GROUP.replace("k2 k1", "k2,k1")));
    assert!(shown(&findings).contains("separated by blanks, not by commas"), "{findings:?}");
    // No sink left: the group is left out, the sinks run alone.
    let LoadedConfig { agent, .. } = loaded(&whole(&GROUP.replace("k2 k1", "k8 k9")));
    assert_eq!((agent.sink_groups.len(), agent.sinks.len()), (0, 2));
    // Without a processor the group's sinks do not run either.
    let text = whole(&GROUP.replace("processor.type", "processor.tpye"));
    let LoadedConfig { agent, findings, .. } = loaded(&text);
    assert_eq!((agent.sink_groups.len(), agent.sinks.len()), (0, 0));
    assert!(shown(&findings).contains("perhaps it is written tpye"), "{}", shown(&findings));
    // A sink is in one group only.
    let text = format!(
        "{}\na1.sinkgroups.g2.sinks = k1 k2\na1.sinkgroups.g2.processor.type = failover",
        GROUP.replace("= g1", "= g1 g2")
    );
    let LoadedConfig { agent, .. } = loaded(&whole(&text));
    assert_eq!(agent.sink_groups.len(), 1);
    // Processors that take another number of sinks.
    for (processor, members) in [("default", "k1 k2"), ("load_balance", "k1")] {
        let text = GROUP.replace("= failover", &format!("= {processor}")).replace("k2 k1", members);
        let LoadedConfig { agent, findings, .. } = loaded(&whole(&text));
        assert!(agent.sink_groups.is_empty());
        assert!(shown(&findings).contains(processor), "{}", shown(&findings));
    }
}

#[test]
fn encryption_stops_the_agent_whatever_else_is_wrong() {
    let text = whole(
        "a1.channels.c1.type = file\na1.channels.c1.encryption.activeKey = k\na1.channels.c1.capacity = x",
    );
    let error = refused(&text);
    let said = errors(error.findings());
    assert!(
        said[0].contains(
            "a1.channels.c1.encryption.activeKey: encryption of the channel is not available"
        ),
        "{said:?}"
    );
    assert!(error.to_string().contains("encryption"), "{error}");
}

#[test]
fn files_that_are_none_are_said_with_their_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let system = BTreeMap::new();
    let check = |name: &str, words: &[&str]| {
        let path = dir.path().join(name);
        let error = load(&path, "a1", &system, &catalogue()).expect_err(name).to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    check("nowhere.conf", &["there is no such file"]);
    check("", &["a directory"]);
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
    write("empty.conf", b"");
    check("empty.conf", &["no agent a1"]);
    write("zeros.conf", &[0; 4096]);
    check("zeros.conf", &["no agent a1"]);
    write("garbage.conf", &(0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    check("garbage.conf", &[]);
    write("escape.conf", b"a1.sources = r1\n\na1.sinks = \\u12\n");
    check("escape.conf", &[":3", "\\u without four"]);
    let mut long = b"a1.sources = ".to_vec();
    long.resize(10 * 1024 * 1024, b'r');
    write("long.conf", &long);
    check("long.conf", &["agent a1 cannot run", "…"]);
    long.resize(17 * 1024 * 1024, b'r');
    write("too-long.conf", &long);
    check("too-long.conf", &["16777216 bytes"]);
    write("good.conf", whole("").as_bytes());
    write("more.conf", b"a1.sources.r1.port = 1\n");
    let paths = [dir.path().join("good.conf"), dir.path().join("more.conf")];
    let merged = load_merged(&[&paths[0], &paths[1]], "a1", &system, &catalogue());
    let LoadedConfig { agent, findings, .. } = merged.expect("both are sound");
    let port = &agent.sources[0].component.settings.entries["port"];
    assert_eq!((port.value.as_str(), &*port.place.file), ("1", paths[1].as_path()));
    assert_eq!(shown(&findings), "");
}

#[test]
fn a_channel_is_loaded_although_its_agent_cannot_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("flume.conf");
    let text = "a1.channels = c1\na1.channels.c1.type = file # 文件\na1.channels.c1.dataDirs = /d\n\
                a1.channels.c1.checkpointDir = /c\na1.channels.c1.capacity = -1\n\
                a1.channels.c10.type = file\na1.channels.c10.encryption.activeKey = k\n\
                a1.sources = r1\na1.sources.r1.type = com.example.Source\na1.sources.r1.x = ${java:vm}\n";
    std::fs::write(&path, text).expect("written");
    let get = |channel| load_channel(&[&path], "a1", channel, &BTreeMap::new());
    let (channel, findings) = get("c1").expect("the channel is sound");
    let ChannelKind::File(file) = &channel.kind else { panic!("a file channel") };
    assert_eq!(file.data_dirs, [PathBuf::from("/d")]);
    let lines: Vec<_> = findings.iter().map(|finding| finding.place.line).collect();
    assert_eq!(lines, [2, 5], "{}", shown(&findings));
    let error = get("c10").expect_err("it is to be encrypted").to_string();
    assert!(error.contains("encryption"), "{error}");
    let error = get("c2").expect_err("there is none").to_string();
    assert!(error.ends_with("agent a1 has no channel c2; it has c1, c10 (MP-4005)"), "{error}");
    assert!(load_channel(&[&path], "a2", "c1", &BTreeMap::new()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_loading_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = read(&bytes, "a1");
    }

    /// Lines made of real words reach further than random bytes.
    #[test]
    fn no_lines_make_loading_panic(lines in proptest::collection::vec(
        ("a1\\.(sources|sinks|channels|sinkgroups|configfilters)(\\.[rkcg]1(\\.(type|channels?|sinks|processor\\.type|selector\\.type|interceptors|interceptors\\.i1\\.type|capacity|dataDirs|batchSize))?)?",
         "( |=|#|[rkcgi]1|netcat|file|memory|spillablememory|logger|static|failover|\\$\\{|\\}|env|-?[0-9]{1,20}|,|\\\\){0,6}"), 0..40)) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let _ = read(text.as_bytes(), "a1");
    }
}
