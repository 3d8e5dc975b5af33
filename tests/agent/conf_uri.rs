//! A configuration that comes from a web server: asked for with conditions, kept when it cannot be had.

use super::process::{Agent, connect, free_port, run_expecting, until};
use millpond::base::threads;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// What the server has, and what it was asked.
#[derive(Default)]
struct Desk {
    /// The page and its tag; `None`: something is wrong with the server.
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
            let mut desk = desk.lock().expect("nobody panicked");
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
    let desk = desk.lock().expect("nobody panicked");
    desk.asked.iter().filter(|asked| asked.contains(what)).count()
}

fn says(directory: &std::path::Path, what: &str) -> bool {
    let log = std::fs::read(directory.join("agent.log")).unwrap_or_default();
    String::from_utf8_lossy(&log).contains(what)
}

#[test]
fn a_configuration_from_the_web_is_asked_for_with_conditions_and_outlives_its_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let desk = Shared::default();
    let set = |page: Option<(String, u32)>| desk.lock().expect("nobody panicked").page = page;
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let uri = format!("http://127.0.0.1:{}/a.conf", ports[0]);
    let more = ["-u", &uri, "-b", "kept", "-i", "1", "--conf-user", "me", "--conf-password", "pw"];
    let start = || Agent::start_from(directory, "w", &more);
    let listens = |agent: &mut Agent, port: u16| {
        let words = agent.words();
        until(
            "the source of this configuration",
            || words.clone(),
            || {
                agent.assert_alive();
                connect(port).is_some()
            },
        );
    };
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

    // What it had last is there although nobody gives it.
    let mut agent = start();
    listens(&mut agent, ports[2]);
    assert!(says(directory, "500 Internal Server Error"), "{}", agent.words());
    assert!(says(directory, "runs with the last one it had"), "{}", agent.words());
    set(Some((configuration(ports[3]), 3)));
    listens(&mut agent, ports[3]);
    assert!(agent.terminate().success());

    // Without the copy it is an error.
    set(None);
    std::fs::remove_dir_all(directory.join("kept")).expect("removed");
    let words = ["agent", "-n", "w", "-u", &uri];
    run_expecting(directory, &words, b"", 1);
}
