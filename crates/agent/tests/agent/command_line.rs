//! Exit codes, stdout and stderr, Flume's name.

use super::process::{millpond, run, run_expecting};
use std::path::Path;
use std::process::{Command, Stdio};

fn here() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn version_and_help_go_to_stdout() {
    let version = run_expecting(here(), &["version"], b"", 0);
    assert!(version.lines().next().is_some_and(|l| l.contains(env!("CARGO_PKG_VERSION"))));
    let help = run_expecting(here(), &["help"], b"", 0);
    for command in ["agent", "avro-client", "version", "help", "tool", "validate", "channel"] {
        assert!(help.contains(command), "{help}");
    }
}

#[test]
fn wrong_usage_is_2_and_says_so_on_stderr_only() {
    for words in [
        &["agent", "-n", "a"][..],
        &["chanel"],
        &["channel", "put"],
        &["channel", "put", "--checkpoint-dir", "a", "--data-dirs", "b", "--batch", "0"],
        &["channel", "put", "--checkpoint-dir", "a", "--data-dirs", "a"],
        &["agent", "-n", "a", "-f", "x", "-z", "host:99999"],
        &["agent", "-n", "a", "-f", "x", "-D", ""],
        &[],
    ] {
        let output = run(here(), words, b"");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn what_is_not_there_yet_says_so_and_fails() {
    let words = "channel import --checkpoint-dir a --data-dirs b --from-flume c d";
    let output = run(here(), &words.split(' ').collect::<Vec<_>>(), b"");
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not there yet"), "{words:?}");
}

#[test]
fn flumes_tool_is_refused_with_the_command_that_does_its_work() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("old")).expect("made");
    std::fs::write(directory.path().join("old/log-1"), b"Flume's").expect("written");
    let put = ["channel", "put", "--checkpoint-dir", "cp", "--data-dirs", "d1,d2"];
    run_expecting(directory.path(), &put, b"a line\n", 0);
    let of_d = "millpond channel check --checkpoint-dir DIR --data-dirs d1,d2";
    for (words, said) in [
        (&["tool", "fcintegritytool", "-l", "old"][..], &["of Flume (old)", "channel repair"][..]),
        (&["tool", "FCIntegrityTool", "--dataDirs", "d1,d2"], &["belongs to a millpond", of_d]),
        (&["tool", "fcintegritytool", "-ld1,d2"], &["d1 belongs to a millpond channel", of_d]),
        (&["tool"], &["which tool?", "only fcintegritytool"]),
        (&["tool", "import"], &["no tool import", "channel check"]),
    ] {
        let output = run(directory.path(), words, b"");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let heard = String::from_utf8_lossy(&output.stderr);
        assert!(said.iter().all(|said| heard.contains(said)), "{words:?}: {heard}");
    }
    assert_eq!(std::fs::read(directory.path().join("old/log-1")).expect("there"), b"Flume's");
    // The command of the message works.
    let check = ["channel", "check", "--checkpoint-dir", "cp", "--data-dirs", "d1,d2"];
    run_expecting(directory.path(), &check, b"", 0);
}

#[test]
fn called_as_flume_ng_it_is_the_same_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("flume-ng");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_millpond"), &link).expect("a link");
    let output = Command::new(&link).arg("help").output().expect("it runs");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("flume-ng"));
}

#[test]
fn a_typographic_dash_is_taken_as_meant_with_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let words = ["agent", "-c", "conf/", "-n", "a1", "\u{2013}f", "x.conf", "-d"];
    let output = run(directory.path(), &words, b"");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "millpond agent -n a1 -f x.conf\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("typographic dash"));
}

