//! What the media engine costs the processor for a packet, against a loop that only receives and sends.
//!
//!     cargo bench --bench relay
//!
//! One worker thread, so many calls of 50 packets a second each way, over sockets on loopback. Only that thread's time
//! on a processor is counted. Docs: docs/performance.md.

// Each bench uses its own part of them.
#[allow(dead_code)]
mod far_ends;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use far_ends::daemon::own_address;
use far_ends::describe_machine;
use far_ends::media::side;
use far_ends::messages::METAS_KEY;
use wabridge::leg::Leg;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::Sender;
use wabridge::media::{Codec, Command, Engine, Io, Plane, Settings};

/// Calls at once.
const CALLS: [usize; 3] = [10, 100, 400];
/// Packets of each side of each call in one measurement: three seconds of speech.
const PACKETS: u16 = 150;
/// Time between two of them.
const FRAME: Duration = Duration::from_millis(20);
/// Measurements of each kind, in turns.
const ROUNDS: usize = 5;
/// The payload type of everything here.
const OPUS: u8 = 111;
/// Octets of an RTP packet with 20 ms of speech, as Meta sends them.
const SPEECH: [u8; 60] = [0x48; 60];

/// What carries the packets.
#[derive(Clone, Copy, PartialEq)]
enum Relay {
    /// A loop over the same sockets that receives and sends by epoll, and knows nothing.
    Floor,
    /// The engine, and whether Meta's side is SRTP.
    Engine { io: Io, srtp: bool },
}

/// All of them, in the order of the columns.
const RELAYS: [Relay; 5] = [
    Relay::Floor,
    Relay::Engine {
        io: Io::Epoll,
        srtp: false,
    },
    Relay::Engine {
        io: Io::Epoll,
        srtp: true,
    },
    Relay::Engine {
        io: Io::Uring,
        srtp: false,
    },
    Relay::Engine {
        io: Io::Uring,
        srtp: true,
    },
];

impl Relay {
    fn has_srtp(self) -> bool {
        matches!(self, Relay::Engine { srtp: true, .. })
    }
}

/// What one measurement gave.
struct Measured {
    /// Time on a processor for each packet that was carried.
    each: Duration,
    /// Packets that were sent and did not come out.
    lost: u64,
}

