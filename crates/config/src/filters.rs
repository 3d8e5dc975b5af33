//! Flume's config filters: `${FILTER[KEY]}` in the values of components.
//!
//! The filters `env` and `external` are implemented. The one that reads a Hadoop key store is not, and a
//! configuration that lists it does not run.

use super::component_kinds;
use super::findings::ConfigFindings;
use super::load_context::LoadContext;
use super::sections::Sections;
use encoding_rs::Encoding;
use millpond_flow::settings::{Settings, split_comment};
use std::collections::BTreeMap;

const SECTION: &str = "configfilters";
const ENV: [&str; 2] = ["env", "org.apache.flume.configfilter.EnvironmentVariableConfigFilter"];
const EXTERNAL: [&str; 2] =
    ["external", "org.apache.flume.configfilter.ExternalProcessConfigFilter"];
const KNOWN: [&str; 2] =
    ["hadoop", "org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter"];

/// A configured filter.
enum ConfigFilter {
    Environment,
    Program { command: String, charset: &'static Encoding },
}

impl ConfigFilter {
    /// Returns the value of `key`, or why there is none.
    fn value(&self, key: &str, origin: &LoadContext<'_>) -> Result<String, String> {
        match self {
            Self::Environment => (origin.environment)(key)
                .ok_or_else(|| "no such environment variable is set".to_owned()),
            Self::Program { command, charset } => {
                let answer = (origin.program)(command, key)?;
                Ok(charset.decode(&answer).0.into_owned())
            }
        }
    }
}

/// Replaces the references of every listed filter.
pub(super) fn apply(
    origin: &LoadContext<'_>,
    sections: &mut Sections,
    findings: &mut ConfigFindings,
) {
    let filters = listed(origin.agent, sections, findings);
    // A program is run once for each key.
    let mut answers: BTreeMap<(usize, String), Result<String, String>> = BTreeMap::new();
    let of_parts = sections.components.iter_mut().filter(|((section, _), _)| *section != SECTION);
    let of_parts = of_parts.map(|(_, settings)| settings);
    for settings in of_parts.chain(std::iter::once(&mut sections.alarms)) {
        let prefix = settings.prefix.clone();
        for (key, setting) in &mut settings.entries {
            for (at, (name, filter)) in filters.iter().enumerate() {
                let mut ask = |key: &str| {
                    let answer = answers.entry((at, key.to_owned()));
                    answer.or_insert_with(|| filter.value(key, origin)).clone()
                };
                let (text, missing) = replaced(&setting.value, name, &mut ask);
                setting.value = text;
                for (reference, why) in missing {
                    let (place, key) = (&setting.place, format!("{prefix}.{key}"));
                    let message =
                        format!("${{{name}[{reference}]}} is left unchanged, as in Flume: {why}");
                    match filter {
                        ConfigFilter::Environment => findings.warn(place, &key, message),
                        // A program may fail temporarily; a reload must not break the running agent because of
                        // that.
                        ConfigFilter::Program { .. } => {
                            findings.leave_out_for_now(place, &key, message);
                        }
                    }
                }
            }
        }
    }
}

/// Returns the listed filters that are supported, by name.
fn listed(
    agent: &str,
    sections: &Sections,
    findings: &mut ConfigFindings,
) -> Vec<(String, ConfigFilter)> {
    let Some(list) = sections.lists.get(SECTION) else { return Vec::new() };
    let mut usable = Vec::new();
    for name in component_kinds::name_list(
        &format!("{agent}.{SECTION}"),
        list,
        &mut ConfigFindings::default(),
    ) {
        let whole = format!("{agent}.{SECTION}.{name}.type");
        let settings = sections.components.get(&(SECTION, name.clone()));
        let Some((settings, kind)) = settings.and_then(|s| Some((s, s.entries.get("type")?)))
        else {
            let message = "is not set, so the filter is left out, as in Flume";
            findings.leave_out(&list.place, &whole, message);
            continue;
        };
        let text = split_comment(&kind.value).map_or(kind.value.as_str(), |(before, _)| before);
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(text));
        if is(&ENV) {
            usable.push((name, ConfigFilter::Environment));
        } else if is(&EXTERNAL) {
            usable.extend(program(settings, findings).map(|filter| (name, filter)));
        } else if is(&KNOWN) || text.contains('.') {
            let message = format!(
                "the config filter {text} is not available; use the filter env or external, or ${{env:NAME}} in the values"
            );
            findings.stop(&kind.place, &whole, message);
        } else {
            let message = format!("unknown config filter \"{text}\"; left out, as in Flume");
            findings.leave_out(&kind.place, &whole, message);
        }
    }
    usable
}

