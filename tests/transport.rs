//! The sockets of SIP over real loopback: both directions, TLS, failures, and what strangers may try.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use wabridge::leg::Leg;
use wabridge::sip::transport::tls::{self, ClientTls, Roots};
use wabridge::sip::transport::{
    Arrival, Clients, Flow, Hop, Listen, Names, Overrides, Protocol, Resolve, Settings, Target,
    TransportEvent, Transports, local_address_towards,
};
use wabridge::sip::{Malformed, Message, build};

#[path = "transport/pbxs.rs"]
mod pbxs;
#[path = "transport/resumption.rs"]
mod resumption;

const META: &str = "wa.meta.vc";

/// Transports under test, and what they have told.
struct End {
    transports: Transports,
    events: mpsc::Receiver<TransportEvent>,
    bound: Vec<SocketAddr>,
}

impl End {
    async fn start(
        settings: Settings,
        listens: Vec<Listen>,
        clients: Clients,
        names: Names,
    ) -> End {
        let (sender, events) = mpsc::channel(64);
        let (transports, bound) = Transports::start(settings, listens, clients, names, sender)
            .await
            .unwrap();
        End {
            transports,
            events,
            bound,
        }
    }

    /// One listener for the PBX, without TLS.
    async fn pbx(protocol: Protocol, settings: Settings) -> End {
        let listens = vec![listen(Leg::Pbx, protocol, None)];
        End::start(settings, listens, Clients::default(), no_names()).await
    }

    /// No listener; opens TLS connections to Meta's name at `address`.
    async fn client(roots: Roots, address: SocketAddr) -> End {
        let overrides = Overrides::from([(META.to_owned(), address)]);
        let meta = Some(ClientTls {
            config: tls::client_config(&roots).unwrap(),
            server_name: Some(META.to_owned()),
        });
        let clients = Clients {
            meta,
            ..Clients::default()
        };
        let settings = Settings::default();
        End::start(settings, Vec::new(), clients, Names::system(overrides)).await
    }

    async fn next(&mut self) -> TransportEvent {
        in_time(self.events.recv()).await.expect("transports ended")
    }

    async fn arrival(&mut self) -> Arrival {
        match self.next().await {
            TransportEvent::Arrived(arrival) => arrival,
            other => panic!("instead of a message: {other:?}"),
        }
    }

    async fn malformed(&mut self) -> (Malformed, Flow) {
        match self.next().await {
            TransportEvent::Malformed { malformed, flow } => (malformed, flow),
            other => panic!("instead of a bad message: {other:?}"),
        }
    }

    async fn failed(&mut self) -> (Option<u64>, String) {
        match self.next().await {
            TransportEvent::Failed { client, reason, .. } => (client, reason),
            other => panic!("instead of a failure: {other:?}"),
        }
    }

    async fn closed(&mut self) -> String {
        match self.next().await {
            TransportEvent::Closed { reason, .. } => reason,
            other => panic!("instead of the end of a connection: {other:?}"),
        }
    }
}

async fn in_time<T>(waited_for: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), waited_for)
        .await
        .expect("nothing happened for 20 s")
}

fn listen(leg: Leg, protocol: Protocol, tls: Option<Arc<ServerConfig>>) -> Listen {
    Listen {
        leg,
        protocol,
        address: loopback(),
        tls,
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn no_names() -> Names {
    Names::system(Overrides::new())
}

fn hop(leg: Leg, protocol: Protocol, host: &str, port: u16) -> Target {
    Target::Hop(Hop {
        leg,
        protocol,
        host: host.to_owned(),
        port,
    })
}

fn to_meta() -> Target {
    hop(Leg::Meta, Protocol::Tls, META, 5061)
}

fn to_pbx(protocol: Protocol, address: SocketAddr) -> Target {
    hop(Leg::Pbx, protocol, "127.0.0.1", address.port())
}

fn options(call_id: &str) -> Vec<u8> {
    options_with_body(call_id, "")
}

fn options_with_body(call_id: &str, body: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;rport;branch=z9hG4bK{call_id}\r\nFrom: <sip:x@y>;tag=1\r\n\
         To: <sip:a@b>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn call_id(message: &Message) -> String {
    message.headers().get("Call-ID").unwrap_or("").to_owned()
}

/// A 200 to what arrived, sent back where it came from.
fn answer(end: &End, arrival: &Arrival) {
    let Message::Request(request) = &arrival.message else {
        panic!("a response is not answered")
    };
    let ok = build::response(request, 200, Some("t"));
    let back = Target::Flow(arrival.flow);
    end.transports.send(ok.to_bytes(), back, None);
}

/// An authority made for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        Authority::named("our authority")
    }

    fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn roots(&self) -> Roots {
        Roots::only(vec![self.0.der().clone()])
    }

    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (vec![certificate.der().clone()], key)
    }

    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (chain, key) = self.issue(name);
        tls::server_config_from(chain, key).unwrap()
    }
}

