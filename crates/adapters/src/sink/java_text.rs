//! Headers printed as a Java map, in the iteration order of its `HashMap`.

use millpond::Headers;
use std::fmt::Write;

/// Returns `{name=value, name=value}`, in the order of a `java.util.HashMap` that grew by these entries.
///
/// Users diff and parse this text, so its order is Flume's and not that of the headers.
pub(crate) fn headers(headers: &Headers) -> String {
    let mut entries: Vec<(u32, &str, &str)> =
        headers.iter().map(|(name, value)| (spread_hash(name), name, value)).collect();
    let mask = buckets(entries.len()) - 1;
    // Stable: entries of one bucket keep the order in which they were set.
    entries.sort_by_key(|(hash, _, _)| hash & mask);
    let mut text = String::from("{");
    for (i, (_, name, value)) in entries.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{name}={value}");
    }
    text.push('}');
    text
}

/// Returns the buckets of a map with `entries` entries: 16, doubled whenever it is more than three quarters full.
fn buckets(entries: usize) -> u32 {
    let mut buckets: u32 = 16;
    while entries > buckets as usize / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    buckets
}

/// Returns `String.hashCode`, with its upper half folded in as by `HashMap`.
fn spread_hash(name: &str) -> u32 {
    let hash = name
        .encode_utf16()
        .fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[&str]) -> String {
        headers(&names.iter().map(|&name| (name, "1")).collect())
    }

    #[test]
    fn headers_are_in_the_order_of_java() {
        assert_eq!(text(&[]), "{}");
        assert_eq!(text(&["k", "host"]), "{host=1, k=1}");
        // Printed by Flume for headers set in this order.
        assert_eq!(
            text(&["timestamp", "host", "topic", "basename", "file", "id"]),
            "{basename=1, file=1, host=1, topic=1, id=1, timestamp=1}"
        );
    }

    #[test]
    fn the_map_grows_as_in_java() {
        let names: Vec<String> = (b'a'..=b'm').map(|c| char::from(c).to_string()).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        // 13 entries: 32 buckets; 'a' is 97, so it is in bucket 1 and 'P' (80) in 16.
        names[12] = "P";
        let printed = text(&names);
        assert!(printed.starts_with("{a=1, b=1") && printed.ends_with("P=1}"), "{printed}");
        // 12 entries: 16 buckets; 'P' is in bucket 0.
        assert!(text(&names[1..]).starts_with("{P=1"));
    }

    #[test]
    fn hash_codes_are_over_utf16() {
        // "日" is one unit, U+65E5; "😀" two, whose hash is 0xD83D * 31 + 0xDE00.
        assert_eq!(spread_hash("日"), 0x65E5);
        let hash = 0xD83Du32 * 31 + 0xDE00;
        assert_eq!(spread_hash("😀"), hash ^ (hash >> 16));
    }
}
