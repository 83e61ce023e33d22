//! Processor time of one media worker for calls that talk both ways, SRTP towards Meta: what it has spent on a call, and how
//! many calls would fill a core.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use wabridge::leg::Leg;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::Sender;
use wabridge::media::{Codec, Command, Engine, Plane, Settings};

use super::far_ends::daemon::own_address;
use super::far_ends::media::{number, side};
use super::far_ends::messages::METAS_KEY;
use super::speech;

/// Calls at once.
const CALLS: usize = 20;
/// How long they talk in one measurement: each sentence of the voice, once.
const PACKETS: usize = 500;
/// Measurements of each kind, in turns.
const ROUNDS: usize = 3;
const FRAME: Duration = Duration::from_millis(20);

/// When the user and the PBX speak, in seconds, where they take turns: each for 39 % of the time, both for 7 %, neither for
/// 29 %: about as people do (ITU-T P.59: 38.5, 6.6 and 22.5 %).
const TURNS: [Range<f64>; 2] = [0.0..3.9, 3.2..7.1];

/// What a call is.
#[derive(Clone, Copy)]
struct Kind {
    pbx: Codec,
    complexity: u8,
    /// Whether the two take turns, or speak both all the time.
    turns: bool,
}

/// Prints a line for each kind.
pub fn run() {
    println!("{CALLS} calls of 10 s, medians of {ROUNDS} runs in turns");
    println!(
        "{:>10} {:>11} {:>11} {:>16} {:>8} {:>8} {:>15}",
        "PBX", "complexity", "they speak", "% of a core/call", "least", "most", "calls for a core"
    );
    let kind = |pbx, complexity, turns| Kind {
        pbx,
        complexity,
        turns,
    };
    let mut kinds = vec![kind(Codec::Opus, 5, false)];
    for pbx in [Codec::Pcmu, Codec::G722] {
        kinds.extend([0, 5, 9].map(|complexity| kind(pbx, complexity, false)));
        kinds.push(kind(pbx, 5, true));
    }
    let mut shares = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (kind, shares) in kinds.iter().zip(&mut shares) {
            shares.push(measure(*kind));
        }
    }
    for (kind, mut shares) in kinds.into_iter().zip(shares) {
        shares.sort_unstable_by(f64::total_cmp);
        let (least, most) = (shares[0], shares[shares.len() - 1]);
        let median = shares[shares.len() / 2];
        let complexity = match kind.pbx {
            Codec::Opus => "untouched".to_owned(),
            _ => kind.complexity.to_string(),
        };
        let speak = if kind.turns { "in turns" } else { "always" };
        println!(
            "{:>10} {complexity:>11} {speak:>11} {median:>16.3} {least:>8.3} {most:>8.3} {:>15.0}",
            kind.pbx.name(),
            100.0 / median
        );
    }
}

/// Percent of a core for one call.
fn measure(kind: Kind) -> f64 {
    let ends = [2, 3].map(|host| Listener::new(SocketAddr::new(own_address(host), 0)));
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(1),
        workers: 1,
        opus_complexity: kind.complexity,
        ..Settings::default()
    };
    let mut engine = Engine::start(&settings, |_| ()).expect("a thread");
    let mut ports = Vec::new();
    for _ in 0..CALLS {
        let opened = engine.open(own_address(1).into()).expect("a free port");
        for (leg, end, codec) in [
            (Leg::Meta, &ends[0], Codec::Opus),
            (Leg::Pbx, &ends[1], kind.pbx),
        ] {
            let side = side(end.address(), codec, leg == Leg::Meta);
            engine.command(opened.id, Command::Agree { leg, side });
            engine.command(opened.id, Command::Start { leg });
        }
        ports.push([opened.meta.rtp, opened.pbx.rtp]);
    }
    sleep(Duration::from_millis(200));
    let spent = talk(kind, &ends, &ports);
    let heard: usize = ends.iter().map(Listener::heard).sum();
    drop(engine);
    assert!(
        heard >= 2 * CALLS * PACKETS * 99 / 100,
        "{heard} packets heard"
    );
    spent.as_secs_f64() / (FRAME * PACKETS as u32).as_secs_f64() / CALLS as f64 * 100.0
}

/// Both sides say what they have to; how long the worker was on a processor for it.
fn talk(kind: Kind, ends: &[Listener; 2], ports: &[[SocketAddr; 2]]) -> Duration {
    let turn = |end: usize| kind.turns.then(|| TURNS[end].clone());
    let voices = [
        speech::spoken(Codec::Opus, turn(0)),
        speech::spoken(kind.pbx, turn(1)),
    ];
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    let mut protect = Sender::new(crypto.profile, &crypto.key).expect("a key");
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    let before = on_cpu();
    let mut due = Instant::now();
    for nth in 0..PACKETS {
        for (end, voice) in voices.iter().enumerate() {
            let units = voice.format.units();
            let header = Header {
                marker: nth == 0,
                payload_type: number(voice.format.codec),
                seq: Seq(nth as u16),
                timestamp: Timestamp(nth as u32 * units),
                ssrc: Ssrc(7),
            };
            header.write(voice.packet(nth), &mut plain);
            let packet = match end {
                0 => {
                    let done = protect.protect_rtp(&plain, &mut secured);
                    done.expect("an RTP packet");
                    &secured
                }
                _ => &plain,
            };
            for call in ports {
                ends[end].send(packet, call[end]);
            }
        }
        ends.iter().for_each(Listener::drain);
        due += FRAME;
        sleep(due.saturating_duration_since(Instant::now()));
    }
    sleep(Duration::from_millis(300));
    ends.iter().for_each(Listener::drain);
    on_cpu() - before
}

/// How long the worker's thread has been on a processor.
fn on_cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let read = |task: &fs::DirEntry, file: &str| {
        fs::read_to_string(task.path().join(file)).unwrap_or_default()
    };
    let worker = |task: &fs::DirEntry| read(task, "comm").trim() == "media-0";
    let task = tasks.flatten().find(worker).expect("the thread runs");
    let stat = read(&task, "schedstat");
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("Linux counts it"))
}

/// A side's far end, for all calls.
struct Listener {
    socket: UdpSocket,
    heard: std::cell::Cell<usize>,
}

impl Listener {
    fn new(address: SocketAddr) -> Listener {
        let socket = UdpSocket::bind(address).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let buffer = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        buffer.expect("a socket");
        Listener {
            socket,
            heard: Default::default(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    fn send(&self, packet: &[u8], to: SocketAddr) {
        self.socket.send_to(packet, to).expect("loopback takes it");
    }

    /// Counts what has come, reports left out.
    fn drain(&self) {
        let mut buffer = [0; 2_000];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let is_rtp = length > 12 && !(192..=223).contains(&buffer[1]);
            self.heard.set(self.heard.get() + usize::from(is_rtp));
        }
    }

    fn heard(&self) -> usize {
        self.heard.get()
    }
}
