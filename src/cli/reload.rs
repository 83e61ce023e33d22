//! `wabridge reload`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::service::Outcome;

/// How long a bridge may take: it may have to look names up. Shorter than systemd's patience with a reload, 90 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which bridge.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The process that runs it.
    #[arg(long, value_name = "PID")]
    pid: i32,

    /// The folder that systemd has made for it (RuntimeDirectory=).
    #[arg(long, value_name = "FOLDER", default_value = "/run/wabridge")]
    folder: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        match reload(self.pid, &self.folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("wabridge: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Sends SIGHUP, and waits until the bridge says how the reload went. systemd has one reload under way at a time; of two
/// that were asked for by hand at once, both may be told of the first.
fn reload(pid: i32, folder: &Path) -> Result<(), String> {
    let outcome = || {
        Outcome::read(folder).map_err(|error| {
            format!(
                "{}: {error}: no bridge that systemd started has this folder",
                folder.display()
            )
        })
    };
    let before = outcome()?.reloads;
    let signalled = Pid::from_raw(pid)
        .ok_or(io::Error::from(io::ErrorKind::InvalidInput))
        .and_then(|pid| Ok(kill_process(pid, Signal::HUP)?));
    signalled.map_err(|error| format!("process {pid} cannot be told to reload: {error}"))?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        let now = outcome()?;
        if now.reloads != before {
            return match now.complaint {
                None => Ok(()),
                Some(why) => Err(format!("the configuration is not taken over: {why}")),
            };
        }
        sleep(Duration::from_millis(20));
    }
    Err(format!(
        "no answer within {} seconds; the log may say why",
        PATIENCE.as_secs()
    ))
}
