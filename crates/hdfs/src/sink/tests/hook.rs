//! Commands and servers that are called for each renamed file.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Returns a started sink of files of this machine, one event each, with the partition `dt`.
async fn sink(bench: &Bench, place: &Path, pairs: &[(&str, &str)]) -> HdfsSink {
    let path = format!("file://{}/dt=%{{h}}", place.display());
    let mut all = vec![("hdfs.path", path.as_str()), ("hdfs.rollCount", "1")];
    all.extend(pairs);
    bench.local_sink(&all).await
}

/// Writes a program that appends its arguments to `log` and ends with the code in `code`.
fn program(place: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let (path, log, code) = (place.join("hook"), place.join("log"), place.join("code"));
    let text = format!(
        "#!/bin/sh\nbody=$(cat)\nprintf '%s|%s|%s|%s|%s\\n' \"$#\" \"$1\" \"$2\" \"$3\" \"$body\" >>{0}\nexit $(cat {1})\n",
        log.display(),
        code.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::write(code, "0").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

/// Returns how often the command was called, by directory.
fn called(place: &Path) -> BTreeMap<String, usize> {
    let log = std::fs::read_to_string(place.join("log")).unwrap_or_default();
    let mut all = BTreeMap::new();
    for line in log.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        assert_eq!((fields.len(), fields[0]), (5, "3"), "{line}");
        let (url, directory, partition) = (fields[1], fields[2], fields[3]);
        assert!(url.starts_with(&format!("{directory}/x.")), "{line}");
        assert!(directory.starts_with("file:///") && directory.ends_with(partition), "{line}");
        let json: serde_json::Value = serde_json::from_str(fields[4]).unwrap();
        assert_eq!((&json["url"], &json["length"]), (&url.into(), &2.into()), "{line}");
        *all.entry(partition.to_owned()).or_default() += 1;
    }
    all
}

async fn eventually(mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not happen");
}

#[tokio::test]
async fn a_command_is_called_for_each_file_without_a_shell() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let command = program(place.path());
    let mut sink = sink(&bench, place.path(), &[("hdfs.onRename.command", &command)]).await;
    let odd = "$(touch x);`id`&";
    for header in ["1", "2", odd] {
        let event = Event::packed(&[("h", header)], b"a");
        sink.deliver(&bench.context, &[event]).await.unwrap();
    }
    sink.stop(&bench.context).await.unwrap();
    let expected: BTreeMap<String, usize> =
        ["1", "2", odd].iter().map(|of| (format!("dt={of}"), 1)).collect();
    assert_eq!(called(place.path()), expected);
    assert_eq!(bench.files_below("on-rename"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_file_that_was_not_acknowledged_is_called_for_again_also_after_a_kill() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let command = program(place.path());
    std::fs::write(place.path().join("code"), "3").unwrap();
    let pairs = [("hdfs.onRename.command", command.as_str())];
    let log = captured_log(async {
        let mut first = sink(&bench, place.path(), &pairs).await;
        // Deliveries go on while the hook fails.
        for header in ["1", "2", "3"] {
            let event = Event::packed(&[("h", header)], b"a");
            first.deliver(&bench.context, &[event]).await.unwrap();
        }
        bench.idle(&mut first).await;
        eventually(|| called(place.path()).len() == 3).await;
        // The process ends: nothing was stopped in order.
        drop(first);
    })
    .await;
    assert!(log.contains("did not acknowledge a renamed file"), "{log}");
    assert!(log.contains("exit status: 3"), "{log}");
    bench.settled().await;
    let before = called(place.path());
    std::fs::write(place.path().join("code"), "0").unwrap();
    let mut second = sink(&bench, place.path(), &pairs).await;
    let after = |times: &BTreeMap<String, usize>| times.values().sum::<usize>();
    eventually(|| after(&called(place.path())) >= after(&before) + 3).await;
    second.stop(&bench.context).await.unwrap();
    let calls = after(&called(place.path()));
    let mut third = sink(&bench, place.path(), &pairs).await;
    third.stop(&bench.context).await.unwrap();
    assert_eq!(after(&called(place.path())), calls, "all are acknowledged");
}

#[tokio::test]
async fn a_rename_whose_process_ended_before_the_call_is_called_for() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let command = program(place.path());
    let pairs = [("hdfs.onRename.command", command.as_str()), ("hdfs.rollCount", "0")];
    let first = {
        let mut first = sink(&bench, place.path(), &pairs).await;
        first.deliver(&bench.context, &events(&["1/a"])).await.unwrap();
        let hook = &first.running.as_ref().unwrap().closing.hook;
        let name = |end: &str| format!("{}/dt=1/x.{}{end}", place.path().display(), START_MS + 1);
        hook.announce(&name(".tmp"), &name("")).await.unwrap();
        millpond_flow::base::files::rename_new(name(".tmp").as_ref(), name("").as_ref()).unwrap();
        first
    };
    drop(first);
    bench.settled().await;
    let mut second = sink(&bench, place.path(), &pairs).await;
    eventually(|| called(place.path()).get("dt=1") == Some(&1)).await;
    second.stop(&bench.context).await.unwrap();
}

#[tokio::test]
async fn a_url_gets_json_and_only_a_status_of_success_acknowledges() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/added?token=secret", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for status in ["500 No", "204 Yes"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut piece = [0; 4096];
                let read = socket.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
            }
            let reply =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            socket.write_all(reply.as_bytes()).await.unwrap();
            let text = String::from_utf8(request).unwrap();
            assert!(text.starts_with("POST /added?token=secret HTTP/1.1\r\n"), "{text}");
            bodies.push(text.split("\r\n\r\n").nth(1).unwrap().to_owned());
        }
        bodies
    });
    let log = captured_log(async {
        let mut sink = sink(&bench, place.path(), &[("hdfs.onRename.url", &url)]).await;
        sink.deliver(&bench.context, &events(&["7/a"])).await.unwrap();
        bench.idle(&mut sink).await;
        let bodies = server.await.unwrap();
        assert_eq!(bodies[0], bodies[1]);
        let json: serde_json::Value = serde_json::from_str(&bodies[0]).unwrap();
        let path = format!("{}/dt=7/x.{}", place.path().display(), START_MS + 1);
        assert_eq!(json["path"], path.as_str());
        assert_eq!(json["url"], format!("file://{path}"));
        assert_eq!((&json["length"], &json["events"]), (&2.into(), &1.into()));
        assert_eq!(json["partition"], serde_json::json!({ "dt": "7" }));
        sink.stop(&bench.context).await.unwrap();
    })
    .await;
    assert!(log.contains("the server replied 500") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_and_blocks_nothing() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let log = captured_log(async {
        let shell = place.path().join("wait");
        std::fs::write(&shell, "sleep 60\n").unwrap();
        let command = format!("/bin/sh {}", shell.display());
        let pairs = [("hdfs.onRename.command", command.as_str()), ("hdfs.onRename.timeout", "200")];
        let mut sink = sink(&bench, place.path(), &pairs).await;
        for _ in 0..20 {
            sink.deliver(&bench.context, &events(&["1/a"])).await.unwrap();
        }
        bench.idle(&mut sink).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        let begun = tokio::time::Instant::now();
        let _ = sink.stop(&bench.context).await;
        assert!(begun.elapsed() < Duration::from_secs(8));
    })
    .await;
    assert!(log.contains("took more than 200 ms"), "{log}");
}

#[test]
fn one_hook_is_configured_and_its_url_shows_no_password() {
    let read = |pairs: &[(&str, &str)]| {
        let mut all = vec![("hdfs.path", "file:///x")];
        all.extend(pairs);
        let settings = Settings::from_pairs("k1", &all);
        HdfsSettings::read(&mut SettingsReader::new(&settings)).unwrap_err()
    };
    let url = "hdfs.onRename.url";
    let both = read(&[("hdfs.onRename.command", "x"), (url, "http://h/")]);
    assert_eq!(both.key, "k1.hdfs.onRename.url");
    for value in ["ftp://h/", "h", "http://me:secret@h/"] {
        let error = read(&[(url, value)]);
        assert_eq!(error.key, "k1.hdfs.onRename.url");
        assert!(!error.message.contains("secret"));
    }
    let blank = read(&[("hdfs.onRename.command", "x"), ("hdfs.onRename.timeout", "0")]);
    assert_eq!(blank.key, "k1.hdfs.onRename.timeout");
}