fn main() {
    println!("{}", describe_machine());
    println!("µs of processor time for each packet relayed, medians of {ROUNDS} runs in turns");
    println!(
        "{:>6} {:>10} {:>12} {:>12} {:>14} {:>16} {:>6}",
        "calls",
        "bare loop",
        "epoll, RTP",
        "epoll, SRTP",
        "io_uring, RTP",
        "io_uring, SRTP",
        "lost"
    );
    for calls in CALLS {
        let mut each = [const { Vec::new() }; RELAYS.len()];
        let mut lost = 0;
        for _ in 0..ROUNDS {
            for (each, relay) in each.iter_mut().zip(RELAYS) {
                let measured = measure(relay, calls);
                each.push(measured.each.as_secs_f64() * 1e6);
                lost += measured.lost;
            }
        }
        let [floor, plain, srtp, uring_plain, uring_srtp] = each.map(median);
        println!(
            "{calls:>6} {floor:>10.2} {plain:>12.2} {srtp:>12.2} {uring_plain:>14.2} {uring_srtp:>16.2} {lost:>6}"
        );
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

fn measure(relay: Relay, calls: usize) -> Measured {
    let ends = [End::new(2), End::new(3)];
    let under_test = match relay {
        Relay::Floor => UnderTest::bare(calls, &ends),
        Relay::Engine { io, srtp } => UnderTest::engine(calls, &ends, io, srtp),
    };
    // Commands are obeyed and the first frames sent before anything is counted.
    sleep(Duration::from_millis(200));
    let before = under_test.on_cpu();
    let mut speech = Speech::new(relay.has_srtp());
    let mut due = Instant::now();
    for seq in 0..PACKETS {
        let [from_meta, from_pbx] = speech.frame(seq);
        for [meta, pbx] in &under_test.ports {
            ends[0].send(from_meta, *meta);
            ends[1].send(from_pbx, *pbx);
        }
        due += FRAME;
        sleep(due.saturating_duration_since(Instant::now()));
    }
    sleep(Duration::from_millis(200));
    let spent = under_test.on_cpu() - before;
    drop(under_test);
    let sent = 2 * calls as u64 * u64::from(PACKETS);
    let carried: u64 = ends.into_iter().map(End::stop).sum();
    assert!(carried > 0, "nothing was relayed");
    Measured {
        each: spent / u32::try_from(carried).expect("a few hundred thousand"),
        lost: sent.saturating_sub(carried),
    }
}

/// A side's far end, for all calls: it sends when told, and counts what it hears.
struct End {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    heard: Arc<AtomicU64>,
}

impl End {
    fn new(host: u8) -> End {
        let socket = UdpSocket::bind((own_address(host), 0)).expect("a socket");
        let timeout = Some(Duration::from_millis(50));
        socket.set_read_timeout(timeout).expect("a socket");
        let buffer = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        buffer.expect("a socket");
        let socket = Arc::new(socket);
        let (stop, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let (socket, stop, heard) = (socket.clone(), stop.clone(), heard.clone());
            thread::spawn(move || {
                let mut buffer = [0; 2_000];
                while !stop.load(Ordering::Relaxed) {
                    let Ok(length) = socket.recv(&mut buffer) else {
                        continue;
                    };
                    // Neither reports nor frames of silence, which are shorter.
                    if buffer[1] & 0x7f == OPUS && length >= 12 + SPEECH.len() {
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        End {
            socket,
            stop,
            thread,
            heard,
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    fn send(&self, packet: &[u8], to: SocketAddr) {
        self.socket.send_to(packet, to).expect("loopback takes it");
    }

    /// How many frames it has heard.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only counts");
        self.heard.load(Ordering::Relaxed)
    }
}

/// What Meta and the PBX say: the same in every call, so that saying it costs little.
struct Speech {
    protect: Option<Sender>,
    plain: Vec<u8>,
    secured: Vec<u8>,
}

impl Speech {
    fn new(srtp: bool) -> Speech {
        let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
        Speech {
            protect: srtp.then(|| Sender::new(crypto.profile, &crypto.key).expect("a key")),
            plain: Vec::new(),
            secured: Vec::new(),
        }
    }

    /// What Meta sends, and what the PBX sends.
    fn frame(&mut self, seq: u16) -> [&[u8]; 2] {
        let header = Header {
            marker: seq == 0,
            payload_type: OPUS,
            seq: Seq(seq),
            timestamp: Timestamp(u32::from(seq) * 960),
            ssrc: Ssrc(7),
        };
        header.write(&SPEECH, &mut self.plain);
        let Some(protect) = &mut self.protect else {
            return [&self.plain, &self.plain];
        };
        let done = protect.protect_rtp(&self.plain, &mut self.secured);
        done.expect("an RTP packet");
        [&self.secured, &self.plain]
    }
}

/// A running relay with its calls.
struct UnderTest {
    /// Where each call takes Meta's and the PBX's packets.
    ports: Vec<[SocketAddr; 2]>,
    /// The name of its thread.
    thread: &'static str,
    running: Running,
}

enum Running {
    Engine(#[expect(dead_code, reason = "it runs until it is dropped")] Engine),
    Bare(Arc<AtomicBool>, Option<JoinHandle<()>>),
}

impl UnderTest {
    fn engine(calls: usize, ends: &[End; 2], io: Io, srtp: bool) -> UnderTest {
        let settings = Settings {
            meta_address: own_address(1),
            pbx_address: own_address(1),
            workers: 1,
            io,
            ..Settings::default()
        };
        let mut engine = Engine::start(&settings, |_| ()).expect("a thread");
        let mut ports = Vec::new();
        for _ in 0..calls {
            let opened = engine.open(own_address(1).into()).expect("a free port");
            for (leg, end) in [(Leg::Meta, &ends[0]), (Leg::Pbx, &ends[1])] {
                let side = side(end.address(), Codec::Opus, srtp && leg == Leg::Meta);
                engine.command(opened.id, Command::Agree { leg, side });
                engine.command(opened.id, Command::Start { leg });
            }
            ports.push([opened.meta.rtp, opened.pbx.rtp]);
        }
        UnderTest {
            ports,
            thread: "media-0",
            running: Running::Engine(engine),
        }
    }

    fn bare(calls: usize, ends: &[End; 2]) -> UnderTest {
        let poll = mio::Poll::new().expect("epoll");
        let (mut sockets, mut ports) = (Vec::new(), Vec::new());
        for call in 0..calls {
            let mut pair = [0, 1].map(|_| {
                let free = SocketAddr::new(own_address(1), 0);
                mio::net::UdpSocket::bind(free).expect("a socket")
            });
            for (side, socket) in pair.iter_mut().enumerate() {
                let token = mio::Token(2 * call + side);
                let registry = poll.registry();
                registry
                    .register(socket, token, mio::Interest::READABLE)
                    .expect("epoll");
            }
            ports.push([0, 1].map(|side: usize| pair[side].local_addr().expect("bound")));
            sockets.push(pair);
        }
        let far = [ends[0].address(), ends[1].address()];
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("bare".into())
            .spawn(move || bare(poll, &sockets, far, &stopped))
            .expect("a thread");
        UnderTest {
            ports,
            thread: "bare",
            running: Running::Bare(stop, Some(thread)),
        }
    }

    /// How long its thread has been on a processor.
    fn on_cpu(&self) -> Duration {
        let tasks = fs::read_dir("/proc/self/task").expect("Linux");
        let read = |task: &fs::DirEntry, file: &str| {
            fs::read_to_string(task.path().join(file)).unwrap_or_default()
        };
        let task = tasks
            .flatten()
            .find(|task| read(task, "comm").trim() == self.thread)
            .expect("the thread runs");
        let stat = read(&task, "schedstat");
        let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(nanoseconds.expect("Linux counts it"))
    }
}

impl Drop for UnderTest {
    fn drop(&mut self) {
        if let Running::Bare(stop, thread) = &mut self.running {
            stop.store(true, Ordering::Relaxed);
            if let Some(thread) = thread.take() {
                thread.join().expect("it only copies");
            }
        }
    }
}

fn bare(
    mut poll: mio::Poll,
    sockets: &[[mio::net::UdpSocket; 2]],
    far: [SocketAddr; 2],
    stop: &AtomicBool,
) {
    let mut events = mio::Events::with_capacity(1_024);
    let mut buffer = [0; 2_000];
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50)))
            .expect("epoll");
        for event in &events {
            let (call, side) = (event.token().0 / 2, event.token().0 % 2);
            let [from, to] = [&sockets[call][side], &sockets[call][1 - side]];
            while let Ok((length, _)) = from.recv_from(&mut buffer) {
                // What the kernel cannot take is missed at the far end.
                let _ = to.send_to(&buffer[..length], far[1 - side]);
            }
        }
    }
}
