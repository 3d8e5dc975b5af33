//! Avro schemas: the length of a datum, and the fingerprint of a schema.
//!
//! A datum does not contain its length; only its schema determines its end. The fingerprint is the
//! specification's CRC-64-AVRO over the parsing canonical form ("Parsing Canonical Form for Schemas", "Schema
//! Fingerprints").

use super::AvroError;
use super::values::AvroReader;
use millpond_flow::base::limits::{
    AVRO_CANONICAL_BYTES_MAX, AVRO_SCHEMA_NESTING_MAX, AVRO_SCHEMA_NODES_MAX, AVRO_STEPS_FREE,
    AVRO_STEPS_PER_BYTE,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// An invalid schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema cannot be read: {0}")]
pub struct SchemaError(String);

/// Most characters of a schema that a message repeats.
const WORDS_MAX: usize = 200;

/// A budget of decoding steps. Values may take no bytes, and types may contain many of them: without a bound a
/// few bytes could cause unbounded work.
#[derive(Debug)]
pub struct DecodeBudget(u64);

impl DecodeBudget {
    /// Returns the budget for data of `bytes` bytes.
    #[must_use]
    pub fn for_bytes(bytes: usize) -> Self {
        Self(AVRO_STEPS_FREE.saturating_add(AVRO_STEPS_PER_BYTE.saturating_mul(bytes as u64)))
    }

    fn step(&mut self) -> Result<(), AvroError> {
        let what = "values that take no bytes in the data of one block";
        let max = usize::try_from(AVRO_STEPS_FREE).unwrap_or(usize::MAX);
        self.0 = self.0.checked_sub(1).ok_or(AvroError::TooMany { what, max })?;
        Ok(())
    }
}

/// A parsed schema.
#[derive(Clone, Debug)]
pub struct AvroSchema {
    nodes: Vec<SchemaNode>,
    root: usize,
    canonical: String,
}

/// A type; it refers to others by index.
#[derive(Clone, Debug)]
enum SchemaNode {
    Null,
    Boolean,
    /// `int`, `long` and the index of an enumeration.
    Number,
    Fixed(usize),
    /// `bytes` and `string`.
    Bytes,
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<usize>),
}

impl AvroSchema {
    /// Parses a schema.
    ///
    /// # Errors
    /// It is not JSON, not a schema, too large or nested too deeply.
    ///
    /// # Examples
    /// ```
    /// # use millpond_adapters::wire::avro::schema::AvroSchema;
    /// let schema = AvroSchema::parse(r#"{"type": "string"}"#)?;
    /// assert_eq!(schema.canonical(), "\"string\"");
    /// # Ok::<(), millpond_adapters::wire::avro::schema::SchemaError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| SchemaError(error.to_string()))?;
        let mut reading = SchemaParser::default();
        let root = reading.schema(&json, "", 0)?;
        Ok(Self { nodes: reading.nodes, root, canonical: reading.canonical })
    }

    /// Returns the parsing canonical form.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Returns the CRC-64-AVRO fingerprint in Java's byte order, little-endian.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        let mut sum = EMPTY;
        for byte in self.canonical.bytes() {
            sum = (sum >> 8) ^ table((sum ^ u64::from(byte)) & 0xff);
        }
        sum.to_le_bytes()
    }

    /// Skips one datum.
    ///
    /// # Errors
    /// The bytes are not of this schema, or `steps` are used up.
    pub fn skip(
        &self,
        values: &mut AvroReader<'_>,
        steps: &mut DecodeBudget,
    ) -> Result<(), AvroError> {
        self.skip_node(self.root, values, steps, 0)
    }

    fn skip_node(
        &self,
        at: usize,
        values: &mut AvroReader<'_>,
        steps: &mut DecodeBudget,
        depth: usize,
    ) -> Result<(), AvroError> {
        let what = "a datum";
        steps.step()?;
        if depth > AVRO_SCHEMA_NESTING_MAX {
            return Err(AvroError::TooMany {
                what: "levels in a datum",
                max: AVRO_SCHEMA_NESTING_MAX,
            });
        }
        match &self.nodes[at] {
            SchemaNode::Null => Ok(()),
            SchemaNode::Boolean => values.boolean(what).map(drop),
            SchemaNode::Number => values.long(what).map(drop),
            SchemaNode::Fixed(bytes) => values.take(*bytes, what).map(drop),
            SchemaNode::Bytes => values.bytes(what).map(drop),
            SchemaNode::Array(items) => self.skip_items(false, *items, values, steps, depth),
            SchemaNode::Map(items) => self.skip_items(true, *items, values, steps, depth),
            SchemaNode::Union(branches) => {
                let number = values.long(what)?;
                let branch = usize::try_from(number).ok().and_then(|at| branches.get(at));
                let branch =
                    branch.ok_or(AvroError::Number { what: "a branch of a union", number })?;
                self.skip_node(*branch, values, steps, depth + 1)
            }
            SchemaNode::Record(fields) => {
                fields.iter().try_for_each(|field| self.skip_node(*field, values, steps, depth + 1))
            }
        }
    }

    fn skip_items(
        &self,
        with_keys: bool,
        items: usize,
        values: &mut AvroReader<'_>,
        steps: &mut DecodeBudget,
        depth: usize,
    ) -> Result<(), AvroError> {
        let what = "items";
        loop {
            let number = values.long(what)?;
            if number < 0 {
                // The bytes of the block follow.
                values.bytes(what)?;
                continue;
            }
            if number == 0 {
                return Ok(());
            }
            for _ in 0..number {
                if with_keys {
                    values.bytes(what)?;
                }
                self.skip_node(items, values, steps, depth + 1)?;
            }
        }
    }
}

