//! Everything we know about `wa.meta.vc`. Each rule names Meta's page and its date; "unverified" means that no
//! document says so and the bridge is tolerant.

use std::time::Duration;

use crate::leg::Leg;
use crate::media::Codec;
use crate::number::{E164, User};
use crate::policy::{AdditionalCodec, KeyExchange, Number};
use crate::sdp::{Capabilities, Keying, Setup};
use crate::sip::dialog::Identity;
use crate::sip::digest::client::{Asked, Client, Login, NoAnswer, Target as Authenticated};
use crate::sip::digest::server;
use crate::sip::message::{Common, Headers, Method, Request, Response};
use crate::sip::transport::{Hop, Protocol};
use crate::sip::{NameAddr, SipUri, Uri};

use super::{Caller, Fresh, Next, Opening, Refusal, meta_refusals, printable};

/// How Meta is reached, and how it reaches us.
#[derive(Clone, Debug)]
pub struct Meta {
    /// `wa.meta.vc` (SIP guide, 2025-12-15).
    pub domain: String,
    /// 5061.
    pub port: u16,
    /// The port that our Contact names: that of our TLS listener.
    pub our_port: u16,
    /// How its INVITEs are challenged.
    pub digest: server::Settings,
    /// What our challenges call us; `None`: the hostname of the number that is called.
    pub realm: Option<String>,
    /// The `a=setup` of our offers that are keyed by DTLS. Meta recommends `active` (integration patterns, 2026), and
    /// documents its answer to `actpass` alone.
    pub dtls_setup: Setup,
}

impl Meta {
    /// Where every request to Meta goes, whatever its Route set says: the second name in it is internal to Meta and
    /// must not be resolved (SIP guide, 2025-12-15, BYE sample).
    pub fn hop(&self) -> Hop {
        Hop {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            host: self.domain.clone(),
            port: self.port,
        }
    }

    /// How we name ourselves for one number: Meta checks our certificate by the hostname that is set for it.
    pub fn identity(&self, number: &Number) -> Identity {
        Identity::new(Protocol::Tls, &number.hostname, self.our_port)
    }

    /// What Meta's leg of a call can do. How it is keyed is a setting of the number and not negotiated (SIP guide,
    /// 2025-12-15): our offers are keyed as `first` says, and Meta's are answered in either kind.
    pub fn capabilities(&self, first: KeyExchange) -> Capabilities {
        let second = match first {
            KeyExchange::Dtls => KeyExchange::Sdes,
            KeyExchange::Sdes => KeyExchange::Dtls,
        };
        Capabilities::meta(vec![first.into(), second.into()], self.dtls_setup)
    }

    /// The INVITE of a business-initiated call. Nothing is in it that Meta does not need: no session timer, no
    /// P-Asserted-Identity; To has no parameters, since Meta compares it with the digest's `uri` (jambonz, 2025-08-11).
    pub fn invite(
        &self,
        number: &Number,
        user: &User,
        fresh: Fresh,
        hops_left: u8,
        sdp: &str,
    ) -> Request {
        let to = SipUri::new(Some(&user.sip_user()), &self.domain);
        let from = SipUri::new(Some(&number.number.plus()), &number.hostname);
        Opening {
            method: Method::INVITE,
            identity: self.identity(number),
            target: to.clone().with_param("transport", Some("tls")),
            from: NameAddr::new(from),
            to,
            contact: Some(number.number.plus()),
            fresh,
            hops_left,
        }
        .with_sdp(sdp)
    }
}

/// What Meta's offers may list beside Opus, and ours to it where the number is set so (settings API, 2026-06-26).
pub const ADDITIONAL: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];

impl From<AdditionalCodec> for Codec {
    fn from(codec: AdditionalCodec) -> Codec {
        match codec {
            AdditionalCodec::Pcma => Codec::Pcma,
            AdditionalCodec::Pcmu => Codec::Pcmu,
        }
    }
}

