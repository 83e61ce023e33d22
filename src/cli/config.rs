//! `wabridge config`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::daemon;

/// What to do with a configuration.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print everything that is in force with a file: defaults, and what follows from the rest.
    ///
    /// What is printed is a configuration itself. Passwords are masked, file names are whole.
    Print(Print),
}

#[derive(Debug, clap::Args)]
struct Print {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object in place of TOML.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let Command::Print(print) = self.command;
        match print.text() {
            Ok(text) => {
                super::print(&format!("{text}\n"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Print {
    fn text(&self) -> Result<String, Box<dyn std::error::Error>> {
        let config = Config::load(&self.config).map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            problems.join("\n")
        })?;
        let our_hosts = Runtime::new()?.block_on(daemon::our_hosts(&config));
        Ok(match self.json {
            true => format!("{:#}", config.to_json(&our_hosts)?),
            false => config.to_toml(&our_hosts)?.trim_end().to_owned(),
        })
    }
}
