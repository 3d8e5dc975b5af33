//! Schemas: from a text to the tree by which events become columns.
//!
//! Limits: a text has [`SCHEMA_BYTES_MAX`] bytes, groups within groups are [`DEPTH_MAX`] deep, and there are
//! [`COLUMNS_MAX`] columns.

use super::columns::Columns;
use super::leaf::LeafKind;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a schema's text.
pub(super) const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Groups within groups.
const DEPTH_MAX: usize = 32;
/// Columns of a file: each has a buffer while a row group is written.
const COLUMNS_MAX: usize = 2000;

/// The schema of files without one of their own: an event as it is.
pub(super) const EVENT_SCHEMA: &str = "message event {
  required group headers (MAP) { repeated group key_value { required binary key (STRING); required binary value (STRING); } }
  optional int64 timestamp (TIMESTAMP(MILLIS,true));
  required binary body;
}";

/// [`EVENT_SCHEMA`] with the body as text.
pub(super) const TEXT_EVENT_SCHEMA: &str = "message event {
  required group headers (MAP) { repeated group key_value { required binary key (STRING); required binary value (STRING); } }
  optional int64 timestamp (TIMESTAMP(MILLIS,true));
  required binary body (STRING);
}";

/// A schema.
#[derive(Debug)]
pub(crate) struct ParquetSchema {
    pub(super) root: TypePtr,
    pub(super) fields: Vec<RootField>,
    physical_types: Vec<PhysicalType>,
}

/// A field of the outermost level.
#[derive(Debug)]
pub(super) struct RootField {
    pub(super) source: ValueSource,
    pub(super) field: Field,
}

/// Where a field of the outermost level has its value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The JSON object in the body.
    Json,
    /// The body as it is.
    Body,
    /// All headers.
    Headers,
    /// The header `timestamp`.
    Timestamp,
    /// What the body has and no column.
    Extra,
}

/// Whether a field has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    /// Null is a list without elements.
    Repeated,
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) presence: Presence,
    /// The definition level of its value.
    pub(super) definition: i16,
    pub(super) kind: Kind,
    /// The columns that are in it.
    pub(super) columns: Range<usize>,
}

/// What a field holds.
#[derive(Debug)]
pub(super) enum Kind {
    Leaf(LeafKind),
    Group(Vec<Field>),
    List(Repeated),
    Map {
        key: Repeated,
        /// A map without values is a set.
        value: Option<Box<Field>>,
    },
}

/// What is repeated in a list or a map.
#[derive(Debug)]
pub(super) struct Repeated {
    /// The repetition level of all elements but the first.
    pub(super) repetition: i16,
    pub(super) element: Box<Field>,
}

/// The levels that a field is within.
#[derive(Clone, Copy)]
struct Levels {
    definition: i16,
    repetition: i16,
    depth: usize,
}

impl ParquetSchema {
    /// Reads a message type. In one `of_event`, columns have their values from the event; in others, from the JSON
    /// object in its body, except `_headers`, `_timestamp`, `_body` and `_extra`. The error is for a person.
    pub(super) fn read(text: &str, of_event: bool) -> Result<Self, String> {
        check_text(text)?;
        let root = parse_message_type(text).map_err(|error| {
            format!("is not a message type of Parquet, as in message NAME {{ optional binary user (STRING); }}: {error}")
        })?;
        let mut reader = Reader { physical_types: Vec::new() };
        let mut fields = Vec::new();
        let levels = Levels { definition: 0, repetition: 0, depth: 0 };
        for of in root.get_fields() {
            let source = source_of(of.name(), of_event);
            let field = reader.field(of, levels).map_err(|why| within(of.name(), &why))?;
            check_source(source, &field)?;
            fields.push(RootField { source, field });
        }
        let physical_types = reader.physical_types;
        match physical_types.len() {
            0 => return Err("has no column".to_owned()),
            1..=COLUMNS_MAX => {}
            more => return Err(format!("has {more} columns; at most {COLUMNS_MAX} may be")),
        }
        let root = Arc::new(root);
        // Levels are ours; these are Parquet's.
        let descriptor = SchemaDescriptor::new(Arc::clone(&root));
        assert_eq!(descriptor.num_columns(), physical_types.len(), "each column is found once");
        Ok(Self { root, fields, physical_types })
    }

    /// Returns columns without values.
    pub(super) fn columns(&self) -> Columns {
        Columns::new(&self.physical_types)
    }

