//! Tests of findings in settings, and that docs/alarms.md has all settings.

use super::kind::AlarmKind;
use super::settings::{AlarmSettings, GENERAL};
use super::tests::{catalogue, read};
use super::{delivery, thresholds};
use millpond_config::{ConfigText, load_texts};
use millpond_flow::settings::{Key, Severity};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[test]
fn what_is_wrong_with_a_setting_is_said_with_its_line_and_the_default_counts() {
    for (line, weight, words) in [
        (
            "chanelFill.percent = 5",
            Severity::Warning,
            "no such alarm or key; did you mean channelFill?",
        ),
        ("channelFill.procent = 5", Severity::Warning, "has no such key; did you mean percent?"),
        ("channelFill.c3.percent = 5", Severity::Warning, "about channels; c3 is not one of them"),
        ("channelFill.c1.x.y = 5", Severity::Warning, "NAME.COMPONENT.KEY is expected"),
        ("clientSilent.r2.seconds = 5", Severity::Warning, "sources of the types avro"),
        ("sinkStalled.k2.seconds = 5", Severity::Warning, "with its group: write g1"),
        (
            "channelFill.percent = 101",
            Severity::Error,
            "a whole number from 1 to 100; the default counts",
        ),
        ("channelFill.c1.clearPercent = 80", Severity::Error, "80 is not below 80"),
        ("channelFill.enabled = yes", Severity::Error, "true or false"),
        ("quarantine.severity = bad", Severity::Error, "one of warning, minor"),
        ("history = 10001", Severity::Error, "from 0 to 10000"),
        ("webhook.template = {}", Severity::Warning, "no effect without webhook.url"),
        ("webhook.url = example.org", Severity::Error, "is not a URL"),
        ("webhok.url = http://h/", Severity::Warning, "did you mean webhook?"),
        ("webhook.ulr = http://h/", Severity::Warning, "no such key; did you mean url?"),
        ("dingtalk.secret = x", Severity::Warning, "no effect without dingtalk.token"),
        ("command.timeout = 5", Severity::Warning, "no effect without command.line"),
    ] {
        let (settings, findings) = read(line);
        let [finding] = &findings[..] else { panic!("{line}: {findings:?}") };
        assert!(finding.message.contains(words), "{finding}");
        assert_eq!((finding.severity, finding.place.line > 0), (weight, true), "{finding}");
        assert!(finding.key.starts_with("a.alarms."), "{finding}");
        let limits = settings.limits(AlarmKind::ChannelFill, "c1").expect("it is watched");
        assert_eq!(limits.percents(), (80, 70), "{line}");
        assert_eq!(settings.targets, []);
    }
}

#[test]
fn headers_that_a_request_says_of_itself_are_refused_with_the_reason() {
    for name in ["Content-Length", "transfer-encoding", "Host", "Connection", "Upgrade", "Expect"] {
        let lines = format!("webhook.url = http://h/\nwebhook.header.{name} = geheim");
        let (settings, findings) = read(&lines);
        let [finding] = &findings[..] else { panic!("{name}: {findings:?}") };
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.key.ends_with(name) && finding.place.line > 0, "{finding}");
        assert!(finding.message.contains("the request says this of itself"), "{finding}");
        assert!(!finding.to_string().contains("geheim"), "{finding}");
        assert_eq!(settings.targets, [], "{name}");
    }
}

#[test]
fn clients_are_listed_with_blanks_and_commas() {
    for list in ["web1 web2/out 10.0.0.7", "web1,web2/out,10.0.0.7", " web1, web2/out ,, 10.0.0.7,"]
    {
        let (settings, findings) =
            read(&format!("clientSilent.clients = {list}\nclientSilent.ignore = {list}"));
        assert_eq!(findings, []);
        let limits = settings.limits(AlarmKind::ClientSilent, "r1").expect("it is watched").clients;
        for who in [&limits.expected, &limits.ignored] {
            let who: Vec<String> = who.iter().map(ToString::to_string).collect();
            assert_eq!(who, ["web1", "web2/out", "10.0.0.7"], "{list}");
        }
    }
}

