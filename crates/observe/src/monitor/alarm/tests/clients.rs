//! Tests of clients that are expected, learned, missed and forgotten.

use super::super::limits::CLIENTS_MAX;
use super::{AlarmHarness, at, read};
use millpond_flow::metrics::{ClientConnection, ClientId};
use std::sync::Arc;
use std::time::Duration;

const QUICK: &str = "clientSilent.seconds = 10\nclientSilent.learnAfter = 5";

#[test]
fn a_client_that_used_to_come_is_missed_until_its_first_message() {
    let mut rig = AlarmHarness::new(&format!("{QUICK}\ncluster = north"));
    let contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(20), []);
    drop(contact);
    let missed = "SOURCE.r1 10.0.0.1 web/k1";
    assert_eq!(rig.pass(30), [at(10, &format!("raised 24003 {missed}"))]);
    let [alarm] = &rig.evaluator.active()[..] else { panic!("one") };
    let parameter = |key: &str| &*alarm.parameters[key];
    assert_eq!(
        ["source", "clientIp", "clientName", "sinkName", "lastHeard"].map(parameter),
        ["north", "10.0.0.1", "web", "k1", "2023-11-14T22:13:40Z"]
    );
    let message = "client 10.0.0.1 web/k1 has had no connection here since 2023-11-14T22:13:40Z";
    assert_eq!((alarm.severity.word(), &*alarm.message), ("major", message));
    let _contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(30), [at(1, &format!("cleared 24003 {missed}: the problem is over"))]);
}

#[test]
fn one_visit_makes_no_expected_client_and_a_nameless_one_has_its_address() {
    let mut rig = AlarmHarness::new(QUICK);
    drop(rig.meet([10, 0, 0, 9], "", ""));
    assert_eq!(rig.pass(100), []);
    // It never stays connected, but comes again and again.
    let mut seen = Vec::new();
    for _ in 0..5 {
        drop(rig.meet([10, 0, 0, 8], "", ""));
        seen.extend(rig.pass(4));
    }
    assert_eq!(seen, []);
    assert_eq!(rig.pass(30), [at(7, "raised 24003 SOURCE.r1 10.0.0.8")]);
}

#[test]
fn a_source_that_does_not_listen_raises_no_alarm_about_clients() {
    let mut rig = AlarmHarness::new(&format!(
        "{QUICK}\nclientSilent.r1.clients = web\nsourceFailing.enabled = false"
    ));
    let source = rig.registry.source("r1");
    let contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(20), []);
    source.up.set(0);
    drop(contact);
    assert_eq!(rig.pass(100), []);
    source.up.set(1);
    assert_eq!(rig.pass(30), [at(11, "raised 24003 SOURCE.r1 web")]);
    source.up.set(0);
    assert_eq!(rig.pass(30), []);
    // It listens again, which does not show that the client is there.
    source.up.set(1);
    assert_eq!(rig.pass(30), []);
}

#[test]
fn clients_that_are_named_are_expected_from_the_start_and_no_others() {
    let names = "clientSilent.seconds = 10\nclientSilent.learnAfter = 0\n\
                 clientSilent.r1.clients = web web/k2 10.0.0.7";
    let mut rig = AlarmHarness::new(names);
    let mut contact = Some(rig.meet([10, 0, 0, 1], "web", "k1"));
    let stranger = rig.meet([10, 0, 0, 2], "else", "k1");
    assert_eq!(
        rig.pass(20),
        [at(11, "raised 24003 SOURCE.r1 web/k2"), at(11, "raised 24003 SOURCE.r1 10.0.0.7")]
    );
    drop((contact.take(), stranger));
    assert_eq!(rig.pass(20), [at(10, "raised 24003 SOURCE.r1 web")]);
    let _both = rig.meet([10, 0, 0, 7], "web", "k2");
    let cleared = |who: &str| at(1, &format!("cleared 24003 SOURCE.r1 {who}: the problem is over"));
    let mut seen = rig.pass(20);
    seen.sort();
    assert_eq!(seen[..2], [cleared("10.0.0.7"), cleared("web/k2")]);
    // A name counts from the first address that used it.
    assert!(seen.len() == 3 && seen[2].1.contains("web@10.0.0.7"), "{seen:?}");
    let _web = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(20), [cleared("web")]);
}

