//! Events: a body of bytes and a few headers.

use bytes::Bytes;
use std::fmt;

/// Headers of an event: names and values, each name once, in the order they were first set.
///
/// They are in one piece of memory, encoded as in a put frame (see `docs/format.md`): an event without headers
/// allocates nothing, taken events share their block, and a clone copies nothing.
///
/// ```
/// use millpond::Headers;
///
/// let mut headers = Headers::new();
/// headers.set("host", "web1");
/// headers.set("host", "web2");
/// assert_eq!((headers.len(), headers.get("host")), (1, Some("web2")));
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    count: u32,
    /// For each header: the lengths of name and value, four bytes each, little-endian; name; value.
    text: Bytes,
}

/// Bytes of the two lengths before each header.
const LENGTHS_BYTES: usize = 8;

impl Headers {
    /// Returns no headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, text: Bytes::new() }
    }

    /// Returns headers whose names are known to differ.
    ///
    /// # Panics
    /// A name or value has 4 GiB or more.
    #[doc(hidden)]
    #[must_use]
    pub fn from_distinct<N: AsRef<str>, V: AsRef<str>>(list: &[(N, V)]) -> Self {
        if list.is_empty() {
            return Self::new();
        }
        let mut text = Vec::with_capacity(encoded_bytes(list));
        list.iter().for_each(|(n, v)| put(&mut text, n.as_ref(), v.as_ref()));
        Self { count: count_of(list), text: Bytes::from(text) }
    }

    /// Returns headers from the bytes of [`Headers::encoded`]. The caller has checked that lengths and count are right
    /// and that every name and value is UTF-8.
    pub(crate) fn from_encoded(count: u32, text: Bytes) -> Self {
        let headers = Self { count, text };
        debug_assert_eq!(headers.iter().count(), count as usize, "they were read before");
        headers
    }

    /// Returns all headers as in a put frame, without their count.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.text
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the value of the header `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places().find(|entry| entry.name(&self.text) == name.as_bytes()).map(|entry| {
            let value = &self.text[entry.value_at..entry.end];
            text_of(value)
        })
    }

    /// Sets header `name`, replacing an earlier value in its place.
    ///
    /// # Panics
    /// Name or value has 4 GiB or more.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let known = self.places().find(|entry| entry.name(&self.text) == name.as_bytes());
        // Without a copy if it is not shared.
        let mut text = Vec::from(std::mem::take(&mut self.text));
        match known {
            Some(entry) => {
                let mut fresh = Vec::with_capacity(LENGTHS_BYTES + name.len() + value.len());
                put(&mut fresh, name, value);
                text.splice(entry.at..entry.end, fresh);
            }
            None => {
                put(&mut text, name, value);
                self.count += 1;
            }
        }
        self.text = Bytes::from(text);
    }

    /// Removes header `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let entry = self.places().find(|entry| entry.name(&self.text) == name.as_bytes())?;
        let value = text_of(&self.text[entry.value_at..entry.end]).to_owned();
        let mut text = Vec::from(std::mem::take(&mut self.text));
        text.drain(entry.at..entry.end);
        self.count -= 1;
        self.text = Bytes::from(text);
        Some(value)
    }

    /// Returns names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let text = &self.text;
        self.places()
            .map(|entry| (text_of(entry.name(text)), text_of(&text[entry.value_at..entry.end])))
    }

    /// Returns the bytes of all names and values.
    fn size_bytes(&self) -> usize {
        self.text.len() - LENGTHS_BYTES * self.len()
    }

    fn places(&self) -> HeaderSpans<'_> {
        HeaderSpans { text: &self.text, at: 0, left: self.len() }
    }
}

/// The place of a header in the text.
#[derive(Clone, Copy)]
struct HeaderSpan {
    at: usize,
    value_at: usize,
    end: usize,
}

impl HeaderSpan {
    fn name(self, text: &[u8]) -> &[u8] {
        &text[self.at + LENGTHS_BYTES..self.value_at]
    }
}

/// An iterator over the encoded headers.
struct HeaderSpans<'a> {
    text: &'a [u8],
    at: usize,
    left: usize,
}

impl Iterator for HeaderSpans<'_> {
    type Item = HeaderSpan;

    fn next(&mut self) -> Option<HeaderSpan> {
        self.left = self.left.checked_sub(1)?;
        let (at, name_at) = (self.at, self.at + LENGTHS_BYTES);
        let len = |from: usize| {
            let bytes = self.text[from..from + 4].try_into();
            u32::from_le_bytes(bytes.expect("four bytes are four bytes")) as usize
        };
        let value_at = name_at + len(at);
        self.at = value_at + len(at + 4);
        Some(HeaderSpan { at, value_at, end: self.at })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeaderSpans<'_> {}

/// Returns the bytes that headers take.
fn encoded_bytes<N: AsRef<str>, V: AsRef<str>>(list: &[(N, V)]) -> usize {
    list.iter().map(|(n, v)| LENGTHS_BYTES + n.as_ref().len() + v.as_ref().len()).sum()
}

fn count_of<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("so many headers would take 32 GiB of lengths alone")
}