#[test]
fn no_secret_stands_in_what_is_said_of_settings() {
    for lines in [
        "webhook.url = http://me:geheim@h/",
        "webhook.url = geheim",
        "webhook.url = http://h/geheim\nwebhook.header.A = geheim\\u0007x",
        "webhook.url = http://h/geheim\nwebhook.header.A = geheim\nwebhook.perMinute = 0",
        "dingtalk.token = geheim\ndingtalk.secret = geheim\ndingtalk.format = x",
        "dingtalk.token = geheim\ndingtalk.url = geheim",
        "command.line = mail geheim\ncommand.perMinute = 0",
    ] {
        let (settings, findings) = read(lines);
        assert!(!findings.is_empty(), "{lines}");
        let said = format!("{findings:?} {settings:?}");
        assert!(!said.contains("geheim"), "{said}");
    }
    let (settings, findings) = read("webhook.url = http://h/geheim\nwebhook.header.A = geheim");
    assert_eq!((settings.targets.len(), findings), (1, Vec::new()));
    assert!(!format!("{settings:?}").contains("geheim"));
}

#[test]
fn alarms_are_stored_next_to_the_first_file_channel_by_default() {
    let directory = |more: &str| read(more).0.directory.expect("a place");
    assert_eq!(directory(""), PathBuf::from("/c2/checkpoint-alarms"));
    assert_eq!(directory("directory = /x"), PathBuf::from("/x"));
}

#[test]
fn agents_of_one_name_in_two_places_have_directories_of_their_own() {
    let place = |file: &str| {
        let text = "a1.sources = r\na1.channels = c\na1.sinks = k\na1.sources.r.type = seq\na1.sources.r.channels = c\n\
                    a1.channels.c.type = memory\na1.sinks.k.type = null\na1.sinks.k.channel = c\n";
        let texts = [ConfigText { name: PathBuf::from(file), bytes: text.into() }];
        let loaded = load_texts(&texts, "a1", &BTreeMap::new(), &catalogue()).expect("it can run");
        AlarmSettings::read(&loaded.agent).0.directory.expect("there is a home directory")
    };
    let mine = place("/home/me/flume.conf");
    let name = mine.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    assert!(mine.parent().is_some_and(|at| at.ends_with(".flume/alarms")), "{mine:?}");
    assert!(name.len() == "a1-".len() + 8 && name.starts_with("a1-"), "{name}");
    assert_eq!(place("/home/me/./flume.conf"), mine);
    assert_ne!(place("/home/you/flume.conf"), mine);
    // The value that was set, not the directory where the agent was started.
    assert_ne!(place("https://h/flume.conf"), place("http://h/flume.conf"));
}

const DOCUMENT: &str = include_str!("../../../../../docs/alarms.md");

fn row(name: &str, default: &str, meaning: &str) -> String {
    let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
    format!("| `{name}` | {default} | {meaning} |\n")
}

#[test]
fn the_document_has_each_setting_with_its_meaning_and_no_other() {
    let keys = |before: &str, keys: &[Key]| -> String {
        keys.iter().map(|k| row(&format!("{before}{}", k.name), k.default, k.meaning)).collect()
    };
    let mut table = keys("", &GENERAL);
    for param in thresholds::SHARED {
        table += &row(&format!("NAME.{}", param.key.name), param.key.default, param.key.meaning);
    }
    for kind in AlarmKind::ALL {
        let entry = kind.entry();
        for param in entry.params {
            table += &row(
                &format!("{}.{}", entry.name, param.key.name),
                param.key.default,
                param.key.meaning,
            );
        }
    }
    table += &keys("webhook.", &delivery::target::WEBHOOK);
    table += &keys("dingtalk.", &delivery::target::DINGTALK);
    table += &keys("command.", &delivery::target::COMMAND);
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `") && line.contains("` | "));
    let rows: String = rows.flat_map(|row| [row, "\n"]).collect();
    assert!(rows == table, "docs/alarms.md should have these rows:\n{table}");
}

#[test]
fn the_document_has_a_section_for_each_alarm() {
    for kind in AlarmKind::ALL {
        let entry = kind.entry();
        let heading = format!("\n### {} {}: {}\n", entry.id(), entry.name, entry.title());
        let section = DOCUMENT.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n### ").next().unwrap_or_default();
        for part in
            ["**Meaning.**", "**Effect.**", "**Possible causes.**", "**Steps.**", "**Cleared**"]
        {
            assert!(section.contains(part), "{heading} lacks {part}");
        }
        let severity = format!("Severity {}", entry.severity.word());
        assert!(section.contains(&severity), "{heading} lacks {severity}");
    }
}