#[test]
fn a_name_counts_from_its_own_address_or_with_its_certificate_only() {
    let mut rig = AlarmHarness::new(
        "clientSilent.seconds = 10\nclientSilent.learn = false\n\
         clientSilent.r1.clients = web@10.0.0.1 db cert:app",
    );
    let impostor = [rig.meet([10, 0, 0, 9], "web", "k"), rig.meet([10, 0, 0, 9], "app", "k")];
    let own = [rig.meet([10, 0, 0, 1], "web", "k"), rig.meet([10, 0, 0, 2], "db", "k")];
    assert_eq!(rig.pass(20), [at(11, "raised 24003 SOURCE.r1 cert:app")]);
    drop(own);
    let other = rig.meet([10, 0, 0, 9], "db", "k");
    let seen = rig.pass(20);
    assert!(
        seen[0].1.starts_with("note client db of source r1 connects from 10.0.0.9"),
        "{seen:?}"
    );
    let raised = |who: &str| at(10, &format!("raised 24003 SOURCE.r1 {who}"));
    assert_eq!(seen[1..], [raised("web@10.0.0.1"), raised("db")]);
    let shown = |name: &str| {
        let client = ClientId::new([10, 0, 0, 9].into(), name, "").with_certificate(name);
        rig.registry.source("r1").clients.meet(client).expect("there is room")
    };
    let _shown = [shown("db"), shown("app")];
    let mut cleared = rig.pass(20);
    cleared.sort();
    let words = |who: &str| at(1, &format!("cleared 24003 SOURCE.r1 {who}: the problem is over"));
    assert_eq!(cleared, [words("cert:app"), words("db")]);
    drop((impostor, other));
}

#[test]
fn an_open_connection_may_not_be_enough() {
    let mut rig = AlarmHarness::new(&format!("{QUICK}\nclientSilent.sign = message"));
    let contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(6), []);
    contact.message();
    assert_eq!(rig.pass(30), [at(11, "raised 24003 SOURCE.r1 10.0.0.1 web/k1")]);
    contact.message();
    assert_eq!(
        rig.pass(5),
        [at(1, "cleared 24003 SOURCE.r1 10.0.0.1 web/k1: the problem is over")]
    );
}

#[test]
fn learned_clients_and_alarms_survive_a_restart_and_are_sent_again() {
    let mut rig = AlarmHarness::new(QUICK);
    let there = rig.meet([10, 0, 0, 1], "web", "k1");
    drop(rig.pass(20));
    drop(there);
    drop(rig.pass(20));
    let _other = rig.meet([10, 0, 0, 2], "web", "k1");
    rig.refused = Some("no".to_owned());
    drop(rig.pass(20));
    assert_eq!(rig.evaluator.active().len(), 2);
    let serials: Vec<u64> = rig.evaluator.active().iter().map(|alarm| alarm.serial).collect();

    let mut rig = rig.restarted(QUICK);
    let seen = rig.pass(30);
    assert_eq!(
        seen,
        [
            // Its configuration is valid now.
            at(1, "cleared 90009 AGENT.a: the problem is over"),
            // It was away before, and its time began anew with the start.
            at(11, "still 24003 SOURCE.r1 10.0.0.1 web/k1"),
            at(11, "raised 24003 SOURCE.r1 10.0.0.2 web/k1"),
        ]
    );
    let active = rig.evaluator.active();
    assert_eq!(active[0].serial, serials[0]);
    assert!(active[1].serial > serials[1], "no number is used again");
    let _back = (rig.meet([10, 0, 0, 1], "web", "k1"), rig.meet([10, 0, 0, 2], "web", "k1"));
    assert_eq!(rig.pass(5).len(), 2);
    assert_eq!(rig.evaluator.history().len(), 3);
}

#[test]
fn after_a_restart_no_client_is_forgotten_before_it_could_connect() {
    let settings = format!("{QUICK}\nclientSilent.forgetAfter = 100");
    let mut rig = AlarmHarness::new(&settings);
    let contacts = [rig.meet([10, 0, 0, 1], "web", "k1"), rig.meet([10, 0, 0, 2], "web", "k1")];
    drop(rig.pass(20));
    drop(contacts);
    let mut kept = rig.evaluator.kept();
    // The agent was away for a long time.
    kept.clients.iter_mut().for_each(|client| client.silence += Duration::from_secs(1000));
    let mut rig = AlarmHarness::with(&settings, kept);
    assert_eq!(rig.pass(5), []);
    let _back = rig.meet([10, 0, 0, 1], "web", "k1");
    let seen = rig.pass(20);
    let [(_, words)] = &seen[..] else { panic!("{seen:?}") };
    assert!(words.starts_with("note client 10.0.0.2 web/k1"), "{words}");
    assert_eq!(rig.evaluator.kept().clients.len(), 1);
}

