//! Requests outside any dialog: the few that are answered at once, and the INVITE that becomes a call, or is told
//! why not.

use std::sync::Arc;
use std::time::Instant;

use super::bridge::Bridge;
use super::event::Action;
use super::machine::{Beginning, Call, Parties};
use super::outgoing::{Callee, Route};
use super::refused::{
    Because, Refused, answer_at_once, check_body, hops_left, not_ours, too_small, understood,
};
use super::summary::Direction;
use super::watch::{Note, Rejected};
use crate::leg::Leg;
use crate::media::dtls::Fingerprint;
use crate::media::ice;
use crate::media::sdes::Crypto;
use crate::media::{LocalPorts, Opened};
use crate::number::Masked;
use crate::peer::pbx::Extension;
use crate::peer::{Pbx, meta, pbx};
use crate::policy::rules::{self, Asked};
use crate::policy::{KeyExchange, Number, Reinvite};
use crate::sdp::{Capabilities, Keying, Local, Reject, RemoteOffer};
use crate::sip::dialog::ServerInvite;
use crate::sip::dialog::refresh::{Interval, TooSmall};
use crate::sip::grammar::quote;
use crate::sip::message::{Common, Method, Request};
use crate::sip::transaction::ServerId;
use crate::sip::transport::Flow;
use crate::sip::{Abilities, build};

/// What the new call listens on, and says of it in its descriptions.
struct Ends {
    media: Opened,
    caller: Local,
    callee: Local,
}

impl Bridge {
    pub(super) fn outside_dialogs(
        &mut self,
        server: ServerId,
        request: Request,
        flow: Flow,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let ours = self.abilities(flow);
        let refused = match understood(&request, flow.leg, ours) {
            Err(refused) => refused,
            Ok(()) if request.method == Method::INVITE => {
                match self.invited(server, &request, flow, now, out) {
                    Ok(()) => return,
                    Err(refused) => refused,
                }
            }
            // Whoever asks wants to know whether a call would be taken.
            Ok(()) if request.method == Method::OPTIONS => match self.doors.check() {
                Ok(()) => answer_at_once(&request, ours),
                Err(refused) => refused,
            },
            Ok(()) => answer_at_once(&request, ours),
        };
        self.refuse(server, &request, flow, &refused, now, out);
    }

    fn refuse(
        &mut self,
        server: ServerId,
        request: &Request,
        flow: Flow,
        refused: &Refused,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let mut response = build::response(request, refused.status, Some(&self.tokens.tag()));
        for (name, value) in &refused.headers {
            response.headers.push(name, value);
        }
        if !refused.why.is_empty() {
            response
                .headers
                .push("Warning", format!("399 wabridge {}", quote(&refused.why)));
            let call_id = Masked(request.call_id());
            let (method, status, why) = (&request.method, refused.status, &refused.why);
            tracing::info!(leg = ?flow.leg, %call_id, %method, status, why, "refused");
        }
        if request.method == Method::INVITE && !matches!(refused.status, 401 | 407) {
            self.note_refused(request, flow, refused, out);
        }
        self.respond(server, response, now, out);
    }

    pub(super) fn note_refused(
        &mut self,
        invite: &Request,
        flow: Flow,
        refused: &Refused,
        out: &mut Vec<Action>,
    ) {
        self.stats.refused += 1;
        let pbx = self.admission.pbx_at(flow).filter(|_| flow.leg == Leg::Pbx);
        let rejected = Rejected::new(invite, flow, pbx, refused);
        out.push(Action::Note(Note::Refused(Box::new(rejected))));
    }

