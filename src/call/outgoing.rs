//! Who calls whom, once an INVITE has settled that, and the INVITE that goes out for it.

use std::time::Duration;

use super::bridge::Bridge;
use super::machine::{Attempts, Parties, Way};
use crate::leg::Leg;
use crate::media::{Codec, Facing, OpenError};
use crate::number::User;
use crate::peer::Fresh;
use crate::peer::pbx::Extension;
use crate::sdp::{Local, Offer};
use crate::sip::dialog::{ClientInvite, Identity};

/// Who calls whom, once that is settled.
pub(super) struct Route {
    pub(super) parties: Parties,
    /// How we name ourselves to the caller.
    pub(super) identity: Identity,
    pub(super) callee: Callee,
}

impl Route {
    /// A PBX that has no media port cannot be called: the next one that has another address of ours for media comes first.
    /// `false` if there is none.
    pub(super) fn passes_over(&mut self, facing: Facing, error: &OpenError) -> bool {
        let Callee::Extension(_, others) = &mut self.callee else {
            return false;
        };
        if error.address() != facing.address {
            return false;
        }
        let Some(next) = others.iter().position(|(pbx, _)| pbx.media != facing) else {
            return false;
        };
        let (pbx, hop) = others.remove(next);
        others.retain(|(pbx, _)| pbx.media != facing);
        tracing::warn!(pbx = self.parties.pbx.name, next_pbx = pbx.name, %error, "the call goes to the next PBX");
        self.parties.pbx = pbx;
        self.parties.pbx_hop = hop;
        true
    }
}

/// Whom the INVITE that goes out is for.
pub(super) enum Callee {
    /// An extension; what else may be tried than the PBX and its address that the parties have.
    Extension(Box<Extension>, Vec<Way>),
    /// A WhatsApp user.
    User(User),
}

/// The INVITE that goes out.
pub(super) struct Outgoing {
    pub(super) invite: ClientInvite,
    /// The SDP in it.
    pub(super) offer: Offer,
    /// How long it may ring.
    pub(super) ring_for: Duration,
    /// How long it may go without any response, if that is limited.
    pub(super) patience: Option<Duration>,
    pub(super) attempts: Option<Attempts>,
}

impl Bridge {
    /// The INVITE that goes out, and how long it may take. `sound`: what the caller is best spoken to with.
    pub(super) fn outgoing(
        &mut self,
        route: &Route,
        hops_left: u8,
        local: Local,
        sound: Option<Codec>,
    ) -> Outgoing {
        let Route {
            parties, callee, ..
        } = route;
        match callee {
            Callee::Extension(call, others) => {
                let call = Extension::clone(call);
                let first = (parties.pbx.clone(), parties.pbx_hop.clone());
                let doubtful = !self.errands.upkeep.is_up(&first.0, &first.1);
                let (first, attempts) = Attempts::begin(
                    call,
                    local,
                    (first, doubtful),
                    others.clone(),
                    &mut self.tokens,
                );
                Outgoing {
                    invite: first.invite,
                    offer: first.offer,
                    ring_for: self.setup.ring_timeout,
                    patience: first.patience,
                    attempts: Some(attempts),
                }
            }
            Callee::User(user) => {
                let kind = parties.number.keying.offered();
                let set: Vec<Codec> = parties
                    .number
                    .additional_codecs
                    .iter()
                    .map(|codec| Codec::from(*codec))
                    .collect();
                // What the PBX speaks comes first: then nothing is transcoded.
                let capabilities = parties.meta.capabilities(kind).with(&set, sound);
                let offer = Offer::new(&local, &capabilities);
                let fresh = Fresh::draw(&mut self.tokens);
                let invite =
                    parties
                        .meta
                        .invite(&parties.number, user, fresh, hops_left, offer.text());
                let identity = parties.meta.identity(&parties.number);
                Outgoing {
                    invite: ClientInvite::new(Leg::Meta, invite, identity),
                    offer,
                    ring_for: self.setup.answer_timeout,
                    patience: None,
                    attempts: None,
                }
            }
        }
    }
}
