//! Where Meta connects: a handshake with our own listener, as from outside, and a first SIP request.

use std::io;
use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;

use super::finding::Finding;
use super::{numbers, probe};
use crate::config::Config;
use crate::sip::digest::Challenge;
use crate::sip::message::{Common, Method};
use crate::sip::transport::tls;
use crate::sip::{Response, SipUri, build};

const ABOUT: &str = "listener";
/// No number at all: nobody's telephone rings whatever becomes of the call.
const NOBODY: &str = "doctor";

pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listen in &config.meta.listen {
        findings.extend(check_one(config, *listen).await);
    }
    findings
}

async fn check_one(config: &Config, listen: SocketAddr) -> Vec<Finding> {
    let (address, stand_in) = match probe::connect(probe::reachable(listen)).await {
        Ok(stream) => return talk(config, listen, stream).await,
        Err(_) => match stand_in(config, listen).await {
            Ok((address, task)) => (address, task),
            Err(finding) => return vec![finding],
        },
    };
    let shaken = match probe::connect(address).await {
        Ok(stream) => shake(config, listen, stream).await.map(|_| ()),
        Err(error) => Err(Finding::fail(
            ABOUT,
            format!("{listen}: {error}"),
            "look for a firewall on this host",
        )),
    };
    stand_in.abort();
    vec![match shaken {
        Ok(()) => Finding::ok(
            ABOUT,
            format!("{listen} is free, and its TLS works; the bridge does not run just now"),
        ),
        Err(finding) => finding,
    }]
}

/// Listens in the bridge's place while it does not run.
async fn stand_in(
    config: &Config,
    listen: SocketAddr,
) -> Result<(SocketAddr, JoinHandle<()>), Finding> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| unbound(listen, &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| unbound(listen, &error))?;
    let (chain, key) = (
        config.certificate.chain().to_vec(),
        config.certificate.key().clone_key(),
    );
    let server = tls::server_config_from(chain, key).map_err(|error| {
        Finding::fail(
            "certificate",
            error.to_string(),
            "see meta.certificate and meta.key",
        )
    })?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whatever comes of it, the other end tells.
            let _ = TlsAcceptor::from(server.clone()).accept(stream).await;
        }
    });
    Ok((probe::reachable(address), task))
}

fn unbound(listen: SocketAddr, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has the port and does not answer: ss -ltnp 'sport = :{}' names it",
            listen.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address: give meta.listen one of this host, or 0.0.0.0".into()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: take 5061".into()
        }
        _ => "see meta.listen".into(),
    };
    Finding::fail(
        ABOUT,
        format!("{listen} cannot be listened on: {error}"),
        remedy,
    )
}

async fn talk(config: &Config, listen: SocketAddr, stream: TcpStream) -> Vec<Finding> {
    let mut stream = match shake(config, listen, stream).await {
        Ok(stream) => stream,
        Err(finding) => return vec![finding],
    };
    let session = stream.get_ref().1;
    let shown = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .cloned();
    let version = session
        .protocol_version()
        .map_or("TLS", |version| version.as_str().unwrap_or("TLS"));
    let mut findings = vec![certificate_shown(
        listen,
        version,
        shown.as_ref(),
        config.certificate.chain().first(),
    )];
    findings.extend(first_request(config, listen, &mut stream).await);
    findings
}

