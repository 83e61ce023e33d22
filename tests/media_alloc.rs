//! The packet path allocates nothing once its buffers have grown: counted, over real sockets.

// A global allocator cannot be written without; this one only counts and passes on.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wabridge::leg::Leg;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::srtp::Sender;
use wabridge::media::{
    Codec, Command, Count, Direction, Engine, Io, Length, MasterKey, Payload, Plane, Security,
    Settings, SideSpec, Source, SrtpKeys, SrtpProfile,
};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Set on the engine's thread alone: the test harness allocates when it likes.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn own_address(host: u8) -> IpAddr {
    let [.., middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 64 | middle & 63, low, host])
}

/// Octets of a tag.
const TAG: usize = 10;

/// A far end.
struct Phone {
    socket: UdpSocket,
    /// Where keys were agreed, it protects what it sends.
    sender: Option<Sender>,
}

fn phone(host: u8, keys: Option<&SrtpKeys>) -> (Phone, SideSpec) {
    let socket = UdpSocket::bind((own_address(host), 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let payload = Payload {
        number: 111,
        codec: Codec::Opus,
    };
    let side = SideSpec {
        remote_rtp: socket.local_addr().unwrap(),
        remote_rtcp: None,
        send: vec![payload],
        receive: vec![payload],
        security: keys.cloned().map_or(Security::Plain, Security::Sdes),
        source: Source::Negotiated,
        direction: Direction::SendRecv,
        ptime: wabridge::sdp::FRAME,
        tones: false,
        extended_reports: Default::default(),
    };
    let sender = keys.map(|keys| Sender::new(keys.profile, &keys.receive).unwrap());
    (Phone { socket, sender }, side)
}

/// Octets of the next datagram. The end of a ring of io_uring, which the kernel takes apart when it has time, interrupts the
/// thread that made it.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap().0,
        }
    }
}

/// Sends numbered frames one way and waits for each at the far end.
fn relay(from: &mut Phone, bridge: SocketAddr, to: &Phone, seqs: std::ops::Range<u16>) {
    let (mut packet, mut sealed, mut buffer) = (Vec::new(), Vec::new(), [0; 2000]);
    for seq in seqs {
        let timestamp = Timestamp(u32::from(seq) * 960);
        let header = Header {
            marker: false,
            payload_type: 111,
            seq: Seq(seq),
            timestamp,
            ssrc: Ssrc(7),
        };
        header.write(&[0x48; 60], &mut packet);
        let expected = packet.len() + to.sender.as_ref().map_or(0, |_| TAG);
        if let Some(sender) = &mut from.sender {
            sender.protect_rtp(&packet, &mut sealed).unwrap();
            std::mem::swap(&mut packet, &mut sealed);
        }
        from.socket.send_to(&packet, bridge).unwrap();
        // Reports and silence of the bridge's own are read over.
        while receive(&to.socket, &mut buffer) != expected {}
    }
}

#[test]
fn relaying_allocates_nothing_with_keys_or_without() {
    let keys = SrtpKeys {
        profile: SrtpProfile::AesCm128HmacSha1_80,
        send: MasterKey(vec![1; 30]),
        receive: MasterKey(vec![2; 30]),
    };
    for io in [Io::Uring, Io::Epoll] {
        relays_without_allocating(io, None);
        relays_without_allocating(io, Some(&keys));
    }
}

/// RTP towards the PBX; with keys, SRTP towards Meta.
fn relays_without_allocating(io: Io, keys: Option<&SrtpKeys>) {
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(2),
        workers: 1,
        io,
        ..Settings::default()
    };
    let (tell, told) = mpsc::channel();
    let mut engine = Engine::start(&settings, move |_| {
        COUNTED.set(true);
        let _ = tell.send(());
    })
    .unwrap();
    // The end of a first session is told on the thread that is to be counted.
    let first = engine.open(own_address(2).into()).unwrap();
    engine.close(first.id);
    told.recv().unwrap();
    let opened = engine.open(own_address(2).into()).unwrap();
    let ((mut meta, meta_side), (mut pbx, pbx_side)) = (phone(3, keys), phone(4, None));
    for (leg, side) in [(Leg::Pbx, pbx_side), (Leg::Meta, meta_side)] {
        engine.command(opened.id, Command::Agree { leg, side });
        engine.command(opened.id, Command::Start { leg });
    }
    // Our first frame shows that both agreements have arrived.
    receive(&meta.socket, &mut [0; 2000]);
    relay(&mut pbx, opened.pbx.rtp, &meta, 0..100);
    relay(&mut meta, opened.meta.rtp, &pbx, 0..100);

    assert_ne!(
        ALLOCATIONS.load(Ordering::Relaxed),
        0,
        "the buffers have grown, so counting works"
    );
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    relay(&mut pbx, opened.pbx.rtp, &meta, 100..2_100);
    relay(&mut meta, opened.meta.rtp, &pbx, 100..2_100);
    // Nor does it cost any to be summed up while the session is up, for whoever asks.
    let (sums, until) = (engine.handle(), Instant::now() + Duration::from_secs(10));
    for leg in [Leg::Meta, Leg::Pbx] {
        while sums.carried(leg, Count::Received) < 2_100 {
            assert!(Instant::now() < until, "{leg} is not summed up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(
        ALLOCATIONS.load(Ordering::Relaxed) - before,
        0,
        "in 4000 packets"
    );

    // Of a call that is recorded, the tape alone: once it is full, its oldest piece is used again.
    let (seconds, base) = (1, Instant::now());
    sums.record(opened.id, Some(Length { base, seconds }));
    let most = Length::octets(seconds) / 60;
    let lap = 2_100..2_100 + u16::try_from(most).unwrap();
    relay(&mut pbx, opened.pbx.rtp, &meta, lap.clone());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let lap = lap.end..lap.end + u16::try_from(most).unwrap();
    relay(&mut pbx, opened.pbx.rtp, &meta, lap.clone());
    assert_eq!(
        ALLOCATIONS.load(Ordering::Relaxed) - before,
        0,
        "in {lap:?} on a full tape"
    );
    let (give, given) = mpsc::channel();
    sums.read(opened.id, move |recording| drop(give.send(recording)));
    let recording = given.recv().unwrap();
    assert!(recording.octets() <= Length::octets(seconds));
    assert!(recording.packets().count() > 100, "it was recorded");
}
