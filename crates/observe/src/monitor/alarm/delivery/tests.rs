use super::dingtalk::{DingtalkRobot, RobotError, signature};
use super::notice::Notice;
use super::queue::{DeliveryQueue, MinuteLimit};
use super::sender::{DeliveryError, TargetSender};
use super::target::{self, DeliveryMethod, DeliveryTarget};
use super::template::{BodyTemplate, TemplateEscape};
use super::{BUSY_PAUSE, REFUSALS_MAX, WAITING_MAX};
use crate::monitor::alarm::alarm_record::{Alarm, AlarmSender, ClearedAlarm};
use crate::monitor::alarm::kind::AlarmKind;
use crate::monitor::alarm::severity::AlarmSeverity;
use millpond::{Clock, SystemClock};
use millpond_flow::settings::Settings;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(60);

fn sender() -> AlarmSender {
    let text = str::to_owned;
    AlarmSender { agent: text("a"), cluster: text("north"), host: text("log1") }
}

fn alarm(serial: u64, message: &str) -> Alarm {
    Alarm {
        serial,
        kind: AlarmKind::ChannelFill,
        severity: AlarmSeverity::Major,
        component: "CHANNEL.c1".to_owned(),
        subject: String::new(),
        message: message.to_owned(),
        parameters: [("channelSize".to_owned(), "95".to_owned())].into(),
        raised_ms: 1_700_000_000_000,
        cleared: None,
    }
}

fn raised(serial: u64) -> Notice {
    Notice::Raised(Arc::new(alarm(serial, "95 % are full")))
}

/// Returns the only target of these settings.
fn target(pairs: &[(&str, &str)]) -> DeliveryTarget {
    let (targets, findings) = target::read(&Settings::from_pairs("alarms", pairs));
    assert_eq!(findings, []);
    let [target] = &targets[..] else { panic!("{targets:?}") };
    target.clone()
}

fn delivery_queue(pairs: &[(&str, &str)]) -> DeliveryQueue {
    DeliveryQueue::start(target(pairs), sender(), Arc::new(SystemClock::new()))
}

/// Reads a request whole: its head, in lower case, and its body.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let small = head.to_lowercase();
    let length = small.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

/// Starts a server that sends these replies, the last one repeatedly; returns the requests it got.
async fn server(answers: &'static [&'static str]) -> (String, UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/in?key=geheim", listener.local_addr().expect("bound"));
    let (tell, asked) = unbounded_channel();
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let asked = request(&mut stream).await;
            let answer = answers.get(at).unwrap_or(&answers[answers.len() - 1]);
            let (status, body) = answer.split_once('|').unwrap_or((answer, ""));
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            if tell.send(asked).is_err() {
                return;
            }
        }
    });
    (url, asked)
}

async fn next_request(asked: &mut UnboundedReceiver<(String, String)>) -> (String, String) {
    timeout(TIMEOUT, asked.recv()).await.expect("in time").expect("a request")
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let seen = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(TIMEOUT, seen).await.is_ok(), "not seen: {what}");
}

