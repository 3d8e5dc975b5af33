//! Certificates of both ends, made and shown by openssl: clients that must present one, and stores
//! that are replaced while agents run.

use super::process::{Agent, free_port, lines_in, until};
use super::wire_protocols::{chain, file_roll};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs `openssl` in `directory`; returns its output if it fails.
fn openssl(directory: &Path, words: &str) -> Result<String, String> {
    let ran = Command::new("openssl").args(words.split(' ')).current_dir(directory).output();
    let ran = ran.map_err(|error| format!("openssl: {error}"))?;
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    if ran.status.success() { Ok(said) } else { Err(format!("openssl {words}: {said}")) }
}

/// An authority and one key of `localhost` and of `web1` each from it: NAME-ca.pem, NAME-server.pem, NAME-web1.pem.
fn authority(directory: &Path, name: &str) -> Result<(), String> {
    let run = |words: String| openssl(directory, &words).map(drop);
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    run(format!(
        "req -x509 {key} -keyout {name}-ca.key -out {name}-ca.pem -subj /CN={name}-authority"
    ))?;
    for (who, subject, san) in [
        ("server", "localhost", "DNS:localhost,IP:127.0.0.1"),
        ("web1", "web1", "DNS:web1.example"),
    ] {
        let at = |end: &str| format!("{name}-{who}.{end}");
        run(format!("req {key} -keyout {} -out {} -subj /CN={subject}", at("key"), at("req")))?;
        std::fs::write(directory.join("san"), format!("subjectAltName={san}\n")).expect("written");
        run(format!(
            "x509 -req -in {} -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 30 -extfile san -out {}",
            at("req"),
            at("crt")
        ))?;
        let both =
            [at("key"), at("crt")].map(|part| std::fs::read(directory.join(part)).expect("made"));
        std::fs::write(directory.join(at("pem")), both.concat()).expect("written");
    }
    Ok(())
}

/// Makes two sets, `old` and `new`; `None`, with a message, if there is no suitable openssl.
#[allow(clippy::print_stdout)] // said aloud: a test that is left out must be seen
fn authorities(directory: &Path) -> Option<()> {
    match authority(directory, "old").and_then(|()| authority(directory, "new")) {
        Ok(()) => Some(()),
        Err(reason) => {
            println!("left out certificates: {reason}");
            None
        }
    }
}

/// Replaces `to` by `from`, as a renewal of a certificate does.
fn replace(directory: &Path, from: &str, to: &str) {
    std::fs::copy(directory.join(from), directory.join("next")).expect("copied");
    rustix::fs::rename(directory.join("next"), directory.join(to)).expect("renamed");
}

