//! Each number: the digest round of a call from WhatsApp, and what must be set for it at Meta.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::finding::Finding;
use super::probe;
use crate::call::{Action, Bridge, Event};
use crate::config::Config;
use crate::daemon;
use crate::leg::Leg;
use crate::media::{Command, Facing, LocalPorts, OpenError, Opened, Plane, SessionId};
use crate::policy::{KeyExchange, Keying, Number};
use crate::sip::digest::Challenge;
use crate::sip::digest::client::{Client, Login, Target};
use crate::sip::message::Message;
use crate::sip::token::Tokens;
use crate::sip::transaction::Table;
use crate::sip::transport::{Arrival, ConnectionId, Flow, Protocol};
use crate::sip::{Method, Request, Response, SipUri, Via, build};

const ABOUT: &str = "number";
/// What a user's phone might offer. Nobody ever sends anything to it.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 31.13.66.1\r\ns=-\r\nc=IN IP4 31.13.66.1\r\nt=0 0\r\n\
    m=audio 3480 RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\n";

pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let port = config
        .meta
        .listen
        .first()
        .map_or(Protocol::Tls.default_port(), SocketAddr::port);
    for number in &config.numbers {
        findings.push(match digest_round(config, number) {
            Ok(status) => judge(number, status),
            Err(finding) => finding,
        });
        findings.push(from_domain(number, &config.meta.hostname));
        findings.push(at_meta(number, port));
    }
    findings
}

/// Meta takes a call if the SIP server of the number is what its From names, or a sub-domain of it (SIP guide, 2025-12-15);
/// as a rule that server is the bridge by its own name.
fn from_domain(number: &Number, bridge: &str) -> Finding {
    let Number {
        hostname,
        number: name,
        ..
    } = number;
    let bridge = bridge.to_ascii_lowercase();
    let from = hostname.to_ascii_lowercase();
    let is_below = bridge
        .strip_suffix(&from)
        .is_some_and(|rest| rest.ends_with('.'));
    match bridge == from || is_below {
        true => Finding::ok(
            ABOUT,
            format!(
                "{name}: calls name {hostname} in From, which goes with meta.hostname {bridge}"
            ),
        ),
        false => Finding::warn(
            ABOUT,
            format!(
                "{name}: calls name {hostname} in From, and the bridge is {bridge}: with {bridge} as its SIP server at Meta every \
                 call is refused with 403"
            ),
            format!(
                "leave number.hostname out, unless the SIP server of this number at Meta is {hostname}, or ends in .{hostname}"
            ),
        ),
    }
}

/// What Meta must have been told, which nobody can see from here (SIP guide, 2025-12-15).
fn at_meta(number: &Number, port: u16) -> Finding {
    let Number {
        hostname,
        number: name,
        ..
    } = number;
    let keying = match number.keying {
        Keying::Set(kind) => kind,
        Keying::Auto { offer } => offer,
    };
    let protocol = match keying {
        KeyExchange::Dtls => "DTLS",
        KeyExchange::Sdes => "SDES",
    };
    Finding::note(
        ABOUT,
        format!(
            "{name}: calls name {hostname} in From, and Meta refuses them with 403 unless its SIP server for this number is \
             {hostname}, or a name that ends in .{hostname}; port {port}, srtp_key_exchange_protocol {protocol}"
        ),
        "compare: GET /<PHONE_NUMBER_ID>/settings?include_sip_credentials=true shows server, key exchange and password",
    )
}

/// An INVITE to `user` at a number's hostname as Meta sends it, without credentials.
pub fn invite(user: &str, number: &Number, config: &Config, ours: SocketAddr) -> Request {
    let to = SipUri::new(Some(user), &number.hostname);
    let from = SipUri::new(Some("+15550100000"), &config.meta.domain);
    let mut invite = probe::request(Method::INVITE, to, from, "TLS", ours);
    invite.headers.push("Content-Type", "application/sdp");
    invite.body = OFFER.into();
    invite
}

/// Signalling as it would run with this configuration, but without a PBX: no call can go further than its digest.
struct Rehearsal {
    bridge: Bridge,
    flow: Flow,
}

/// There is no media in a rehearsal.
struct NoMedia;

fn none(pbx: Facing) -> OpenError {
    OpenError::Socket {
        address: pbx.address,
        reason: "there is no media in a rehearsal".into(),
    }
}

impl Plane for NoMedia {
    fn open(&mut self, pbx: Facing) -> Result<Opened, OpenError> {
        Err(none(pbx))
    }
    fn face(&mut self, _: SessionId, pbx: Facing) -> Result<LocalPorts, OpenError> {
        Err(none(pbx))
    }
    fn command(&mut self, _: SessionId, _: Command) {}
    fn close(&mut self, _: SessionId) {}
}

impl Rehearsal {
    /// `None` if nobody may call.
    fn new(config: &Config) -> Option<Rehearsal> {
        let source = config.meta.allowed_sources.first()?.addr();
        let local = config.meta.listen.first()?;
        let setup = daemon::setup_without_pbxs(config, Some(local.port()));
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key).ok()?;
        Some(Rehearsal {
            bridge: Bridge::new(
                Arc::new(setup),
                Table::new(config.transactions.clone()),
                Box::new(NoMedia),
                Tokens::system(),
                nonce_key,
                Instant::now(),
            ),
            flow: Flow {
                leg: Leg::Meta,
                protocol: Protocol::Tls,
                local: *local,
                remote: SocketAddr::new(source, 5061),
                connection: Some(ConnectionId(1)),
            },
        })
    }

    fn answer(&mut self, request: Request) -> Option<Response> {
        let at = Instant::now();
        let arrival = Arrival {
            octets: request.to_bytes().into(),
            message: request.into(),
            flow: self.flow,
            at,
        };
        let actions = self.bridge.handle(Event::Arrived(arrival), at);
        actions.into_iter().find_map(|action| match action {
            Action::Send {
                message: Message::Response(response),
                ..
            } if !response.is_provisional() => Some(response),
            _ => None,
        })
    }
}

