//! `avro-client` against an agent: a directory, TLS, several servers, headers, exit codes.

use super::process::{Agent, connect, free_port, lines_in, run, until};
use std::path::Path;

/// An avro source in TLS and one in plain text, and a thrift source, into files with headers and bodies.
fn configuration(out: &Path, tls: u16, plain: u16, thrift: u16) -> String {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("tests/golden/tls/server.jks");
    format!(
        "s.sources = t p h\ns.channels = c\ns.sinks = out\n\
         s.sources.t.type = avro\ns.sources.t.bind = 127.0.0.1\ns.sources.t.port = {tls}\n\
         s.sources.t.ssl = true\ns.sources.t.keystore = {}\ns.sources.t.keystore-password = changeit\n\
         s.sources.t.channels = c\ns.sources.p.type = avro\ns.sources.p.bind = 127.0.0.1\n\
         s.sources.p.port = {plain}\ns.sources.p.channels = c\n\
         s.sources.h.type = thrift\ns.sources.h.protocol = binary\ns.sources.h.bind = 127.0.0.1\n\
         s.sources.h.port = {thrift}\ns.sources.h.channels = c\ns.channels.c.type = memory\n\
         s.sinks.out.type = file_roll\ns.sinks.out.sink.directory = {}\n\
         s.sinks.out.sink.rollInterval = 0\ns.sinks.out.sink.serializer = HEADER_AND_TEXT\n\
         s.sinks.out.channel = c\n",
        golden.display(),
        out.display()
    )
}

#[test]
fn a_directory_goes_over_tls_and_to_the_next_server_when_one_is_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let (out, spool) = (directory.join("out"), directory.join("spool"));
    [&out, &spool].iter().for_each(|path| std::fs::create_dir(path).expect("a directory"));
    let [tls, plain, thrift, away] = [(); 4].map(|()| free_port());
    let write =
        |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("written");
    write("s.conf", &configuration(&out, tls, plain, thrift));
    write("headers", "dc = east\n");
    write("spool/a", "one\ntwo\n");
    let store =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls/trust.jks");
    write(
        "tls",
        &format!(
            "hosts = h\nhosts.h = 127.0.0.1:{tls}\nssl = true\ntruststore-password = changeit\n"
        ),
    );
    write(
        "two",
        &format!(
            "client.type = default_failover\nhosts = x y\nhosts.x = 127.0.0.1:{away}\n\
             hosts.y = 127.0.0.1:{plain}\n"
        ),
    );
    let hosts = format!("hosts = h\nhosts.h = 127.0.0.1:{thrift}\nprotocol = binary\n");
    write("thrift", &format!("client.type = thrift\n{hosts}"));
    let mut agent = Agent::start(directory, "s", "s.conf");
    let words = agent.words();
    until(
        "the sources",
        || words.clone(),
        || {
            agent.assert_alive();
            [plain, tls, thrift].iter().all(|port| connect(*port).is_some())
        },
    );
    let client = |words: &[&str], input: &[u8], code: i32| {
        let output = run(directory, &[&["avro-client"], words].concat(), input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        said
    };
    let trust = format!("-Djavax.net.ssl.trustStore={}", store.display());
    // An authority that is not configured is not trusted.
    let said = client(&["-P", "tls", "--dirname", "spool"], b"", 1);
    assert!(said.contains("no TLS with the server"), "{said}");
    assert!(spool.join("a").exists());
    client(&["-P", "tls", "--dirname", "spool", "-R", "headers", &trust], b"", 0);
    assert!(spool.join("afileSuffix").exists());
    client(&["-P", "two"], b"three\n", 0);
    client(&["-P", "thrift"], b"four\nfive\n", 0);
    until("all lines", || agent.words(), || lines_in(&out).len() >= 5);
    let mut found: Vec<String> =
        lines_in(&out).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    found.sort();
    assert_eq!(found, ["{dc=east} one", "{dc=east} two", "{} five", "{} four", "{} three"]);

    let (port, nowhere) = (plain.to_string(), away.to_string());
    let server = ["-H", "127.0.0.1", "-p", &port];
    client(&[&server[..], &["--dirname", "nowhere"]].concat(), b"", 1);
    client(&[&server[..], &["--dirname", "spool", "-F", "headers"]].concat(), b"", 2);
    client(&["-H", "127.0.0.1", "-p", &nowhere], b"x\n", 1);
    client(&["-P", "nothing"], b"x\n", 1);
    client(&[], b"x\n", 2);
    assert!(agent.terminate().success());
}