/// Reads a filter that runs a program; without a command, or with an unknown encoding, it is left out, as in
/// Flume.
fn program(settings: &Settings, findings: &mut ConfigFindings) -> Option<ConfigFilter> {
    let whole = |key: &str| format!("{}.{key}", settings.prefix);
    let Some(command) = settings.entries.get("command") else {
        let message = "is not set, so the filter is left out, as in Flume";
        findings.leave_out(&component_kinds::first_place(settings), &whole("command"), message);
        return None;
    };
    let charset = match settings.entries.get("charset") {
        None => encoding_rs::UTF_8,
        Some(setting) => match Encoding::for_label(setting.value.as_bytes()) {
            Some(charset) => charset,
            None => {
                let message =
                    format!("\"{}\" is not an encoding; the filter is left out", setting.value);
                findings.leave_out(&setting.place, &whole("charset"), message);
                return None;
            }
        },
    };
    Some(ConfigFilter::Program { command: command.value.clone(), charset })
}

/// Returns `text` with the filter's references replaced, and the keys without a value, each with the reason.
fn replaced(
    text: &str,
    filter: &str,
    ask: &mut dyn FnMut(&str) -> Result<String, String>,
) -> (String, Vec<(String, String)>) {
    let opening = format!("${{{filter}[");
    let (mut out, mut missing) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(&opening) {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let inner = &reference[opening.len()..];
        let Some((key, length)) = key_of(inner) else {
            out.push_str(&opening);
            rest = inner;
            continue;
        };
        let whole = opening.len() + length;
        match ask(key) {
            Ok(value) => out.push_str(&value),
            Err(why) => {
                missing.push((key.to_owned(), why));
                out.push_str(&reference[..whole]);
            }
        }
        rest = &reference[whole..];
    }
    out.push_str(rest);
    (out, missing)
}

/// Returns the key before `]}`, with or without quotes, and the length including the brace.
fn key_of(inner: &str) -> Option<(&str, usize)> {
    let of_key = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'\'' | b'"');
    let end = inner.bytes().position(|byte| !of_key(byte))?;
    if !inner[end..].starts_with("]}") {
        return None;
    }
    let key = &inner[..end];
    let bare = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    let key = bare('\'').or_else(|| bare('"')).unwrap_or(key);
    (!key.is_empty() && !key.contains(['\'', '"'])).then_some((key, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_a_filter_are_replaced() {
        let mut ask = |name: &str| match name {
            "PASS_1" => Ok("secret".to_owned()),
            _ => Err("no".to_owned()),
        };
        for (text, expected) in [
            ("${f[PASS_1]}", "secret"),
            ("a${f['PASS_1']}b${f[\"PASS_1\"]}c", "asecretbsecretc"),
            ("${g[PASS_1]}", "${g[PASS_1]}"),
            ("${f[NOPE]}", "${f[NOPE]}"),
            ("${f[PASS 1]} ${f[PASS_1]}", "${f[PASS 1]} secret"),
            ("${f[", "${f["),
            ("${f[]}", "${f[]}"),
        ] {
            assert_eq!(replaced(text, "f", &mut ask).0, expected, "{text}");
        }
        assert_eq!(replaced("${f[NOPE]}", "f", &mut ask).1, [("NOPE".to_owned(), "no".to_owned())]);
    }
}
