//! `wabridge doctor`: goes through what breaks real installations, and says what to do about each.
//!
//! ```text
//!   configuration ─▶ host ─▶ names ─▶ certificate ─▶ listener ─▶ numbers ─▶ meta ─▶ media ─▶ pbx
//! ```
//!
//! Each group is a file. In it, what looks around (names, sockets, files of the system) is apart from what judges that,
//! which takes values and gives findings.

mod certificate;
mod finding;
mod host;
mod listener;
mod media;
mod meta;
mod names;
mod numbers;
mod pbx;
mod probe;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::config::{Config, Problem, Severity};
use crate::daemon::Trust;
use finding::{Finding, Level};

/// Which installation to look at.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object, for programs.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let findings = match Runtime::new() {
            Ok(runtime) => runtime.block_on(examine(&self.config)),
            Err(error) => {
                eprintln!("wabridge: {error}");
                return ExitCode::FAILURE;
            }
        };
        let ok = findings.iter().all(|finding| finding.level != Level::Fail);
        let told = match self.json {
            true => serde_json::json!({ "ok": ok, "findings": findings }).to_string() + "\n",
            false => findings.iter().map(Finding::to_string).collect(),
        };
        // Whoever closed the pipe has read enough; the exit code tells the rest.
        let _ = std::io::stdout().lock().write_all(told.as_bytes());
        match ok {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

/// Everything that there is to say, in the order in which it is best mended.
async fn examine(file: &Path) -> Vec<Finding> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(problems) => return problems.iter().map(of_problem).collect(),
    };
    let trust = Trust::of(&config);
    let mut findings: Vec<Finding> = config.warnings.iter().map(of_problem).collect();
    if findings.is_empty() {
        let what = format!("{} is valid", file.display());
        findings.push(Finding::ok("configuration", what));
    }
    findings.extend(host::check(&config));
    findings.extend(names::check(&config).await);
    findings.extend(certificate::check(&config));
    findings.extend(listener::check(&config).await);
    findings.extend(numbers::check(&config));
    findings.extend(meta::check(&config, &trust).await);
    findings.extend(media::check(&config));
    findings.extend(pbx::check(&config, &trust).await);
    findings
}

fn of_problem(problem: &Problem) -> Finding {
    let (line, file) = (problem.position.line, problem.file.display());
    let what = match problem.key.is_empty() {
        true => format!("{file}:{line}: {}", problem.what),
        false => format!("{file}:{line}: {}: {}", problem.key, problem.what),
    };
    match problem.severity {
        Severity::Error => Finding::fail("configuration", what, problem.remedy.clone()),
        Severity::Warning => Finding::warn("configuration", what, problem.remedy.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_configuration_that_is_wrong_is_all_that_there_is_to_say() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wabridge.toml");
        std::fs::write(&file, "[meta]\nhostname = 7\n").unwrap();
        let findings = examine(&file).await;
        assert!(!findings.is_empty());
        for finding in &findings {
            assert_eq!(
                (finding.about.as_str(), finding.level),
                ("configuration", Level::Fail)
            );
        }
        let said = findings.iter().map(Finding::to_string);
        let said: String = said.collect();
        assert!(said.contains("wabridge.toml:2: meta.hostname"), "{said}");
    }
}
