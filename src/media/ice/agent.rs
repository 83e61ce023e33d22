//! The agent itself: what happens when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::candidate::Candidate;
use super::check::{Check, Pairs};
use super::consent::Consent;
use super::speaker::Speaker;
use super::stun::{Class, Message, TransactionId};
use super::{Action, Credentials, Failure, Settings, Stats};

/// One side of an ICE session: full, controlling, one component. Feed it STUN and the time; do what it says.
pub struct Agent {
    speaker: Speaker,
    settings: Settings,
    state: State,
    /// What to say if nothing comes of it.
    blame: Failure,
    stats: Stats,
    /// Where the peer saw us, by its last answer.
    mapped: Option<SocketAddr>,
}

enum State {
    /// Looking for a pair over which a check is answered.
    Checking {
        pairs: Pairs,
        /// When the next pair may be tried.
        next: Instant,
        give_up: Instant,
    },
    /// One is found, and the peer is being told. Never another.
    Nominating {
        remote: SocketAddr,
        check: Check,
        give_up: Instant,
    },
    /// Both know; consent is kept fresh.
    Selected {
        remote: SocketAddr,
        consent: Consent,
    },
    /// `Failed` or `Lost` has been said.
    Over,
}

impl Agent {
    /// An agent that checks from now on: call [`Agent::tick`] at once. `local_addresses` are our sockets, at most one of a
    /// family; `candidates` the peer's, of which those of other families are passed over.
    pub fn new(
        local: Credentials,
        remote: Credentials,
        local_addresses: &[SocketAddr],
        candidates: &[Candidate],
        now: Instant,
        settings: Settings,
    ) -> Agent {
        let pairs = Pairs::new(local_addresses, candidates);
        let (wait, blame) = match pairs.is_empty() {
            true => (Duration::ZERO, Failure::NoCandidate),
            false => (settings.give_up, Failure::Unanswered),
        };
        Agent {
            speaker: Speaker::new(local, remote),
            settings,
            state: State::Checking {
                pairs,
                next: now,
                give_up: now + wait,
            },
            blame,
            stats: Stats::default(),
            mapped: None,
        }
    }

    /// The same agent with transaction ids and jitter from elsewhere: for tests that must repeat themselves.
    #[must_use]
    pub fn drawing_from(mut self, random: impl FnMut(&mut [u8]) + Send + 'static) -> Agent {
        self.speaker.draw_from(Box::new(random));
        self
    }

    /// Whether `address` is one that is being checked, or nominated: what comes from there may be the peer's.
    pub fn tries(&self, address: SocketAddr) -> bool {
        match &self.state {
            State::Checking { pairs, .. } => pairs.iter().any(|pair| pair.remote == address),
            State::Nominating { remote, .. } => *remote == address,
            State::Selected { .. } | State::Over => false,
        }
    }