#[test]
fn settings_come_from_flume_env_sh_without_running_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("conf");
    std::fs::create_dir(&conf).expect("a directory");
    let script = "touch ran\nexport JAVA_OPTS=\"-Dflume.monitoring.type=ganglia\n-Dx=y\"\n\
                  export FLUME_JAVA_OPTS=\"-Dflume.monitoring.hosts=h:8649 -Xmx200m\"\n";
    std::fs::write(conf.join("flume-env.sh"), script).expect("written");
    let words = ["agent", "-c", "conf", "-n", "a1", "-f", "x.conf", "--dryrun"];
    let shown = run_expecting(directory.path(), &words, b"", 0);
    assert!(shown.contains("-Dflume.monitoring.hosts=h:8649"), "{shown}");
    assert!(!directory.path().join("ran").exists());
}

#[test]
fn no_password_of_a_java_option_is_shown() {
    let option = "-Djavax.net.ssl.keyStorePassword=geheim";
    let client = ["avro-client", "-H", "127.0.0.1", "-p", "1", "-F", "/dev/null", option];
    let dry = ["agent", "-n", "a1", "-f", "x.conf", "--dryrun", option];
    for (words, shown) in [
        (&client[..], "-Djavax.net.ssl.keyStorePassword: no effect"),
        (&dry[..], "-Djavax.net.ssl.keyStorePassword=***"),
    ] {
        let output = run(here(), words, b"");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        assert!(said.contains(shown) && !said.contains("geheim"), "{said}");
    }
}

#[test]
fn colours_are_left_out_without_a_terminal() {
    for words in [&["help"][..], &["nonsense"]] {
        let output = millpond(here()).args(words).env("NO_COLOR", "1").output().expect("it runs");
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
    }
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = millpond(here())
        .arg("version")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_code_is_explained_however_it_is_written_and_an_unknown_one_is_wrong_usage() {
    let one = run_expecting(here(), &["explain", "MP-1203"], b"", 0);
    assert!(one.starts_with("MP-1203: segment files are missing"), "{one}");
    assert!(one.contains("openWithoutMissingSegments") && one.contains("docs/operations.md#"));
    assert_eq!(run_expecting(here(), &["explain", "mp-1203"], b"", 0), one);
    let two = run_expecting(here(), &["explain", "1203", "90004"], b"", 0);
    assert!(two.starts_with(&one) && two.contains("MP-90004: Sink delivers nothing"), "{two}");
    let all = run_expecting(here(), &["explain"], b"", 0);
    assert_eq!(run_expecting(here(), &["explain", "--list"], b"", 0), all);
    assert!(all.lines().count() > 80 && all.lines().all(|line| line.starts_with("MP-")), "{all}");
    let json = run_expecting(here(), &["explain", "--json", "1203"], b"", 0);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["code"].as_str(), json["number"].as_u64()), (Some("MP-1203"), Some(1203)));
    let wrong = run(here(), &["explain", "1203", "MP-12033"], b"");
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&wrong.stdout), one, "what is known is said");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("there is no code MP-12033; did you mean MP-1203?"), "{said}");
}

#[test]
fn what_ends_a_command_has_its_code_at_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = ["--checkpoint-dir", "cp", "--data-dirs", "d1"];
    run_expecting(directory.path(), &[&["channel", "put"][..], &at].concat(), b"a line\n", 0);
    std::fs::remove_dir_all(directory.path().join("d1")).expect("removed");
    let output = run(directory.path(), &[&["channel", "take"][..], &at].concat(), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.trim_end().ends_with("(MP-1201)"), "{said}");
}

#[test]
fn validate_names_file_and_line_and_starts_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "a.sources = s\na.channels = c\na.sources.s.type = netcatt\na.sources.s.channels = c\n\
                a.channels.c.type = memory\n";
    std::fs::write(directory.path().join("bad.conf"), text).expect("written");
    let found = run_expecting(directory.path(), &["validate", "-n", "a", "-f", "bad.conf"], b"", 1);
    assert!(found.contains("bad.conf:3") && found.contains("netcat"), "{found}");
    run_expecting(directory.path(), &["validate", "-n", "a", "-f", "missing.conf"], b"", 1);
}

