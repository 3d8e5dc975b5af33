//! Serializers of the sink `hbase2`: from an event to the cells of a row and to increments, as Flume's classes do it.
//!
//! [`mutations`] has their trait; [`simple`] and [`regex`] are the two of Flume.

mod mutations;
mod regex;
mod simple;
#[cfg(test)]
mod tests;

use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
pub(super) use mutations::{CounterIncrement, HbaseSerializer, UnwritableEvent};

/// The keys of all serializers.
pub(super) const KEYS: [Key; 12] = [
    Key {
        name: "serializer",
        kind: KeyKind::Word,
        default: "org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer",
        meaning: "SimpleHBase2EventSerializer or RegexHBase2EventSerializer, also by Flume's older names of both; other classes are refused.",
    },
    Key {
        name: "serializer.rowPrefix",
        kind: KeyKind::Text,
        default: "default",
        meaning: "Simple: beginning of each row key.",
    },
    Key {
        name: "serializer.suffix",
        kind: KeyKind::Word,
        default: "uuid",
        meaning: "Simple: rest of the row key: uuid, random (a number), timestamp (milliseconds since 1970) or nano (nanoseconds since 1970, never twice the same; in Flume since the start of the machine).",
    },
    Key {
        name: "serializer.payloadColumn",
        kind: KeyKind::Text,
        default: "pCol",
        meaning: "Simple: column of the body; empty for none.",
    },
    Key {
        name: "serializer.incrementColumn",
        kind: KeyKind::Text,
        default: "iCol",
        meaning: "Simple: column of a counter that each event increments by 1; empty for none.",
    },
    Key {
        name: "serializer.incrementRow",
        kind: KeyKind::Text,
        default: "incRow",
        meaning: "Simple: row key of that counter.",
    },
    Key {
        name: "serializer.regex",
        kind: KeyKind::Text,
        default: "(.*)",
        meaning: "Regex: Java pattern that the whole body has to match; each group becomes a column. An event that does not match goes to the dead letters, or is dropped and counted; Flume drops it silently.",
    },
    Key {
        name: "serializer.regexIgnoreCase",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Regex: whether case is ignored.",
    },
    Key {
        name: "serializer.colNames",
        kind: KeyKind::Text,
        default: "payload",
        meaning: "Regex: a column for each group, separated by commas. Another number of them than of groups is refused; Flume drops every event then.",
    },
    Key {
        name: "serializer.rowKeyIndex",
        kind: KeyKind::Number,
        default: "-1",
        meaning: "Regex: index from 0 of the group that is the row key; its column has to be named ROW_KEY. -1 for a key of milliseconds, random characters and a counter.",
    },
    Key {
        name: "serializer.depositHeaders",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Regex: whether headers become columns as well.",
    },
    Key {
        name: "serializer.charset",
        kind: KeyKind::Word,
        default: "UTF-8",
        meaning: "Regex: encoding of bodies, of column names and of deposited headers. Groups are stored in UTF-8, as in Flume.",
    },
];

/// The packages of Flume's classes.
const PACKAGES: [&str; 2] = ["org.apache.flume.sink.hbase2", "org.apache.flume.sink.hbase"];

/// Builds the serializer that `serializer` names.
///
/// # Errors
/// Its name is unknown, or one of its settings is invalid.
pub(super) fn build(
    reader: &mut SettingsReader<'_>,
) -> Result<Box<dyn HbaseSerializer>, SettingError> {
    let name = reader.text("serializer").unwrap_or("SimpleHBase2EventSerializer").trim();
    let class = match name.rsplit_once('.') {
        Some((package, class)) if PACKAGES.contains(&package) => class,
        Some(_) => "",
        None => name,
    };
    match class {
        "SimpleHBase2EventSerializer"
        | "SimpleHbaseEventSerializer"
        | "SimpleAsyncHbaseEventSerializer" => {
            Ok(Box::new(simple::SimpleSerializer::build(reader)?))
        }
        "RegexHBase2EventSerializer" | "RegexHbaseEventSerializer" => {
            Ok(Box::new(regex::RegexSerializer::build(reader)?))
        }
        _ => {
            let message = format!(
                "\"{name}\" is neither SimpleHBase2EventSerializer nor RegexHBase2EventSerializer; Java classes cannot be loaded: have an external interceptor prepare the body (docs/external.md)"
            );
            Err(reader.error("serializer", message))
        }
    }
}