#[test]
fn learned_clients_are_forgotten_by_time_and_by_word() {
    let mut rig = AlarmHarness::new(&format!("{QUICK}\nclientSilent.forgetAfter = 100"));
    let contacts = [rig.meet([10, 0, 0, 1], "web", "k1"), rig.meet([10, 0, 0, 2], "", "")];
    drop(rig.pass(20));
    drop(contacts);
    let seen = rig.pass(99);
    assert_eq!(seen.len(), 2, "{seen:?}");
    let seen = rig.pass(5);
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(
        seen[0].1.starts_with("note client 10.0.0.1 web/k1 of source r1 was silent"),
        "{seen:?}"
    );
    assert!(seen[3].1.ends_with("it is no longer watched"), "{seen:?}");
    assert_eq!(rig.evaluator.kept().clients, []);

    let mut rig = AlarmHarness::new(QUICK);
    let _contact = rig.meet([10, 0, 0, 2], "", "");
    drop(rig.pass(20));
    assert_eq!(rig.evaluator.kept().clients.len(), 1);
    let (settings, findings) = read(&format!("{QUICK}\nclientSilent.r1.ignore = 10.0.0.2 test"));
    assert_eq!(findings, []);
    rig.evaluator.adopt(Arc::new(settings));
    assert_eq!(rig.pass(5), []);
    assert_eq!(rig.evaluator.kept().clients, []);
}

#[test]
fn clients_and_history_are_bounded() {
    let mut rig =
        AlarmHarness::new("clientSilent.seconds = 1\nclientSilent.learnAfter = 0\nhistory = 50");
    let many = |rig: &AlarmHarness| -> Vec<ClientConnection> {
        let address = |n: usize| [10, 0, (n / 256) as u8, (n % 256) as u8];
        (0..CLIENTS_MAX + 10).map(|n| rig.meet(address(n), "web", "k1")).collect()
    };
    let contacts = many(&rig);
    let seen = rig.pass(3);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].1.starts_with("note more than 1000 clients"), "{seen:?}");
    drop(contacts);
    assert_eq!(rig.pass(3).len(), CLIENTS_MAX);
    let _contacts = many(&rig);
    assert_eq!(rig.pass(3).len(), CLIENTS_MAX);
    assert_eq!(rig.evaluator.history().len(), 50);
    assert!(rig.evaluator.active().is_empty());
}

#[test]
fn an_alarm_says_of_an_open_connection_what_is_known_of_it() {
    let mut rig = AlarmHarness::new(&format!("{QUICK}\nclientSilent.r1.clients = 10.0.0.1 web"));
    let message = |rig: &AlarmHarness, at: usize| rig.evaluator.active()[at].message.clone();
    let open = rig.registry.source("r1").clients.connected([10, 0, 0, 1].into());
    assert_eq!(rig.pass(20).len(), 2);
    let since = "since the source began to listen at 2023-11-14T22:13:21Z";
    assert_eq!(
        message(&rig, 0),
        format!(
            "client 10.0.0.1 has sent nothing {since}; from its address there is a connection over which nothing has come"
        )
    );
    assert_eq!(message(&rig, 1), format!("client web has not come {since}"));
    drop(open);
    assert_eq!(rig.pass(20), []);
    assert_eq!(message(&rig, 0), format!("client 10.0.0.1 has had no connection here {since}"));

    let mut rig = AlarmHarness::new(&format!("{QUICK}\nclientSilent.sign = message"));
    let contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(6), []);
    contact.message();
    assert_eq!(rig.pass(20).len(), 1);
    let words =
        "client 10.0.0.1 web/k1 is connected and has sent nothing since 2023-11-14T22:13:27Z";
    assert_eq!(message(&rig, 0), words);
}

#[test]
fn names_are_learned_with_accepted_events_over_a_time_and_so_many_an_address() {
    let mut rig = AlarmHarness::new(QUICK);
    let invent = |rig: &AlarmHarness, n: usize| {
        let client = ClientId::new([10, 0, 0, 6].into(), &format!("invented{n}"), "k1");
        rig.registry.source("r1").clients.meet(client).expect("there is room")
    };
    // Handshakes without an event, and brief series of events.
    let contacts: Vec<ClientConnection> = (0..500).map(|n| invent(&rig, n)).collect();
    let seen = rig.pass(60);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0].1.starts_with("note more than 32 clients of source r1 come from 10.0.0.6"),
        "{seen:?}"
    );
    assert_eq!(rig.evaluator.kept().clients, []);
    contacts.iter().for_each(ClientConnection::accepted);
    drop(contacts);
    drop(rig.meet([10, 0, 0, 7], "brief", "k1"));
    assert!(rig.pass(1).is_empty());
    assert!(rig.evaluator.kept().clients.len() <= 32);
    let mut rig = AlarmHarness::new(QUICK);
    drop(rig.meet([10, 0, 0, 7], "brief", "k1"));
    let many: Vec<ClientConnection> = (0..100).map(|n| invent(&rig, n)).collect();
    many.iter().for_each(ClientConnection::accepted);
    let own = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(20).len(), 1);
    assert_eq!(rig.evaluator.kept().clients.len(), 33);
    drop((many, own));
    assert_eq!(rig.pass(20).len(), 33);
}