#[test]
fn a_template_is_filled_and_nothing_in_it_ends_what_is_around_it() {
    let fill = |text: &str, notice: &Notice, escape| {
        BodyTemplate::parse(text).expect("a template").fill(notice, &sender(), escape)
    };
    let nasty = Notice::Raised(Arc::new(alarm(7, "a \"b\"\n\\ %{host} é&=")));
    let json = fill(
        r#"{"t":"%{message}","n":%{id},"s":"%{param.channelSize}","x":"%{param.no}"}"#,
        &nasty,
        TemplateEscape::Json,
    );
    let json: Json = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["t"], "a \"b\"\n\\ %{host} é&=");
    assert_eq!((&json["n"], &json["s"], &json["x"]), (&90001.into(), &"95".into(), &"".into()));
    assert_eq!(
        fill("m=%{message}&x", &nasty, TemplateEscape::Percent),
        "m=a%20%22b%22%0A%5C%20%25%7Bhost%7D%20%C3%A9%26%3D&x"
    );
    assert_eq!(fill("100 % %%{host} %{host}", &nasty, TemplateEscape::None), "100 % %{host} log1");
    let cleared = ClearedAlarm { at_ms: 1_700_000_001_000, why: "the problem is over".to_owned() };
    let over = Notice::Cleared(Arc::new(Alarm { cleared: Some(cleared), ..alarm(7, "full") }));
    let text =
        "%{state} %{severity} %{component} %{raised} %{clearedMs} %{cluster} %{agent}: %{message}";
    let words = "cleared major CHANNEL.c1 2023-11-14T22:13:20Z 1700000001000 north a: the problem is over (it was: full)";
    assert_eq!(fill(text, &over, TemplateEscape::None), words);
    assert_eq!(
        fill("%{state} %{dropped} %{id}", &Notice::Dropped(3), TemplateEscape::None),
        "dropped 3 "
    );
    for (text, words) in [
        ("%{mesage}", "did you mean message?"),
        ("%{message", "without its }"),
        ("%{param.}", "no place"),
    ] {
        let why = BodyTemplate::parse(text).expect_err("no template");
        assert!(why.contains(words), "{why}");
    }
    for (kind, escape) in [
        ("application/json; charset=utf-8", TemplateEscape::Json),
        ("application/cloudevents+json", TemplateEscape::Json),
        ("application/x-www-form-urlencoded", TemplateEscape::Percent),
        ("text/plain", TemplateEscape::None),
    ] {
        assert_eq!(TemplateEscape::of(kind), escape, "{kind}");
    }
}

#[test]
fn a_robot_is_asked_with_its_token_the_time_and_a_signature() {
    // As computed by Python's hmac, base64 and urllib.
    let secret = "SEC0123456789abcdef";
    assert_eq!(
        signature(1_700_000_000_000, secret),
        "TSZbRFUuvaSQaRKUpF970OPCb2/LcQAP3wOvwZIzBZk="
    );
    let mut robot = DingtalkRobot {
        url: "https://h/robot/send".to_owned(),
        token: "a b".to_owned(),
        secret: secret.to_owned(),
        title: "flume监控提醒".to_owned(),
        is_markdown: true,
        mobiles: vec!["1380000".to_owned()],
        all: false,
    };
    let url = "https://h/robot/send?access_token=a%20b&timestamp=1700000000000&sign=TSZbRFUuvaSQaRKUpF970OPCb2%2FLcQAP3wOvwZIzBZk%3D";
    assert_eq!(robot.url(1_700_000_000_000), url);
    let body: Json = serde_json::from_str(&robot.body(&raised(1), &sender())).expect("JSON");
    assert_eq!(body["msgtype"], "markdown");
    assert_eq!(body["markdown"]["title"], "flume监控提醒: Channel nearly full (major), raised");
    let text = body["markdown"]["text"].as_str().expect("text");
    for line in ["> host: log1", "> component: CHANNEL.c1", "> channelSize: 95", "@1380000"] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    assert_eq!(body["at"]["atMobiles"][0], "1380000");
    (robot.is_markdown, robot.secret) = (false, String::new());
    assert_eq!(robot.url(1), "https://h/robot/send?access_token=a%20b");
    let body: Json =
        serde_json::from_str(&robot.body(&Notice::Dropped(2), &sender())).expect("JSON");
    assert!(body["text"]["content"].as_str().expect("text").contains("2 notifications"), "{body}");
}

