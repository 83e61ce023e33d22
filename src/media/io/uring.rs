//! Datagrams by io_uring: one system call takes all that came, sends all that goes, and waits.
//!
//! ```text
//!   each socket      one request that stands (multishot recvmsg): a completion for each datagram
//!   receiving        the kernel picks a buffer from a ring of ours, and gets it back when the datagram has been read
//!   sending          a request for each datagram, from a slot of ours that is free again at its completion
//!   the waker        one request that stands (multishot poll)
//! ```
//!
//! Linux 6.1 has all of it; whoever is refused by kernel or sandbox hears so from [`Uring::new`].
//!
//! What the kernel may touch is in [`Shared`]: it never moves, and lives until the kernel has let go of all of it.

// io_uring works on memory that the kernel is told of by its address. Each block says why it may.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::{Backend, Event, Sockets, Token, Waker};

/// Requests that are handed over in one system call.
const REQUESTS: u32 = 256;
/// Completions that may wait for us; what is beyond that waits in the kernel.
const COMPLETIONS: u32 = 4096;
/// Buffers for what comes. A power of two; few enough to stay in the processor's cache.
const BUFFERS: u16 = 256;
/// Octets in one: what the kernel says of a datagram and its sender, and a datagram that is larger than any link between
/// us and a peer carries in one piece. Of one that is larger still nothing is left.
const BUFFER: usize = 2048;
/// Slots for what goes.
const SLOTS: usize = REQUESTS as usize;
/// Octets in one; a larger datagram goes by a system call of its own, as do those of sockets beyond [`KNOWN`].
const SLOT: usize = 1536;
/// Times that the kernel is asked, at an end, for what it has not completed.
const LAST_TURNS: usize = 1000;
/// Sockets that the ring itself knows, by their tokens, as far as the limit of open files allows: that spares the kernel
/// looking one up for each packet that goes.
const KNOWN: [u32; 3] = [16_384, 4096, 1024];
/// The group of our buffers; there is no other.
const GROUP: u16 = 0;
/// Entries of the ring of buffers in a page of memory.
const PAGE: usize = 4096 / size_of::<BufRingEntry>();

/// What a completion is about, in the highest octet of its number.
const RECEIVE: u64 = 1 << 56;
const SEND: u64 = 2 << 56;
const WAKE: u64 = 3 << 56;
const KIND: u64 = 0xff << 56;

/// Sockets watched by a ring.
pub(super) struct Uring {
    ring: IoUring,
    waker: Waker,
    sockets: Sockets,
    /// Tokens below this one are those of sockets that the ring knows.
    known: u32,
    /// How often the socket of each token was closed: what was told of one is not told of the next.
    generations: Vec<u8>,
    /// Sockets whose standing request has ended, and is to be made anew.
    ended: Vec<Token>,
    wake_ended: bool,
    /// The waker was used since the last wait.
    woken: bool,
    /// The standing request whose end is waited for.
    closing: Option<u64>,
    completed: VecDeque<Completion>,
    /// The buffer of the last event, and where in it the datagram is.
    current: Option<(u16, std::ops::Range<usize>)>,
    free: Vec<u16>,
    /// Requests of ours that the kernel has not completed, standing ones included.
    under_way: usize,
    /// Datagrams of which no completion was seen.
    going: usize,
    /// Where the ring of buffers goes on.
    tail: u16,
    shared: ManuallyDrop<Box<Shared>>,
}

/// A completion, taken out of the kernel's queue.
#[derive(Clone, Copy)]
struct Completion {
    number: u64,
    result: i32,
    flags: u32,
}

/// What the kernel reads and writes while requests are under way.
struct Shared {
    /// The ring of buffers: pages, as the kernel wants it.
    entries: Vec<Page>,
    buffers: Vec<u8>,
    slots: Vec<Slot>,
    /// How every datagram is to be received.
    receive: libc::msghdr,
}

#[repr(C, align(4096))]
struct Page([BufRingEntry; PAGE]);

/// A datagram on its way out.
struct Slot {
    octets: [u8; SLOT],
    to: SockAddr,
    token: Token,
    generation: u8,
}

// SAFETY: the pointers in it are into its own heap memory, and only the thread that has it uses them.
unsafe impl Send for Uring {}

