//! What is kept, and what has to go: a machine without clock or socket, bounded in every way.
//!
//! ```text
//!   INVITE ─▶ Stray ──┬─ Note::Began ───▶ Call       newest N; finished ones go first
//!   noise  ─▶ Stray   └─ Note::Refused ─▶ Refused    newest N
//!                        neither: stays a Stray      newest few; the loudest sender's go first
//! ```
//!
//! What there is room for, and what has to go, is in `room`; media in `shelf`; who asks, in `find`.
//!
//! Each kind has room of its own, so whoever can only send what becomes no call pushes no call out. Of one call the
//! beginning and the newest are kept: a flood within it costs its own middle.

mod find;
mod room;
mod shelf;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::words::{self, short};
use super::{End, Kind, Packet, Settings, Side, What, secrets};
use crate::call::watch::{At, Began, Mark, Note, Rejected};
use crate::call::{CallId, Summary};
use crate::leg::Leg;
use crate::media::{Recording, SessionId};
use crate::sip::message::{Common, Malformed, Message, Method};
use crate::sip::transport::{Arrival, Flow, Protocol, Target};

pub use find::Unfound;
use room::{Group, Ring};
pub(super) use shelf::Ask;
use shelf::Shelf;
pub use shelf::Tape;

/// Most octets of one message.
const MOST_MESSAGE: usize = 16 * 1024;

/// Names what is kept, by its age.
type Serial = u64;

/// Everything that is kept.
#[derive(Debug)]
pub(super) struct Keep {
    settings: Settings,
    last: Serial,
    groups: HashMap<Serial, Group>,
    /// By leg and Call-ID.
    index: [HashMap<String, Serial>; 2],
    calls: HashMap<CallId, Serial>,
    rings: [Ring; 3],
    /// How many strays come from where.
    loud: HashMap<Option<IpAddr>, usize>,
    shelf: Shelf,
}

impl Keep {
    pub(super) fn new(settings: Settings) -> Keep {
        Keep {
            settings,
            last: 0,
            groups: HashMap::new(),
            index: Default::default(),
            calls: HashMap::new(),
            rings: Default::default(),
            loud: HashMap::new(),
            shelf: Shelf::default(),
        }
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        self.shelf.configure(&self.settings);
        if self.settings.calls == 0 {
            *self = Keep {
                last: self.last,
                shelf: std::mem::take(&mut self.shelf),
                ..Keep::new(self.settings.clone())
            };
        }
        for kind in [Kind::Call, Kind::Refused] {
            self.trim(kind, None);
        }
    }

    /// What the media plane is to be asked for now.
    pub(super) fn take_asks(&mut self) -> Vec<Ask> {
        self.shelf.take_asks()
    }

    pub(super) fn may_reveal(&self) -> bool {
        self.settings.reveal_numbers
    }

    pub(super) fn received(&mut self, arrival: &Arrival, at: At) {
        let packet = |octets: &[u8]| packet_of(arrival.flow, false, None, octets);
        self.message(
            &arrival.message,
            arrival.flow.leg,
            &arrival.octets,
            packet,
            at,
        );
    }

    pub(super) fn sent(&mut self, message: &Message, octets: &[u8], target: &Target, at: At) {
        let leg = match target {
            Target::Flow(flow) => flow.leg,
            Target::Hop(hop) => hop.leg,
        };
        let packet = |octets: &[u8]| match target {
            Target::Flow(flow) => packet_of(*flow, true, None, octets),
            Target::Hop(hop) => Packet {
                local: None,
                remote: hop
                    .host
                    .parse()
                    .ok()
                    .map(|ip| SocketAddr::new(ip, hop.port)),
                hop: Some(format!("{}:{}", hop.host, hop.port)),
                ..packet_for(leg, hop.protocol, octets)
            },
        };
        self.message(message, leg, octets, packet, at);
    }

