//! `wabridge manual`: manual pages and shell completions, for packages.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

/// Where the pages go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder, which is made if need be.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        match write(&self.folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wabridge: {}: {error}", self.folder.display());
                ExitCode::FAILURE
            }
        }
    }
}

/// `man/`, a page for the program and one for each subcommand; `completions/`, a file for each shell, under the name that
/// the shell looks for.
fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    // A page has its date and version from the package; the commit and the libraries would change it with every build.
    let version = env!("CARGO_PKG_VERSION");
    let mut program = super::Arguments::command()
        .version(version)
        .long_version(version);
    program.build();
    pages(&program, &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(
            shell,
            &mut super::Arguments::command(),
            "wabridge",
            &completions,
        )?;
    }
    fs::rename(
        completions.join("wabridge.bash"),
        completions.join("wabridge"),
    )
}

fn pages(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut File::create(folder.join(page.get_filename()))?)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .try_for_each(|command| pages(command, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_its_page_and_every_shell_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        let mut shown = 0;
        for command in super::super::Arguments::command().get_subcommands() {
            let name = command.get_name();
            let page = folder.path().join(format!("man/wabridge-{name}.1"));
            assert_eq!(page.exists(), !command.is_hide_set(), "{name}");
            if command.is_hide_set() {
                continue;
            }
            shown += 1;
            for file in [
                "man/wabridge.1",
                "completions/wabridge",
                "completions/_wabridge",
                "completions/wabridge.fish",
            ] {
                assert!(read(file).contains(name), "{name} in {file}");
            }
        }
        assert!(shown > 3);
        assert!(read("man/wabridge-run.1").contains("configuration file"));
    }
}
