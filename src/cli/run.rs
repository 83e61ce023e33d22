//! `wabridge run`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Change, Config, Problem, Severity};
use crate::daemon::{Daemon, Reloaded, Trust};
use crate::observe::log::Log;
use crate::service::{Outcomes, Voice};

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
            Err(problems) => return invalid(&problems),
        };
        let log = match Log::start(&config.log) {
            Ok(log) => log,
            Err(error) => return failed(&error),
        };
        let result = match runtime() {
            Ok(runtime) => {
                let result = runtime.block_on(serve(&self.config, config, &log));
                // The system may be looking up a name still, which can take half a minute and serves nobody any more.
                runtime.shutdown_background();
                result
            }
            Err(error) => Err(error.to_string()),
        };
        // What was logged before is read before.
        drop(log);
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }
}

/// One thread for all of signalling: its tasks hand every message from one to the next, and on two threads each of these
/// steps would wake the other one. That costs more than it gains, until one core is not enough for the calls of a host.
/// Beside it stand the threads of media, and those for what may block.
fn runtime() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("signalling");
    builder.enable_all().build()
}

/// Until a signal has ended it, or it could not be started.
async fn serve(file: &Path, config: Config, log: &Log) -> Result<(), String> {
    let handlers = (
        signal(SignalKind::hangup()),
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = handlers else {
        return Err("signals cannot be handled".to_owned());
    };
    warn_of(&config.warnings);
    let trust = Trust::of(&config);
    let mut stop = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let started = tokio::select! {
        started = Daemon::start(config, &trust) => started,
        () = stop() => return Ok(()),
    };
    let mut daemon = started.map_err(|error| error.to_string())?;
    let voice = Arc::new(Voice::of_environment());
    let beating = tokio::spawn({
        let (voice, pulse) = (voice.clone(), daemon.pulse());
        async move { voice.beat(pulse).await }
    });
    tokio::spawn(log.lost().watch());
    let mut outcomes = Outcomes::of_environment();
    voice.ready();
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Err(error) = voice.reloading() {
                    tracing::warn!(%error, "the service manager is not told of this reload");
                }
                let (outcome, stopped) = or_stopped(reload(&mut daemon, file, log), stop()).await;
                daemon.view().reloaded(outcome.is_ok());
                outcomes.note(&outcome);
                voice.reloaded(outcome);
                if stopped {
                    break;
                }
            }
            () = stop() => break,
        }
    }
    // Before the drain: with no call left, signalling is gone at once.
    let calls = daemon.calls().await.unwrap_or_default();
    let patience = daemon.drain().await;
    voice.draining(calls, patience);
    tracing::info!(
        drain_time = patience.as_secs(),
        "stopping: no new calls; those that are up may go on for drain_time seconds, and end at once with the next signal"
    );
    tokio::select! {
        () = daemon.drained() => {}
        () = stop() => tracing::info!("stopping now: all calls end"),
    }
    daemon.stop().await;
    beating.abort();
    Ok(())
}

/// How the reload went, and whether the bridge is to stop: a name server that does not answer must not hold that up.
async fn or_stopped(
    reload: impl Future<Output = Result<(), String>>,
    stop: impl Future<Output = ()>,
) -> (Result<(), String>, bool) {
    tokio::select! {
        outcome = reload => (outcome, false),
        () = stop => (Err("the bridge was stopped meanwhile".to_owned()), true),
    }
}

/// A valid file takes effect for new calls; an invalid one changes nothing and is reported: all of it in the log, the first
/// of it to the caller.
async fn reload(daemon: &mut Daemon, file: &Path, log: &Log) -> Result<(), String> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(problems) => {
            let first = first_error(&problems);
            let (errors, warnings): (Vec<_>, Vec<_>) = problems
                .into_iter()
                .partition(|problem| problem.severity == Severity::Error);
            warn_of(&warnings);
            for problem in &errors {
                tracing::error!(%problem, "the configuration is not taken over");
            }
            return Err(first);
        }
    };
    warn_of(&config.warnings);
    let (settings, trust) = (config.log.clone(), Trust::of(&config));
    match daemon.reload(config, &trust).await {
        Ok(reloaded) => {
            log.reload(&settings);
            tell(&reloaded);
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "the configuration is not taken over");
            Err(error.to_string())
        }
    }
}

/// Which keys changed, by their names alone: values may be secret.
fn tell(reloaded: &Reloaded) {
    for change in &reloaded.kept {
        tracing::warn!(%change, "takes effect at the next start only");
    }
    let changed: Vec<_> = reloaded.changed.iter().map(Change::to_string).collect();
    match changed.is_empty() {
        true => tracing::info!("the configuration was read anew: nothing has changed"),
        false => tracing::info!(
            changed = changed.join(", "),
            "the configuration was taken over"
        ),
    }
}

fn warn_of(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
}

/// All that is wrong on standard error, and the first of it to the service manager, whose status may have nothing else: it
/// can lose the last lines of a process that ends at once.
fn invalid(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    let first = first_error(problems);
    Voice::of_environment().failed(&first);
    ExitCode::FAILURE
}

fn first_error(problems: &[Problem]) -> String {
    problems
        .iter()
        .find(|problem| problem.severity == Severity::Error)
        .map(Problem::to_string)
        .unwrap_or_default()
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wabridge: {error}");
    Voice::of_environment().failed(&error.to_string());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_reload_that_waits_for_a_name_server_does_not_keep_the_bridge_from_stopping() {
        let (outcome, stopped) = or_stopped(pending(), ready(())).await;
        assert!(stopped && outcome.unwrap_err().contains("stopped"));
        let (outcome, stopped) = or_stopped(ready(Ok(())), pending()).await;
        assert!(!stopped && outcome.is_ok());
    }
}
