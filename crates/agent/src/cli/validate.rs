//! `validate`: reads a configuration as `agent` would; reports every finding and starts nothing.

use super::agent::{access, origins};
use super::arguments::ValidateArguments;
use super::exit::{CommandError, say, show};
use super::java_options::{self, JavaOptions};
use crate::agent::build::{AgentPlan, ComponentTypes};
use crate::agent::config_origin::read_once;
use crate::agent::start_checks;
use millpond::internal::base::codes::Code;
use millpond::internal::base::quantity::Quantity;
use millpond_config::effective_settings::EffectiveSetting;
use millpond_config::{ConfigError, difference_notes, load_texts, settings_of};
use millpond_flow::base::escape::Escaped;
use millpond_flow::codes;
use millpond_flow::settings::{ConfigFinding, SettingPlace, Severity};
use millpond_observe::monitor::settings::{MonitorSettings as Monitoring, OptionWarning};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;

pub(super) fn run(arguments: &ValidateArguments) -> Result<(), CommandError> {
    let configuration = &arguments.configuration;
    let outside = &configuration.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let report = read(arguments, &options)?;
    show(&match arguments.json {
        true => report.json(),
        false => report.text(arguments),
    })?;
    report.verdict(arguments.strict)
}

/// The findings, and what would run.
struct ValidationReport {
    agent: String,
    /// Sources, channels and sinks that can run; `None` when the agent cannot.
    parts: Option<[usize; 3]>,
    /// Causes before their consequences, errors first.
    findings: Vec<ReportedFinding>,
    /// Every key with its effective value, also those of components that are left out.
    effective: Vec<EffectiveSetting>,
    /// Why nothing was checked: the file or the agent does not exist.
    unread: Option<String>,
}

/// A finding, and the code of its kind.
struct ReportedFinding {
    finding: ConfigFinding,
    code: Option<&'static Code>,
}

impl ReportedFinding {
    /// Returns a finding of a configuration, as the agent logs it.
    fn of(finding: ConfigFinding) -> Self {
        let code = match finding.severity {
            Severity::Note => None,
            Severity::Warning => Some(&codes::CONFIGURATION_WARNING),
            Severity::Error => Some(&codes::CONFIGURATION_ERROR),
        };
        Self { finding, code }
    }

    /// Returns a finding on the machine; a note requires no action.
    fn with(code: &'static Code, finding: ConfigFinding) -> Self {
        let code = (finding.severity > Severity::Note).then_some(code);
        Self { finding, code }
    }
}

fn read(
    arguments: &ValidateArguments,
    options: &JavaOptions,
) -> Result<ValidationReport, CommandError> {
    let ValidateArguments { configuration: arguments, elsewhere, effective, json, .. } = arguments;
    let origins = origins(arguments)?;
    let mut notes = Vec::new();
    let access = access(arguments, &origins, &options.properties, &mut notes);
    notes.iter().for_each(|note| say(note));
    let access = access?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| CommandError::Failed(format!("cannot start: {error}")))?;
    let texts = runtime.block_on(read_once(origins, access));
    let texts = match texts {
        Ok(texts) => texts,
        Err(error) => return Ok(ValidationReport::unread(&arguments.name, error.to_string())),
    };
    let catalogue = ComponentTypes::built_in().catalogue();
    let loaded = load_texts(&texts, &arguments.name, &options.properties, &catalogue);
    let mut report = match &loaded {
        Ok(loaded) => loaded_report(loaded, *elsewhere),
        Err(error) => ValidationReport {
            findings: error.findings().iter().cloned().map(ReportedFinding::of).collect(),
            unread: (!matches!(error, ConfigError::Refused { .. })).then(|| error.to_string()),
            ..ValidationReport::unread(&arguments.name, String::new())
        },
    };
    if *effective || *json {
        let parts = match &loaded {
            Ok(loaded) => Some(&loaded.agent),
            Err(ConfigError::Refused { parts, .. }) => parts.as_deref(),
            Err(_) => None,
        };
        report.effective =
            settings_of(parts, &texts, &arguments.name, &options.properties, &catalogue);
    }
    report.findings.extend(monitoring(&options.properties, *elsewhere));
    // Stable: within a severity the order of the file stays, and consequences stay last.
    report.findings.sort_by_key(|found| std::cmp::Reverse(found.finding.severity));
    Ok(report)
}

fn loaded_report(loaded: &millpond_config::LoadedConfig, elsewhere: bool) -> ValidationReport {
    // The settings of sources, sinks and interceptors are checked by building them, as the agent
    // does; this opens nothing.
    let (plan, built) = AgentPlan::new(&loaded.agent, &ComponentTypes::built_in());
    let mut findings = built;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    findings.extend(loaded.findings.iter().cloned());
    findings.extend(start_checks::settings(&loaded.agent));
    let mut findings: Vec<ReportedFinding> =
        findings.into_iter().map(ReportedFinding::of).collect();
    if !elsewhere {
        let on_machine = start_checks::machine(&loaded.agent).into_iter();
        findings.extend(on_machine.map(|(code, finding)| ReportedFinding::with(code, finding)));
    }
    findings.extend(difference_notes::notes(&loaded.agent).into_iter().map(ReportedFinding::of));
    let in_groups: usize = plan.groups.iter().map(|group| group.sinks.len()).sum();
    ValidationReport {
        parts: Some([plan.sources.len(), plan.channels.len(), plan.sinks.len() + in_groups]),
        agent: plan.name,
        findings,
        effective: Vec::new(),
        unread: None,
    }
}