#[test]
fn validate_finds_what_the_agent_would_leave_out_or_not_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = "a.sources = s\na.channels = c\na.sinks = k\na.sources.s.type = netcat\n\
                a.sources.s.bind = 127.0.0.1\na.sources.s.port = 0\na.sources.s.channels = c\n\
                a.channels.c.type = file\na.channels.c.checkpointDir = cp\na.channels.c.dataDirs = d1\n\
                a.sinks.k.type = null\na.sinks.k.channel = c\n";
    let other = "a.channels = c e\na.channels.e.type = file\na.channels.e.checkpointDir = cp2\n\
                 a.sources.s.channels = c e\na.channels.e.dataDirs = d2, ./d1\n";
    for (more, code, word) in [
        ("", 0, "1 source, 1 channel, 1 sink can run"),
        ("a.sources.s.port = -1\n", 1, "a.sources.s.port: \"-1\" is not a whole number"),
        ("a.sources.s.encoding = x\n", 1, "0 sources, 1 channel, 1 sink can run"),
        ("a.sinks.k.batchSize = 0\n", 1, "1 source, 1 channel, 0 sinks can run"),
        (other, 1, "d1 is also a directory of the channel c"),
    ] {
        let text = format!("{good}{more}");
        std::fs::write(directory.path().join("a.conf"), text).expect("written");
        let words = ["validate", "-n", "a", "-f", "a.conf"];
        let found = run_expecting(directory.path(), &words, b"", code);
        assert!(found.contains(word), "{more}: {found}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing is made");
}

#[test]
fn graph_draws_all_agents_of_its_files_and_says_which_it_cannot() {
    let directory = tempfile::tempdir().expect("a directory");
    let parts = "sources = s\nchannels = c\nsinks = k\nsources.s.type = avro\n\
                 sources.s.bind = 0.0.0.0\nsources.s.channels = c\nchannels.c.type = memory\n\
                 sinks.k.channel = c\n";
    let agent = |name: &str, more: &str| -> String {
        let lines = parts.lines().chain(more.lines());
        lines.map(|line| format!("{name}.{line}\n")).collect()
    };
    let sends = agent(
        "edge",
        "sources.s.port = 1\nsinks.k.type = avro\nsinks.k.hostname = far\nsinks.k.port = 2\n",
    );
    let receives = agent("hub", "sources.s.port = 2\nsinks.k.type = null\n");
    let broken = agent("odd", "sources.s.port = 3\nsinks.k.type = nul\n");
    for (name, text) in [("a.conf", sends), ("b.conf", receives + &broken)] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let both = ["graph", "-f", "a.conf", "-f", "b.conf"];
    let whole = run(directory.path(), &both, b"");
    let (list, said) =
        (String::from_utf8_lossy(&whole.stdout), String::from_utf8_lossy(&whole.stderr));
    assert_eq!(whole.status.code(), Some(1), "{said}");
    assert!(list.contains("=> source s of agent hub"), "{list}");
    assert!(
        said.contains("b.conf:") && said.contains("cannot run") && said.contains("odd"),
        "{said}"
    );
    assert_eq!(said.matches("error: odd.sinks.k.type").count(), 1, "once: {said}");
    let named = [&both[..], &["-n", "edge", "-n", "hub", "--format", "svg"]].concat();
    let drawing = run_expecting(directory.path(), &named, b"", 0);
    assert!(drawing.contains("</svg>") && drawing.contains("class=\"hop\""), "{drawing}");
    let unknown = run(directory.path(), &[&both[..], &["-n", "other"]].concat(), b"");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no agent other"));
}