/// A TLS listener with a certificate for `name`, and a client of it that trusts `roots`.
async fn tls_pair(authority: &Authority, name: &str, roots: Roots) -> (End, End) {
    let listens = vec![listen(
        Leg::Meta,
        Protocol::Tls,
        Some(authority.server(name)),
    )];
    let settings = Settings::default();
    let server = End::start(settings, listens, Clients::default(), no_names()).await;
    let client = End::client(roots, server.bound[0]).await;
    (server, client)
}

#[tokio::test]
async fn tls_carries_requests_one_way_and_responses_the_other_on_one_connection() {
    let authority = Authority::new();
    let (mut server, mut client) = tls_pair(&authority, META, authority.roots()).await;
    let mut connections = Vec::new();
    for id in ["one", "two"] {
        client.transports.send(options(id), to_meta(), None);
        let request = server.arrival().await;
        assert_eq!(call_id(&request.message), id);
        let via = request.message.headers().get("Via").unwrap().to_owned();
        let port = request.flow.remote.port();
        assert!(
            via.contains(&format!(";rport={port};")) && via.ends_with(";received=127.0.0.1"),
            "{via}"
        );
        answer(&server, &request);
        let response = client.arrival().await;
        assert_eq!(call_id(&response.message), id);
        assert_eq!(response.flow.remote, server.bound[0]);
        connections.push((request.flow.connection, response.flow.connection));
    }
    assert_eq!(connections[0], connections[1]);
}

#[tokio::test]
async fn a_certificate_for_another_name_or_from_a_stranger_is_refused_with_a_reason() {
    let authority = Authority::new();
    let (_server, mut client) = tls_pair(&authority, "sip.example", authority.roots()).await;
    client.transports.send(options("1"), to_meta(), Some(7));
    let (token, reason) = client.failed().await;
    assert_eq!(token, Some(7));
    assert!(
        reason.contains("certificate is not for wa.meta.vc"),
        "{reason}"
    );
    let stranger = Authority::named("another authority");
    let (_server, mut client) = tls_pair(&authority, META, stranger.roots()).await;
    client.transports.send(options("1"), to_meta(), Some(8));
    let (token, reason) = client.failed().await;
    assert_eq!(token, Some(8));
    assert!(reason.contains("not trusted here"), "{reason}");
}

#[tokio::test]
async fn our_client_hello_names_meta_and_offers_no_alpn() {
    let authority = Authority::new();
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = End::client(authority.roots(), address).await;
    client.transports.send(options("1"), to_meta(), None);
    let (socket, _) = in_time(listener.accept()).await.unwrap();
    let acceptor = rustls::server::Acceptor::default();
    let hello = in_time(tokio_rustls::LazyConfigAcceptor::new(acceptor, socket))
        .await
        .unwrap();
    assert_eq!(hello.client_hello().server_name(), Some(META));
    assert!(hello.client_hello().alpn().is_none());
    // Meta's server insists on nothing, but would refuse a protocol it does not know.
    let mut config = (*authority.server(META)).clone();
    config.alpn_protocols = vec![b"sip".to_vec()];
    let stream = in_time(hello.into_stream(Arc::new(config))).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_by_either_side() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = authority.issue(META);
        let only = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listens = vec![listen(Leg::Meta, Protocol::Tls, Some(Arc::new(only)))];
        let settings = Settings::default();
        let mut server = End::start(settings, listens, Clients::default(), no_names()).await;
        let client = End::client(authority.roots(), server.bound[0]).await;
        client.transports.send(options("out"), to_meta(), None);
        assert_eq!(call_id(&server.arrival().await.message), "out");

        let (mut server, _) = tls_pair(&authority, META, authority.roots()).await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let only = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(server.bound[0]).await.unwrap();
        let name = META.try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(only));
        let mut stream = in_time(connector.connect(name, socket)).await.unwrap();
        stream.write_all(&options("in")).await.unwrap();
        assert_eq!(call_id(&server.arrival().await.message), "in");
        assert!(stream.get_ref().1.peer_certificates().is_some());
    }
}