impl Uring {
    /// No sockets yet.
    ///
    /// # Errors
    /// Where kernel, sandbox or administrator do not allow it; the text says which call was refused.
    pub(super) fn new(waker: Waker) -> io::Result<Uring> {
        let refused = |what: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("{what} was refused: {error}"))
        };
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // The thread that will use it enables it.
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .build(REQUESTS)
            .map_err(|error| refused("io_uring_setup", error))?;
        let mut shared = Shared::new();
        let entries = shared.entries.as_mut_ptr() as u64;
        // SAFETY: the memory is page-aligned, of that many entries, and stays where it is until the ring is gone.
        unsafe {
            let submitter = ring.submitter();
            submitter.register_buf_ring_with_flags(entries, BUFFERS, GROUP, 0)
        }
        .map_err(|error| refused("a ring of buffers for io_uring", error))?;
        let submitter = ring.submitter();
        let known = KNOWN
            .into_iter()
            .find(|&most| submitter.register_files_sparse(most).is_ok());
        let mut uring = Uring {
            ring,
            waker,
            sockets: Sockets::default(),
            known: known.unwrap_or(0),
            generations: Vec::new(),
            ended: Vec::new(),
            wake_ended: true,
            woken: false,
            closing: None,
            completed: VecDeque::with_capacity(COMPLETIONS as usize),
            current: None,
            free: (0..SLOTS as u16).collect(),
            under_way: 0,
            going: 0,
            tail: 0,
            shared: ManuallyDrop::new(shared),
        };
        (0..BUFFERS).for_each(|buffer| uring.give_back(buffer));
        Ok(uring)
    }

    /// Lets the kernel have a buffer.
    fn give_back(&mut self, buffer: u16) {
        let at = usize::from(self.tail % BUFFERS);
        let address = self.shared.buffers[usize::from(buffer) * BUFFER..].as_mut_ptr() as u64;
        let entry = &mut self.shared.entries[at / PAGE].0[at % PAGE];
        entry.set_addr(address);
        entry.set_len(BUFFER as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        let first: *const BufRingEntry = self.shared.entries.as_ptr().cast();
        // SAFETY: it is the first entry of the ring. The kernel only reads the tail, which shares an entry with a field that
        // is not used otherwise, and reads it as an atomic of this size.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Queues a request; hands over those before it where there is no room.
    fn request(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: all that our requests point to is in `shared`, and a slot is not used again before its completion.
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit()?;
            // SAFETY: as above.
            let queued = unsafe { self.ring.submission().push(entry) };
            queued.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        }
        self.under_way += 1;
        Ok(())
    }

    /// Hands over what is queued. Where the kernel wants its completions read first, they are.
    fn submit(&mut self) -> io::Result<()> {
        while let Err(error) = self.ring.submit() {
            if !is_passing(&error) {
                return Err(error);
            }
            if self.collect() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Has a socket tell of its datagrams, until it says that it has ended.
    fn receive(&mut self, token: Token) -> io::Result<()> {
        let Some(socket) = self.sockets.get(token) else {
            return Ok(());
        };
        let message: *const libc::msghdr = &self.shared.receive;
        // Not as one that the ring knows: before Linux 6.13 a request that stands would keep every socket open that the ring was
        // told to forget after it.
        let request = opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), message, GROUP)
            .build()
            .user_data(self.number(token));
        self.request(&request)
    }

    /// Whether the ring knows the socket of that name.
    fn known(&self, token: Token) -> bool {
        token.0 < self.known
    }

    /// Has the ring know a socket by its token, or, with none, no more.
    fn know(&self, token: Token, socket: Option<&UdpSocket>) -> io::Result<()> {
        if self.known(token) {
            let socket = socket.map_or(-1, AsRawFd::as_raw_fd);
            let submitter = self.ring.submitter();
            submitter.register_files_update(token.0, &[socket])?;
        }
        Ok(())
    }

    /// The number of a standing request: its socket, and which of those that had the token it is.
    fn number(&self, token: Token) -> u64 {
        RECEIVE | u64::from(self.generation(token)) << 32 | u64::from(token.0)
    }

    fn generation(&self, token: Token) -> u8 {
        let generation = self.generations.get(token.0 as usize);
        generation.copied().unwrap_or_default()
    }

    /// Makes standing requests that have ended anew.
    fn stand(&mut self) -> io::Result<()> {
        if self.wake_ended {
            let poll = opcode::PollAdd::new(Fd(self.waker.as_raw_fd()), libc::POLLIN as u32);
            self.request(&poll.multi(true).build().user_data(WAKE))?;
            self.wake_ended = false;
        }
        while let Some(&token) = self.ended.last() {
            self.receive(token)?;
            self.ended.pop();
        }
        Ok(())
    }

    /// Hands over what is queued, lets the kernel do what it has put off, and waits until something has happened, or so long.
    fn enter(&mut self, patience: Option<Duration>) -> io::Result<()> {
        // Datagrams that go are gone when they are handed over: theirs are not the completions to wait for.
        let wanted = 1 + self.going;
        let until = patience.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(until) = &until {
            arguments = arguments.timespec(until);
        }
        match self.ring.submitter().submit_with_args(wanted, &arguments) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        self.collect();
        Ok(())
    }

    /// Takes the completions, and frees what datagrams that are gone held; how many there were.
    fn collect(&mut self) -> usize {
        let mut count = 0;
        for entry in self.ring.completion() {
            count += 1;
            let completion = Completion {
                number: entry.user_data(),
                result: entry.result(),
                flags: entry.flags(),
            };
            if !cqueue::more(completion.flags) {
                self.under_way = self.under_way.saturating_sub(1);
                self.closing.take_if(|number| *number == completion.number);
            }
            let kind = completion.number & KIND;
            self.going -= usize::from(kind == SEND).min(self.going);
            match kind {
                SEND if completion.result >= 0 => self.free.push(completion.number as u16),
                WAKE => {
                    // Before anybody looks for what it was used for: using it once more is heard again.
                    self.waker.reset();
                    self.woken = true;
                    self.wake_ended |= !cqueue::more(completion.flags);
                }
                _ => self.completed.push_back(completion),
            }
        }
        count
    }

    fn told(&mut self, completion: Completion) -> Option<Event> {
        let ended = !cqueue::more(completion.flags);
        match completion.number & KIND {
            SEND => {
                let number = completion.number as u16;
                self.free.push(number);
                let slot = self.shared.slots.get(usize::from(number))?;
                let current = self.generation(slot.token) == slot.generation;
                current.then_some(Event::Unsent(slot.token))
            }
            _ => {
                let buffer = cqueue::buffer_select(completion.flags);
                let token = Token(completion.number as u32);
                let current = completion.number == self.number(token);
                if ended && current && self.sockets.get(token).is_some() {
                    self.ended.push(token);
                }
                let from = buffer.and_then(|buffer| self.read(buffer, completion.result));
                match from.filter(|_| current) {
                    Some(from) => Some(Event::Arrived(token, from)),
                    None => {
                        self.release();
                        None
                    }
                }
            }
        }
    }

    /// Makes a buffer the current one; who sent the datagram in it. Of one that did not fit nothing is left.
    fn read(&mut self, buffer: u16, length: i32) -> Option<SocketAddr> {
        let start = usize::from(buffer) * BUFFER;
        self.current = Some((buffer, 0..0));
        let length = usize::try_from(length).ok()?;
        let octets = self.shared.buffers.get(start..start + length)?;
        let out = RecvMsgOut::parse(octets, &self.shared.receive).ok()?;
        let from = address(out.name_data())?;
        let whole = out.flags() & libc::MSG_TRUNC as u32 == 0;
        let datagram = if whole { out.payload_data().len() } else { 0 };
        let end = start + length;
        self.current = Some((buffer, end - datagram..end));
        Some(from)
    }

    /// The current buffer has been read.
    fn release(&mut self) {
        if let Some((buffer, _)) = self.current.take() {
            self.give_back(buffer);
        }
    }

    /// A free slot; where all are under way, those that are done are looked for once.
    fn slot(&mut self) -> Option<u16> {
        if self.free.is_empty() {
            self.enter(Some(Duration::ZERO)).ok()?;
        }
        self.free.pop()
    }
}

