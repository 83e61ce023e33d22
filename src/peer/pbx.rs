//! Everything a PBX may need, each thing tied to a setting.

use std::time::Duration;

use crate::leg::Leg;
use crate::media::digits::Form;
use crate::media::{Codec, Facing, Source};
use crate::number::{self, BadNumber, E164, User};
use crate::policy::{Reinvite, Way, health};
use crate::sdp::{Capabilities, Keying};
use crate::sip::dialog::Identity;
use crate::sip::digest::client::{Asked, Client};
use crate::sip::message::{Common, Method, Request, Response};
use crate::sip::register::Account;
use crate::sip::transport::{Hop, Protocol};
use crate::sip::{Abilities, NameAddr, SipUri};

use super::{Caller, Fresh, Next, Opening, Refusal, Register, printable};

/// One telephone system.
#[derive(Clone, Debug)]
pub struct Pbx {
    /// Its name in the configuration.
    pub name: String,
    /// Where calls for it go: one address at least.
    pub ways: Vec<Way>,
    /// How its addresses are watched.
    pub health: health::Settings,
    /// How long one of several addresses may leave an INVITE without any response.
    pub try_timeout: Duration,
    /// Our address as this PBX reaches it; IPv6 in brackets.
    pub our_host: String,
    /// Our listeners for PBXs.
    pub our_ports: Ports,
    /// Plain RTP or SRTP.
    pub keying: Keying,
    /// Which of our addresses it has for media.
    pub media: Facing,
    /// Whose media is accepted.
    pub source: Source,
    /// What is offered to it and taken from it, in our order of preference.
    pub codecs: Vec<Codec>,
    /// How much sound it is asked to put into a packet.
    pub ptime: Duration,
    /// How it tells of digits, and is told of them.
    pub dtmf: Form,
    /// Further headers of every INVITE to it.
    pub headers: Vec<(String, String)>,
    /// Whether its 200 to a WhatsApp user is acknowledged only when Meta's leg has its keys: some play from our ACK on,
    /// and nothing of that is to be lost.
    pub ack_when_keyed: bool,
    /// What becomes of its wish to change a call that is up.
    pub reinvite: Reinvite,
    /// How its dialled numbers become international ones.
    pub dialling: number::Settings,
    /// The business number of a call that names none of ours.
    pub default_number: Option<E164>,
    /// How we register at it, if it wants that.
    pub register: Option<Register>,
}

/// The ports of our listeners for PBXs, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Datagrams.
    pub udp: Option<u16>,
    /// Streams.
    pub tcp: Option<u16>,
    /// Streams under TLS.
    pub tls: Option<u16>,
}

impl Ports {
    /// The port for one protocol; without a listener, the one that the protocol has by default.
    pub fn of(&self, protocol: Protocol) -> u16 {
        let port = match protocol {
            Protocol::Udp => self.udp,
            Protocol::Tcp => self.tcp,
            Protocol::Tls => self.tls,
        };
        port.unwrap_or(protocol.default_port())
    }
}

impl Pbx {
    /// What its leg can carry: of its codecs those that its digits get along with.
    pub fn capabilities(&self) -> Capabilities {
        let codecs = self.codecs.iter().copied();
        let codecs: Vec<Codec> = codecs.filter(|codec| self.dtmf.allows(*codec)).collect();
        Capabilities {
            ptime: self.ptime,
            tones: self.dtmf == Form::Inband,
            ..Capabilities::pbx(self.keying, self.source).preferring(&codecs)
        }
    }

    /// Whether it is offered telephone-event.
    pub fn has_events(&self) -> bool {
        self.codecs.iter().any(|codec| !codec.is_audio())
    }

    /// How we name ourselves on a leg that is spoken over `protocol`.
    pub fn identity(&self, protocol: Protocol) -> Identity {
        Identity {
            abilities: self.abilities(),
            ..Identity::new(protocol, &self.our_host, self.our_ports.of(protocol))
        }
    }