#[tokio::test]
async fn new_certificates_serve_new_connections() {
    let authority = Authority::new();
    let (mut server, mut client) = tls_pair(&authority, "old.example", authority.roots()).await;
    client.transports.send(options("1"), to_meta(), None);
    client.failed().await;
    let renewed = authority.server(META);
    server.transports.renew_certificate(Leg::Meta, renewed);
    client.transports.send(options("2"), to_meta(), None);
    assert_eq!(call_id(&server.arrival().await.message), "2");
}

#[tokio::test]
async fn a_pbx_may_be_left_unverified_but_only_when_told_so() {
    let authority = Authority::new();
    let certificate = Some(authority.server("whatever.example"));
    let listens = vec![listen(Leg::Pbx, Protocol::Tls, certificate)];
    let mut clients = Clients::default();
    let anybody = ClientTls {
        config: tls::client_config_without_verification().unwrap(),
        server_name: None,
    };
    clients.pbxs.insert("127.0.0.1", Vec::new(), anybody);
    let mut end = End::start(Settings::default(), listens, clients, no_names()).await;
    let target = to_pbx(Protocol::Tls, end.bound[0]);
    end.transports.send(options("1"), target, None);
    assert_eq!(call_id(&end.arrival().await.message), "1");
    let target = hop(Leg::Meta, Protocol::Tls, "127.0.0.1", end.bound[0].port());
    end.transports.send(options("2"), target, None);
    let (_, reason) = end.failed().await;
    assert!(
        reason.contains("TLS towards Meta is not configured"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_is_opened_again() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let target = to_pbx(Protocol::Tcp, listener.local_addr().unwrap());
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    for id in ["one", "two"] {
        end.transports.send(options(id), target.clone(), None);
        let (mut socket, _) = in_time(listener.accept()).await.unwrap();
        let mut bytes = vec![0; options(id).len()];
        in_time(socket.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(bytes, options(id));
        drop(socket);
        assert_eq!(end.closed().await, "the peer closed it");
    }
}

#[tokio::test]
async fn what_a_dying_connection_did_not_take_goes_out_on_the_next_one() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let target = to_pbx(Protocol::Tcp, listener.local_addr().unwrap());
    let end = End::pbx(Protocol::Tcp, Settings::default()).await;
    // More than the kernel holds for a peer that reads nothing.
    let large = "x".repeat(60_000);
    for number in 0..250 {
        let message = options_with_body(&format!("<{number}>"), &large);
        end.transports.send(message, target.clone(), None);
    }
    let (deaf, _) = in_time(listener.accept()).await.unwrap();
    deaf.readable().await.unwrap();
    drop(deaf);
    let (mut socket, _) = in_time(listener.accept()).await.unwrap();
    let mut tail = Vec::new();
    let last = b"Call-ID: <249>";
    in_time(async {
        let mut buffer = vec![0; 65_536];
        while !tail.windows(last.len()).any(|w| w == last) {
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed before the last message came");
            let old = tail.len().saturating_sub(last.len());
            tail.drain(..old);
            tail.extend_from_slice(&buffer[..count]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_comes_from_the_address_that_its_side_listens_on() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ours = Listen {
        address: SocketAddr::from(([127, 0, 0, 9], 0)),
        ..listen(Leg::Pbx, Protocol::Tcp, None)
    };
    let (settings, clients) = (Settings::default(), Clients::default());
    let end = End::start(settings, vec![ours], clients, no_names()).await;
    let target = to_pbx(Protocol::Tcp, address);
    end.transports.send(options("1"), target, None);
    let (_stream, from) = in_time(listener.accept()).await.unwrap();
    assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 9]));
}

#[tokio::test]
async fn nobody_listening_is_reported_with_the_address_and_what_the_system_said() {
    let gone = TcpListener::bind(loopback()).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    let target = to_pbx(Protocol::Tcp, address);
    end.transports.send(options("1"), target, Some(3));
    let (token, reason) = end.failed().await;
    assert_eq!(token, Some(3));
    assert!(
        reason.contains(&address.to_string()) && reason.contains("refused"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_answer_for_a_connection_of_metas_that_is_gone_fails_and_connects_to_nobody() {
    let authority = Authority::new();
    let (mut server, client) = tls_pair(&authority, META, authority.roots()).await;
    client.transports.send(options("1"), to_meta(), None);
    let request = server.arrival().await;
    client.transports.shutdown().await;
    assert_eq!(server.closed().await, "the peer closed it");
    answer(&server, &request);
    assert_eq!(server.failed().await.1, "the connection is gone");
}

#[tokio::test]
async fn an_answer_for_a_pbxs_connection_that_is_gone_goes_to_the_port_in_its_via() {
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = String::from_utf8(options("1")).unwrap();
    let request = request.replace("TCP c;", &format!("TCP c:{port};"));
    let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
    peer.write_all(request.as_bytes()).await.unwrap();
    let request = end.arrival().await;
    drop(peer);
    assert_eq!(end.closed().await, "the peer closed it");
    answer(&end, &request);
    let (mut fresh, _) = in_time(listener.accept()).await.unwrap();
    let mut line = [0; 14];
    in_time(fresh.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"SIP/2.0 200 OK");
}

#[tokio::test]
async fn a_ping_is_answered_and_a_message_in_single_octets_is_read() {
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    in_time(peer.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    for octet in options("drip") {
        peer.write_all(&[octet]).await.unwrap();
    }
    let request = end.arrival().await;
    assert_eq!(call_id(&request.message), "drip");
    answer(&end, &request);
    let mut line = [0; 14];
    in_time(peer.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"SIP/2.0 200 OK");
}

#[tokio::test]
async fn our_own_connections_are_pinged() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let target = to_pbx(Protocol::Tcp, listener.local_addr().unwrap());
    let settings = Settings {
        keepalive: 1,
        ..Settings::default()
    };
    let mut end = End::pbx(Protocol::Tcp, settings).await;
    end.transports.send(options("1"), target.clone(), None);
    let (mut peer, _) = in_time(listener.accept()).await.unwrap();
    let mut bytes = vec![0; options("1").len()];
    in_time(peer.read_exact(&mut bytes)).await.unwrap();
    for _ in 0..2 {
        let mut ping = [0; 4];
        in_time(peer.read_exact(&mut ping)).await.unwrap();
        assert_eq!(&ping, b"\r\n\r\n");
        peer.write_all(b"\r\n").await.unwrap();
    }
    // Two answers in a row look like a ping; they must not be answered, and the connection goes on.
    peer.write_all(&options("2")).await.unwrap();
    assert_eq!(call_id(&end.arrival().await.message), "2");
    end.transports.send(options("3"), target, None);
    let mut bytes = vec![0; options("3").len()];
    in_time(peer.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, options("3"));
}

#[tokio::test]
async fn a_message_that_stays_unfinished_and_a_silent_stranger_are_closed() {
    let settings = Settings {
        message_timeout: 1,
        ..Settings::default()
    };
    let mut end = End::pbx(Protocol::Tcp, settings).await;
    let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
    let silent = TcpStream::connect(end.bound[0]).await.unwrap();
    peer.write_all(&options("1")[..40]).await.unwrap();
    for _ in 0..2 {
        let reason = end.closed().await;
        assert!(reason.contains("sip.message_timeout"), "{reason}");
    }
    drop((peer, silent));
}

#[tokio::test]
async fn an_oversized_message_is_reported_can_be_answered_and_ends_the_connection() {
    let settings = Settings {
        max_message: 500,
        ..Settings::default()
    };
    let mut end = End::pbx(Protocol::Tcp, settings).await;
    let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
    let large = options_with_body("big", &"x".repeat(100_000));
    peer.write_all(&large).await.unwrap();
    let (malformed, flow) = end.malformed().await;
    assert_eq!(malformed.status, Some(413));
    let refusal = build::refusal(&malformed, "t").unwrap();
    end.transports
        .send(refusal.to_bytes(), Target::Flow(flow), None);
    end.transports.close(flow);
    let mut heard = String::new();
    in_time(peer.read_to_string(&mut heard)).await.unwrap();
    assert!(heard.starts_with("SIP/2.0 413 "), "{heard}");
    assert!(heard.contains("Call-ID: big\r\n"), "{heard}");
    drop(peer);
    let reason = end.closed().await;
    assert!(reason.contains("sip.max_message"), "{reason}");
}

#[tokio::test]
async fn datagrams_go_both_ways_and_bad_ones_are_reported() {
    let settings = Settings {
        max_message: 2000,
        ..Settings::default()
    };
    let mut end = End::pbx(Protocol::Udp, settings).await;
    let peer = UdpSocket::bind(loopback()).await.unwrap();
    peer.send_to(b"\r\n\r\n", end.bound[0]).await.unwrap();
    peer.send_to(&options("in"), end.bound[0]).await.unwrap();
    let request = end.arrival().await;
    assert_eq!(request.flow.remote, peer.local_addr().unwrap());
    assert_eq!(request.flow.local, end.bound[0]);
    answer(&end, &request);
    let mut buffer = vec![0; 4096];
    let (count, from) = in_time(peer.recv_from(&mut buffer)).await.unwrap();
    assert!(buffer[..count].starts_with(b"SIP/2.0 200 OK"));
    assert_eq!(from, end.bound[0]);
    let target = to_pbx(Protocol::Udp, peer.local_addr().unwrap());
    end.transports.send(options("out"), target, None);
    let (count, from) = in_time(peer.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(
        (&buffer[..count], from),
        (&options("out")[..], end.bound[0])
    );
    let large = options_with_body("big", &"x".repeat(2000));
    peer.send_to(&large, end.bound[0]).await.unwrap();
    assert_eq!(end.malformed().await.0.status, Some(513));
    peer.send_to(b"hello", end.bound[0]).await.unwrap();
    assert_eq!(end.malformed().await.0.status, None);
    let too_much = options_with_body("huge", &"x".repeat(70_000));
    let target = to_pbx(Protocol::Udp, peer.local_addr().unwrap());
    end.transports.send(too_much, target, Some(1));
    assert_eq!(end.failed().await.0, Some(1));
}

/// Knows one name at once, and never comes back from asking for any other.
struct Stuck;

impl Resolve for Stuck {
    fn addresses(
        &self,
        host: String,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            match host.as_str() {
                "fast.test" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                _ => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn a_slow_lookup_delays_its_own_message_and_no_other() {
    let settings = Settings {
        connect_timeout: 1,
        ..Settings::default()
    };
    let listens = vec![listen(Leg::Pbx, Protocol::Udp, None)];
    let names = Names::with(Stuck, Overrides::new());
    let mut end = End::start(settings, listens, Clients::default(), names).await;
    let port = end.bound[0].port();
    for (protocol, token) in [(Protocol::Tcp, 1), (Protocol::Udp, 2)] {
        let slow = hop(Leg::Pbx, protocol, "slow.test", port);
        end.transports.send(options("slow"), slow, Some(token));
    }
    let fast = hop(Leg::Pbx, Protocol::Udp, "fast.test", port);
    end.transports.send(options("fast"), fast, None);
    assert_eq!(call_id(&end.arrival().await.message), "fast");
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let (token, reason) = end.failed().await;
        assert!(reason.contains("looking up the name slow.test"), "{reason}");
        tokens.extend(token);
    }
    tokens.sort();
    assert_eq!(tokens, [1, 2]);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_on_arrival() {
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    let mut end = End::pbx(Protocol::Tcp, settings).await;
    let mut first = TcpStream::connect(end.bound[0]).await.unwrap();
    first.write_all(&options("1")).await.unwrap();
    end.arrival().await;
    let mut second = TcpStream::connect(end.bound[0]).await.unwrap();
    let mut buffer = [0; 1];
    assert_eq!(in_time(second.read(&mut buffer)).await.unwrap_or(0), 0);
    drop(first);
    end.closed().await;
}

#[tokio::test]
async fn two_hundred_connections_leave_nothing_behind() {
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    let before = end.transports.tasks();
    let mut peers = Vec::new();
    for number in 0..200 {
        let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
        peer.write_all(&options(&number.to_string())).await.unwrap();
        end.arrival().await;
        peers.push(peer);
    }
    assert_eq!(end.transports.tasks(), before + 200);
    drop(peers);
    for _ in 0..200 {
        end.closed().await;
    }
    in_time(async {
        while end.transports.tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn shutdown_sends_what_is_queued_and_ends_every_task() {
    let mut end = End::pbx(Protocol::Tcp, Settings::default()).await;
    let mut peer = TcpStream::connect(end.bound[0]).await.unwrap();
    peer.write_all(&options("1")).await.unwrap();
    let request = end.arrival().await;
    answer(&end, &request);
    let heard = tokio::spawn(async move {
        let mut heard = String::new();
        in_time(peer.read_to_string(&mut heard)).await.unwrap();
        heard
    });
    let left = end.transports.clone();
    end.transports.shutdown().await;
    assert!(heard.await.unwrap().starts_with("SIP/2.0 200 OK"));
    assert_eq!(left.tasks(), 0);
    assert!(TcpStream::connect(end.bound[0]).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind(loopback()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let (sender, _events) = mpsc::channel(1);
    let listens = vec![Listen {
        address,
        ..listen(Leg::Pbx, Protocol::Tcp, None)
    }];
    let settings = Settings::default();
    let started =
        Transports::start(settings, listens, Clients::default(), no_names(), sender).await;
    let said = started.err().unwrap().to_string();
    assert!(
        said.contains(&format!("the PBX on TCP {address}")) && said.contains("in use"),
        "{said}"
    );
}

#[test]
fn the_address_towards_a_loopback_peer_is_loopback() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 5060));
    assert_eq!(
        local_address_towards(peer).unwrap(),
        IpAddr::from([127, 0, 0, 1])
    );
}
