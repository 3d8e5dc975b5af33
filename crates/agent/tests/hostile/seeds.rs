//! The seeds in fuzz/seeds: small valid examples of the input of each target.
//!
//! They are generated from the golden files, the recorded results of Java and the example configurations, by the
//! encoders of the program. A test checks that the checked-in seeds equal the generated ones.

use crate::files::{self, Named};
use crate::targets;
use millpond::internal::base::ids::Uuid;
use millpond::internal::record::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use millpond::internal::record::frame;
use millpond::internal::record::segment::SEGMENT_COPY_BYTES;
use millpond::internal::record::slot::{SLOT_HEADER_BYTES, SLOT_PAYLOAD_AT};
use std::path::Path;

fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn text(path: &str) -> Vec<u8> {
    std::fs::read(top().join(path)).expect("golden files and tables are whole")
}

/// Returns a golden file without its trailing zeroes.
fn golden(name: &str) -> Vec<u8> {
    let bytes = text(&format!("tests/golden/{name}"));
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes[..end].to_vec()
}

fn named(name: &str, bytes: impl Into<Vec<u8>>) -> Named {
    (name.to_owned(), bytes.into())
}

fn made(target: &str) -> Vec<Named> {
    let both = |file: &str| {
        ["v1", "v2"].map(|version| named(version, golden(&format!("{version}/{file}")))).to_vec()
    };
    match target {
        "block" => both("block.bin"),
        "event" => {
            let event = golden("v1/event.bin");
            vec![named("one", event.clone()), named("three", event.repeat(3))]
        }
        "frame" => frames(),
        "member" => vec![named("member", golden("v1/member.bin"))],
        "segment" => vec![named("header", &golden("v1/segment.bin")[..SEGMENT_COPY_BYTES])],
        "slot" => ["checkpoint", "member"].map(slot).to_vec(),
        "state" => both("state.bin"),
        _ => of_the_agent(target),
    }
}

/// Returns a slot as its target reads it: the payload directly after the header.
fn slot(name: &str) -> Named {
    let slot = golden(&format!("v2/{name}-slot.bin"));
    named(name, [&slot[..SLOT_HEADER_BYTES], &slot[SLOT_PAYLOAD_AT..]].concat())
}

/// Returns all frames of the golden block, and the payload of each.
fn frames() -> Vec<Named> {
    let block = golden("v2/block.bin");
    let (channel, stripe) = golden_place();
    let header = BlockHeader::decode(block::block_salt(&channel, &stripe), &block)
        .expect("golden files and tables are whole");
    let payload = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.payload_len as usize];
    let mut made = vec![named("all", payload)];
    let salt = frame::frame_salt(&stripe, header.nonce, header.key);
    for (at, found) in frame::frames(salt, payload).enumerate() {
        let found = found.expect("golden files and tables are whole");
        made.push((
            format!("{at}-{:?}", found.header.kind).to_lowercase(),
            payload[found.payload()].to_vec(),
        ));
    }
    made
}

/// Returns the channel and stripe of the golden files.
fn golden_place() -> (Uuid, Uuid) {
    (Uuid(std::array::from_fn(|i| 0xC0 + i as u8)), Uuid(std::array::from_fn(|i| 0x50 + i as u8)))
}