    /// Returns whether a column has its value from a JSON body.
    pub(super) fn reads_json(&self) -> bool {
        let is_json =
            |root: &RootField| matches!(root.source, ValueSource::Json | ValueSource::Extra);
        self.fields.iter().any(is_json)
    }

    /// Returns whether fields without a column are kept in one.
    pub(super) fn keeps_extra(&self) -> bool {
        self.fields.iter().any(|root| root.source == ValueSource::Extra)
    }
}

/// Refuses a text that is not whole: the parser ends with the first message.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!("has {} bytes; at most {SCHEMA_BYTES_MAX} may be", text.len()));
    }
    let (mut depth, mut is_over) = (0_usize, false);
    for c in text.chars() {
        if is_over && !c.is_whitespace() && c != ';' {
            return Err("has text after the } that ends its message".to_owned());
        }
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1).ok_or("has a } too many")?;
                is_over = depth == 0;
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!("has groups within groups more than {DEPTH_MAX} deep"));
        }
    }
    if is_over {
        Ok(())
    } else {
        Err("is a message type of Parquet, message NAME { … }, without its end".to_owned())
    }
}

fn source_of(name: &str, of_event: bool) -> ValueSource {
    match (of_event, name) {
        (true, "headers") | (false, "_headers") => ValueSource::Headers,
        (true, "timestamp") | (false, "_timestamp") => ValueSource::Timestamp,
        (true, "body") | (false, "_body") => ValueSource::Body,
        (false, "_extra") => ValueSource::Extra,
        _ => ValueSource::Json,
    }
}

/// Refuses a column of the event itself that cannot hold it.
fn check_source(source: ValueSource, field: &Field) -> Result<(), String> {
    let is_text =
        |kind: &Kind| matches!(kind, Kind::Leaf(LeafKind::Text | LeafKind::Bytes | LeafKind::Json));
    let (fits, expected) = match source {
        ValueSource::Json => return Ok(()),
        ValueSource::Body => (
            matches!(field.kind, Kind::Leaf(LeafKind::Text | LeafKind::Bytes)),
            "binary or binary (STRING)",
        ),
        ValueSource::Extra => (
            is_text(&field.kind) && field.presence == Presence::Optional,
            "optional binary (STRING) or (JSON)",
        ),
        ValueSource::Headers => (
            matches!(&field.kind, Kind::Map { value: Some(value), .. } if is_text(&value.kind)),
            "a group (MAP) of STRING to STRING",
        ),
        ValueSource::Timestamp => (
            matches!(
                field.kind,
                Kind::Leaf(
                    LeafKind::Timestamp { .. } | LeafKind::Integer { bits: 64, signed: true }
                )
            ),
            "int64 (TIMESTAMP(…)) or int64",
        ),
    };
    let fits = fits && field.presence != Presence::Repeated;
    if fits {
        Ok(())
    } else {
        Err(format!("has the column {}, which has to be {expected}", field.name))
    }
}

fn within(name: &str, why: &str) -> String {
    format!("has the column {name}{why}")
}

/// Reads fields; each column is a physical type, in the order of Parquet's.
struct Reader {
    physical_types: Vec<PhysicalType>,
}

impl Reader {
    /// Reads a field within `levels`. The error follows the field's name.
    fn field(&mut self, of: &Type, levels: Levels) -> Result<Field, String> {
        let repetition = match of.get_basic_info().has_repetition() {
            true => of.get_basic_info().repetition(),
            false => Repetition::REQUIRED,
        };
        match repetition {
            Repetition::REQUIRED => self.single(of, Presence::Required, levels),
            Repetition::OPTIONAL => {
                let inside = Levels { definition: levels.definition + 1, ..levels };
                self.single(of, Presence::Optional, inside)
            }
            Repetition::REPEATED => {
                let begin = self.physical_types.len();
                let repeated = self.repeated(of, levels, |reader, inside| {
                    reader.single(of, Presence::Required, inside)
                })?;
                Ok(Field {
                    name: of.name().to_owned(),
                    presence: Presence::Repeated,
                    definition: levels.definition,
                    kind: Kind::List(repeated),
                    columns: begin..self.physical_types.len(),
                })
            }
        }
    }

    /// Reads what is in the repeated field `of` by `element`.
    fn repeated(
        &mut self,
        of: &Type,
        levels: Levels,
        element: impl FnOnce(&mut Self, Levels) -> Result<Field, String>,
    ) -> Result<Repeated, String> {
        let _ = of;
        let inside = Levels {
            definition: levels.definition + 1,
            repetition: levels.repetition + 1,
            depth: levels.depth + 1,
        };
        let element = Box::new(element(self, inside)?);
        Ok(Repeated { repetition: inside.repetition, element })
    }

