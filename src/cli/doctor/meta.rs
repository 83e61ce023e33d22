//! The way to Meta: its name, a connection, and TLS that is Meta's own.

use std::io;
use std::net::SocketAddr;

use super::finding::Finding;
use super::probe;
use crate::config::Config;
use crate::daemon::Trust;
use crate::sip::transport::tls;

const ABOUT: &str = "meta";

pub async fn check(config: &Config, trust: &Trust) -> Vec<Finding> {
    let (domain, port) = (&config.meta.domain, config.meta.port);
    let addresses = match config.meta.address {
        Some(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        None => probe::resolve(domain, port).await,
    };
    let addresses = match addresses {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return vec![nameless(domain, "it has no address")],
        Err(why) => return vec![nameless(domain, &why)],
    };
    any_of(addresses, domain, trust).await
}

/// One address that works is enough for every call; those before it cost each of them a try.
async fn any_of(addresses: Vec<SocketAddr>, domain: &str, trust: &Trust) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        match reach(address, domain, trust).await {
            Ok(finding) => {
                findings.push(finding);
                return findings;
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.push(Finding::fail(
        ABOUT,
        format!("{domain} cannot be reached: calls to WhatsApp get 503"),
        "see what stands above for each of its addresses",
    ));
    findings
}

fn nameless(domain: &str, why: &str) -> Finding {
    Finding::fail(
        ABOUT,
        format!("{domain} cannot be looked up: {why}"),
        "the name servers of this host (/etc/resolv.conf) must know names of the internet",
    )
}

async fn reach(address: SocketAddr, domain: &str, trust: &Trust) -> Result<Finding, Finding> {
    let stream = probe::connect(address)
        .await
        .map_err(|error| unreachable(address, &error))?;
    let client = tls::client_config(&trust.meta)
        .map_err(|error| Finding::fail(ABOUT, error.to_string(), "apt install ca-certificates"))?;
    let stream = probe::shake(stream, client, domain).await.map_err(|why| {
        Finding::warn(
            ABOUT,
            format!("{address} answers in place of {domain}: {why}"),
            "something between opens TLS (a proxy, a firewall with inspection): let port 5061 pass untouched; or meta.ca_file \
             names the wrong authorities: leave it out for Meta",
        )
    })?;
    let version = stream.get_ref().1.protocol_version();
    let version = version
        .and_then(|version| version.as_str())
        .unwrap_or("TLS");
    Ok(Finding::ok(
        ABOUT,
        format!("{domain} at {address} speaks {version} with a certificate of its own"),
    ))
}

fn unreachable(address: SocketAddr, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::TimedOut => {
            "a firewall drops it: allow TCP from here to port 5061 of Meta's networks"
        }
        io::ErrorKind::ConnectionRefused => "a firewall refuses it, or meta.port is not 5061",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "this host has no way to that address: see ip route. If only IPv6 is meant, IPv4 is tried as well"
        }
        _ => "see whether other hosts on the internet can be reached",
    };
    // A way by one version of IP is missing on many hosts, and the next address does.
    Finding::warn(
        ABOUT,
        format!("no connection to {address}: {error}"),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::finding::Level;
    use super::*;
    use crate::sip::transport::tls::Roots;

    const DOMAIN: &str = "wa.meta.vc";

    /// Somebody with a certificate for `name`, and who vouches for it.
    async fn somebody(name: &str) -> (SocketAddr, Trust) {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = tls::server_config_from(vec![leaf.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.87.202.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = TlsAcceptor::from(server.clone()).accept(stream).await;
            }
        });
        let trust = Trust {
            meta: Roots::only(vec![ca_certificate.der().clone()]),
            pbxs: Default::default(),
        };
        (address, trust)
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[tokio::test]
    async fn meta_is_whoever_can_prove_it_whatever_other_address_is_silent() {
        let (address, trust) = somebody(DOMAIN).await;
        let closed = TcpListener::bind("127.87.202.2:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let findings = any_of(vec![closed, address], DOMAIN, &trust).await;
        assert_eq!(levels(&findings), [Level::Warn, Level::Ok], "{findings:#?}");
        assert!(findings[0].remedy.contains("firewall"), "{}", findings[0]);
    }

    #[tokio::test]
    async fn whoever_opens_tls_in_between_is_found_out() {
        let (address, trust) = somebody("proxy.example.com").await;
        let (_, others) = somebody(DOMAIN).await;
        for (trust, why) in [(trust, "not for wa.meta.vc"), (others, "not trusted here")] {
            let findings = any_of(vec![address], DOMAIN, &trust).await;
            assert_eq!(
                levels(&findings),
                [Level::Warn, Level::Fail],
                "{findings:#?}"
            );
            assert!(findings[0].what.contains(why), "{}", findings[0]);
            assert!(
                findings[0].remedy.contains("something between"),
                "{}",
                findings[0]
            );
        }
    }
}
