//! A PBX that transfers its end of the call (RFC 3515, RFC 5589): we call whom it names, within that PBX alone, and where that
//! is answered the PBX's leg is another from then on. Meta's leg knows nothing of it.
//!
//! ```text
//!   REFER ──▶ 202, NOTIFY 100; INVITE to Refer-To, with Replaces where it has one
//!                ├── 200 ──▶ ACK; the media goes there; NOTIFY 200 to the referrer, which says BYE, or we do
//!                └── refused, silent for too long ──▶ NOTIFY with that; the leg goes on as it was
//!   the referrer may say BYE as soon as it has our 202; then there is nobody else if the transfer fails
//! ```

use std::time::Instant;

use super::Call;
use super::turn::{Purpose, Turn};
use crate::call::refused::{Refused, extensions};
use crate::call::summary::Direction;
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::number::Masked;
use crate::peer::pbx::Extension;
use crate::peer::{Caller, Fresh, Refusal, meta};
use crate::sdp::Offer;
use crate::sip::dialog::ClientInvite;
use crate::sip::dialog::refer::{ReferTo, Watch};
use crate::sip::message::{Common, Request, reason_phrase};
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::transport::{Hop, Target};
use crate::sip::{SipUri, build, digest};

/// Transfers that are remembered, for what is still said in their dialogs.
const MOST: usize = 8;

/// As many may be asked for in one call.
const MOST_REFERRALS: u32 = 100;

/// Whom a REFER names, and where that is.
#[derive(Debug)]
struct Named {
    to: SipUri,
    hop: Hop,
    /// The call that ours takes the place of.
    replaces: Option<String>,
}

/// An INVITE to whom the PBX wants to have the call.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) number: u32,
    pub(super) invite: ClientInvite,
    pub(super) offer: Offer,
    pub(super) hop: Hop,
    pub(super) auth: digest::client::Client,
    /// As long as it has neither come to something nor failed.
    pub(super) trying: Option<Trying>,
}

#[derive(Debug)]
pub(super) struct Trying {
    /// When it has rung enough.
    pub(super) until: Instant,
    /// What the referrer is told, if it wants to be told.
    pub(super) watch: Option<Watch>,
    /// Whether the referrer has hung up, so that nobody else is there.
    pub(super) alone: bool,
}

impl Transfer {
    /// Whether it goes by this name.
    pub(super) fn is_of(&self, number: u32) -> bool {
        self.number == number
    }
}

impl Call {
    /// A REFER of the PBX.
    pub(super) fn refer(&mut self, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        match self.may_refer(request, turn.tokens) {
            Ok(named) => {
                let watch = self.accept_refer(server, request, turn);
                self.transfer(request, named, watch, turn);
            }
            Err(refused) => self.refuse_within(server, request, refused, turn),
        }
    }

    /// Whom it wants called, and where that is.
    fn may_refer(&self, request: &Request, tokens: &mut Tokens) -> Result<Named, Refused> {
        self.is_talking(tokens)?;
        let pbx = &self.parties.pbx;
        extensions(request, pbx.abilities())?;
        if self.exchange_is_open() || self.trying().is_some() {
            return Err(Refused::new(491, ""));
        }
        if self.referral >= MOST_REFERRALS {
            return Err(Refused::new(
                603,
                "the call has been transferred often enough",
            ));
        }
        let named = ReferTo::of(request).map_err(|why| Refused::new(400, why))?;
        let found = pbx.referred(&named.uri, &self.parties.pbx_hop);
        let (to, hop) = found.ok_or_else(|| {
            let host = &named.uri.host;
            let why = format!("Refer-To leads to {host}: this PBX transfers to itself alone");
            Refused::new(403, why)
        })?;
        let replaces = named.replaces;
        Ok(Named { to, hop, replaces })
    }

    fn accept_refer(
        &mut self,
        server: ServerId,
        request: &Request,
        turn: &mut Turn<'_>,
    ) -> Option<Watch> {
        let watch = Watch::of(request, self.referrals == 0);
        self.referrals = self.referrals.saturating_add(1);
        let identity = self.to_pbx();
        let mut accepted = build::response(request, 202, None);
        let headers = &mut accepted.headers;
        headers.push("Contact", identity.contact(request.uri.user()).to_string());
        identity.abilities.say(headers);
        if watch.is_none() {
            headers.push("Refer-Sub", "false");
        }
        if let Some((dialog, _)) = self.pbx_session() {
            dialog.retarget(request);
        }
        turn.respond(server, accepted);
        watch
    }

