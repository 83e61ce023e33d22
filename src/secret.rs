//! Passwords: read from where the operator keeps them, and never printed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
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

/// Where a secret is kept. Settings name one of the four, as `…_file`, `…_credential`, `…_env` or the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file with nothing else in it; the line end after it is dropped.
    File(PathBuf),
    /// A credential that systemd passes to the service (`LoadCredential=`, `LoadCredentialEncrypted=`): a file of that
    /// name in the folder that the variable `CREDENTIALS_DIRECTORY` names.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// The configuration itself: readable by whoever can read that, so worth a warning.
    Inline(Secret),
}

/// The keys of one secret, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// `…_file`
    pub file: Option<PathBuf>,
    /// `…_credential`
    pub credential: Option<String>,
    /// `…_env`
    pub env: Option<String>,
    /// The key without an ending: the secret itself.
    pub inline: Option<Secret>,
}

/// Where systemd puts the credentials of a service.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// None of the keys is set.
    #[error("{key} is missing: set {key}_file, {key}_credential, {key}_env or {key}")]
    Missing {
        /// The key without its ending.
        key: &'static str,
    },
    /// More than one key is set, and they might disagree.
    #[error(
        "{key} is given more than once: keep one of {key}_file, {key}_credential, {key}_env and {key}"
    )]
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
    /// Nobody passes credentials: the process was not started by systemd, or the unit asks for none.
    #[error("there is no credential {0:?}: the variable CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    /// Credentials are passed, and this is none of them.
    #[error("there is no credential {name:?} in {}: {error}", directory.display())]
    Credential {
        /// The name.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It would lead out of the folder of credentials.
    #[error("{0:?} is no name of a credential")]
    CredentialName(String),
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
    /// Picks the one key that is set. `key` names them in errors, such as `password`.
    pub fn one_of(key: &'static str, keys: Keys) -> Result<Source, SecretError> {
        let set = [
            keys.file.map(Source::File),
            keys.credential.map(Source::Credential),
            keys.env.map(Source::Env),
            keys.inline.map(Source::Inline),
        ];
        let mut set = set.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(source), None) => Ok(source),
            (None, _) => Err(SecretError::Missing { key }),
            (Some(_), Some(_)) => Err(SecretError::Several { key }),
        }
    }

    /// Reads the secret. Blocks on the file system: for start and reload only.
    pub fn load(&self) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Source::File(path) => match fs::read_to_string(path) {
                Ok(text) => (text, path.display().to_string()),
                Err(error) => {
                    let path = path.clone();
                    return Err(SecretError::File { path, error });
                }
            },
            Source::Credential(name) => {
                let text = credential(name, env::var_os(CREDENTIALS_DIRECTORY))?;
                (text, format!("the credential {name:?}"))
            }
            Source::Env(name) => match env::var(name) {
                Ok(text) => (text, name.clone()),
                Err(_) => return Err(SecretError::Env(name.clone())),
            },
            Source::Inline(Secret(text)) => (text.clone(), "the configuration".to_owned()),
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty(place)),
            text if text.contains(['\r', '\n']) => Err(SecretError::Lines(place)),
            text => Ok(Secret::new(text)),
        }
    }
}

fn credential(name: &str, directory: Option<OsString>) -> Result<String, SecretError> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(SecretError::CredentialName(name.to_owned()));
    }
    let Some(directory) = directory else {
        return Err(SecretError::NoCredentials(name.to_owned()));
    };
    let directory = Path::new(&directory);
    fs::read_to_string(directory.join(name)).map_err(|error| SecretError::Credential {
        name: name.to_owned(),
        directory: directory.to_owned(),
        error,
    })
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
        let keys = |env: Option<&str>| Keys {
            inline: inline.clone(),
            env: env.map(str::to_owned),
            ..Keys::default()
        };
        let none = Source::one_of("password", Keys::default()).unwrap_err();
        for key in ["password_file", "password_credential", "password_env"] {
            assert!(none.to_string().contains(key), "{none}");
        }
        let two = Source::one_of("password", keys(Some("P")));
        assert!(matches!(two, Err(SecretError::Several { key: "password" })));
        let one = Source::one_of("password", keys(None)).unwrap();
        assert_eq!(one.load().unwrap().expose(), "x");
    }

    #[test]
    fn a_credential_is_a_file_in_the_folder_that_systemd_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("meta"), "from systemd").unwrap();
        let directory = || Some(folder.path().as_os_str().to_owned());
        assert_eq!(credential("meta", directory()).unwrap(), "from systemd");
        let other = credential("pbx", directory()).unwrap_err().to_string();
        assert!(
            other.starts_with("there is no credential \"pbx\" in /"),
            "{other}"
        );
        let none = credential("meta", None).unwrap_err().to_string();
        assert!(none.contains("CREDENTIALS_DIRECTORY is not set"), "{none}");
        for name in ["", "..", "../shadow", "/etc/shadow"] {
            let error = credential(name, directory()).unwrap_err();
            assert!(matches!(error, SecretError::CredentialName(_)), "{error}");
        }
    }
}
