//! Events to columns, with the levels that Parquet keeps instead of the shape of values.
//!
//! The definition level of a place counts the optional and repeated fields that are present above it, the repetition
//! level names the list that its value continues.

use super::columns::Columns;
use super::leaf::LeafKind;
use super::misfit::{Misfit, MisfitReason, kind_of, shown};
use super::schema::{Field, Kind, ParquetSchema, Presence, RootField, ValueSource};
use millpond::Event;
use serde_json::{Map, Value};

/// Fields of a body that have no column and are not kept in one, by their paths.
#[derive(Debug, Default)]
pub(crate) struct ExtraFields(Map<String, Value>);

impl ExtraFields {
    /// Returns the path of one of them as it may be shown, if there is one.
    pub(crate) fn first(&self) -> Option<String> {
        self.0.keys().next().map(|name| shown(name))
    }
}

impl ParquetSchema {
    /// Adds `event` to `columns`; returns the fields that have no column and are not kept in one.
    ///
    /// # Errors
    /// It does not fit; `columns` then has a part of it.
    pub(super) fn shred(
        &self,
        event: &Event,
        columns: &mut Columns,
    ) -> Result<ExtraFields, Misfit> {
        let body = if self.reads_json() { object(event)? } else { Map::new() };
        let mut shredder = Shredder { columns, extra: Map::new(), path: Vec::new() };
        for RootField { source, field } in &self.fields {
            match source {
                ValueSource::Json => shredder.field(field, body.get(&field.name), 0)?,
                ValueSource::Headers => shredder.field(field, Some(&headers(event)), 0)?,
                ValueSource::Timestamp => shredder.field(field, time(event, field).as_ref(), 0)?,
                ValueSource::Body => shredder.body(field, event)?,
                ValueSource::Extra => {}
            }
        }
        if self.reads_json() {
            let json = |root: &&RootField| root.source == ValueSource::Json;
            shredder.keep_unknown(&body, self.fields.iter().filter(json).map(|root| &root.field));
        }
        let mut extra = shredder.extra;
        for RootField { field, .. } in
            self.fields.iter().filter(|root| root.source == ValueSource::Extra)
        {
            let kept = std::mem::take(&mut extra);
            let text = (!kept.is_empty()).then(|| Value::Object(kept).to_string().into_bytes());
            put_bytes(columns, field, text);
        }
        Ok(ExtraFields(extra))
    }
}

/// Returns the JSON object in the body.
fn object(event: &Event) -> Result<Map<String, Value>, Misfit> {
    match serde_json::from_slice(&event.body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(Misfit::new(MisfitReason::NotObject(kind_of(&other)))),
        Err(error) => Err(Misfit::new(MisfitReason::NotJson(error.to_string()))),
    }
}

fn headers(event: &Event) -> Value {
    let one = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
    Value::Object(event.headers.iter().map(one).collect())
}

/// Returns the header `timestamp` in the unit of `field`; `None` if it is missing, or is not such a number.
fn time(event: &Event, field: &Field) -> Option<Value> {
    let milliseconds = event.headers.get("timestamp")?.parse().ok()?;
    match field.kind {
        Kind::Leaf(leaf) => leaf.time_of(milliseconds),
        _ => None,
    }
}

/// Adds bytes, or their absence, to a column of the outermost level.
fn put_bytes(columns: &mut Columns, field: &Field, bytes: Option<Vec<u8>>) {
    let column = field.columns.start;
    match bytes {
        Some(bytes) => {
            let added = columns.push(column, 0, field.definition, |values| {
                Ok::<usize, Misfit>(values.push_bytes(bytes))
            });
            added.expect("bytes fit in a column of bytes");
        }
        None => columns.push_null(column, 0, field.definition - 1),
    }
}

struct Shredder<'a> {
    columns: &'a mut Columns,
    extra: Map<String, Value>,
    /// The names of the groups that it is in.
    path: Vec<&'a str>,
}

