//! Passwords, which every section that has one keeps under the same keys.

use std::io::ErrorKind;

use super::document::Document;
use super::files;
use crate::secret::{Keys, Secret, SecretError, Source};

/// How one section's password is spoken of.
pub(super) struct Words {
    /// The section's first key: where nothing of the password is written, it stands for it.
    pub(super) first_key: &'static str,
    /// What to write into an empty file.
    pub(super) whose: &'static str,
    /// Where an operator finds it.
    pub(super) found_at: &'static str,
}

/// Reads the password of the section `at`, and says where it is kept.
pub(super) fn read(
    keys: Keys,
    at: &str,
    words: &Words,
    document: &Document<'_>,
) -> Option<(Secret, Source)> {
    let written = [
        (keys.file.is_some(), "password_file"),
        (keys.credential.is_some(), "password_credential"),
        (keys.env.is_some(), "password_env"),
        (keys.inline.is_some(), "password"),
    ];
    let first = written.iter().find(|(is_written, _)| *is_written);
    let key = format!("{at}.{}", first.map_or(words.first_key, |(_, key)| key));
    if keys.inline.is_some() {
        let what = match files::everybody_may(document.file()) {
            Some(_) => "everybody on this machine may read this file, and has the password",
            None => "whoever can read this file has the password",
        };
        document.warning(
            &format!("{at}.password"),
            what,
            "keep it in a file of its own and name that in password_file",
        );
    }
    if let Some(file) = &keys.file {
        files::warn_if_open(file, &key, document);
    }
    Source::one_of("password", keys)
        .and_then(|source| Ok((source.load()?, source)))
        .map_err(|error| document.problem(&key, &error.to_string(), &remedy(&error, words)))
        .ok()
}

fn remedy(error: &SecretError, words: &Words) -> String {
    let remedy = match error {
        SecretError::Missing { .. } => words.found_at,
        SecretError::Several { .. } => "password_file is the safest of them",
        SecretError::File { path, error } if error.kind() == ErrorKind::PermissionDenied => {
            return files::let_us_read(path);
        }
        SecretError::File { .. } => "create it, readable by the user that runs wabridge",
        SecretError::NoCredentials(_) => {
            "systemd gives it to the service it starts, by LoadCredential= in the unit. By hand: systemd-run --pipe --wait \
             -p User=wabridge -p LoadCredential=wabridge:/etc/wabridge/credentials wabridge check -c FILE (or doctor)"
        }
        SecretError::Credential { .. } => {
            "with the package's unit the file /etc/wabridge/credentials/NAME is wabridge_NAME, with another it is called as in \
             LoadCredential=NAME:FILE; credentials are read at the start, so restart, not reload"
        }
        SecretError::CredentialName(_) => "write the NAME of the unit's LoadCredential=NAME:FILE",
        SecretError::Env(_) => "set it in the environment of the service, or use password_file",
        SecretError::Empty(_) => return format!("write {} into it", words.whose),
        SecretError::Lines(_) => "leave nothing but the password in it",
    };
    remedy.to_owned()
}
