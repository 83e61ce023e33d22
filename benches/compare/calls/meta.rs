//! Meta's connection: one, under TLS, which never waits.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use wabridge::sip::Limits;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::transport::tls::{self, Roots};

use crate::far_ends::daemon::{HOSTNAME, own_address};

/// An open connection to the program under test.
pub struct Meta {
    tls: ClientConnection,
    stream: TcpStream,
    framer: Framer,
    /// Octets may be there to read.
    readable: bool,
}

impl Meta {
    /// Connects, from Meta's address.
    pub fn connect(to: SocketAddr, certificate: &CertificateDer<'static>) -> io::Result<Meta> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(own_address(2), 0).into())?;
        socket.connect(&to.into())?;
        socket.set_tcp_nodelay(true)?;
        let mut stream = std::net::TcpStream::from(socket);
        let roots = Roots::only(vec![certificate.clone()]);
        let config = tls::client_config(&roots).map_err(io::Error::other)?;
        let name = ServerName::try_from(HOSTNAME).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        // What the other end does not take in time waits here: calls start by the clock.
        tls.set_buffer_limit(None);
        stream.set_nonblocking(true)?;
        Ok(Meta {
            tls,
            stream: TcpStream::from_std(stream),
            framer: Framer::new(Limits::default()),
            readable: true,
        })
    }

    /// Has a poll watch it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut self.stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    /// The poll says that there may be more.
    pub fn wake(&mut self) {
        self.readable = true;
    }

    /// Whether there may be more to take.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// A message, to go with the next flush.
    pub fn send(&mut self, message: &[u8]) {
        let sent = self.tls.writer().write_all(message);
        sent.expect("there is no limit");
    }

    /// Hands the system what it takes.
    pub fn flush(&mut self) {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("the program under test has closed its connection: {error}"),
            }
        }
    }

    /// Reads once, and gives whole messages.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        match self.tls.read_tls(&mut self.stream) {
            Ok(0) => panic!("the program under test has closed its connection"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Vec::new();
            }
            Err(error) => panic!("the program under test has closed its connection: {error}"),
        }
        let state = self.tls.process_new_packets().expect("it speaks TLS");
        let mut octets = vec![0; state.plaintext_bytes_to_read()];
        let read = self.tls.reader().read_exact(&mut octets);
        read.expect("so many are there");
        self.framer.push(&octets);
        let mut messages = Vec::new();
        while let Some(frame) = self.framer.next_frame().expect("it frames well") {
            match frame {
                Frame::Message(message) => messages.push(message),
                Frame::Ping => self.send(b"\r\n"),
            }
        }
        messages
    }
}