impl From<KeyExchange> for Keying {
    fn from(kind: KeyExchange) -> Keying {
        match kind {
            KeyExchange::Dtls => Keying::Dtls,
            KeyExchange::Sdes => Keying::Sdes,
        }
    }
}

/// The user of a user-initiated call: number or BSUID from the From URI, profile name from its display name. Meta
/// puts the bare number there as a name too (SIP guide, 2025-12-15), which no phone should show twice.
pub fn caller(invite: &Request) -> Caller {
    let from = invite.from();
    let user = from
        .as_ref()
        .and_then(|f| f.uri.user())
        .and_then(|u| u.parse::<User>().ok());
    let name = from
        .and_then(|f| f.display)
        .map(|name| printable(&name, 128))
        .filter(|name| !name.is_empty());
    let number = user.as_ref().and_then(User::number).map(E164::digits);
    let name = name.filter(|name| number.is_none_or(|n| name.trim_start_matches('+') != n));
    Caller { name, user }
}

/// Answers Meta's challenges to one request of ours.
#[derive(Debug, Default)]
pub struct Authenticator {
    digest: Client,
    /// jambonz, 2025-08-11: Meta once compared `uri` with a To that had no transport parameter.
    bare_uri: bool,
}

impl Authenticator {
    /// Judges a final response other than 2xx to `request`, sent for `number`.
    pub fn next(
        &mut self,
        request: &Request,
        response: &Response,
        number: &Number,
        cnonce: String,
    ) -> Next {
        if let Some(asked) = Asked::by(response) {
            let (method, uri) = (request.method.to_string(), self.uri(request));
            let target = Authenticated {
                method: &method,
                uri: &uri,
            };
            let answer = self
                .digest
                .answer(&asked.challenges, target, login(number), cnonce);
            return match answer {
                Ok(credentials) => Next::Retry(asked.answered_in, credentials.to_string()),
                Err(why) => Next::Refuse(unanswerable(response, &why)),
            };
        }
        if response.status == 403
            && !self.bare_uri
            && meta_refusals::is_uri_mismatch(&words(response))
        {
            self.bare_uri = true;
            if let Some((name, value)) = self.credentials_again(request, number, cnonce) {
                return Next::Retry(name, value);
            }
        }
        Next::Refuse(refusal(response))
    }

    /// The same nonce once more, for the form of `uri` that we now use.
    fn credentials_again(
        &mut self,
        request: &Request,
        number: &Number,
        cnonce: String,
    ) -> Option<(&'static str, String)> {
        let name = ["Proxy-Authorization", "Authorization"]
            .into_iter()
            .find(|n| request.headers.get(n).is_some())?;
        let (method, uri) = (request.method.to_string(), self.uri(request));
        let target = Authenticated {
            method: &method,
            uri: &uri,
        };
        let credentials = self.digest.again(target, login(number), cnonce)?;
        Some((name, credentials.to_string()))
    }

    /// The Request-URI exactly (SIP guide, 2025-12-15); without its transport once Meta has complained.
    fn uri(&self, request: &Request) -> String {
        let mut uri = request.uri.clone();
        if let (true, Uri::Sip(uri)) = (self.bare_uri, &mut uri) {
            uri.params.remove("transport");
        }
        uri.to_string()
    }
}

/// The digest username is the number without `+`, in both directions (SIP guide, 2025-12-15).
fn login(number: &Number) -> Login<'_> {
    Login {
        username: number.number.digits(),
        password: &number.password,
    }
}

fn unanswerable(response: &Response, why: &NoAnswer) -> Refusal {
    Refusal::new(
        503,
        38,
        format!("{} {}: {why}", response.status, words(response)),
    )
}

/// What the PBX is told of Meta's final response (troubleshooting page, 2026-06-24; the right half is ours).
pub fn refusal(response: &Response) -> Refusal {
    meta_refusals::refusal(response.status, &words(response))
}