    /// When [`Agent::tick`] is next due; `None` once the agent is done.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Checking {
                pairs,
                next,
                give_up,
                ..
            } => {
                let first = pairs.any_waiting().then_some(*next);
                let repeated = pairs.checks().map(|check| check.due);
                repeated.chain(first).chain([*give_up]).min()
            }
            State::Nominating { check, give_up, .. } => Some(check.due.min(*give_up)),
            State::Selected { consent, .. } => Some(consent.due()),
            State::Over => None,
        }
    }

    /// What the agent has seen.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Where the peer sees us, by its last authentic answer: another address than the SDP announced is a NAT that
    /// nobody told us of.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// Does what is due.
    #[must_use]
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let (speaker, settings) = (&mut self.speaker, &self.settings);
        match &mut self.state {
            State::Checking { give_up, .. } | State::Nominating { give_up, .. }
                if now >= *give_up =>
            {
                self.state = State::Over;
                return vec![Action::Failed(self.blame)];
            }
            State::Selected { consent, .. } if consent.is_gone(now) => {
                self.state = State::Over;
                return vec![Action::Lost];
            }
            State::Checking { pairs, next, .. } => {
                for pair in pairs.iter_mut() {
                    if let Some(check) = &mut pair.check
                        && check.repeats(settings, now)
                    {
                        actions.push(speaker.ask(pair.remote, check.id, false));
                    }
                }
                if let Some(pair) = pairs.waiting().filter(|_| now >= *next) {
                    let id = speaker.draw();
                    pair.check = Some(Check::begin(id, settings, now));
                    actions.push(speaker.ask(pair.remote, id, false));
                    *next = now + settings.pace;
                }
            }
            State::Nominating { remote, check, .. } => {
                if check.repeats(settings, now) {
                    actions.push(speaker.ask(*remote, check.id, true));
                }
            }
            State::Selected { remote, consent } => {
                if let Some(id) = consent.asks(speaker, settings, now) {
                    actions.push(speaker.ask(*remote, id, false));
                }
            }
            State::Over => {}
        }
        self.stats.sent += actions.len() as u64;
        actions
    }

    /// Takes one datagram that came on our socket of its family, from `from`.
    #[must_use]
    pub fn handle(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Vec<Action> {
        let message = match (Message::parse(datagram), &self.state) {
            (_, State::Over) => return Vec::new(),
            (None, _) => {
                self.stats.ignored += 1;
                return Vec::new();
            }
            (Some(message), _) => message,
        };
        match message.class {
            Class::Request => self.asked(&message, from, now),
            Class::Success => self.answered(&message, from, now),
            Class::Error => self.refused(&message, from),
            Class::Indication => Vec::new(), // keeps a NAT open (RFC 8445 §11), asks nothing
        }
    }

    /// A request of the peer: a lite one sends none, a full one looks for us too.
    fn asked(&mut self, request: &Message, from: SocketAddr, now: Instant) -> Vec<Action> {
        if !self.speaker.believes_request(request) {
            // Silence instead of a 401: strangers learn nothing, and we send nothing to whom they pretend to be.
            self.stats.unauthentic += 1;
            return Vec::new();
        }
        self.stats.served += 1;
        let (answer, success) = self.speaker.answer(request, from);
        let mut actions = vec![answer];
        if let (true, State::Checking { pairs, .. }) = (success, &mut self.state) {
            let priority = request.priority.unwrap_or_default();
            if let Some(pair) = pairs.triggered(from, priority) {
                let id = self.speaker.draw();
                pair.check = Some(Check::begin(id, &self.settings, now));
                actions.push(self.speaker.ask(from, id, false));
                self.stats.sent += 1;
            }
        }
        actions
    }

    /// A success response: the pair works, or is agreed on, or the peer still consents.
    fn answered(&mut self, answer: &Message, from: SocketAddr, now: Instant) -> Vec<Action> {
        if !self.awaits(answer.id, from) {
            self.stats.ignored += 1;
            return Vec::new();
        }
        if !self.speaker.believes_answer(answer) {
            self.stats.unauthentic += 1;
            self.blame = Failure::Unauthentic;
            return Vec::new();
        }
        self.stats.answered += 1;
        self.mapped = answer.mapped.or(self.mapped);
        let speaker = &mut self.speaker;
        match &mut self.state {
            State::Checking { give_up, .. } => {
                let id = speaker.draw();
                // The other pairs go with the old state: RFC 8445 §8.1.2 has no use for them, and neither has Meta.
                self.state = State::Nominating {
                    remote: from,
                    check: Check::begin(id, &self.settings, now),
                    give_up: *give_up,
                };
                self.blame = Failure::NominationUnanswered;
                self.stats.sent += 1;
                vec![speaker.ask(from, id, true)]
            }
            State::Nominating { remote, .. } => {
                let remote = *remote;
                let consent = Consent::granted(speaker, &self.settings, now);
                self.state = State::Selected { remote, consent };
                vec![Action::Selected(remote)]
            }
            State::Selected { consent, .. } => {
                consent.renew(answer.id, &self.settings, now);
                Vec::new()
            }
            State::Over => Vec::new(),
        }
    }

    /// An error response. A transaction that ended so cannot be repeated; the next repetition is a new one. Whatever the
    /// code, the agent goes on until it gives up: most errors are unsigned, and a 487 (RFC 8445 §7.2.5.1) means that the
    /// peer has just been told that it is controlled, by our check.
    fn refused(&mut self, answer: &Message, from: SocketAddr) -> Vec<Action> {
        let Some(code) = answer.code.filter(|_| self.awaits(answer.id, from)) else {
            self.stats.ignored += 1;
            return Vec::new();
        };
        self.stats.refused += 1;
        self.blame = Failure::Refused(code);
        let check = match &mut self.state {
            State::Checking { pairs, .. } => pairs.find(from).and_then(|pair| pair.check.as_mut()),
            State::Nominating { check, .. } => Some(check),
            State::Selected { .. } | State::Over => None,
        };
        if let Some(check) = check {
            check.id = self.speaker.draw();
        }
        Vec::new()
    }

    /// Whether a check under that name went to that address and has no answer yet (RFC 8445 §7.2.5.2.1).
    fn awaits(&mut self, id: TransactionId, from: SocketAddr) -> bool {
        match &mut self.state {
            State::Checking { pairs, .. } => {
                let check = pairs.find(from).and_then(|pair| pair.check.as_ref());
                check.is_some_and(|check| check.id == id)
            }
            State::Nominating { remote, check, .. } => *remote == from && check.id == id,
            State::Selected { remote, consent } => *remote == from && consent.awaits(id),
            State::Over => false,
        }
    }
}
