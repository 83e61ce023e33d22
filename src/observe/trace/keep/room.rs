//! What there is room for, and what has to go: each kind's own, oldest first.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Instant, UNIX_EPOCH};

use super::{Keep, Serial};
use crate::call::CallId;
use crate::call::watch::At;
use crate::leg::Leg;
use crate::observe::trace::words;
use crate::observe::trace::{Event, Head, Kind, Trace, What};

/// Most events of one call.
const MOST_EVENTS: usize = 200;
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

/// One kind's, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) order: BTreeSet<Serial>,
    /// Those of them that are no call that is up.
    pub(super) over: BTreeSet<Serial>,
    pub(super) octets: usize,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) trace: Trace,
    pub(super) base: Instant,
    pub(super) octets: usize,
    pub(super) call: Option<CallId>,
    pub(super) call_ids: Vec<(Leg, String)>,
    pub(super) source: Option<IpAddr>,
}

impl Keep {
    /// Something begins, and nobody knows yet what becomes of it.
    pub(super) fn stray(
        &mut self,
        leg: Leg,
        call_id: &str,
        source: Option<IpAddr>,
        at: At,
    ) -> Serial {
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
    pub(super) fn join(&mut self, serial: Serial, leg: Leg, call_id: &str) {
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

    pub(super) fn kind(&self, serial: Serial) -> Option<Kind> {
        self.groups.get(&serial).map(|group| group.trace.head.kind)
    }

    /// Moves it to those of its kind.
    pub(super) fn becomes(&mut self, serial: Serial, kind: Kind) {
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
        ring.order.insert(serial);
        if group.call.is_none() {
            ring.over.insert(serial);
        }
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
        ring.order.remove(&serial);
        ring.over.remove(&serial);
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

    /// A call is over: it is the first to go.
    pub(super) fn is_over(&mut self, serial: Serial) {
        if let Some(group) = self.groups.get_mut(&serial) {
            group.call = None;
            let ring = &mut self.rings[group.trace.head.kind as usize];
            ring.over.insert(serial);
        }
    }

    pub(super) fn add(&mut self, serial: Serial, what: What, at: At) {
        if let Some(group) = self.groups.get(&serial) {
            let after_ns = words::nanos(group.base, at.now);
            self.push(serial, Event { after_ns, what });
        }
    }

    pub(super) fn push(&mut self, serial: Serial, event: Event) {
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
    pub(super) fn take_last_invite(&mut self, serial: Serial) -> Vec<Event> {
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
    pub(super) fn trim(&mut self, kind: Kind, writing: Option<Serial>) {
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
        let ring = &self.rings[kind as usize];
        let other = |s: &Serial| Some(*s) != writing;
        let mut others = ring.order.iter().copied().filter(other);
        match kind {
            Kind::Call => {
                let over = ring.over.iter().copied().find(other);
                over.or_else(|| others.next())
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
        self.shelf.forget(serial);
    }

    #[cfg(test)]
    pub(in super::super) fn octets(&self) -> usize {
        let octets: usize = self.rings.iter().map(|ring| ring.octets).sum();
        let groups: usize = self.groups.values().map(|group| group.octets).sum();
        assert_eq!(octets, groups, "what is counted is what is there");
        let strays = self.rings[Kind::Stray as usize].order.len();
        assert_eq!(self.loud.values().sum::<usize>(), strays);
        octets
    }
}

fn cost(event: &Event) -> usize {
    OVERHEAD
        + match &event.what {
            What::Message(packet) => packet.octets.len(),
            What::Mark { words, .. } => words.len(),
        }
}
