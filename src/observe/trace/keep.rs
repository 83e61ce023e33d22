//! What is kept, and what has to go: a machine without clock or socket, bounded in every way.
//!
//! ```text
//!   INVITE ─▶ Stray ──┬─ Note::Began ───▶ Call       newest N; finished ones go first
//!   noise  ─▶ Stray   └─ Note::Refused ─▶ Refused    newest N
//!                        neither: stays a Stray      newest few; the loudest sender's go first
//! ```
//!
//! Each kind has room of its own, so whoever can only send what becomes no call pushes no call out. Of one call the
//! beginning and the newest are kept: a flood within it costs its own middle.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, UNIX_EPOCH};

use super::words::{self, short};
use super::{End, Event, Head, Kind, Packet, Settings, Side, Trace, What, secrets};
use crate::call::watch::{At, Began, Mark, Note, Rejected};
use crate::call::{CallId, Summary};
use crate::leg::Leg;
use crate::sip::message::{Common, Malformed, Message, Method};
use crate::sip::transport::{Arrival, Flow, Protocol, Target};

/// Most events of one call.
const MOST_EVENTS: usize = 200;
/// Most octets of one message.
const MOST_MESSAGE: usize = 16 * 1024;
/// Most octets of one call.
const MOST_OCTETS: usize = 128 * 1024;
/// Octets a call on the average, of all of a kind together.
const CALL_OCTETS: usize = 64 * 1024;
/// The same of refused INVITEs.
const REFUSED_OCTETS: usize = 16 * 1024;
/// Most strays, and most octets of all of them.
const STRAYS: usize = 256;
const STRAY_OCTETS: usize = 2 * 1024 * 1024;
/// What an event costs besides its octets.
const OVERHEAD: usize = 256;
/// Longest Call-ID by which messages are joined.
const MOST_CALL_ID: usize = 1024;
/// Shortest part of a Call-ID that finds it.
const LEAST_PART: usize = 4;

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
}

/// One kind's, oldest first.
#[derive(Debug, Default)]
struct Ring {
    order: VecDeque<Serial>,
    octets: usize,
}

#[derive(Debug)]
struct Group {
    trace: Trace,
    base: Instant,
    octets: usize,
    call: Option<CallId>,
    call_ids: Vec<(Leg, String)>,
    source: Option<IpAddr>,
}

