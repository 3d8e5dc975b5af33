//! Names of topics.

/// Most bytes of a topic's name.
const NAME_BYTES_MAX: usize = 249;

/// Returns what is wrong with the name of a topic, as the broker would.
pub(crate) fn fault(name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let shown: String = name.chars().take(60).collect();
    match name {
        "" => Some("its topic has no name".to_owned()),
        "." | ".." => Some(format!("\"{name}\" is not a name of a topic")),
        _ if name.len() > NAME_BYTES_MAX => {
            Some(format!("its topic \"{shown}…\" has more than {NAME_BYTES_MAX} characters"))
        }
        _ if !name.chars().all(legal) => Some(format!(
            "its topic \"{}\" has other characters than letters, digits, \".\", \"_\" and \"-\"",
            shown.escape_debug()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_broker_takes_are_known() {
        for name in ["", ".", "..", "a b", "a/b", "日志", &"x".repeat(250)] {
            assert!(fault(name).is_some(), "{name}");
        }
        for name in ["a", "a.b_c-D9", &"x".repeat(249)] {
            assert_eq!(fault(name), None, "{name}");
        }
    }
}