/// Meta's status and one of a few words for what it means by it and by its text; `None` for a status that no page of
/// Meta's lists.
pub fn refusal_word(status: u16, words: &str) -> Option<(u16, &'static str)> {
    meta_refusals::word(status, words)
}

/// All that [`refusal_word`] may give.
pub fn refusal_words() -> impl Iterator<Item = (u16, &'static str)> {
    meta_refusals::words()
}

/// Meta's own words: the reason phrase, or the text of its Warning header where that says more.
fn words(response: &Response) -> String {
    let warning = response.headers.get("Warning").and_then(|value| {
        let (_, text) = value.split_once('"')?;
        Some(crate::sip::grammar::unquote(&format!("\"{text}")))
    });
    let reason = response.reason.trim();
    let text = warning
        .filter(|w| w.len() > reason.len())
        .unwrap_or_else(|| reason.to_owned());
    printable(&text, 512)
}

/// The canonical name of every custom header that Meta sends (SIP guide 2025-12-15, BSUID page 2026-02-06, field
/// log 2026-09-14), with the other spellings its pages print.
const CUSTOM_HEADERS: [(&str, &[&str]); 9] = [
    ("x-wa-meta-wacid", &[]),
    ("x-wa-meta-call-duration", &[]),
    ("x-wa-meta-cta-payload", &[]),
    ("x-wa-meta-deeplink-payload", &[]),
    ("x-wa-meta-user-id", &[]),
    ("x-wa-meta-parent-user-id", &[]),
    ("x-wa-meta-username", &["x-wa-meta-user-name"]),
    ("x-wa-meta-phone-number-id", &[]),
    ("x-wa-meta-country-code", &["x-wa-meta-user-country-code"]),
];

/// Most custom headers that are handed on, known and unknown together.
const MOST_CUSTOM_HEADERS: usize = 32;

/// Meta's custom headers for the PBX: one canonical name each, the first value where several came, sanitised.
/// A name that Meta invents tomorrow goes through as it is written, in lower case.
pub fn custom_headers(headers: &Headers) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in headers.iter() {
        let Some(name) = canonical(name) else {
            continue;
        };
        // Payloads are up to 512 characters of unknown encoding (UIC page, 2025-11-13).
        let value = printable(value, 1024);
        if !value.is_empty()
            && found.len() < MOST_CUSTOM_HEADERS
            && found.iter().all(|(n, _)| *n != name)
        {
            found.push((name, value));
        }
    }
    found
}

/// Meta's name for a call, which it gives in requests and responses of either direction (SIP guide, 2025-12-15).
pub fn wacid(headers: &Headers) -> Option<&str> {
    headers.get("x-wa-meta-wacid").map(str::trim)
}

