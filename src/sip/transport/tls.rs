//! TLS as Meta and PBXs want it: versions 1.2 and 1.3, no ALPN (Meta refuses one), no client certificates.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// A certificate, key or store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: {what}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is nothing to verify a server with.
    #[error("the system has no root certificates (install ca-certificates, or set ca_file)")]
    NoRoots,
    /// A certificate and key made in memory do not do.
    #[error("{0}")]
    Unusable(String),
}

/// How TLS connections to one server are opened.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Roots and versions.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must cover, whatever host is connected to; `None`: that host.
    pub server_name: Option<String>,
}

/// Rules for several servers on one leg: each is judged by its own, never by another's.
#[derive(Clone, Debug, Default)]
pub struct ByHost(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    host: String,
    networks: Vec<IpNet>,
    client: ClientTls,
}

impl ByHost {
    /// Adds the rules for `host`. They also hold for addresses in `networks`, by which a server may name itself in a
    /// Contact; of several, the narrowest counts.
    pub fn insert(&mut self, host: &str, networks: Vec<IpNet>, client: ClientTls) {
        self.0.push(Rule {
            host: host.to_owned(),
            networks,
            client,
        });
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules for a connection to `host`, which has this address: its own, or those of its address. Where there is
    /// only one server, everything is part of it.
    pub(super) fn towards(&self, host: &str, address: IpAddr) -> Result<&ClientTls, String> {
        let named = |rule: &&Rule| rule.host.eq_ignore_ascii_case(host);
        let nearness = |rule: &Rule| {
            let holding = rule.networks.iter().filter(|net| net.contains(&address));
            holding.map(IpNet::prefix_len).max()
        };
        let found = self.0.iter().find(named);
        let nearby = || self.0.iter().filter(|rule| nearness(rule).is_some());
        let found = found.or_else(|| nearby().max_by_key(|rule| nearness(rule)));
        match (found, self.0.as_slice()) {
            (Some(rule), _) | (None, [rule]) => Ok(&rule.client),
            _ => Err(format!(
                "{host} is none of the hosts that are reached by TLS, and {address} is in no allowed_sources of theirs"
            )),
        }
    }
}

/// Whom a client trusts to vouch for a server.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// The system's store.
    pub system: bool,
    /// PEM files with further authorities.
    pub files: Vec<PathBuf>,
    /// Authorities made in memory.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// The system's store alone.
    pub fn system() -> Roots {
        Roots {
            system: true,
            ..Roots::default()
        }
    }

    /// These certificates alone.
    pub fn only(certificates: Vec<CertificateDer<'static>>) -> Roots {
        Roots {
            certificates,
            ..Roots::default()
        }
    }
}

/// For a listener: the certificate chain, leaf first, and its key, both PEM.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certificates(certificate)?;
    let private = read_key(key)?;
    server_config_from(chain, private).map_err(|error| TlsError::Content {
        path: key.to_owned(),
        what: match error {
            TlsError::Unusable(what) => {
                format!("with the certificate {}: {what}", certificate.display())
            }
            other => other.to_string(),
        },
    })
}

/// For a listener, from memory.
pub fn server_config_from(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        // Meta's own client certificate would fail validation (SIP guide, 2025-12-15), so none is asked for.
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // A peer that comes back shows its ticket and is spared half of the handshake, however many peers there are: nothing is
    // kept of them here. A ticket is good for as long as this certificate is.
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    Ok(Arc::new(config))
}

