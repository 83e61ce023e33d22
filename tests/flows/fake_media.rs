//! A media engine that carries no packets and remembers what it was told.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use wabridge::leg::Leg;
use wabridge::media::{
    Command, Facing, LocalPorts, OpenError, Opened, Plane, Press, Security, SessionId,
    SessionStats, SideSpec,
};

/// What the fake media engine was told.
#[derive(Debug, Default)]
pub struct Media {
    pub open: Vec<SessionId>,
    pub agreed: Vec<(Leg, SideSpec)>,
    pub started: Vec<Leg>,
    pub pressed: Vec<(Leg, Press)>,
    /// How often somebody has left a side.
    pub left: Vec<Leg>,
    pub closed: Vec<SessionId>,
    pub exhausted: bool,
    /// Addresses of ours that have no port for a PBX.
    pub full: Vec<IpAddr>,
    /// Which address the PBX's side was given, each time.
    pub faced: Vec<IpAddr>,
    /// What each session has carried when it is closed.
    pub carried: SessionStats,
    next: u64,
    moves: u16,
}

impl Media {
    /// How the packets of a leg are protected, by its latest agreement.
    #[track_caller]
    pub fn security(&self, leg: Leg) -> &Security {
        let agreed = self.agreed.iter().rev().find(|(of, _)| *of == leg);
        &agreed.expect("an agreement").1.security
    }
}

impl Media {
    fn face(&mut self, pbx: Facing) -> Result<(), OpenError> {
        if self.full.contains(&pbx.address) {
            return Err(exhausted(pbx.address));
        }
        self.faced.push(pbx.address);
        Ok(())
    }
}

fn exhausted(address: IpAddr) -> OpenError {
    OpenError::Exhausted {
        address,
        first: 20_000,
        last: 29_999,
    }
}

/// Those of a session; others each time that it is given another address.
fn pbx_ports(pbx: Facing, id: SessionId, moves: u16) -> LocalPorts {
    let port = 20_002 + 4 * u16::try_from(id.0).unwrap() + 1000 * moves;
    LocalPorts {
        rtp: SocketAddr::new(pbx.announced, port),
        rtcp: Some(SocketAddr::new(pbx.announced, port + 1)),
        other_family: None,
    }
}

/// A media engine that carries no packets.
#[derive(Clone, Default)]
pub struct Engine(pub Arc<Mutex<Media>>);

impl Plane for Engine {
    fn open(&mut self, pbx: Facing) -> Result<Opened, OpenError> {
        let mut media = self.0.lock().unwrap();
        if media.exhausted {
            return Err(exhausted("198.51.100.1".parse().unwrap()));
        }
        media.face(pbx)?;
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
            pbx: pbx_ports(pbx, id, 0),
            fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")).parse().unwrap(),
        })
    }

    fn face(&mut self, id: SessionId, pbx: Facing) -> Result<LocalPorts, OpenError> {
        let mut media = self.0.lock().unwrap();
        assert!(media.open.contains(&id), "the session is open");
        media.face(pbx)?;
        media.moves += 1;
        Ok(pbx_ports(pbx, id, media.moves))
    }

    fn command(&mut self, _: SessionId, command: Command) {
        let mut media = self.0.lock().unwrap();
        match command {
            Command::Agree { leg, side } => media.agreed.push((leg, side)),
            Command::Start { leg } => media.started.push(leg),
            Command::Leave { leg } => media.left.push(leg),
            Command::Press { leg, press } => media.pressed.push((leg, press)),
        }
    }

    fn close(&mut self, id: SessionId) {
        let mut media = self.0.lock().unwrap();
        media.open.retain(|open| *open != id);
        media.closed.push(id);
    }
}
