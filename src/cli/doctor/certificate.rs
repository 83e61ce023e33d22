//! Our certificate, verified as a client of the public internet verifies it, which is what Meta does.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::Finding;
use super::names::hostnames;
use crate::config::Config;
use crate::sip::transport::tls::{self, Roots};

const ABOUT: &str = "certificate";
const ISSUE: &str = "have it issued by a public authority, Let's Encrypt for instance, and name its fullchain.pem in meta.certificate";

pub fn check(config: &Config) -> Vec<Finding> {
    let roots = match tls::root_store(&Roots::system()) {
        Ok(roots) => roots,
        Err(error) => {
            let what = format!("it cannot be verified: {error}");
            return vec![Finding::warn(ABOUT, what, "apt install ca-certificates")];
        }
    };
    let names: Vec<String> = hostnames(config).into_keys().collect();
    judge(config.certificate.chain(), &names, roots, SystemTime::now())
}

fn judge(
    chain: &[CertificateDer<'_>],
    names: &[String],
    roots: RootCertStore,
    now: SystemTime,
) -> Vec<Finding> {
    let Some((leaf, others)) = chain.split_first() else {
        return vec![Finding::fail(ABOUT, "there is none", ISSUE)];
    };
    let provider = Arc::new(ring::default_provider());
    let verifier =
        match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() {
            Ok(verifier) => verifier,
            Err(error) => return vec![Finding::warn(ABOUT, error.to_string(), "")],
        };
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let verified = |name: &String| {
        let server = ServerName::try_from(name.as_str())
            .map_err(|error| Finding::fail(ABOUT, format!("{name}: {error}"), "mend the name"))?;
        match verifier.verify_server_cert(leaf, others, &server, &[], now) {
            Ok(_) => Ok(Finding::ok(
                ABOUT,
                format!("good for {name}{}", until(leaf)),
            )),
            Err(error) => Err(explain(&error, name, chain)),
        }
    };
    names
        .iter()
        .map(|name| verified(name).unwrap_or_else(|finding| finding))
        .collect()
}

fn until(leaf: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(leaf) {
        Ok((_, parsed)) => format!(" until {}", parsed.validity().not_after),
        Err(_) => String::new(),
    }
}

fn explain(error: &rustls::Error, name: &str, chain: &[CertificateDer<'_>]) -> Finding {
    use CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        return Finding::fail(ABOUT, format!("it cannot be verified: {error}"), ISSUE);
    };
    let (what, remedy) = match bad {
        Bad::UnknownIssuer | Bad::BadSignature => return unknown(chain),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => (
            "it is not meant for servers (extended key usage)".to_owned(),
            "have it issued with serverAuth: one for clients alone is refused",
        ),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
            format!("it does not cover {name}"),
            "have it issued for that name as well: Meta compares them",
        ),
        Bad::Expired | Bad::ExpiredContext { .. } => (
            format!("it has expired ({bad})"),
            "renew it, then: systemctl reload wabridge",
        ),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => (
            format!("it is not valid yet ({bad})"),
            "set the clock of this host",
        ),
        bad => (format!("it is not valid: {bad}"), ISSUE),
    };
    Finding::fail(ABOUT, what, remedy)
}

/// Nobody who is trusted has vouched for it: for want of whom?
fn unknown(chain: &[CertificateDer<'_>]) -> Finding {
    let self_signed = chain.first().is_some_and(|leaf| {
        X509Certificate::from_der(leaf).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
    });
    let (what, remedy) = match (self_signed, chain.len()) {
        (true, _) => ("it is self-signed, which Meta refuses", ISSUE),
        (false, 1) => (
            "the file holds the certificate alone: whoever vouches for it is missing",
            "name the file with the whole chain (fullchain.pem) in meta.certificate",
        ),
        _ => (
            "its chain leads to no public authority that this host knows",
            ISSUE,
        ),
    };
    Finding::fail(ABOUT, what, remedy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    use super::super::finding::Level;
    use super::*;

    const NAME: &str = "bridge.example.com";

    /// A public authority, and one below it that issues.
    struct Authorities {
        roots: RootCertStore,
        between: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
    }

    fn authorities() -> Authorities {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("root");
        let root_certificate = root.self_signed(&root_key).unwrap();
        let root = Issuer::new(root, root_key);
        let params = authority("between");
        let between = params.signed_by(&key, &root).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(root_certificate.der().clone()).unwrap();
        Authorities {
            roots,
            between,
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        params
    }

    #[track_caller]
    fn said(
        chain: &[CertificateDer<'_>],
        name: &str,
        roots: RootCertStore,
        now: SystemTime,
    ) -> (Level, String) {
        let findings = judge(chain, &[name.to_owned()], roots, now);
        let [finding] = findings.as_slice() else {
            panic!("{findings:?}");
        };
        (finding.level, finding.what.clone())
    }

    #[test]
    fn what_meta_would_refuse_is_refused_and_the_reason_is_said() {
        let known = authorities();
        let key = KeyPair::generate().unwrap();
        let signed = |purpose| {
            leaf(purpose)
                .signed_by(&key, &known.issuer)
                .unwrap()
                .der()
                .clone()
        };
        let server = signed(ExtendedKeyUsagePurpose::ServerAuth);
        let client = signed(ExtendedKeyUsagePurpose::ClientAuth);
        let alone = leaf(ExtendedKeyUsagePurpose::ServerAuth)
            .self_signed(&key)
            .unwrap();
        let whole = [server.clone(), known.between.clone()];
        let now = SystemTime::now();
        let check =
            |chain: &[CertificateDer<'_>], name, now| said(chain, name, known.roots.clone(), now);

        assert_eq!(check(&whole, NAME, now).0, Level::Ok);
        let in_3000 = UNIX_EPOCH + Duration::from_secs(64_092_211_200);
        for (told, why) in [
            (
                check(&whole, "other.example.com", now),
                "does not cover other.example.com",
            ),
            (
                check(std::slice::from_ref(&server), NAME, now),
                "the certificate alone",
            ),
            (check(&[alone.der().clone()], NAME, now), "self-signed"),
            (
                check(&[client, known.between.clone()], NAME, now),
                "not meant for servers",
            ),
            (
                check(std::slice::from_ref(&known.between), NAME, now),
                "CaUsedAsEndEntity",
            ),
            (
                check(&whole, NAME, in_3000 + Duration::from_secs(100_000_000_000)),
                "expired",
            ),
            (
                said(&whole, NAME, authorities().roots, now),
                "no public authority",
            ),
        ] {
            assert_eq!(told.0, Level::Fail, "{told:?}");
            assert!(told.1.contains(why), "{told:?}: {why}");
        }
    }
}