#[test]
fn graph_leaves_out_what_the_agent_would_leave_out_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = "a.sources = s t\na.channels = c\na.sinks = k l\na.sinkgroups = g\n\
                a.sources.s.type = thrift\na.sources.s.bind = 127.0.0.1\na.sources.s.port = 1\n\
                a.sources.s.channels = c\na.sources.t.type = seq\na.sources.t.channels = c\n\
                a.channels.c.type = memory\na.sinks.k.type = null\na.sinks.k.channel = c\n\
                a.sinks.l.type = logger\na.sinks.l.channel = c\na.sinkgroups.g.sinks = k l\n\
                a.sinkgroups.g.processor.type = failover\n";
    for (more, gone, stays) in [
        ("a.sources.s.kerberos = true\n", "thrift", "seq"),
        ("a.sinks.k.batchSize = 0\n", "null", "logger"),
        ("a.sinkgroups.g.processor.maxpenalty = x\n", "null", "seq"),
        ("a.sources = s t u\n", "source u", "thrift"),
    ] {
        std::fs::write(directory.path().join("a.conf"), format!("{good}{more}")).expect("written");
        let output = run(directory.path(), &["graph", "-f", "a.conf"], b"");
        let list = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more}: {said}");
        assert!(!list.contains(gone) && list.contains(stays), "{more}: {list}");
        assert!(said.contains("error: a.") && said.contains("is not drawn"), "{more}: {said}");
    }
    std::fs::write(directory.path().join("a.conf"), good).expect("written");
    let list = run_expecting(directory.path(), &["graph", "-f", "a.conf"], b"", 0);
    assert!(["thrift", "null", "failover"].iter().all(|word| list.contains(word)), "{list}");
}

#[test]
fn graph_draws_what_is_not_available_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "a.sources = s\na.channels = c\na.sinks = k\n\
                a.sources.s.type = org.apache.flume.source.kafka.KafkaSource\n\
                a.sources.s.kafka.bootstrap.servers = b:9092\na.sources.s.channels = c\n\
                a.channels.c.type = memory\na.channels.c.capacity = 1000\na.channels.c.transactionCapacity = 1000\n\
                a.sinks.k.type = hdfs\na.sinks.k.hdfs.path = /flume/%Y\na.sinks.k.channel = c\n";
    std::fs::write(directory.path().join("a.conf"), text).expect("written");
    let list = run_expecting(directory.path(), &["graph", "-f", "a.conf"], b"", 0);
    assert!(list.contains("hdfs") && list.to_lowercase().contains("kafka"), "{list}");
    assert_eq!(list.matches("not available here").count(), 2, "{list}");
    let svg = ["graph", "-f", "a.conf", "--format", "svg"];
    assert!(run_expecting(directory.path(), &svg, b"", 0).contains("not available here"));
}

#[test]
fn options_of_a_file_count_where_the_command_line_has_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "name = a1\nconf-file = job.conf\nno-reload-conf = true\n";
    std::fs::write(directory.path().join("flume.opts"), text).expect("written");
    let words = ["agent", "-c", ".", "-n", "b1", "--dryrun"];
    let shown = run_expecting(directory.path(), &words, b"", 0);
    assert!(
        ["b1", "job.conf", "--no-reload-conf"].iter().all(|word| shown.contains(word))
            && !shown.contains("a1"),
        "{shown}"
    );
}

#[test]
fn validate_says_how_the_types_of_a_configuration_differ_from_flume() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "a.sources = s t\na.channels = c\na.sinks = k\na.sources.s.type = netcat\n\
                a.sources.s.bind = 127.0.0.1\na.sources.s.port = 0\na.sources.s.channels = c\n\
                a.sources.s.maxConnections = 5\na.sources.t.type = netcat\na.sources.t.bind = 127.0.0.1\n\
                a.sources.t.port = 0\na.sources.t.channels = c\na.channels.c.type = memory\n\
                a.sinks.k.type = avro\na.sinks.k.hostname = h\na.sinks.k.port = 1\na.sinks.k.channel = c\n";
    let validate = |text: &str| {
        std::fs::write(directory.path().join("a.conf"), text).expect("written");
        let words = ["validate", "-n", "a", "-f", "a.conf", "--notes"];
        run_expecting(directory.path(), &words, b"", 0)
    };
    let said = validate(text);
    for line in [
        "a.conf:4: note: a.sources.s.type: unlike Flume: the complete lines of one read",
        "a.conf:8: note: a.sources.s.maxConnections: unlike Flume: ",
        "a.conf:13: note: a.channels.c.type: unlike Flume: byteCapacity is 256 MiB",
        "note: a: unlike Flume: at a stop the sinks first empty the memory channels",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(
        said.matches("the complete lines of one read").count(),
        1,
        "once for a type: {said}"
    );
    assert!(!said.contains("verify-hostname"), "{said}");
    let said = validate(&format!("{text}a.sinks.k.ssl = true\n"));
    assert!(said.contains("verify-hostname = false turns this off"), "{said}");
}