    /// From an INVITE to a call.
    fn invited(
        &mut self,
        server: ServerId,
        invite: &Request,
        flow: Flow,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        let hops_left = hops_left(invite)?;
        check_body(invite)?;
        let pbx = match flow.leg {
            Leg::Meta => None,
            Leg::Pbx => Some(self.calling_pbx(flow)?),
        };
        let theirs = match pbx.as_deref() {
            // Which number is called is known later, and changes nothing about how an offer is answered.
            None => {
                let usual = self.setup.meta.capabilities(KeyExchange::default());
                usual.with(&meta::ADDITIONAL, None)
            }
            // Multiplexed RTCP is taken where a PBX offers it, and never asked for: many know nothing of it.
            Some(pbx) => Capabilities {
                rtcp_mux: true,
                ..pbx.capabilities()
            },
        };
        // The source is known already, and what cannot be carried is refused before anybody computes a digest.
        let offer = RemoteOffer::parse(&invite.body, &theirs)
            .map_err(|reject| no_common_media(flow.leg, &reject))?;
        let mut route = match pbx {
            None => self.user_initiated(invite, hops_left, now)?,
            Some(pbx) => {
                check_timer(invite, &pbx)?;
                self.business_initiated(invite, pbx, flow)?
            }
        };
        self.check_room()?;
        if route.parties.direction == Direction::UserInitiated {
            check_keying(&route.parties.number, &offer, invite);
        }
        let ends = self.open_media(&mut route)?;
        if let Err(reject) = offer.reachable_from(&ends.caller) {
            self.media.close(ends.media.id);
            return Err(no_common_media(flow.leg, &reject));
        }
        let outgoing = self.outgoing(&route, hops_left, ends.callee, offer.preferred());
        let Route {
            parties, identity, ..
        } = route;
        let beginning = Beginning {
            parties,
            caller: ServerInvite::new(
                server,
                invite.clone(),
                identity,
                self.tokens.tag(),
                self.setup.pace,
            ),
            caller_flow: flow,
            offer,
            caller_local: ends.caller,
            callee: outgoing.invite,
            our_offer: outgoing.offer,
            media: ends.media,
            patience: outgoing.patience,
            attempts: outgoing.attempts,
            ring_until: now + outgoing.ring_for,
            ring_timeout: self.setup.ring_timeout,
        };
        let (call, actions) = Call::begin(beginning, &mut self.tokens, now);
        self.admit_call(call, actions, now, out);
        Ok(())
    }

    /// A user-initiated call: the number is ours, and the INVITE is Meta's.
    fn user_initiated(
        &mut self,
        invite: &Request,
        hops_left: u8,
        now: Instant,
    ) -> Result<Route, Refused> {
        let setup = self.setup.clone();
        let number = setup.numbers.called(invite.uri.user().unwrap_or_default());
        self.authenticate(invite, number, now)?;
        let number = number.ok_or_else(not_ours)?;
        let (caller, custom) = (meta::caller(invite), meta::custom_headers(&invite.headers));
        let asked = Asked {
            number: &number.number,
            user: caller.user.as_ref(),
            headers: &custom,
        };
        let goal = rules::goal(&setup.routes, number, &asked);
        let pbxs = goal.pbxs.iter().filter_map(|name| setup.pbx(name));
        let mut ways = self.errands.upkeep.ways(pbxs, &mut self.tokens).into_iter();
        let none = || Refused::new(503, "the number has no PBX").because(Because::NoPbx);
        let (pbx, pbx_hop) = ways.next().ok_or_else(none)?;
        let target = goal.target.map(str::to_owned);
        let user = caller.user.clone();
        let extension = Extension {
            number: number.number.clone(),
            target: target.unwrap_or_else(|| number.number.plus()),
            caller,
            custom,
            hops_left,
        };
        Ok(Route {
            identity: setup.meta.identity(number),
            parties: Parties {
                direction: Direction::UserInitiated,
                meta: setup.meta.clone(),
                pbx_hop,
                pbx,
                number: number.clone(),
                user,
            },
            callee: Callee::Extension(Box::new(extension), ways.collect()),
        })
    }

    /// What we do for whoever sends from there.
    fn abilities(&self, flow: Flow) -> Abilities {
        let name = self.admission.pbx_at(flow).filter(|_| flow.leg == Leg::Pbx);
        let pbx = name.and_then(|name| self.setup.pbx(name));
        pbx.map_or(Abilities::CALLS, |pbx| pbx.abilities())
    }

    fn calling_pbx(&self, flow: Flow) -> Result<Arc<Pbx>, Refused> {
        let name = self.admission.pbx_at(flow);
        let pbx = name.and_then(|name| self.setup.pbx(name)).cloned();
        pbx.ok_or_else(|| {
            Refused::new(403, "no PBX is configured for the source address").because(Because::NoPbx)
        })
    }

