//! `search_replace`: replaces the matches of a pattern in the body.

use super::settings::{ON_FAILURE, became, on_failure, required_pattern, say};
use super::{EventFate, Interceptor, InterceptorType};
use crate::failure_log::FailureLog;
use crate::pattern::{Pattern, Replacement};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use crate::wire::charset::Charset;
use millpond::{Clock, Event};
use std::borrow::Cow;

/// The type `search_replace`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["search_replace", "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "searchPattern",
        kind: KeyKind::Text,
        default: "",
        meaning: "Java pattern of what is replaced, every time it is found.",
    },
    Key {
        name: "replaceString",
        kind: KeyKind::Text,
        default: "",
        meaning: r"What takes its place, in Java's notation: $1 for a group, \$ for the sign.",
    },
    Key {
        name: "charset",
        kind: KeyKind::Word,
        default: "UTF-8",
        meaning: "Encoding of the body. A body without a match keeps its bytes; Flume decodes and encodes it.",
    },
    ON_FAILURE,
];

struct SearchReplace {
    pattern: Pattern,
    replacement: Replacement,
    charset: Charset,
    on_failure: EventFate,
    gives_up: FailureLog,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<SearchReplace, SettingError> {
    let pattern = required_pattern(reader, "searchPattern")?;
    let replacement = Replacement::new(reader.text("replaceString").unwrap_or_default(), &pattern)
        .map_err(|error| reader.error("replaceString", error.to_string()))?;
    let name = reader.text("charset").unwrap_or("UTF-8");
    let unknown = || format!("\"{name}\" is not {}", Charset::LEGAL);
    let charset = Charset::named(name).ok_or_else(|| reader.error("charset", unknown()))?;
    let on_failure = on_failure(reader)?;
    Ok(SearchReplace { pattern, replacement, charset, on_failure, gives_up: FailureLog::default() })
}

impl Interceptor for SearchReplace {
    fn is_heavy(&self) -> bool {
        true
    }

    fn intercept(&self, event: &mut Event, clock: &dyn Clock) -> EventFate {
        let text = self.charset.decode(&event.body);
        match self.replacement.all(&text, &self.pattern) {
            Ok(Cow::Owned(new)) => event.body = self.charset.encode(&new).into(),
            Ok(Cow::Borrowed(_)) => {}
            Err(error) => {
                let became = became(self.on_failure);
                let cause = format!("an event {became} without search_replace: {error}");
                say(&self.gives_up, clock, self.pattern.as_str(), &cause);
                return self.on_failure;
            }
        }
        EventFate::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use millpond::SystemClock;

    fn built(pairs: &[(&str, &str)]) -> Result<Box<dyn Interceptor>, SettingError> {
        let settings = Settings::from_pairs("i1", pairs);
        (TYPE.build)(&mut SettingsReader::new(&settings))
    }

    fn after(pairs: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut event = Event::new(body.to_vec());
        built(pairs).unwrap().intercept(&mut event, &SystemClock::new());
        event.body.to_vec()
    }

    #[test]
    fn every_match_is_replaced_in_javas_notation() {
        let swap = [("searchPattern", r"(\w)=(\d+)"), ("replaceString", "$2=$1")];
        assert_eq!(after(&swap, b"a=1 b=22"), b"1=a 22=b");
        assert_eq!(after(&[("searchPattern", r"\s+")], b"a b\tc"), b"abc");
        let signs = [("searchPattern", "a"), ("replaceString", r"\$")];
        assert_eq!(after(&signs, b"banana"), b"b$n$n$");
    }

    #[test]
    fn a_body_that_is_not_text_is_unchanged_unless_a_match_is_found() {
        let digits = [("searchPattern", r"\d"), ("replaceString", "#")];
        assert_eq!(after(&digits, b"\xff\xfe"), b"\xff\xfe");
        assert_eq!(after(&digits, b"\xff1"), "\u{FFFD}#".as_bytes());
        let latin =
            [("searchPattern", "\u{e9}"), ("replaceString", "e"), ("charset", "ISO-8859-1")];
        assert_eq!(after(&latin, b"caf\xe9\xff"), b"cafe\xff");
    }

    #[test]
    fn on_failure_says_what_becomes_of_a_body_that_cannot_be_matched() {
        let looks_around = [("searchPattern", "(?=1)1"), ("replaceString", "#")];
        let verdict = |more: &[(&str, &str)]| {
            let mut event = Event::new("1".repeat(20_000));
            let interceptor = built(&[&looks_around, more].concat()).unwrap();
            interceptor.intercept(&mut event, &SystemClock::new())
        };
        assert_eq!(verdict(&[]), EventFate::Keep);
        assert_eq!(verdict(&[("onFailure", "pass")]), EventFate::Keep);
        assert_eq!(verdict(&[("onFailure", "drop")]), EventFate::DropUnmatched);
        let wrong = [&looks_around[..], &[("onFailure", "keep")]].concat();
        assert!(built(&wrong).err().unwrap().to_string().contains("onFailure"));
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let word = |pairs: &[(&str, &str)]| built(pairs).err().unwrap().to_string();
        assert!(word(&[]).contains("searchPattern"));
        assert!(word(&[("searchPattern", "(a"), ("replaceString", "x")]).contains("without its )"));
        assert!(word(&[("searchPattern", "a"), ("replaceString", "$1")]).contains("replaceString"));
        assert!(word(&[("searchPattern", "a"), ("charset", "x")]).contains("charset"));
    }
}
