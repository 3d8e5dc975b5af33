//! The irc sink with a real server, ngIRCd, if it is installed.

use super::process::{Agent, connect, free_port, read_line, until};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ngircd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|place| place.join("ngircd")).find(|program| program.is_file())
}

fn start_server(program: &Path, directory: &Path) -> Killed {
    let started = Command::new(program)
        .args(["-n", "-f", "ngircd.conf"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(started.expect("ngircd starts"))
}

/// Collects what is said in #logs from now on. Returns once this client is in the channel.
fn listen(port: u16) -> Arc<Mutex<Vec<String>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut connection = None;
    until("the server", String::new, || {
        connection = connect(port);
        connection.is_some()
    });
    let (mut reader, mut writer) = connection.expect("the loop ended");
    write!(writer, "NICK ear\r\nUSER ear 0 * :ear\r\n").expect("sent");
    let known = Arc::clone(&heard);
    let (inside, is_inside) = std::sync::mpsc::channel();
    // Not joined: it ends with the server.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        while let Some(line) = read_line(&mut reader) {
            let line = line.trim_end();
            if let Some(question) = line.strip_prefix("PING") {
                let _ = write!(writer, "PONG{question}\r\n");
            } else if line.contains(" 001 ") {
                let _ = write!(writer, "JOIN #logs\r\n");
            } else if line.contains(" 366 ") {
                let _ = inside.send(());
            } else if let Some((_, text)) = line.split_once(" PRIVMSG #logs :") {
                known.lock().expect("no listener panics").push(text.to_owned());
            }
        }
    });
    is_inside.recv_timeout(super::process::DEADLINE).expect("the ear is in the channel");
    heard
}

#[test]
fn lines_reach_a_real_irc_server_also_after_it_was_killed() {
    let Some(program) = ngircd() else {
        println!("left out irc: there is no ngircd");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (server_port, port) = (free_port(), free_port());
    let server = format!(
        "[Global]\nName = irc.pond.test\nInfo = test\nListen = 127.0.0.1\nPorts = {server_port}\nAdminInfo1 = x\n\
         [Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
    );
    let conf = format!(
        "a.sources = r\na.channels = c\na.sinks = k\n\
         a.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\na.sources.r.port = {port}\na.sources.r.channels = c\n\
         a.channels.c.type = memory\n\
         a.sinks.k.type = irc\na.sinks.k.hostname = 127.0.0.1\na.sinks.k.port = {server_port}\n\
         a.sinks.k.nick = pond\na.sinks.k.chan = logs\na.sinks.k.channel = c\n"
    );
    std::fs::write(directory.path().join("ngircd.conf"), server).expect("written");
    std::fs::write(directory.path().join("a.conf"), conf).expect("written");
    let running = start_server(&program, directory.path());
    let heard = listen(server_port);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    let long = "日志 ".repeat(150).trim_end().to_owned();
    let lines: Vec<String> = (0..40).map(|n| format!("line {n}")).chain([long.clone()]).collect();
    agent.say(port, &lines);
    let said = |heard: &Mutex<Vec<String>>| heard.lock().expect("no listener panics").clone();
    until("all lines", || agent.words(), || said(&heard).concat().ends_with(&long));
    let found = said(&heard);
    assert_eq!(found[..40], lines[..40]);
    assert!(found.len() > 41 && found[40..].concat() == long, "cut by the sink, not by the server");

    // The server stores nothing for absent clients: the listener joins first.
    drop(running);
    let _running = start_server(&program, directory.path());
    let heard = listen(server_port);
    let lines: Vec<String> = (0..20).map(|n| format!("again {n}")).collect();
    agent.say(port, &lines);
    until("all lines", || agent.words(), || said(&heard).last() == lines.last());
    assert_eq!(said(&heard), lines);
    assert!(agent.terminate().success());
}