/// For connections that we open: the server is verified against `roots`. It keeps the servers' tickets, so a connection that is
/// opened again resumes where it is this very value, and verifies anew where it is another.
pub fn client_config(roots: &Roots) -> Result<Arc<ClientConfig>, TlsError> {
    let config = client_builder()?
        .with_root_certificates(root_store(roots)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For connections that we open to anybody at all: whoever sits between us and the server can read and change
/// everything. Only for a PBX on a network that is trusted otherwise; never for Meta.
pub fn client_config_without_verification() -> Result<Arc<ClientConfig>, TlsError> {
    let config = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnybody(provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(error: rustls::Error) -> TlsError {
    TlsError::Unusable(match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key does not belong to the certificate".to_owned()
        }
        other => other.to_string(),
    })
}

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError>
{
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)
}

/// The authorities themselves.
pub fn root_store(roots: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if roots.system {
        // Single unreadable certificates of the system's are passed over, as every other program does.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for path in &roots.files {
        for certificate in read_certificates(path)? {
            store.add(certificate).map_err(|error| TlsError::Content {
                path: path.clone(),
                what: format!("a certificate in it is no authority: {error}"),
            })?;
        }
    }
    for certificate in &roots.certificates {
        store.add(certificate.clone()).map_err(unusable)?;
    }
    match store.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(store),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let content = |what: String| TlsError::Content {
        path: path.to_owned(),
        what,
    };
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(error.to_string()))?;
    match chain.is_empty() {
        true => Err(content("there is no PEM certificate in it".into())),
        false => Ok(chain),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let text = String::from_utf8_lossy(&pem);
        // PKCS #8 says so in its label, the older forms in a header.
        let what = if text.contains("ENCRYPTED") {
            "the key is encrypted; store it without a passphrase (openssl pkey -in … -out …)".into()
        } else if matches!(error, rustls_pki_types::pem::Error::NoItemsFound) {
            "there is no PEM private key in it".into()
        } else {
            // The library's message may quote a line of the file.
            "it is no well-formed PEM".to_owned()
        };
        TlsError::Content {
            path: path.to_owned(),
            what,
        }
    })
}

/// What went wrong in a handshake with `name`, for the operator.
pub fn explain(error: &std::io::Error, name: &str) -> String {
    use rustls::CertificateError as Bad;
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => format!(
                "its certificate is not for {name} ({bad}); connect to the right host, or set the name to verify"
            ),
            // The second: an authority of the same name, but with another key.
            Bad::UnknownIssuer | Bad::BadSignature => format!(
                "its certificate for {name} comes from an authority that is not trusted here; name it in ca_file"
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => {
                format!("its certificate for {name} has expired ({bad})")
            }
            bad => format!("its certificate for {name} is not valid: {bad}"),
        },
        Some(rustls::Error::AlertReceived(alert)) => format!("it refused TLS with {alert:?}"),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS on this port".into(),
        Some(other) => format!("TLS: {other}"),
        None => format!("TLS: {error}"),
    }
}

/// Accepts every certificate. Signatures are still checked, so that the library's own rules hold.
#[derive(Debug)]
struct TrustsAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_with_its_key_is_a_server_without_alpn() {
        let (certificate, key) = pair();
        let dir = written(&[("c.pem", &certificate), ("k.pem", &key)]);
        let config = server_config(&dir.path().join("c.pem"), &dir.path().join("k.pem")).unwrap();
        assert!(config.alpn_protocols.is_empty());
    }

    #[test]
    fn an_unusable_file_is_named_with_what_is_wrong_in_it() {
        let (certificate, key) = pair();
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let dir = written(&[
            ("c.pem", &certificate),
            ("k.pem", &key),
            ("other.pem", &pair().1),
            ("locked.pem", locked),
            ("empty.pem", "hello"),
        ]);
        let says = |certificate: &str, key: &str| {
            server_config(&dir.path().join(certificate), &dir.path().join(key))
                .unwrap_err()
                .to_string()
        };
        for (certificate, key, file, what) in [
            ("none.pem", "k.pem", "none.pem", "No such file"),
            ("empty.pem", "k.pem", "empty.pem", "no PEM certificate"),
            ("c.pem", "empty.pem", "empty.pem", "no PEM private key"),
            ("c.pem", "locked.pem", "locked.pem", "encrypted"),
            ("c.pem", "other.pem", "other.pem", "does not belong"),
        ] {
            let said = says(certificate, key);
            assert!(said.contains(file) && said.contains(what), "{said}");
        }
    }

    #[test]
    fn a_client_without_any_root_is_refused_and_none_offers_alpn() {
        assert!(matches!(
            client_config(&Roots::default()),
            Err(TlsError::NoRoots)
        ));
        let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
        let config = client_config(&Roots::only(vec![made.cert.der().clone()])).unwrap();
        assert!(config.alpn_protocols.is_empty());
        let config = client_config_without_verification().unwrap();
        assert!(config.alpn_protocols.is_empty());
    }
}
