//! Where an external source stands, as its channels keep it: the words of its process for the end of the
//! newest batch, and for its beginning, from where that batch can be put again.

use crate::base::limits::{EXTERNAL_EVENTS_MAX, EXTERNAL_POSITION_BYTES_MAX};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the bytes begin with: other types of source leave other marks.
const MAGIC: &[u8; 4] = b"ext1";
/// The length of a position that there is not.
const NONE: u32 = u32::MAX;

/// The newest batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The events that its process gave.
    pub(super) events: usize,
    /// The position before it.
    pub(super) from: Option<String>,
    /// The position behind it.
    pub(super) to: Option<String>,
}

impl Place {
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

    /// What the bytes say; `None` when they are none of an external source.
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
    fn a_place_reads_back_and_no_part_of_it_does() {
        let long = "日".repeat(EXTERNAL_POSITION_BYTES_MAX / 3);
        for (from, to) in [(None, Some("7")), (Some(""), Some("9")), (Some(&long[..]), None)] {
            let owned = |position: Option<&str>| position.map(str::to_owned);
            let place = Place { events: 20, from: owned(from), to: owned(to) };
            let bytes = place.encode();
            assert_eq!(Place::decode(&bytes), Some(place));
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
                assert_eq!(Place::decode(&bytes[..cut]), None, "{cut}");
            }
            assert_eq!(Place::decode(&[&bytes[..], b"x"].concat()), None);
        }
        assert_eq!(Place::decode(b"{\"file\":\"a\"}"), None);
    }
}