    pub(super) fn unreadable(&mut self, malformed: &Malformed, flow: Flow, at: At) {
        if self.settings.calls == 0 {
            return;
        }
        let call_id = malformed.headers.get("Call-ID").unwrap_or_default();
        let serial = match self.index[flow.leg as usize].get(call_id) {
            Some(serial) => *serial,
            None => self.stray(flow.leg, call_id, Some(flow.remote.ip()), at),
        };
        let packet = packet_of(flow, false, Some(&malformed.what), &malformed.octets);
        self.add(serial, What::Message(packet), at);
    }

    pub(super) fn noted(&mut self, note: &Note, at: At) {
        if self.settings.calls == 0 {
            return;
        }
        match note {
            Note::Began(began) => self.began(began, at),
            Note::Mark { call, mark } => {
                if let Some(serial) = self.calls.get(call).copied() {
                    self.redirected(serial, mark);
                    self.add(serial, words::mark(mark), at);
                }
            }
            Note::Ended(summary) => self.ended(summary),
            Note::Refused(rejected) => self.refused(rejected, at),
        }
    }

    /// A message belongs to what its Call-ID names; an INVITE begins something where it names nothing.
    fn message(
        &mut self,
        message: &Message,
        leg: Leg,
        octets: &[u8],
        packet: impl FnOnce(&[u8]) -> Packet,
        at: At,
    ) {
        if self.settings.calls == 0 {
            return;
        }
        let call_id = match message {
            Message::Request(request) => request.call_id(),
            Message::Response(response) => response.call_id(),
        };
        let serial = match (self.index[leg as usize].get(call_id), message) {
            (Some(serial), _) => *serial,
            (None, Message::Request(request)) if request.method == Method::INVITE => {
                let packet = packet(octets);
                let source = packet.remote.filter(|_| !packet.sent).map(|a| a.ip());
                let serial = self.stray(leg, call_id, source, at);
                return self.add(serial, What::Message(packet), at);
            }
            _ => return,
        };
        let packet = packet(octets);
        if let (Message::Response(response), true) = (message, packet.sent) {
            self.told(serial, response.status, &response.reason, at);
        }
        self.add(serial, What::Message(packet), at);
    }

    /// What a stray was told is how it ended, unless it becomes something.
    fn told(&mut self, serial: Serial, status: u16, reason: &str, at: At) {
        let Some(group) = self.groups.get_mut(&serial) else {
            return;
        };
        if group.trace.head.kind == Kind::Stray && status >= 200 {
            group.trace.head.end = Some(end_of(status, reason, group.base, at));
        }
    }

    fn began(&mut self, began: &Began, at: At) {
        let caller = began.direction.caller();
        let found = self.index[caller as usize]
            .get(&began.caller_call_id)
            .copied();
        let serial = match found.map(|serial| (serial, self.kind(serial))) {
            Some((serial, Some(Kind::Stray))) => serial,
            // The Call-ID was in use before: what came last is the beginning of this call.
            Some((earlier, _)) => {
                let invites = self.take_last_invite(earlier);
                let serial = self.stray(caller, &began.caller_call_id, None, at);
                for event in invites {
                    self.push(serial, event);
                }
                serial
            }
            None => self.stray(caller, &began.caller_call_id, None, at),
        };
        self.join(serial, caller.other(), &began.callee_call_id);
        self.calls.insert(began.call, serial);
        if let Some(group) = self.groups.get_mut(&serial) {
            group.call = Some(began.call);
            self.shelf
                .begin(serial, began.session, group.base, &self.settings);
            let head = &mut group.trace.head;
            head.id = began.call.0.to_string();
            head.end = None;
            head.direction = Some(began.direction.to_string());
            head.number = Some(began.number.plus());
            head.user = began.user.as_ref().map(|user| user.sip_user());
            head.pbx = Some(began.pbx.clone());
            head.wacid = began.wacid.as_deref().map(short);
            head.meta_call_id = Some(began.call_id_of(Leg::Meta).to_owned());
            head.pbx_call_id = Some(began.call_id_of(Leg::Pbx).to_owned());
        }
        self.becomes(serial, Kind::Call);
    }

    pub(super) fn recorded(&mut self, session: SessionId, recording: &Arc<Recording>) {
        self.shelf.recorded(session, recording);
    }