#[test]
fn replies_of_a_robot_are_distinguished_and_contain_no_secret() {
    let pairs = [("dingtalk.token", "a b"), ("dingtalk.secret", "SECgeheim")];
    let DeliveryMethod::DingTalk { robot, .. } = target(&pairs).way else { panic!("a robot") };
    assert_eq!(robot.taken(b"{\"errcode\":0,\"errmsg\":\"ok\"}"), Ok(()));
    assert_eq!(robot.taken(b"{\"errcode\":\"0\"}"), Ok(()), "a text of digits is one, too");
    for strange in ["no JSON", "", "{}", "{\"errcode\":\"x\"}", "[0]"] {
        assert_eq!(robot.taken(strange.as_bytes()), Err(RobotError::Strange), "{strange}");
    }
    assert!(DeliveryError::from(RobotError::Strange).is_refusal());
    let error = |code: i64| {
        let answer = format!("{{\"errcode\":{code},\"errmsg\":\"no: a b a%20b SECgeheim\"}}");
        DeliveryError::from(robot.taken(answer.as_bytes()).expect_err("not taken"))
    };
    let refused = error(310_000);
    assert_eq!(refused.to_string(), "the robot replied 310000: no: *** *** ***");
    assert_eq!((refused.is_refusal(), refused.rest()), (true, Duration::ZERO));
    for code in [-1, 130_101, 410_100] {
        let busy = error(code);
        assert_eq!((busy.is_refusal(), busy.rest()), (false, BUSY_PAUSE), "{busy}");
    }
}

#[tokio::test]
async fn of_an_answer_only_its_status_is_said() {
    let answers = &["404 Not Found|no page /in?key=geheim", "500 Sorry|no page /in?key=geheim"];
    let (url, _asked) = server(answers).await;
    for (pairs, status) in [
        (vec![("webhook.url", &*url)], 404),
        (vec![("dingtalk.url", &*url), ("dingtalk.token", "geheim")], 500),
    ] {
        let mut speaker = TargetSender::new(target(&pairs), sender());
        let error = speaker.say(&raised(1), 1).await.expect_err("it is not taken");
        assert_eq!(error.to_string(), format!("the server replied {status}"));
        assert!(!speaker.place().contains("geheim"), "{}", speaker.place());
    }
}

#[tokio::test]
async fn changed_settings_lose_neither_what_is_in_hand_nor_a_count() {
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}/", listener.local_addr().expect("bound"))
    };
    let (url, mut asked) = server(&["200 OK"]).await;
    let pairs = |url| {
        let template = ("webhook.template", "%{serial}|%{dropped} %{cluster}");
        target(&[("webhook.url", url), template, ("webhook.perMinute", "1000")])
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let old = DeliveryQueue::start(pairs(&dead), sender(), Arc::clone(&clock));
    let most = WAITING_MAX as u64;
    for serial in 0..most + 5 {
        old.put(clock.now(), &raised(serial));
    }
    until("a try", || old.queue.failures.get() > 0).await;
    assert_eq!((old.queue.dropped.get(), old.queue.len()), (5, WAITING_MAX));
    let south = AlarmSender { cluster: "south".to_owned(), ..sender() };
    assert!(old.serves(&pairs(&dead), &sender()));
    assert!(!old.serves(&pairs(&dead), &south) && !old.serves(&pairs(&url), &sender()));

    let new = old.changed(pairs(&url), south.clone(), Arc::clone(&clock));
    assert_eq!(next_request(&mut asked).await.1, "0|0 south");
    assert_eq!(next_request(&mut asked).await.1, "|5 south", "what was dropped is said");
    for serial in 6..most + 5 {
        assert_eq!(next_request(&mut asked).await.1, format!("{serial}|0 south"));
    }
    until("all are sent", || new.queue.len() == 0).await;
    assert!(new.queue.failures.get() > 0);
    assert_eq!((new.queue.sent.get(), new.queue.dropped.get()), (most + 1, 5));
    // Notices that were delivered are not sent again.
    let newer = new.changed(pairs(&url), sender(), clock);
    for serial in [200, 201] {
        newer.put(Duration::ZERO, &raised(serial));
        assert_eq!(next_request(&mut asked).await.1, format!("{serial}|0 north"));
    }
}

