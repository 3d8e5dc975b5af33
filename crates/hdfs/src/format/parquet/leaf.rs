//! Columns of single values: which there are, and which JSON fits each.

use super::columns::Values;
use super::misfit::{Misfit, MisfitReason};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::schema::types::Type;
use serde_json::Value;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafKind {
    Boolean,
    /// A whole number of so many bits.
    Integer {
        bits: u8,
        signed: bool,
    },
    Float,
    Double,
    /// UTF-8.
    Text,
    /// Any JSON value, as its text.
    Json,
    /// Bytes: those of a string.
    Bytes,
    /// Days since 1970-01-01.
    Date,
    /// Time since 1970-01-01, in UTC or without a zone.
    Timestamp {
        unit: TimestampUnit,
        utc: bool,
    },
}

/// The unit of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimestampUnit {
    Millis,
    Micros,
    Nanos,
}

impl TimestampUnit {
    fn of(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::MILLIS => Self::Millis,
            TimeUnit::MICROS => Self::Micros,
            TimeUnit::NANOS => Self::Nanos,
        }
    }

    /// Returns how many there are in a millisecond.
    fn per_millisecond(self) -> i64 {
        match self {
            Self::Millis => 1,
            Self::Micros => 1000,
            Self::Nanos => 1_000_000,
        }
    }
}

impl LeafKind {
    /// Returns the kind of a primitive type; `None` if it is not supported.
    pub(super) fn of(column: &Type) -> Option<Self> {
        let (info, physical) = (column.get_basic_info(), column.get_physical_type());
        let integer = |bits, signed| Some(Self::Integer { bits, signed });
        let timestamp = |unit, utc| Some(Self::Timestamp { unit, utc });
        match (physical, info.logical_type_ref()) {
            (_, Some(LogicalType::String | LogicalType::Enum)) => return Some(Self::Text),
            (_, Some(LogicalType::Json)) => return Some(Self::Json),
            (_, Some(LogicalType::Date)) => return Some(Self::Date),
            (_, Some(LogicalType::Integer(of))) => {
                return integer(of.bit_width.unsigned_abs(), of.is_signed);
            }
            (_, Some(LogicalType::Timestamp(of))) => {
                return timestamp(TimestampUnit::of(of.unit), of.is_adjusted_to_u_t_c);
            }
            (_, Some(_)) => return None,
            _ => {}
        }
        match (physical, info.converted_type()) {
            (PhysicalType::BOOLEAN, ConvertedType::NONE) => Some(Self::Boolean),
            (PhysicalType::INT32, ConvertedType::NONE | ConvertedType::INT_32) => integer(32, true),
            (PhysicalType::INT64, ConvertedType::NONE | ConvertedType::INT_64) => integer(64, true),
            (PhysicalType::FLOAT, ConvertedType::NONE) => Some(Self::Float),
            (PhysicalType::DOUBLE, ConvertedType::NONE) => Some(Self::Double),
            (PhysicalType::BYTE_ARRAY, ConvertedType::NONE) => Some(Self::Bytes),
            (_, ConvertedType::UTF8 | ConvertedType::ENUM) => Some(Self::Text),
            (_, ConvertedType::JSON) => Some(Self::Json),
            (_, ConvertedType::DATE) => Some(Self::Date),
            (_, ConvertedType::TIMESTAMP_MILLIS) => timestamp(TimestampUnit::Millis, true),
            (_, ConvertedType::TIMESTAMP_MICROS) => timestamp(TimestampUnit::Micros, true),
            (_, ConvertedType::INT_8) => integer(8, true),
            (_, ConvertedType::INT_16) => integer(16, true),
            (_, ConvertedType::UINT_8) => integer(8, false),
            (_, ConvertedType::UINT_16) => integer(16, false),
            (_, ConvertedType::UINT_32) => integer(32, false),
            (_, ConvertedType::UINT_64) => integer(64, false),
            _ => None,
        }
    }

    /// Adds `value`, which is not null; returns the bytes that it takes.
    ///
    /// # Errors
    /// It does not fit; nothing is added.
    pub(super) fn push(self, value: &Value, to: &mut Values) -> Result<usize, Misfit> {
        match (self, to) {
            (Self::Boolean, Values::Boolean(all)) => {
                all.push(value.as_bool().ok_or_else(|| Misfit::wrong_type("a boolean", value))?);
                Ok(1)
            }
            (Self::Integer { bits, signed }, to) => push_integer(bits, signed, value, to),
            (Self::Float, Values::Float(all)) => {
                // A number with more digits is rounded, one that is too large is refused.
                #[allow(clippy::cast_possible_truncation)]
                let number = number(value)? as f32;
                if number.is_infinite() {
                    return Err(Misfit::new(MisfitReason::OutOfRange("a FLOAT")));
                }
                all.push(number);
                Ok(4)
            }
            (Self::Double, Values::Double(all)) => {
                all.push(number(value)?);
                Ok(8)
            }
            (Self::Text | Self::Bytes, to) => {
                let text = value.as_str().ok_or_else(|| Misfit::wrong_type("a string", value))?;
                Ok(to.push_bytes(text.as_bytes().to_vec()))
            }
            (Self::Json, to) => Ok(to.push_bytes(value.to_string().into_bytes())),
            (Self::Date, Values::Int32(all)) => {
                all.push(days(value)?);
                Ok(4)
            }
            (Self::Timestamp { unit, utc }, Values::Int64(all)) => {
                all.push(timestamp(unit, utc, value)?);
                Ok(8)
            }
            (kind, _) => unreachable!("{kind:?} has another physical type"),
        }
    }