    /// What we do for it: nothing is offered that is not done.
    pub fn abilities(&self) -> Abilities {
        match self.reinvite {
            Reinvite::Reject => Abilities::DIGITS,
            Reinvite::Local => Abilities::CHANGES,
        }
    }

    /// What we register at one of its registrars.
    pub fn account(&self, registrar: &Hop) -> Option<Account> {
        let register = self.register.as_ref()?;
        Some(register.account(self.identity(registrar.protocol)))
    }

    /// The INVITE of a user-initiated call to one of its addresses.
    pub fn invite(&self, hop: &Hop, call: &Extension, fresh: Fresh, sdp: &str) -> Request {
        self.invite_to(uri(Some(&call.target), hop), hop, call, fresh, sdp)
    }

    /// The same for a URI of its own choice, whatever the extension's target is.
    pub fn invite_to(
        &self,
        target: SipUri,
        hop: &Hop,
        call: &Extension,
        fresh: Fresh,
        sdp: &str,
    ) -> Request {
        let opening = Opening {
            method: Method::INVITE,
            identity: self.identity(hop.protocol),
            to: without_transport(&target),
            target,
            from: self.from(&call.caller),
            contact: Some(self.contact(&call.number)),
            fresh,
            hops_left: call.hops_left,
        };
        let mut invite = opening.with_sdp(sdp);
        if self.calls_as_user().is_some() {
            let asserted = SipUri::new(Some(&from_user(&call.caller)), &self.our_host);
            let asserted = NameAddr::new(asserted).to_string();
            invite.headers.push("P-Asserted-Identity", asserted);
        }
        for (name, value) in call.custom.iter().chain(&self.headers) {
            invite.headers.push(name, value);
        }
        invite
    }

    /// Where a REFER of this PBX leads, which is at `home`: to itself, by one of its addresses or by a name that we know it
    /// or it knows us by. `None`: elsewhere, and nobody is called there.
    pub fn referred(&self, to: &SipUri, home: &Hop) -> Option<(SipUri, Hop)> {
        if to.params.has("maddr") || to.user.is_none() {
            return None;
        }
        let is = |host: &str| unbracketed(host).eq_ignore_ascii_case(unbracketed(&to.host));
        let hops = || self.ways.iter().map(|way| &way.hop);
        // A PBX that called us by a stream listens elsewhere than it called from.
        let at_home = hops().find(|hop| hop.host == home.host);
        let usual = at_home.or(hops().next())?;
        let ours = is(&self.our_host);
        let our_port = self.our_ports.of(usual.protocol);
        let itself = hops().find(|hop| is(&hop.host));
        let itself = itself.or(is(&home.host).then_some(usual));
        let itself = itself.filter(|_| !(ours && to.port == Some(our_port)));
        if let Some(way) = itself {
            return Some((to.clone(), explicit(to, way)));
        }
        let domain = self.register.as_ref().is_some_and(|r| is(&r.domain));
        (ours || domain).then(|| (uri(to.user.as_deref(), usual), usual.clone()))
    }

    /// Who calls: the user of WhatsApp, or we by the name that we register.
    fn from(&self, caller: &Caller) -> NameAddr {
        let user = from_user(caller);
        if let Some(register) = self.calls_as_user() {
            return register.from(caller.name.clone().unwrap_or(user));
        }
        let mut from = NameAddr::new(SipUri::new(Some(&user), &self.our_host));
        from.display = caller.name.clone();
        from
    }

    /// User part of our Contact: the one that we register, by which some PBXs know a trunk.
    fn contact(&self, number: &E164) -> String {
        match &self.register {
            Some(register) => register.user.clone(),
            None => number.plus(),
        }
    }

    fn calls_as_user(&self) -> Option<&Register> {
        self.register.as_ref().filter(|r| r.calls_as_user)
    }