/// Returns a schema's JSON as Java's Avro writes it: without blanks between its tokens.
#[must_use]
pub fn without_blanks(json: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && c.is_ascii_whitespace() => continue,
            _ => {}
        }
        out.push(c);
    }
    out
}

/// The fingerprint of nothing.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

fn table(byte: u64) -> u64 {
    (0..8).fold(byte, |sum, _| (sum >> 1) ^ (EMPTY & 0u64.wrapping_sub(sum & 1)))
}

#[derive(Default)]
struct SchemaParser {
    nodes: Vec<SchemaNode>,
    /// Full names of records, enumerations and fixed types.
    named: BTreeMap<String, usize>,
    canonical: String,
}

fn error<T>(what: impl Into<String>) -> Result<T, SchemaError> {
    let mut what = what.into();
    if let Some((cut, _)) = what.char_indices().nth(WORDS_MAX) {
        what.truncate(cut);
        what.push('…');
    }
    Err(SchemaError(what))
}

impl SchemaParser {
    fn add(&mut self, node: SchemaNode) -> Result<usize, SchemaError> {
        if self.nodes.len() >= AVRO_SCHEMA_NODES_MAX {
            return error(format!("it has more than {AVRO_SCHEMA_NODES_MAX} types"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn say(&mut self, text: &str) {
        self.canonical.push_str(text);
    }

    fn quote(&mut self, text: &str) {
        // Java writes strings here without escapes.
        let _ = write!(self.canonical, "\"{text}\"");
    }

    fn schema(
        &mut self,
        json: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<usize, SchemaError> {
        if depth > AVRO_SCHEMA_NESTING_MAX {
            return error(format!("it has more than {AVRO_SCHEMA_NESTING_MAX} levels"));
        }
        // A short name gets its namespace, however long that is.
        if self.canonical.len() > AVRO_CANONICAL_BYTES_MAX {
            return error(format!(
                "its canonical form has more than {AVRO_CANONICAL_BYTES_MAX} bytes"
            ));
        }
        match json {
            Value::String(name) => self.name(name, namespace),
            Value::Array(branches) => {
                self.say("[");
                let mut places = Vec::new();
                for (at, branch) in branches.iter().enumerate() {
                    self.say(if at > 0 { "," } else { "" });
                    places.push(self.schema(branch, namespace, depth + 1)?);
                }
                self.say("]");
                self.add(SchemaNode::Union(places))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.object(kind, json, namespace, depth),
                Some(inner) => self.schema(inner, namespace, depth + 1),
                None => error("a type is missing"),
            },
            other => error(format!("{other} is not a type")),
        }
    }

    fn name(&mut self, name: &str, namespace: &str) -> Result<usize, SchemaError> {
        let node = match name {
            "null" => SchemaNode::Null,
            "boolean" => SchemaNode::Boolean,
            "int" | "long" => SchemaNode::Number,
            "float" => SchemaNode::Fixed(4),
            "double" => SchemaNode::Fixed(8),
            "bytes" | "string" => SchemaNode::Bytes,
            _ => {
                let full = full_name(name, namespace);
                let Some(at) = self.named.get(&full).copied() else {
                    return error(format!("\"{full}\" is not a type that is known at that place"));
                };
                self.quote(&full);
                return Ok(at);
            }
        };
        self.quote(name);
        self.add(node)
    }

    fn object(
        &mut self,
        kind: &str,
        json: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<usize, SchemaError> {
        let part = |key: &str| {
            json.get(key).ok_or_else(|| SchemaError(format!("\"{key}\" of {kind} is missing")))
        };
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                self.say(&format!("{{\"type\":\"{kind}\",\"{key}\":"));
                let items = self.schema(part(key)?, namespace, depth + 1)?;
                self.say("}");
                self.add(if kind == "array" {
                    SchemaNode::Array(items)
                } else {
                    SchemaNode::Map(items)
                })
            }
            "record" | "error" | "enum" | "fixed" => {
                let Some(name) = part("name")?.as_str() else { return error("a name is not text") };
                let own = json.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                let full = full_name(name, own);
                let own = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                self.say("{\"name\":");
                self.quote(&full);
                // Added first: its fields may refer to it.
                let at = self.add(SchemaNode::Null)?;
                if self.named.insert(full.clone(), at).is_some() {
                    return error(format!("\"{full}\" is defined twice"));
                }
                self.nodes[at] = self.named_type(kind, json, &own, depth)?;
                Ok(at)
            }
            // {"type": "string"}, perhaps with properties that do not matter here.
            _ => self.name(kind, namespace),
        }
    }

    fn named_type(
        &mut self,
        kind: &str,
        json: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<SchemaNode, SchemaError> {
        self.say(&format!(",\"type\":\"{kind}\""));
        let list = |key: &str| {
            json.get(key)
                .and_then(Value::as_array)
                .ok_or_else(|| SchemaError(format!("\"{key}\" of {kind} is missing")))
        };
        match kind {
            "enum" => {
                self.say(",\"symbols\":[");
                for (at, symbol) in list("symbols")?.iter().enumerate() {
                    self.say(if at > 0 { "," } else { "" });
                    let Some(symbol) = symbol.as_str() else {
                        return error("a symbol is not text");
                    };
                    self.quote(symbol);
                }
                self.say("]}");
                Ok(SchemaNode::Number)
            }
            "fixed" => {
                let size = json.get("size").and_then(Value::as_u64);
                let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
                    return error("the size of a fixed type is not a number");
                };
                self.say(&format!(",\"size\":{size}}}"));
                Ok(SchemaNode::Fixed(size))
            }
            _ => {
                self.say(",\"fields\":[");
                let mut fields = Vec::new();
                for (at, field) in list("fields")?.iter().enumerate() {
                    let name = field.get("name").and_then(Value::as_str);
                    let (Some(name), Some(of)) = (name, field.get("type")) else {
                        return error("a field lacks its name or type");
                    };
                    self.say(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
                    self.quote(name);
                    self.say(",\"type\":");
                    fields.push(self.schema(of, namespace, depth + 1)?);
                    self.say("}");
                }
                self.say("]}");
                Ok(SchemaNode::Record(fields))
            }
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        AvroSchema::parse(text).unwrap().canonical().to_owned()
    }

    /// As Java's `SchemaNormalization.toParsingForm` writes them.
    #[test]
    fn the_canonical_form_is_what_the_specification_says() {
        for (schema, wanted) in [
            (r#"{"type":"int","logicalType":"date"}"#, r#""int""#),
            (r#"["null", {"type":"string"}]"#, r#"["null","string"]"#),
            (
                r#"{"items":{"type":"map","values":"long"},"type":"array"}"#,
                r#"{"type":"array","items":{"type":"map","values":"long"}}"#,
            ),
            (
                r#"{"type":"record","doc":"x","name":"A","namespace":"n.s","fields":[{"default":1,"name":"a","type":"int"},{"name":"b","type":{"type":"enum","name":"E","symbols":["X","Y"]}},{"name":"c","type":["null","A","E"]},{"name":"d","type":{"name":"o.F","size":4,"type":"fixed"}}]}"#,
                r#"{"name":"n.s.A","type":"record","fields":[{"name":"a","type":"int"},{"name":"b","type":{"name":"n.s.E","type":"enum","symbols":["X","Y"]}},{"name":"c","type":["null","n.s.A","n.s.E"]},{"name":"d","type":{"name":"o.F","type":"fixed","size":4}}]}"#,
            ),
        ] {
            assert_eq!(canonical(schema), wanted);
        }
    }

    /// The fingerprints of Avro's own test cases.
    #[test]
    fn fingerprints_are_those_of_the_specification() {
        for (schema, wanted) in [
            (r#""null""#, 7195948357588979594),
            (r#""boolean""#, -6970731678124411036),
            (r#""int""#, 8247732601305521295),
        ] {
            let fingerprint = AvroSchema::parse(schema).unwrap().fingerprint();
            assert_eq!(i64::from_le_bytes(fingerprint), wanted, "{schema}");
        }
    }

    #[test]
    fn a_datum_ends_where_its_schema_says() {
        let schema = AvroSchema::parse(
            r#"{"type":"record","name":"R","fields":[{"name":"l","type":"long"},{"name":"s","type":["null","string"]},{"name":"m","type":{"type":"map","values":"double"}},{"name":"a","type":{"type":"array","items":"boolean"}},{"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"next","type":["null","R"]}]}"#,
        )
        .unwrap();
        let end = b"\x00";
        let inner = [&b"\x02\x02\x04hi\x02\x02k12345678\x00\x04\x00\x01\x00abc"[..], end].concat();
        let outer = [&b"\xfe\x01\x00\x00\x00xyz\x02"[..], &inner].concat();
        let mut values = AvroReader::new(&outer);
        schema.skip(&mut values, &mut DecodeBudget::for_bytes(0)).unwrap();
        assert_eq!(values.rest(), b"");
        for len in 0..outer.len() {
            let cut =
                schema.skip(&mut AvroReader::new(&outer[..len]), &mut DecodeBudget::for_bytes(0));
            assert!(cut.is_err(), "{len}");
        }
    }

    #[test]
    fn what_is_no_schema_or_has_no_end_is_refused() {
        for text in [
            "",
            "{}",
            "7",
            r#""unknown""#,
            r#"{"type":"record","name":"A"}"#,
            r#"{"type":"fixed","name":"A","size":-1}"#,
            r#"["null",{"type":"enum","name":"A","symbols":[]},{"type":"fixed","name":"A","size":1}]"#,
        ] {
            assert!(AvroSchema::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}\"int\"{}", "[".repeat(5000), "]".repeat(5000));
        assert!(AvroSchema::parse(&deep).is_err());
        let nulls = AvroSchema::parse(r#"{"type":"array","items":"null"}"#).unwrap();
        let mut many = Vec::new();
        super::super::values::put_long(&mut many, i64::MAX);
        assert!(nulls.skip(&mut AvroReader::new(&many), &mut DecodeBudget::for_bytes(0)).is_err());
        let itself = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
        let itself = AvroSchema::parse(itself).unwrap();
        assert!(itself.skip(&mut AvroReader::new(b""), &mut DecodeBudget::for_bytes(0)).is_err());
    }

    #[test]
    fn types_that_multiply_without_bytes_end_and_cost_what_is_allowed() {
        // Each contains the previous one twice: 2^25 values of no bytes.
        let mut text =
            r#"{"type":"record","name":"T0","fields":[{"name":"n","type":"null"}]}"#.to_owned();
        for n in 1..=25 {
            let inner = n - 1;
            text = format!(
                r#"{{"type":"record","name":"T{n}","fields":[{{"name":"a","type":{text}}},{{"name":"b","type":"T{inner}"}}]}}"#
            );
        }
        let schema = AvroSchema::parse(&text).unwrap();
        let mut steps = DecodeBudget::for_bytes(0);
        let error = schema.skip(&mut AvroReader::new(b""), &mut steps).unwrap_err();
        assert!(error.to_string().contains("take no bytes"), "{error}");
        assert_eq!(steps.0, 0);
        // The steps used count for the rest of the block.
        assert!(
            AvroSchema::parse("\"null\"")
                .unwrap()
                .skip(&mut AvroReader::new(b""), &mut steps)
                .is_err()
        );
    }

    #[test]
    fn short_names_in_a_long_namespace_are_bounded() {
        let namespace = "n".repeat(100_000);
        let uses = r#"{"name":"f","type":"R"},"#.repeat(1000);
        let text = format!(
            r#"{{"type":"record","name":"R","namespace":"{namespace}","fields":[{uses}{{"name":"l","type":"long"}}]}}"#
        );
        let error = AvroSchema::parse(&text).unwrap_err();
        assert!(error.to_string().contains("canonical"), "{error}");
        let unknown = AvroSchema::parse(&format!("\"{namespace}\"")).unwrap_err();
        assert!(unknown.to_string().len() < 1000, "messages are short");
    }
}