impl<'a> Shredder<'a> {
    /// Adds a value, or its absence, as one that has the repetition level `repetition`.
    fn field(
        &mut self,
        field: &'a Field,
        value: Option<&Value>,
        repetition: i16,
    ) -> Result<(), Misfit> {
        let value = value.filter(|value| !value.is_null());
        match (value, field.presence) {
            (Some(value), _) => {
                self.path.push(&field.name);
                let put = self.value(field, value, repetition);
                self.path.pop();
                put.map_err(|misfit| misfit.within(&field.name))
            }
            (None, Presence::Required) => {
                Err(Misfit::new(MisfitReason::Missing).within(&field.name))
            }
            (None, Presence::Optional) => {
                self.absent(field, repetition, field.definition - 1);
                Ok(())
            }
            (None, Presence::Repeated) => {
                self.absent(field, repetition, field.definition);
                Ok(())
            }
        }
    }

    /// Adds a place without a value to each column in `field`.
    fn absent(&mut self, field: &Field, repetition: i16, definition: i16) {
        for column in field.columns.clone() {
            self.columns.push_null(column, repetition, definition);
        }
    }

    fn value(&mut self, field: &'a Field, value: &Value, repetition: i16) -> Result<(), Misfit> {
        match (&field.kind, value) {
            (Kind::Leaf(leaf), value) => {
                let column = field.columns.start;
                self.columns
                    .push(column, repetition, field.definition, |values| leaf.push(value, values))
            }
            (Kind::Group(fields), Value::Object(object)) => {
                for field in fields {
                    self.field(field, object.get(&field.name), repetition)?;
                }
                self.keep_unknown(object, fields.iter());
                Ok(())
            }
            (Kind::List(repeated), Value::Array(all)) => {
                if all.is_empty() {
                    self.absent(field, repetition, field.definition);
                }
                for (at, one) in all.iter().enumerate() {
                    let repetition = if at == 0 { repetition } else { repeated.repetition };
                    self.field(&repeated.element, Some(one), repetition)?;
                }
                Ok(())
            }
            (Kind::Map { key, value }, Value::Object(all)) => {
                if all.is_empty() {
                    self.absent(field, repetition, field.definition);
                }
                for (at, (name, one)) in all.iter().enumerate() {
                    let repetition = if at == 0 { repetition } else { key.repetition };
                    let (column, definition) = (key.element.columns.start, key.element.definition);
                    self.columns.push(column, repetition, definition, |values| {
                        Ok(values.push_bytes(name.as_bytes().to_vec()))
                    })?;
                    if let Some(value) = value {
                        self.field(value, Some(one), repetition)?;
                    }
                }
                Ok(())
            }
            (Kind::List(_), other) => Err(Misfit::wrong_type("an array", other)),
            (Kind::Group(_) | Kind::Map { .. }, other) => {
                Err(Misfit::wrong_type("an object", other))
            }
        }
    }

    /// Keeps the fields of `object` that are not among `known`.
    fn keep_unknown(
        &mut self,
        object: &Map<String, Value>,
        known: impl Iterator<Item = &'a Field> + Clone,
    ) {
        let found = known.clone().filter(|field| object.contains_key(&field.name)).count();
        if found == object.len() {
            return;
        }
        for (name, value) in object {
            if known.clone().any(|field| field.name == *name) {
                continue;
            }
            let mut path = self.path.join(".");
            if !path.is_empty() {
                path.push('.');
            }
            self.extra.insert(path + name, value.clone());
        }
    }

    fn body(&mut self, field: &Field, event: &Event) -> Result<(), Misfit> {
        if matches!(field.kind, Kind::Leaf(LeafKind::Text))
            && std::str::from_utf8(&event.body).is_err()
        {
            return Err(Misfit::new(MisfitReason::NotUtf8).within(&field.name));
        }
        // A part of the memory that the events of a batch share.
        let body = event.body.clone();
        let column = field.columns.start;
        self.columns.push(column, 0, field.definition, |values| Ok(values.push_bytes(body)))
    }
}