    /// Judges a final response other than 2xx to a request of ours: what asks for a password is answered, if we have one.
    pub fn next(
        &self,
        digest: &mut Client,
        request: &Request,
        response: &Response,
        cnonce: String,
    ) -> Next {
        let refusal = refusal(response);
        match (&self.register, Asked::by(response)) {
            (Some(register), Some(asked)) => {
                match register.answer(digest, request, &asked, cnonce) {
                    Ok(credentials) => Next::Retry(asked.answered_in, credentials),
                    Err(why) => Next::Refuse(Refusal {
                        text: format!("{}: {why}", refusal.text),
                        ..refusal
                    }),
                }
            }
            _ => Next::Refuse(refusal),
        }
    }

    /// The question whether one of its addresses is alive (RFC 3261 §11).
    pub fn options(&self, hop: &Hop, fresh: Fresh) -> Request {
        let target = uri(None, hop);
        let opening = Opening {
            method: Method::OPTIONS,
            identity: self.identity(hop.protocol),
            to: without_transport(&target),
            target,
            from: NameAddr::new(SipUri::new(None, &self.our_host)),
            contact: None,
            fresh,
            hops_left: 70,
        };
        let mut options = opening.build();
        options.headers.push("Accept", "application/sdp");
        options
    }

    /// Whom an INVITE of this PBX wants to reach.
    pub fn dialled(&self, invite: &Request) -> Result<User, BadNumber> {
        let user = match self.dialled_in(invite) {
            None => invite.uri.user().map(unescaped),
            Some(header) => invite.headers.list(header).next().map(|value| {
                let address = NameAddr::parse(value);
                let user = address.as_ref().map_or(Some(value), |a| a.uri.user());
                unescaped(user.unwrap_or_default())
            }),
        };
        number::normalise(&user.unwrap_or_default(), &self.dialling)
    }

    /// The header that says so, where the Request-URI does not: it is then what we have registered.
    pub fn dialled_in(&self, invite: &Request) -> Option<&str> {
        let register = self.register.as_ref()?;
        let called = unescaped(invite.uri.user()?);
        (called == register.user).then_some(register.dialled_in.as_str())
    }
}

/// What the INVITE of a user-initiated call says, whichever address it goes to.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The business number that was called.
    pub number: E164,
    /// User part of the Request-URI.
    pub target: String,
    /// The user who calls.
    pub caller: Caller,
    /// Meta's custom headers under their canonical names.
    pub custom: Vec<(String, String)>,
    /// Max-Forwards.
    pub hops_left: u8,
}

