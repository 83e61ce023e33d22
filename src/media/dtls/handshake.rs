//! One handshake with one peer (RFC 6347, RFC 5764), in either role.
//!
//! ```text
//!   Working ─┬─ complete, certificate expected, profile agreed ─▶ Done    repeats its last flight when asked to
//!            └─ alert, mismatch, no profile, given up ──────────▶ Failed  deaf
//! ```

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use openssl::ssl::{self, ErrorCode, Ssl, SslAlert, SslStream, SslVerifyMode};
use openssl::x509::X509StoreContextRef;

use super::{Context, Fingerprint, SetupError, export, library};
use crate::media::SrtpKeys;

/// How long the first flight waits for its answer; the wait then doubles. RFC 6347 §4.2.4.1 says 1 s, which the user
/// would hear as silence; RFC 9147 §5.8.2 allows less where time matters.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The wait stops doubling at the give-up time divided by this, so that a path which is lossy to the end is tried to
/// the end. With 8 the library's limit of twelve repetitions is not reached before 25 s.
const WAITS: u32 = 8;

/// Octets of a datagram that any path carries, IPv6, UDP and tunnels taken off.
const MTU: u32 = 1200;

/// Which end of the handshake is ours (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We send the ClientHello: `a=setup:active`.
    Client,
    /// We wait for it: `a=setup:passive`.
    Server,
}

/// What must be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this datagram to the peer.
    Send(Vec<u8>),
    /// The peer has proved to be who its SDP says; these are the keys. Comes at most once.
    Keys(SrtpKeys),
    /// There will be no keys. Comes at most once, and last.
    Failed(Failure),
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Somebody else than SDP spoke of is at the other end, or a proxy changed the SDP.
    // Two fingerprints are most of what a Reason header may say; a longer text would be cut.
    #[error("the peer's certificate is {presented}, not its SDP's {}", list(.expected))]
    Fingerprint {
        /// What the peer presented.
        presented: Fingerprint,
        /// What its SDP says.
        expected: Vec<Fingerprint>,
    },
    /// The peer showed no certificate that could be hashed.
    #[error("the peer showed no certificate (RFC 5763 §5)")]
    NoCertificate,
    /// The handshake completed, but no SRTP profile is common to both.
    #[error("no common SRTP profile (RFC 5764 §4.1.2)")]
    NoCommonProfile,
    /// The peer ended the handshake.
    #[error("the peer ended the DTLS handshake with alert \"{description}\"")]
    Alert {
        /// The alert's name.
        description: String,
    },
    /// The time is over.
    #[error("the DTLS handshake was given up after {after:.1?}: {}", if *.heard { "it did not complete" } else { "no datagram came from the peer" })]
    GaveUp {
        /// How long it lasted.
        after: Duration,
        /// Whether anything at all came from the peer.
        heard: bool,
    },
    /// The peer broke the protocol, or there is nothing in it that both can do.
    #[error("the DTLS handshake failed: {reason}")]
    Protocol {
        /// What the library says.
        reason: String,
    },
}

fn list(fingerprints: &[Fingerprint]) -> String {
    let texts: Vec<_> = fingerprints.iter().map(Fingerprint::to_string).collect();
    texts.join(" or ")
}

/// One handshake, and after it the end that repeats a lost last flight: keep it as long as the call.
pub struct Handshake {
    stream: SslStream<Wire>,
    role: Role,
    peer: Arc<Peer>,
    started: Instant,
    /// How far the library's clock is ahead of ours: see `tick`.
    ahead: Duration,
    heard: bool,
    state: State,
}

enum State {
    Working {
        give_up: Instant,
        /// The longest wait for an answer.
        longest: Duration,
        /// When our last flight went out.
        sent: Instant,
        /// When it is repeated; a client's first one is due at once.
        repeat: Option<Instant>,
    },
    Done,
    Failed,
}

