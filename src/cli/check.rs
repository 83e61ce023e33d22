//! `wabridge check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;

/// Which file to check.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        match Config::load(&self.config) {
            Ok(config) => {
                for warning in &config.warnings {
                    println!("{warning}");
                }
                ExitCode::SUCCESS
            }
            Err(problems) => {
                for problem in problems {
                    println!("{problem}");
                }
                ExitCode::FAILURE
            }
        }
    }
}