/// The status of an INVITE with the credentials that Meta would compute; 503 is what it must come to without a PBX.
fn digest_round(config: &Config, number: &Number) -> Result<u16, Finding> {
    let nothing = || {
        Finding::fail(
            ABOUT,
            "meta.allowed_sources lets nobody call",
            "leave it out",
        )
    };
    let mut rehearsal = Rehearsal::new(config).ok_or_else(nothing)?;
    let ours = rehearsal.flow.remote;
    let first = invite(&number.number.plus(), number, config, ours);
    let challenge = rehearsal.answer(first.clone()).ok_or_else(nothing)?;
    if challenge.status == 503 {
        return Err(Finding::warn(
            ABOUT,
            format!("{}: calls from WhatsApp need no password", number.number),
            "set meta.digest.challenge to \"407\"",
        ));
    }
    let via = Via::new(
        "TLS",
        &probe::bracketed(ours.ip()),
        ours.port(),
        &Tokens::system().branch(),
    );
    let mut again = build::again(&first, &via, 2);
    let (asked, answered) = match challenge.status {
        401 => ("WWW-Authenticate", "Authorization"),
        _ => ("Proxy-Authenticate", "Proxy-Authorization"),
    };
    let challenges: Vec<_> = challenge
        .headers
        .all(asked)
        .flat_map(Challenge::parse_all)
        .collect();
    let uri = again.uri.to_string();
    let credentials = Client::new().answer(
        &challenges,
        Target {
            method: "INVITE",
            uri: &uri,
        },
        Login {
            username: number.number.digits(),
            password: &number.password,
        },
        Tokens::system().word(),
    );
    let failed = |why: String| {
        Finding::fail(
            ABOUT,
            format!("{}: {why}", number.number),
            "see meta.digest and meta.realm",
        )
    };
    let credentials = credentials.map_err(|why| failed(why.to_string()))?;
    again.headers.push(answered, credentials.to_string());
    let answer = rehearsal
        .answer(again)
        .ok_or_else(|| failed("no answer".into()))?;
    Ok(answer.status)
}

fn judge(number: &Number, status: u16) -> Finding {
    let name = &number.number;
    match status {
        503 => Finding::ok(
            ABOUT,
            format!(
                "{name}: rehearsed here, a call is challenged, and let in with the configured password"
            ),
        ),
        status => Finding::fail(
            ABOUT,
            format!("{name}: a call with the configured password is answered {status}"),
            "read the password at Meta again, and write it as it is there",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::secret::Secret;

    fn number() -> Number {
        Number {
            number: "+12145551869".parse().unwrap(),
            password: Secret::new("meta-generated-secret"),
            hostname: "bridge.example.com".into(),
            target: None,
            pbxs: vec!["main".into()],
            keying: Keying::default(),
            additional_codecs: Vec::new(),
        }
    }

    /// A bridge with that number.
    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["bridge.example.com".to_owned()]).unwrap();
        for (file, text) in [
            ("chain.pem", made.cert.pem()),
            ("key.pem", made.signing_key.serialize_pem()),
            ("password", "meta-generated-secret".to_owned()),
            (
                "wabridge.toml",
                "[meta]\nhostname = 'bridge.example.com'\ncertificate = 'chain.pem'\nkey = 'key.pem'\n\
                 [[number]]\nnumber = '+12145551869'\npassword_file = 'password'\n\
                 [[pbx]]\nname = 'main'\naddress = '192.0.2.7'\n\
                 [media]\nmeta_address = '192.0.2.1'\npbx_address = '192.0.2.1'\n"
                    .to_owned(),
            ),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        Config::load(&folder.path().join("wabridge.toml")).unwrap()
    }

    #[test]
    fn a_password_that_does_not_do_is_a_failure_and_no_number_stands_there_in_full() {
        for (status, level) in [(503, Level::Ok), (403, Level::Fail), (407, Level::Fail)] {
            let finding = judge(&number(), status);
            assert_eq!(finding.level, level);
            assert!(finding.what.contains("+1214*****69"), "{finding}");
        }
    }

    #[test]
    fn a_call_is_let_in_with_the_configured_password_and_with_no_other() {
        let config = config();
        let [number] = config.numbers.as_slice() else {
            panic!("one number");
        };
        assert_eq!(digest_round(&config, number), Ok(503));
        let other = Number {
            password: Secret::new("another"),
            ..number.clone()
        };
        let status = digest_round(&config, &other).unwrap();
        assert_eq!(judge(number, status).level, Level::Fail, "{status}");
    }

    #[test]
    fn a_domain_that_does_not_go_with_the_name_of_the_bridge_is_told_of() {
        let level = |bridge| from_domain(&number(), bridge).level;
        assert_eq!(level("Bridge.example.com"), Level::Ok);
        assert_eq!(level("eu.bridge.example.com"), Level::Ok);
        assert_eq!(level("example.com"), Level::Warn);
        assert_eq!(level("drawbridge.example.com"), Level::Warn);
        assert_eq!(level("notbridge.example.com"), Level::Warn);
    }

    #[test]
    fn what_must_be_set_at_meta_is_said_with_its_name_port_and_keying() {
        let sdes = Number {
            keying: Keying::Set(KeyExchange::Sdes),
            additional_codecs: Vec::new(),
            ..number()
        };
        let said = at_meta(&sdes, 5061).what;
        for part in ["bridge.example.com", "5061", "SDES", "403"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(at_meta(&number(), 5061).what.contains("DTLS"));
    }
}
