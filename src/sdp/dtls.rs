//! What SDP says of ICE and DTLS, the peer's and ours (RFC 8839, RFC 5763, RFC 8122, RFC 8842).
//!
//! ```text
//!   a=candidate    where it may be          ┐
//!   a=ice-ufrag    what checks of it are    ├ ICE
//!   a=ice-pwd      signed with              ┘
//!   a=fingerprint  whose certificate it shows   ┐ DTLS
//!   a=setup        which end of it opens        ┘
//! ```
//!
//! All but `a=candidate` may stand in the session part and hold where the stream has none of its own.
//! `c=` and the port of `m=` are not looked at, except that port 0 is a refusal: RFC 8839 has a stream whose `c=` is none
//! of its candidates go on without ICE, and without ICE there is nothing that this leg could do.

use std::net::SocketAddr;

use sdp_types::{Attribute, Media, Session};

use crate::media::dtls::{Fingerprint, FingerprintError, Role};
use crate::media::ice::{Candidate, CandidateError, Credentials};
use crate::media::{DtlsSpec, LocalPorts};

use super::reject::{Reject, quote};
use super::{Local, Setup};

/// The most certificates that a peer may announce; what comes after is not read. Peers show one.
const FINGERPRINTS: usize = 8;

/// Whose description it is: what its `a=setup` may say, and makes of us.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// The peer's offer.
    Offer,
    /// The peer's answer to our offer, which said this.
    Answer(Setup),
}

/// The peer's end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Which end of the handshake is left to us.
    role: Role,
    fingerprints: Vec<Fingerprint>,
    credentials: Credentials,
    candidates: Vec<Candidate>,
    /// The best of them, whether we can reach it or not.
    pub(super) address: SocketAddr,
}

/// Whether there is any `a=fingerprint`.
pub(super) fn is_meant(session: &Session, media: &Media) -> bool {
    values(session, media, "fingerprint").next().is_some()
}

impl Peer {
    /// Reads what the peer says of one stream.
    pub(super) fn read(session: &Session, media: &Media, turn: Turn) -> Result<Peer, Reject> {
        let fingerprints = fingerprints(session, media)?;
        let role = role(session, media, turn)?;
        let credentials = credentials(session, media)?;
        let (candidates, address) = candidates(media)?;
        Ok(Peer {
            role,
            fingerprints,
            credentials,
            candidates,
            address,
        })
    }

    /// The best of its candidates that a socket of ours can send to.
    pub(super) fn nearest(&self, ours: &LocalPorts) -> Result<SocketAddr, Reject> {
        let of_family = |ipv4: bool| {
            let other = ours.other_family.map(|ours| ours.is_ipv4());
            ours.rtp.is_ipv4() == ipv4 || other == Some(ipv4)
        };
        let reachable = self.candidates.iter();
        let reachable = reachable.filter(|theirs| of_family(theirs.address.is_ipv4()));
        best(reachable).ok_or(Reject::Family {
            ours: ours.rtp.ip(),
            theirs: self.address.ip(),
        })
    }

    /// Our `a=setup` in an answer (RFC 8842 §5.3).
    pub(super) fn setup(&self) -> &'static str {
        match self.role {
            Role::Client => "active",
            Role::Server => "passive",
        }
    }

    /// Both ends, as the media side needs them.
    pub(super) fn spec(&self, local: &Local) -> DtlsSpec {
        DtlsSpec {
            role: self.role,
            fingerprints: self.fingerprints.clone(),
            local: local.ice.clone(),
            remote: self.credentials.clone(),
            candidates: self.candidates.clone(),
        }
    }
}

/// Our end, in the order of Meta's own samples. No `a=ice-lite`, since we check; and nothing that Meta does not say too.
pub(super) fn ours(local: &Local, setup: &str) -> Vec<Attribute> {
    let say = |name: &str, value: &str| Attribute::with_value(name, value);
    let hosts = [Some(local.ports.rtp), local.ports.other_family];
    let hosts = hosts.into_iter().flatten();
    let hosts = hosts.map(|host| say("candidate", &Candidate::host(host).to_string()));
    // RTCP shares the port of RTP; this is the placeholder of whoever knows no other (RFC 8829 §5.2.1).
    let mut lines = vec![say("rtcp", "9 IN IP4 0.0.0.0")];
    lines.extend(hosts);
    let fingerprint = format!("{} {}", Fingerprint::HASH, local.fingerprint);
    lines.extend([
        Attribute::new("end-of-candidates"),
        say("ice-ufrag", local.ice.ufrag()),
        say("ice-pwd", local.ice.pwd()),
        say("fingerprint", &fingerprint),
        say("setup", setup),
    ]);
    lines
}

