//! Meta's media relay, where keys come from DTLS: the path to the bridge, the handshake over it, and the eye on both (§8).
//!
//! ```text
//!   STUN ──▶ lite    answers checks; where the bridge nominates itself from, there it is
//!   DTLS ──▶ shake   the handshake, once there is a path ──▶ keys
//! ```
//!
//! A machine: no socket, no clock.

mod lite;
#[cfg(test)]
pub(super) mod opposite;
mod shake;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::{Handshaking, OurDtls, Setup};
use super::path;
use crate::media::demux::Kind;
use crate::media::dtls::{self, Action, Certificate, Context, Role, SetupError};
use crate::media::srtp::{KeyError, Receiver};
use crate::media::{SrtpKeys, SrtpProfile};
use lite::Lite;
use shake::Shake;

/// Without a check for this long the bridge does not know whether it may still send (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(30);

/// Datagrams that wait for the socket, and media that waits for keys to be judged by.
const MOST: usize = 200;

/// The relay gives a handshake up after this: later than the app, which hangs up after 20 s without media.
const GIVE_UP: Duration = Duration::from_secs(30);

/// What is done with checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// They are answered if they are in order.
    #[default]
    Answered,
    /// So many are answered with 487, a role conflict, before that.
    Conflict(u32),
    /// None is ever answered.
    Unanswered,
}

/// The key in the relay's certificate: which one Meta's has is not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certified {
    /// On P-256.
    #[default]
    Ecdsa,
    /// Of 2048 bits.
    Rsa,
}

/// How the relay behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The key in its certificate.
    pub certified: Certified,
    /// What it answers to an offer that leaves the end to it: active, as documented (§7), or passive.
    pub setup: Setup,
    /// What it does with checks.
    pub checks: Checks,
    /// Its SDP names the fingerprint of another certificate.
    pub wrong_fingerprint: bool,
    /// How long after the 200 it hears of the bridge's SDP. What comes before is lost (§8).
    pub late: Duration,
    /// What is between it and the bridge.
    pub path: path::Settings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            certified: Certified::default(),
            setup: Setup::Active,
            checks: Checks::default(),
            wrong_fingerprint: false,
            late: Duration::ZERO,
            path: path::Settings::default(),
        }
    }
}

/// The relays of one Meta: what all its calls share.
#[derive(Clone)]
pub struct Relays {
    /// How they behave.
    pub settings: Settings,
    context: Arc<Context>,
    fingerprint: String,
}

impl Relays {
    /// Relays with a certificate of their own.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn new(settings: Settings) -> Result<Relays, SetupError> {
        let certificate = match settings.certified {
            Certified::Ecdsa => Certificate::generate()?,
            Certified::Rsa => Certificate::generate_rsa()?,
        };
        let dtls = dtls::Settings {
            give_up: GIVE_UP,
            // As the library has them that Meta's clients are built on: GCM as the second choice.
            profiles: vec![
                SrtpProfile::AesCm128HmacSha1_80,
                SrtpProfile::AeadAes256Gcm,
                SrtpProfile::AeadAes128Gcm,
            ],
        };
        let fingerprint = match settings.wrong_fingerprint {
            false => certificate.fingerprint().to_string(),
            true => Certificate::generate()?.fingerprint().to_string(),
        };
        Ok(Relays {
            settings,
            context: Arc::new(Context::new(&certificate, &dtls)?),
            fingerprint,
        })
    }

    /// What the SDP of a call says.
    pub fn sdp(&self) -> OurDtls {
        OurDtls::new(self.fingerprint.clone(), self.settings.setup)
    }
}

/// The relay of one call. Feed it what comes in and the time; send what it has.
pub struct Relay {
    both: Handshaking,
    context: Arc<Context>,
    lite: Lite,
    /// Exists as soon as there is a path.
    shake: Option<Shake>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    keys: Option<SrtpKeys>,
    keyed: bool,
    /// Of each ClientHello that was seen.
    hellos: Vec<[u8; 32]>,
    /// Media that came before the keys.
    unkeyed: Vec<(Kind, Vec<u8>)>,
    complaints: Vec<String>,
}