    /// A call that goes to another address has another Call-ID there, and keeps those that it had.
    fn redirected(&mut self, serial: Serial, mark: &Mark) {
        let (pbx, call_id) = match mark {
            Mark::Redirected { pbx, call_id, .. } => (pbx, call_id),
            Mark::Transferring { call_id } => return self.referred(serial, call_id),
            _ => return,
        };
        self.join(serial, Leg::Pbx, call_id);
        if let Some(group) = self.groups.get_mut(&serial) {
            group.trace.head.pbx = Some(pbx.clone());
        }
    }

    /// A call that the PBX transfers has another leg, and keeps its name.
    fn referred(&mut self, serial: Serial, call_id: &str) {
        let named = |group: &mut Group| group.trace.head.pbx_call_id.clone();
        let name = self.groups.get_mut(&serial).and_then(named);
        self.join(serial, Leg::Pbx, call_id);
        if let Some(group) = self.groups.get_mut(&serial) {
            group.trace.head.pbx_call_id = name;
        }
    }

    fn ended(&mut self, summary: &Summary) {
        // Its Call-IDs lead to it still, for what is repeated; its number is not given again.
        let Some(serial) = self.calls.remove(&summary.call) else {
            return;
        };
        self.shelf.over(serial);
        self.is_over(serial);
        if let Some(group) = self.groups.get_mut(&serial) {
            let head = &mut group.trace.head;
            head.end = Some(words::end(summary, group.base));
            head.user = summary.user.as_ref().map(|user| user.sip_user());
            if let Some(wacid) = &summary.told.wacid {
                head.wacid = Some(short(wacid));
            }
        }
    }

    fn refused(&mut self, rejected: &Rejected, at: At) {
        let found = self.index[rejected.leg as usize]
            .get(&rejected.call_id)
            .copied();
        let serial = match found {
            Some(serial) => serial,
            None => {
                let source = Some(rejected.source.ip());
                self.stray(rejected.leg, &rejected.call_id, source, at)
            }
        };
        if self.kind(serial) == Some(Kind::Call) {
            let words = format!("refused with {}: {}", rejected.status, short(&rejected.why));
            let leg = Some(rejected.leg.into());
            return self.add(serial, What::Mark { leg, words }, at);
        }
        if let Some(group) = self.groups.get_mut(&serial) {
            let (called, calling) = (short(&rejected.called), short(&rejected.calling));
            let head = &mut group.trace.head;
            let (direction, number, user) = match rejected.leg {
                Leg::Meta => ("user-initiated", called, calling),
                Leg::Pbx => ("business-initiated", calling, called),
            };
            head.direction = Some(direction.to_owned());
            head.number = Some(number).filter(|number| !number.is_empty());
            head.user = Some(user).filter(|user| !user.is_empty());
            head.pbx = rejected.pbx.clone();
            head.wacid = rejected.wacid.as_deref().map(short);
            head.end = Some(end_of(rejected.status, &rejected.why, group.base, at));
        }
        self.becomes(serial, Kind::Refused);
    }
}

/// The end of what was no call.
fn end_of(status: u16, why: &str, base: Instant, at: At) -> End {
    End {
        after_ns: words::nanos(base, at.now),
        talked_ms: None,
        status,
        ended_by: "bridge".to_owned(),
        why: short(why),
        meta: None,
        pbx: None,
    }
}

fn packet_of(flow: Flow, sent: bool, fault: Option<&str>, octets: &[u8]) -> Packet {
    Packet {
        sent,
        local: Some(flow.local),
        remote: Some(flow.remote),
        hop: None,
        fault: fault.map(short),
        ..packet_for(flow.leg, flow.protocol, octets)
    }
}

/// What is kept of a message: as much as there is room for, and nothing that is secret.
fn packet_for(leg: Leg, protocol: Protocol, octets: &[u8]) -> Packet {
    let mut kept = octets[..octets.len().min(MOST_MESSAGE)].to_vec();
    secrets::hide(&mut kept);
    Packet {
        leg: Side::from(leg),
        sent: true,
        protocol,
        local: None,
        remote: None,
        hop: None,
        fault: None,
        length: octets.len(),
        octets: kept.into(),
    }
}
