//! Files that the configuration names: what they hold, and who may read them.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use super::document::Document;

/// Warns if everybody on this machine may read a secret, or put another in its place.
pub(super) fn warn_if_open(file: &Path, key: &str, document: &Document<'_>) {
    if let Some(may) = everybody_may(file) {
        let file = file.display();
        document.warning(
            key,
            &format!("everybody on this machine may {may} {file}"),
            &format!("chmod o= {file}: its owner and its group keep what they may"),
        );
    }
}

/// What users that have nothing to do with a file may do to it; `None`: nothing. A file that cannot be looked at is
/// reported by whoever reads it.
pub(super) fn everybody_may(file: &Path) -> Option<&'static str> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (true, false) => Some("read"),
        (_, true) => Some("change"),
        (false, false) => None,
    }
}

/// Reports a file that whoever runs this could not append to or make; warns of one that everybody may read.
pub(super) fn appendable(file: &Path, key: &str, document: &Document<'_>) {
    let named = file.display();
    let found = match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => Err((
            format!("{named} is no regular file"),
            "name a file in a folder of its own".to_owned(),
        )),
        Ok(_) => access(file, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
            let remedy = "it must belong to the user that runs wabridge".to_owned();
            (format!("{named} cannot be written: {error}"), remedy)
        }),
        Err(_) => can_make(file),
    };
    match found {
        Ok(()) => warn_if_open(file, key, document),
        Err((what, remedy)) => document.problem(key, &what, &remedy),
    }
}

fn can_make(file: &Path) -> Result<(), (String, String)> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let folder = folder.display();
        (
            format!("no file can be made in {folder}: {error}"),
            format!(
                "install -d -m 750 -o wabridge {folder}, if that is the user that runs wabridge"
            ),
        )
    })
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(
    file: &Path,
    key: &str,
    remedy: &str,
    document: &Document<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .and_then(|all| match all.is_empty() {
            true => Err(pem::Error::NoItemsFound),
            false => Ok(all),
        });
    certificates
        .map_err(|error| {
            let remedy = remedy_of(file, &error, remedy);
            document.problem(key, &unreadable(file, "certificate", &error), &remedy);
        })
        .ok()
}

/// What to do about a PEM file that is of no use: `otherwise`, unless all that is missing is the right to read it.
pub(super) fn remedy_of(file: &Path, error: &pem::Error, otherwise: &str) -> String {
    match error {
        pem::Error::Io(error) if error.kind() == ErrorKind::PermissionDenied => let_us_read(file),
        _ => otherwise.to_owned(),
    }
}

/// What to do about a file that is there and that we may not read.
pub(super) fn let_us_read(file: &Path) -> String {
    let file = file.display();
    format!(
        "the user that runs wabridge must be able to read it: chgrp wabridge {file} && chmod 640 {file}; where its folder is \
         root's alone, as Let's Encrypt's is, copy it from there"
    )
}

/// Why a PEM file is of no use. The library's own words are left out where they could quote the file.
pub(super) fn unreadable(file: &Path, wanted: &str, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!("cannot read {file}: {error}"),
        pem::Error::NoItemsFound => format!("there is no {wanted} in {file}"),
        _ => format!("{file} is no PEM file, or a damaged one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_and_not_for_us_is_not_called_the_wrong_one() {
        let file = Path::new("/etc/wabridge/privkey.pem");
        let otherwise = "name another file";
        let remedy = |kind: ErrorKind| remedy_of(file, &pem::Error::Io(kind.into()), otherwise);
        let denied = remedy(ErrorKind::PermissionDenied);
        let chgrp =
            "chgrp wabridge /etc/wabridge/privkey.pem && chmod 640 /etc/wabridge/privkey.pem";
        assert!(denied.contains(chgrp), "{denied}");
        assert_eq!(remedy(ErrorKind::NotFound), otherwise);
    }
}
