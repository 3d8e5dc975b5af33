//! The event that a message becomes, as Flume's default converter makes it.
//!
//! Properties become headers, as text; fields of JMS itself do not, but `JMSXGroupID`, which is a property. The body of
//! a text message is its text in `converter.charset`, that of a bytes message its bytes, that of an object message the
//! bytes that Java serialised. Maps, streams and messages without a body become events with an empty one.

use super::charset::Charset;
use super::java_number;
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{Body, Message};
use fe2o3_amqp_types::primitives::SimpleValue;
use millpond::{Event, Headers};
use serde_amqp::Value;

/// A message as it arrives.
pub(crate) type AmqpMessage = Message<Body<Value>>;

/// Names the JMS type of a message, by the mapping of JMS to AMQP that brokers and clients share.
const TYPE: &str = "x-opt-jms-msg-type";
const MAP: i8 = 2;
const STREAM: i8 = 4;

/// Returns the event of a message.
pub(crate) fn event(message: AmqpMessage, charset: Charset) -> Event {
    let properties = message.application_properties.iter().flat_map(|p| p.0.iter());
    let group = message.properties.as_ref().and_then(|p| p.group_id.clone());
    let headers: Headers = properties
        .filter_map(|(name, value)| Some((name.clone(), header(value)?)))
        .chain(group.map(|group| ("JMSXGroupID".to_owned(), group)))
        .collect();
    let kind = kind(&message);
    let body =
        if matches!(kind, Some(MAP | STREAM)) { Vec::new() } else { body(message.body, charset) };
    let mut event = Event::new(body);
    event.headers = headers;
    event
}

/// Returns the JMS type, if the message has one.
fn kind(message: &AmqpMessage) -> Option<i8> {
    let annotations = message.message_annotations.as_ref()?;
    let named = annotations.0.iter().find(|(key, _)| match key {
        OwnedKey::Symbol(name) => name.as_str() == TYPE,
        OwnedKey::Ulong(_) => false,
    });
    match named?.1 {
        Value::Byte(kind) => Some(*kind),
        _ => None,
    }
}

fn body(body: Body<Value>, charset: Charset) -> Vec<u8> {
    match body {
        Body::Data(sections) => sections.into_iter().flat_map(|data| data.0.into_vec()).collect(),
        Body::Value(value) => match value.0 {
            Value::String(text) => charset.encode(&text),
            Value::Binary(bytes) => bytes.into_vec(),
            // Senders without JMS: a single value as its text.
            other => scalar(&other).map(|text| charset.encode(&text)).unwrap_or_default(),
        },
        Body::Sequence(_) | Body::Empty => Vec::new(),
    }
}

/// Returns the text of a property; `None` for null.
fn header(value: &SimpleValue) -> Option<String> {
    match value {
        SimpleValue::String(text) => Some(text.clone()),
        SimpleValue::Binary(bytes) => Some(hex(bytes)),
        SimpleValue::Uuid(value) => Some(hex(value.as_inner())),
        SimpleValue::Decimal32(value) => Some(hex(value.as_inner())),
        SimpleValue::Decimal64(value) => Some(hex(value.as_inner())),
        SimpleValue::Decimal128(value) => Some(hex(value.as_inner())),
        // Its type is the sender's own.
        SimpleValue::Described(value) => scalar(&value.value),
        other => scalar(&other.clone().into()),
    }
}

/// Returns the text of a single value; `None` for null and for what has parts.
fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(value) => value.to_string(),
        Value::Ubyte(value) => value.to_string(),
        Value::Ushort(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Ulong(value) => value.to_string(),
        Value::Byte(value) => value.to_string(),
        Value::Short(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Float(value) => java_number::float(value.into_inner()),
        Value::Double(value) => java_number::double(value.into_inner()),
        Value::Char(value) => value.to_string(),
        Value::Timestamp(value) => value.milliseconds().to_string(),
        Value::Symbol(text) => text.as_str().to_owned(),
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fe2o3_amqp_types::messaging::annotations::Annotations;
    use fe2o3_amqp_types::messaging::{
        AmqpValue, ApplicationProperties, Data, MessageAnnotations, Properties,
    };
    use serde_amqp::primitives::{Binary, OrderedMap, Symbol};

    fn message(body: Body<Value>, kind: Option<i8>) -> AmqpMessage {
        let message_annotations = kind.map(|kind| {
            let mut annotations = Annotations::new();
            annotations.insert(OwnedKey::Symbol(Symbol::from(TYPE)), Value::Byte(kind));
            MessageAnnotations(annotations)
        });
        Message {
            header: None,
            delivery_annotations: None,
            message_annotations,
            properties: None,
            application_properties: None,
            body,
            footer: None,
        }
    }

    fn value(value: Value) -> Body<Value> {
        Body::Value(AmqpValue(value))
    }

    fn bytes_of(body: Body<Value>, kind: Option<i8>) -> Vec<u8> {
        event(message(body, kind), Charset::Utf8).body.to_vec()
    }

    #[test]
    fn text_and_bytes_are_bodies_and_maps_and_streams_are_empty() {
        assert_eq!(bytes_of(value(Value::String("日志".into())), Some(5)), "日志".as_bytes());
        let parts = ["a\0", "b"].map(|part| Data(Binary::from(part.as_bytes().to_vec())));
        assert_eq!(bytes_of(Body::Data(parts.into_iter().collect()), Some(3)), b"a\0b");
        assert_eq!(bytes_of(value(Value::Binary(Binary::from(vec![0xff]))), None), [0xff]);
        assert_eq!(bytes_of(value(Value::Map(OrderedMap::new())), Some(MAP)), b"");
        assert_eq!(bytes_of(value(Value::List(vec![Value::Int(1)])), Some(STREAM)), b"");
        assert_eq!(bytes_of(value(Value::Null), Some(0)), b"");
        assert_eq!(bytes_of(Body::Empty, None), b"");
        assert_eq!(bytes_of(value(Value::Long(-7)), None), b"-7", "a sender without JMS");
        let latin = event(message(value(Value::String("é".into())), None), Charset::Single(0xff));
        assert_eq!(&latin.body[..], b"\xe9");
    }

    #[test]
    fn properties_are_headers_as_text_and_fields_of_jms_are_not() {
        let mut properties = OrderedMap::new();
        for (name, value) in [
            ("word", SimpleValue::String("é".into())),
            ("whole", SimpleValue::from(3.0f64)),
            ("part", SimpleValue::from(1.5f32)),
            ("large", SimpleValue::Long(12_345_678_901)),
            ("yes", SimpleValue::Bool(true)),
            ("none", SimpleValue::Null),
        ] {
            properties.insert(name.to_owned(), value);
        }
        let mut message = message(Body::Empty, None);
        message.application_properties = Some(ApplicationProperties(properties));
        message.properties = Some(Properties {
            group_id: Some("g1".into()),
            subject: Some("a JMSType".into()),
            ..Properties::default()
        });
        let headers = event(message, Charset::Utf8).headers;
        let mut all: Vec<_> = headers.iter().collect();
        all.sort_unstable();
        let expected = [
            ("JMSXGroupID", "g1"),
            ("large", "12345678901"),
            ("part", "1.5"),
            ("whole", "3.0"),
            ("word", "é"),
            ("yes", "true"),
        ];
        assert_eq!(all, expected);
    }
}
