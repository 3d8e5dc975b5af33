//! The values of some rows, by column: what a row group is written from.

use parquet::basic::Type as PhysicalType;
use parquet::data_type::ByteArray;

/// Bytes that a value counts besides its own: its levels, and for a text its place in memory.
const LEVEL_BYTES: usize = 4;
const TEXT_BYTES: usize = 32;

/// The values of one column that are present, by physical type.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

/// One column: its values, and for each place, present or not, the two levels of Parquet.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) values: Values,
    pub(super) definitions: Vec<i16>,
    pub(super) repetitions: Vec<i16>,
}

/// All columns of a schema.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(super) all: Vec<Column>,
    bytes: usize,
}

impl Columns {
    /// Returns columns without values of the types `types`, none of which is INT96 or of a fixed length.
    pub(super) fn new(types: &[PhysicalType]) -> Self {
        let column = |of: &PhysicalType| Column {
            values: match of {
                PhysicalType::BOOLEAN => Values::Boolean(Vec::new()),
                PhysicalType::INT32 => Values::Int32(Vec::new()),
                PhysicalType::INT64 => Values::Int64(Vec::new()),
                PhysicalType::FLOAT => Values::Float(Vec::new()),
                PhysicalType::DOUBLE => Values::Double(Vec::new()),
                _ => Values::Bytes(Vec::new()),
            },
            definitions: Vec::new(),
            repetitions: Vec::new(),
        };
        Self { all: types.iter().map(column).collect(), bytes: 0 }
    }

    /// Returns the memory that they take, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the levels of a place without a value.
    pub(super) fn push_null(&mut self, column: usize, repetition: i16, definition: i16) {
        self.bytes += LEVEL_BYTES;
        let column = &mut self.all[column];
        column.repetitions.push(repetition);
        column.definitions.push(definition);
    }

    /// Adds a value by `push`, with its levels. `push` returns an error, or the bytes that the value takes.
    pub(super) fn push<E>(
        &mut self,
        column: usize,
        repetition: i16,
        definition: i16,
        push: impl FnOnce(&mut Values) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.bytes += LEVEL_BYTES + push(&mut self.all[column].values)?;
        let column = &mut self.all[column];
        column.repetitions.push(repetition);
        column.definitions.push(definition);
        Ok(())
    }

    /// Removes all values, and keeps the memory of a few.
    pub(super) fn clear(&mut self) {
        const KEPT: usize = 1024;
        fn clear<T>(all: &mut Vec<T>) {
            all.clear();
            all.shrink_to(KEPT);
        }
        for column in &mut self.all {
            match &mut column.values {
                Values::Boolean(values) => clear(values),
                Values::Int32(values) => clear(values),
                Values::Int64(values) => clear(values),
                Values::Float(values) => clear(values),
                Values::Double(values) => clear(values),
                Values::Bytes(values) => clear(values),
            }
            clear(&mut column.definitions);
            clear(&mut column.repetitions);
        }
        self.bytes = 0;
    }
}

impl Values {
    /// Adds bytes to a column of bytes; returns what they take.
    pub(super) fn push_bytes(&mut self, bytes: impl Into<ByteArray>) -> usize {
        let bytes = bytes.into();
        let taken = bytes.len() + TEXT_BYTES;
        if let Self::Bytes(values) = self {
            values.push(bytes);
        }
        taken
    }
}
