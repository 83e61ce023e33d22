//! How the last reload went, for whoever asked for it: a file in the folder that systemd makes for the service
//! (RuntimeDirectory=). sd_notify(3) has no word for a reload that failed.
//!
//! ```text
//!   3                                       reloads since the start
//!   wabridge.toml:7:1: media.ports: …       why the last of them changed nothing, or nothing
//! ```

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const NAME: &str = "reload";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Reloads since the start, those that changed nothing among them.
    pub reloads: u64,
    /// Why the last of them changed nothing.
    pub complaint: Option<String>,
}

impl Outcome {
    /// What the bridge that was given this folder says.
    ///
    /// # Errors
    /// When it says nothing that can be read.
    pub fn read(folder: &Path) -> io::Result<Outcome> {
        let text = fs::read_to_string(folder.join(NAME))?;
        let (reloads, complaint) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(Outcome {
            reloads: reloads
                .parse()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?,
            complaint: Some(complaint.trim_end().to_owned()).filter(|text| !text.is_empty()),
        })
    }

    /// Whole or not at all: whoever reads may come at any time.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let (file, new) = (folder.join(NAME), folder.join("reload.new"));
        let complaint = self.complaint.as_deref().unwrap_or_default();
        fs::write(&new, format!("{}\n{complaint}\n", self.reloads))?;
        fs::rename(new, file)
    }
}

/// Keeps the file, where there is a folder for it.
#[derive(Debug)]
pub struct Outcomes {
    folder: Option<PathBuf>,
    last: Outcome,
}

impl Outcomes {
    /// In the folder that systemd names (`RUNTIME_DIRECTORY`), if it started us.
    pub fn of_environment() -> Outcomes {
        let folders = env::var_os("RUNTIME_DIRECTORY");
        Outcomes::beginning(folders.and_then(|folders| env::split_paths(&folders).next()))
    }

    fn beginning(folder: Option<PathBuf>) -> Outcomes {
        let last = Outcome {
            reloads: 0,
            complaint: None,
        };
        let outcomes = Outcomes { folder, last };
        outcomes.write();
        outcomes
    }

    /// One more reload has succeeded, or changed nothing; why.
    pub fn note(&mut self, outcome: &Result<(), String>) {
        self.last.reloads += 1;
        self.last.complaint = outcome.as_ref().err().cloned();
        self.write();
    }

    fn write(&self) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = self.last.write(folder) {
            tracing::warn!(folder = %folder.display(), %error, "whoever asks for a reload is not told how it went");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asked_for_a_reload_can_read_how_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Outcome::read(folder.path()).unwrap();
        assert!(Outcome::read(folder.path()).is_err(), "nothing runs");
        let mut outcomes = Outcomes::beginning(Some(folder.path().to_owned()));
        let said = |reloads, complaint: Option<&str>| Outcome {
            reloads,
            complaint: complaint.map(str::to_owned),
        };
        assert_eq!(read(), said(0, None));
        outcomes.note(&Err("line 7: no".into()));
        assert_eq!(read(), said(1, Some("line 7: no")));
        outcomes.note(&Ok(()));
        assert_eq!(read(), said(2, None));
    }
}
