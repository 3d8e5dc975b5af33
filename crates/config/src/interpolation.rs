//! `${…}` in values, as Flume 1.11 replaces it.
//!
//! `${env:NAME}` is an environment variable, `${sys:NAME}` a `-D` option, `${date:FORMAT}` the time of reading,
//! and `${KEY}` the value of another key of the same configuration. `${NAME:-TEXT}` has a default, `$${…}` is
//! literal text, and names and values may contain references. Unknown references stay unchanged, so that `${…}`
//! in a shell command works.
//!
//! Flume resolves references to other keys only if its hash table is visited in a suitable order; here they are
//! always resolved.

use jiff::Zoned;
use millpond_flow::base::limits::VALUE_BYTES_MAX;
use millpond_flow::date::write::{DateFormatError, formatted};
use millpond_flow::settings::ConfigSetting;
use std::collections::BTreeMap;

/// Deepest nesting of references; hand-written configurations have two.
const DEPTH_MAX: usize = 32;

/// Most references that one value may need in all. References to keys that contain references multiply at every
/// level, and each one searches the rest of its text.
const REFERENCES_MAX: usize = 1_000;

/// Sources of values for references.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// `-D` options.
    pub system: &'a BTreeMap<String, String>,
    /// Environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The time, for `${date:…}`.
    pub now: &'a Zoned,
    /// The configuration's own keys.
    pub keys: &'a BTreeMap<String, ConfigSetting>,
    /// True if `${NAME}` is also an environment variable: Flume's
    /// `-DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties`.
    pub environment_by_name: bool,
}

/// A value after replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The text.
    pub text: String,
    /// References that were not found and stay unchanged, without `${` and `}`.
    pub unresolved: Vec<String>,
    /// References of a kind that needs a Java process.
    pub unsupported: Vec<String>,
}

/// A value whose references cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterpolateError {
    /// A reference to itself.
    #[error("${{{0}}} refers to itself")]
    Cycle(String),
    /// References are nested too deeply.
    #[error("references are nested more than {DEPTH_MAX} deep")]
    Deep,
    /// A `${date:…}` whose format cannot be used.
    #[error("${{date:{format}}}: {source}")]
    Date {
        /// The format.
        format: String,
        /// The error.
        source: DateFormatError,
    },
    /// There are too many references, or the resulting text is too long.
    #[error(
        "its references make more than {VALUE_BYTES_MAX} bytes or need more than {REFERENCES_MAX} look-ups"
    )]
    Long,
}

impl Lookups<'_> {
    /// Returns `text` with its references replaced.
    ///
    /// # Errors
    /// The references are circular or too many, or a date format is invalid.
    pub fn resolve(&self, text: &str) -> Result<Resolved, InterpolateError> {
        if !text.contains("${") {
            return Ok(Resolved { text: text.to_owned(), ..Resolved::default() });
        }
        if text.len() > VALUE_BYTES_MAX {
            return Err(InterpolateError::Long);
        }
        let mut run = Interpolation {
            lookups: self,
            resolved: Resolved::default(),
            path: Vec::new(),
            left: REFERENCES_MAX,
        };
        let text = run.substitute(text, 0)?;
        Ok(Resolved { text, ..run.resolved })
    }

    fn find(
        &self,
        name: &str,
        unsupported: &mut Vec<String>,
    ) -> Result<Option<String>, InterpolateError> {
        let Some((prefix, rest)) = name.split_once(':') else { return Ok(self.find_key(name)) };
        let found = match prefix.to_lowercase().as_str() {
            "sys" => self.system.get(rest).cloned().or_else(|| self.java_property(rest)),
            "env" => (self.environment)(rest),
            "date" => Some(
                formatted(rest, self.now)
                    .map_err(|source| InterpolateError::Date { format: rest.to_owned(), source })?,
            ),
            "java" => {
                unsupported.push(name.to_owned());
                None
            }
            _ => None,
        };
        Ok(found.or_else(|| self.find_key(rest)))
    }

    fn find_key(&self, name: &str) -> Option<String> {
        let key = self.keys.get(name).map(|setting| setting.value.clone());
        key.or_else(|| self.environment_by_name.then(|| (self.environment)(name)).flatten())
    }

    /// Returns a property that every Java process has and configurations use.
    fn java_property(&self, name: &str) -> Option<String> {
        match name {
            "user.home" => (self.environment)("HOME"),
            "user.name" => (self.environment)("USER"),
            "user.dir" => (self.environment)("PWD"),
            "java.io.tmpdir" => Some("/tmp".to_owned()),
            "file.separator" => Some("/".to_owned()),
            "path.separator" => Some(":".to_owned()),
            _ => None,
        }
    }
}

