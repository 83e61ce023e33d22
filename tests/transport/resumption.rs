//! A TLS connection that is opened again resumes, in either role; and does not once what it rested on is another.

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::*;

/// A peer opens a connection, waits until it has heard something on it, and closes it; how the handshake went.
async fn visit(server: &End, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let socket = TcpStream::connect(server.bound[0]).await.unwrap();
    let name = ServerName::try_from(META).unwrap();
    let mut stream = TlsConnector::from(config.clone())
        .connect(name, socket)
        .await
        .unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    in_time(stream.read_exact(&mut pong)).await.unwrap();
    stream.get_ref().1.handshake_kind()
}

async fn tls_server(tls: &Arc<ServerConfig>) -> End {
    let listens = vec![listen(Leg::Meta, Protocol::Tls, Some(tls.clone()))];
    let settings = Settings::default();
    End::start(settings, listens, Clients::default(), no_names()).await
}

#[tokio::test]
async fn whoever_comes_back_to_our_listener_resumes_until_the_certificate_is_another() {
    let authority = Authority::new();
    let server = tls_server(&authority.server(META)).await;
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let roots = Arc::new(tls::root_store(&authority.roots()).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        assert_eq!(visit(&server, &client).await, Some(HandshakeKind::Full));
        for _ in 0..2 {
            assert_eq!(visit(&server, &client).await, Some(HandshakeKind::Resumed));
        }
        server
            .transports
            .renew_certificate(Leg::Meta, authority.server(META));
        assert_eq!(visit(&server, &client).await, Some(HandshakeKind::Full));
    }
}

/// The next connection that we open there, once its first message has come; how the handshake went.
async fn visited(
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
) -> (server::TlsStream<TcpStream>, Option<HandshakeKind>) {
    let (socket, _) = in_time(listener.accept()).await.unwrap();
    let acceptor = TlsAcceptor::from(tls.clone());
    let mut stream = in_time(acceptor.accept(socket)).await.unwrap();
    let mut first = [0; 8];
    in_time(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"OPTIONS ");
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let kind = stream.get_ref().1.handshake_kind();
    (stream, kind)
}

#[tokio::test]
async fn a_connection_that_we_open_again_resumes_and_other_roots_verify_anew() {
    let authority = Authority::new();
    let tls = authority.server(META);
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut client = End::client(authority.roots(), listener.local_addr().unwrap()).await;
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        client.transports.send(options("1"), to_meta(), None);
        let (mut stream, kind) = visited(&listener, &tls).await;
        assert_eq!(kind, Some(expected));
        stream.shutdown().await.unwrap();
        client.closed().await;
    }
    let strangers = Authority::named("another authority");
    for (roots, is_trusted) in [(strangers.roots(), false), (authority.roots(), true)] {
        let meta = Some(ClientTls {
            config: tls::client_config(&roots).unwrap(),
            server_name: Some(META.to_owned()),
        });
        client.transports.replace_clients(Clients {
            meta,
            ..Clients::default()
        });
        client.transports.send(options("2"), to_meta(), Some(7));
        if is_trusted {
            let (_, kind) = visited(&listener, &tls).await;
            assert_eq!(kind, Some(HandshakeKind::Full));
            return;
        }
        let (socket, _) = in_time(listener.accept()).await.unwrap();
        let _ = in_time(TlsAcceptor::from(tls.clone()).accept(socket)).await;
        let (_, reason) = client.failed().await;
        assert!(reason.contains("authority that is not trusted"), "{reason}");
    }
}