impl Handshake {
    /// A handshake with the peer whose SDP gives the fingerprints `expected`, any of which will do (RFC 8122 §5).
    /// A client's first flight is the answer to the first [`Handshake::tick`], which is due at once.
    ///
    /// # Errors
    /// When the library fails, which it should not.
    pub fn new(
        context: &Context,
        role: Role,
        expected: Vec<Fingerprint>,
        now: Instant,
    ) -> Result<Handshake, SetupError> {
        let peer = Arc::new(Peer {
            expected,
            presented: OnceLock::new(),
        });
        let mut ssl = Ssl::new(&context.ssl)?;
        ssl.set_mtu(MTU)?;
        library::set_first_wait(&mut ssl, FIRST_WAIT);
        let judge = peer.clone();
        ssl.set_verify_callback(
            SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            move |_, chain| judge.accepts(chain),
        );
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
        Ok(Handshake {
            stream: SslStream::new(ssl, Wire::default())?,
            role,
            peer,
            started: now,
            ahead: Duration::ZERO,
            heard: false,
            state: State::Working {
                give_up: now + context.give_up,
                longest: (context.give_up / WAITS).max(FIRST_WAIT),
                sent: now,
                repeat: (role == Role::Client).then_some(now),
            },
        })
    }

    /// Takes one datagram of the peer; returns what must be done now, in order. Datagrams that are no DTLS, or not
    /// authentic, change nothing once the peer has proved itself; before that see the module's warning.
    #[must_use]
    pub fn handle(&mut self, datagram: &[u8], now: Instant) -> Vec<Action> {
        // An empty datagram would be the end of a stream to the library.
        if datagram.is_empty() || matches!(self.state, State::Failed) {
            return Vec::new();
        }
        self.heard = true;
        self.stream.get_mut().arrived = Some(datagram.to_vec());
        if let State::Working { .. } = self.state {
            return self.advance(now);
        }
        self.answer(now)
    }

