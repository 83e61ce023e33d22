//! A folder with certificates and a password, in which configuration files are tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use wabridge::config::{Config, Problem, Severity};

/// Gone, with everything in it, when dropped.
pub struct Workshop {
    folder: TempDir,
}

impl Workshop {
    /// Makes certificates for bridge.example.com with the script that developers use.
    pub fn new() -> Workshop {
        let folder = tempfile::tempdir().unwrap();
        let make = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/certs/make"))
            .arg(folder.path())
            .output()
            .expect("certs/make runs");
        assert!(
            make.status.success(),
            "{}",
            String::from_utf8_lossy(&make.stderr)
        );
        let workshop = Workshop { folder };
        workshop.write("password", "meta-generated-secret\n");
        workshop.set_mode("password", 0o600);
        workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    pub fn load(&self, text: &str) -> Result<Config, Vec<Problem>> {
        Config::load(&self.write("wabridge.toml", text))
    }

    /// What is found in a text, good or bad.
    pub fn findings(&self, text: &str) -> Vec<Problem> {
        match self.load(text) {
            Ok(config) => config.warnings,
            Err(problems) => {
                assert!(problems.iter().any(|p| p.severity == Severity::Error));
                problems
            }
        }
    }
}

/// The reference file with the names of the files that a workshop has.
pub fn reference() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/wabridge.toml");
    std::fs::read_to_string(file)
        .unwrap()
        .replace("/etc/wabridge/", "")
}
