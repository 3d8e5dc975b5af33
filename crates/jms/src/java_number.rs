//! Numbers as Java prints them.

/// Returns a `double` as `Double.toString` prints it.
pub(crate) fn double(value: f64) -> String {
    java(&format!("{value:e}"))
}

/// Returns a `float` as `Float.toString` prints it.
pub(crate) fn float(value: f32) -> String {
    java(&format!("{value:e}"))
}

/// Returns the number that Rust prints as `shortest`, with the fewest digits, `1.25e-3`; Java has a plain form from
/// 0.001 up to 10,000,000.
fn java(shortest: &str) -> String {
    let (sign, shortest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest),
    };
    match shortest {
        "NaN" => return "NaN".to_owned(),
        "inf" => return format!("{sign}Infinity"),
        _ => {}
    }
    let (digits, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = digits.chars().filter(|c| *c != '.').collect();
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        return format!("{sign}{first}.{}E{exponent}", if rest.is_empty() { "0" } else { rest });
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    let padded = format!("{digits:0<whole$}");
    let (whole, rest) = padded.split_at(whole);
    format!("{sign}{whole}.{}", if rest.is_empty() { "0" } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_floats_are_printed_as_in_java() {
        for (value, text) in [
            (1.5, "1.5"),
            (3.0, "3.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (-1_234_567.0, "-1234567.0"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (100.25, "100.25"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
        assert_eq!((float(0.1), float(16_777_216.0)), ("0.1".to_owned(), "1.6777216E7".to_owned()));
    }
}