/// A URI at one address of a PBX.
fn uri(user: Option<&str>, hop: &Hop) -> SipUri {
    let host = match hop.host.contains(':') {
        true => format!("[{}]", hop.host),
        false => hop.host.clone(),
    };
    let mut uri = SipUri::new(user, &host);
    if hop.port != hop.protocol.default_port() {
        uri = uri.with_port(hop.port);
    }
    match hop.protocol {
        Protocol::Udp => uri,
        Protocol::Tcp => uri.with_param("transport", Some("tcp")),
        Protocol::Tls => uri.with_param("transport", Some("tls")),
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The hop that a URI names whose host is this way's; what it leaves open is as there.
fn explicit(to: &SipUri, way: &Hop) -> Hop {
    let transport = to.params.value("transport").map(str::to_ascii_lowercase);
    let protocol = match transport.as_deref() {
        _ if to.secure => Protocol::Tls,
        Some("tls") => Protocol::Tls,
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        _ => way.protocol,
    };
    let port = match protocol == way.protocol {
        true => way.port,
        false => protocol.default_port(),
    };
    hop(unbracketed(&to.host), to.port.unwrap_or(port), protocol)
}

/// As it stands in To: where a request is sent by is of no concern there.
fn without_transport(uri: &SipUri) -> SipUri {
    let mut uri = uri.clone();
    uri.params.remove("transport");
    uri
}

/// As whom an INVITE claims to call: user parts of P-Asserted-Identity (RFC 3325), which counts first, and From.
pub fn claims(invite: &Request) -> Vec<String> {
    let asserted = invite
        .headers
        .list("P-Asserted-Identity")
        .filter_map(|v| NameAddr::parse(v).ok());
    asserted
        .chain(invite.from())
        .filter_map(|a| a.uri.user().map(unescaped))
        .collect()
}

fn from_user(caller: &Caller) -> String {
    caller
        .user
        .as_ref()
        .map_or_else(|| "anonymous".to_owned(), User::sip_user)
}

/// `%2B` is what some PBXs make of `+` (RFC 3261 §19.1.2).
fn unescaped(user: &str) -> String {
    user.replace("%2B", "+").replace("%2b", "+")
}

/// Whether a final response is the fault of the address that sent it, so that another one may take the call: 503 (RFC 3263
/// §4.3), and the other statuses by which a server says that it, and not the callee, has failed (RFC 3261 §21.5). A 408 is
/// none of them: somebody was looked for.
pub fn is_fault_of_address(response: &Response) -> bool {
    matches!(response.status, 500 | 502 | 503 | 504)
}

/// What Meta is told of the PBX's final response. Which code changes what the user sees is not documented, so each
/// means what RFC 3261 §21 says, and faults of our own trunk are 503.
pub fn refusal(response: &Response) -> Refusal {
    let (status, cause) = match response.status {
        486 | 600 => (486, 17),
        480 | 408 | 410 | 430 => (480, 18),
        404 | 484 | 485 | 604 => (404, 1),
        487 => (480, 31),
        488 | 606 | 415 => (488, 88),
        603 | 607 | 608 => (603, 21),
        300..400 => (480, 20),
        _ => (503, 41),
    };
    Refusal::new(status, cause, words(response))
}

/// The status and the PBX's own words for it.
pub fn words(response: &Response) -> String {
    format!("{} {}", response.status, printable(&response.reason, 128))
}

/// A hop for a PBX.
pub fn hop(host: &str, port: u16, protocol: Protocol) -> Hop {
    Hop {
        leg: Leg::Pbx,
        protocol,
        host: host.to_owned(),
        port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pbx() -> Pbx {
        Pbx {
            name: "main".into(),
            ways: vec![Way::only(hop("192.0.2.7", 5060, Protocol::Udp))],
            health: health::Settings::default(),
            try_timeout: Duration::from_secs(3),
            our_host: "192.0.2.1".into(),
            our_ports: Ports {
                udp: Some(5070),
                ..Ports::default()
            },
            keying: Keying::Plain,
            media: std::net::IpAddr::from([192, 0, 2, 1]).into(),
            source: Source::Negotiated,
            codecs: vec![Codec::Opus],
            ptime: crate::sdp::FRAME,
            dtmf: Form::default(),
            headers: vec![("X-Tenant".into(), "acme".into())],
            ack_when_keyed: false,
            reinvite: Reinvite::Reject,
            dialling: number::Settings::default(),
            default_number: None,
            register: None,
        }
    }

    fn fresh() -> Fresh {
        Fresh {
            call_id: "c".into(),
            tag: "t".into(),
            branch: "z9hG4bKb".into(),
        }
    }

    fn invite(caller: Caller) -> Request {
        let call = Extension {
            number: "+12145551869".parse().unwrap(),
            target: "100".into(),
            caller,
            custom: vec![("x-wa-meta-wacid".into(), "wacid.1==".into())],
            hops_left: 69,
        };
        let pbx = pbx();
        pbx.invite(&pbx.ways[0].hop, &call, fresh(), "v=0\r\n")
    }

    #[test]
    fn each_address_is_asked_and_called_by_its_own_name() {
        let second = hop("2001:db8::8", 5080, Protocol::Tcp);
        let options = pbx().options(&second, fresh());
        assert_eq!(
            options.uri.to_string(),
            "sip:[2001:db8::8]:5080;transport=tcp"
        );
        assert_eq!(options.headers.get("To"), Some("<sip:[2001:db8::8]:5080>"));
        assert_eq!(options.headers.get("From"), Some("<sip:192.0.2.1>;tag=t"));
        assert!(
            options
                .headers
                .get("Via")
                .unwrap()
                .contains("/TCP 192.0.2.1")
        );
        assert_eq!(options.headers.get("CSeq"), Some("1 OPTIONS"));
    }

    #[test]
    fn the_pbx_sees_who_calls_and_rings_the_target() {
        let invite = invite(Caller {
            name: Some("Zoë \"Z\"".into()),
            user: "+12195550714".parse().ok(),
        });
        assert_eq!(invite.uri.to_string(), "sip:100@192.0.2.7");
        assert_eq!(
            invite.headers.get("From"),
            Some(r#""Zoë \"Z\"" <sip:+12195550714@192.0.2.1>;tag=t"#)
        );
        assert_eq!(
            invite.headers.get("Contact"),
            Some("<sip:+12145551869@192.0.2.1:5070>")
        );
        assert_eq!(invite.headers.get("x-wa-meta-wacid"), Some("wacid.1=="));
        assert_eq!(invite.headers.get("X-Tenant"), Some("acme"));
    }

    #[test]
    fn a_caller_without_a_number_is_anonymous() {
        let invite = invite(Caller {
            name: None,
            user: None,
        });
        assert_eq!(invite.from().unwrap().uri.user(), Some("anonymous"));
    }

    #[test]
    fn a_refer_leads_to_the_pbx_itself_and_nowhere_else() {
        let mut pbx = pbx();
        let home = hop("192.0.2.7", 49152, Protocol::Tcp);
        let lead = |pbx: &Pbx, to: &str| {
            let to = crate::sip::Uri::parse(to).unwrap();
            let found = pbx.referred(to.sip().unwrap(), &home);
            found.map(|(uri, hop)| format!("{uri} at {hop}"))
        };
        for (to, there) in [
            (
                "sip:200@192.0.2.7",
                "sip:200@192.0.2.7 at UDP 192.0.2.7:5060",
            ),
            (
                "sip:200@192.0.2.7:5080",
                "sip:200@192.0.2.7:5080 at UDP 192.0.2.7:5080",
            ),
            (
                "sip:200@192.0.2.1",
                "sip:200@192.0.2.7 at UDP 192.0.2.7:5060",
            ),
            (
                "sip:200@192.0.2.1:5070",
                "sip:200@192.0.2.7 at UDP 192.0.2.7:5060",
            ),
            (
                "sip:200@192.0.2.7;transport=tcp",
                "sip:200@192.0.2.7;transport=tcp at TCP 192.0.2.7:5060",
            ),
        ] {
            assert_eq!(lead(&pbx, to).as_deref(), Some(there), "{to}");
        }
        for to in [
            "sip:200@198.51.100.66",
            "sip:200@pbx.example.com",
            "sip:200@192.0.2.7;maddr=198.51.100.66",
            "sip:192.0.2.7",
        ] {
            assert_eq!(lead(&pbx, to), None, "{to}");
        }
        // The bridge on the host of its PBX.
        pbx.our_host = "192.0.2.7".into();
        let ours = lead(&pbx, "sip:200@192.0.2.7:5070");
        assert_eq!(
            ours.as_deref(),
            Some("sip:200@192.0.2.7 at UDP 192.0.2.7:5060")
        );
        assert!(
            lead(&pbx, "sip:200@192.0.2.7:5060")
                .unwrap()
                .ends_with("7:5060")
        );
    }

    #[test]
    fn the_asserted_identity_counts_before_from() {
        let mut invite = invite(Caller {
            name: None,
            user: None,
        });
        invite.headers.push(
            "P-Asserted-Identity",
            "<sip:%2B12145551869@x>, <tel:+493012345678>",
        );
        assert_eq!(
            claims(&invite),
            ["+12145551869", "+493012345678", "anonymous"]
        );
    }
}