    /// Reads one value of `of`, whose presence `levels` count already.
    fn single(&mut self, of: &Type, presence: Presence, levels: Levels) -> Result<Field, String> {
        let begin = self.physical_types.len();
        let kind = if of.is_primitive() {
            self.physical_types.push(of.get_physical_type());
            Kind::Leaf(LeafKind::of(of).ok_or_else(|| unsupported(of))?)
        } else {
            self.group(of, levels)?
        };
        Ok(Field {
            name: of.name().to_owned(),
            presence,
            definition: levels.definition,
            kind,
            columns: begin..self.physical_types.len(),
        })
    }

    fn group(&mut self, of: &Type, levels: Levels) -> Result<Kind, String> {
        let info = of.get_basic_info();
        let is = |logical: &LogicalType, converted: ConvertedType| {
            info.logical_type_ref() == Some(logical) || info.converted_type() == converted
        };
        let is_map = is(&LogicalType::Map, ConvertedType::MAP)
            || info.converted_type() == ConvertedType::MAP_KEY_VALUE;
        if is(&LogicalType::List, ConvertedType::LIST) {
            let inner = only_repeated(of)
                .ok_or(", a LIST that is not repeated group list { optional … element; }")?;
            return self.list(of.name(), inner, levels).map(Kind::List);
        }
        if is_map {
            return self.map(of, levels);
        }
        let mut fields = Vec::new();
        for inner in of.get_fields() {
            let field = self.field(inner, Levels { depth: levels.depth + 1, ..levels });
            fields.push(field.map_err(|why| format!(".{}{why}", inner.name()))?);
        }
        Ok(Kind::Group(fields))
    }

    /// Reads the repeated field of a list. Its element is the field itself in what older writers made.
    fn list(&mut self, name: &str, inner: &Type, levels: Levels) -> Result<Repeated, String> {
        let is_element = inner.is_primitive()
            || inner.get_fields().len() != 1
            || inner.name() == "array"
            || inner.name() == format!("{name}_tuple");
        self.repeated(inner, levels, |reader, inside| match is_element {
            true => reader.single(inner, Presence::Required, inside),
            false => {
                let of = &inner.get_fields()[0];
                reader.field(of, inside).map_err(|why| format!(".{}{why}", of.name()))
            }
        })
    }

    fn map(&mut self, of: &Type, levels: Levels) -> Result<Kind, String> {
        const MALFORMED: &str = ", a MAP that is not repeated group key_value { required binary key (STRING); optional … value; }";
        let inner = only_repeated(of).filter(|inner| inner.is_group()).ok_or(MALFORMED)?;
        let (key_type, value_type) = match inner.get_fields() {
            [key] => (key, None),
            [key, value] => (key, Some(value)),
            _ => return Err(MALFORMED.to_owned()),
        };
        let mut value = None;
        let key = self.repeated(inner, levels, |reader, inside| {
            let key = reader.field(key_type, inside)?;
            if let Some(of) = value_type {
                value = Some(Box::new(
                    reader.field(of, inside).map_err(|why| format!(".{}{why}", of.name()))?,
                ));
            }
            Ok(key)
        })?;
        let fits = matches!(key.element.kind, Kind::Leaf(LeafKind::Text | LeafKind::Bytes))
            && key.element.presence != Presence::Repeated;
        if fits {
            Ok(Kind::Map { key, value })
        } else {
            Err(", a MAP whose key is not binary (STRING)".to_owned())
        }
    }
}

/// Returns the repeated field that a list or a map consists of.
fn only_repeated(of: &Type) -> Option<&Type> {
    let [inner] = of.get_fields() else { return None };
    let info = inner.get_basic_info();
    (info.has_repetition() && info.repetition() == Repetition::REPEATED).then_some(inner)
}

fn unsupported(of: &Type) -> String {
    let info = of.get_basic_info();
    let annotation = match info.logical_type_ref() {
        Some(logical) => format!(" ({logical:?})"),
        None if info.converted_type() != ConvertedType::NONE => {
            format!(" ({})", info.converted_type())
        }
        None => String::new(),
    };
    format!(
        " of the type {}{annotation}, which is not supported: use boolean, int32, int64, float, double or binary, with INTEGER, STRING, ENUM, JSON, DATE or TIMESTAMP",
        of.get_physical_type()
    )
}