/// Those that we can compare: the peer may give one for each of its certificates and each hash (RFC 8122 §5.1). One
/// that is malformed is passed over if another is not: the certificate must be that of one that we have read.
fn fingerprints(session: &Session, media: &Media) -> Result<Vec<Fingerprint>, Reject> {
    let mut fingerprints = Vec::new();
    let mut reason = None;
    for value in values(session, media, "fingerprint") {
        match value.parse::<Fingerprint>() {
            Ok(known) if fingerprints.contains(&known) => {}
            Ok(new) => fingerprints.push(new),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    fingerprints.truncate(FINGERPRINTS);
    if !fingerprints.is_empty() {
        return Ok(fingerprints);
    }
    Err(reason.map_or(Reject::NoFingerprint, |error| match error {
        FingerprintError::UnknownHash { hash } => {
            let hash = quote(&hash);
            Reject::Fingerprint(FingerprintError::UnknownHash { hash })
        }
        printable => Reject::Fingerprint(printable),
    }))
}

/// RFC 8842 §5: `a=setup` must be there, and says who sends the ClientHello. What its absence means is no use guessing:
/// RFC 4145 §4.1 has one answer and browsers another, and with two clients or two servers there is no call.
fn role(session: &Session, media: &Media, turn: Turn) -> Result<Role, Reject> {
    let mut stated = values(session, media, "setup");
    let stated = stated.next().ok_or(Reject::NoSetup)?;
    match (turn, stated.to_ascii_lowercase().as_str()) {
        (_, "passive") | (Turn::Offer, "actpass") => Ok(Role::Client),
        (Turn::Offer | Turn::Answer(Setup::Actpass), "active") => Ok(Role::Server),
        _ => Err(Reject::Setup {
            stated: quote(stated),
            wanted: match turn {
                Turn::Offer => "actpass, active or passive",
                Turn::Answer(Setup::Actpass) => "active or passive",
                Turn::Answer(Setup::Active) => "passive, since we offered active",
            },
        }),
    }
}

fn credentials(session: &Session, media: &Media) -> Result<Credentials, Reject> {
    let word = |name| {
        let mut values = values(session, media, name);
        values.next().ok_or(Reject::NoCredential(name))
    };
    Credentials::new(word("ice-ufrag")?, word("ice-pwd")?).map_err(Reject::Credential)
}

/// Those that we can use, and the address of the best. What is malformed or foreign is passed over if any is left
/// (RFC 8839 §5.1).
fn candidates(media: &Media) -> Result<(Vec<Candidate>, SocketAddr), Reject> {
    let lines = media.attributes.iter();
    let lines: Vec<_> = lines.filter(|a| a.attribute == "candidate").collect();
    let mut candidates = Vec::new();
    let mut reason = None;
    for line in &lines {
        match Candidate::parse(line.value.as_deref().unwrap_or_default()) {
            Ok(candidate) => candidates.extend(candidate),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    match (best(candidates.iter()), reason) {
        (Some(address), _) => Ok((candidates, address)),
        (None, Some(CandidateError::Invalid { field, value })) => {
            let value = quote(&value);
            Err(Reject::Candidate(CandidateError::Invalid { field, value }))
        }
        (None, Some(missing)) => Err(Reject::Candidate(missing)),
        (None, None) if lines.is_empty() => Err(Reject::NoCandidate),
        (None, None) => Err(Reject::Candidates(lines.len())),
    }
}

/// The address of the first with the highest priority.
fn best<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Option<SocketAddr> {
    let better = |a: &'a Candidate, b: &'a Candidate| if b.priority > a.priority { b } else { a };
    Some(candidates.reduce(better)?.address)
}

/// What the stream says, or else the session part (RFC 8866 §5.13).
fn values<'a>(
    session: &'a Session,
    media: &'a Media,
    name: &'static str,
) -> impl Iterator<Item = &'a str> {
    let of = move |attributes: &'a [Attribute]| {
        let lines = attributes.iter().filter(move |a| a.attribute == name);
        lines.map(|a| a.value.as_deref().unwrap_or_default().trim())
    };
    let own = of(&media.attributes);
    let general = of(&session.attributes).filter(move |_| of(&media.attributes).next().is_none());
    own.chain(general)
}

#[cfg(test)]
mod tests;
