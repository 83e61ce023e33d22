//! The certificate and key that we show to Meta, checked as Meta will check them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::document::Document;
use super::files;

/// How long before its end a certificate is worth a warning. Let's Encrypt renews 30 days before; whatever is left
/// at 21 has failed at least once.
const RENEWAL_IS_LATE: Duration = Duration::from_secs(21 * 24 * 3600);

/// Our certificate chain and its key, as they were when the configuration was read.
#[derive(Clone)]
pub struct Certificate(Arc<Pair>);

struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// A pair that was made in memory, and that nobody has checked.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Certificate {
        Certificate(Arc::new(Pair { chain, key }))
    }

    /// The certificate, followed by those that vouch for it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// When it expires; `None` if it cannot be understood.
    pub fn expires(&self) -> Option<SystemTime> {
        let (_, parsed) = X509Certificate::from_der(self.0.chain.first()?).ok()?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Its key, for the TLS library alone.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }

    /// Reads `meta.certificate` and `meta.key` and checks them for the names that Meta calls us by. Each name comes
    /// with the key that it was read from.
    pub(super) fn read(
        certificate: &Path,
        key: &Path,
        names: &[(&str, &str)],
        now: SystemTime,
        document: &Document<'_>,
    ) -> Option<Certificate> {
        let full_chain = "name the PEM file with the certificate and its chain (fullchain.pem)";
        let chain = files::certificates(certificate, "meta.certificate", full_chain, document);
        let key = read_key(key, document);
        let chain = chain?;
        check_dates(chain.first()?, now, document);
        check_names(chain.first()?, names, document);
        check_chain(&chain, document);
        let pair = Pair { chain, key: key? };
        check_pair(&pair, document);
        Some(Certificate(Arc::new(pair)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificate(chain of {}, key secret)",
            self.chain().len()
        )
    }
}

/// Two are equal if their chains are: a key always matches its certificate.
impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.chain() == other.chain()
    }
}

fn read_key(file: &Path, document: &Document<'_>) -> Option<PrivateKeyDer<'static>> {
    let refuse = |error: pem::Error, remedy: &str| {
        document.problem(
            "meta.key",
            &files::unreadable(file, "private key", &error),
            &files::remedy_of(file, &error, remedy),
        );
    };
    let right_file = "name the PEM file of the certificate's private key";
    let text = std::fs::read(file)
        .map_err(|error| refuse(pem::Error::Io(error), right_file))
        .ok()?;
    // PKCS #8 says so in its label, the older forms in a header.
    let remedy = match text.windows(9).any(|word| word == b"ENCRYPTED") {
        true => "store it without a passphrase: openssl pkey -in OLD -out NEW",
        false => right_file,
    };
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| refuse(error, remedy))
        .ok()?;
    files::warn_if_open(file, "meta.key", document);
    Some(key)
}

fn check_pair(pair: &Pair, document: &Document<'_>) {
    let (chain, key) = (pair.chain.clone(), pair.key.clone_key());
    let Err(error) = CertifiedKey::from_der(chain, key, &ring::default_provider()) else {
        return;
    };
    let what = match error {
        rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate",
        _ => "the key is of a kind that TLS cannot use",
    };
    let remedy = "take both files from the same directory of the same renewal";
    document.problem("meta.key", what, remedy);
}

fn check_dates(certificate: &CertificateDer<'_>, now: SystemTime, document: &Document<'_>) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        document.problem(
            "meta.certificate",
            "the certificate cannot be understood",
            "have it issued anew",
        );
        return;
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    let renew = "renew it: Meta refuses it once it has expired";
    let late = i64::try_from(RENEWAL_IS_LATE.as_secs()).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        let what = format!("the certificate expired on {}", validity.not_after);
        document.problem("meta.certificate", &what, "renew it: Meta refuses it");
    } else if now < validity.not_before.timestamp() {
        let what = format!(
            "the certificate is not valid before {}",
            validity.not_before
        );
        document.problem("meta.certificate", &what, "check the clock of this machine");
    } else if now > validity.not_after.timestamp() - late {
        let what = format!("the certificate expires on {}", validity.not_after);
        document.warning("meta.certificate", &what, renew);
    }
}

/// Meta verifies our name on the INVITE and on every later request.
fn check_names(certificate: &CertificateDer<'_>, names: &[(&str, &str)], document: &Document<'_>) {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        document.problem(
            "meta.certificate",
            "the certificate cannot be used for TLS",
            "have it issued anew",
        );
        return;
    };
    for (key, name) in names {
        // A name that is none has been reported with its own key.
        let Ok(server) = DnsName::try_from(*name).map(ServerName::DnsName) else {
            continue;
        };
        if verify_server_name(&parsed, &server).is_err() {
            document.problem(
                "meta.certificate",
                &format!("the certificate does not cover {name} ({key})"),
                "have it issued for that name: Meta compares them",
            );
        }
    }
}

fn check_chain(chain: &[CertificateDer<'_>], document: &Document<'_>) {
    if let [only] = chain
        && let Ok((_, parsed)) = X509Certificate::from_der(only)
    {
        let what = match parsed.subject() == parsed.issuer() {
            true => "the certificate is self-signed, which Meta refuses",
            false => "the file holds one certificate and not the chain, which Meta needs",
        };
        document.warning(
            "meta.certificate",
            what,
            "name fullchain.pem of a public authority",
        );
    }
}
