//! What flows: an event is a body of bytes and a few headers.

use bytes::Bytes;

/// Headers of an event: names and values, each name once, in the order they were first set.
///
/// An event without headers allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    list: Vec<(String, String)>,
}

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Headers whose names are known to differ, as decoders have them.
    pub(crate) fn from_distinct(list: Vec<(String, String)>) -> Self {
        Self { list }
    }

    /// Number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Value of the header `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Sets header `name`, replacing an earlier value in its place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.list.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => self.list.push((name, value)),
        }
    }

    /// Removes header `name` and answers its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.list.iter().position(|(n, _)| n == name)?;
        Some(self.list.remove(at).1)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.list.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

impl PartialEq for Headers {
    /// Equal when the same names have the same values; order does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(n, v)| other.get(n) == Some(v))
    }
}

impl Eq for Headers {}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
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
/// use millpond::event::Event;
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
    /// An event without headers.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Headers::new(), body: body.into() }
    }

    /// Bytes of the body and of all header names and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }
}