    /// A business-initiated call: the number that calls is this PBX's, and the dialled one is a WhatsApp user's.
    fn business_initiated(
        &self,
        invite: &Request,
        pbx: Arc<Pbx>,
        flow: Flow,
    ) -> Result<Route, Refused> {
        let claims = pbx::claims(invite);
        let claims = claims.iter().map(String::as_str);
        let number = self
            .setup
            .numbers
            .calling(
                &pbx.name,
                claims,
                &pbx.dialling,
                pbx.default_number.as_ref(),
            )
            .map_err(|why| Refused::new(403, why.to_string()).because(Because::UnknownCaller))?;
        let user = pbx.dialled(invite).map_err(|why| {
            let place = pbx.dialled_in(invite);
            let place = place.map_or_else(String::new, |header| format!(", in {header}"));
            Refused::new(404, format!("the number dialled{place}: {why}"))
                .because(Because::BadNumber)
        })?;
        Ok(Route {
            identity: pbx.identity(flow.protocol),
            parties: Parties {
                direction: Direction::BusinessInitiated,
                meta: self.setup.meta.clone(),
                pbx_hop: pbx::hop(
                    &flow.remote.ip().to_canonical().to_string(),
                    flow.remote.port(),
                    flow.protocol,
                ),
                pbx,
                number: number.clone(),
                user: Some(user.clone()),
            },
            callee: Callee::User(user),
        })
    }

    fn check_room(&self) -> Result<(), Refused> {
        self.doors.check()?;
        if self.live.len() >= self.setup.max_calls {
            let why = format!("{} calls are up already (calls.max)", self.live.len());
            return Err(full(why));
        }
        Ok(())
    }

    /// Opens the media session of a call, and settles by it which PBX comes first.
    fn open_media(&mut self, route: &mut Route) -> Result<Ends, Refused> {
        let direction = route.parties.direction;
        let media = loop {
            let facing = route.parties.pbx.media;
            match self.media.open(facing) {
                Ok(media) => break media,
                Err(error) if !route.passes_over(facing, &error) => {
                    return Err(full(error.to_string()));
                }
                Err(_) => {}
            }
        };
        let ports = |leg| match leg {
            Leg::Meta => media.meta,
            Leg::Pbx => media.pbx,
        };
        let (caller, callee) = (ports(direction.caller()), ports(direction.callee()));
        Ok(Ends {
            media,
            caller: self.local(caller, media.fingerprint),
            callee: self.local(callee, media.fingerprint),
        })
    }

    fn local(&mut self, ports: LocalPorts, fingerprint: Fingerprint) -> Local {
        // RFC 8866 §5.2 asks for decimal digits; 63 bits fit whatever a peer reads them into.
        Local {
            ports,
            session: self.tokens.number() >> 1,
            version: 1,
            crypto: Crypto::generate(1),
            ice: ice::Credentials::generate(),
            fingerprint,
        }
    }
}

/// The number may be set to the other kind at Meta: this call works, those to WhatsApp users do not.
fn check_keying(number: &Number, offer: &RemoteOffer, invite: &Request) {
    let ours = number.keying.offered();
    if offer.keying() != Keying::from(ours) {
        tracing::warn!(
            call_id = %Masked(invite.call_id()),
            number = %number.number,
            ours = %ours,
            metas = %offer.keying(),
            "Meta keys this number otherwise than our offers ask for: this call is answered in Meta's kind, but Meta will \
             refuse calls to WhatsApp users; set number.keying or number.offer to Meta's kind, or \
             srtp_key_exchange_protocol of the number at Meta"
        );
    }
}

/// A PBX may ask for a session timer where we keep one (RFC 4028 §8.1).
fn check_timer(invite: &Request, pbx: &Pbx) -> Result<(), Refused> {
    if pbx.reinvite == Reinvite::Local {
        Interval::granted_to(invite).map_err(|TooSmall| too_small())?;
    }
    Ok(())
}

fn no_common_media(leg: Leg, reject: &Reject) -> Refused {
    Refused::new(reject.status(), format!("{leg}: {reject}")).because(Because::Sdp)
}

fn full(why: String) -> Refused {
    Refused::new(503, why)
        .because(Because::Full)
        .with("Retry-After", "5")
}
