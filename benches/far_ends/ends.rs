//! A Meta and a PBX on real sockets, which play one call after another and stamp what they see.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use wabridge::media::Codec;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::transport::tls::{self, Roots};
use wabridge::sip::{Limits, Message, Request, Response, build};

use super::daemon::{Daemon, HOSTNAME, for_meta, for_pbx, of_pbx, own_address};
use super::messages::{Caller, answer, media_of, read, request, response};

/// Whoever waits longer has lost a message, and the bench is void.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both far ends of a daemon.
pub struct FarEnds {
    meta: StreamOwned<ClientConnection, TcpStream>,
    framer: Framer,
    pbx: UdpSocket,
    /// Where Meta sends and gets media, for all calls.
    pub metas_media: UdpSocket,
    /// Where the PBX does.
    pub pbxs_media: UdpSocket,
    /// What the PBX speaks.
    codec: Codec,
    calls: u64,
}

/// A call that is up.
pub struct Up {
    caller: Caller,
    /// What Meta was answered.
    pub ok: Response,
    /// What the PBX was sent.
    pub offered: Request,
}

/// How long the bridge took, its own time alone: what the PBX takes to answer lies between the two.
#[derive(Clone, Copy)]
pub struct Took {
    /// From Meta's INVITE to the INVITE that the PBX gets.
    pub invite: Duration,
    /// From the PBX's 200 to the 200 that Meta gets.
    pub answer: Duration,
}

impl FarEnds {
    /// Connects to a daemon.
    pub fn of(daemon: &Daemon) -> FarEnds {
        let roots = Roots::only(vec![daemon.certificate.clone()]);
        let config = tls::client_config(&roots).expect("the daemon's certificate is good");
        let name = ServerName::try_from(HOSTNAME).expect("a name");
        let connection = ClientConnection::new(config, name).expect("a client");
        let stream = TcpStream::connect(for_meta()).expect("the daemon listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let bind = |address| {
            let socket = UdpSocket::bind(address).expect("the address is ours alone");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            socket
        };
        FarEnds {
            meta: StreamOwned::new(connection, stream),
            framer: Framer::new(Limits::default()),
            pbx: bind(of_pbx()),
            metas_media: bind((own_address(2), 3480).into()),
            pbxs_media: bind((own_address(3), 16_000).into()),
            codec: Codec::Opus,
            calls: 0,
        }
    }

    /// The same, with a PBX that speaks this codec.
    pub fn speaking(self, codec: Codec) -> FarEnds {
        FarEnds { codec, ..self }
    }

    /// Both ends of every call send a packet: `secured` the user, `plain` the PBX. The key of Meta's sample is every call's
    /// here, so one packet serves them all.
    pub fn speak(&self, up: &[Up], secured: &[u8], plain: &[u8]) {
        for call in up {
            let sent = [
                self.metas_media.send_to(secured, media_of(&call.ok.body)),
                self.pbxs_media.send_to(plain, media_of(&call.offered.body)),
            ];
            assert!(sent.iter().all(Result::is_ok), "loopback takes it");
        }
    }

    /// A user calls, and the PBX answers at once.
    pub fn call(&mut self) -> (Up, Took) {
        self.calls += 1;
        let media = self.metas_media.local_addr().expect("bound");
        let mut caller = Caller::new(self.calls, media);
        self.meta_sends(&caller.invite.to_bytes());
        let challenge = response(&self.meta_gets(), 407);
        self.meta_sends(&build::ack(&caller.invite, &challenge).to_bytes());
        caller.authenticate(&challenge);

        let bytes = caller.invite.to_bytes();
        let start = Instant::now();
        self.meta_sends(&bytes);
        let bytes = self.pbx_gets();
        let invite = start.elapsed();

        response(&self.meta_gets(), 100);
        let offered = request(&read(&bytes));
        let media = self.pbxs_media.local_addr().expect("bound");
        let bytes = answer(&offered, media, self.codec).to_bytes();
        let start = Instant::now();
        self.pbx_sends(&bytes);
        let bytes = self.meta_gets_bytes();
        let answer = start.elapsed();

        let ok = response(&read(&bytes), 200);
        let ack = request(&read(&self.pbx_gets()));
        assert_eq!(ack.method.to_string(), "ACK");
        self.meta_sends(&caller.ack(&ok).to_bytes());
        let up = Up {
            caller,
            ok,
            offered,
        };
        (up, Took { invite, answer })
    }

    /// The user hangs up.
    pub fn hang_up(&mut self, up: &Up) {
        self.meta_sends(&up.caller.bye(&up.ok).to_bytes());
        response(&self.meta_gets(), 200);
        let bye = request(&read(&self.pbx_gets()));
        assert_eq!(bye.method.to_string(), "BYE");
        self.pbx_sends(&build::response(&bye, 200, None).to_bytes());
    }

    fn meta_sends(&mut self, bytes: &[u8]) {
        self.meta.write_all(bytes).expect("the connection is up");
        self.meta.flush().expect("the connection is up");
    }

    fn meta_gets(&mut self) -> Message {
        read(&self.meta_gets_bytes())
    }

    fn meta_gets_bytes(&mut self) -> Vec<u8> {
        let mut buffer = [0; 16_384];
        loop {
            match self.framer.next_frame().expect("the bridge frames well") {
                Some(Frame::Message(bytes)) => return bytes,
                Some(Frame::Ping) => self.meta_sends(b"\r\n"),
                None => {
                    let length = self.meta.read(&mut buffer).expect("the bridge answers");
                    self.framer.push(&buffer[..length]);
                }
            }
        }
    }

    fn pbx_gets(&self) -> Vec<u8> {
        let mut buffer = vec![0; 16_384];
        let length = self.pbx.recv(&mut buffer).expect("the bridge speaks");
        buffer.truncate(length);
        buffer
    }

    fn pbx_sends(&self, bytes: &[u8]) {
        self.pbx
            .send_to(bytes, for_pbx())
            .expect("loopback takes it");
    }
}
