//! Our media engine, SRTP with keys from SDP towards Meta and RTP towards the PBX.

use std::net::SocketAddr;
use std::thread;

use wabridge::leg::Leg;
use wabridge::media::sdes::Crypto;
use wabridge::media::{Codec, Command, Engine, Io, MasterKey, Plane, Security, Settings, SideSpec};

use crate::far_ends::media::side;
use crate::served::Far;

/// With which key Meta is sent to, in every call: nobody but this bench hears them.
const KEY: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// Carries so many calls until the process ends; `ready` is told the ports of each.
pub fn run(
    far: &Far,
    calls: usize,
    workers: u16,
    io: &str,
    ready: impl FnOnce(&[[SocketAddr; 2]]),
) {
    let settings = settings(far, workers, io);
    let mut engine = Engine::start(&settings, |_| ()).expect("threads");
    let mut ports = Vec::new();
    for _ in 0..calls {
        let opened = engine.open(far.relay.into()).expect("a free port");
        for (leg, end) in [Leg::Meta, Leg::Pbx].into_iter().zip(far.ends) {
            let side = agreed(end, leg);
            engine.command(opened.id, Command::Agree { leg, side });
            engine.command(opened.id, Command::Start { leg });
        }
        ports.push([opened.meta.rtp, opened.pbx.rtp]);
    }
    ready(&ports);
    loop {
        thread::park();
    }
}

fn settings(far: &Far, workers: u16, io: &str) -> Settings {
    Settings {
        io: match io {
            "uring" => Io::Uring,
            _ => Io::Epoll,
        },
        meta_address: far.relay,
        pbx_address: far.relay,
        workers,
        ..Settings::default()
    }
}

fn agreed(end: SocketAddr, leg: Leg) -> SideSpec {
    let mut side = side(end, Codec::Opus, leg == Leg::Meta);
    if let Security::Sdes(keys) = &mut side.security {
        keys.send = key_towards_meta();
    }
    side
}

/// What the engine's packets towards Meta are protected with.
pub fn key_towards_meta() -> MasterKey {
    Crypto::parse(KEY).expect("a key").key
}
