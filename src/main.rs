//! The `wabridge` program: arguments in, exit code out.

use clap::Parser;

fn main() -> std::process::ExitCode {
    wabridge::cli::Arguments::parse().run()
}
