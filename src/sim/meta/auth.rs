//! Digest, both ways: Meta's answers to the bridge's challenge (§4), and its own challenges (§3.2).

use std::collections::HashMap;

use super::{Business, DOMAIN};
use crate::sim::words;
use crate::sip::digest::{Algorithm, Challenge, Counted, Credentials};
use crate::sip::message::Common;
use crate::sip::{Request, Response, SipUri, Uri};

/// Nonces remembered; older ones are forgotten together, and then count as stale.
const MOST_NONCES: usize = 10_000;

/// What one public report has Meta say about the digest's `uri` (§3.2).
pub const WRONG_URI: &str = "Proxy auth uri does not match SIP \"to\" uri";

/// How INVITEs from the bridge are challenged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenges {
    /// Not at all.
    Off,
    /// MD5, as in every documented sample.
    #[default]
    Md5,
    /// SHA-256, as a field trace shows.
    Sha256,
    /// SHA-256 first, then MD5: the bridge may choose.
    Both,
    /// The first right answer is told that its nonce is stale.
    StaleOnce,
    /// Every answer is challenged again, as with a wrong password.
    Always,
}

/// What the `uri` of the digest is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestUri {
    /// The Request-URI, parameters and all, as in the documented samples.
    #[default]
    Request,
    /// The URI of To, which has no parameters, as one public report has it.
    To,
}

/// A refusal in Meta's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
}

impl Refused {
    /// A refusal.
    pub fn new(status: u16, reason: impl Into<String>) -> Refused {
        Refused {
            status,
            reason: reason.into(),
        }
    }
}

/// A challenge to send.
#[derive(Debug)]
pub struct Asked {
    /// Value of the Proxy-Authenticate header.
    pub value: String,
    /// A second one.
    pub second: Option<String>,
    /// Meta's To tag is the branch of the topmost Via here.
    pub to_tag: Option<String>,
}

/// Remembers what was asked.
#[derive(Debug)]
pub struct Desk {
    challenges: Challenges,
    uri: DigestUri,
    nonces: HashMap<String, Issued>,
}

#[derive(Debug)]
struct Issued {
    opaque: String,
    call_id: String,
    algorithm: Algorithm,
    used: u32,
    /// Given out because an answer was told that its nonce is stale.
    renewed: bool,
}

impl Desk {
    /// A desk that has asked nobody yet.
    pub fn new(challenges: Challenges, uri: DigestUri) -> Desk {
        Desk {
            challenges,
            uri,
            nonces: HashMap::new(),
        }
    }

    /// Whether a `uri` that is not that of To is refused only so that the bridge tries again.
    pub fn wants_uri_of_to(&self) -> bool {
        self.uri == DigestUri::To
    }

    /// The challenge that an INVITE gets, if it gets one: it has no credentials, or they shall be called stale.
    pub fn challenge(&mut self, invite: &Request) -> Option<Asked> {
        let credentials = credentials(invite);
        let renewed = match self.challenges {
            Challenges::Off => return None,
            Challenges::Always => false,
            Challenges::StaleOnce => {
                let nonce = credentials.and_then(|c| self.nonces.get(&c.nonce));
                match nonce {
                    Some(issued) if issued.renewed => return None,
                    Some(_) => true,
                    None => false,
                }
            }
            _ if credentials.is_some() => return None,
            _ => false,
        };
        let (first, second) = match self.challenges {
            Challenges::Sha256 => (Algorithm::Sha256, None),
            Challenges::Both => (Algorithm::Sha256, Some(Algorithm::Md5)),
            _ => (Algorithm::Md5, None),
        };
        Some(Asked {
            value: self.issue(invite, first, renewed),
            second: second.map(|algorithm| self.issue(invite, algorithm, renewed)),
            to_tag: invite.via()?.branch().map(str::to_owned),
        })
    }

    /// Checks credentials as Meta does, and the count of the nonce.
    pub fn check(&mut self, invite: &Request, business: Option<&Business>) -> Result<(), Refused> {
        if self.challenges == Challenges::Off {
            return Ok(());
        }
        let invalid = || Refused::new(403, "invalid digest");
        let given = credentials(invite).ok_or_else(invalid)?;
        let business = business.ok_or_else(invalid)?;
        let issued = self.nonces.get_mut(&given.nonce).ok_or_else(invalid)?;
        let expected = match self.uri {
            DigestUri::Request => invite.uri.to_string(),
            DigestUri::To => invite.to().map(|to| to.uri.to_string()).unwrap_or_default(),
        };
        if given.uri != expected {
            return Err(Refused::new(403, WRONG_URI));
        }
        let counted = given.counted.as_ref().ok_or_else(invalid)?;
        let right = given.username == business.number.digits()
            && given.realm == DOMAIN
            && given.opaque.as_deref() == Some(&issued.opaque)
            && given.algorithm.unwrap_or(Algorithm::Md5) == issued.algorithm
            && invite.call_id() == issued.call_id
            && counted.count() > issued.used
            && given.response == given.expected("INVITE", &business.password);
        if !right {
            return Err(invalid());
        }
        issued.used = counted.count();
        Ok(())
    }