/// Why there is no trace to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfound {
    /// Nothing is kept at all.
    #[error("no call is kept: there was none since the start, or trace.calls is 0")]
    Empty,
    /// Nothing has that name.
    #[error("no call that is kept has this id, Call-ID or WACID; `wabridge trace` lists them")]
    Unknown,
    /// More than one has it.
    #[error("that is part of the Call-IDs of several calls: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
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
        }
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        if self.settings.calls == 0 {
            *self = Keep {
                last: self.last,
                ..Keep::new(self.settings.clone())
            };
        }
        for kind in [Kind::Call, Kind::Refused] {
            self.trim(kind, None);
        }
    }

    pub(super) fn may_reveal(&self) -> bool {
        self.settings.reveal_numbers
    }

    // ---- what happens ------------------------------------------------------------------------------------------

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

    /// A call that goes to another address has another Call-ID there, and keeps those that it had.
    fn redirected(&mut self, serial: Serial, mark: &Mark) {
        let Mark::Redirected { pbx, call_id, .. } = mark else {
            return;
        };
        self.join(serial, Leg::Pbx, call_id);
        if let Some(group) = self.groups.get_mut(&serial) {
            group.trace.head.pbx = Some(pbx.clone());
        }
    }

    fn ended(&mut self, summary: &Summary) {
        // Its Call-IDs lead to it still, for what is repeated; its number is not given again.
        let Some(serial) = self.calls.remove(&summary.call) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&serial) {
            group.call = None;
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

    // ---- what is kept ------------------------------------------------------------------------------------------

    /// Something begins, and nobody knows yet what becomes of it.
    fn stray(&mut self, leg: Leg, call_id: &str, source: Option<IpAddr>, at: At) -> Serial {
        self.last += 1;
        let serial = self.last;
        let since = at.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = Head {
            id: format!("s{serial}"),
            kind: Kind::Stray,
            began_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            direction: None,
            number: None,
            user: None,
            pbx: None,
            wacid: None,
            meta_call_id: None,
            pbx_call_id: None,
            end: None,
        };
        let group = Group {
            trace: Trace {
                head,
                events: Vec::new(),
                left_out: 0,
            },
            base: at.now,
            octets: OVERHEAD,
            call: None,
            call_ids: Vec::new(),
            source,
        };
        self.groups.insert(serial, group);
        self.enters(serial);
        if !call_id.is_empty() {
            self.join(serial, leg, call_id);
        }
        self.trim(Kind::Stray, Some(serial));
        serial
    }

    /// From now on messages with this Call-ID belong here.
    fn join(&mut self, serial: Serial, leg: Leg, call_id: &str) {
        let Some(group) = self.groups.get_mut(&serial) else {
            return;
        };
        if call_id.len() > MOST_CALL_ID {
            return;
        }
        let head = &mut group.trace.head;
        let field = match leg {
            Leg::Meta => &mut head.meta_call_id,
            Leg::Pbx => &mut head.pbx_call_id,
        };
        *field = Some(call_id.to_owned());
        group.call_ids.push((leg, call_id.to_owned()));
        self.index[leg as usize].insert(call_id.to_owned(), serial);
    }

    fn kind(&self, serial: Serial) -> Option<Kind> {
        self.groups.get(&serial).map(|group| group.trace.head.kind)
    }

    /// Moves it to those of its kind.
    fn becomes(&mut self, serial: Serial, kind: Kind) {
        let Some(group) = self.groups.get_mut(&serial) else {
            return;
        };
        if group.trace.head.kind == kind {
            return;
        }
        if kind == Kind::Refused {
            group.trace.head.id = format!("r{serial}");
        }
        self.leaves(serial);
        if let Some(group) = self.groups.get_mut(&serial) {
            group.trace.head.kind = kind;
        }
        self.enters(serial);
        self.trim(kind, Some(serial));
    }

    /// It counts among those of its kind.
    fn enters(&mut self, serial: Serial) {
        let Some(group) = self.groups.get(&serial) else {
            return;
        };
        let kind = group.trace.head.kind;
        let ring = &mut self.rings[kind as usize];
        ring.order.push_back(serial);
        ring.octets += group.octets;
        if kind == Kind::Stray {
            *self.loud.entry(group.source).or_default() += 1;
        }
    }

    /// And no more.
    fn leaves(&mut self, serial: Serial) {
        let Some(group) = self.groups.get(&serial) else {
            return;
        };
        let kind = group.trace.head.kind;
        let ring = &mut self.rings[kind as usize];
        ring.order.retain(|other| *other != serial);
        ring.octets -= group.octets;
        if kind == Kind::Stray
            && let Some(count) = self.loud.get_mut(&group.source)
        {
            *count -= 1;
            if *count == 0 {
                self.loud.remove(&group.source);
            }
        }
    }

    fn add(&mut self, serial: Serial, what: What, at: At) {
        if let Some(group) = self.groups.get(&serial) {
            let after_ns = words::nanos(group.base, at.now);
            self.push(serial, Event { after_ns, what });
        }
    }

    fn push(&mut self, serial: Serial, event: Event) {
        let Some(group) = self.groups.get_mut(&serial) else {
            return;
        };
        let before = group.octets;
        group.octets += cost(&event);
        group.trace.events.push(event);
        while group.trace.events.len() > MOST_EVENTS
            || (group.octets > MOST_OCTETS && group.trace.events.len() > 2)
        {
            let middle = group.trace.events.len() / 2;
            group.octets -= cost(&group.trace.events.remove(middle));
            group.trace.left_out += 1;
        }
        let kind = group.trace.head.kind;
        let ring = &mut self.rings[kind as usize];
        ring.octets = ring.octets + group.octets - before;
        self.trim(kind, Some(serial));
    }

    /// Takes away what came since the last INVITE from a peer.
    fn take_last_invite(&mut self, serial: Serial) -> Vec<Event> {
        let Some(group) = self.groups.get_mut(&serial) else {
            return Vec::new();
        };
        let is_invite = |event: &Event| match &event.what {
            What::Message(packet) => !packet.sent && packet.octets.starts_with(b"INVITE "),
            What::Mark { .. } => false,
        };
        let Some(from) = group.trace.events.iter().rposition(is_invite) else {
            return Vec::new();
        };
        let mut taken = group.trace.events.split_off(from);
        let octets: usize = taken.iter().map(cost).sum();
        group.octets -= octets;
        self.rings[group.trace.head.kind as usize].octets -= octets;
        for event in &mut taken {
            event.after_ns = 0;
        }
        taken
    }

    /// Lets go of what there is no room for; never of the one that is being written to.
    fn trim(&mut self, kind: Kind, writing: Option<Serial>) {
        let calls = usize::from(self.settings.calls);
        let (most, octets) = match kind {
            Kind::Call => (calls, (calls * CALL_OCTETS).max(MOST_OCTETS)),
            Kind::Refused => (calls, (calls * REFUSED_OCTETS).max(MOST_OCTETS)),
            Kind::Stray => (STRAYS, STRAY_OCTETS),
        };
        loop {
            let ring = &self.rings[kind as usize];
            if ring.order.len() <= most && ring.octets <= octets {
                return;
            }
            let Some(serial) = self.first_to_go(kind, writing) else {
                return;
            };
            self.forget(serial);
        }
    }

    fn first_to_go(&self, kind: Kind, writing: Option<Serial>) -> Option<Serial> {
        let order = &self.rings[kind as usize].order;
        let mut others = order.iter().copied().filter(|s| Some(*s) != writing);
        match kind {
            Kind::Call => {
                let over = |s: &Serial| self.groups.get(s).is_none_or(|g| g.call.is_none());
                others.clone().find(over).or_else(|| others.next())
            }
            Kind::Refused => others.next(),
            Kind::Stray => {
                let most = self.loud.values().max().copied();
                let of_the_loudest = |s: &Serial| {
                    let source = self.groups.get(s).and_then(|group| group.source);
                    self.loud.get(&source).copied() == most
                };
                others
                    .clone()
                    .find(of_the_loudest)
                    .or_else(|| others.next())
            }
        }
    }

    fn forget(&mut self, serial: Serial) {
        self.leaves(serial);
        let Some(group) = self.groups.remove(&serial) else {
            return;
        };
        for (leg, call_id) in &group.call_ids {
            let index = &mut self.index[*leg as usize];
            if index.get(call_id) == Some(&serial) {
                index.remove(call_id);
            }
        }
        if let Some(call) = group.call {
            self.calls.remove(&call);
        }
    }

    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let octets: usize = self.rings.iter().map(|ring| ring.octets).sum();
        let groups: usize = self.groups.values().map(|group| group.octets).sum();
        assert_eq!(octets, groups, "what is counted is what is there");
        let strays = self.rings[Kind::Stray as usize].order.len();
        assert_eq!(self.loud.values().sum::<usize>(), strays);
        octets
    }

    // ---- who asks ----------------------------------------------------------------------------------------------

    /// What is kept of each, oldest first.
    pub(super) fn heads(&self) -> Vec<Head> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(serial, _)| **serial);
        let heads = groups.iter().map(|(_, group)| group.trace.head.clone());
        heads.collect()
    }

    /// The one that is meant.
    pub(super) fn find(&self, name: &str) -> Result<Trace, Unfound> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(serial, _)| **serial);
        let traces = groups.iter().map(|(_, group)| &group.trace);
        if groups.is_empty() {
            return Err(Unfound::Empty);
        }
        if name == "last" {
            let last = traces.clone().rfind(|t| t.head.kind == Kind::Call);
            return last.cloned().ok_or(Unfound::Empty);
        }
        if let Some(trace) = traces.clone().find(|t| t.head.id == name) {
            return Ok(trace.clone());
        }
        let called = |group: &Group| {
            // A call that went on to another address has more Call-IDs than its head shows.
            let ids = group.call_ids.iter().map(|(_, call_id)| call_id);
            ids.chain(&group.trace.head.wacid)
                .any(|id| id.contains(name) || crate::number::tag(id) == name)
        };
        let found: Vec<&Trace> = match name.len() < LEAST_PART {
            true => Vec::new(),
            false => groups
                .iter()
                .filter(|(_, group)| called(group))
                .map(|(_, group)| &group.trace)
                .collect(),
        };
        match found.as_slice() {
            [] => Err(Unfound::Unknown),
            [trace] => Ok(Trace::clone(trace)),
            several => Err(Unfound::Ambiguous(
                several.iter().map(|t| t.head.id.clone()).collect(),
            )),
        }
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

fn cost(event: &Event) -> usize {
    OVERHEAD
        + match &event.what {
            What::Message(packet) => packet.octets.len(),
            What::Mark { words, .. } => words.len(),
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
