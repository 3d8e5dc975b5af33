//! Java's JAAS lines and files, as far as Kafka's clients use them.
//!
//! A line is `MODULE FLAG NAME=VALUE NAME="VALUE";`, a file has such lines in named sections, `KafkaClient { … };`.
//! Limit: [`OPTIONS_MAX`] options of a line.
//!
//! Invariant: no error shows a value, which may be a password.

use std::collections::BTreeMap;

/// Most options of one login module.
const OPTIONS_MAX: usize = 100;
/// Name of the section of Kafka's clients in a JAAS file.
const SECTION: &str = "KafkaClient";

/// One login module with its options.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LoginModule {
    /// The last part of the class name, `PlainLoginModule`.
    pub(super) class: String,
    pub(super) options: BTreeMap<String, String>,
}

/// Does not show the options.
impl std::fmt::Debug for LoginModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginModule").field("class", &self.class).finish_non_exhaustive()
    }
}

/// Why a JAAS text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JaasError {
    #[error("it ends within {0}")]
    Short(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("it has more than {OPTIONS_MAX} options")]
    TooMany,
    #[error("it has no section {SECTION}")]
    NoSection,
}

/// Reads the value of `sasl.jaas.config`.
pub(super) fn line(text: &str) -> Result<LoginModule, JaasError> {
    module(&mut Tokens(text))
}

/// Reads the section of Kafka's clients of a JAAS file.
pub(super) fn file(text: &str) -> Result<LoginModule, JaasError> {
    let mut tokens = Tokens(text);
    loop {
        let name = tokens.next()?.ok_or(JaasError::NoSection)?;
        if tokens.next()?.as_deref() != Some("{") {
            return Err(JaasError::Missing("{ after the name of a section"));
        }
        if name == SECTION {
            return module(&mut tokens);
        }
        while tokens.next()?.ok_or(JaasError::Short("a section"))? != "}" {}
        // The semicolon after a section.
        if tokens.0.trim_start().starts_with(';') {
            let _ = tokens.next()?;
        }
    }
}

fn module(tokens: &mut Tokens<'_>) -> Result<LoginModule, JaasError> {
    let class = tokens.next()?.ok_or(JaasError::Missing("the class of a login module"))?;
    let class = class.rsplit('.').next().unwrap_or_default().to_owned();
    tokens.next()?.ok_or(JaasError::Missing("the flag required"))?;
    let mut options = BTreeMap::new();
    loop {
        let name = match tokens.next()? {
            None => return Err(JaasError::Missing("the semicolon at the end")),
            Some(end) if end == ";" => return Ok(LoginModule { class, options }),
            Some(name) => name,
        };
        if tokens.next()?.as_deref() != Some("=") {
            return Err(JaasError::Missing("= after the name of an option"));
        }
        let value = tokens.next()?.ok_or(JaasError::Short("an option"))?;
        options.insert(name, value);
        if options.len() > OPTIONS_MAX {
            return Err(JaasError::TooMany);
        }
    }
}

/// The words, quoted texts and marks of a text.
struct Tokens<'a>(&'a str);

impl Tokens<'_> {
    fn next(&mut self) -> Result<Option<String>, JaasError> {
        self.skip_blanks()?;
        let Some(first) = self.0.chars().next() else { return Ok(None) };
        match first {
            '=' | ';' | '{' | '}' => {
                self.0 = &self.0[1..];
                Ok(Some(first.to_string()))
            }
            '"' | '\'' => self.quoted(first).map(Some),
            _ => {
                let is_end = |c: char| c.is_whitespace() || "=;{}\"'".contains(c);
                let end = self.0.find(is_end).unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                Ok(Some(word.to_owned()))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, JaasError> {
        let mut text = String::new();
        let mut chars = self.0.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.push(chars.next().ok_or(JaasError::Short("a quoted text"))?.1),
                c if c == quote => {
                    self.0 = &self.0[at + c.len_utf8()..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(JaasError::Short("a quoted text"))
    }

    fn skip_blanks(&mut self) -> Result<(), JaasError> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.starts_with("//") || self.0.starts_with('#') {
                self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                self.0 = comment.split_once("*/").ok_or(JaasError::Short("a comment"))?.1;
            } else {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_module_and_options() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                    username=\"pond\" password=\"a\\\"b;=\";";
        let read = line(text).unwrap();
        assert_eq!(read.class, "PlainLoginModule");
        assert_eq!(read.options["username"], "pond");
        assert_eq!(read.options["password"], "a\"b;=");
        assert!(!format!("{read:?}").contains("pond"));
    }

    #[test]
    fn a_file_has_a_section_of_kafkas_clients_between_others() {
        let text = "// Others\nServer {\n  x.Y required a=b;\n};\n/* ours */\nKafkaClient {\n  \
                    com.sun.security.auth.module.Krb5LoginModule required\n  useKeyTab=true keyTab='/k.keytab'\n  \
                    principal=\"flume@A\";\n};\n";
        let read = file(text).unwrap();
        assert_eq!(read.class, "Krb5LoginModule");
        assert_eq!(read.options["keyTab"], "/k.keytab");
        assert_eq!(file("Server { x.Y required; };"), Err(JaasError::NoSection));
    }

    #[test]
    fn a_text_that_is_cut_off_is_refused_wherever_it_ends() {
        let text = "a.B required username=\"u\" password=\"p\";";
        for end in 0..text.len() {
            assert!(line(&text[..end]).is_err(), "{end}");
        }
        let file_text = format!("X {{ a.B required; }}; KafkaClient {{ {text} }};");
        for end in 0..file_text.len() - " };".len() {
            assert!(file(&file_text[..end]).is_err(), "{end}");
        }
        let many: String = (0..=OPTIONS_MAX).map(|n| format!(" o{n}=1")).collect();
        assert_eq!(line(&format!("a.B required{many};")), Err(JaasError::TooMany));
    }
}