/// Runs `validate` with further options on a configuration; returns stdout, stderr and the exit
/// code.
pub(super) fn validated(text: &str, options: &[&str]) -> (String, String, i32) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.conf"), text).expect("written");
    let words = [&["validate", "-n", "a", "-f", "a.conf"], options].concat();
    let output = run(directory.path(), &words, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().expect("it ended"))
}

pub(super) const SOUND: &str = "a.sources = s\na.channels = c\na.sinks = k\na.sources.s.type = netcat\n\
    a.sources.s.bind = 127.0.0.1\na.sources.s.port = 0\na.sources.s.channels = c\n\
    a.channels.c.type = memory\na.sinks.k.type = logger\na.sinks.k.channel = c\n";

#[test]
fn validate_shows_causes_first_and_notes_on_request_only() {
    let (shown, said, code) = validated(SOUND, &[]);
    assert_eq!(code, 0, "{shown}{said}");
    assert!(!shown.contains("note:") && shown.contains("notes; --notes shows them"), "{shown}");
    assert_eq!(validated(SOUND, &["--quiet", "--strict"]).0, "");
    let typo = SOUND.replace("a.sinks.k.channel = c", "a.sinks.k.channel = d");
    let (shown, said, code) = validated(&typo, &[]);
    let first = shown.lines().next().unwrap_or_default();
    assert!(first.contains("error: a.sinks.k.channel: there is no channel d"), "{shown}");
    assert!(shown.contains("the agent runs without sinks"), "{shown}");
    assert_eq!((code, said.lines().count()), (1, 1), "one closing line: {said}");
    assert!(!said.contains("no channel d"), "the cause is said once: {said}");
}

#[test]
fn validate_names_why_a_channel_is_left_out_before_what_follows_from_it() {
    let file =
        "a.channels.c.type = file\na.channels.c.checkpointDir = cp\na.channels.c.dataDirs = d\n";
    for (wrong, words) in [
        ("a.channels.c.dataDirs = d,d\n", "a.channels.c.dataDirs: "),
        ("a.channels.c.capacity = 99\n", "10000 is the default, which is not in the file"),
        ("a.channels.c.checkpointInterval = 30s\n", "a.channels.c.checkpointInterval: "),
        ("a.channels.c.dataDirs = cp,d\n", "a.channels.c."),
    ] {
        let (shown, said, code) = validated(&format!("{SOUND}{file}{wrong}"), &[]);
        let first = shown.lines().next().unwrap_or_default();
        assert!(code == 1 && first.contains(words), "{wrong}: {shown}{said}");
        assert!(shown.contains("a.sources.s.channels: there is no channel c"), "{shown}");
        assert!(said.contains("cannot run as it is configured"), "{said}");
    }
    let comma = SOUND.replace("a.sources.s.channels = c", "a.sources.s.channels = c, d");
    let (shown, _, _) = validated(&comma, &[]);
    assert!(
        shown.contains("no channel c, that can be used; names are separated by blanks"),
        "{shown}"
    );
}

#[test]
fn validate_has_json_also_where_nothing_can_be_read() {
    for (name, file, words) in
        [("b", "a.conf", "there is no agent b"), ("a", "no.conf", "no such file")]
    {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.conf"), SOUND).expect("written");
        let words_given = ["validate", "--json", "-n", name, "-f", file];
        let shown = run_expecting(directory.path(), &words_given, b"", 1);
        let json: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let message = json["findings"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words) && json["canRun"] == false, "{shown}");
    }
}

