//! How much later sound leaves the daemon than it came, over sockets on loopback: a beep is timed at both ends.
//!
//! ```text
//!   far end ── packets, the beep begins with one ──▶ daemon ── packets ──▶ far end: decodes, looks for its beginning
//! ```
//!
//! A sample counts as said when its packet leaves, plus its place in it, and as heard when its packet comes, plus its place.
//! What codecs look ahead (6.5 ms of Opus) is in it; what a far end's own buffer would add is not.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use wabridge::media::Codec;
use wabridge::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::sound::{Decode, Decoder};
use wabridge::media::srtp::{Receiver, Sender};

use super::far_ends::daemon::Daemon;
use super::far_ends::ends::{FarEnds, Up};
use super::far_ends::media::number;
use super::far_ends::messages::{METAS_KEY, media_of};
use super::{percentile, speech};

/// Calls at once.
const CALLS: usize = 10;
/// How long they talk.
const PACKETS: usize = 1_500;
/// Beeps at the beginning that are not counted: the jitter buffer has not yet learnt the network.
const UNCOUNTED: usize = 10;
const FRAME: Duration = Duration::from_millis(20);

/// Prints a line for each codec of the PBX and each direction.
pub fn run() {
    println!(
        "\n{CALLS} calls of {} s; ms from the beep's packet to the beep",
        PACKETS / 50
    );
    println!(
        "{:>10} {:>18} {:>7} {:>8} {:>8} {:>8}",
        "PBX", "heard by", "beeps", "p50", "p99", "most"
    );
    for codec in [Codec::Opus, Codec::Pcmu, Codec::G722] {
        let daemon = Daemon::start();
        let mut ends = FarEnds::of(&daemon).speaking(codec);
        let up: Vec<Up> = (0..CALLS).map(|_| ends.call().0).collect();
        let measured = talk(&ends, &up, codec);
        for (who, mut delays) in ["the PBX", "the user"].into_iter().zip(measured) {
            delays.sort_unstable_by(f64::total_cmp);
            println!(
                "{:>10} {who:>18} {:>7} {:>8.2} {:>8.2} {:>8.2}",
                codec.name(),
                delays.len(),
                percentile(&delays, 50),
                percentile(&delays, 99),
                delays[delays.len() - 1]
            );
        }
        up.iter().for_each(|call| ends.hang_up(call));
    }
}

/// All delays, at the PBX and at the user.
fn talk(ends: &FarEnds, up: &[Up], codec: Codec) -> [Vec<f64>; 2] {
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    let keys = up.iter().map(|call| {
        let body = String::from_utf8_lossy(&call.ok.body);
        let line = body.lines().find_map(|line| line.strip_prefix("a=crypto:"));
        let ours = Crypto::parse(line.expect("keyed by SDES")).expect("the bridge's own");
        let opened = Receiver::new(ours.profile, &ours.key).expect("a key");
        (media_of(&call.ok.body), Some(opened))
    });
    let at_user = Ear::listen(&ends.metas_media, Codec::Opus, keys.collect());
    let plain = up.iter().map(|call| (media_of(&call.offered.body), None));
    let at_pbx = Ear::listen(&ends.pbxs_media, codec, plain.collect());

    let [user, pbx] = [Codec::Opus, codec].map(speech::beeps);
    let mut protect = Sender::new(crypto.profile, &crypto.key).expect("a key");
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    let mut said = vec![[Vec::new(), Vec::new()]; up.len()];
    let mut due = Instant::now();
    for nth in 0..PACKETS {
        let mut headers = [&user, &pbx].map(|voice| Header {
            marker: nth == 0,
            payload_type: number(voice.format.codec),
            seq: Seq(nth as u16),
            timestamp: Timestamp(nth as u32 * voice.format.units()),
            ssrc: Ssrc(1_615_009_994),
        });
        headers[0].write(user.packet(nth), &mut plain);
        protect.protect_rtp(&plain, &mut secured).expect("RTP");
        headers[1].ssrc = Ssrc(9);
        headers[1].write(pbx.packet(nth), &mut plain);
        for (call, said) in up.iter().zip(&mut said) {
            let sends = [
                (&ends.metas_media, &secured, media_of(&call.ok.body)),
                (&ends.pbxs_media, &plain, media_of(&call.offered.body)),
            ];
            for ((socket, packet, to), said) in sends.into_iter().zip(said) {
                if nth % speech::BEEP_EVERY == 0 {
                    said.push(Instant::now());
                }
                socket.send_to(packet, to).expect("loopback takes it");
            }
        }
        due += FRAME;
        sleep(due.saturating_duration_since(Instant::now()));
    }
    sleep(Duration::from_millis(500));
    let (at_pbx, at_user) = (at_pbx.stop(), at_user.stop());
    let mut delays = [Vec::new(), Vec::new()];
    for (call, [by_user, by_pbx]) in up.iter().zip(&said) {
        let heard = &at_pbx[&media_of(&call.offered.body)];
        delays[0].extend(between(by_user, heard));
        let heard = &at_user[&media_of(&call.ok.body)];
        delays[1].extend(between(by_pbx, heard));
    }
    delays
}