/// Returns what a start would report about `-Dflume.monitoring.*`.
fn monitoring(properties: &BTreeMap<String, String>, elsewhere: bool) -> Vec<ReportedFinding> {
    let complaints = Monitoring::look(properties, !elsewhere);
    let finding = |complaint| {
        let (severity, code, message) = match complaint {
            OptionWarning::Warning(words) => {
                (Severity::Warning, &codes::CONFIGURATION_WARNING, words)
            }
            OptionWarning::Error(words) => (Severity::Error, &codes::MONITORING_OFF, words),
        };
        ReportedFinding::with(
            code,
            ConfigFinding { severity, place: SettingPlace::nowhere(), key: String::new(), message },
        )
    };
    complaints.into_iter().map(finding).collect()
}

impl ValidationReport {
    fn unread(agent: &str, why: String) -> Self {
        let (findings, effective) = (Vec::new(), Vec::new());
        Self { agent: agent.to_owned(), parts: None, findings, effective, unread: Some(why) }
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|found| found.finding.severity == severity).count()
    }

    fn text(&self, arguments: &ValidateArguments) -> String {
        let colours = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let least = match (arguments.quiet, arguments.notes) {
            // The reason for the failure is reported.
            (true, _) if arguments.strict => Severity::Warning,
            (true, _) => Severity::Error,
            (false, true) => Severity::Note,
            (false, false) => Severity::Warning,
        };
        let mut text = String::new();
        if arguments.effective {
            for setting in &self.effective {
                let _ = writeln!(text, "{}", Escaped(&setting.to_string()));
            }
        }
        for found in self.findings.iter().filter(|found| found.finding.severity >= least) {
            let _ = writeln!(text, "{}", line(found, colours));
        }
        if arguments.quiet {
            return text;
        }
        if let Some([sources, channels, sinks]) = self.parts {
            let _ = writeln!(
                text,
                "agent {}: {}, {}, {} can run",
                Escaped(&self.agent),
                Quantity(sources as u64, "source"),
                Quantity(channels as u64, "channel"),
                Quantity(sinks as u64, "sink")
            );
        }
        let notes = self.count(Severity::Note);
        if least > Severity::Note && notes > 0 {
            let _ = writeln!(text, "{}; --notes shows them", Quantity(notes as u64, "note"));
        }
        text
    }

    fn json(&self) -> String {
        let found = |ReportedFinding { finding, code }: &ReportedFinding| {
            json!({
                "code": code.map(ToString::to_string),
                "severity": word(finding.severity),
                "file": finding.place.file.display().to_string(),
                "line": finding.place.line,
                "key": finding.key,
                "message": finding.message,
            })
        };
        let (severity, place, key) = (Severity::Error, SettingPlace::nowhere(), String::new());
        let unread = self.unread.clone();
        // Its message has a code of its own.
        let finding = |message| ConfigFinding { severity, place, key, message };
        let unread =
            unread.map(|message| ReportedFinding { finding: finding(message), code: None });
        let [sources, channels, sinks] = self.parts.unwrap_or_default();
        let settings = self.effective.iter().map(|setting| {
            let EffectiveSetting { key, value, origin } = setting;
            json!({ "key": key, "value": value, "origin": origin.to_string() })
        });
        let value = json!({
            "agent": self.agent,
            "canRun": self.parts.is_some() && sources + sinks > 0,
            "sources": sources,
            "channels": channels,
            "sinks": sinks,
            "findings": unread.iter().chain(&self.findings).map(found).collect::<Vec<Value>>(),
            "effective": settings.collect::<Vec<Value>>(),
        });
        format!("{value:#}\n")
    }

    fn verdict(&self, strict: bool) -> Result<(), CommandError> {
        if let Some(error) = &self.unread {
            return Err(CommandError::Failed(error.clone()));
        }
        let agent = &self.agent;
        let errors = Quantity(self.count(Severity::Error) as u64, "error");
        match self.parts {
            None => {
                let code = codes::CONFIGURATION_REFUSED;
                let why =
                    format!("agent {agent} cannot run as it is configured: {errors} ({code})");
                Err(CommandError::Failed(why))
            }
            Some([0, _, 0]) => Err(CommandError::Failed(format!(
                "agent {agent} has no source and no sink that can run, so it would not start ({})",
                codes::NOTHING_RUNS
            ))),
            _ if self.count(Severity::Error) > 0 => Err(CommandError::Failed(format!(
                "{errors}: parts of the agent would be left out or not work"
            ))),
            _ if strict && self.count(Severity::Warning) > 0 => Err(CommandError::Failed(format!(
                "{}, and --strict is given",
                Quantity(self.count(Severity::Warning) as u64, "warning")
            ))),
            _ => Ok(()),
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Returns the line of one finding with its code at the end, its severity in colour if wanted.
fn line(ReportedFinding { finding, code }: &ReportedFinding, colours: bool) -> String {
    let code = code.map_or_else(String::new, |code| format!(" ({code})"));
    let plain = format!("{}{code}", Escaped(&finding.to_string()));
    let word = word(finding.severity);
    let colour = match finding.severity {
        Severity::Error => "1;31",
        Severity::Warning => "33",
        Severity::Note => "2",
    };
    if !colours {
        return plain;
    }
    // The first match is the severity unless a file has that name, and then only its name gets the
    // colour.
    plain.replacen(&format!("{word}: "), &format!("\u{1b}[{colour}m{word}:\u{1b}[0m "), 1)
}