#[test]
fn validate_notes_a_backslash_that_the_file_format_drops() {
    let dropped = "a.channels.c.type = file\na.channels.c.checkpointDir = w\\cp\na.channels.c.dataDirs = w\\\\d\n";
    let (shown, _, _) = validated(&format!("{SOUND}{dropped}"), &["--notes", "--effective"]);
    assert!(shown.contains("a.channels.c.checkpointDir = wcp"), "{shown}");
    let noted = shown.lines().filter(|line| line.contains("has a backslash that is dropped"));
    let noted: Vec<_> = noted.collect();
    assert!(noted.len() == 1 && noted[0].contains("note: a.channels.c.checkpointDir"), "{noted:?}");
}

#[test]
fn validate_looks_at_the_options_of_monitoring() {
    let http = "-Dflume.monitoring.type=http";
    for (option, words) in [
        ("-Dflume.monitoring.auth-tokenfile=tok", "did you mean auth-token-file?"),
        ("-Dflume.monitoring.auth-token-file=tok", "the file tok:"),
        ("-Dflume.monitoring.port=x", "is not a port"),
    ] {
        let (shown, said, code) = validated(SOUND, &[http, option]);
        assert!(
            code == 1 && shown.contains("error: -Dflume.monitoring"),
            "{option}: {shown}{said}"
        );
        assert!(shown.contains(words), "{shown}");
    }
    let (shown, _, code) = validated(SOUND, &[http, "-Dflume.monitoring.prot=1"]);
    assert!(code == 0 && shown.contains("did you mean port?"), "{shown}");
    let file = "-Dflume.monitoring.auth-token-file=tok";
    assert_eq!(validated(SOUND, &["--elsewhere", http, file]).2, 0);
}

#[test]
fn validate_strict_fails_after_a_warning() {
    let typo = format!("{SOUND}a.channels.c.capacty = 5\n");
    assert_eq!(validated(&typo, &[]).2, 0);
    let (_, said, code) = validated(&typo, &["--strict"]);
    assert!(code == 1 && said.contains("1 warning, and --strict is given"), "{said}");
}

#[test]
fn validate_finds_two_sources_on_one_port() {
    let two = "a.sources = s t\na.sources.t.type = syslogtcp\na.sources.t.host = 0.0.0.0\n\
               a.sources.t.port = 5140\na.sources.s.port = 5140 # the same\na.sources.t.channels = c\n";
    let (shown, _, code) = validated(&format!("{SOUND}{two}"), &[]);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("a.sources.t.port: the source s listens on port 5140 too"), "{shown}");
    let other = two.replace("syslogtcp", "syslogudp");
    assert_eq!(validated(&format!("{SOUND}{other}"), &[]).2, 0, "TCP and UDP do not meet");
}

