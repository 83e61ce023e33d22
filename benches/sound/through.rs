//! How long a packet that is passed on untouched is in the daemon: over sockets on loopback, SRTP towards Meta, against the
//! same packet without a daemon between.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use wabridge::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::{Receiver, Sender};

use super::far_ends::daemon::{Daemon, own_address};
use super::far_ends::ends::{FarEnds, Up};
use super::far_ends::messages::{METAS_KEY, media_of};
use super::percentile;

/// Calls at once; their packets leave one after another, as those of strangers do.
const CALLS: usize = 10;
/// Packets of each side of each call.
const PACKETS: usize = 1_500;
const FRAME: Duration = Duration::from_millis(20);

/// Prints a line for each direction, and one without a daemon.
pub fn run() {
    println!(
        "\n{CALLS} calls of {} s; ms from send to receive",
        PACKETS / 50
    );
    println!(
        "{:>28} {:>8} {:>8} {:>8} {:>8}",
        "", "packets", "p50", "p99", "most"
    );
    row("without a daemon", bare());
    let daemon = Daemon::start();
    let mut ends = FarEnds::of(&daemon);
    let up: Vec<Up> = (0..CALLS).map(|_| ends.call().0).collect();
    let [to_pbx, to_user] = talk(&ends, &up);
    row("from the user to the PBX", to_pbx);
    row("from the PBX to the user", to_user);
    up.iter().for_each(|call| ends.hang_up(call));
}

fn row(what: &str, mut took: Vec<f64>) {
    took.sort_unstable_by(f64::total_cmp);
    let (p50, p99) = (percentile(&took, 50), percentile(&took, 99));
    let most = took[took.len() - 1];
    println!(
        "{what:>28} {:>8} {p50:>8.3} {p99:>8.3} {most:>8.3}",
        took.len()
    );
}

/// A packet of sound that says which one it is.
fn packet(nth: usize, call: usize) -> Vec<u8> {
    let header = Header {
        marker: nth == 0,
        payload_type: 111,
        seq: Seq(nth as u16),
        timestamp: Timestamp(nth as u32 * 960),
        ssrc: Ssrc(1_615_009_994),
    };
    let mut payload = [0x5a; 60];
    payload[0] = 9 << 3; // one frame of 20 ms, wideband (RFC 6716 §3.1): another length would not be passed on to Meta
    payload[4..8].copy_from_slice(&((nth * CALLS + call) as u32).to_be_bytes());
    let mut bytes = Vec::new();
    header.write(&payload, &mut bytes);
    bytes
}

/// From one socket to another.
fn bare() -> Vec<f64> {
    let [from, to] = [2, 3]
        .map(|host| UdpSocket::bind(SocketAddr::new(own_address(host), 0)).expect("a socket"));
    let address = to.local_addr().expect("bound");
    let ear = Ear::listen(&to, Vec::new());
    let mut sent = vec![None; PACKETS * CALLS];
    for nth in 0..PACKETS {
        for call in 0..CALLS {
            let bytes = packet(nth, call);
            sent[nth * CALLS + call] = Some(Instant::now());
            from.send_to(&bytes, address).expect("loopback takes it");
            sleep(FRAME / CALLS as u32);
        }
    }
    ear.took(&sent)
}

/// Through the daemon, to the PBX and to the user.
fn talk(ends: &FarEnds, up: &[Up]) -> [Vec<f64>; 2] {
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    let mut protect: Vec<Sender> = up
        .iter()
        .map(|_| Sender::new(crypto.profile, &crypto.key).expect("a key"))
        .collect();
    let keys = up.iter().map(|call| {
        let body = String::from_utf8_lossy(&call.ok.body);
        let line = body.lines().find_map(|line| line.strip_prefix("a=crypto:"));
        let ours = Crypto::parse(line.expect("keyed by SDES")).expect("the bridge's own");
        let opened = Receiver::new(ours.profile, &ours.key).expect("a key");
        (media_of(&call.ok.body), opened)
    });
    let at_user = Ear::listen(&ends.metas_media, keys.collect());
    let at_pbx = Ear::listen(&ends.pbxs_media, Vec::new());
    let mut sent = [(), ()].map(|()| vec![None; PACKETS * CALLS]);
    let mut secured = Vec::new();
    let mut due = Instant::now();
    for nth in 0..PACKETS {
        for (call, (up, protect)) in up.iter().zip(&mut protect).enumerate() {
            let bytes = packet(nth, call);
            protect.protect_rtp(&bytes, &mut secured).expect("RTP");
            let ways = [
                (&ends.metas_media, &secured, media_of(&up.ok.body)),
                (&ends.pbxs_media, &bytes, media_of(&up.offered.body)),
            ];
            for ((socket, bytes, to), sent) in ways.into_iter().zip(&mut sent) {
                sent[nth * CALLS + call] = Some(Instant::now());
                socket.send_to(bytes, to).expect("loopback takes it");
            }
            due += FRAME / CALLS as u32;
            sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    sleep(Duration::from_millis(200));
    let [by_user, by_pbx] = sent;
    [at_pbx.took(&by_user), at_user.took(&by_pbx)]
}

/// When packets came, by their numbers.
type Came = Vec<(usize, Instant)>;

/// Notes when packets come.
struct Ear {
    stop: Arc<AtomicBool>,
    came: Arc<Mutex<Came>>,
    thread: JoinHandle<()>,
}

impl Ear {
    /// With a key for each place from which SRTP comes.
    fn listen(socket: &UdpSocket, mut keys: Vec<(SocketAddr, Receiver)>) -> Ear {
        let socket = socket.try_clone().expect("a socket");
        let timeout = Some(Duration::from_millis(50));
        socket.set_read_timeout(timeout).expect("a socket");
        let (stop, came) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Came>>::default());
        let (stopped, kept) = (stop.clone(), came.clone());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let now = Instant::now();
                let key = keys.iter_mut().find(|(place, _)| *place == from);
                let nth = number(&buffer[..length], key.map(|(_, key)| key));
                kept.lock()
                    .expect("no panic")
                    .extend(nth.map(|nth| (nth, now)));
            }
        });
        Ear { stop, came, thread }
    }

    /// How long each packet took, in ms.
    fn took(self, sent: &[Option<Instant>]) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only listens");
        let came = std::mem::take(&mut *self.came.lock().expect("no panic"));
        let took = |(nth, at): (usize, Instant)| Some((at - sent[nth]?).as_secs_f64() * 1e3);
        let took: Vec<f64> = came.into_iter().filter_map(took).collect();
        assert!(
            took.len() * 100 >= sent.len() * 99,
            "{} packets came",
            took.len()
        );
        took
    }
}

/// Which packet it is; `None`: none of ours, but a report or silence.
fn number(datagram: &[u8], key: Option<&mut Receiver>) -> Option<usize> {
    let mut plain = datagram.to_vec();
    if (192..=223).contains(datagram.get(1)?) {
        return None;
    }
    if let Some(key) = key {
        key.unprotect_rtp(datagram, &mut plain).ok()?;
    }
    let packet = Packet::parse(&plain).ok()?;
    let number = packet.payload().get(4..8)?.first_chunk::<4>()?;
    let nth = u32::from_be_bytes(*number) as usize;
    (packet.payload().len() == 60 && nth < PACKETS * CALLS).then_some(nth)
}
