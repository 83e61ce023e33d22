//! The way to a peer that is keyed by DTLS: ICE finds its address, a handshake over it makes the keys (RFC 5763 §5).
//!
//! ```text
//!   Looking ──Selected──▶ Found: Handshake ──Keys──▶ Found, for the rest of the call
//!      │                       │                           │
//!      └────── Failed ─────────┴───── Failed ──▶ Over ◀── Lost: consent has run out
//! ```
//!
//! Media goes to the selected address alone. The handshake hears that address alone too, since anybody could end it
//! with a forged alert, and it lives as long as the call: a peer that lost our last flight asks for it again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::common::Common;
use super::demux::Kind;
use super::dtls::{self, Fingerprint, Handshake, Role};
use super::due::earliest;
use super::ice::{self, Agent};
use super::{DtlsSpec, SrtpKeys};

/// Datagrams of a peer that are kept until its address is selected: a ClientHello, or one in pieces.
const EARLY: usize = 4;
/// Octets of the largest of them: what fits into an Ethernet frame.
const EARLY_LEN: usize = 1_500;
/// Octets of a record's header (RFC 6347 §4.1), behind which the type of a handshake message stands.
const RECORD_HEADER: usize = 13;

/// What the way to the peer wants done.
pub(crate) enum Step {
    /// Send this from the socket of that family.
    Send { to: SocketAddr, datagram: Vec<u8> },
    /// From now on the peer can be sent to, there and with these.
    Keys { remote: SocketAddr, keys: SrtpKeys },
    /// It cannot, or not any more: why. Comes once, and last.
    Failed(String),
}

/// One way, from the first check on.
pub(crate) struct Path {
    role: Role,
    fingerprints: Vec<Fingerprint>,
    common: Arc<Common>,
    state: State,
}

enum State {
    /// ICE asks the peer's addresses which of them hears us.
    Looking { agent: Agent, early: Early },
    /// One is agreed on. The agent keeps asking for consent.
    Found {
        agent: Agent,
        remote: SocketAddr,
        handshake: Handshake,
    },
    /// `Failed` has been said.
    Over,
}

impl Path {
    /// A way that is looked for from now on: call [`Path::tick`] at once.
    pub(crate) fn new(spec: &DtlsSpec, common: Arc<Common>, now: Instant) -> Path {
        let agent = Agent::new(
            spec.local.clone(),
            spec.remote.clone(),
            &common.meta,
            &spec.candidates,
            now,
            common.ice,
        );
        Path {
            role: spec.role,
            fingerprints: spec.fingerprints.clone(),
            common,
            state: State::Looking {
                agent,
                early: Early::default(),
            },
        }
    }

    /// Does what is due.
    #[must_use]
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        if let State::Looking { agent, .. } | State::Found { agent, .. } = &mut self.state {
            let actions = agent.tick(now);
            self.follow_agent(actions, now, &mut steps);
        }
        if let State::Found { handshake, .. } = &mut self.state {
            let actions = handshake.tick(now);
            self.follow_handshake(actions, &mut steps);
        }
        steps
    }

    /// When [`Path::tick`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Looking { agent, .. } => agent.deadline(),
            State::Found {
                agent, handshake, ..
            } => earliest([agent.deadline(), handshake.deadline()]),
            State::Over => None,
        }
    }

    /// Takes a datagram of STUN or DTLS; `None`: it is of neither, or of a stranger.
    #[must_use]
    pub(crate) fn handle(
        &mut self,
        kind: Kind,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        match (kind, &mut self.state) {
            (_, State::Over) => {}
            // From anywhere: the agent looks at signatures, and at where it has asked.
            (Kind::Stun, State::Looking { agent, .. } | State::Found { agent, .. }) => {
                let actions = agent.handle(datagram, from, now);
                self.follow_agent(actions, now, &mut steps);
            }
            (
                Kind::Dtls,
                State::Found {
                    remote, handshake, ..
                },
            ) if *remote == from => {
                let actions = handshake.handle(datagram, now);
                self.follow_handshake(actions, &mut steps);
            }
            (Kind::Dtls, State::Looking { agent, early }) if agent.tries(from) => {
                if self.role == Role::Server {
                    early.keep(datagram, from);
                }
            }
            _ => return None,
        }
        Some(steps)
    }

    /// Whether it has failed.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Goes it no further: the agent and the handshake are gone.
    pub(crate) fn end(&mut self) {
        self.state = State::Over;
    }

    fn follow_agent(&mut self, actions: Vec<ice::Action>, now: Instant, steps: &mut Vec<Step>) {
        for action in actions {
            match action {
                ice::Action::Send { to, datagram } => steps.push(Step::Send { to, datagram }),
                ice::Action::Selected(remote) => self.shake(remote, now, steps),
                ice::Action::Failed(failure) => self.fail(failure.to_string(), steps),
                ice::Action::Lost => {
                    let lost = self.common.ice.lost;
                    let why =
                        format!("ICE: no answer to our consent checks for {lost:?} (RFC 7675)");
                    self.fail(why, steps);
                }
            }
        }
    }

    /// The path is found: the handshake begins.
    fn shake(&mut self, remote: SocketAddr, now: Instant, steps: &mut Vec<Step>) {
        let State::Looking { agent, early } = std::mem::replace(&mut self.state, State::Over)
        else {
            return;
        };
        tracing::debug!(%remote, mapped = ?agent.mapped(), checks = ?agent.stats(), "ICE has found a path to Meta");
        if let Some(mapped) = agent.mapped() {
            self.common.announced.seen_at(mapped.ip());
        }
        let fingerprints = std::mem::take(&mut self.fingerprints);
        let mut handshake = match Handshake::new(&self.common.dtls, self.role, fingerprints, now) {
            Ok(handshake) => handshake,
            Err(error) => return self.fail(error.to_string(), steps),
        };
        let mut actions = handshake.tick(now);
        for datagram in early.of(remote) {
            actions.extend(handshake.handle(&datagram, now));
        }
        self.state = State::Found {
            agent,
            remote,
            handshake,
        };
        self.follow_handshake(actions, steps);
    }

    fn follow_handshake(&mut self, actions: Vec<dtls::Action>, steps: &mut Vec<Step>) {
        let State::Found { remote: to, .. } = self.state else {
            return;
        };
        let done = actions.iter().any(|a| matches!(a, dtls::Action::Keys(_)));
        // The server's last flight is the only one that it cannot see get lost, and until the client has it, all that
        // we send is noise to it. So it goes out twice.
        let copies = 1 + usize::from(done && self.role == Role::Server);
        for action in actions {
            match action {
                dtls::Action::Send(datagram) => {
                    let send = |datagram| Step::Send { to, datagram };
                    steps.extend(std::iter::repeat_n(datagram, copies).map(send));
                }
                dtls::Action::Keys(keys) => steps.push(Step::Keys { remote: to, keys }),
                dtls::Action::Failed(failure) => self.fail(failure.to_string(), steps),
            }
        }
    }

    fn fail(&mut self, why: String, steps: &mut Vec<Step>) {
        self.state = State::Over;
        steps.push(Step::Failed(why));
    }
}