/// Sends a line with `openssl s_client`; returns its output.
fn send(directory: &Path, port: u16, more: &str, line: &str) -> String {
    let words = format!(
        "s_client -connect 127.0.0.1:{port} -CAfile old-ca.pem -quiet -verify_quiet {more}"
    );
    let mut child = Command::new("openssl")
        .args(words.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl was found before");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(format!("<34>Oct 11 22:14:15 web1 {line}\n").as_bytes());
    // With -quiet it does not end with its input: the test looks for the line that was sent.
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(stdin);
    let _ = child.kill();
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_client_of_openssl_comes_in_with_its_certificate_and_not_without() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(()) = authorities(top) else { return };
    let (out, port) = (top.join("out"), free_port());
    let tls = "ssl=true keystore=old-server.pem need-client-auth=true truststore=old-ca.pem";
    let sources = [format!("type=syslogtcp host=127.0.0.1 port={port} {tls}")];
    std::fs::write(top.join("a.conf"), chain("a", &sources, &[file_roll(&out)])).expect("written");
    let mut agent = Agent::start(top, "a", "a.conf");
    drop(agent.connection(port));
    let lines = || -> Vec<String> {
        lines_in(&out).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    send(top, port, "", "without one");
    send(top, port, "-cert new-web1.pem -key new-web1.pem", "with another's");
    until(
        "the refusals",
        || agent.words(),
        || agent.words().matches("no TLS with a client").count() >= 2,
    );
    send(top, port, "-cert old-web1.pem -key old-web1.pem", "with its own");
    until("the line", || agent.words(), || !lines().is_empty());
    assert_eq!(lines(), ["with its own"]);
    // The trusted authorities change while it runs.
    let both =
        ["old-ca.pem", "new-ca.pem"].map(|name| std::fs::read(top.join(name)).expect("there"));
    std::fs::write(top.join("both.pem"), both.concat()).expect("written");
    replace(top, "both.pem", "old-ca.pem");
    send(top, port, "-cert new-web1.pem -key new-web1.pem", "trusted now");
    until("the other line", || agent.words(), || lines().len() > 1);
    assert_eq!(lines(), ["with its own", "trusted now"]);
    assert!(agent.terminate().success());
}

/// A server of each protocol with TLS, each into its own file, at `ports`.
fn server(outs: &[PathBuf; 3], ports: &[u16]) -> String {
    let tls = "bind=127.0.0.1 ssl=true keystore=server.pem";
    let blob = "handler=org.apache.flume.source.http.BLOBHandler";
    let sources = [
        format!("type=avro port={} {tls}", ports[0]),
        format!("type=thrift port={} {tls}", ports[1]),
        format!("type=http port={} {blob} {tls}", ports[2]),
    ];
    chain("s", &sources, &outs.each_ref().map(|out| file_roll(out)))
}

#[test]
fn sinks_reach_a_server_with_a_new_authority_once_they_trust_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(()) = authorities(top) else { return };
    let outs = ["avro", "thrift", "http"].map(|name| top.join(name));
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    std::fs::write(top.join("s.conf"), server(&outs, &ports)).expect("written");
    let sources: Vec<String> =
        ports[3..].iter().map(|port| format!("type=netcat bind=127.0.0.1 port={port}")).collect();
    let to = |kind: &str, at: usize| {
        format!(
            "type={kind} hostname=localhost port={} ssl=true truststore=trust.pem connect-timeout=2000 request-timeout=2000",
            ports[at]
        )
    };
    let good = "rollback.2XX=false backoff.2XX=false incrementMetrics.2XX=true";
    let sinks = [
        to("avro", 0),
        to("thrift", 1),
        format!("type=http endpoint=https://localhost:{}/ {good} truststore=trust.pem", ports[2]),
    ];
    std::fs::write(top.join("c.conf"), chain("c", &sources, &sinks)).expect("written");
    replace(top, "old-server.pem", "server.pem");
    replace(top, "old-ca.pem", "trust.pem");
    let far = Agent::start(top, "s", "s.conf");
    let mut near = Agent::start(top, "c", "c.conf");
    let say = |near: &mut Agent, word: &str| {
        for port in &ports[3..] {
            let (mut reader, mut writer) = near.connection(*port);
            writeln!(writer, "{word}").expect("sent");
            assert_eq!(super::process::read_line(&mut reader).as_deref(), Some("OK"));
        }
    };
    let arrived = |words: &dyn Fn() -> String, expected: usize| {
        for out in &outs {
            until(&format!("{expected} lines in {}", out.display()), words, || {
                lines_in(out).len() >= expected
            });
        }
    };
    say(&mut near, "one");
    arrived(&|| near.words(), 1);
    far.terminate();
    replace(top, "new-server.pem", "server.pem");
    let _far = Agent::start(top, "s", "s.conf");
    say(&mut near, "two");
    until(
        "that the certificate is not trusted",
        || near.words(),
        || near.words().matches("UnknownIssuer").count() >= 3,
    );
    replace(top, "new-ca.pem", "trust.pem");
    arrived(&|| near.words(), 2);
    assert!(near.terminate().success());
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_store_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(()) = authorities(top) else { return };
    let (out, port) = (top.join("out"), free_port());
    let tls = "ssl=true keystore=server.pem";
    let sources = [format!("type=syslogtcp host=127.0.0.1 port={port} {tls}")];
    std::fs::write(top.join("a.conf"), chain("a", &sources, &[file_roll(&out)])).expect("written");
    replace(top, "old-server.pem", "server.pem");
    let mut agent = Agent::start(top, "a", "a.conf");
    drop(agent.connection(port));
    let issuer = || {
        let words = format!("s_client -connect 127.0.0.1:{port} -showcerts");
        let ran = Command::new("openssl").args(words.split(' ')).stdin(Stdio::null()).output();
        String::from_utf8_lossy(&ran.expect("openssl").stdout).into_owned()
    };
    assert!(issuer().contains("old-authority"), "{}", issuer());
    std::fs::write(top.join("server.pem"), "-----BEGIN CERTIFICATE-----\nhalf").expect("written");
    assert!(issuer().contains("old-authority"), "{}", agent.words());
    until(
        "the warning",
        || agent.words(),
        || agent.words().contains("what was read before stays in use"),
    );
    replace(top, "new-server.pem", "server.pem");
    assert!(issuer().contains("new-authority"), "{}", agent.words());
    assert!(agent.terminate().success());
}
