//! The protocol's text, and the check that another text is compatible.

use md5::{Digest, Md5};
use millpond_flow::base::limits::AVRO_PROTOCOL_BYTES_MAX;
use serde_json::Value;

/// The MD5 of a protocol's text.
pub type ProtocolHash = [u8; 16];

/// This side's text of the protocol. Clients compare its hash, not its wording; they resolve their own text
/// against it.
pub const TEXT: &str = r#"{"protocol":"AvroSourceProtocol","namespace":"org.apache.flume.source.avro","doc":"Events that travel from a client to an agent.","types":[{"type":"enum","name":"Status","symbols":["OK","FAILED","UNKNOWN"]},{"type":"record","name":"AvroFlumeEvent","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}],"messages":{"append":{"request":[{"name":"event","type":"AvroFlumeEvent"}],"response":"Status"},"appendBatch":{"request":[{"name":"events","type":{"type":"array","items":"AvroFlumeEvent"}}],"response":"Status"}}}"#;

/// The MD5 of [`TEXT`], precomputed because the text never changes.
pub const HASH: ProtocolHash = [
    0x35, 0x3c, 0xe3, 0x7f, 0x15, 0x2e, 0x15, 0xc1, 0x3d, 0x8d, 0x59, 0x77, 0xda, 0xac, 0xd9, 0xe1,
];

/// Returns the MD5 of a peer's text.
#[must_use]
pub fn hash(text: &str) -> ProtocolHash {
    Md5::digest(text.as_bytes()).into()
}

/// Why a peer with another text is not compatible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolMismatch {
    /// It is larger than any text of this protocol.
    #[error("the protocol has more than {AVRO_PROTOCOL_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not JSON.
    #[error("the protocol is not JSON")]
    NoJson,
    /// It has neither of the two messages.
    #[error("the protocol has neither append nor appendBatch")]
    NoMessage,
    /// A message has parameters of another type.
    #[error("the protocol's {0} does not take what AvroSourceProtocol says")]
    Parameters(&'static str),
}

/// Checks that the text of a peer describes what this side reads: its messages take events of headers and a body,
/// in this order. Names of types, documentation and properties may differ.
///
/// # Errors
/// Why it is not compatible.
pub fn check(text: &str) -> Result<(), ProtocolMismatch> {
    if text.len() > AVRO_PROTOCOL_BYTES_MAX {
        return Err(ProtocolMismatch::TooLarge);
    }
    let protocol: Value = serde_json::from_str(text).map_err(|_| ProtocolMismatch::NoJson)?;
    let types =
        NamedTypes(protocol.get("types").and_then(Value::as_array).map_or(&[], Vec::as_slice));
    let messages = &protocol["messages"];
    let mut found = false;
    for name in ["append", "appendBatch"] {
        let Some(message) = messages.get(name) else { continue };
        found = true;
        let one = match message["request"].as_array().map(Vec::as_slice) {
            Some([parameter]) => &parameter["type"],
            _ => return Err(ProtocolMismatch::Parameters(name)),
        };
        let takes_events = match name {
            "append" => types.is_event(one),
            _ => one["type"] == "array" && types.is_event(&one["items"]),
        };
        if !takes_events || message["one-way"] == true {
            return Err(ProtocolMismatch::Parameters(name));
        }
    }
    if found { Ok(()) } else { Err(ProtocolMismatch::NoMessage) }
}

/// The named types of a protocol.
struct NamedTypes<'a>(&'a [Value]);

impl NamedTypes<'_> {
    /// Returns true if `given`, or the type that it names, is a record of headers and a body.
    fn is_event(&self, given: &Value) -> bool {
        let given = match given.as_str() {
            Some(name) => match self.0.iter().find(|t| own_name(&t["name"]) == last_part(name)) {
                Some(named) => named,
                None => return false,
            },
            None => given,
        };
        let Some([headers, body]) = given["fields"].as_array().map(Vec::as_slice) else {
            return false;
        };
        given["type"] == "record"
            && headers["name"] == "headers"
            && headers["type"]["type"] == "map"
            && is_primitive(&headers["type"]["values"], "string")
            && body["name"] == "body"
            && is_primitive(&body["type"], "bytes")
    }
}

/// Returns true for `"string"` and `{"type": "string", …}`, which are the same type.
fn is_primitive(given: &Value, name: &str) -> bool {
    given == name || given["type"] == name
}

fn own_name(name: &Value) -> &str {
    last_part(name.as_str().unwrap_or_default())
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
