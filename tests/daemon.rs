//! The whole daemon between far ends that are not what they should be, over real sockets.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wabridge::daemon::{Daemon, Trust};
use wabridge::sim::meta::{Challenges, DigestUri};
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sim::{Answering, CallReport, Outgoing, relay};
use wabridge::sip::transport::Protocol;
use wabridge::sip::transport::tls::{self, Roots};

#[path = "conf/workshop.rs"]
#[expect(dead_code, reason = "the tests of configuration need more of it")]
mod workshop;

use workshop::Workshop;

const BUSINESS: &str = "+12145551869";
const USER: &str = "+12195550714";

/// Everything that was logged in this process.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_writer(|| Paper)
            .with_ansi(false)
            .init();
        Mutex::default()
    })
}

struct Paper;

impl Write for Paper {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        log().lock().unwrap().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged() -> String {
    String::from_utf8(log().lock().unwrap().clone()).unwrap()
}

/// A bridge of its own addresses, with the certificates of a workshop, and what it trusts.
struct Place {
    workshop: Workshop,
    ours: IpAddr,
    metas: IpAddr,
    pbxs: IpAddr,
}

impl Place {
    /// `net`: tests run side by side, each on three addresses that no other has.
    fn new(net: u8) -> Place {
        let _ = log();
        let last = |last: u8| IpAddr::from([127, 77, net, last]);
        Place {
            workshop: Workshop::new(),
            ours: last(1),
            metas: last(2),
            pbxs: last(3),
        }
    }

    async fn bridge(&self) -> Daemon {
        let Place {
            ours, metas, pbxs, ..
        } = self;
        let text = format!(
            r#"
            [meta]
            listen = "{ours}:5061"
            hostname = "bridge.example.com"
            certificate = "fullchain.pem"
            key = "privkey.pem"
            address = "{metas}"
            ca_file = "ca.pem"
            allowed_sources = ["{metas}/32"]
            [[number]]
            number = "{BUSINESS}"
            password_file = "password"
            [[pbx]]
            name = "main"
            address = "{pbxs}:5060"
            [pbx_listener]
            udp = "{ours}:5070"
            tcp = "off"
            [media]
            meta_address = "{ours}"
            pbx_address = "{ours}"
            "#
        );
        let config = self
            .workshop
            .load(&text)
            .unwrap_or_else(|p| panic!("{p:?}"));
        let trust = Trust::of(&config);
        Daemon::start(config, &trust).await.unwrap()
    }

    /// A Meta that shows this certificate.
    async fn meta(&self, certificate: &Path, key: &Path) -> FarEnd {
        let roots = Roots {
            files: vec![self.workshop.path("ca.pem")],
            ..Roots::default()
        };
        let meta = MetaEnd {
            listen: SocketAddr::new(self.metas, 5061),
            media: self.metas,
            media6: None,
            relay: relay::Settings::default(),
            server: tls::server_config(certificate, key).unwrap(),
            client: tls::client_config(&roots).unwrap(),
            bridge: SocketAddr::new(self.ours, 5061),
            hostname: "bridge.example.com".into(),
            businesses: Vec::new(),
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: Answering::default(),
        };
        FarEnd::meta(meta).await.unwrap()
    }

    /// A telephone of the PBX calls a WhatsApp user.
    async fn pbx_calls(&self) -> CallReport {
        let pbx = PbxEnd {
            listen: SocketAddr::new(self.pbxs, 5060),
            protocol: Protocol::Udp,
            media: self.pbxs,
            bridge: SocketAddr::new(self.ours, 5070),
            answering: Answering::default(),
        };
        let pbx = FarEnd::pbx(pbx).await.unwrap();
        let call = pbx.call(Outgoing {
            from: BUSINESS.into(),
            to: USER.into(),
            ..Outgoing::default()
        });
        let report = timeout(Duration::from_secs(20), call).await.unwrap();
        pbx.shutdown().await;
        report.unwrap()
    }
}

/// A call to a Meta with this certificate fails, and the log says why.
async fn is_refused(place: &Place, certificate: &Path, key: &Path, why: &str) {
    let bridge = place.bridge().await;
    let meta = place.meta(certificate, key).await;
    let report = place.pbx_calls().await;
    assert_eq!(report.status, 503, "{report:?}");
    bridge.stop().await;
    meta.shutdown().await;
    let log = logged();
    let line = log
        .lines()
        .find(|line| line.contains("call ended") && line.contains(why));
    let line = line.unwrap_or_else(|| panic!("{why:?} is missing in\n{log}"));
    assert!(line.contains("status=503"), "{line}");
    for secret in [&BUSINESS[1..], &USER[1..]] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

#[tokio::test]
async fn whoever_has_a_certificate_for_another_name_is_not_meta() {
    let place = Place::new(1);
    let (certificate, key) = (
        place.workshop.path("fullchain.pem"),
        place.workshop.path("privkey.pem"),
    );
    let why = "its certificate is not for wa.meta.vc";
    is_refused(&place, &certificate, &key, why).await;
}

#[tokio::test]
async fn whoever_vouches_for_himself_is_not_meta() {
    let place = Place::new(2);
    let elsewhere = Workshop::new();
    let (certificate, key) = (elsewhere.path("meta.pem"), elsewhere.path("meta.key"));
    let why = "its certificate for wa.meta.vc comes from an authority that is not trusted here";
    is_refused(&place, &certificate, &key, why).await;
}

/// Has no certificate, and notes whether one was asked for.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn meta_is_asked_for_no_certificate_and_needs_no_alpn() {
    let place = Place::new(3);
    let bridge = place.bridge().await;
    let roots = Roots {
        files: vec![place.workshop.path("ca.pem")],
        ..Roots::default()
    };
    let asked = Arc::new(Asked::default());
    let mut client = ClientConfig::clone(&tls::client_config(&roots).unwrap());
    client.client_auth_cert_resolver = asked.clone();
    let socket = TcpStream::connect((place.ours, 5061)).await.unwrap();
    let name = ServerName::try_from("bridge.example.com").unwrap();
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name, socket)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    assert!(!asked.0.load(Ordering::SeqCst));
    drop(stream);
    bridge.stop().await;
}
