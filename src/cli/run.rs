//! `wabridge run`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Problem, Severity};
use crate::daemon::{Daemon, Trust};
use crate::observe::log::Log;

/// Which configuration to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let config = match Config::load(&self.config) {
            Ok(config) => config,
            Err(problems) => {
                for problem in problems {
                    eprintln!("{problem}");
                }
                return ExitCode::FAILURE;
            }
        };
        let log = match Log::start(&config.log) {
            Ok(log) => log,
            Err(error) => return failed(&error),
        };
        match Runtime::new() {
            Ok(runtime) => {
                let code = runtime.block_on(serve(&self.config, config, &log));
                // The system may be looking up a name still, which can take half a minute and serves nobody any more.
                runtime.shutdown_background();
                code
            }
            Err(error) => failed(&error),
        }
    }
}

async fn serve(file: &Path, config: Config, log: &Log) -> ExitCode {
    let handlers = (
        signal(SignalKind::hangup()),
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = handlers else {
        return failed(&"signals cannot be handled");
    };
    warn_of(&config.warnings);
    let trust = Trust::of(&config);
    let mut daemon = match Daemon::start(config, &trust).await {
        Ok(daemon) => daemon,
        Err(error) => return failed(&error),
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&mut daemon, file, log).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let patience = daemon.drain().await;
    tracing::info!(
        drain_time = patience.as_secs(),
        "stopping: no new calls; those that are up may go on for drain_time seconds, and end at once with the next signal"
    );
    tokio::select! {
        () = daemon.drained() => {}
        _ = terminate.recv() => tracing::info!("stopping now: all calls end"),
        _ = interrupt.recv() => tracing::info!("stopping now: all calls end"),
    }
    daemon.stop().await;
    ExitCode::SUCCESS
}

/// A valid file takes effect for new calls; an invalid one changes nothing and is reported.
async fn reload(daemon: &mut Daemon, file: &Path, log: &Log) {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(problems) => {
            let (errors, warnings): (Vec<_>, Vec<_>) = problems
                .into_iter()
                .partition(|problem| problem.severity == Severity::Error);
            warn_of(&warnings);
            for problem in errors {
                tracing::error!(%problem, "the configuration is not taken over");
            }
            return;
        }
    };
    warn_of(&config.warnings);
    let (settings, trust) = (config.log.clone(), Trust::of(&config));
    match daemon.reload(config, &trust).await {
        Ok(()) => {
            log.reload(&settings);
            tracing::info!("the configuration was taken over");
        }
        Err(error) => tracing::error!(%error, "the configuration is not taken over"),
    }
}

fn warn_of(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wabridge: {error}");
    ExitCode::FAILURE
}
