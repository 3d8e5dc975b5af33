//! `\p{…}`: the class members of a named property.

/// Returns the class members of a property; `None` if the name is not supported.
pub(super) fn members(name: &str, folds: bool) -> Option<String> {
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "gc" | "general_category" => category(value, folds),
            "sc" | "script" => script(value),
            _ => None,
        };
    }
    if let Some(fixed) = ascii(name, folds).or_else(|| java(name)) {
        return Some(fixed.to_owned());
    }
    match name.strip_prefix("Is") {
        Some(rest) => binary(rest)
            .map(str::to_owned)
            .or_else(|| category(rest, folds))
            .or_else(|| script(rest)),
        None => category(name, folds),
    }
}

/// POSIX names, which cover ASCII only in Java. Ignoring case joins upper and lower case.
fn ascii(name: &str, folds: bool) -> Option<&'static str> {
    Some(match name {
        "Lower" | "Upper" if folds => "A-Za-z",
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "A-Za-z0-9",
        "Punct" => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E",
        "Graph" => r"\x21-\x7E",
        "Print" => r"\x20-\x7E",
        "Blank" => r"\x09\x20",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9A-Fa-f",
        "Space" => r"\x09-\x0D\x20",
        "L1" => r"\x{00}-\x{FF}",
        "all" => r"\x{00}-\x{10FFFF}",
        "LC" => r"\p{Lu}\p{Ll}\p{Lt}",
        "LD" => r"\p{L}\p{Nd}",
        _ => return None,
    })
}

/// Methods of `java.lang.Character`.
fn java(name: &str) -> Option<&'static str> {
    Some(match name {
        "javaLowerCase" => r"\p{Lowercase}",
        "javaUpperCase" => r"\p{Uppercase}",
        "javaAlphabetic" => r"\p{Alphabetic}",
        "javaIdeographic" => r"\p{Ideographic}",
        "javaTitleCase" => r"\p{Lt}",
        "javaDigit" => r"\p{Nd}",
        "javaLetter" => r"\p{L}",
        "javaLetterOrDigit" => r"\p{L}\p{Nd}",
        "javaSpaceChar" => r"\p{Z}",
        "javaISOControl" => r"\x{00}-\x{1F}\x{7F}-\x{9F}",
        "javaWhitespace" => {
            r"\x09-\x0D\x1C-\x20\x{1680}\x{2000}-\x{2006}\x{2008}-\x{200A}\x{2028}\x{2029}\x{205F}\x{3000}"
        }
        _ => return None,
    })
}

/// Binary properties, after `Is`; Java ignores their case.
fn binary(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_uppercase().as_str() {
        "ALPHABETIC" => r"\p{Alphabetic}",
        "LETTER" => r"\p{L}",
        "IDEOGRAPHIC" => r"\p{Ideographic}",
        "LOWERCASE" => r"\p{Lowercase}",
        "UPPERCASE" => r"\p{Uppercase}",
        "TITLECASE" => r"\p{Lt}",
        "WHITE_SPACE" | "WHITESPACE" => r"\p{White_Space}",
        "CONTROL" => r"\p{Cc}",
        "PUNCTUATION" => r"\p{P}",
        "HEX_DIGIT" | "HEXDIGIT" => r"\p{Hex_Digit}",
        "DIGIT" => r"\p{Nd}",
        "ASSIGNED" => r"\P{Cn}",
        "NONCHARACTER_CODE_POINT" | "NONCHARACTERCODEPOINT" => r"\p{Noncharacter_Code_Point}",
        "JOIN_CONTROL" | "JOINCONTROL" => r"\p{Join_Control}",
        _ => return None,
    })
}

/// General categories. Ignoring case joins upper, lower and title case.
fn category(name: &str, folds: bool) -> Option<String> {
    if folds && matches!(name, "Lu" | "Ll" | "Lt") {
        return Some(r"\p{Lu}\p{Ll}\p{Lt}".to_owned());
    }
    const KNOWN: [&str; 36] = [
        "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
        "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp",
        "C", "Cc", "Cf", "Co", "Cn",
    ];
    KNOWN.contains(&name).then(|| format!(r"\p{{{name}}}"))
}

/// Scripts by name; an unknown one is detected when the pattern is built.
fn script(name: &str) -> Option<String> {
    let legal = name.len() > 2 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    legal.then(|| format!(r"\p{{Script={name}}}"))
}
