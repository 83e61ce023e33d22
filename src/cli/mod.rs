//! The arguments of the program, and what each subcommand does with them.

mod calls;
mod check;
mod config;
mod demo;
mod doctor;
mod manual;
mod pages;
mod relay;
mod reload;
mod run;
mod sim;
mod status;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Version and commit: what `-V` says.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("WABRIDGE_BUILD"), ")");

/// And what else tells one build from another: what `--version` says.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("WABRIDGE_BUILD"),
    ")\n",
    env!("WABRIDGE_TARGET"),
    "\n",
    env!("WABRIDGE_LIBRARIES")
);

/// Bridges WhatsApp Business Calling to the PBX you already have.
#[derive(Debug, Parser)]
#[command(version = VERSION, long_version = LONG_VERSION, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge.
    ///
    /// SIGHUP reads the configuration and the certificates anew, for new calls. SIGTERM takes
    /// no new calls, and exits when those that are up are over; once more, it ends them.
    Run(run::Arguments),
    /// Say what is wrong in a configuration, at which line and key.
    ///
    /// Reads the file and every file it names, and opens no socket. Exit code: 0 if the bridge would start with it
    /// (warnings are shown), 1 if not, 2 for wrong arguments.
    Check(check::Arguments),
    /// Go through what breaks real installations, and say what to do about each.
    ///
    /// Looks at the configuration, this host, our names, certificate and listener, each number, the way to Meta, the
    /// media ports and each PBX, whether the bridge runs or not. It opens connections and places no call. Run it as the
    /// user that runs the bridge. Exit code: 1 if something will fail, 0 if not.
    Doctor(doctor::Arguments),
    /// Have a running bridge read its configuration anew, and say whether it has taken it over.
    ///
    /// `systemctl reload wabridge` does this. Exit code: 0 if it has, 1 if not; then nothing has changed.
    Reload(reload::Arguments),
    /// Show a configuration as it is in force.
    Config(config::Arguments),
    /// Show what a running bridge is doing, and whether it is ready for calls.
    ///
    /// Reads its page /status. Exit code: 0 if new calls can be served, 1 if not or if it cannot be asked.
    Status(status::Arguments),
    /// Show the calls that are up.
    ///
    /// Reads the page /calls of a running bridge. Numbers are masked unless log.reveal_numbers is on. Exit code: 0, or 1 if
    /// the bridge cannot be asked.
    Calls(calls::Arguments),
    /// Show calls in both directions, keyed both ways, on this machine alone: bridge, Meta and PBX over real sockets.
    ///
    /// It needs no file, no root and no installed server. Exit code 0 only if everything in it went as it should.
    Demo(demo::Arguments),
    /// Play one far end of a call: Meta and its WhatsApp users, or a PBX.
    ///
    /// With these a real bridge and a real PBX can be tried without a Meta account.
    Sim(sim::Arguments),
    /// Write the manual pages and the completions for bash, zsh and fish into a folder, for packages.
    #[command(hide = true)]
    Manual(manual::Arguments),
    /// Show what went over the wire in the last calls: without a call all that are kept, with one its ladder.
    ///
    /// It asks the bridge that runs on this host. Keys and passwords are never kept; numbers and names are masked, the same
    /// text always by the same mask.
    ///
    ///   wabridge trace last --messages
    ///   wabridge trace last --pcap call.pcapng
    #[command(verbatim_doc_comment)]
    Trace(trace::Arguments),
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(arguments) => arguments.run(),
            Command::Check(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
            Command::Reload(arguments) => arguments.run(),
            Command::Config(arguments) => arguments.run(),
            Command::Status(arguments) => arguments.run(),
            Command::Calls(arguments) => arguments.run(),
            Command::Demo(arguments) => arguments.run(),
            Command::Sim(arguments) => arguments.run(),
            Command::Manual(arguments) => arguments.run(),
            Command::Trace(arguments) => arguments.run(),
        }
    }
}

/// Puts text on standard output. Whoever closed the pipe has read enough; the exit code tells the rest.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_version_says_target_and_libraries_on_lines_of_their_own() {
        let long = Arguments::command().render_long_version();
        let lines: Vec<_> = long.lines().collect();
        let [first, target, libraries] = lines.as_slice() else {
            panic!("{long}");
        };
        assert_eq!(*first, Arguments::command().render_version().trim_end());
        assert!(target.contains(std::env::consts::ARCH), "{target}");
        for name in ["rustls", "ring", "aws-lc-sys", "aes"] {
            let at = libraries.find(&format!("{name} ")).expect(libraries);
            let version = &libraries[at + name.len() + 1..];
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{long}");
        }
    }
}