    fn transfer(
        &mut self,
        refer: &Request,
        named: Named,
        watch: Option<Watch>,
        turn: &mut Turn<'_>,
    ) {
        let session = turn.tokens.number() >> 1;
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let offer = pbx.agreement.elsewhere(session);
        tracing::info!(
            pbx = self.parties.pbx.name,
            pbx_leg = %Masked(refer.call_id()),
            to = %Masked(named.to.user.as_deref().unwrap_or_default()),
            attended = named.replaces.is_some(),
            "the PBX transfers the call"
        );
        let fresh = Fresh::draw(turn.tokens);
        let invite = self.invite_target(refer, &named, fresh, &offer);
        turn.mark(Mark::Transferring {
            call_id: invite.call_id().to_owned(),
        });
        let hop = named.hop;
        let identity = self.parties.pbx.identity(hop.protocol);
        self.referral = self.referral.wrapping_add(1);
        let number = self.referral;
        if self.transfers.len() >= MOST {
            self.transfers.pop_front();
        }
        self.transfers.push_back(Transfer {
            number,
            invite: ClientInvite::new(Leg::Pbx, invite.clone(), identity),
            offer,
            hop: hop.clone(),
            auth: digest::client::Client::new(),
            trying: Some(Trying {
                until: turn.now + self.ring_timeout,
                watch,
                alone: false,
            }),
        });
        self.tell_referrer(100, reason_phrase(100), turn);
        self.open(invite, Target::Hop(hop), Purpose::Transfer(number), turn);
    }

    /// The INVITE that a REFER asks for; the referrer says who it is, and which call is replaced (RFC 3892, RFC 3891).
    fn invite_target(
        &self,
        refer: &Request,
        named: &Named,
        fresh: Fresh,
        offer: &Offer,
    ) -> Request {
        let (pbx, call) = (&self.parties.pbx, self.extension());
        let mut invite = pbx.invite_to(named.to.clone(), &named.hop, &call, fresh, offer.text());
        if let Some(by) = refer.headers.get("Referred-By") {
            invite.headers.push("Referred-By", by);
        }
        if let Some(replaces) = &named.replaces {
            invite.headers.push("Require", "replaces");
            invite.headers.push("Replaces", replaces);
        }
        invite
    }

    /// What the new leg is told of the WhatsApp user, as the first was or would have been.
    fn extension(&self) -> Extension {
        let (caller, custom) = match self.parties.direction {
            Direction::UserInitiated => (
                meta::caller(&self.caller.request),
                meta::custom_headers(&self.caller.request.headers),
            ),
            Direction::BusinessInitiated => (
                Caller {
                    name: None,
                    user: self.parties.user.clone(),
                },
                Vec::new(),
            ),
        };
        Extension {
            number: self.parties.number.number.clone(),
            target: String::new(),
            caller,
            custom,
            hops_left: 70,
        }
    }

    pub(super) fn trying(&self) -> Option<&Trying> {
        self.transfers.back()?.trying.as_ref()
    }

    pub(super) fn trying_mut(&mut self) -> Option<&mut Trying> {
        self.transfers.back_mut()?.trying.as_mut()
    }

    /// Whether the PBX's end of the call is on its way to somebody else.
    pub(super) fn is_transferring(&self) -> bool {
        self.trying().is_some()
    }

    /// When something is next to be done.
    pub(super) fn transfer_due(&self) -> Option<Instant> {
        let rung = self.trying().map(|trying| trying.until);
        rung.into_iter().chain(self.former_due()).min()
    }

    /// Does what time wants: a target has rung enough, a former leg was not hung up.
    pub(super) fn tick_transfer(&mut self, turn: &mut Turn<'_>) {
        if self.trying().is_some_and(|trying| turn.now >= trying.until) {
            let refusal = Refusal::new(408, 19, "the target of the transfer did not answer");
            self.cancel_target(&refusal, turn);
            self.transfer_failed(&refusal, turn);
        }
        let (now, done) = (turn.now, Refusal::new(200, 16, "the call was transferred"));
        self.hang_up_former(|until| now >= until, &done, turn);
    }

    /// The call ends: a transfer that is under way comes to nothing, and a leg that the PBX had before is hung up.
    pub(super) fn give_up_transfer(&mut self, why: &Refusal, turn: &mut Turn<'_>) {
        if self.is_transferring() {
            self.cancel_target(why, turn);
            self.tell_referrer(487, reason_phrase(487), turn);
        }
        self.hang_up_former(|_| true, why, turn);
    }

    /// A call that has ended is on its way to nobody.
    pub(super) fn forget_transfer(&mut self) {
        if let Some(transfer) = self.transfers.back_mut() {
            transfer.trying = None;
        }
    }
}
