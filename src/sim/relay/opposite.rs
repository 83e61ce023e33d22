//! The bridge for the tests of Meta's side: its own agent and handshake, which do everything right.

use std::sync::LazyLock;
use std::time::Instant;

use super::*;
use crate::media::dtls::{Fingerprint, Handshake};
use crate::media::ice::{self, Agent, Candidate, Credentials};

/// The bridge's certificate.
pub static BRIDGES: LazyLock<(Context, Fingerprint)> = LazyLock::new(|| {
    let certificate = Certificate::generate().unwrap();
    let context = Context::new(&certificate, &dtls::Settings::default()).unwrap();
    (context, certificate.fingerprint())
});

pub const UFRAG: &str = "bridges0";
const PWD: &str = "AAAAAAAAAAAAAAAAAAAAAAAA";

pub fn relays_address() -> SocketAddr {
    "127.0.0.2:3480".parse().unwrap()
}

pub fn bridge() -> SocketAddr {
    "127.0.0.1:42000".parse().unwrap()
}

/// What both SDPs say, if Meta's end is this one.
pub fn both(relays: &Relays, role: Role) -> Handshaking {
    Handshaking {
        ice: relays.sdp().ice,
        their_ufrag: UFRAG.to_owned(),
        role,
        fingerprints: vec![BRIDGES.1],
    }
}

/// A bridge that has answered.
pub struct Opposite {
    agent: Agent,
    handshake: Option<Handshake>,
    role: Role,
    expects: Fingerprint,
    sends: Vec<Vec<u8>>,
    pub keys: Option<SrtpKeys>,
    pub failed: Option<String>,
}

impl Opposite {
    pub fn new(relays: &Relays, both: &Handshaking, now: Instant) -> Opposite {
        let agent = Agent::new(
            Credentials::new(UFRAG, PWD).unwrap(),
            Credentials::new(&both.ice.ufrag, &both.ice.pwd).unwrap(),
            &[bridge()],
            &[Candidate::host(relays_address())],
            now,
            ice::Settings::default(),
        );
        let expects = format!("sha-256 {}", relays.fingerprint);
        Opposite {
            agent,
            handshake: None,
            role: match both.role {
                Role::Client => Role::Server,
                Role::Server => Role::Client,
            },
            expects: expects.parse().unwrap(),
            sends: Vec::new(),
            keys: None,
            failed: None,
        }
    }

    /// What it sends at this time.
    pub fn tick(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let actions = self.agent.tick(now);
        self.ice(actions, now);
        let actions = self.handshake.as_mut().map(|h| h.tick(now));
        self.dtls(actions.unwrap_or_default());
        std::mem::take(&mut self.sends)
    }

    /// Takes a datagram of the relay.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        if Kind::of(datagram) == Kind::Stun {
            let actions = self.agent.handle(datagram, relays_address(), now);
            self.ice(actions, now);
        } else if let Some(handshake) = &mut self.handshake {
            let actions = handshake.handle(datagram, now);
            self.dtls(actions);
        }
    }

    fn ice(&mut self, actions: Vec<ice::Action>, now: Instant) {
        for action in actions {
            match action {
                ice::Action::Send { datagram, .. } => self.sends.push(datagram),
                ice::Action::Selected(_) => {
                    let expected = vec![self.expects];
                    let handshake = Handshake::new(&BRIDGES.0, self.role, expected, now);
                    self.handshake = Some(handshake.unwrap());
                }
                ice::Action::Failed(why) => self.failed = Some(why.to_string()),
                ice::Action::Lost => self.failed = Some("lost".to_owned()),
            }
        }
    }

    fn dtls(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(datagram) => self.sends.push(datagram),
                Action::Keys(keys) => self.keys = Some(keys),
                Action::Failed(why) => self.failed = Some(why.to_string()),
            }
        }
    }
}