/// How long Meta says that a call lasted, which its BYE tells (SIP guide, 2025-12-15).
pub fn duration(headers: &Headers) -> Option<Duration> {
    let seconds = headers.get("x-wa-meta-call-duration")?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

fn canonical(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    if !name.starts_with("x-wa-meta-") {
        return None;
    }
    let known = CUSTOM_HEADERS
        .iter()
        .find(|(n, others)| *n == name || others.contains(&name.as_str()));
    Some(known.map_or(name, |(n, _)| (*n).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sip::{Limits, Message};

    fn message(file: &str) -> Message {
        let bytes = std::fs::read(format!("tests/data/meta/{file}")).unwrap();
        Message::parse(&bytes, &Limits::default()).unwrap()
    }

    fn request(file: &str) -> Request {
        match message(file) {
            Message::Request(request) => request,
            Message::Response(_) => panic!("{file} is a request"),
        }
    }

    fn response(file: &str) -> Response {
        match message(file) {
            Message::Response(response) => response,
            Message::Request(_) => panic!("{file} is a response"),
        }
    }

    fn number() -> Number {
        Number {
            number: "+12145551869".parse().unwrap(),
            password: Secret::new("meta-generated-secret"),
            hostname: "meta-voip.example.com".into(),
            target: None,
            pbxs: vec!["main".into()],
            keying: Default::default(),
            additional_codecs: Vec::new(),
        }
    }

    fn meta() -> Meta {
        Meta {
            domain: "wa.meta.vc".into(),
            port: 5061,
            our_port: 5061,
            digest: server::Settings::default(),
            realm: None,
            dtls_setup: Setup::default(),
        }
    }

    fn our_invite() -> Request {
        let fresh = Fresh {
            call_id: "c".into(),
            tag: "t".into(),
            branch: "z9hG4bKb".into(),
        };
        meta().invite(
            &number(),
            &"+12195550714".parse().unwrap(),
            fresh,
            70,
            "v=0\r\n",
        )
    }

    #[test]
    fn our_invite_has_the_documented_shape() {
        let invite = our_invite();
        assert_eq!(
            invite.uri.to_string(),
            "sip:+12195550714@wa.meta.vc;transport=tls"
        );
        assert_eq!(
            invite.headers.get("From"),
            Some("<sip:+12145551869@meta-voip.example.com>;tag=t")
        );
        assert_eq!(
            invite.headers.get("To"),
            Some("<sip:+12195550714@wa.meta.vc>")
        );
        assert_eq!(
            invite.headers.get("Contact"),
            Some("<sip:+12145551869@meta-voip.example.com:5061;transport=tls>")
        );
        for never in [
            "Session-Expires",
            "Supported",
            "P-Asserted-Identity",
            "Route",
        ] {
            assert_eq!(invite.headers.get(never), None);
        }
    }

    #[test]
    fn the_digest_uri_is_the_request_uri_and_loses_its_transport_once_after_metas_complaint() {
        let mut invite = our_invite();
        let mut auth = Authenticator::default();
        let Next::Retry(name, value) = auth.next(
            &invite,
            &response("dialogs/bic-sdes/02-407.sip"),
            &number(),
            "c".into(),
        ) else {
            panic!("a challenge is answered")
        };
        assert_eq!(name, "Proxy-Authorization");
        assert!(value.contains(r#"username="12145551869""#), "{value}");
        assert!(
            value.contains(r#"uri="sip:+12195550714@wa.meta.vc;transport=tls""#),
            "{value}"
        );
        invite.headers.set(name, value);

        let complaint = response("dialogs/bic-errors/403h-digest-uri-mismatch.sip");
        let Next::Retry(_, value) = auth.next(&invite, &complaint, &number(), "d".into()) else {
            panic!("the complaint is met with another try")
        };
        assert!(
            value.contains(r#"uri="sip:+12195550714@wa.meta.vc""#),
            "{value}"
        );
        assert!(value.contains("nc=00000002"), "{value}");
        invite.headers.set(name, value);
        let Next::Refuse(refusal) = auth.next(&invite, &complaint, &number(), "e".into()) else {
            panic!("once only")
        };
        assert_eq!((refusal.status, refusal.cause), (503, 38));
    }

    #[test]
    fn the_callers_number_is_not_shown_twice() {
        let plain = caller(&request("sip/uic-02-invite-sdes-noauth.sip"));
        assert_eq!(plain.name, None);
        assert_eq!(plain.user, Some("+12195550714".parse().unwrap()));
        let bsuid = caller(&request("sip/uic-01d-invite-bsuid.sip"));
        assert!(matches!(bsuid.user, Some(User::Bsuid(_))), "{bsuid:?}");
    }

    #[test]
    fn every_spelling_of_a_custom_header_has_one_name() {
        let headers = custom_headers(&request("sip/bye-from-meta-bsuid.sip").headers);
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "x-wa-meta-user-id",
                "x-wa-meta-parent-user-id",
                "x-wa-meta-username"
            ]
        );
        let mut odd = Headers::default();
        odd.push("X-WA-Meta-Future", "a\u{7}b");
        odd.push("x-wa_meta-future", "second");
        assert_eq!(
            custom_headers(&odd),
            [("x-wa-meta-future".to_owned(), "ab".to_owned())]
        );
    }
}
