//! Numbers as Java writes them: scripts read them as text.

/// `Double.toString`: `0.0`, `33.33333333333333`, `1.0E-4`, `1.7976931348623157E308`.
pub(super) fn double(n: f64) -> String {
    let magnitude = n.abs();
    if n.is_nan() {
        "NaN".to_owned()
    } else if n.is_infinite() {
        if n > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        // Shortest digits that read back as the same number, at least one after the point.
        format!("{n:?}")
    } else {
        let text = format!("{n:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::double;

    #[test]
    fn doubles_are_written_as_java_does() {
        for (n, text) in [
            (0.0, "0.0"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (1e-4, "1.0E-4"),
            (2.5e-5, "2.5E-5"),
            (10.0 / 300.0 * 100.0, "3.3333333333333335"),
            (33.33333333333333, "33.33333333333333"),
            (0.006999999999999999, "0.006999999999999999"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(n), text);
        }
    }
}