    fn issue(&mut self, invite: &Request, algorithm: Algorithm, renewed: bool) -> String {
        if self.nonces.len() >= MOST_NONCES {
            self.nonces.clear();
        }
        let (nonce, opaque) = (words::hex(16), words::hex(16));
        let name = algorithm.name();
        let stale = if renewed { ",stale=true" } else { "" };
        // No spaces after the commas, as printed.
        let value = format!(
            "Digest realm=\"{DOMAIN}\",nonce=\"{nonce}\",opaque=\"{opaque}\"{stale},algorithm={name},qop=\"auth\""
        );
        let issued = Issued {
            opaque,
            call_id: invite.call_id().to_owned(),
            algorithm,
            used: 0,
            renewed,
        };
        self.nonces.insert(nonce, issued);
        value
    }
}

fn credentials(invite: &Request) -> Option<Credentials> {
    let mut all = invite.headers.all("Proxy-Authorization");
    all.find_map(|value| Credentials::parse(value).ok())
}

/// Meta's answer to a challenge of the bridge: the header and its value. The error says why there is none.
pub fn answer(
    invite: &Request,
    response: &Response,
    business: &Business,
) -> Result<(&'static str, String), String> {
    let (asks, gives) = match response.status {
        401 => ("WWW-Authenticate", "Authorization"),
        _ => ("Proxy-Authenticate", "Proxy-Authorization"),
    };
    let md5 = response
        .headers
        .all(asks)
        .flat_map(Challenge::parse_all)
        .flatten()
        .find(|challenge| challenge.algorithm.unwrap_or(Algorithm::Md5) == Algorithm::Md5);
    let challenge = md5.ok_or(format!(
        "{}: no MD5 challenge in {asks}, the only one that Meta is known to answer (§4)",
        response.status
    ))?;
    let mut credentials = Credentials {
        username: business.number.digits().to_owned(),
        realm: challenge.realm,
        nonce: challenge.nonce,
        uri: bare(&invite.uri).to_string(),
        response: String::new(),
        algorithm: challenge.algorithm,
        opaque: challenge.opaque,
        counted: challenge.auth.then(|| Counted {
            cnonce: words::hex(30),
            nc: "00000001".to_owned(),
        }),
    };
    credentials.response = credentials.expected("INVITE", &business.password);
    Ok((gives, credentials.to_string()))
}