#[tokio::test]
async fn a_web_server_receives_the_filled_template_with_every_header() {
    let (url, mut asked) = server(&["200 OK"]).await;
    let pairs = [
        ("webhook.url", &*url),
        ("webhook.header.X-Key", "geheim"),
        ("webhook.template", "{\"m\":\"%{message}\"}"),
        ("webhook.leastSeverity", "major"),
    ];
    let delivery_queue = delivery_queue(&pairs);
    let minor = Alarm { severity: AlarmSeverity::Minor, ..alarm(1, "small") };
    delivery_queue.put(Duration::ZERO, &Notice::Raised(Arc::new(minor)));
    delivery_queue.put(Duration::ZERO, &raised(2));
    let (head, body) = next_request(&mut asked).await;
    assert!(head.starts_with("POST /in?key=geheim HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("x-key: geheim\r\n"), "{head}");
    assert_eq!(body, "{\"m\":\"95 % are full\"}");
    until("it is counted", || delivery_queue.queue.sent.get() == 1).await;
}

#[tokio::test]
async fn without_a_template_the_whole_alarm_is_sent() {
    let (url, mut asked) = server(&["204 No"]).await;
    let delivery_queue = delivery_queue(&[("webhook.url", &*url)]);
    delivery_queue.put(Duration::ZERO, &raised(2));
    let body: Json = serde_json::from_str(&next_request(&mut asked).await.1).expect("JSON");
    for (key, value) in [("state", "raised"), ("host", "log1"), ("name", "channelFill")] {
        assert_eq!(body[key], value);
    }
    assert_eq!((&body["id"], &body["serial"]), (&90001.into(), &2.into()));
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_is_refused_is_given_up_and_said() {
    let (url, mut asked) = server(&["500 Sorry", "400 Bad", "400 Bad", "400 Bad", "200 OK"]).await;
    let delivery_queue =
        delivery_queue(&[("webhook.url", &*url), ("webhook.template", "%{serial}%{dropped}")]);
    delivery_queue.put(Duration::ZERO, &raised(1));
    for _ in 0..=REFUSALS_MAX {
        assert_eq!(next_request(&mut asked).await.1, "10");
    }
    delivery_queue.put(Duration::ZERO, &raised(2));
    assert_eq!(next_request(&mut asked).await.1, "20");
    assert_eq!(next_request(&mut asked).await.1, "1", "one was dropped");
    let queue = &delivery_queue.queue;
    until("counted", || queue.sent.get() == 2).await;
    assert_eq!((queue.failures.get(), queue.dropped.get(), queue.len()), (4, 1, 0));
}

#[tokio::test]
async fn a_target_that_hangs_or_is_dead_delays_no_other_and_its_queue_is_bounded() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hangs = format!("http://{}/", hanging.local_addr().expect("bound"));
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}/", listener.local_addr().expect("bound"))
    };
    let (url, mut asked) = server(&["200 OK"]).await;
    let (hanging_box, dead_box) =
        (delivery_queue(&[("webhook.url", &*hangs)]), delivery_queue(&[("webhook.url", &*dead)]));
    let good = delivery_queue(&[("webhook.url", &*url), ("webhook.perMinute", "1000")]);
    // All of it without a single await.
    for serial in 0..2 * WAITING_MAX as u64 {
        for delivery_queue in [&hanging_box, &dead_box] {
            delivery_queue.put(Duration::ZERO, &raised(serial));
        }
        if serial < 50 {
            good.put(Duration::ZERO, &raised(serial));
        }
    }
    for _ in 0..50 {
        next_request(&mut asked).await;
    }
    until("a try", || dead_box.queue.failures.get() > 0).await;
    for delivery_queue in [&hanging_box, &dead_box] {
        assert!(delivery_queue.queue.len() <= WAITING_MAX);
        assert!(delivery_queue.queue.dropped.get() >= WAITING_MAX as u64 - 1);
        assert_eq!(delivery_queue.queue.sent.get(), 0);
    }
}