/// From each beep to when it was heard, in ms.
fn between(said: &[Instant], heard: &[Instant]) -> Vec<f64> {
    let delay = |at: &Instant| {
        let since = heard.iter().find(|heard| **heard > *at)?;
        Some((*since - *at).as_secs_f64() * 1e3).filter(|ms| *ms < 400.0)
    };
    let counted: Vec<f64> = said.iter().skip(UNCOUNTED).filter_map(delay).collect();
    let expected = said.len() - UNCOUNTED;
    assert!(
        counted.len() + 2 >= expected,
        "{} of {expected} beeps",
        counted.len()
    );
    counted
}

/// When beeps began, by where the daemon sent them from.
type Heard = HashMap<SocketAddr, Vec<Instant>>;

/// Listens at one socket, for all calls.
struct Ear {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    thread: JoinHandle<()>,
}

/// One call's sound.
struct Line {
    open: Option<Receiver>,
    decoder: Decoder,
    /// Samples for which it has been quiet.
    quiet: usize,
}

impl Ear {
    fn listen(socket: &UdpSocket, codec: Codec, calls: Vec<(SocketAddr, Option<Receiver>)>) -> Ear {
        let socket = socket.try_clone().expect("a socket");
        let timeout = Some(Duration::from_millis(50));
        socket.set_read_timeout(timeout).expect("a socket");
        let rate = codec.sample_rate();
        let line = |(from, open): (SocketAddr, Option<Receiver>)| {
            let decoder = Decoder::new(codec, rate).expect("a codec");
            let line = Line {
                open,
                decoder,
                quiet: rate as usize,
            };
            (from, line)
        };
        let mut lines: HashMap<SocketAddr, Line> = calls.into_iter().map(line).collect();
        let number = number(codec);
        let (stop, heard) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Heard>>::default());
        let (stopped, kept) = (stop.clone(), heard.clone());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let now = Instant::now();
                let Some(line) = lines.get_mut(&from) else {
                    continue;
                };
                if let Some(place) = line.beep(&buffer[..length], number, rate) {
                    let at = now + place;
                    kept.lock()
                        .expect("no panic")
                        .entry(from)
                        .or_default()
                        .push(at);
                }
            }
        });
        Ear {
            stop,
            heard,
            thread,
        }
    }

    fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only listens");
        std::mem::take(&mut *self.heard.lock().expect("no panic"))
    }
}

impl Line {
    /// Where in a packet a beep begins.
    fn beep(&mut self, datagram: &[u8], number: u8, rate: u32) -> Option<Duration> {
        let mut plain = datagram.to_vec();
        if (192..=223).contains(datagram.get(1)?) {
            return None;
        }
        if let Some(open) = &mut self.open {
            open.unprotect_rtp(datagram, &mut plain).ok()?;
        }
        let packet = Packet::parse(&plain).ok()?;
        if packet.payload_type() != number {
            return None;
        }
        let mut samples = Vec::new();
        self.decoder.decode(packet.payload(), &mut samples).ok()?;
        let mut began = None;
        for (nth, sample) in samples.iter().enumerate() {
            // A third of its loudness; after a fifth of a second of quiet it is another one.
            let loud = sample.unsigned_abs() > 3_000;
            if loud && self.quiet > rate as usize / 5 {
                began.get_or_insert(nth);
            }
            self.quiet = if loud { 0 } else { self.quiet + 1 };
        }
        began.map(|nth| Duration::from_secs_f64(nth as f64 / f64::from(rate)))
    }
}
