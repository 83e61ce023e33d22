//! What the bridge's SDP must say of ICE and DTLS (§7, RFC 8839, RFC 8842), and what becomes of it.

use std::net::{IpAddr, SocketAddr};

use super::{Demands, Handshaking, Keying, OurDtls, Setup, Theirs};
use crate::media::Codec;
use crate::media::dtls::{Fingerprint, Role};

/// What the bridge's SDP says of ICE and DTLS.
#[derive(Clone, Debug, Default)]
pub struct TheirDtls {
    /// Its user name fragment.
    pub ufrag: Option<String>,
    /// Where it may send from, as far as it knows.
    pub candidates: Vec<SocketAddr>,
    /// Its end of the handshake.
    pub setup: Option<Setup>,
    /// What its certificate must be: one of these.
    pub fingerprints: Vec<Fingerprint>,
}

impl OurDtls {
    /// Both sides put together. The error says what is missing.
    pub(super) fn with(&self, theirs: &TheirDtls) -> Result<Handshaking, String> {
        if theirs.fingerprints.is_empty() {
            return Err("No fingerprint found in SDP".to_owned()); // Meta's own words (FAQ)
        }
        let role = match (self.setup, theirs.setup) {
            (Setup::Active, _) | (Setup::Actpass, Some(Setup::Passive)) => Role::Client,
            _ => Role::Server,
        };
        Ok(Handshaking {
            ice: self.ice.clone(),
            their_ufrag: theirs.ufrag.clone().ok_or("the SDP has no a=ice-ufrag")?,
            role,
            fingerprints: theirs.fingerprints.clone(),
        })
    }
}

impl Theirs {
    pub(super) fn demand_dtls(&mut self, attributes: &[&str]) {
        let has = |prefix: &str| attributes.iter().any(|a| a.starts_with(prefix));
        if has("crypto:") {
            self.complain("SDP: a=crypto beside DTLS; the two modes must be kept apart (§7)");
        }
        if has("ice-lite") {
            self.complain(
                "SDP: a=ice-lite; Meta is lite, so the bridge must be the full agent (§7)",
            );
        }
        if has("ice-options:trickle") || has("ice-options:ice2 trickle") {
            self.complain("SDP: trickle ICE; over SIP Meta takes no INFO to trickle with (§6)");
        }
        self.read_credentials(attributes);
        self.read_candidates(attributes);
        self.read_fingerprints(attributes);
        self.read_setup(attributes);
        self.demand_bundle(attributes);
    }

    /// Complains unless this can be the answer to an offer of ours.
    pub(super) fn must_answer_dtls(&mut self, mid: &str) {
        match self.dtls.setup {
            Some(Setup::Active) | None => {}
            Some(Setup::Passive) => {
                self.complain("SDP: the answer is a=setup:passive; Meta's offers want active (§7)");
            }
            Some(Setup::Actpass) => {
                self.complain("SDP: an answer cannot be a=setup:actpass (RFC 8842 §5.3)");
            }
        }
        if self.mid.as_deref() != Some(mid) {
            self.complain("SDP: the answer's a=mid is not the offer's (§7)");
        }
    }

    /// Complains unless this can be an offer to us.
    pub fn must_offer(&mut self, demands: Demands) {
        let has_opus = self
            .sound
            .iter()
            .any(|payload| payload.codec == Codec::Opus);
        if matches!(demands, Demands::Meta(_)) && !has_opus {
            self.complain("SDP: the offer has no opus/48000/2, which Meta always has (§7)");
        }
        if demands == Demands::Meta(Keying::Dtls) && self.dtls.setup == Some(Setup::Passive) {
            self.complain("SDP: the offer is a=setup:passive; Meta knows actpass and active (§7)");
        }
    }