#[test]
fn where_too_many_are_known_the_youngest_silent_one_makes_room() {
    let mut rig = AlarmHarness::new("clientSilent.seconds = 5\nclientSilent.learnAfter = 0");
    let old = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(2), []);
    let address = |n: usize| [10, 1, (n / 256) as u8, (n % 256) as u8];
    let many: Vec<ClientConnection> =
        (1..CLIENTS_MAX).map(|n| rig.meet(address(n), "invented", "k1")).collect();
    assert_eq!(rig.pass(2), []);
    let new = rig.meet([10, 0, 0, 2], "web", "k1");
    assert!(rig.pass(2)[0].1.starts_with("note more than 1000 clients"));
    drop((old, many));
    assert_eq!(rig.pass(10).len(), CLIENTS_MAX + 1, "one is known instead of another");
    new.accepted();
    assert_eq!(rig.pass(1), []);
    let is_known = |rig: &AlarmHarness, last: u8| {
        let clients = rig.evaluator.kept().clients;
        clients.iter().any(|known| known.client.address == std::net::IpAddr::from([10, 0, 0, last]))
    };
    assert!(is_known(&rig, 1) && is_known(&rig, 2));
    drop(new);
}

#[test]
fn names_without_events_displace_no_other_client() {
    let mut rig = AlarmHarness::new("clientSilent.seconds = 5\nclientSilent.learnAfter = 0");
    let known = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(2), []);
    drop(known);
    let raised = |address: &str| format!("raised 24003 SOURCE.r1 {address} web/k1");
    assert_eq!(rig.pass(6), [at(5, &raised("10.0.0.1"))]);
    let shake = |rig: &AlarmHarness, address: [u8; 4], n: usize| {
        let client = ClientId::new(address.into(), &format!("invented{n}"), "");
        rig.registry.source("r1").clients.meet(client).expect("there is room")
    };
    // As many names as all addresses together may have, and one address with all it may have.
    let crowd = |n: usize| shake(&rig, [10, 1, (n / 32) as u8, 1], n);
    let many: Vec<ClientConnection> = (0..2 * CLIENTS_MAX).map(crowd).collect();
    let seen = rig.pass(2);
    assert!(seen.len() == 1 && seen[0].1.starts_with("note more than 1000 clients"), "{seen:?}");
    let names = |rig: &AlarmHarness| {
        let known = rig.evaluator.kept().clients;
        known.iter().map(|known| known.client.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&rig), ["10.0.0.1"], "a silent client is not driven out");
    let new = [rig.meet([10, 0, 0, 2], "web", "k1"), rig.meet([10, 1, 0, 1], "web", "k1")];
    assert_eq!(rig.pass(2), []);
    assert_eq!(names(&rig), ["10.0.0.1", "10.0.0.2", "10.1.0.1"]);
    drop((new, many));
    let mut seen = rig.pass(20);
    seen.sort();
    let expected = ["10.0.0.2", "10.1.0.1"].map(|address| at(5, &raised(address)));
    assert_eq!(seen, expected);
    // Also if one address has as many names as it may.
    let mut rig = AlarmHarness::new("clientSilent.seconds = 5\nclientSilent.learnAfter = 0");
    let _many: Vec<ClientConnection> = (0..40).map(|n| shake(&rig, [10, 0, 0, 6], n)).collect();
    assert_eq!(rig.pass(2).len(), 1);
    let _new = rig.meet([10, 0, 0, 6], "web", "k1");
    assert_eq!(rig.pass(2), []);
    assert_eq!(names(&rig), ["10.0.0.6"]);
}

#[test]
fn a_wall_clock_that_jumps_lets_no_client_be_forgotten() {
    let mut rig = AlarmHarness::new(&format!("{QUICK}\nclientSilent.forgetAfter = 100"));
    drop(rig.meet([10, 0, 0, 1], "web", "k1"));
    let contact = rig.meet([10, 0, 0, 1], "web", "k1");
    assert_eq!(rig.pass(20), []);
    drop(contact);
    rig.wall_jump_ms = 30 * 86_400_000;
    assert_eq!(rig.pass(30), [at(10, "raised 24003 SOURCE.r1 10.0.0.1 web/k1")]);
    assert_eq!(rig.evaluator.kept().clients.len(), 1);
    assert_eq!(rig.evaluator.kept().clients[0].silence, Duration::from_secs(30));
    // The time of silence continues after a restart.
    let mut rig = rig.restarted(&format!("{QUICK}\nclientSilent.forgetAfter = 100"));
    assert_eq!(rig.pass(69).len(), 1);
    assert!(rig.pass(5)[0].1.starts_with("note client 10.0.0.1 web/k1"));
}