struct Interpolation<'a> {
    lookups: &'a Lookups<'a>,
    resolved: Resolved,
    /// The references that led to the current text.
    path: Vec<String>,
    left: usize,
}

impl Interpolation<'_> {
    fn substitute(&mut self, text: &str, depth: usize) -> Result<String, InterpolateError> {
        if depth > DEPTH_MAX {
            return Err(InterpolateError::Deep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((from, to)) = reference(rest) {
            out.push_str(&rest[..from]);
            self.left = self.left.checked_sub(1).ok_or(InterpolateError::Long)?;
            if out.ends_with('$') {
                // `$${` is a literal `${`; the rest is processed normally.
                out.pop();
                out.push_str("${");
                rest = &rest[from + 2..];
                continue;
            }
            let expression = &rest[from + 2..to];
            match self.value_of(expression, depth)? {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[from..=to]),
            }
            if out.len() > VALUE_BYTES_MAX {
                return Err(InterpolateError::Long);
            }
            rest = &rest[to + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value_of(
        &mut self,
        expression: &str,
        depth: usize,
    ) -> Result<Option<String>, InterpolateError> {
        let path = std::mem::take(&mut self.path);
        let expression = self.substitute(expression, depth + 1)?;
        self.path = path;
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (expression.as_str(), None),
        };
        if self.path.iter().any(|before| before == name) {
            return Err(InterpolateError::Cycle(name.to_owned()));
        }
        let found = self.lookups.find(name, &mut self.resolved.unsupported)?;
        let Some(value) = found.or(default) else {
            self.resolved.unresolved.push(name.to_owned());
            return Ok(None);
        };
        self.path.push(name.to_owned());
        let value = self.substitute(&value, depth + 1)?;
        self.path.pop();
        Ok(Some(value))
    }
}

/// Returns the positions of the first complete `${…}` of `text` and of its `}`.
fn reference(text: &str) -> Option<(usize, usize)> {
    let from = text.find("${")?;
    let bytes = text.as_bytes();
    let (mut at, mut open) = (from + 2, 0_usize);
    while at < bytes.len() {
        if bytes[at] == b'}' {
            if open == 0 {
                return Some((from, at));
            }
            open -= 1;
        } else if bytes[at..].starts_with(b"${") {
            open += 1;
            at += 1;
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::SettingPlace;

    fn resolve(text: &str, keys: &[(&str, &str)]) -> Result<Resolved, InterpolateError> {
        let pairs = [("env", "PROD"), ("format", "yyyy")];
        let system = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let environment = |name: &str| match name {
            "NC_PORT" => Some("44444".to_owned()),
            "PROD_BIND" => Some("0.0.0.0".to_owned()),
            "INDIRECT" => Some("<${env:NC_PORT}>".to_owned()),
            "HOME" => Some("/root".to_owned()),
            _ => None,
        };
        let setting =
            |value: &str| ConfigSetting { value: value.to_owned(), place: SettingPlace::nowhere() };
        let keys = keys.iter().map(|(k, v)| ((*k).to_owned(), setting(v))).collect();
        let now = "2026-02-03T04:05:06Z[UTC]".parse().expect("a time");
        let lookups = Lookups {
            system: &system,
            environment: &environment,
            now: &now,
            keys: &keys,
            environment_by_name: false,
        };
        lookups.resolve(text)
    }

    fn check(text: &str, expected: &str) {
        let keys = [("a.b", "B"), ("a.c", "${a.b}${a.b}"), ("dollar", "$")];
        assert_eq!(resolve(text, &keys).expect("it ends").text, expected, "{text}");
    }

    #[test]
    fn references_are_replaced_as_flume_replaces_them() {
        check("${env:NC_PORT}", "44444");
        check("x${ENV:NC_PORT}y${sys:env}z", "x44444yPRODz");
        check("${env:${sys:env}_BIND}", "0.0.0.0");
        check("${env:INDIRECT}", "<44444>");
        check("a/${date:yyyy-MM-dd}/${DATE:HH:mm}", "a/2026-02-03/04:05");
        check("${date:${sys:format}}", "2026");
        check("${date:yyyy:-x}", "2026");
        check("${env:NOPE:-4141}", "4141");
        check("${env:NOPE:-${env:NC_PORT}}", "44444");
        check("${env:NOPE}", "${env:NOPE}");
        check("${nope} ${a.b}", "${nope} B");
        check("${a.c}", "BB");
        check("${env:a.b}", "B");
        check("${sys:user.home}/x", "/root/x");
        check("$${a.b}", "${a.b}");
        check("$$${a.b}", "$${a.b}");
        check("$${${a.b}}", "${B}");
        check("${a.b", "${a.b");
        check("${", "${");
        check("${}", "${}");
        check("}${a.b}{", "}B{");
        check("tail -F ${LOG} | awk '{print $1}'", "tail -F ${LOG} | awk '{print $1}'");
        check("${file[key]}", "${file[key]}");
        check("中${a.b}文", "中B文");
    }

    #[test]
    fn what_was_not_found_is_named() {
        let resolved = resolve("${env:NOPE} ${java:vm} ${x:-y}", &[]).expect("it ends");
        assert_eq!(resolved.text, "${env:NOPE} ${java:vm} y");
        assert_eq!(resolved.unresolved, ["env:NOPE", "java:vm"]);
        assert_eq!(resolved.unsupported, ["java:vm"]);
        let error = resolve("${date:bbb}", &[]).expect_err("no part of a date");
        assert!(error.to_string().contains("${date:bbb}: 'b'"), "{error}");
    }

    #[test]
    fn references_without_end_are_refused() {
        let circle = [("a", "${b}"), ("b", "x${a}")];
        assert_eq!(resolve("${a}", &circle), Err(InterpolateError::Cycle("a".to_owned())));
        let own = resolve("${a}", &[("a", "${a}")]);
        assert_eq!(own, Err(InterpolateError::Cycle("a".to_owned())));
        let deep = format!("{}{}", "${".repeat(5000), "}".repeat(5000));
        assert_eq!(resolve(&deep, &[]), Err(InterpolateError::Deep));
        let names: Vec<_> =
            (0..30).map(|n| (format!("k{n}"), format!("${{k{0}}}${{k{0}}}", n + 1))).collect();
        let mut keys: Vec<_> = names.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        keys.push(("k30", ""));
        assert_eq!(resolve("${k0}", &keys), Err(InterpolateError::Long));
        let long = "x".repeat(VALUE_BYTES_MAX);
        assert_eq!(resolve("${k}${k}", &[("k", &long)]), Err(InterpolateError::Long));
    }

    #[test]
    fn a_bare_name_is_an_environment_variable_only_if_configured() {
        let (system, keys) = (BTreeMap::new(), BTreeMap::new());
        let environment = |name: &str| (name == "PORT").then(|| "1".to_owned());
        let now = Zoned::now();
        let mut lookups = Lookups {
            system: &system,
            environment: &environment,
            now: &now,
            keys: &keys,
            environment_by_name: false,
        };
        assert_eq!(lookups.resolve("${PORT}").expect("it ends").text, "${PORT}");
        lookups.environment_by_name = true;
        assert_eq!(lookups.resolve("${PORT}").expect("it ends").text, "1");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}:a-]{0,60}") {
            let _ = resolve(&text, &[("a", "${aa:-${a}}"), ("aa", "$")]);
        }
    }
}
