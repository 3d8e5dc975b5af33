//! Events as values of Kafka records: Flume's `AvroFlumeEvent`, a bare Avro datum of a map of headers and a body.
//!
//! The bytes are those of Flume's Kafka parts, so Flume's agents and these share a topic: no container, no schema and
//! no fingerprint. Maps may come in several blocks and with the sizes of their blocks.
//!
//! Limits: [`HEADERS_MAX`] headers of an event, [`AVRO_DECODED_BYTES_MAX`] in memory.

#[cfg(doc)]
use millpond_flow::base::limits::{AVRO_DECODED_BYTES_MAX, HEADERS_MAX};

use millpond::Event;
use millpond_adapters::wire::avro::AvroError;
pub use millpond_adapters::wire::avro::call::encoded_bytes;
use millpond_adapters::wire::avro::call::{decode_event, put_event};

/// Returns the datum of `event`.
#[must_use]
pub fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_bytes(event));
    put_event(&mut out, event);
    out
}

/// Returns the event of a record's value.
///
/// # Errors
/// It is not a datum of `AvroFlumeEvent`, exceeds a limit, or there are bytes after it.
pub fn decode(value: &[u8]) -> Result<Event, AvroError> {
    decode_event(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::Headers;
    use proptest::prelude::*;

    fn event(headers: &[(&str, &str)], body: &'static [u8]) -> Event {
        Event { headers: headers.iter().copied().collect::<Headers>(), body: body.into() }
    }

    #[test]
    fn the_bytes_are_those_of_flume() {
        let datum = encode(&event(&[("h", "v")], b"body"));
        assert_eq!(datum, b"\x02\x02h\x02v\x00\x08body");
        assert_eq!(encode(&event(&[], b"")), b"\x00\x00");
    }

    #[test]
    fn blocks_with_their_size_are_read_and_the_last_value_of_a_name_counts() {
        // A block of -1 entries says its bytes; a second block has the name again.
        let datum = b"\x01\x08\x02h\x02a\x02\x02h\x02b\x00\x02x";
        assert_eq!(decode(datum).unwrap(), event(&[("h", "b")], b"x"));
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        let confluent = b"\x00\x00\x00\x00\x01\x02a";
        for wrong in [&b""[..], b"\x00", b"\x00\x08bod", b"plain text", b"\x02\x02h", confluent] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
        // A count that is announced and not there costs no memory.
        assert!(decode(b"\xfe\xff\xff\xff\x0f").is_err());
    }

    proptest! {
        #[test]
        fn an_event_is_read_back(
            headers in proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..6),
            body in proptest::collection::vec(any::<u8>(), 0..60),
            cut in 0_usize..200,
        ) {
            let headers: Headers = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let event = Event { headers, body: body.into() };
            let datum = encode(&event);
            prop_assert_eq!(decode(&datum), Ok(event));
            if cut < datum.len() {
                prop_assert!(decode(&datum[..cut]).is_err());
            }
        }
    }
}