    /// Returns milliseconds since 1970 as a value of this kind; `None` if it does not hold times, or not this one.
    pub(super) fn time_of(self, milliseconds: i64) -> Option<Value> {
        let factor = match self {
            Self::Timestamp { unit, .. } => unit.per_millisecond(),
            _ => 1,
        };
        milliseconds.checked_mul(factor).map(Value::from)
    }
}

fn number(value: &Value) -> Result<f64, Misfit> {
    value.as_f64().ok_or_else(|| Misfit::wrong_type("a number", value))
}

fn push_integer(bits: u8, signed: bool, value: &Value, to: &mut Values) -> Result<usize, Misfit> {
    let Value::Number(number) = value else {
        return Err(Misfit::wrong_type("an integer", value));
    };
    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    let Some(whole) = whole else { return Err(Misfit::wrong_type("an integer", value)) };
    let (least, most) = match signed {
        true => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        false => (0, (1_i128 << bits) - 1),
    };
    if !(least..=most).contains(&whole) {
        let reason = match (bits, signed) {
            (8, true) => "an integer of 8 bits",
            (16, true) => "an integer of 16 bits",
            (32, true) => "an integer of 32 bits",
            (_, true) => "an integer of 64 bits",
            (8, false) => "an integer of 8 bits without a sign",
            (16, false) => "an integer of 16 bits without a sign",
            (32, false) => "an integer of 32 bits without a sign",
            (_, false) => "an integer of 64 bits without a sign",
        };
        return Err(Misfit::new(MisfitReason::OutOfRange(reason)));
    }
    // Parquet keeps numbers without a sign in the same bits.
    #[allow(clippy::cast_possible_truncation)]
    match to {
        Values::Int32(all) => {
            all.push(whole as i32);
            Ok(4)
        }
        Values::Int64(all) => {
            all.push(whole as i64);
            Ok(8)
        }
        _ => unreachable!("an integer is INT32 or INT64"),
    }
}

fn days(value: &Value) -> Result<i32, Misfit> {
    const DATE: &str = "a date such as \"2026-11-24\", or days since 1970-01-01";
    let out_of_range = || Misfit::new(MisfitReason::OutOfRange(DATE));
    match value {
        Value::String(text) => {
            let date: Date = text.parse().map_err(|_| out_of_range())?;
            let since = date.since(Date::constant(1970, 1, 1)).map_err(|_| out_of_range())?;
            Ok(since.get_days())
        }
        Value::Number(number) => {
            number.as_i64().and_then(|days| i32::try_from(days).ok()).ok_or_else(out_of_range)
        }
        _ => Err(Misfit::wrong_type(DATE, value)),
    }
}

fn timestamp(unit: TimestampUnit, utc: bool, value: &Value) -> Result<i64, Misfit> {
    const ZONED: &str =
        "a time such as \"2026-11-24T20:00:00Z\", or an integer in the unit of its column";
    const CIVIL: &str = "a time without a zone such as \"2026-11-24T20:00:00\", or an integer in the unit of its column";
    let expected = if utc { ZONED } else { CIVIL };
    let out_of_range = || Misfit::new(MisfitReason::OutOfRange(expected));
    match value {
        Value::String(text) => {
            let time: jiff::Timestamp = if utc {
                text.parse().map_err(|_| out_of_range())?
            } else {
                let civil: DateTime = text.parse().map_err(|_| out_of_range())?;
                civil.to_zoned(TimeZone::UTC).map_err(|_| out_of_range())?.timestamp()
            };
            let number = match unit {
                TimestampUnit::Millis => i128::from(time.as_millisecond()),
                TimestampUnit::Micros => i128::from(time.as_microsecond()),
                TimestampUnit::Nanos => time.as_nanosecond(),
            };
            i64::try_from(number).map_err(|_| out_of_range())
        }
        Value::Number(number) => number.as_i64().ok_or_else(out_of_range),
        _ => Err(Misfit::wrong_type(expected, value)),
    }
}
