//! Texts with the escapes of Flume, as paths and names of topics have them.
//!
//! `%{header}`, `%[localhost]`, `%[ip]` and `%[fqdn]`, and `%` with a letter of [`crate::date::path_letter`] or a second
//! `%`. Text that is not an escape stays.

/// A part of a text with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EscapePart {
    /// Text as it is.
    Text(String),
    /// The value of a header.
    Header(String),
    /// A name of this machine.
    Host(HostPart),
    /// A letter of a date, `t` or `%`.
    Letter(char),
}

/// A name of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPart {
    /// `%[localhost]`.
    Name,
    /// `%[ip]`.
    Address,
    /// `%[fqdn]`.
    FullName,
}

/// Returns the parts of `text`; two texts never follow each other.
///
/// # Errors
/// A name in `%[…]` is unknown; in words for a person.
///
/// # Examples
/// ```
/// use millpond_flow::escapes::{EscapePart, read};
/// let parts = read("a-%{host}%Y").unwrap();
/// assert_eq!(parts[1], EscapePart::Header("host".to_owned()));
/// assert_eq!(parts[2], EscapePart::Letter('Y'));
/// ```
pub fn read(text: &str) -> Result<Vec<EscapePart>, String> {
    let (mut parts, mut plain) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match (c == '%').then(|| escape(rest)).flatten() {
            Some((part, bytes)) => {
                if !plain.is_empty() {
                    parts.push(EscapePart::Text(std::mem::take(&mut plain)));
                }
                parts.push(part?);
                rest = &rest[bytes..];
            }
            None => {
                plain.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !plain.is_empty() {
        parts.push(EscapePart::Text(plain));
    }
    Ok(parts)
}

/// Returns the escape at the beginning of `text` and its length in bytes.
fn escape(text: &str) -> Option<(Result<EscapePart, String>, usize)> {
    let rest = &text[1..];
    let first = rest.chars().next()?;
    let between = |close: char| rest[1..].split_once(close).map(|(inside, _)| inside);
    match first {
        '%' => Some((Ok(EscapePart::Letter('%')), 2)),
        '{' => {
            let name = between('}')?;
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            let is_name = !name.is_empty() && name.chars().all(legal);
            is_name.then(|| (Ok(EscapePart::Header(name.to_owned())), name.len() + 3))
        }
        '[' => {
            let name = between(']')?;
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
            let part = match name.to_ascii_lowercase().as_str() {
                "localhost" => Ok(EscapePart::Host(HostPart::Name)),
                "ip" => Ok(EscapePart::Host(HostPart::Address)),
                "fqdn" => Ok(EscapePart::Host(HostPart::FullName)),
                _ => Err(format!("%[{name}] is none of %[localhost], %[ip] and %[fqdn]")),
            };
            is_name.then_some((part, name.len() + 3))
        }
        c if c.is_ascii_alphanumeric() || c == '_' => Some((Ok(EscapePart::Letter(c)), 2)),
        _ => None,
    }
}
