//! Compares docs/format.md with the code: every table with the bytes that the code writes for the sample values, so
//! neither can change without the other.

use super::body::{FenceBody, LostBody};
use super::frame::FrameKind;
use super::slot::{self, SlotKind};
use super::{block, event, frame, member, samples, segment, state};
use crate::base::limits;
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../docs/format.md");

/// What the code wrote, and the same bytes as a list of fields.
struct Layout {
    name: &'static str,
    bytes: Vec<u8>,
    fields: Vec<(&'static str, Vec<u8>)>,
}

fn n2(n: u16) -> Vec<u8> {
    n.to_le_bytes().into()
}

fn n4(n: u32) -> Vec<u8> {
    n.to_le_bytes().into()
}

fn n8(n: u64) -> Vec<u8> {
    n.to_le_bytes().into()
}

fn zeroes(len: usize) -> Vec<u8> {
    vec![0; len]
}

/// Returns the rows of the table below the marker `<!-- marker -->`, as trimmed cells.
fn rows(marker: &str) -> Vec<Vec<&'static str>> {
    let start = PAGE.find(&format!("<!-- {marker} -->\n")).expect(marker);
    PAGE[start..]
        .lines()
        .skip(3) // the marker, the table's head and the line under it
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Checks that the page's rows for `layout` name its fields in order, with their offsets, and that the code writes
/// exactly these bytes there.
fn check_layout(layout: &Layout) {
    let name = layout.name;
    let rows = rows(&format!("layout: {name}"));
    let on_page: Vec<&str> = rows.iter().map(|row| row[2]).collect();
    let in_code: Vec<&str> = layout.fields.iter().map(|(field, _)| *field).collect();
    assert_eq!(on_page, in_code, "fields of the {name}");
    let mut at = 0;
    for (row, (field, value)) in rows.iter().zip(&layout.fields) {
        if row[0] != "…" {
            assert_eq!(row[0].parse(), Ok(at), "offset of {field} in the {name}");
        }
        if let Ok(size) = row[1].parse::<usize>() {
            assert_eq!(size, value.len(), "size of {field} in the {name}");
        }
        let end = at + value.len();
        assert_eq!(&layout.bytes[at..end], &value[..], "{field} of the {name}");
        at = end;
    }
    assert_eq!(at, layout.bytes.len(), "length of the {name}");
}

#[test]
fn every_table_of_the_page_shows_what_the_code_writes() {
    let parts = [log_layouts(), body_layouts(), state_layouts(), slot_layouts()];
    let layouts: Vec<Layout> = parts.into_iter().flatten().collect();
    for layout in &layouts {
        check_layout(layout);
    }
    let on_page = PAGE.matches("<!-- layout: ").count();
    assert_eq!(on_page, layouts.len(), "every table is compared");
}

/// Returns the checksum at `at`: the golden files compare it with the code.
fn crc_of(bytes: &[u8], at: usize) -> Vec<u8> {
    bytes[at..at + 4].to_vec()
}

fn log_layouts() -> Vec<Layout> {
    let (channel, stripe) = (samples::channel().0.to_vec(), samples::stripe().0.to_vec());
    let epoch = samples::epoch();
    let bytes = samples::segment_bytes()[..segment::SEGMENT_COPY_BYTES].to_vec();
    let header = samples::segment();
    let fields = vec![
        ("magic", b"MPSEGMNT".to_vec()),
        ("version", n4(1)),
        ("reserved", zeroes(4)),
        ("channel", channel),
        ("stripe", stripe),
        ("segment id", n8(header.id.0)),
        ("epoch number", n8(epoch.number.0)),
        ("epoch nonce", n8(epoch.nonce)),
        ("epoch start", n8(epoch.start.0)),
        ("first block", n8(header.first_block.0)),
        ("first sequence", n8(header.first_sequence.0)),
        ("first write order", n8(header.first_order.0)),
        ("length", n8(header.len)),
        ("reserved", zeroes(12)),
        ("checksum", crc_of(&bytes, 124)),
    ];
    let segment = Layout { name: "segment header", bytes, fields };
    vec![segment, block_layout(), frame_layout()]
}

fn block_layout() -> Layout {
    let bytes = samples::block_bytes()[..block::BLOCK_HEADER_BYTES].to_vec();
    let header = samples::block_header();
    let fields = vec![
        ("magic", b"MPBK".to_vec()),
        ("version", n2(2)),
        ("flags", n2(1 | 2)),
        ("number", n8(header.number.0)),
        ("epoch number", n8(header.epoch.0)),
        ("epoch nonce", n8(header.nonce)),
        ("key", n8(header.key)),
        ("segment id", n8(header.segment.0)),
        ("offset", n8(header.offset)),
        ("write order", n8(header.order.0)),
        ("first sequence", n8(header.first_sequence.0)),
        ("event count", n4(header.event_count)),
        ("payload length", n4(header.payload_len)),
        ("watermark block", n8(header.watermark_block.0)),
        ("watermark sequence", n8(header.watermark_sequence.0)),
        ("reserved", zeroes(28)),
        ("checksum", crc_of(&bytes, 124)),
    ];
    Layout { name: "block header", bytes, fields }
}

fn frame_layout() -> Layout {
    let frame = samples::frame(FrameKind::Put, 3, 2, 4205, &samples::put_payload());
    let bytes = frame[..frame::FRAME_HEADER_BYTES].to_vec();
    let fields = vec![
        ("checksum", crc_of(&bytes, 0)),
        ("payload length", n4(samples::put_payload().len() as u32)),
        ("kind", vec![1]),
        ("flags", vec![1 | 2]),
        ("reserved", zeroes(2)),
        ("count", n4(2)),
        ("first sequence", n8(4205)),
    ];
    Layout { name: "frame header", bytes, fields }
}

fn body_layouts() -> Vec<Layout> {
    let events =
        [samples::event_bytes(&samples::event()), samples::event_bytes(&samples::plain_event())];
    let put = vec![
        ("origin stripe", n2(3)),
        ("reserved", zeroes(6)),
        ("origin epoch", n8(8)),
        ("origin sequence", n8(9000)),
        ("position counter", n8(12)),
        ("source length", n4(4)),
        ("position length", n4(14)),
        ("source", b"tail".to_vec()),
        ("position", b"inode 5 at 600".to_vec()),
        ("events", events.concat()),
    ];
    let fence = vec![
        ("stripe", n2(2)),
        ("reserved", zeroes(6)),
        ("epoch number", n8(samples::epoch().number.0)),
        ("epoch nonce", n8(samples::epoch().nonce)),
        ("epoch start", n8(samples::epoch().start.0)),
        ("void start", n8(4100)),
        ("void end", n8(4200)),
    ];
    let lost = vec![("stripe", n2(1)), ("reserved", zeroes(6)), ("start", n8(71)), ("end", n8(74))];
    let fence_bytes = samples::encoded::<{ FenceBody::BYTES }>(|out| samples::fence().encode(out));
    let lost_bytes = samples::encoded::<{ LostBody::BYTES }>(|out| samples::lost().encode(out));
    vec![
        Layout { name: "put", bytes: samples::put_payload(), fields: put },
        event_layout(),
        ack_layout(),
        Layout { name: "fence", bytes: fence_bytes, fields: fence },
        Layout { name: "lost", bytes: lost_bytes, fields: lost },
    ]
}

fn event_layout() -> Layout {
    let further = [n4(5), n4(0), b"empty".to_vec(), n4(3), n4(3), "名值".as_bytes().to_vec()];
    let further = further.concat();
    let headers = 4 + 8 + 4 + 4 + further.len();
    let fields = vec![
        ("headers length", n4(headers as u32)),
        ("body length", n4(8)),
        ("header count", n4(3)),
        ("name length", n4(4)),
        ("value length", n4(4)),
        ("name", b"host".to_vec()),
        ("value", b"web1".to_vec()),
        ("further headers", further),
        ("body", b"body \0\r\n".to_vec()),
    ];
    Layout { name: "event", bytes: samples::event_bytes(&samples::event()), fields }
}

fn ack_layout() -> Layout {
    let mut bytes = vec![0; samples::ack().encoded_len()];
    samples::ack().encode(&mut bytes);
    let range = |stripe, start, end| [n2(stripe), zeroes(6), n8(start), n8(end)].concat();
    let fields = vec![
        ("group", n4(1)),
        ("range count", n4(3)),
        ("stripe", n2(0)),
        ("reserved", zeroes(6)),
        ("start", n8(10)),
        ("end", n8(20)),
        ("further ranges", [range(1, 5, 6), range(0, 30, 31)].concat()),
    ];
    Layout { name: "ack", bytes, fields }
}

fn state_layouts() -> Vec<Layout> {
    let bytes = samples::state().to_bytes().unwrap();
    // Two damages, two adopted ranges, then a group with two ranges and one with none; the second
    // stripe has one.
    let group_at = 8 + 104 + 2 * 16 + 2 * 16;
    let stripe_end = group_at + (16 + 2 * 16) + 16;
    let stripes_end = stripe_end + 104 + 16;
    let spool_end = stripes_end + 16 + "spool".len();
    let (epoch, watermark) = (samples::epoch(), samples::watermark());
    let record = vec![
        ("stripe count", n2(2)),
        ("layout", n2(1)),
        ("position count", n4(2)),
        ("stripes", bytes[8..stripes_end].to_vec()),
        ("positions", bytes[stripes_end..].to_vec()),
    ];
    let stripe = vec![
        ("epoch number", n8(epoch.number.0)),
        ("epoch nonce", n8(epoch.nonce)),
        ("epoch start", n8(epoch.start.0)),
        ("watermark block", n8(watermark.block.0)),
        ("watermark sequence", n8(watermark.sequence.0)),
        ("watermark order", n8(watermark.order.0)),
        ("watermark segment", n8(watermark.segment.0)),
        ("watermark end", n8(watermark.end_offset)),
        ("next", n8(4205)),
        ("damaged events", n8(33)),
        ("damage count", n4(2)),
        ("group count", n4(2)),
        ("opened", n8(5)),
        ("adopted count", n4(2)),
        ("reserved", zeroes(4)),
        ("damage", [n8(100), n8(130), n8(150), n8(153)].concat()),
        ("adopted", [n8(3700), n8(3720), n8(3800), n8(3801)].concat()),
        ("groups", bytes[group_at..stripe_end].to_vec()),
    ];
    let group = vec![
        ("group", n4(1)),
        ("range count", n4(2)),
        ("frontier", n8(3900)),
        ("ranges", [n8(3950), n8(3960), n8(4000), n8(4001)].concat()),
    ];
    let source_offset = vec![
        ("counter", n8(12)),
        ("source length", n4(4)),
        ("position length", n4(14)),
        ("source", b"tail".to_vec()),
        ("position", b"inode 5 at 600".to_vec()),
    ];
    let part = |from: usize, to: usize| bytes[from..to].to_vec();
    vec![
        Layout { name: "state record", bytes: bytes.clone(), fields: record },
        Layout { name: "stripe of a state record", bytes: part(8, stripe_end), fields: stripe },
        Layout {
            name: "group of a state record",
            bytes: part(group_at, group_at + 48),
            fields: group,
        },
        Layout {
            name: "position of a state record",
            bytes: part(spool_end, bytes.len()),
            fields: source_offset,
        },
    ]
}

fn slot_layouts() -> Vec<Layout> {
    let (channel, stripe) = (samples::channel().0.to_vec(), samples::stripe().0.to_vec());
    let record = samples::member().encode().unwrap();
    let mut bytes = samples::member_slot();
    bytes.truncate(slot::SLOT_PAYLOAD_AT + record.len());
    let slot = vec![
        ("magic", b"MPSLOT\0\0".to_vec()),
        ("version", n4(2)),
        ("kind", n4(2)),
        ("channel", channel.clone()),
        ("owner", stripe.clone()),
        ("generation", n8(2)),
        ("payload length", n4(record.len() as u32)),
        ("checksum", crc_of(&bytes, 60)),
        ("padding", zeroes(4032)),
        ("payload", record.clone()),
    ];
    let member = vec![
        ("channel", channel),
        ("me", stripe.clone()),
        ("role", n2(1)),
        ("stripe", n2(1)),
        ("phase", n2(2)),
        ("member count", n2(3)),
        ("members", record[member::MEMBER_HEADER_BYTES..].to_vec()),
    ];
    let second = member::MEMBER_HEADER_BYTES + member::MEMBER_NAME_BYTES + "/disk1/log".len();
    let path = "/disk2/日志".as_bytes();
    let name = vec![
        ("member", stripe),
        ("role", n2(1)),
        ("stripe", n2(1)),
        ("path length", n4(path.len() as u32)),
        ("path", path.to_vec()),
    ];
    let name_bytes = record[second..second + 24 + path.len()].to_vec();
    vec![
        Layout { name: "slot", bytes, fields: slot },
        Layout { name: "member record", bytes: record, fields: member },
        Layout { name: "member of a member record", bytes: name_bytes, fields: name },
    ]
}

#[test]
fn every_number_of_the_page_is_the_code_s() {
    let in_code = BTreeMap::from([
        ("device block", limits::DEVICE_BLOCK_BYTES),
        ("segment header", segment::SEGMENT_HEADER_BYTES),
        ("segment header copy", segment::SEGMENT_COPY_BYTES),
        ("block header", block::BLOCK_HEADER_BYTES),
        ("frame header", frame::FRAME_HEADER_BYTES),
        ("event header", event::EVENT_HEADER_BYTES),
        ("slot header", slot::SLOT_HEADER_BYTES),
        ("slot payload", slot::SLOT_PAYLOAD_AT),
        ("slots per file", slot::SLOTS_PER_FILE),
        ("checkpoint slot", SlotKind::Checkpoint.slot_bytes()),
        ("member slot", SlotKind::Member.slot_bytes()),
        ("state record", limits::STATE_BYTES_MAX),
        ("damage names", state::DAMAGE_NAMED_MAX),
        ("adopted ranges", state::ADOPTED_RANGES_MAX),
        ("stripes", limits::STRIPES_MAX),
        ("member path", member::MEMBER_PATH_BYTES_MAX),
        ("log version", segment::SEGMENT_VERSION as usize),
        ("block version", usize::from(block::BLOCK_VERSION)),
        ("slot version", slot::SLOT_VERSION as usize),
    ]);
    let table = rows("numbers");
    let on_page: BTreeMap<&str, usize> =
        table.iter().map(|row| (row[0], row[1].parse().unwrap())).collect();
    assert_eq!(on_page, in_code);
}

#[test]
fn every_kind_of_frame_of_the_page_is_the_code_s() {
    use FrameKind::{Ack, Fence, Lost, Put, State, Void};
    let in_code: Vec<(String, String)> = [Put, Ack, State, Fence, Lost, Void]
        .map(|kind| ((kind as u8).to_string(), format!("{kind:?}")))
        .to_vec();
    let on_page: Vec<(String, String)> =
        rows("kinds").iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    assert_eq!(on_page, in_code);
    let known = (0..=255u8)
        .filter(|kind| {
            let mut bytes = samples::frame(Void, 0, 0, 0, b"");
            bytes[8] = *kind;
            let crc = samples::frame_place().checksum(&[&bytes[4..]]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            frame::parse(samples::frame_place(), &bytes).is_ok()
        })
        .count();
    assert_eq!(known, on_page.len(), "every kind that is read is on the page");
}