impl Relay {
    /// A relay that knows both SDPs.
    pub fn new(relays: &Relays, both: Handshaking) -> Relay {
        Relay {
            lite: Lite::new(&both, relays.settings.checks),
            context: Arc::clone(&relays.context),
            both,
            shake: None,
            outbox: VecDeque::new(),
            keys: None,
            keyed: false,
            hellos: Vec::new(),
            unkeyed: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Where the bridge is: there is a path to it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.lite.nominated()
    }

    /// Takes what is not media.
    pub fn handle(&mut self, kind: Kind, datagram: &[u8], from: SocketAddr, now: Instant) {
        match kind {
            Kind::Stun => self.check(datagram, from, now),
            _ => self.shake(datagram, from, now),
        }
    }

    /// Notes media that comes before there are keys, and is lost.
    pub fn unkeyed(&mut self, kind: Kind, datagram: &[u8]) {
        if self.peer().is_none() {
            self.complain("media: before ICE has found a path (§8)");
        } else if self.both.role == Role::Server {
            // A client has keys only once the server has had them.
            self.complain("media: before the DTLS handshake is done");
        } else if self.unkeyed.len() < MOST {
            // Our last flight may have been lost after the bridge had its keys: to be judged when we have ours.
            self.unkeyed.push((kind, datagram.to_vec()));
        }
    }

    /// Sends what is due.
    pub fn tick(&mut self, now: Instant) {
        let actions = self.shake.as_mut().map(|shake| shake.tick(now));
        self.perform(actions.unwrap_or_default());
    }

    /// When [`Relay::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        self.shake.as_ref()?.deadline()
    }

    /// The next datagram to send, and where to.
    pub fn send(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// The keys, once, when the handshake is done.
    pub fn keys(&mut self) -> Option<SrtpKeys> {
        self.keys.take()
    }

    /// Looks at what should have come by now. `since` is when the call was answered.
    pub fn watch(&mut self, since: Instant, now: Instant) {
        let last = self.lite.last_check().map_or(since, |last| last.max(since));
        if self.keyed && now.saturating_duration_since(last) >= CONSENT {
            self.complain("ICE: no consent check for 30 s (RFC 7675)");
        }
    }

    /// What was wrong so far, each once.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// What is wrong in the end.
    pub fn finish(mut self) -> Vec<String> {
        if !self.keyed && !self.unkeyed.is_empty() {
            self.complain("media: it came though there never were keys");
        }
        self.complaints
    }

    fn check(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let outcome = self.lite.handle(datagram, from, now);
        if let Some(complaint) = outcome.complaint {
            self.complain(complaint);
        }
        if let Some(answer) = outcome.answer {
            self.push(from, answer);
        }
        if self.shake.is_none() && self.peer().is_some() {
            match Shake::new(&self.context, &self.both, now) {
                Ok(shake) => self.shake = Some(shake),
                Err(error) => self.complain(error.to_string()),
            }
            self.tick(now);
        }
    }

    fn shake(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Some(peer) = self.peer() else {
            return self.complain(match self.lite.has_proven(from) {
                true => "DTLS: it begins before ICE has nominated a pair (§8)",
                false => "DTLS: it begins before a check has succeeded (§8)",
            });
        };
        if from != peer {
            return self.complain("DTLS: it comes from another address than the nominated one");
        }
        if let Some(random) = shake::hello(datagram) {
            if self.both.role == Role::Client {
                return self
                    .complain("DTLS: a ClientHello, though the SDP makes the bridge the server");
            }
            if !self.hellos.contains(&random) && self.hellos.len() < MOST {
                self.hellos.push(random);
            }
            if self.hellos.len() > 1 {
                self.complain("DTLS: a second association is begun (§6)");
            }
        }
        let actions = self.shake.as_mut().map(|shake| shake.handle(datagram, now));
        self.perform(actions.unwrap_or_default());
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match (action, self.peer()) {
                (Action::Send(datagram), Some(peer)) => self.push(peer, datagram),
                (Action::Send(_), None) => {}
                (Action::Keys(keys), _) => {
                    self.keyed = true;
                    match judge(&keys, &self.unkeyed) {
                        Ok(true) => {}
                        Ok(false) => {
                            self.complain("media: before the keys, and not protected by them")
                        }
                        Err(error) => self.complain(error.to_string()),
                    }
                    self.unkeyed.clear();
                    self.keys = Some(keys);
                }
                (Action::Failed(failure), _) => self.complain(format!("DTLS: {failure}")),
            }
        }
    }

    fn push(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.outbox.len() < MOST {
            self.outbox.push_back((to, datagram));
        }
    }

    fn complain(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.complaints.len() < MOST && !self.complaints.contains(&what) {
            self.complaints.push(what);
        }
    }
}

/// Whether all of this media is protected with these keys.
fn judge(keys: &SrtpKeys, media: &[(Kind, Vec<u8>)]) -> Result<bool, KeyError> {
    let mut receiver = Receiver::new(keys.profile, &keys.receive)?;
    let mut opened = Vec::new();
    Ok(media.iter().all(|(kind, datagram)| match kind {
        Kind::Rtp => receiver.unprotect_rtp(datagram, &mut opened).is_ok(),
        Kind::Rtcp => receiver.unprotect_rtcp(datagram, &mut opened).is_ok(),
        _ => false,
    }))
}