#[test]
fn so_many_a_minute_are_sent_and_no_more() {
    let (mut pace, second) = (MinuteLimit::new(3), Duration::from_secs(1));
    let mut sent = Vec::new();
    for now in 0..200 {
        if pace.pause(second * now).is_none() {
            pace.sent(second * now);
            sent.push(now);
        }
    }
    assert_eq!(sent, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
    assert_eq!(pace.pause(second * 200), Some(second * 40));
}

#[tokio::test]
async fn a_robot_that_refuses_with_a_good_status_is_heard() {
    let (url, mut asked) = server(&[
        "200 OK|{\"errcode\":310000,\"errmsg\":\"sign not match\"}",
        "200 OK|{\"errcode\":0}",
    ])
    .await;
    let pairs = [("dingtalk.url", &*url), ("dingtalk.token", "t"), ("dingtalk.secret", "s")];
    let delivery_queue = delivery_queue(&pairs);
    delivery_queue.put(Duration::ZERO, &raised(1));
    for _ in 0..2 {
        let (head, body) = next_request(&mut asked).await;
        assert!(head.starts_with("POST /in?key=geheim&access_token=t&timestamp="), "{head}");
        assert!(serde_json::from_str::<Json>(&body).expect("JSON")["markdown"].is_object());
    }
    until("it is counted", || delivery_queue.queue.sent.get() == 1).await;
    assert_eq!(delivery_queue.queue.failures.get(), 1);
}

#[tokio::test]
async fn a_command_reads_the_alarm_and_one_that_hangs_is_killed_with_its_children() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let script = |name: &str, text: &str| {
        std::fs::write(at(name), text).expect("written");
        format!("/bin/sh {} {}", at(name), at("out"))
    };
    let line = script("good", "cat >\"$1\".new; echo said; mv \"$1\".new \"$1\"");
    let good = delivery_queue(&[("command.line", &*line)]);
    good.put(Duration::ZERO, &raised(5));
    until("the file", || std::fs::exists(at("out")).unwrap_or(false)).await;
    let text = std::fs::read_to_string(at("out")).expect("written");
    assert_eq!(serde_json::from_str::<Json>(&text).expect("a line of JSON")["serial"], 5);
    until("it is counted", || good.queue.sent.get() == 1).await;

    // A process of its group that would write later if it were not killed.
    let line = script("bad", "(sleep 300; echo left >\"$1\".left) & echo $! >\"$1\".id; sleep 300");
    let bad = delivery_queue(&[("command.line", &*line), ("command.timeout", "300")]);
    bad.put(Duration::ZERO, &raised(6));
    until("a failure", || bad.queue.failures.get() > 0).await;
    let id = std::fs::read_to_string(at("out.id")).unwrap_or_default();
    let proc = std::path::PathBuf::from(format!("/proc/{}/cmdline", id.trim()));
    if !id.is_empty() {
        let gone = || std::fs::read(&proc).unwrap_or_default().is_empty();
        until("its child is gone", gone).await;
    }
    // A process that it leaves running holds its pipes; this is not a reason to run the command
    // again.
    let line = script("leaves", "sleep 300 & exit 0");
    let leaves = delivery_queue(&[("command.line", &*line)]);
    leaves.put(Duration::ZERO, &raised(8));
    until("it is counted", || leaves.queue.sent.get() == 1).await;
    assert_eq!(leaves.queue.failures.get(), 0);
    let line = script("ends", "exit 3");
    let ends = delivery_queue(&[("command.line", &*line)]);
    ends.put(Duration::ZERO, &raised(7));
    until("given up", || ends.queue.dropped.get() == 1).await;
    assert_eq!(ends.queue.failures.get(), u64::from(REFUSALS_MAX));
}
