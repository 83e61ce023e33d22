//! Datagrams in batches, with the kernel's own time of arrival: `sendmmsg` and `recvmmsg`, which the standard library lacks.
//!
//! The generator has one core for the far ends of a thousand calls, so it can spend about a microsecond on a packet.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams sent by one system call. Few, because their times of leaving are reckoned between its begin and its end.
pub const SENT_AT_ONCE: usize = 8;
/// Datagrams taken by one system call.
const TAKEN_AT_ONCE: usize = 64;
/// Octets kept of a datagram: an RTP packet of speech with an SRTP tag needs 82.
pub const KEPT: usize = 96;

/// An address as the kernel reads it.
pub fn kernel_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// Sends at most [`SENT_AT_ONCE`] datagrams; all of them, or the run is void.
pub fn send(socket: &UdpSocket, batch: &[(libc::sockaddr_in, &[u8])]) -> io::Result<()> {
    assert!(batch.len() <= SENT_AT_ONCE);
    let mut parts = [const { empty_part() }; SENT_AT_ONCE];
    let mut headers = [const { empty_header() }; SENT_AT_ONCE];
    for (((to, packet), part), header) in batch.iter().zip(&mut parts).zip(&mut headers) {
        part.iov_base = packet.as_ptr().cast_mut().cast();
        part.iov_len = packet.len();
        header.msg_hdr.msg_name = ptr::from_ref(to).cast_mut().cast();
        header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `batch.len()` headers point to addresses, parts and packets that outlive the call, each of the
    // length that is told; a call that sends writes to none of them but `msg_len`, which is in `headers`.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            batch.len() as u32,
            0,
        )
    };
    match usize::try_from(sent) {
        Ok(sent) if sent == batch.len() => Ok(()),
        Ok(_) => Err(io::Error::other("the kernel took a part of a batch")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Makes the kernel note when each datagram came, and keep many: nothing may be lost on the generator's side.
pub fn prepare(socket: &UdpSocket, buffer: i32) -> io::Result<()> {
    set(socket, libc::SO_TIMESTAMPNS, 1)?;
    // The first needs the right to, the second stops at the system's limit.
    set(socket, libc::SO_RCVBUFFORCE, buffer).or_else(|_| set(socket, libc::SO_RCVBUF, buffer))
}

fn set(socket: &UdpSocket, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int, as these options have it, and its length is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&value).cast(),
            mem::size_of::<i32>() as u32,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Room for what one system call takes.
pub struct Inbox {
    packets: Box<[[u8; KEPT]; TAKEN_AT_ONCE]>,
    controls: Box<[Control; TAKEN_AT_ONCE]>,
}

/// Room for a time of arrival, aligned as its header must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Inbox {
    /// Empty room.
    pub fn new() -> Inbox {
        Inbox {
            packets: Box::new([[0; KEPT]; TAKEN_AT_ONCE]),
            controls: Box::new([Control([0; 64]); TAKEN_AT_ONCE]),
        }
    }

    /// Takes what a socket has, without waiting: from which port of its sender, when it came (nanoseconds since 1970), and
    /// its first octets.
    pub fn take(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(u16, u64, &[u8; KEPT], usize),
    ) -> io::Result<()> {
        loop {
            let mut from =
                [kernel_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); TAKEN_AT_ONCE];
            let mut parts = [const { empty_part() }; TAKEN_AT_ONCE];
            let mut headers = [const { empty_header() }; TAKEN_AT_ONCE];
            for (at, (header, part)) in headers.iter_mut().zip(&mut parts).enumerate() {
                part.iov_base = self.packets[at].as_mut_ptr().cast();
                part.iov_len = KEPT;
                header.msg_hdr.msg_name = ptr::from_mut(&mut from[at]).cast();
                header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = self.controls[at].0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = mem::size_of::<Control>();
            }
            // SAFETY: every header points to room of the length that is told, which nobody else uses until the call ends.
            let taken = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    TAKEN_AT_ONCE as u32,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            let Ok(taken) = usize::try_from(taken) else {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(()),
                    _ => Err(error),
                };
            };
            for (at, header) in headers[..taken].iter().enumerate() {
                let came = came(&header.msg_hdr).unwrap_or_default();
                let port = u16::from_be(from[at].sin_port);
                each(port, came, &self.packets[at], header.msg_len as usize);
            }
            if taken < TAKEN_AT_ONCE {
                return Ok(());
            }
        }
    }
}

/// When a datagram came, as the kernel says.
fn came(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has filled in `header` and the room for control messages it points to, which is alive and aligned;
    // the first message is read only if it is there whole, and a timespec follows where its type says so.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header).as_ref()?;
        if (message.cmsg_level, message.cmsg_type) != (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) {
            return None;
        }
        let time: libc::timespec = libc::CMSG_DATA(message)
            .cast::<libc::timespec>()
            .read_unaligned();
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
}

const fn empty_part() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }
}

const fn empty_header() -> libc::mmsghdr {
    // SAFETY: all of it is integers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}