/// §4: the uri of Meta's digest has no parameters, though the Request-URI has.
fn bare(uri: &Uri) -> Uri {
    match uri.sip() {
        Some(uri) => SipUri::new(uri.user.as_deref(), &uri.host).into(),
        None => uri.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sim::body::Keying;
    use crate::sim::tests::{request, response};

    fn business() -> Business {
        Business {
            number: "+12145551869".parse().unwrap(),
            phone_number_id: "1".into(),
            hostname: "meta-voip.example.com".into(),
            password: Secret::new("meta-generated-secret"),
            keying: Keying::Sdes,
        }
    }

    #[test]
    fn the_bridges_challenge_is_answered_as_the_sample_does_it() {
        for (folder, asks, answered, name) in [
            (
                "uic-sdes-407",
                "02-407",
                "04-invite-auth",
                "Proxy-Authorization",
            ),
            ("uic-dtls-401", "02-401", "04-invite-auth", "Authorization"),
        ] {
            let file = |name: &str| format!("dialogs/{folder}/{name}.sip");
            let documented = request(&file(answered));
            let number = documented.uri.user().unwrap().to_owned();
            let business = Business {
                number: number.parse().unwrap(),
                ..business()
            };
            let (header, ours) = answer(
                &request(&file("01-invite")),
                &response(&file(asks)),
                &business,
            )
            .unwrap();
            assert_eq!(header, name);
            let theirs = Credentials::parse(documented.headers.get(name).unwrap()).unwrap();
            let mut ours = Credentials::parse(&ours).unwrap();
            assert_eq!(ours.uri, theirs.uri, "without ;transport=tls");
            assert_eq!(ours.counted.as_ref().unwrap().cnonce.len(), 30);
            ours.counted = theirs.counted.clone();
            ours.response = ours.expected("INVITE", &business.password);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_challenge_without_md5_is_not_answered() {
        let mut asked = response("dialogs/uic-sdes-407/02-407.sip");
        let value = asked.headers.get("Proxy-Authenticate").unwrap();
        let value = value.replace("MD5", "SHA-256");
        asked.headers.set("Proxy-Authenticate", value);
        let invite = request("dialogs/uic-sdes-407/01-invite.sip");
        assert!(
            answer(&invite, &asked, &business())
                .unwrap_err()
                .contains("MD5")
        );
    }

    /// The INVITE with a right answer to the desk's challenge, after `change` was made to it before hashing.
    fn answered(
        desk: &mut Desk,
        invite: &Request,
        change: impl FnOnce(&mut Credentials),
    ) -> Request {
        let asked = desk.challenge(invite).unwrap();
        assert!(
            asked
                .value
                .starts_with("Digest realm=\"wa.meta.vc\",nonce=\"")
        );
        let challenge = Challenge::parse_all(&asked.value).remove(0).unwrap();
        let mut credentials = Credentials {
            username: "12145551869".into(),
            realm: challenge.realm,
            nonce: challenge.nonce,
            uri: invite.uri.to_string(),
            response: String::new(),
            algorithm: challenge.algorithm,
            opaque: challenge.opaque,
            counted: Some(Counted {
                cnonce: "c".into(),
                nc: "00000001".into(),
            }),
        };
        change(&mut credentials);
        if credentials.response.is_empty() {
            credentials.response = credentials.expected("INVITE", &business().password);
        }
        let mut invite = invite.clone();
        invite
            .headers
            .set("Proxy-Authorization", credentials.to_string());
        invite
    }

    fn bare_invite() -> Request {
        request("dialogs/bic-sdes/01-invite.sip")
    }

    #[test]
    fn a_right_answer_passes_once_and_its_repetition_does_not() {
        for challenges in [Challenges::Md5, Challenges::Sha256, Challenges::Both] {
            let mut desk = Desk::new(challenges, DigestUri::Request);
            let invite = answered(&mut desk, &bare_invite(), |_| ());
            assert!(desk.challenge(&invite).is_none());
            assert_eq!(desk.check(&invite, Some(&business())), Ok(()));
            assert!(desk.check(&invite, Some(&business())).is_err(), "nc again");
        }
    }

    #[test]
    fn whatever_is_wrong_in_an_answer_makes_it_an_invalid_digest() {
        let faults: [fn(&mut Credentials); 6] = [
            |c| c.username = "+12145551869".into(),
            |c| c.realm = "example.com".into(),
            |c| c.opaque = None,
            |c| c.algorithm = Some(Algorithm::Sha256),
            |c| c.nonce = "made up".into(),
            |c| c.response = "0".repeat(32),
        ];
        for (place, fault) in faults.into_iter().enumerate() {
            let mut desk = Desk::new(Challenges::Md5, DigestUri::Request);
            let invite = answered(&mut desk, &bare_invite(), fault);
            let refused = desk.check(&invite, Some(&business())).unwrap_err();
            assert_eq!(refused, Refused::new(403, "invalid digest"), "{place}");
        }
    }

    #[test]
    fn the_uri_must_be_the_request_uri_or_that_of_to() {
        let bare = "sip:+12195550714@wa.meta.vc";
        for (rule, parameters, passes) in [
            (DigestUri::Request, true, true),
            (DigestUri::Request, false, false),
            (DigestUri::To, true, false),
            (DigestUri::To, false, true),
        ] {
            let mut desk = Desk::new(Challenges::Md5, rule);
            let invite = answered(&mut desk, &bare_invite(), |c| {
                if !parameters {
                    c.uri = bare.into();
                }
            });
            let result = desk.check(&invite, Some(&business()));
            assert_eq!(result.is_ok(), passes, "{rule:?} {parameters}");
            if let Err(refused) = result {
                assert!(refused.reason.contains("does not match SIP \"to\" uri"));
            }
        }
    }

    #[test]
    fn a_nonce_is_called_stale_once_and_another_never_satisfied() {
        let mut desk = Desk::new(Challenges::StaleOnce, DigestUri::Request);
        let first = answered(&mut desk, &bare_invite(), |_| ());
        let second = desk.challenge(&first).unwrap();
        assert!(second.value.contains("stale=true"));
        let mut desk = Desk::new(Challenges::Always, DigestUri::Request);
        let first = answered(&mut desk, &bare_invite(), |_| ());
        assert!(desk.challenge(&first).is_some());
    }
}
