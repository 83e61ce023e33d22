//! Files that the configuration names: who may read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::document::Document;

/// Warns if everybody on this machine may read a secret.
pub(super) fn warn_if_open(file: &Path, key: &str, document: &Document<'_>) {
    const OTHERS_READ: u32 = 0o004;
    // A file that cannot be looked at is reported by whoever reads it.
    let Ok(metadata) = std::fs::metadata(file) else {
        return;
    };
    if metadata.permissions().mode() & OTHERS_READ != 0 {
        let file = file.display();
        document.warning(
            key,
            &format!("everybody on this machine may read {file}"),
            &format!("chmod 600 {file}, owned by the user that runs wabridge"),
        );
    }
}

/// Reports a file of certificate authorities that holds none.
pub(super) fn check_authorities(file: &Path, key: &str, document: &Document<'_>) {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let remedy = "give a PEM file with the certificates of the authorities, or leave it out for the system's";
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    match certificates {
        Ok(certificates) if !certificates.is_empty() => {}
        Ok(_) => document.problem(
            key,
            &format!("no certificate in {}", file.display()),
            remedy,
        ),
        Err(error) => {
            document.problem(
                key,
                &format!("cannot read {}: {error}", file.display()),
                remedy,
            );
        }
    }
}
