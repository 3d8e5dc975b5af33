//! The source offset of an external source in its channels: the position at the end of the newest batch, and that at
//! its beginning, from where the batch can be repeated.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millpond_flow::base::limits::{EXTERNAL_EVENTS_MAX, EXTERNAL_POSITION_BYTES_MAX};

/// The first bytes: other types of source leave other offsets.
const MAGIC: &[u8; 4] = b"ext1";
/// The length of a missing position.
const NONE: u32 = u32::MAX;

/// The newest batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExternalOffset {
    /// The number of its events.
    pub(super) events: usize,
    /// The position before it.
    pub(super) from: Option<String>,
    /// The position after it.
    pub(super) to: Option<String>,
}

impl ExternalOffset {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32_le(u32::try_from(self.events).unwrap_or(u32::MAX));
        for position in [&self.from, &self.to] {
            let text = position.as_deref().unwrap_or_default();
            let bytes = u32::try_from(text.len()).unwrap_or(NONE);
            out.put_u32_le(if position.is_some() { bytes } else { NONE });
            out.put_slice(text.as_bytes());
        }
        out.freeze()
    }

    /// Decodes the bytes; `None` when they were not left by an external source.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let events = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        let (from, to) = (position(&mut rest)?, position(&mut rest)?);
        (rest.is_empty() && events <= EXTERNAL_EVENTS_MAX).then_some(Self { events, from, to })
    }
}

fn position(rest: &mut &[u8]) -> Option<Option<String>> {
    let bytes = match rest.try_get_u32_le().ok()? {
        NONE => return Some(None),
        bytes => usize::try_from(bytes).ok().filter(|b| *b <= EXTERNAL_POSITION_BYTES_MAX)?,
    };
    let (text, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_round_trips_and_no_part_of_it_decodes() {
        let long = "日".repeat(EXTERNAL_POSITION_BYTES_MAX / 3);
        for (from, to) in [(None, Some("7")), (Some(""), Some("9")), (Some(&long[..]), None)] {
            let owned = |position: Option<&str>| position.map(str::to_owned);
            let place = ExternalOffset { events: 20, from: owned(from), to: owned(to) };
            let bytes = place.encode();
            assert_eq!(ExternalOffset::decode(&bytes), Some(place));
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
                assert_eq!(ExternalOffset::decode(&bytes[..cut]), None, "{cut}");
            }
            assert_eq!(ExternalOffset::decode(&[&bytes[..], b"x"].concat()), None);
        }
        assert_eq!(ExternalOffset::decode(b"{\"file\":\"a\"}"), None);
    }
}
