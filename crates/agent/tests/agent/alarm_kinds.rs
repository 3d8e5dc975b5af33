//! Each kind of alarm once from a real agent: its rule reads what an agent shows.

use super::alarms::{Site, receiver, send_line, sender};
use super::full_disk::SmallDisk;
use super::lost_disk::used_segments;
use super::process::{free_port, run_expecting, signal, until};
use serde_json::Value as Json;
use std::net::TcpListener;
use std::path::Path;

/// Returns the alarm 24003 of this source in `list`, once it is there.
fn silent(site: &Site, list: &str, component: &str) -> Json {
    let mut found = Json::Null;
    let words = || format!("{}\n{}", site.page(), site.words());
    until(&format!("{component} in {list}"), words, || {
        let page = site.page();
        let all = page[list].as_array().map_or(&[][..], Vec::as_slice);
        let is_it = |alarm: &&Json| alarm["id"] == 24003 && alarm["component"] == component;
        found = all.iter().find(is_it).cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

#[test]
fn clients_that_tell_no_names_are_missed_by_their_address_thrift_and_avro() {
    let top = tempfile::tempdir().expect("a directory");
    let [calls, thrift, lines] = [(); 3].map(|()| free_port());
    let settings = format!(
        "alarms.clientSilent.seconds = 2\nalarms.clientSilent.learnAfter = 0\n\
         sources.th.type = thrift\nsources.th.bind = 127.0.0.1\nsources.th.port = {thrift}\nsources.th.channels = c\n"
    );
    let receiver = receiver(calls, &settings).replace("sources = in\n", "sources = in th\n");
    let mut server = Site::new(top.path(), "collector", &receiver);
    let configuration = sender(lines, thrift, "").replace("out.type = avro", "out.type = thrift");
    let mut client = Site::new(top.path(), "web", &configuration);
    send_line(lines, "one");
    // A command that sends no names in Avro's handshake.
    let port = calls.to_string();
    let command = ["avro-client", "-H", "127.0.0.1", "-p", &port];
    run_expecting(top.path(), &command, b"two\n", 0);
    let check_unnamed = |alarm: &Json| {
        for (key, value) in [("clientIp", "127.0.0.1"), ("clientName", ""), ("sinkName", "")] {
            assert_eq!(alarm["parameters"][key], value, "{alarm}");
        }
        assert_eq!(alarm["subject"], "127.0.0.1", "{alarm}");
    };
    check_unnamed(&silent(&server, "active", "SOURCE.in"));
    let arrived = || super::process::lines_in(&server.directory.join("out")).len() == 2;
    until("both events", || server.words(), arrived);
    client.kill();
    let alarm = silent(&server, "active", "SOURCE.th");
    check_unnamed(&alarm);
    client.start();
    send_line(lines, "three");
    assert_eq!(silent(&server, "history", "SOURCE.th")["serial"], alarm["serial"]);
    run_expecting(top.path(), &command, b"four\n", 0);
    check_unnamed(&silent(&server, "history", "SOURCE.in"));
    client.terminate();
    server.terminate();
}

#[test]
fn alarms_for_fill_disk_and_listener_are_raised_and_cleared() {
    let top = tempfile::tempdir().expect("a directory");
    let [lines, away] = [(); 2].map(|()| free_port());
    let taken = TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let more = "channels.c.capacity = 10\nchannels.c.transactionCapacity = 5\nsinks.out.batch-size = 5\n\
                alarms.channelFill.percent = 50\nalarms.channelFill.seconds = 0\n\
                alarms.oldestEvent.seconds = 2\nalarms.sourceFailing.seconds = 1\n\
                alarms.diskSpace.freePercent = 0\nalarms.diskSpace.seconds = 6\n";
    let late = format!(
        "sources.late.type = netcat\nsources.late.bind = 127.0.0.1\nsources.late.port = {port}\n\
         sources.late.channels = c\n"
    );
    let configuration = |free_bytes: u64| {
        let space = format!("alarms.diskSpace.freeBytes = {free_bytes}");
        sender(lines, away, more).replace("alarms.diskSpace.enabled = false", &space)
    };
    let with_late = |free_bytes: u64| {
        configuration(free_bytes).replace("sources = in\n", "sources = in late\n") + &late
    };
    // No disk is that empty.
    let mut agent = Site::new(top.path(), "web", &configuration(1 << 62));
    let reload = |agent: &Site, configuration: &str| {
        agent.write(configuration);
        signal(agent.agent.as_ref().expect("it runs").id(), "HUP");
    };
    reload(&agent, &with_late(1 << 62));
    (0..6).for_each(|n| send_line(lines, &n.to_string()));
    let expect = |id: u64, component: &str, parameters: &[&str]| -> Json {
        let alarm = agent.alarm("active", id);
        assert_eq!(alarm["component"], component, "{alarm}");
        for name in parameters {
            let number = alarm["parameters"][name].as_str().and_then(|n| n.parse::<u64>().ok());
            assert!(number.is_some_and(|number| number > 0), "{name}: {alarm}");
        }
        alarm
    };
    let full = expect(90001, "CHANNEL.c", &["channelSize", "channelCapacity"]);
    assert_eq!(full["parameters"]["channelCapacity"], "10", "{full}");
    let old = expect(90003, "CHANNEL.c", &["oldestEventSeconds"]);
    let disk = expect(90006, "CHANNEL.c", &["freeBytes", "totalBytes"]);
    assert!(disk["parameters"]["directory"].as_str().is_some_and(|d| !d.is_empty()), "{disk}");
    let late = expect(90008, "SOURCE.late", &[]);

    drop(taken);
    reload(&agent, &with_late(1));
    let mut server = Site::new(top.path(), "collector", &receiver(away, ""));
    for (id, alarm) in [(90001, full), (90003, old), (90006, disk), (90008, late)] {
        let over = agent.alarm("history", id);
        assert_eq!(over["serial"], alarm["serial"], "{over}");
    }
    assert_eq!(agent.page()["active"], Json::Array(Vec::new()));
    server.terminate();
    agent.terminate();
}

/// A channel with a data directory and another one at `second`, and a sink that takes everything.
fn striped(second: &Path, more: &str) -> String {
    format!(
        "channels = c\nsinks = k\nsinks.k.type = null\nsinks.k.channel = c\nchannels.c.type = file\n\
         channels.c.checkpointDir = cp\nchannels.c.dataDirs = d1,{}\nchannels.c.maxFileSize = 65536\n\
         channels.c.minimumRequiredSpace = 1048576\nalarms.diskSpace.enabled = false\n{more}",
        second.display()
    )
}

#[test]
fn a_data_directory_that_turns_read_only_is_an_alarm_with_its_name_and_cause() {
    let top = tempfile::tempdir().expect("a directory");
    let Some(disk) = SmallDisk::mount(top.path(), 32) else { return };
    if disk.image.is_none() {
        return;
    }
    let lines = free_port();
    let more = format!(
        "sources = in\nsources.in.type = netcat\nsources.in.bind = 127.0.0.1\nsources.in.port = {lines}\n\
         sources.in.channels = c\nalarms.stripeSuspended.seconds = 0\n"
    );
    let second = disk.at.join("d2");
    let mut agent = Site::new(top.path(), "web", &striped(&second, &more));
    send_line(lines, "one");
    disk.turn_read_only();
    let is_there = || {
        // The next write to that directory fails.
        send_line(lines, "another");
        let active = agent.page()["active"].clone();
        active.as_array().is_some_and(|all| all.iter().any(|alarm| alarm["id"] == 90005))
    };
    until("it is noticed", || agent.words(), is_there);
    let alarm = agent.alarm("active", 90005);
    assert_eq!(alarm["component"], "CHANNEL.c", "{alarm}");
    assert_eq!(alarm["parameters"]["directory"], second.display().to_string(), "{alarm}");
    let cause = alarm["parameters"]["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("Read-only"), "{alarm}");
    agent.terminate();
}

#[test]
fn an_event_whose_bytes_are_damaged_is_an_alarm_until_it_is_dealt_with() {
    let top = tempfile::tempdir().expect("a directory");
    let (directory, second) = (top.path().join("web"), top.path().join("web/d2"));
    std::fs::create_dir(&directory).expect("a directory");
    let text: String = striped(&second, "").lines().map(|line| format!("web.{line}\n")).collect();
    std::fs::write(directory.join("a.conf"), text).expect("written");
    let put = ["channel", "put", "-n", "web", "-f", "a.conf", "--channel", "c", "--batch", "5"];
    let lines: String = (0..100).map(|n| format!("line {n} {}\n", "x".repeat(400))).collect();
    run_expecting(&directory, &put, lines.as_bytes(), 0);
    for segment in used_segments(&directory.join("d1")) {
        let mut bytes = std::fs::read(&segment).expect("a segment");
        let at = bytes.windows(8).position(|window| window == b"xxxxxxxx").expect("an event");
        bytes[at] ^= 1;
        std::fs::write(&segment, bytes).expect("written");
    }
    let mut agent = Site::new(top.path(), "web", &striped(&second, ""));
    let alarm = agent.alarm("active", 90007);
    assert_eq!(alarm["component"], "CHANNEL.c", "{alarm}");
    let damaged = alarm["parameters"]["quarantinedEvents"].as_str().expect("a number").to_owned();
    assert!(damaged.parse::<u64>().is_ok_and(|events| events > 0), "{alarm}");
    agent.write(&striped(&second, "alarms.quarantine.c.events = 100\n"));
    signal(agent.agent.as_ref().expect("it runs").id(), "HUP");
    assert_eq!(agent.alarm("history", 90007)["serial"], alarm["serial"]);
    agent.terminate();
}

#[test]
fn events_that_go_nowhere_and_a_command_that_ends_are_alarms() {
    let top = tempfile::tempdir().expect("a directory");
    let lines = free_port();
    let configuration = format!(
        "sources = in gone\nchannels = c\nsinks = k\nsources.in.type = netcat\nsources.in.bind = 127.0.0.1\n\
         sources.in.port = {lines}\nsources.in.channels = c\nsources.in.selector.type = multiplexing\n\
         sources.in.selector.header = there-is-none\nsources.in.selector.mapping.a = c\n\
         sources.gone.type = exec\nsources.gone.command = nosuchcommand-of-this-test\n\
         sources.gone.shell = /bin/sh -c\nsources.gone.channels = c\nalarms.sourceFailing.seconds = 0\n\
         channels.c.type = memory\nsinks.k.type = null\nsinks.k.channel = c\nalarms.directory = alarms\n"
    );
    let mut agent = Site::new(top.path(), "web", &configuration);
    send_line(lines, "to no channel");
    let lost = agent.alarm("active", 90011);
    assert_eq!((&lost["component"], &lost["subject"]), (&"SOURCE.in".into(), &"unrouted".into()));
    assert_eq!(lost["parameters"]["events"], "1", "{lost}");
    let message = "1 event did not arrive: the selector names no channel for them";
    assert_eq!(lost["message"], message);
    let failing = agent.alarm("active", 90008);
    assert_eq!(failing["component"], "SOURCE.gone");
    let message = failing["message"].as_str().unwrap_or_default();
    assert!(message.contains("127: a command was not found"), "{failing}");
    agent.terminate();
    let words = agent.words();
    assert_eq!(words.matches("events did not arrive: the selector names").count(), 1, "{words}");
}
