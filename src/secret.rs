//! Passwords: read from where the operator keeps them, and never printed.

use std::path::PathBuf;
use std::{env, fmt, fs, io};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Text that no log, error or dump can show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The plain text, for the one computation that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own error would repeat what it found in place of text: the secret without its quotes.
        let quoted = String::deserialize(deserializer);
        quoted
            .map(Secret)
            .map_err(|_| D::Error::custom("a secret is text in quotes"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is kept. Settings name one of the three, as `…_file`, `…_env` or the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file with nothing else in it; the line end after it is dropped.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The configuration itself: readable by whoever can read that, so worth a warning.
    Inline(Secret),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// None of the three keys is set.
    #[error("{key} is missing: set {key}_file, {key}_env or {key}")]
    Missing {
        /// The key without its ending.
        key: &'static str,
    },
    /// More than one key is set, and they might disagree.
    #[error("{key} is given more than once: keep one of {key}_file, {key}_env and {key}")]
    Several {
        /// The key without its ending.
        key: &'static str,
    },
    /// The file is not there, not readable or not text.
    #[error("cannot read the secret file {}: {error}", path.display())]
    File {
        /// The file that was named.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// There is a place for it, and nothing in it.
    #[error("the secret in {0} is empty")]
    Empty(String),
    /// Something else stands beside it: a comment, or a second password.
    #[error("the secret in {0} has more than one line")]
    Lines(String),
}

impl Source {
    /// Picks the one of the three keys that is set. `key` names them in errors, such as `password`.
    pub fn one_of(
        key: &'static str,
        file: Option<PathBuf>,
        env: Option<String>,
        inline: Option<Secret>,
    ) -> Result<Source, SecretError> {
        match (file, env, inline) {
            (None, None, None) => Err(SecretError::Missing { key }),
            (Some(path), None, None) => Ok(Source::File(path)),
            (None, Some(name), None) => Ok(Source::Env(name)),
            (None, None, Some(secret)) => Ok(Source::Inline(secret)),
            _ => Err(SecretError::Several { key }),
        }
    }

    /// Reads the secret. Blocks on the file system: for start and reload only.
    pub fn load(self) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Source::File(path) => match fs::read_to_string(&path) {
                Ok(text) => (text, path.display().to_string()),
                Err(error) => return Err(SecretError::File { path, error }),
            },
            Source::Env(name) => match env::var(&name) {
                Ok(text) => (text, name),
                Err(_) => return Err(SecretError::Env(name)),
            },
            Source::Inline(Secret(text)) => (text, "the configuration".to_owned()),
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty(place)),
            text if text.contains(['\r', '\n']) => Err(SecretError::Lines(place)),
            text => Ok(Secret::new(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("meta-generated-secret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(format!("{:?}", Source::Inline(secret)), "Inline(Secret(…))");
    }

    #[test]
    fn a_secret_file_loses_its_line_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, " with space \r\n").unwrap();
        assert_eq!(Source::File(path).load().unwrap().expose(), " with space ");
    }

    #[test]
    fn a_missing_or_empty_secret_names_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let missing = Source::File(path.clone()).load().unwrap_err();
        assert!(missing.to_string().contains("password"), "{missing}");
        fs::write(&path, "\n").unwrap();
        let empty = Source::File(path).load().unwrap_err();
        assert!(matches!(empty, SecretError::Empty(place) if place.ends_with("password")));
        let unset = Source::Env("WABRIDGE_TEST_NO_SUCH_VARIABLE".to_owned())
            .load()
            .unwrap_err();
        assert!(
            unset.to_string().contains("WABRIDGE_TEST_NO_SUCH_VARIABLE"),
            "{unset}"
        );
    }

    #[test]
    fn a_second_line_is_refused_without_being_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "# Meta's\nmeta-generated-secret\n").unwrap();
        let error = Source::File(path).load().unwrap_err();
        assert!(matches!(error, SecretError::Lines(_)), "{error}");
        assert!(!error.to_string().contains("generated"), "{error}");
    }

    #[test]
    fn exactly_one_place_has_to_be_named() {
        let inline = Some(Secret::new("x"));
        let none = Source::one_of("password", None, None, None).unwrap_err();
        assert!(none.to_string().contains("password_file"), "{none}");
        let two = Source::one_of("password", None, Some("P".to_owned()), inline.clone());
        assert!(matches!(two, Err(SecretError::Several { key: "password" })));
        let one = Source::one_of("password", None, None, inline).unwrap();
        assert_eq!(one.load().unwrap().expose(), "x");
    }
}