    /// Does what is due at `now`; returns it as [`Handshake::handle`] does.
    #[must_use]
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let State::Working {
            give_up, repeat, ..
        } = self.state
        else {
            return Vec::new();
        };
        if now >= give_up {
            return vec![self.fail(self.gave_up(now))];
        }
        if repeat.is_none_or(|due| now < due) {
            return Vec::new();
        }
        // The library doubles its wait without a limit that we could set. So where ours is shorter, its clock is put
        // forward to the moment it waits for.
        let left = library::at(self.time(now), || library::time_left(self.stream.ssl()));
        self.ahead += left.unwrap_or_default();
        let time = self.time(now);
        if library::at(time, || library::repeat_flight(&mut self.stream)).is_err() {
            return vec![self.fail(self.gave_up(now))];
        }
        self.advance(now)
    }

    /// When [`Handshake::tick`] is next due. Ask again after every call.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Working {
                give_up, repeat, ..
            } => Some(repeat.map_or(give_up, |repeat| repeat.min(give_up))),
            State::Done | State::Failed => None,
        }
    }

    /// Lets the library work with what has arrived.
    fn advance(&mut self, now: Instant) -> Vec<Action> {
        let outcome = library::at(self.time(now), || self.stream.do_handshake());
        let mut actions = self.sent();
        match outcome {
            Ok(()) => match self.keys() {
                Ok(keys) => {
                    self.state = State::Done;
                    actions.push(Action::Keys(keys));
                }
                Err(failure) => actions.push(self.fail(failure)),
            },
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                self.wait(now, !actions.is_empty());
            }
            Err(error) => {
                let failure = self.failure(&error);
                actions.push(self.fail(failure));
            }
        }
        actions
    }

    /// After completion: the peer repeats its last flight if ours was lost, and the library then repeats ours. Whatever
    /// else comes is of no interest, errors included: the keys are out.
    fn answer(&mut self, now: Instant) -> Vec<Action> {
        let mut discarded = [0; 2048];
        let time = self.time(now);
        while library::at(time, || self.stream.ssl_read(&mut discarded)).is_ok_and(|n| n > 0) {}
        self.sent()
    }

    fn sent(&mut self) -> Vec<Action> {
        let wire = self.stream.get_mut();
        wire.arrived = None;
        std::mem::take(&mut wire.sent)
            .into_iter()
            .map(Action::Send)
            .collect()
    }

    /// Asks the library how long it waits for an answer, and waits no longer than we want to.
    fn wait(&mut self, now: Instant, flight_sent: bool) {
        let left = library::at(self.time(now), || library::time_left(self.stream.ssl()));
        if let State::Working {
            longest,
            sent,
            repeat,
            ..
        } = &mut self.state
        {
            if flight_sent {
                *sent = now;
            }
            *repeat = left.map(|left| (now + left).min(*sent + *longest).max(now));
        }
    }

    /// The keys of a completed handshake, if the peer is who it should be. The library has asked `Peer` already; what
    /// opens the door is looked at once more where it opens.
    fn keys(&self) -> Result<SrtpKeys, Failure> {
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().ok_or(Failure::NoCertificate)?;
        let presented = Fingerprint::of(&certificate).ok_or(Failure::NoCertificate)?;
        if !self.peer.expected.contains(&presented) {
            return Err(self.peer.mismatch(presented));
        }
        let profile = export::profile(ssl).ok_or(Failure::NoCommonProfile)?;
        export::keys(ssl, profile, self.role).map_err(|errors| Failure::Protocol {
            reason: errors.to_string(),
        })
    }

    fn failure(&self, error: &ssl::Error) -> Failure {
        if let Some(presented) = self.peer.presented.get()
            && !self.peer.expected.contains(presented)
        {
            return self.peer.mismatch(*presented);
        }
        if error.code() == ErrorCode::ZERO_RETURN {
            let description = SslAlert::CLOSE_NOTIFY.to_string();
            return Failure::Alert { description };
        }
        let first = error.ssl_error().and_then(|stack| stack.errors().first());
        match first.and_then(|error| SslAlert::from_reason_code(error.reason_code())) {
            Some(alert) => Failure::Alert {
                description: alert.to_string(),
            },
            None => Failure::Protocol {
                reason: first.and_then(|error| error.reason()).map_or_else(
                    || error.to_string(),
                    |reason| reason.to_lowercase().replace('_', " "),
                ),
            },
        }
    }

    fn gave_up(&self, now: Instant) -> Failure {
        Failure::GaveUp {
            after: now.saturating_duration_since(self.started),
            heard: self.heard,
        }
    }

    fn fail(&mut self, failure: Failure) -> Action {
        self.state = State::Failed;
        Action::Failed(failure)
    }

    /// The library's time at `now`.
    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started) + self.ahead
    }
}

/// Who the peer must be, and who it is.
struct Peer {
    expected: Vec<Fingerprint>,
    presented: OnceLock<Fingerprint>,
}

impl Peer {
    /// The library's question about each certificate of a chain: only the first counts, by its hash (RFC 8122 §6.2).
    fn accepts(&self, chain: &mut X509StoreContextRef) -> bool {
        if chain.error_depth() > 0 {
            return true;
        }
        let Some(presented) = chain.current_cert().and_then(Fingerprint::of) else {
            return false;
        };
        let expected = self
            .expected
            .contains(self.presented.get_or_init(|| presented));
        if !expected {
            chain.set_error(library::rejected());
        }
        expected
    }

    fn mismatch(&self, presented: Fingerprint) -> Failure {
        Failure::Fingerprint {
            presented,
            expected: self.expected.clone(),
        }
    }
}

/// What the library takes for a socket.
#[derive(Default)]
struct Wire {
    arrived: Option<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Read for Wire {
    /// Hands out one datagram, cut to what there is room for.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let datagram = self.arrived.take().ok_or(io::ErrorKind::WouldBlock)?;
        let len = datagram.len().min(room.len());
        room[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.sent.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
