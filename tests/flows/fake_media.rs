//! A media engine that carries no packets and remembers what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use wabridge::leg::Leg;
use wabridge::media::{
    Command, LocalPorts, OpenError, Opened, Plane, Security, SessionId, SessionStats, SideSpec,
};

/// What the fake media engine was told.
#[derive(Debug, Default)]
pub struct Media {
    pub open: Vec<SessionId>,
    pub agreed: Vec<(Leg, SideSpec)>,
    pub started: Vec<Leg>,
    pub closed: Vec<SessionId>,
    pub exhausted: bool,
    /// What each session has carried when it is closed.
    pub carried: SessionStats,
    next: u64,
}

impl Media {
    /// How the packets of a leg are protected, by its latest agreement.
    #[track_caller]
    pub fn security(&self, leg: Leg) -> &Security {
        let agreed = self.agreed.iter().rev().find(|(of, _)| *of == leg);
        &agreed.expect("an agreement").1.security
    }
}

/// A media engine that carries no packets.
#[derive(Clone, Default)]
pub struct Engine(pub Arc<Mutex<Media>>);

impl Plane for Engine {
    fn open(&mut self) -> Result<Opened, OpenError> {
        let mut media = self.0.lock().unwrap();
        if media.exhausted {
            let address = "198.51.100.1".parse().unwrap();
            return Err(OpenError::Exhausted {
                address,
                first: 20_000,
                last: 29_999,
            });
        }
        media.next += 1;
        let id = SessionId(media.next);
        media.open.push(id);
        let port = 20_000 + 4 * u16::try_from(media.next).unwrap();
        let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
        Ok(Opened {
            id,
            meta: LocalPorts {
                rtp: at("198.51.100.1", port),
                rtcp: None,
                other_family: None,
            },
            pbx: LocalPorts {
                rtp: at("192.0.2.1", port + 2),
                rtcp: Some(at("192.0.2.1", port + 3)),
                other_family: None,
            },
            fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")).parse().unwrap(),
        })
    }

    fn command(&mut self, _: SessionId, command: Command) {
        let mut media = self.0.lock().unwrap();
        match command {
            Command::Agree { leg, side } => media.agreed.push((leg, side)),
            Command::Start { leg } => media.started.push(leg),
        }
    }

    fn close(&mut self, id: SessionId) {
        let mut media = self.0.lock().unwrap();
        media.open.retain(|open| *open != id);
        media.closed.push(id);
    }
}
