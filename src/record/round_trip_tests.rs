//! Round trips: decode(encode(x)) = x for any x, and decoders survive any bytes.

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, written_len};
use super::body::{AckBody, PutPrefix, SourceOffsetRef};
use super::state::{DAMAGE_NAMED_MAX, SourceOffset, StateRecord, StripeState};
use super::{DecodeError, event, fuzz, samples};
use crate::base::ids::{GroupId, MAIN_GROUP, Sequence, StripeIndex};
use crate::base::ranges::RangeSet;
use crate::event::{Event, Headers};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

fn any_event() -> impl Strategy<Value = Event> {
    (vec((".{0,8}", ".{0,20}"), 0..6), vec(any::<u8>(), 0..200)).prop_map(|(headers, body)| Event {
        headers: Headers::from_iter(headers),
        body: body.into(),
    })
}

fn any_ranges() -> impl Strategy<Value = RangeSet> {
    (0u64..1000, vec((0u64..100_000, 1u64..50), 0..20)).prop_map(|(frontier, ranges)| {
        let mut set = RangeSet::up_to(frontier);
        for (start, len) in ranges {
            set.insert(start, start + len);
        }
        set
    })
}

fn any_state() -> impl Strategy<Value = StateRecord> {
    let stripe = (
        any::<[u64; 10]>(),
        vec((0u32..9, any_ranges()), 0..4),
        vec((0u64..99, 1u64..9), 0..9),
        vec((0u64..999, 1u64..99), 0..20),
    )
        .prop_map(|(n, groups, damaged, adopted)| {
            let mut stripe = StripeState { next: Sequence(n[0]), ..StripeState::default() };
            stripe.epoch.number.0 = n[1];
            stripe.epoch.nonce = n[2];
            stripe.epoch.start.0 = n[3];
            stripe.watermark.block.0 = n[4];
            stripe.watermark.sequence.0 = n[5];
            stripe.watermark.order.0 = n[6];
            stripe.watermark.segment.0 = n[7];
            stripe.watermark.end_offset = n[8];
            stripe.damaged_events = n[9];
            stripe.opened = n[9] ^ n[4];
            adopted.iter().for_each(|(start, len)| stripe.adopt(*start, start + len));
            stripe.acknowledged = groups.into_iter().map(|(id, set)| (GroupId(id), set)).collect();
            stripe.damaged = damaged.into_iter().map(|(start, len)| (start, start + len)).collect();
            stripe.damaged.sort_unstable();
            stripe.damaged.dedup();
            assert!(stripe.damaged.len() <= DAMAGE_NAMED_MAX);
            stripe
        });
    let source_offset = (".{0,8}", any::<u64>(), vec(any::<u8>(), 0..40));
    (vec(stripe, 0..5), vec(source_offset, 0..5)).prop_map(|(stripes, source_offsets)| {
        StateRecord {
            stripes,
            source_offsets: source_offsets
                .into_iter()
                .map(|(source, counter, bytes)| (source, SourceOffset { counter, bytes }))
                .collect(),
        }
    })
}

/// Returns small numbers, so that two records overlap.
fn any_progress() -> impl Strategy<Value = StateRecord> {
    let acknowledged = vec((0u64..40, 1u64..9), 0..6);
    let adopted = vec((0u64..40, 1u64..9), 0..3);
    (acknowledged, adopted, 0u64..3).prop_map(|(acknowledged, adopted, opened)| {
        let mut state = StateRecord::new(1);
        let stripe = &mut state.stripes[0];
        acknowledged.iter().for_each(|(start, len)| stripe.void(*start, start + len));
        adopted.iter().for_each(|(start, len)| stripe.adopt(*start, start + len));
        stripe.opened = opened;
        state
    })
}

fn joined(states: &[&StateRecord]) -> StateRecord {
    let mut all = StateRecord::new(1);
    states.iter().for_each(|state| all.join(state));
    all
}

