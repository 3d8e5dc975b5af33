//! Why an event does not fit a schema.

use serde_json::Value;
use std::fmt;

/// Most characters of a field's name that are shown: it comes from an event.
const NAME_CHARS_MAX: usize = 64;

/// Why an event does not fit, with the column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The names from the outermost field inwards, joined by points; empty for the whole body.
    path: String,
    reason: MisfitReason,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MisfitReason {
    /// The body is not JSON.
    NotJson(String),
    /// The body is JSON and not an object.
    NotObject(&'static str),
    /// A required column has no value.
    Missing,
    /// A value has another type than its column.
    WrongType { expected: &'static str, found: &'static str },
    /// A number, date or time that the column cannot hold.
    OutOfRange(&'static str),
    /// The body is not UTF-8, and its column is text.
    NotUtf8,
    /// The schema has no such column, and such fields are refused.
    UnknownField,
}

impl Misfit {
    pub(super) fn new(reason: MisfitReason) -> Self {
        Self { path: String::new(), reason }
    }

    pub(super) fn wrong_type(expected: &'static str, found: &Value) -> Self {
        Self::new(MisfitReason::WrongType { expected, found: kind_of(found) })
    }

    /// Returns it as one of the field `name`, which contains what it is about.
    pub(super) fn within(mut self, name: &str) -> Self {
        let name = shown(name);
        self.path = if self.path.is_empty() { name } else { format!("{name}.{}", self.path) };
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            to.write_str("its body ")?;
        } else {
            write!(to, "column {}: it ", self.path)?;
        }
        match &self.reason {
            MisfitReason::NotJson(error) => write!(to, "is not JSON ({error})"),
            MisfitReason::NotObject(found) => write!(to, "is {found}, and not a JSON object"),
            MisfitReason::Missing => to.write_str("is required and missing or null"),
            MisfitReason::WrongType { expected, found } => {
                write!(to, "has to be {expected}, and is {found}")
            }
            MisfitReason::OutOfRange(expected) => write!(to, "is not {expected}"),
            MisfitReason::NotUtf8 => {
                to.write_str("is not UTF-8; with serializer.bodyType = binary any body fits")
            }
            MisfitReason::UnknownField => to.write_str(
                "is not in the schema (serializer.unknownFields = refuse); add it, or a column _extra",
            ),
        }
    }
}

/// Returns the name of a field as it may be shown.
pub(super) fn shown(name: &str) -> String {
    let mut all = name.chars();
    let mut text: String = all.by_ref().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect();
    if all.next().is_some() {
        text.push('…');
    }
    text
}

/// Returns the kind of a JSON value, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or exponent",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
