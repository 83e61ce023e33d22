//! Ports and sockets of one local address: bound in pairs, skipped where another program holds them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Type};

use super::OpenError;
use super::ports::{PortUse, Ports};
use super::settings::PortRange;

/// Octets the kernel may hold for a socket: half a second of a peer that sends in bursts, many times over. Linux
/// grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// The port range of one local address.
#[derive(Debug)]
pub(crate) struct Pool {
    address: IpAddr,
    range: PortRange,
    ports: Mutex<Ports>,
}

/// The sockets of one side. Dropping it closes them and lets their ports rest.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) rtp: UdpSocket,
    /// The next port, where asked for.
    pub(crate) rtcp: Option<UdpSocket>,
    /// Even port of the pair.
    pub(crate) port: u16,
    pub(crate) lease: Lease,
}

/// A pair of ports that nobody else gets until it is dropped and rested. Drop it after its sockets.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    port: u16,
}

impl Bound {
    /// Where RTP listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.lease.pool.address, self.port)
    }
}

impl Pool {
    /// A pool with all of `range` free.
    pub(crate) fn new(address: IpAddr, range: PortRange, rest: Duration) -> Arc<Pool> {
        Arc::new(Pool {
            address,
            range,
            ports: Mutex::new(Ports::new(range, rest)),
        })
    }

    /// The address whose ports these are.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// How much of the range is in use.
    pub(crate) fn usage(&self) -> PortUse {
        self.ports().usage(Instant::now())
    }

    /// Whether no call has a port of it, and none rests.
    pub(crate) fn is_idle(&self) -> bool {
        let usage = self.usage();
        usage.free() == usage.all
    }

    /// Binds RTP to a free even port and, if wanted, RTCP to the one above.
    pub(crate) fn bind(self: &Arc<Pool>, with_rtcp: bool) -> Result<Bound, OpenError> {
        // Each pair at most once: with a rest of zero, one that another program holds would come round for ever.
        for _ in self.range.pairs() {
            let Some(port) = self.ports().take(Instant::now()) else {
                break;
            };
            let lease = Lease {
                pool: self.clone(),
                port,
            };
            let bound = listen(self.address, port).and_then(|rtp| {
                let rtcp = with_rtcp
                    .then(|| listen(self.address, port + 1))
                    .transpose()?;
                Ok((rtp, rtcp))
            });
            match bound {
                Ok((rtp, rtcp)) => {
                    return Ok(Bound {
                        rtp,
                        rtcp,
                        port,
                        lease,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => {
                    return Err(OpenError::Socket {
                        address: self.address,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Err(OpenError::Exhausted {
            address: self.address,
            first: self.range.first(),
            last: self.range.last(),
        })
    }

    /// Ports are whole after every statement, so a panic elsewhere leaves nothing half done.
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.ports().give_back(self.port, Instant::now());
    }
}

fn listen(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // Less than wished for is no reason to refuse a call.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loopback address that a second run of these tests, at the same time, does not use.
    fn local() -> IpAddr {
        let [.., middle, low] = std::process::id().to_be_bytes();
        IpAddr::from([127, 64 | middle & 63, low, 9])
    }

    fn pool(first: u16, last: u16) -> Arc<Pool> {
        Pool::new(
            local(),
            PortRange::new(first, last).unwrap(),
            Duration::from_secs(3600),
        )
    }

    #[test]
    fn a_pair_that_another_program_holds_is_skipped() {
        let _other = UdpSocket::bind((local(), 20_001)).unwrap();
        let pool = pool(20_000, 20_003);
        let bound = pool.bind(true).unwrap();
        assert_eq!(bound.port, 20_002);
        assert_eq!(
            bound.rtcp.as_ref().unwrap().local_addr().unwrap().port(),
            20_003
        );
        assert!(matches!(
            pool.bind(true),
            Err(OpenError::Exhausted {
                first: 20_000,
                last: 20_003,
                ..
            })
        ));
    }

    #[test]
    fn ports_of_dropped_sockets_rest_and_then_serve_again() {
        let range = PortRange::new(20_010, 20_011).unwrap();
        let pool = Pool::new(local(), range, Duration::ZERO);
        let first = pool.bind(false).unwrap();
        assert!(pool.bind(false).is_err());
        drop(first);
        assert_eq!(pool.bind(false).unwrap().port, 20_010);
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_of_the_system() {
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        let pool = Pool::new(
            elsewhere,
            PortRange::new(20_000, 20_009).unwrap(),
            Duration::ZERO,
        );
        assert!(
            matches!(pool.bind(true), Err(OpenError::Socket { address, .. }) if address == elsewhere)
        );
    }
}