    fn read_credentials(&mut self, attributes: &[&str]) {
        for (name, least) in [("ice-ufrag", 4), ("ice-pwd", 22)] {
            let prefix = format!("{name}:");
            let values: Vec<&str> = attributes
                .iter()
                .filter_map(|a| a.strip_prefix(&*prefix))
                .collect();
            let &[value] = values.as_slice() else {
                self.complain(format!("SDP: there is not exactly one a={name}"));
                continue;
            };
            let ice_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
            if !(least..=256).contains(&value.len()) || !value.bytes().all(ice_char) {
                self.complain(format!(
                    "SDP: a={name} is not {least} to 256 ice-chars (RFC 8839 §5.4)"
                ));
            }
            if name == "ice-ufrag" {
                self.dtls.ufrag = Some(value.to_owned());
            }
        }
    }

    fn read_candidates(&mut self, attributes: &[&str]) {
        for value in attributes
            .iter()
            .filter_map(|a| a.strip_prefix("candidate:"))
        {
            match candidate(value) {
                Ok(address) => self.dtls.candidates.push(address),
                Err(why) => self.complain(format!("SDP: {why}")),
            }
        }
        if self.dtls.candidates.is_empty() {
            return self.complain("SDP: no a=candidate that Meta could use (§7)");
        }
        // RFC 8839 §4.2.1.2: c= and m= name the default candidate.
        if self
            .media
            .is_some_and(|media| !self.dtls.candidates.contains(&media))
        {
            self.complain("SDP: c= and m= name no candidate of its own (RFC 8839 §4.2.1)");
        }
    }

    fn read_fingerprints(&mut self, attributes: &[&str]) {
        let values = attributes
            .iter()
            .filter_map(|a| a.strip_prefix("fingerprint:"));
        let read: Vec<_> = values.map(|value| value.parse::<Fingerprint>()).collect();
        if read.is_empty() {
            self.complain("SDP: No fingerprint found in SDP"); // Meta's own words (FAQ)
        }
        for fingerprint in read {
            match fingerprint {
                Ok(fingerprint) => self.dtls.fingerprints.push(fingerprint),
                Err(error) => self.complain(format!("SDP: {error}")),
            }
        }
    }

    fn read_setup(&mut self, attributes: &[&str]) {
        let values: Vec<&str> = attributes
            .iter()
            .filter_map(|a| a.strip_prefix("setup:"))
            .collect();
        match values.as_slice() {
            &[value] => self.dtls.setup = Setup::of(value),
            _ => return self.complain("SDP: there is not exactly one a=setup"),
        }
        if self.dtls.setup.is_none() {
            self.complain("SDP: a=setup is none of actpass, active and passive (RFC 4145 §4)");
        }
    }

    fn demand_bundle(&mut self, attributes: &[&str]) {
        let Some(mid) = self.mid.clone() else {
            return self.complain("SDP: no a=mid (§7)");
        };
        if !attributes.contains(&format!("group:BUNDLE {mid}").as_str()) {
            self.complain("SDP: no a=group:BUNDLE with its a=mid (§7)");
        }
    }
}

/// The address in an `a=candidate`; Meta takes UDP of one component, at an address that it can send to.
fn candidate(value: &str) -> Result<SocketAddr, &'static str> {
    const SHAPE: &str = "a=candidate is not as RFC 8839 §5.1 has it";
    let words: Vec<&str> = value.split(' ').collect();
    let [_, component, transport, priority, ip, port, "typ", kind, ..] = words.as_slice() else {
        return Err(SHAPE);
    };
    priority
        .parse::<u32>()
        .ok()
        .filter(|p| (1..1 << 31).contains(p))
        .ok_or(SHAPE)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or(SHAPE)?;
    if *component != "1" {
        return Err("a=candidate is for another component than RTP, though RTCP is multiplexed");
    }
    if !transport.eq_ignore_ascii_case("udp") {
        return Err("a=candidate is not UDP");
    }
    if !["host", "srflx"].contains(kind) {
        return Err("a=candidate is no address of the bridge (§7)");
    }
    let ip: IpAddr = ip.parse().map_err(|_| "a=candidate has no IP address")?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("a=candidate has no address that can be sent to");
    }
    Ok(SocketAddr::new(ip, port))
}
