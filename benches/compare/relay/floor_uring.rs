//! The floor of what waits by io_uring: every socket receives for ever into buffers that all share, and what came goes to
//! the far end on the other side from where it lies. One system call a turn sends what the last one brought and waits for more.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fixed, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::batch::kernel_address;
use crate::served::{Far, bind_all};

/// Buffers that all sockets share; a power of two.
const BUFFERS: u16 = 4_096;
/// Octets of each: what the kernel says of a datagram, its sender, and a packet of speech.
const BUFFER: usize = 256;
/// Room for orders, and for what has come of them: every socket receives, and every buffer is sent.
const ORDERS: u32 = 8_192;
/// Marks the end of sending a buffer; without it, a socket has received.
const SENT: u64 = 1 << 63;

/// Carries so many calls until the process ends; `ready` is told the ports of each.
pub fn run(far: &Far, calls: usize, ready: impl FnOnce(&[[SocketAddr; 2]])) {
    let (pairs, ports) = bind_all(far, calls);
    let sockets: Vec<i32> = pairs.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    let mut floor = Floor::new(far, &sockets);
    for socket in 0..2 * calls as u64 {
        floor.receive(socket);
    }
    ready(&ports);
    loop {
        floor.turn();
    }
}

struct Floor {
    ring: IoUring,
    buffers: Buffers,
    /// What `recvmsg` is to fill in: the sender's address, as a relay must know it.
    wanted: Box<libc::msghdr>,
    far: Box<[libc::sockaddr_in; 2]>,
    /// Buffers on their way out.
    leaving: usize,
    /// What has come of orders, while a turn goes through it.
    done: Vec<cqueue::Entry>,
}

impl Floor {
    fn new(far: &Far, sockets: &[i32]) -> Floor {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_cqsize(4 * ORDERS)
            .build(ORDERS)
            .expect("the kernel gives a ring");
        if !sockets.is_empty() {
            let registered = ring.submitter().register_files(sockets);
            registered.expect("the ring takes the sockets");
        }
        let buffers = Buffers::new(&ring);
        // SAFETY: all of it is integers and pointers, for which zero is a value.
        let mut wanted: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        wanted.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
        let far = far.ends.map(|end| match end {
            SocketAddr::V4(end) => kernel_address(end),
            SocketAddr::V6(_) => panic!("loopback here is IPv4"),
        });
        Floor {
            ring,
            buffers,
            wanted,
            far: Box::new(far),
            leaving: 0,
            done: Vec::with_capacity(4 * ORDERS as usize),
        }
    }

    /// Has a socket receive until it says that it no longer does.
    fn receive(&mut self, socket: u64) {
        let order = opcode::RecvMsgMulti::new(Fixed(socket as u32), &*self.wanted, Buffers::GROUP);
        self.order(order.build().user_data(socket));
    }

    fn order(&mut self, order: squeue::Entry) {
        // SAFETY: what an order points to lives as long as the ring: `wanted` and `far` are boxes that are never replaced, and
        // a buffer is given back only when it has left.
        while unsafe { self.ring.submission().push(&order) }.is_err() {
            self.ring.submit().expect("the kernel takes orders");
        }
    }

    fn turn(&mut self) {
        // What leaves does so while it is ordered; so this waits until there is something beside.
        let enough = self.leaving.min(usize::from(BUFFERS)) + 1;
        self.ring.submit_and_wait(enough).expect("the ring turns");
        let mut all = mem::take(&mut self.done);
        all.extend(self.ring.completion());
        for done in all.drain(..) {
            self.settle(&done);
        }
        self.done = all;
        self.buffers.publish();
    }

    fn settle(&mut self, done: &cqueue::Entry) {
        if done.user_data() & SENT != 0 {
            self.leaving -= 1;
            self.buffers.give(done.user_data() as u16);
            return;
        }
        let socket = done.user_data();
        if let Some(buffer) = cqueue::buffer_select(done.flags()) {
            self.pass_on(socket, buffer, done.result());
        }
        if !cqueue::more(done.flags()) {
            self.receive(socket);
        }
    }

    fn pass_on(&mut self, socket: u64, buffer: u16, length: i32) {
        let length = usize::try_from(length).unwrap_or_default();
        let came = self.buffers.read(buffer, length);
        let Ok(came) = RecvMsgOut::parse(came, &self.wanted) else {
            self.buffers.give(buffer);
            return;
        };
        let payload = came.payload_data();
        let other = (socket ^ 1) as u32;
        let to = &self.far[other as usize % 2];
        let order = opcode::Send::new(Fixed(other), payload.as_ptr(), payload.len() as u32)
            .dest_addr(std::ptr::from_ref(to).cast())
            .dest_addr_len(mem::size_of::<libc::sockaddr_in>() as u32)
            .build()
            .user_data(SENT | u64::from(buffer));
        self.leaving += 1;
        self.order(order);
    }
}

/// The buffers, and the ring by which the kernel is given those that are free.
struct Buffers {
    ring: *mut BufRingEntry,
    all: *mut u8,
    tail: u16,
}

impl Buffers {
    const GROUP: u16 = 0;

    fn new(ring: &IoUring) -> Buffers {
        let entries = usize::from(BUFFERS) * mem::size_of::<BufRingEntry>();
        let mut buffers = Buffers {
            ring: pages(entries).cast(),
            all: pages(usize::from(BUFFERS) * BUFFER),
            tail: 0,
        };
        // SAFETY: the memory is of whole pages, as many octets as so many entries need, and is never freed.
        let registered = unsafe {
            let submitter = ring.submitter();
            submitter.register_buf_ring_with_flags(buffers.ring as u64, BUFFERS, Self::GROUP, 0)
        };
        registered.expect("the ring takes the buffers");
        (0..BUFFERS).for_each(|buffer| buffers.give(buffer));
        buffers.publish();
        buffers
    }

    /// What the kernel has put there.
    fn read(&self, buffer: u16, length: usize) -> &'static [u8] {
        let at = usize::from(buffer % BUFFERS) * BUFFER;
        // SAFETY: it is within the buffers, which are never freed, and the kernel writes there only after `give`.
        unsafe { std::slice::from_raw_parts(self.all.add(at), length.min(BUFFER)) }
    }

    /// It may be used again, after the next `publish`.
    fn give(&mut self, buffer: u16) {
        let at = usize::from(buffer % BUFFERS) * BUFFER;
        // SAFETY: the entry is within the ring, which only this thread writes, and the buffer within the buffers.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.all.add(at) as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: `ring` is where the ring begins; the kernel reads its tail by an atomic access as well.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Whole pages of zeroes, for as long as the process lives.
fn pages(octets: usize) -> *mut u8 {
    let layout = Layout::from_size_align(octets, 4_096).expect("a power of two");
    // SAFETY: the size is not zero.
    let pages = unsafe { alloc_zeroed(layout) };
    if pages.is_null() {
        handle_alloc_error(layout);
    }
    pages
}
