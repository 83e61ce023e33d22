//! Both far ends of all calls, on one core: it sends on time, and keeps whatever comes for later judgement.
//!
//! ```text
//!   20 ms = 80 slots. In slot s the PBX sends in the calls s, s + 80, s + 160 …, Meta in the calls s + 40, s + 120 …,
//!   then both take what has come. The kernel says when a packet came, so taking it late changes no delay.
//! ```
//!
//! Calls know nothing of each other, so a relay is woken up for a few packets at a time. Longer slots would let it find many at
//! once, which makes all of them look cheaper than they are.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::batch::{self, Inbox, KEPT, SENT_AT_ONCE, kernel_address};
use crate::speech::Speech;
use crate::under_test::{Call, Place};

const SLOT: Duration = Duration::from_micros(250);
/// Slots between two packets of one side of a call.
pub const SLOTS: usize = 80;
/// Slots that what is still under way may take after the last packet.
const AFTERWARDS: usize = 2_000;
/// Octets that the far ends' sockets may hold.
const BUFFER: i32 = 32 << 20;

/// The far ends' sockets.
pub struct Ends {
    sockets: [UdpSocket; 2],
    /// Reports come here, and nobody reads them.
    _reports: [UdpSocket; 2],
}

impl Ends {
    /// At their places.
    pub fn new(place: &Place) -> io::Result<Ends> {
        let bind = |end: SocketAddr| -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind(end)?;
            batch::prepare(&socket, BUFFER)?;
            Ok(socket)
        };
        let reports = |end: SocketAddr| UdpSocket::bind((end.ip(), end.port() + 1));
        let [meta, pbx] = place.ends;
        Ok(Ends {
            sockets: [bind(meta)?, bind(pbx)?],
            _reports: [reports(meta)?, reports(pbx)?],
        })
    }

    fn discard(&self, inbox: &mut Inbox) {
        for socket in &self.sockets {
            inbox.take(socket, |_, _, _, _| ()).expect("a socket");
        }
    }
}

/// A packet as it came.
pub struct Taken {
    /// Nanoseconds since 1970.
    pub at: u64,
    /// From which port.
    pub port: u16,
    /// Its octets, though no more than are kept are there.
    pub length: u8,
    /// The first of them.
    pub octets: [u8; KEPT],
}

/// When what was sent, what came, and whether it was all on time.
pub struct Heard {
    /// When each packet left, for the one with number n in call c at n × calls + c; by Meta, and by the PBX.
    pub sent_at: [Vec<u64>; 2],
    /// What came to Meta, and to the PBX.
    pub taken: [Vec<Taken>; 2],
    /// How much later than it should each slot began.
    pub late: Vec<Duration>,
}

/// What is said to it while it runs.
pub enum Moment {
    /// The packets that count begin.
    Begin,
    /// They are all sent.
    End,
    /// And have had time to come.
    Quiet,
}

/// Sends so many packets each way in each call, of which the first `warm` do not count.
pub fn run(
    ends: &Ends,
    calls: &[Call],
    place: &Place,
    speech: &mut Speech,
    [warm, counted]: [u32; 2],
    mut tell: impl FnMut(Moment),
) -> Heard {
    let mut run = Run::new(ends, calls, place, warm + counted);
    ends.discard(&mut run.inbox);
    let start = Instant::now() + Duration::from_millis(20);
    for number in 0..warm + counted {
        if number == warm {
            tell(Moment::Begin);
        }
        for slot in 0..SLOTS {
            let due = start + SLOT * (number * SLOTS as u32 + slot as u32);
            sleep_until(due);
            run.heard.late.push(due.elapsed());
            run.pbx_sends(speech, number, slot);
            run.meta_sends(speech, number, slot);
            run.take();
        }
    }
    tell(Moment::End);
    for _ in 0..AFTERWARDS {
        sleep_until(Instant::now() + SLOT);
        run.take();
    }
    tell(Moment::Quiet);
    run.heard
}

struct Run<'a> {
    ends: &'a Ends,
    inbox: Inbox,
    /// Where Meta sends to in each call, and the PBX.
    to: [Vec<libc::sockaddr_in>; 2],
    heard: Heard,
}

impl<'a> Run<'a> {
    fn new(ends: &'a Ends, calls: &[Call], place: &Place, packets: u32) -> Run<'a> {
        let to = [0, 1].map(|side: usize| {
            let address = |call: &Call| match SocketAddr::new(place.relay, call.ports[side]) {
                SocketAddr::V4(address) => kernel_address(address),
                SocketAddr::V6(_) => panic!("loopback here is IPv4"),
            };
            calls.iter().map(address).collect()
        });
        let all = packets as usize * calls.len();
        Run {
            ends,
            inbox: Inbox::new(),
            to,
            heard: Heard {
                sent_at: [vec![0; all], vec![0; all]],
                taken: [touched(all + all / 8), touched(all + all / 8)],
                late: Vec::with_capacity(packets as usize * SLOTS),
            },
        }
    }

    fn meta_sends(&mut self, speech: &Speech, number: u32, slot: usize) {
        let slot = (slot + SLOTS / 2) % SLOTS;
        self.send(0, number, slot, |_| speech.secured(number));
    }

    fn pbx_sends(&mut self, speech: &mut Speech, number: u32, slot: usize) {
        for call in (slot..self.to[1].len()).step_by(SLOTS) {
            speech.turn_to(call, number);
        }
        self.send(1, number, slot, |call| speech.plain(call));
    }

    fn send<'b>(
        &mut self,
        side: usize,
        number: u32,
        slot: usize,
        packet: impl Fn(usize) -> &'b [u8],
    ) {
        let calls = self.to[side].len();
        let mut batch = Vec::with_capacity(SENT_AT_ONCE);
        let mut first = slot;
        while first < calls {
            let chosen = (first..calls).step_by(SLOTS).take(SENT_AT_ONCE);
            batch.clear();
            batch.extend(
                chosen
                    .clone()
                    .map(|call| (self.to[side][call], packet(call))),
            );
            let begin = now();
            batch::send(&self.ends.sockets[side], &batch).expect("loopback takes it");
            let each = (now() - begin) / batch.len() as u64;
            for (nth, call) in chosen.enumerate() {
                let at = number as usize * calls + call;
                self.heard.sent_at[side][at] = begin + each * nth as u64;
            }
            first += SLOTS * SENT_AT_ONCE;
        }
    }

    fn take(&mut self) {
        for (socket, taken) in self.ends.sockets.iter().zip(&mut self.heard.taken) {
            let keep = |port, at, octets: &[u8; KEPT], length: usize| {
                taken.push(Taken {
                    at,
                    port,
                    length: length.min(255) as u8,
                    octets: *octets,
                });
            };
            self.inbox.take(socket, keep).expect("a socket");
        }
    }
}

/// Room whose pages the kernel has given already.
fn touched(packets: usize) -> Vec<Taken> {
    let empty = || Taken {
        at: 1,
        port: 1,
        length: 1,
        octets: [1; KEPT],
    };
    let mut room: Vec<Taken> = std::iter::repeat_with(empty).take(packets).collect();
    room.clear();
    room
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn sleep_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}