/// ClientHellos that overtook the answer to our nomination. Lost, they would come again after the peer's first wait,
/// often a second, in which nobody hears anything.
#[derive(Default)]
struct Early(Vec<(SocketAddr, Vec<u8>)>);

impl Early {
    /// Keeps a ClientHello, or a piece of one; a repeated one differs in nothing behind the record's header.
    fn keep(&mut self, datagram: &[u8], from: SocketAddr) {
        let message = match datagram {
            [22, ..] if datagram.len() <= EARLY_LEN => datagram.get(RECORD_HEADER..),
            _ => None,
        };
        let Some(hello @ [1, ..]) = message else {
            return;
        };
        let known = |(of, kept): &(SocketAddr, Vec<u8>)| {
            *of == from && kept.get(RECORD_HEADER..) == Some(hello)
        };
        if self.0.len() < EARLY && !self.0.iter().any(known) {
            self.0.push((from, datagram.to_vec()));
        }
    }

    /// What came from the address that was selected.
    fn of(self, remote: SocketAddr) -> impl Iterator<Item = Vec<u8>> {
        let of_it = self.0.into_iter().filter(move |(from, _)| *from == remote);
        of_it.map(|(_, datagram)| datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = "198.51.100.1:3480";

    /// A record with the beginning of a handshake message of that type; its number and what is in it.
    fn record(number: u8, message: u8, body: u8) -> Vec<u8> {
        let header = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number, 0, 3];
        [&header[..], &[message, body, body]].concat()
    }

    #[test]
    fn a_hello_that_comes_too_early_is_kept_once_for_its_address_and_few_are() {
        let (meta, other) = (META.parse().unwrap(), "198.51.100.1:3481".parse().unwrap());
        let mut early = Early::default();
        for number in 0..20 {
            early.keep(&record(number, 1, 7), meta);
        }
        early.keep(&record(0, 1, 7), other);
        assert_eq!(early.0.len(), 2, "a repetition is none");
        for body in 0..200 {
            early.keep(&record(0, 1, body), meta);
        }
        assert_eq!(early.0.len(), EARLY);
        let of_meta: Vec<_> = early.of(meta).collect();
        assert_eq!(of_meta.len(), EARLY - 1);
        assert_eq!(of_meta[0], record(0, 1, 7));
    }

    #[test]
    fn nothing_but_a_hello_is_kept() {
        let (meta, mut early) = (META.parse().unwrap(), Early::default());
        let long = [record(0, 1, 7), vec![0; EARLY_LEN]].concat();
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 40];
        for datagram in [&record(0, 2, 7)[..], &long, &alert, &[22], &[]] {
            early.keep(datagram, meta);
        }
        assert!(early.0.is_empty());
    }
}
