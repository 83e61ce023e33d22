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

    /// Has every password and every authority that a text names.
    pub fn provide(&self, text: &str) {
        for line in text.lines() {
            let Some((key, value)) = line.split_once(" = ") else {
                continue;
            };
            let path = self.path(value.trim_matches('"'));
            let original = match key {
                "password_file" => "password",
                "ca_file" => "ca.pem",
                _ => continue,
            };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                std::fs::copy(self.path(original), path).unwrap();
            }
        }
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

/// Every file in conf/, with the names of the files that a workshop has.
pub fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let here = text
            .replace("/etc/wabridge/", "")
            .replace("../target/try/", "");
        assert_ne!(here, text, "{} names no file that it needs", path.display());
        (path.file_name().unwrap().display().to_string(), here)
    };
    files.into_iter().map(read).collect()
}
