//! What is compared, and one of them running with its calls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use wabridge::media::MasterKey;
use wabridge::media::sdes::Crypto;

use crate::far_ends::daemon::own_address;
use crate::far_ends::messages::METAS_KEY;
use crate::process::Process;
use crate::served::Far;
use crate::speech::OPUS;
use crate::{asterisk, ours, rtpengine};

/// Where logs and results are.
pub const OUT: &str = "target/compare";

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// A loop that only receives and sends; by epoll or by io_uring.
    Floor(&'static str),
    /// Our engine; by epoll or by io_uring.
    Ours(&'static str),
    /// Debian's rtpengine in user space, by epoll as it is by default.
    Rtpengine,
    /// Debian's Asterisk between two endpoints.
    Asterisk,
}

/// All of them, in the order of their turns.
pub const ALL: [Relay; 6] = [
    Relay::Floor("epoll"),
    Relay::Floor("uring"),
    Relay::Ours("epoll"),
    Relay::Ours("uring"),
    Relay::Rtpengine,
    Relay::Asterisk,
];

impl Relay {
    /// Its name in tables.
    pub fn name(self) -> String {
        let io = |io| if io == "uring" { "io_uring" } else { io };
        match self {
            Relay::Floor(by) => format!("floor {}", io(by)),
            Relay::Ours(by) => format!("wabridge {}", io(by)),
            Relay::Rtpengine => "rtpengine".into(),
            Relay::Asterisk => "Asterisk".into(),
        }
    }

    /// How it waits for packets, as the floors are named.
    pub fn io(self) -> &'static str {
        match self {
            Relay::Floor(by) | Relay::Ours(by) => by,
            Relay::Rtpengine | Relay::Asterisk => "epoll",
        }
    }

    /// Starts it on these cores, with so many threads for packets where that can be chosen, and sets up the calls.
    pub fn start(self, cores: &str, workers: u16, place: &Place, calls: usize) -> UnderTest {
        match self {
            Relay::Floor(by) => served(&format!("floor-{by}"), cores, workers, place, calls),
            Relay::Ours(by) => served(by, cores, workers, place, calls),
            Relay::Rtpengine => rtpengine::start(cores, workers, place, calls),
            Relay::Asterisk => asterisk::start(cores, place, calls),
        }
    }
}

/// The addresses of a run.
#[derive(Clone, Copy)]
pub struct Place {
    /// Of what is under test.
    pub relay: IpAddr,
    /// Where Meta and the PBX have their media.
    pub ends: [SocketAddr; 2],
}

impl Place {
    /// Addresses that another run at the same time does not use.
    pub fn new() -> Place {
        Place {
            relay: own_address(1),
            // Every call's media is at these two.
            ends: [2, 3].map(|host| SocketAddr::new(own_address(host), 16_000)),
        }
    }
}

/// A call that is up.
#[derive(Clone)]
pub struct Call {
    /// Where it takes Meta's packets, and the PBX's.
    pub ports: [u16; 2],
    /// By which payload type the PBX is to send Opus.
    pub pbxs_opus: u8,
    /// With which key packets come protected to Meta, and to the PBX; `None`: in clear.
    pub keys: [Option<MasterKey>; 2],
}

/// A relay that runs with its calls; ends with this value.
pub struct UnderTest {
    /// The program.
    pub process: Process,
    /// Its calls.
    pub calls: Vec<Call>,
    /// What it has of files.
    #[expect(dead_code, reason = "it goes with the program")]
    pub folder: Option<tempfile::TempDir>,
}

/// Where a program's complaints are kept.
pub fn log(name: &str) -> PathBuf {
    let out = Path::new(OUT);
    fs::create_dir_all(out).expect("the repository can be written to");
    out.join(format!("{name}.log"))
}

/// The same program once more, under test itself.
fn served(kind: &str, cores: &str, workers: u16, place: &Place, calls: usize) -> UnderTest {
    let keys = match kind.strip_prefix("floor-") {
        None => [Some(ours::key_towards_meta()), None],
        // What Meta says comes to the PBX as it was.
        Some(_) => [None, Some(Crypto::parse(METAS_KEY).expect("a key").key)],
    };
    let far: Far = Far {
        relay: place.relay,
        ends: place.ends,
    };
    let words = [
        "serve".to_owned(),
        kind.to_owned(),
        workers.to_string(),
        calls.to_string(),
        far.relay.to_string(),
        far.ends[0].to_string(),
        far.ends[1].to_string(),
    ];
    let program = std::env::current_exe().expect("Linux knows");
    let mut process = Process::start(cores, &program, &words, &log(kind)).expect("it starts");
    let out = process.0.stdout.take().expect("a pipe");
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    let port = |word: &str| word.parse().ok().map(|address: SocketAddr| address.port());
    let calls = lines.take_while(|line| line != "ready").map(|line| {
        let (meta, pbx) = line.split_once(' ').expect("two words");
        Call {
            ports: [meta, pbx].map(|word| port(word).expect("an address")),
            pbxs_opus: OPUS,
            keys: keys.clone(),
        }
    });
    UnderTest {
        calls: calls.collect(),
        process,
        folder: None,
    }
}
