//! The PBX: one UDP socket, and everybody answers at once. It repeats its 200 until it hears the ACK, as RFC 3261 asks.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::wire::Read;
use crate::far_ends::daemon::of_pbx;

/// The first pause before a 200 is repeated (T1).
pub const T1: Duration = Duration::from_millis(500);
/// The longest (T2).
const T2: Duration = Duration::from_secs(4);
/// Octets that the system may keep for us while calls come all at once.
const BUFFER: usize = 4 << 20;

/// The far end.
pub struct Pbx {
    socket: UdpSocket,
    program: SocketAddr,
    media: SocketAddr,
    legs: HashMap<u64, Leg>,
    readable: bool,
    /// The answer that is being written.
    text: String,
}

/// A call, as the PBX has it.
struct Leg {
    /// The 200, until its ACK.
    answer: Option<Box<str>>,
    offered: Option<Offered>,
}

/// What the bridge wants of media.
#[derive(Clone, Copy)]
pub struct Offered {
    /// Where.
    pub media: SocketAddr,
    /// Opus under which payload number.
    pub opus: u8,
}

/// What a datagram was.
pub enum Heard {
    /// A new call, whose answer is out; it may have to be repeated.
    Invited(u64),
    /// Whatever else.
    Else,
}

impl Pbx {
    /// One that speaks to the program there, with media at `media`.
    pub fn new(program: SocketAddr, media: SocketAddr) -> io::Result<Pbx> {
        let socket = UdpSocket::bind(of_pbx())?;
        SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        Ok(Pbx {
            socket,
            program,
            media,
            legs: HashMap::new(),
            readable: true,
            text: String::new(),
        })
    }

    /// Has a poll watch it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// The poll says that there may be more.
    pub fn wake(&mut self) {
        self.readable = true;
    }

    /// Whether there may be more to take.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Calls that it has been invited to and not told to end.
    pub fn up(&self) -> usize {
        self.legs.len()
    }

    /// What was offered in a call that is up.
    pub fn offered(&self, number: u64) -> Option<Offered> {
        self.legs.get(&number)?.offered
    }

    /// Takes a datagram, if there is one.
    pub fn take(&mut self) -> Option<Heard> {
        let mut buffer = [0; 8_192];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, _)) => Some(self.hear(&buffer[..length])),
            Err(_) => {
                self.readable = false;
                None
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) -> Heard {
        let message = Read::of(datagram).expect("it speaks SIP");
        let Some(number) = message.number_at_pbx() else {
            self.respond(message, None);
            return Heard::Else;
        };
        match message.method() {
            "INVITE" if self.legs.contains_key(&number) => {
                self.repeat(number);
                Heard::Else
            }
            "INVITE" => {
                self.respond(message, Some(self.media));
                let leg = Leg {
                    answer: Some(self.text.as_str().into()),
                    offered: offered(message),
                };
                self.legs.insert(number, leg);
                Heard::Invited(number)
            }
            "ACK" => {
                if let Some(leg) = self.legs.get_mut(&number) {
                    leg.answer = None;
                }
                Heard::Else
            }
            method => {
                if method == "BYE" {
                    self.legs.remove(&number);
                }
                self.respond(message, None);
                Heard::Else
            }
        }
    }

    /// Says 200; with a description of media that is there, if it has to have one.
    fn respond(&mut self, request: Read, media: Option<SocketAddr>) {
        self.text.clear();
        let written = write_answer(&mut self.text, request, media);
        written.expect("memory takes it");
        self.send(self.text.as_bytes());
    }

    /// Once more, after so long; gives when it is due again, unless it was acknowledged.
    pub fn again(&self, number: u64, pause: Duration) -> Option<Duration> {
        self.repeat(number).then(|| T2.min(2 * pause))
    }

    fn repeat(&self, number: u64) -> bool {
        let leg = self.legs.get(&number);
        let answer = leg.and_then(|leg| leg.answer.as_deref());
        if let Some(answer) = answer {
            self.send(answer.as_bytes());
        }
        answer.is_some()
    }

    fn send(&self, datagram: &[u8]) {
        // What the system cannot take is lost, as anywhere; a final response is repeated.
        let _ = self.socket.send_to(datagram, self.program);
    }
}

fn offered(invite: Read) -> Option<Offered> {
    Some(Offered {
        media: invite.media()?,
        opus: invite.opus()?.parse().ok()?,
    })
}

fn write_answer(text: &mut String, request: Read, media: Option<SocketAddr>) -> std::fmt::Result {
    text.push_str("SIP/2.0 200 OK\r\n");
    for via in request.all("Via") {
        write!(text, "Via: {via}\r\n")?;
    }
    for route in request.all("Record-Route") {
        write!(text, "Record-Route: {route}\r\n")?;
    }
    for name in ["From", "Call-ID", "CSeq"] {
        write!(text, "{name}: {}\r\n", request.header(name))?;
    }
    let to = request.header("To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=pbx" };
    write!(text, "To: {to}{tag}\r\n")?;
    let Some(media) = media else {
        return text.write_str("Content-Length: 0\r\n\r\n");
    };
    let (ip, port, opus) = (media.ip(), media.port(), request.opus().unwrap_or("111"));
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {opus}\r\n\
         a=rtpmap:{opus} opus/48000/2\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    write!(
        text,
        "Contact: <sip:100@{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        of_pbx(),
        body.len()
    )
}