#[test]
fn validate_tries_what_a_start_would_meet() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let more = format!(
        "a.sources.s.port = {port}\na.channels.c.type = file\na.channels.c.checkpointDir = /dev/null/cp\n\
         a.channels.c.dataDirs = d\na.sinks.k.type = http\na.sinks.k.endpoint = http://127.0.0.1:1/\n"
    );
    let (shown, _, code) = validated(&format!("{SOUND}{more}"), &[]);
    assert_eq!(code, 0, "{shown}");
    for words in [
        "127.0.0.1 port",
        "is in use now, by ",
        "the source cannot listen until it is free",
        "/dev/null/cp cannot be made: /dev/null is not a directory",
        "the status 200 counts as a failure",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn validate_shows_effective_values_with_origin_and_without_secrets() {
    let more = "a.sources.s.port = 0 # any\na.channels.c.type = file\na.channels.c.checkpointDir = cp\n\
                a.channels.c.dataDirs = d\na.sinks.k.type = avro\na.sinks.k.hostname = h\na.sinks.k.port = 1\n\
                a.sinks.k.ssl = true\na.sinks.k.truststore = t\na.sinks.k.truststore-password = h\u{fc}hner\n\
                a.alarms.clientSilent.seconds = 90\n";
    let (shown, _, _) = validated(&format!("{SOUND}{more}"), &["--effective", "--notes"]);
    for words in [
        "a.sources.s.port = 0  (a.conf:",
        "a.channels.c.transactionCapacity = 10000  (default)",
        "a.alarms.clientSilent.seconds = 90  (a.conf:",
        "a.sinks.k.truststore-password = ***  (a.conf:",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("hner"), "{shown}");
    let (shown, _, _) = validated(&format!("{SOUND}{more}"), &["--json"]);
    assert!(!shown.contains("hner"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&json["canRun"], &json["sinks"]), (&true.into(), &1.into()), "{shown}");
    assert!(json["findings"].as_array().is_some_and(|all| !all.is_empty()), "{shown}");
}

#[test]
fn every_example_configuration_is_sound() {
    for entry in std::fs::read_dir(here().join("docs/examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("an example can be read");
        let agent = text.lines().find_map(|l| l.split_once(".sources =")).expect("an agent").0;
        let file = path.to_str().expect("a plain name");
        let words = ["validate", "-n", agent, "-f", file, "--elsewhere"];
        let found = run_expecting(here(), &words, b"", 0);
        assert!(!found.contains("warning"), "{file}: {found}");
    }
}

#[test]
fn validate_gives_each_finding_the_code_that_explains_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let more = format!(
        "a.sources.s.port = {port}\na.channels.c.capacty = 5\na.channels.c.type = file\n\
         a.channels.c.checkpointDir = /dev/null/cp\na.channels.c.dataDirs = d\na.sinks.k.channel = d\n"
    );
    let text = format!("{SOUND}{more}");
    let (shown, said, _) = validated(&text, &["--notes"]);
    for (words, code) in [
        ("error: a.sinks.k.channel", "(MP-4001)"),
        ("warning: a.channels.c.capacty", "(MP-4002)"),
        ("is in use now", "(MP-2101)"),
        ("/dev/null/cp cannot be made", "(MP-4010)"),
    ] {
        let line = shown.lines().find(|line| line.contains(words)).unwrap_or_default();
        assert!(line.ends_with(code), "{words}: {line}\n{shown}{said}");
    }
    assert!(shown.lines().all(|line| !line.contains("note: ") || !line.contains("(MP-")));
    let (shown, _, _) = validated(&text, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    for finding in json["findings"].as_array().expect("a list") {
        let has_code = finding["code"].as_str().is_some_and(|code| code.starts_with("MP-"));
        assert_eq!(has_code, finding["severity"] != "note", "{finding}");
    }
    let (_, said, _) = validated("a.channels = c\n", &[]);
    assert!(said.contains("(MP-4"), "{said}");
}

#[test]
fn validate_shows_what_is_written_of_an_agent_that_cannot_run() {
    let more = "a.channels.c.type = file\na.channels.c.checkpointDir = cp\na.channels.c.dataDirs = d,d\n\
                a.sinks.k.type = avro\na.sinks.k.hostname = h\na.sinks.k.port = ${env:NO_SUCH}1\na.sinks.k.ssl = true\n\
                a.sinks.k.truststore = t\na.sinks.k.truststore-password = h\u{fc}hner\n";
    let (shown, said, code) = validated(&format!("{SOUND}{more}"), &["--effective"]);
    assert!(code == 1 && said.contains("cannot run as it is configured"), "{said}");
    for words in [
        "a.channels.c.dataDirs = d,d  (a.conf:",
        "; left out)",
        "a.sources.s.type = netcat  (a.conf:",
        "a.sinks.k.truststore-password = ***  (a.conf:",
        "error: a.channels.c.dataDirs",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("hner"), "{shown}");
    // Of an agent that runs, the parts that it runs without.
    let typo = SOUND.replace("a.sinks.k.channel = c", "a.sinks.k.channel = d");
    let (shown, _, _) = validated(&typo, &["--effective"]);
    let [sink, source] = ["a.sinks.k.channel = d  (a.conf:10; left out)", "a.sources.s.port = 0"];
    assert!(shown.contains(sink) && shown.contains(source), "{shown}");
    assert_eq!(shown.matches("left out)").count(), 2, "{shown}");
}