impl Backend for Uring {
    fn begin(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()
    }

    fn watch(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let at = token.0 as usize;
        if self.generations.len() <= at {
            self.generations.resize(at + 1, 0);
        }
        self.know(token, Some(&socket))?;
        self.sockets.put(token, socket);
        self.receive(token).inspect_err(|_| self.close(token))
    }

    fn close(&mut self, token: Token) {
        let Some(socket) = self.sockets.take(token) else {
            return;
        };
        self.ended.retain(|ended| *ended != token);
        let number = self.number(token);
        // What is queued for it goes out first, its standing request among it, which could not be found before. The kernel
        // holds the socket until it has put the end of that request among the completions.
        self.closing = Some(number);
        let cancelled = self.submit().and_then(|()| {
            let submitter = self.ring.submitter();
            submitter.register_sync_cancel(None, CancelBuilder::user_data(number))
        });
        drop(socket);
        let mut ended = self.know(token, None).and(cancelled);
        for _ in 0..LAST_TURNS {
            if ended.is_err() || self.closing.is_none() {
                break;
            }
            ended = self.enter(Some(Duration::ZERO));
        }
        self.closing = None;
        // Of what it has told nobody has to hear.
        let generation = &mut self.generations[token.0 as usize];
        *generation = generation.wrapping_add(1);
        match ended {
            // It had ended by itself, and was not made anew yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                %error,
                "io_uring keeps a socket of a session that has ended: its port stays in use"
            ),
            Ok(()) => {}
        }
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.sockets.get(token)
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.release();
        // What finds no room now does so in the next turn.
        match self.stand() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let patience = match self.completed.is_empty() && !self.woken {
            true => patience,
            false => Some(Duration::ZERO),
        };
        self.enter(patience)?;
        self.woken = false;
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        self.release();
        loop {
            let completion = self.completed.pop_front()?;
            if let Some(event) = self.told(completion) {
                return Some(event);
            }
        }
    }

    fn octets(&self) -> &[u8] {
        let (_, range) = self.current.as_ref().cloned().unwrap_or_default();
        self.shared.buffers.get(range).unwrap_or_default()
    }

    fn send(&mut self, token: Token, to: SocketAddr, octets: &[u8]) -> bool {
        if self.sockets.get(token).is_none() {
            return false;
        }
        let fits = octets.len() <= SLOT && self.known(token);
        let Some(number) = fits.then(|| self.slot()).flatten() else {
            // After what is queued, so that nothing overtakes.
            let _ = self.submit();
            let socket = self.sockets.get(token);
            return socket.is_some_and(|socket| socket.send_to(octets, to).is_ok());
        };
        let generation = self.generation(token);
        let slot = &mut self.shared.slots[usize::from(number)];
        slot.octets[..octets.len()].copy_from_slice(octets);
        slot.to = SockAddr::from(to);
        (slot.token, slot.generation) = (token, generation);
        let request = opcode::Send::new(Fixed(token.0), slot.octets.as_ptr(), octets.len() as u32)
            .dest_addr(slot.to.as_ptr().cast())
            .dest_addr_len(slot.to.len())
            // What the socket has no room for is lost, as it would be on the way: it must not wait there.
            .flags(libc::MSG_DONTWAIT)
            .build()
            .user_data(SEND | u64::from(number));
        let queued = self.request(&request).is_ok();
        match queued {
            true => self.going += 1,
            false => self.free.push(number),
        }
        queued
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // What stands is told to end. Where the kernel does not let go, its memory is left to it.
        let _ = self.submit();
        let _ = self
            .ring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        for _ in 0..LAST_TURNS {
            if self.under_way == 0 || self.enter(Some(Duration::from_millis(1))).is_err() {
                break;
            }
            self.completed.clear();
        }
        let unregistered = self.ring.submitter().unregister_buf_ring(GROUP);
        if self.under_way == 0 && unregistered.is_ok() {
            // SAFETY: it is not used again, and the kernel has let go of it.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}

impl Shared {
    fn new() -> Box<Shared> {
        // SAFETY: a message without address, parts and control data is all zeros.
        let mut receive: libc::msghdr = unsafe { std::mem::zeroed() };
        receive.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        let blank = || Slot {
            octets: [0; SLOT],
            to: SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            token: Token(0),
            generation: 0,
        };
        let pages = usize::from(BUFFERS).div_ceil(PAGE);
        Box::new(Shared {
            // SAFETY: an entry is three numbers, which may all be 0.
            entries: (0..pages).map(|_| unsafe { std::mem::zeroed() }).collect(),
            buffers: vec![0; usize::from(BUFFERS) * BUFFER],
            slots: (0..SLOTS).map(|_| blank()).collect(),
            receive,
        })
    }
}

/// Time is over, a signal has come, or the kernel wants its completions read first.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
    )
}

/// An address as the kernel writes it: family, port, address, and for IPv6 flow and scope between and after.
fn address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let address: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some((Ipv4Addr::from(address), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*name.get(4..)?.first_chunk()?);
            let address: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port, flow, scope).into())
        }
        _ => None,
    }
}