proptest! {
    #[test]
    fn joining_state_records_hangs_neither_on_their_order_nor_on_their_number(
        a in any_progress(), b in any_progress(), c in any_progress(),
    ) {
        let all = joined(&[&a, &b, &c]);
        prop_assert_eq!(&joined(&[&c, &a, &b]), &all);
        prop_assert_eq!(&joined(&[&b, &a, &a, &c, &b]), &all);
        prop_assert_eq!(&joined(&[&joined(&[&a, &b]), &joined(&[&b, &c])]), &all);
        prop_assert_eq!(&joined(&[&all, &a]), &all);
    }

    #[test]
    fn of_what_one_record_adopted_another_says_nothing(a in any_progress(), b in any_progress()) {
        let (one, two, both) = (&a.stripes[0], &b.stripes[0], &joined(&[&a, &b]).stripes[0]);
        for n in 0..60 {
            let says = |it: &StripeState| it.missing(n, n + 1).is_empty();
            let expected = match (one.adopted.contains(n), two.adopted.contains(n)) {
                (true, false) => says(one),
                (false, true) => says(two),
                _ => says(one) || says(two),
            };
            prop_assert_eq!(says(both), expected, "sequence {}", n);
        }
    }

    #[test]
    fn events_are_read_as_they_were_written(events in vec(any_event(), 0..6)) {
        let bytes = Bytes::from(events.iter().flat_map(samples::event_bytes).collect::<Vec<_>>());
        let (mut shared, mut copied, mut skipped) = (0, 0, 0);
        for event in &events {
            prop_assert_eq!(&event::decode(&bytes, &mut shared).unwrap(), event);
            prop_assert_eq!(&event::decode_copied(&bytes, &mut copied).unwrap(), event);
            event::skip(&bytes, &mut skipped).unwrap();
            prop_assert_eq!((copied, skipped), (shared, shared));
        }
        prop_assert_eq!(shared, bytes.len());
        prop_assert_eq!(event::skip(&bytes, &mut skipped), Err(DecodeError::Length));
    }

    #[test]
    fn no_prefix_of_an_event_is_one(event in any_event()) {
        let bytes = samples::event_bytes(&event);
        for len in 0..bytes.len() {
            let mut at = 0;
            let cut = Bytes::copy_from_slice(&bytes[..len]);
            prop_assert_eq!(event::decode(&cut, &mut at), Err(DecodeError::Length));
            prop_assert_eq!(event::skip(&cut, &mut at), Err(DecodeError::Length));
            prop_assert_eq!(at, 0);
        }
    }

    #[test]
    fn acknowledgements_are_read_as_they_were_written(
        group: u32, ranges in vec((0u16..32, any::<u32>(), 1u64..99), 0..40),
    ) {
        let ranges = ranges
            .into_iter()
            .map(|(stripe, start, len)| (StripeIndex(stripe), start.into(), u64::from(start) + len))
            .collect();
        let body = AckBody { group: GroupId(group), ranges };
        let mut bytes = vec![0; body.encoded_len()];
        prop_assert_eq!(body.encode(&mut bytes), bytes.len());
        prop_assert_eq!(AckBody::decode(&bytes), Ok(body));
    }

    #[test]
    fn put_prefixes_are_read_as_they_were_written(
        moved: bool, source_offset in proptest::option::of((".{0,9}", any::<u64>(), vec(any::<u8>(), 0..40))),
    ) {
        let source_offset = source_offset
            .as_ref()
            .map(|(source, counter, bytes)| SourceOffsetRef { source, counter: *counter, bytes });
        let prefix = PutPrefix { origin: samples::prefix().origin.filter(|_| moved), source_offset };
        let mut bytes = vec![0; prefix.encoded_len()];
        prop_assert_eq!(prefix.encode(&mut bytes), bytes.len());
        prop_assert_eq!(PutPrefix::decode(prefix.flags(), &bytes), Ok((prefix, bytes.len())));
    }

    #[test]
    fn state_records_are_read_as_they_were_written(state in any_state()) {
        let bytes = state.to_bytes().unwrap();
        prop_assert_eq!(bytes.len(), state.encoded_len());
        prop_assert_eq!(StateRecord::decode(&bytes), Ok(state));
    }

    #[test]
    fn block_headers_are_read_as_they_were_written(n: [u64; 8], count: u32, len: u32, flags in 0u16..4) {
        let mut header = BlockHeader { flags, event_count: count, payload_len: len, ..samples::block_header() };
        header.number.0 = n[0].max(1);
        (header.epoch.0, header.nonce, header.key, header.segment.0) = (n[1], n[2], n[3], n[4]);
        (header.order.0, header.watermark_block.0, header.watermark_sequence.0) = (n[5], n[6], n[7]);
        header.offset = (n[1] % 999 + 2) * 4096;
        header.first_sequence.0 = n[2] >> 1;
        let mut bytes = [0xAA; BLOCK_HEADER_BYTES];
        header.encode(samples::block_place(), &mut bytes);
        prop_assert_eq!(BlockHeader::decode(samples::block_place(), &bytes), Ok(header));
        prop_assert_eq!(header.written_len(), written_len(len as usize));
        prop_assert!(header.written_len() >= BLOCK_HEADER_BYTES + len as usize);
    }

    #[test]
    fn no_bytes_at_all_upset_a_decoder(
        bytes in vec(any::<u8>(), 0..400), which in 0usize..7, changes in vec((any::<u32>(), any::<u8>()), 1..4),
    ) {
        let event = samples::event_bytes(&samples::event());
        let (state, member) = (samples::state().to_bytes().unwrap(), samples::member().encode().unwrap());
        let likely = [
            samples::block_bytes(), samples::frames().concat(), event, samples::segment_bytes(),
            samples::checkpoint_slot(), state, member,
        ];
        let mut near = likely[which].clone();
        for (at, value) in changes {
            let at = at as usize % near.len().min(2000);
            near[at] = value;
        }
        for bytes in [&bytes, &near] {
            fuzz::block(bytes);
            fuzz::frame(bytes);
            fuzz::event(bytes);
            fuzz::segment(bytes);
            fuzz::slot(bytes);
            fuzz::state(bytes);
            fuzz::member(bytes);
        }
    }
}

#[test]
fn what_is_given_up_has_a_name_however_much_was_damaged_before() {
    let mut state = StripeState {
        acknowledged: [(MAIN_GROUP, RangeSet::default())].into(),
        ..StripeState::default()
    };
    for at in 0..3 * DAMAGE_NAMED_MAX as u64 {
        state.void_damaged(10 * at, 10 * at + 3);
    }
    // Twenty parts of it wait.
    let start = 10_000;
    for at in 0..20 {
        state.acknowledge(MAIN_GROUP, start + 10 * at, start + 10 * at + at / 2 + 1);
    }
    state.give_up(start, start + 200);
    assert!(state.damaged.len() <= DAMAGE_NAMED_MAX);
    let named = |sequence: u64| state.damaged.iter().any(|(a, b)| (*a..*b).contains(&sequence));
    let waited = (0..20).flat_map(|at| start + 10 * at + at / 2 + 1..start + 10 * at + 10);
    waited.for_each(|sequence| assert!(named(sequence), "{sequence}"));
    assert!(!named(start), "it was taken");
    assert!(state.missing(start, start + 200).is_empty());
}
