//! Sinks that must be the only ones of their channel.

use super::*;

#[test]
fn a_sink_that_delivers_exactly_once_is_the_only_one_of_a_file_channel() {
    let mut with_hdfs = catalogue();
    let keys = const {
        &[Key { name: "hdfs.exactlyOnce", kind: KeyKind::Boolean, default: "", meaning: "" }]
    };
    with_hdfs.sinks.push(TypeEntry { names: &["hdfs"], keys });
    let read = |text: &str| {
        let mut findings = ConfigFindings::default();
        let table =
            file::parse(&Arc::from(Path::new("flume.conf")), text.as_bytes(), &mut findings)
                .expect("a table");
        let system = BTreeMap::new();
        let (environment, program) = (|_: &str| None, |_: &str, _: &str| Err("none".to_owned()));
        let origin = LoadContext {
            path: Path::new("flume.conf"),
            agent: "a1",
            system: &system,
            environment: &environment,
            program: &program,
        };
        from_table(&table, &origin, &with_hdfs, findings)
    };
    let file = "a1.sinks.k1.hdfs.exactlyOnce = true\na1.sinks.k1.type = hdfs\na1.channels.c1.type = file\n";
    let second = "a1.sinks = k1 k2\na1.sinks.k2.type = logger\na1.sinks.k2.channel = c1\n";
    let group = "a1.channels = c1 c2\na1.channels.c2.type = file\na1.sinks.k2.channel = c2\na1.sinkgroups = g\n\
                 a1.sinkgroups.g.sinks = k1 k2\na1.sinkgroups.g.processor.type = failover\n";
    assert_eq!(read(&whole(file)).expect("it runs").agent.sinks.len(), 1);
    for (more, words) in [
        (whole(&file.replace("= file", "= memory")), "the channel c1 is not of type file"),
        (whole(&format!("{file}{second}")), "the sink k2 takes from the channel c1 too"),
        (
            whole(&format!("{file}{}", second.replace("a1.sinks.k2.channel = c1\n", "") + group)),
            "the sink is in the group g",
        ),
    ] {
        let findings = match read(&more) {
            Ok(loaded) => {
                assert!(loaded.agent.sinks.iter().all(|sink| sink.component.name != "k1"));
                loaded.findings
            }
            Err(error) => error.findings().to_vec(),
        };
        let found = findings.iter().find(|finding| finding.message.contains(words));
        let found = found.unwrap_or_else(|| panic!("{words}: {}", shown(&findings)));
        let place = (found.place.line, found.key.as_str(), found.severity);
        assert_eq!(place, (1, "a1.sinks.k1.hdfs.exactlyOnce", Severity::Error));
    }
}
