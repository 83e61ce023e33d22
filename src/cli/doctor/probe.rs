//! Questions over the network, each bounded in time: a connection, a TLS handshake, a SIP request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::sip::framing::{Frame, Framer};
use crate::sip::message::Message;
use crate::sip::token::Tokens;
use crate::sip::transport::tls;
use crate::sip::{Limits, Method, NameAddr, Request, Response, SipUri, Via};

/// Longest time for one question and its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// A request over UDP is repeated after these times (RFC 3261 §17.1.2.2); then it gets no answer.
const REPETITIONS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The addresses of a name, or why there is none.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let lookup = timeout(PATIENCE, tokio::net::lookup_host((host, port)));
    match lookup.await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the name servers do not answer".into()),
    }
}

/// A connection; `TimedOut` if nobody answers.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A TLS handshake with somebody of this name, or why there is none.
pub async fn shake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: &str,
) -> Result<TlsStream<TcpStream>, String> {
    let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(config).connect(server, stream);
    match timeout(PATIENCE, handshake).await {
        Ok(outcome) => outcome.map_err(|error| tls::explain(&error, name)),
        Err(_) => Err("the connection stands, and no TLS comes back".into()),
    }
}

/// A request that starts a dialog with nobody, from `ours`, complete but for a body.
pub fn request(
    method: Method,
    to: SipUri,
    from: SipUri,
    transport: &str,
    ours: SocketAddr,
) -> Request {
    let mut tokens = Tokens::system();
    let via = Via::new(
        transport,
        &bracketed(ours.ip()),
        ours.port(),
        &tokens.branch(),
    );
    let contact = SipUri::new(Some("doctor"), &bracketed(ours.ip())).with_port(ours.port());
    let mut request = Request::new(method.clone(), to.clone());
    for (name, value) in [
        ("Via", format!("{via};rport")),
        ("Max-Forwards", "70".into()),
        (
            "From",
            format!("{};tag={}", NameAddr::new(from), tokens.tag()),
        ),
        ("To", NameAddr::new(to).to_string()),
        ("Call-ID", tokens.call_id()),
        ("CSeq", format!("1 {method}")),
        ("Contact", NameAddr::new(contact).to_string()),
        ("User-Agent", "wabridge doctor".into()),
    ] {
        request.headers.push(name, value);
    }
    request
}

/// Our own name in a URI.
pub fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The final answer that comes back on a stream, or why there is none.
pub async fn ask<S>(stream: &mut S, request: &Request) -> Result<Response, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = async {
        let written = async {
            stream.write_all(&request.to_bytes()).await?;
            stream.flush().await
        };
        written.await.map_err(|error| error.to_string())?;
        let mut framer = Framer::new(Limits::default());
        let mut octets = [0; 4096];
        loop {
            while let Some(frame) = framer.next_frame().map_err(|lost| lost.to_string())? {
                if let Frame::Message(message) = frame
                    && let Some(response) = final_response(&message)?
                {
                    return Ok(response);
                }
            }
            match stream.read(&mut octets).await {
                Ok(0) => return Err("the connection was closed without an answer".into()),
                Ok(n) => framer.push(&octets[..n]),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    let none = || Err("no SIP answer comes back".to_owned());
    timeout(PATIENCE, answered).await.unwrap_or_else(|_| none())
}

/// The same over UDP, with repetitions.
pub async fn ask_udp(socket: &UdpSocket, request: &Request) -> Result<Response, String> {
    let mut octets = vec![0; 65_535];
    for wait in REPETITIONS {
        let sent = socket.send(&request.to_bytes()).await;
        sent.map_err(|error| error.to_string())?;
        let answer = async {
            loop {
                let n = socket.recv(&mut octets).await.map_err(|e| e.to_string())?;
                if let Some(response) = final_response(&octets[..n])? {
                    return Ok(response);
                }
            }
        };
        if let Ok(outcome) = timeout(wait, answer).await {
            return outcome;
        }
    }
    Err("no SIP answer comes back".into())
}

fn final_response(octets: &[u8]) -> Result<Option<Response>, String> {
    match Message::parse(octets, &Limits::default()) {
        Ok(Message::Response(response)) if !response.is_provisional() => Ok(Some(response)),
        Ok(_) => Ok(None),
        Err(malformed) => Err(format!("the answer cannot be read: {malformed}")),
    }
}

/// The address by which a listener is reached from this host.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Whether this host has an address: it can be bound.
pub fn is_here(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether hosts on the internet can send to an address (the special ones of RFC 6890 they cannot).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || ip.is_multicast()
                || ip.is_broadcast()
                || a == 0
                || shared
                || benchmark)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => is_public(v4.into()),
            // Global unicast is 2000::/3, without what is set aside for documents.
            None => {
                let [first, second, ..] = ip.segments();
                first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_can_send_to_are_known() {
        for private in [
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "192.0.2.1",
            "fe80::1",
            "fd00::1",
            "::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["31.13.66.1", "8.8.8.8", "2a03:2880::1", "100.128.0.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_no_sip_is_said_to_be_none() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let uri = SipUri::new(None, "127.0.0.1");
        let at = SocketAddr::from(([127, 0, 0, 1], 5060));
        let options = request(Method::OPTIONS, uri.clone(), uri, "TCP", at);
        let why = ask(&mut ours, &options).await.unwrap_err();
        assert!(why.contains("no SIP"), "{why}");
    }
}