/// Appends a header.
fn put(text: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, value] {
        let len = u32::try_from(part.len()).expect("a name or value has less than 4 GiB");
        text.extend_from_slice(&len.to_le_bytes());
    }
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(value.as_bytes());
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("headers are made of text only, or were read before")
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers {
    /// Equal when the same names have the same values; order does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && (self.text == other.text || self.iter().all(|(n, v)| other.get(n) == Some(v)))
    }
}

impl Eq for Headers {}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in entries {
            headers.set(name, value);
        }
        headers
    }
}

/// One event: headers and a body.
///
/// ```
/// use millpond::Event;
/// let mut event = Event::new("a line");
/// event.headers.set("host", "web1");
/// assert_eq!(&event.body[..], b"a line");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The headers.
    pub headers: Headers,
    /// The body. Taken events share one reference-counted block, so a clone copies no bytes.
    pub body: Bytes,
}

impl Event {
    /// Returns an event without headers.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Headers::new(), body: body.into() }
    }

    /// Returns an event with a copy of `body` and with headers whose names are known to differ, in one piece of memory.
    ///
    /// # Panics
    /// A name or value has 4 GiB or more.
    #[doc(hidden)]
    #[must_use]
    pub fn packed(headers: &[(&str, &str)], body: &[u8]) -> Self {
        let at = encoded_bytes(headers);
        let mut all = Vec::with_capacity(at + body.len());
        headers.iter().for_each(|(name, value)| put(&mut all, name, value));
        all.extend_from_slice(body);
        let mut text = Bytes::from(all);
        let body = text.split_off(at);
        Self { headers: Headers { count: count_of(headers), text }, body }
    }

    /// Returns the bytes of the body and of all header names and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.body.len() + self.headers.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference model: a list of headers.
    fn set(list: &mut Vec<(String, String)>, name: &str, value: &str) {
        match list.iter_mut().find(|(n, _)| n == name) {
            Some(entry) => entry.1 = value.to_owned(),
            None => list.push((name.to_owned(), value.to_owned())),
        }
    }

    fn listed(headers: &Headers) -> Vec<(String, String)> {
        headers.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    proptest! {
        #[test]
        fn headers_are_a_list_of_names_and_values_whatever_is_done_to_them(
            steps in proptest::collection::vec(("[abc日]{0,2}", ".{0,5}", 0..4u8), 0..20),
        ) {
            let (mut headers, mut list, mut shared) = (Headers::new(), Vec::new(), None);
            for (name, value, step) in &steps {
                match step {
                    0 => {
                        let at = list.iter().position(|(n, _)| n == name);
                        prop_assert_eq!(headers.remove(name), at.map(|at| list.remove(at).1));
                    }
                    1 => shared = Some((headers.clone(), list.clone())),
                    _ => {
                        headers.set(name, value);
                        set(&mut list, name, value);
                    }
                }
                prop_assert_eq!(listed(&headers), list.clone());
                prop_assert_eq!(headers.get(name), list.iter().find(|(n, _)| n == name).map(|h| &*h.1));
                prop_assert_eq!((headers.len(), headers.is_empty()), (list.len(), list.is_empty()));
            }
            let texts: usize = list.iter().map(|(n, v)| n.len() + v.len()).sum();
            let event = Event { headers: headers.clone(), body: Bytes::from_static(b"abc") };
            prop_assert_eq!(event.size_bytes(), texts + 3);
            prop_assert_eq!(&Headers::from_distinct(&list), &headers);
            prop_assert_eq!(&list.iter().rev().map(|(n, v)| (n, v)).collect::<Headers>(), &headers);
            if let Some((shared, then)) = shared {
                prop_assert_eq!(listed(&shared), then, "a clone is not touched");
            }
        }
    }

    #[test]
    fn names_with_other_values_are_other_headers() {
        let headers = |list: &[(&str, &str)]| Headers::from_iter(list.iter().copied());
        assert_eq!(headers(&[("a", "1"), ("b", "2")]), headers(&[("b", "2"), ("a", "1")]));
        assert_ne!(headers(&[("a", "1"), ("b", "2")]), headers(&[("a", "2"), ("b", "1")]));
        assert_ne!(headers(&[("a", "1")]), headers(&[("a", "1"), ("b", "2")]));
        assert_eq!(format!("{:?}", headers(&[("a", "1")])), r#"{"a": "1"}"#);
    }
}