fn of_the_agent(target: &str) -> Vec<Named> {
    let examples = || -> Vec<Named> {
        let example = |name: &str| named(name, text(&format!("docs/examples/{name}.conf")));
        ["demo", "exec-two-disks", "replicate"].map(example).to_vec()
    };
    match target {
        "avro" => avro(),
        "container" => containers(),
        "exchange" => exchange(),
        "external" => external(),
        "interpolation" => vec![
            named("nested", "a=${b}${b}\nb=${E${c:-x}}\nc=${sys:s}$${a}\nd=${env:EX:-${a}} ${\n"),
            named("circle", "a=${b}\nb=x${a}\nc=${c:-${c}}\n"),
            named("many", format!("a={}\nb=1\n", "${b}".repeat(40))),
        ],
        "json" => vec![
            named("plain", r#"[{"headers":{"a":"b","n":5},"body":"one"},{},{"body":null}]"#),
            named("gson", "[{'headers':{a=b;c:'d'},body=>x, /* c */ more:[1,{}]}]"),
            named("escapes", r#"[{"body":"\u65e5\ud83d\ude00\n\"\/"}]"#),
        ],
        "syslog" => vec![
            named("new", "\x10<165>1 2003-08-24T05:14:15.003-07:00 host app - - x\n<1>1 - - x\n"),
            named("old", "\x7f<34>Oct 11 22:14:15 host su: x\n\n<0>Feb 29 00:00:00 h y\nplain"),
        ],
        "thrift" => thrift(),
        "netcat" => vec![
            named("lines", b"\x00\xff\x07one\ntwo\r\n\nlast".to_vec()),
            named("utf8", [b"\x00\x40\x01", "日志é😀\nof\n".as_bytes()].concat()),
            named("latin1", b"\x02\x20\x03caf\xe9\n\xff\xfe\n".to_vec()),
            named("gbk", b"\x03\x20\x02\xc8\xd5\xd6\xbe\na\n".to_vec()),
            named("long", [b"\x00\x10\x20".as_slice(), &[b'x'; 60]].concat()),
        ],
        "pattern" => patterns(),
        "properties" => properties().into_iter().chain(examples()).collect(),
        "settings" => examples(),
        _ => Vec::new(),
    }
}

/// Returns a part of the recorded Java cases.
fn properties() -> Vec<Named> {
    let table = String::from_utf8(text("crates/agent/tests/properties/java17.txt"))
        .expect("golden files and tables are whole");
    let rows = table.lines().filter(|row| !row.starts_with('#')).step_by(40);
    let input = |row: &str| {
        crate::mutation::bytes_of(
            row.split([' ', '-']).next().expect("golden files and tables are whole"),
        )
    };
    rows.enumerate().map(|(at, row)| (format!("java-{at:02}"), input(row))).collect()
}

fn patterns() -> Vec<Named> {
    use serde_json::Value;
    let table = String::from_utf8(text("crates/flow/src/pattern/java.jsonl"))
        .expect("golden files and tables are whole");
    let mut lines = table.lines().map(|line| {
        serde_json::from_str::<Value>(line).expect("golden files and tables are whole")
    });
    let texts = lines.next().expect("golden files and tables are whole");
    let texts = texts["texts"].as_array().expect("golden files and tables are whole");
    let seed = |(at, line): (usize, Value)| {
        let text = texts[at * 7 % texts.len()].as_str().expect("golden files and tables are whole");
        let replacement = line["replacement"].as_str().unwrap_or("<$0>");
        let pattern = line["pattern"].as_str().expect("golden files and tables are whole");
        (format!("java-{at:03}"), format!("{pattern}\0{text}\0{replacement}").into_bytes())
    };
    let mut seeds: Vec<Named> = lines.step_by(9).enumerate().map(seed).collect();
    // Patterns that make programs large and matching slow.
    let unclear = "x".repeat(40);
    seeds.push(named("counts", "((\\p{L}{99}){99}){99}\0aaaa\0$1"));
    seeds.push(named("unclear", format!("(x+x+)+(?=y)\\1\0{unclear}\0")));
    seeds.push(named("nested", format!("{}a{}\0a\0$0", "(".repeat(99), ")".repeat(99))));
    seeds
}

fn events() -> Vec<millpond::Event> {
    use millpond::Event;
    let mut headed = Event::new("a line with headers");
    headed.headers.set("host", "h1");
    headed.headers.set("timestamp", "1700000000000");
    vec![Event::new("a line"), headed]
}

fn thrift() -> Vec<Named> {
    use millpond_adapters::wire::thrift::call::{
        CallError, put_append_batch, put_exception, put_status,
    };
    use millpond_adapters::wire::thrift::values::MessageHeader;
    use millpond_adapters::wire::thrift::{ThriftProtocol, frame};
    let mut made = Vec::new();
    for (protocol, name) in
        [(ThriftProtocol::Compact, "compact"), (ThriftProtocol::Binary, "binary")]
    {
        let (mut call, mut status, mut exception) = (frame::begin(), Vec::new(), Vec::new());
        put_append_batch(&mut call, protocol, 1, &events());
        frame::finish(&mut call);
        let head = MessageHeader { name: "append".into(), kind: 1, sequence: 1 };
        put_status(&mut status, protocol, &head, 1, false);
        let error = CallError::Unknown("nope".to_owned());
        put_exception(&mut exception, protocol, &head, &error, false);
        let failed =
            millpond_adapters::wire::thrift::hbase_decode::reply(protocol, 1, Some("no\n"));
        made.push(named(&format!("{name}-hbase-failed"), failed));
        made.push(named(&format!("{name}-call"), call));
        made.push(named(&format!("{name}-status"), status));
        made.push(named(&format!("{name}-exception"), exception));
    }
    // A header of the old form, and a list of entries with two texts.
    let log = b"\0\0\0\x03Log\x01\0\0\0\x07\x0f\0\x01\x0c\0\0\0\x01\
        \x0b\0\x01\0\0\0\x03cat\x0b\0\x02\0\0\0\x02m\n\0\0";
    made.push(named("scribe-log", log.to_vec()));
    made
}

/// Returns Avro files: two blocks in each codec, and schemas whose data take no bytes.
fn containers() -> Vec<Named> {
    use millpond_adapters::wire::avro::codec::AvroCodec;
    use millpond_adapters::wire::avro::container::{put_header, write_block};
    let file = |schema: &str, codec, blocks: &[(usize, &[u8])]| {
        let (mut out, marker) = (Vec::new(), [7; 16]);
        put_header(&mut out, schema, codec, &marker);
        for (count, data) in blocks {
            write_block(&mut out, *count, data, codec, &marker).expect("small data are packed");
        }
        out
    };
    let record = r#"{"type":"record","name":"R","namespace":"n.s","fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"]},{"name":"a","type":{"type":"array","items":"R"}},{"name":"m","type":{"type":"map","values":{"type":"fixed","name":"F","size":2}}}]}"#;
    let one = b"\x02\x02\x04hi\x00\x02\x02kxy\x00";
    let nested = b"\x0d\x00\x02\x04\x00\x00\x00\x00\x00";
    let blocks: [(usize, &[u8]); 2] = [(2, &[&one[..], nested].concat()), (30, &one.repeat(30))];
    let mut made: Vec<Named> = AvroCodec::ALL
        .into_iter()
        .map(|codec| named(codec.name(), file(record, codec, &blocks)))
        .collect();
    let mut twice = r#"{"type":"record","name":"T0","fields":[]}"#.to_owned();
    for n in 1..20 {
        let inner = n - 1;
        twice = format!(
            r#"{{"type":"record","name":"T{n}","fields":[{{"name":"a","type":{twice}}},{{"name":"b","type":"T{inner}"}}]}}"#
        );
    }
    made.push(named("twice", file(&twice, AvroCodec::Null, &[(3, b"")])));
    let nulls = r#"{"type":"array","items":"null"}"#;
    made.push(named("nulls", file(nulls, AvroCodec::Null, &[(1, b"\x80\x80\x80\x02\0")])));
    made
}

fn external() -> Vec<Named> {
    use millpond_flow::wire::external::encode;
    let (mut batch, _) = encode::batch(7, &events(), 4096).expect("events are short");
    batch.pop();
    vec![
        named("batch", batch),
        named(
            "bytes",
            r#"{"batch":1,"events":[{"headers":{},"body64":"/wA="},{"body":"\u65e5\n"}]}"#,
        ),
        named("position", r#"{"batch":18446744073709551615,"events":[],"position":"b:7"}"#),
        named("failed", r#"{"failed":7,"why":"no table"}"#),
        named("ready", r#"{"ready":1}"#),
    ]
}

fn avro() -> Vec<Named> {
    use millpond_adapters::wire::avro::call::{AvroReply, put_append, put_append_batch};
    use millpond_adapters::wire::avro::frame;
    use millpond_adapters::wire::avro::handshake::HandshakeRequest;
    use millpond_adapters::wire::avro::protocol::{HASH, TEXT};
    let mut stream = frame::begin();
    HandshakeRequest {
        client_hash: HASH,
        client_text: None,
        server_hash: HASH,
        client: Default::default(),
    }
    .encode(&mut stream);
    put_append_batch(&mut stream, &events());
    frame::finish(&mut stream, 1);
    let mut one = Vec::new();
    put_append(&mut one, &events()[1]);
    let mut second = frame::begin();
    second.extend_from_slice(&one);
    frame::finish(&mut second, 2);
    stream.extend_from_slice(&second);
    let (mut request, mut failed) = (Vec::new(), Vec::new());
    HandshakeRequest {
        client_hash: HASH,
        client_text: Some(TEXT),
        server_hash: [7; 16],
        client: Default::default(),
    }
    .encode(&mut request);
    request.extend_from_slice(&one);
    AvroReply::Error("no room".to_owned()).encode(&mut failed);
    vec![
        named("stream", stream),
        named("append", one),
        named("first-call", request),
        named("failed", failed),
        named("protocol", TEXT),
    ]
}

fn exchange() -> Vec<Named> {
    use millpond_adapters::wire::avro::call::AvroReply;
    use millpond_adapters::wire::avro::frame;
    use millpond_adapters::wire::avro::handshake::{HandshakeRequest, HandshakeResponse};
    use millpond_adapters::wire::avro::protocol::{HASH, TEXT};
    let answered = |server_hash, answer: AvroReply| {
        let request = HandshakeRequest {
            client_hash: HASH,
            client_text: Some(TEXT),
            server_hash,
            client: Default::default(),
        };
        let mut message = Vec::new();
        HandshakeResponse::to(&request, true).encode(&mut message);
        answer.encode(&mut message);
        message
    };
    let framed = |message: &[u8], serial| {
        let mut out = frame::begin();
        out.extend_from_slice(message);
        frame::finish(&mut out, serial);
        out
    };
    let mut ok = Vec::new();
    AvroReply::Ok.encode(&mut ok);
    let known = answered(HASH, AvroReply::Ok);
    vec![
        named("two-answers", [framed(&known, 1), framed(&ok, 2)].concat()),
        named("known", known),
        named("told", answered([7; 16], AvroReply::Failed)),
        named("error", answered(HASH, AvroReply::Error("no room".to_owned()))),
    ]
}

#[test]
fn checked_in_seeds_equal_the_generated_ones() {
    for target in targets::all() {
        files::check(target.name, made(target.name));
    }
}
