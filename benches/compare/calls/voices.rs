//! Media in the calls that are kept: both sides of each say 50 packets a second, and whoever hears one knows when it was sent.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use socket2::SockRef;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::{Receiver, Sender};

use super::tally::Times;
use super::world::{Kept, World};
use crate::far_ends::messages::METAS_KEY;

/// Between two packets.
pub const FRAME: Duration = Duration::from_millis(20);
/// Octets of a payload, as Meta sends them; what the program says by itself is shorter.
const PAYLOAD: usize = 60;
/// Where the time stands in it.
const TIME: std::ops::Range<usize> = 4..12;
/// Octets that the system may keep while the load has the processor.
const BUFFER: usize = 4 << 20;

/// Both sides of the calls that are kept.
pub struct Voices {
    mouths: Vec<Mouth>,
    /// By where the program speaks from; Meta hears SRTP.
    ears: HashMap<SocketAddr, Receiver>,
    meta: UdpSocket,
    pbx: UdpSocket,
    seq: u16,
    began: Instant,
    plain: Vec<u8>,
    secured: Vec<u8>,
}

struct Mouth {
    ssrc: u32,
    secure: Sender,
    meta: SocketAddr,
    pbx: SocketAddr,
    opus: u8,
}

/// What came of it.
#[derive(Default)]
pub struct Heard {
    /// Packets that were sent.
    pub sent: u64,
    /// From sending one to hearing it.
    pub delays: Times,
}

impl Heard {
    /// Packets that were not heard, as a share of those sent.
    pub fn lost(&self) -> f64 {
        1.0 - self.delays.count() as f64 / self.sent.max(1) as f64
    }
}

impl Voices {
    /// Of all calls that are kept now.
    pub fn of(world: &World) -> io::Result<Voices> {
        let (meta, pbx) = (
            world.metas_media.try_clone()?,
            world.pbxs_media.try_clone()?,
        );
        for socket in [&meta, &pbx] {
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            SockRef::from(socket).set_recv_buffer_size(BUFFER)?;
        }
        let ours = Crypto::parse(METAS_KEY).expect("Meta's sample");
        let mouth = |(number, kept): (usize, &Kept)| Mouth {
            ssrc: 1_000 + number as u32,
            secure: Sender::new(ours.profile, &ours.key).expect("the key fits"),
            meta: kept.meta,
            pbx: kept.pbx,
            opus: kept.opus,
        };
        let ear = |kept: &Kept| {
            let theirs = Crypto::parse(&kept.crypto).expect("a 200 has a key");
            let receiver = Receiver::new(theirs.profile, &theirs.key);
            (kept.meta, receiver.expect("the key fits"))
        };
        Ok(Voices {
            mouths: world.kept().iter().enumerate().map(mouth).collect(),
            ears: world.kept().iter().map(ear).collect(),
            meta,
            pbx,
            seq: 0,
            began: Instant::now(),
            plain: Vec::new(),
            secured: Vec::new(),
        })
    }

    /// All say something, and nobody listens: so many packets each way in every call, this many of all in a second at most.
    pub fn talk(&mut self, packets: u32, each_second: f64) {
        let pause = Duration::from_secs_f64(2.0 * self.mouths.len() as f64 / each_second);
        let mut due = Instant::now();
        for _ in 0..packets {
            self.say();
            due += FRAME.max(pause);
            sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// All talk and listen, until that is stopped.
    pub fn converse(mut self) -> Conversation {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let heard = self.until(&stopped);
            (self, heard)
        });
        Conversation { stop, thread }
    }

    fn until(&mut self, stop: &Arc<AtomicBool>) -> Heard {
        let deaf = Arc::<AtomicBool>::default();
        let began = self.began;
        let at_meta = {
            let (socket, deaf) = (self.meta.try_clone().expect("a socket"), deaf.clone());
            let mut ears = std::mem::take(&mut self.ears);
            thread::spawn(move || {
                let delays = listen(&socket, began, &deaf, |packet, from, out| {
                    let ear = ears.get_mut(&from);
                    ear.is_some_and(|ear| ear.unprotect_rtp(packet, out).is_ok())
                });
                (delays, ears)
            })
        };
        let at_pbx = {
            let (socket, deaf) = (self.pbx.try_clone().expect("a socket"), deaf.clone());
            thread::spawn(move || {
                listen(&socket, began, &deaf, |packet, _, out| {
                    out.clear();
                    out.extend_from_slice(packet);
                    true
                })
            })
        };
        let mut sent = 0;
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            sent += self.say();
            due += FRAME;
            sleep(due.saturating_duration_since(Instant::now()));
        }
        // What is under way may still come.
        sleep(Duration::from_millis(500));
        deaf.store(true, Ordering::Relaxed);
        let (mut delays, ears) = at_meta.join().expect("it only listens");
        self.ears = ears;
        delays.join(at_pbx.join().expect("it only listens"));
        Heard { sent, delays }
    }

    /// One packet each way in every call; gives how many that are.
    fn say(&mut self) -> u64 {
        let mut payload = [0x48; PAYLOAD];
        for mouth in &mut self.mouths {
            let now = self.began.elapsed().as_nanos() as u64;
            payload[TIME].copy_from_slice(&now.to_be_bytes());
            let mut header = Header {
                marker: self.seq == 0,
                payload_type: 111,
                seq: Seq(self.seq),
                timestamp: Timestamp(u32::from(self.seq) * 960),
                ssrc: Ssrc(mouth.ssrc),
            };
            header.write(&payload, &mut self.plain);
            let done = mouth.secure.protect_rtp(&self.plain, &mut self.secured);
            done.expect("an RTP packet");
            header.payload_type = mouth.opus;
            header.write(&payload, &mut self.plain);
            // What the system does not take is missed at the other end.
            let _ = self.meta.send_to(&self.secured, mouth.meta);
            let _ = self.pbx.send_to(&self.plain, mouth.pbx);
        }
        self.seq = self.seq.wrapping_add(1);
        2 * self.mouths.len() as u64
    }
}

/// Hears packets that the opener can open, until it is deaf.
fn listen(
    socket: &UdpSocket,
    began: Instant,
    deaf: &AtomicBool,
    mut open: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>) -> bool,
) -> Times {
    let mut delays = Times::default();
    let (mut buffer, mut plain) = ([0; 2_000], Vec::new());
    while !deaf.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let now = began.elapsed();
        // A header without extensions or sources, as both ends send it.
        if open(&buffer[..length], from, &mut plain) && plain.len() == 12 + PAYLOAD {
            let time = plain[12..][TIME].try_into().expect("eight octets");
            delays.add(now.saturating_sub(Duration::from_nanos(u64::from_be_bytes(time))));
        }
    }
    delays
}

/// Voices that talk and listen.
pub struct Conversation {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Voices, Heard)>,
}

impl Conversation {
    /// Ends it.
    pub fn stop(self) -> (Voices, Heard) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only talks")
    }
}
