//! A configuration from a web server: fetched with conditional requests, kept if the server fails.

use super::process::{Agent, free_port, millpond, run, run_expecting, until};
use millpond::internal::base::threads;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// The server's page, and the requests that it got.
#[derive(Default)]
struct Desk {
    /// The page and its tag; `None`: the server fails.
    page: Option<(String, u32)>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Desk>>;

/// Serves until the test ends.
fn serve(port: u16, desk: &Shared) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let desk = Arc::clone(desk);
    let served = threads::spawn("desk", move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a second descriptor"));
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            let mut desk = desk.lock().expect("the lock is not poisoned");
            let answer = match &desk.page {
                None => "HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n".to_owned(),
                Some((_, tag)) if head.contains(&format!("if-none-match: \"{tag}\"")) => {
                    "HTTP/1.1 304 Same\r\n\r\n".to_owned()
                }
                Some((text, tag)) => format!(
                    "HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ),
            };
            let same = if answer.contains("304") { "304 " } else { "" };
            desk.asked.push(format!("{same}{head}"));
            drop(desk);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    // It ends with the process.
    drop(served.expect("a thread"));
}

fn configuration(port: u16) -> String {
    format!(
        "w.sources = in\nw.channels = c\nw.sinks = out\nw.sources.in.type = netcat\n\
         w.sources.in.bind = 127.0.0.1\nw.sources.in.port = {port}\nw.sources.in.channels = c\n\
         w.channels.c.type = memory\nw.sinks.out.type = null\nw.sinks.out.channel = c\n"
    )
}

fn asked(desk: &Shared, what: &str) -> usize {
    let desk = desk.lock().expect("the lock is not poisoned");
    desk.asked.iter().filter(|asked| asked.contains(what)).count()
}

fn says(directory: &std::path::Path, what: &str) -> bool {
    let log = std::fs::read(directory.join("agent.log")).unwrap_or_default();
    String::from_utf8_lossy(&log).contains(what)
}

#[test]
fn no_password_is_sent_in_clear_text_and_clear_text_is_warned_of() {
    let directory = tempfile::tempdir().expect("a directory");
    // An address for documentation: nothing replies there.
    let uri = ["--conf-uri", "http://192.0.2.1:9/a.conf"];
    let user = ["--conf-user", "me", "--conf-password", "geheim"];
    let words = [&["validate", "-n", "w"][..], &uri, &user].concat();
    let refused = run(directory.path(), &words, b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && stderr.contains("use https"), "{stderr}");
    assert!(!stderr.contains("geheim"), "{stderr}");
    // Without a password it is tried, after the warning.
    let mut child = millpond(directory.path())
        .args(["validate", "-n", "w"])
        .args(uri)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    assert!(line.contains("warning: --conf-uri http://192.0.2.1:9"), "{line}");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_web_configuration_is_fetched_conditionally_and_outlives_its_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let desk = Shared::default();
    let set =
        |page: Option<(String, u32)>| desk.lock().expect("the lock is not poisoned").page = page;
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let uri = format!("http://127.0.0.1:{}/a.conf?token=geheim", ports[0]);
    std::fs::write(directory.join("pw"), "pw\n").expect("written");
    let user = ["--conf-user", "me", "--conf-password-file", "pw"];
    let more = [&["-u", &uri, "-b", "kept", "-i", "1"][..], &user].concat();
    let start = || Agent::start_from(directory, "w", &more);
    let listens = |agent: &mut Agent, port: u16| drop(agent.connection(port));
    serve(ports[0], &desk);
    run_expecting(directory, &["validate", "-n", "w", "-u", &uri], b"", 1);
    set(Some((configuration(ports[1]), 1)));
    run_expecting(directory, &["validate", "-n", "w", "-u", &uri], b"", 0);

    let mut agent = start();
    listens(&mut agent, ports[1]);
    until("looks at what has not changed", || agent.words(), || asked(&desk, "304 ") >= 2);
    // "me:pw"
    assert!(asked(&desk, "authorization: Basic bWU6cHc=") >= 3);
    assert!(!says(directory, "reloaded"), "{}", agent.words());

    set(Some((configuration(ports[2]), 2)));
    until("the change", || agent.words(), || says(directory, "reloaded: restarted: source in"));
    listens(&mut agent, ports[2]);

    set(None);
    until("a word of it", || agent.words(), || says(directory, "the agent keeps what it has"));
    listens(&mut agent, ports[2]);
    agent.kill();

    // The backup is used although the server fails.
    let mut agent = start();
    listens(&mut agent, ports[2]);
    assert!(says(directory, "500 Internal Server Error"), "{}", agent.words());
    assert!(says(directory, "runs with the last one it had"), "{}", agent.words());
    set(Some((configuration(ports[3]), 3)));
    listens(&mut agent, ports[3]);
    assert!(agent.terminate().success());
    assert!(!says(directory, "geheim") && says(directory, "?token=…"));

    // A broken page runs as far as possible, and does not become the backup.
    let kept = || std::fs::read(directory.join("kept/.w.properties")).expect("kept");
    let whole = kept();
    let broken = configuration(ports[4]).replace("w.sinks.out.type = null\n", "");
    set(Some((broken, 4)));
    let mut agent = start();
    listens(&mut agent, ports[4]);
    assert!(says(directory, "the configuration is not kept there"), "{}", agent.words());
    assert!(agent.terminate().success());
    assert!(kept() == whole);

    // Without the backup it is an error.
    set(None);
    std::fs::remove_dir_all(directory.join("kept")).expect("removed");
    let words = ["agent", "-n", "w", "-u", &uri];
    run_expecting(directory, &words, b"", 1);
}

/// Runs `validate` with an address space that suffices for a parser whose memory is proportional to
/// the text.
fn validate_in_little_room(directory: &std::path::Path, more: &[&str], code: i32) -> String {
    let own = millpond(directory);
    let mut command = std::process::Command::new("sh");
    command.current_dir(directory).args(["-c", "ulimit -v 400000; exec \"$0\" \"$@\""]);
    command.arg(own.get_program()).args(["validate", "-n", "w"]).args(more);
    let output = command.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

#[test]
fn a_text_of_hundreds_of_thousands_of_keys_is_validated_with_little_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let keys = |code: i32, number: u32, key: &dyn Fn(u32) -> String| {
        let mut text = configuration(1);
        text.extend((0..number).map(|n| key(n) + "\n"));
        std::fs::write(directory.join("a.conf"), text).expect("written");
        validate_in_little_room(directory, &["-f", "a.conf"], code)
    };
    let unknown = |n| format!("w.sources.in.an-unknown-key-{n} = x");
    let said = keys(1, 400_000, &unknown);
    assert!(said.contains("100000 are what a configuration may have"), "{said}");
    let said = keys(0, 90_000, &unknown);
    assert!(said.contains("and 89500 more like this"), "{said}");
    assert!(said.lines().count() < 1000);
    // Each of the keys would be as long as the first one.
    let long = |n| match n {
        0 => format!("big = {}", "x".repeat(1024 * 1000)),
        n => format!("w.sources.in.k{n} = ${{big}}"),
    };
    let said = keys(1, 50_000, &long);
    assert!(said.contains("bytes together, with their references replaced"), "{said}");
}
