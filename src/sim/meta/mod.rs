//! A Meta as documented: `wa.meta.vc` and its WhatsApp users.
//!
//! Written from Meta's pages and their samples, not from the bridge, and at least as strict as they are. § cites the
//! section of docs that holds the rule.
//!
//! ```text
//!   shape   what Meta sends: Via chain, Record-Routes, Contact, x-wa-meta-… (§1, §3.1, §4, §5)
//!   rules   what Meta compares, refuses or breaks on (§3.3, §5, §6)
//!   auth    digest, both ways (§3.2, §4)
//! ```

pub mod auth;
pub mod rules;
pub mod shape;

use crate::leg::Leg;
use crate::number::E164;
use crate::secret::Secret;
use crate::sip::message::Common;
use crate::sip::transport::{Hop, Target};
use crate::sip::{Method, Request, Response, build};

use super::agent::{Manners, Outgoing, Verdict};
use super::body::{Demands, Keying, Listening, Ours, Theirs};
use super::dialog::{Dialog, tag_of};
use super::relay::Relays;
use super::report::CallReport;
use super::speech::Speaks;
use auth::{Desk, Refused};

pub use auth::{Challenges, DigestUri};

/// Meta's SIP domain.
pub const DOMAIN: &str = "wa.meta.vc";

/// One business number as it is provisioned at Meta.
#[derive(Clone, Debug)]
pub struct Business {
    /// The number.
    pub number: E164,
    /// Meta's own id of the number, which some refusals name.
    pub phone_number_id: String,
    /// The SIP server configured for it: the bridge's name.
    pub hostname: String,
    /// The password that Meta made for it.
    pub password: Secret,
    /// How its calls are keyed: not negotiated, but switched by the settings API (§7).
    pub keying: Keying,
}

/// What this Meta knows.
#[derive(Clone)]
pub struct Settings {
    /// The business numbers that are provisioned.
    pub businesses: Vec<Business>,
    /// What holds for every other number; `None`: other numbers are unknown.
    pub anybody: Option<Business>,
    /// Where the bridge is. Its host name is looked up and its certificate verified against it.
    pub bridge: Hop,
    /// How INVITEs from the bridge are challenged.
    pub challenges: Challenges,
    /// What the digest's `uri` is compared with.
    pub digest_uri: DigestUri,
    /// Its media relays.
    pub relays: Relays,
    /// What is spoken: Opus, and the `additional_codecs` of the numbers (§7).
    pub speaks: Speaks,
}

/// How Meta behaves.
pub struct MetaManners {
    settings: Settings,
    desk: Desk,
}

impl MetaManners {
    /// A Meta that knows what the settings say.
    pub fn new(settings: Settings) -> MetaManners {
        MetaManners {
            desk: Desk::new(settings.challenges, settings.digest_uri),
            settings,
        }
    }

    fn business(&self, user: &str) -> Option<Business> {
        let number = user.strip_prefix('+').unwrap_or(user);
        let mut all = self.settings.businesses.iter();
        let known = all.find(|business| business.number.digits() == number);
        known.cloned().or_else(|| {
            Some(Business {
                number: format!("+{number}").parse().ok()?,
                ..self.settings.anybody.clone()?
            })
        })
    }

    fn keying(&self, business: &str) -> Keying {
        // As a number has it that nobody has switched.
        self.business(business)
            .map_or(Keying::Dtls, |business| business.keying)
    }

    fn refusal(&self, invite: &Request, refused: Refused, mut faults: Vec<String>) -> Verdict {
        let response = shape::refusal(invite, &refused);
        faults.push(format!("INVITE: {} {}", refused.status, refused.reason));
        Verdict::Refuse(Box::new(response), faults)
    }
}

impl Manners for MetaManners {
    const LEG: Leg = Leg::Meta;

    fn ours(&self, media: Listening, business: &str) -> Ours {
        match self.keying(business) {
            Keying::Sdes => Ours::srtp(media, &self.settings.speaks),
            Keying::Dtls => {
                let dtls = self.settings.relays.sdp();
                Ours::dtls(media, dtls, &self.settings.speaks)
            }
        }
    }

    fn demands(&self, business: &str) -> Demands {
        Demands::Meta(self.keying(business))
    }

    fn print(&self, ours: &Ours) -> String {
        ours.as_meta()
    }

    fn invite(&self, call: &Outgoing) -> Request {
        let business = self.business(&call.to);
        let host = business.map(|business| business.hostname);
        shape::invite(call, &host.unwrap_or(self.settings.bridge.host.clone()))
    }

    fn authorise(&self, invite: &Request, challenge: &Response) -> Result<Request, String> {
        let user = invite.uri.user().unwrap_or_default();
        let business = self
            .business(user)
            .ok_or("the number called has no password here")?;
        let (header, credentials) = auth::answer(invite, challenge, &business)?;
        Ok(shape::again(invite, header, &credentials))
    }

    fn target(&self) -> Target {
        Target::Hop(self.settings.bridge.clone())
    }

    fn judge(&self, invite: &Request, response: &Response) -> Vec<String> {
        rules::response(invite, response)
    }

    fn admit(&mut self, invite: &Request, sdp: &Theirs, busy: bool) -> Verdict {
        let user = invite.from().and_then(|f| f.uri.user().map(str::to_owned));
        let business = user.and_then(|user| self.business(&user));
        // Meta asks for credentials before it looks at anything else (§3.1).
        if let Some(challenge) = self.desk.challenge(invite) {
            let mut response = build::response(invite, 407, challenge.to_tag.as_deref());
            response.headers.push("Proxy-Authenticate", challenge.value);
            if let Some(second) = challenge.second {
                response.headers.push("Proxy-Authenticate", second);
            }
            shape::response(invite, &mut response);
            return Verdict::Challenge(Box::new(response));
        }
        let mut faults = rules::invite(invite, business.as_ref());
        let refused = rules::refuses(invite, business.as_ref())
            .or_else(|| self.desk.check(invite, business.as_ref()).err())
            .or_else(|| busy.then(|| Refused::new(403, "duplicate call")))
            .or_else(|| {
                let broken = sdp.complaints.first()?;
                faults.push(broken.clone());
                Some(Refused::new(403, "SDP validation error"))
            });
        match refused {
            // As one report has it: the bridge shall try again, with the uri of To.
            Some(refused) if refused.reason == auth::WRONG_URI && self.desk.wants_uri_of_to() => {
                let response = shape::refusal(invite, &refused);
                Verdict::Challenge(Box::new(response))
            }
            Some(refused) => self.refusal(invite, refused, faults),
            None => Verdict::Welcome(faults),
        }
    }

    fn dress_request(&self, request: &mut Request, call: &CallReport, seconds: Option<u64>) {
        shape::request(request, call, seconds);
    }

    fn dress_response(&self, request: &Request, response: &mut Response) {
        shape::response(request, response);
    }

    fn judge_in_dialog(&self, dialog: &Dialog, request: &Request) -> Vec<String> {
        rules::in_dialog(dialog, request)
    }

    fn stray(&self, request: &Request) -> (u16, Option<String>) {
        let what = |text: &str| Some(format!("{}: {text}", request.method));
        match &request.method {
            m if *m == Method::OPTIONS => (200, None),
            m if *m == Method::REGISTER => (403, what("Meta has no registrar (§6)")),
            _ => (405, what("not among the methods that Meta allows (§6)")),
        }
    }
}

/// Whether a tag is there at all; every request in a dialog has both.
fn has_tags(request: &Request) -> bool {
    let tag = |name| request.headers.get(name).and_then(tag_of).is_some();
    tag("From") && tag("To")
}