async fn shake(
    config: &Config,
    listen: SocketAddr,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Finding> {
    // Who vouches for it is a matter of its own (see certificate.rs); this is whether TLS gets through.
    let client = tls::client_config_without_verification()
        .map_err(|error| Finding::fail(ABOUT, error.to_string(), ""))?;
    let shaken = probe::shake(stream, client, &config.meta.hostname).await;
    shaken.map_err(|why| {
        Finding::fail(
            ABOUT,
            format!("{listen} does not shake hands: {why}"),
            "another program may have the port, or too many connections are open; the log of the bridge says more",
        )
    })
}

/// A renewed certificate is shown once the bridge has read it.
fn certificate_shown(
    listen: SocketAddr,
    version: &str,
    shown: Option<&CertificateDer<'_>>,
    configured: Option<&CertificateDer<'_>>,
) -> Finding {
    match shown == configured {
        true => Finding::ok(
            ABOUT,
            format!("{listen} speaks {version}, and shows the configured certificate"),
        ),
        false => Finding::warn(
            ABOUT,
            format!("{listen} shows another certificate than meta.certificate has"),
            "systemctl reload wabridge; if that does not help, another program has the port",
        ),
    }
}

/// A call that Meta would place, without credentials: it is challenged, or this host may not call at all.
async fn first_request(
    config: &Config,
    listen: SocketAddr,
    stream: &mut TlsStream<TcpStream>,
) -> Option<Finding> {
    let number = config.numbers.first()?;
    let ours = stream.get_ref().0.local_addr().ok()?;
    // Where the bridge that runs has another configuration, and challenges nobody, an INVITE for a number would ring.
    let challenged = config.meta.digest.challenge.status();
    let request = match challenged {
        Some(_) => numbers::invite(NOBODY, number, config, ours),
        None => {
            let uri = SipUri::new(None, &number.hostname);
            probe::request(Method::OPTIONS, uri.clone(), uri, "TLS", ours)
        }
    };
    let answer = match probe::ask(stream, &request).await {
        Ok(answer) => answer,
        Err(why) => {
            let what = format!("{listen} speaks TLS, but {why}");
            return Some(Finding::fail(
                ABOUT,
                what,
                "restart the bridge, or see which program has the port",
            ));
        }
    };
    if request.method == Method::INVITE {
        use tokio::io::AsyncWriteExt;
        // The answer is known; whether its ACK arrives changes nothing.
        let _ = stream
            .write_all(&build::ack(&request, &answer).to_bytes())
            .await;
    }
    let realm = config.meta.realm.as_deref().unwrap_or(&number.hostname);
    Some(judge(listen, &answer, challenged, realm))
}

fn judge(listen: SocketAddr, answer: &Response, challenged: Option<u16>, realm: &str) -> Finding {
    let status = answer.status;
    let asked = match status {
        401 => "WWW-Authenticate",
        _ => "Proxy-Authenticate",
    };
    let realms: Vec<String> = answer
        .headers()
        .all(asked)
        .flat_map(Challenge::parse_all)
        .filter_map(|challenge| Some(challenge.ok()?.realm))
        .collect();
    match status {
        403 => Finding::ok(
            ABOUT,
            format!(
                "{listen} answers SIP with 403: this host is not in meta.allowed_sources, as it should be; so each number's digest \
                 is rehearsed below and not asked of the bridge that runs"
            ),
        ),
        200 => Finding::ok(ABOUT, format!("{listen} answers SIP")),
        _ if Some(status) == challenged
            && realms.iter().all(|found| found == realm)
            && !realms.is_empty() =>
        {
            Finding::ok(
                ABOUT,
                format!("{listen} challenges a call with {status}, realm {realm}"),
            )
        }
        _ if Some(status) == challenged => Finding::fail(
            ABOUT,
            format!("{listen} challenges a call for the realm {realms:?}, and not {realm}"),
            "systemctl reload wabridge; another configuration is in force",
        ),
        503 => Finding::warn(
            ABOUT,
            format!("{listen} takes no calls just now (503)"),
            "it is stopping, or full: journalctl -u wabridge says why",
        ),
        _ => Finding::warn(
            ABOUT,
            format!("{listen} answers a call with {status} {}", answer.reason),
            "systemctl reload wabridge; another configuration may be in force, or another program have the port",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const LISTEN: SocketAddr = SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 87, 203, 1)),
        5061,
    );

    fn level(status: u16, realm: Option<&str>) -> Level {
        let uri = SipUri::new(None, "bridge.example.com");
        let invite = probe::request(Method::INVITE, uri.clone(), uri, "TLS", LISTEN);
        let mut answer = build::response(&invite, status, Some("tag"));
        if let Some(realm) = realm {
            let challenge =
                format!("Digest realm=\"{realm}\", nonce=\"1\", qop=\"auth\", algorithm=MD5");
            answer.headers.push("Proxy-Authenticate", challenge);
        }
        judge(LISTEN, &answer, Some(407), "bridge.example.com").level
    }

    #[test]
    fn a_challenge_must_be_for_our_realm() {
        assert_eq!(level(407, Some("bridge.example.com")), Level::Ok);
        assert_eq!(level(407, Some("old.example.com")), Level::Fail);
        assert_eq!(level(407, None), Level::Fail);
        assert_eq!(level(403, None), Level::Ok);
        assert_eq!(level(503, None), Level::Warn);
        assert_eq!(level(488, None), Level::Warn);
    }

    #[test]
    fn a_certificate_that_was_renewed_and_not_read_yet_is_noticed() {
        let [old, new] = [vec![1_u8], vec![2]].map(CertificateDer::from);
        let shown = |shown| certificate_shown(LISTEN, "TLSv1_3", shown, Some(&new)).level;
        assert_eq!(shown(Some(&new)), Level::Ok);
        assert_eq!(shown(Some(&old)), Level::Warn);
        assert_eq!(shown(None), Level::Warn);
    }

    #[test]
    fn why_an_address_cannot_be_listened_on_has_its_remedy() {
        for (kind, remedy) in [
            (io::ErrorKind::AddrInUse, "ss -ltnp"),
            (io::ErrorKind::AddrNotAvailable, "of this host"),
            (io::ErrorKind::PermissionDenied, "5061"),
        ] {
            let finding = unbound(LISTEN, &kind.into());
            assert_eq!(finding.level, Level::Fail);
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
    }
}
