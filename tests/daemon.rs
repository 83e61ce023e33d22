//! The whole daemon between far ends that are not what they should be, over real sockets.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wabridge::config::Config;
use wabridge::daemon::{Daemon, Trust};
use wabridge::secret::Secret;
use wabridge::sim::meta::{Business, Challenges, DigestUri};
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sim::{Answering, CallReport, Outgoing, Plan, body, relay};
use wabridge::sip::transport::Protocol;
use wabridge::sip::transport::tls::{self, Roots};

#[path = "conf/workshop.rs"]
#[expect(dead_code, reason = "the tests of configuration need more of it")]
mod workshop;

#[path = "daemon/bursts.rs"]
mod bursts;
#[path = "daemon/networks.rs"]
mod networks;
#[path = "daemon/openmetrics.rs"]
mod openmetrics;
#[path = "daemon/pages.rs"]
mod pages;

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

/// Notes that a test has this net; a second one with the same fails here, always, and not only where they meet.
fn take(net: u8) {
    static TAKEN: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());
    let first = TAKEN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(net);
    assert!(first, "two tests have net {net}: give one of them another");
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
        take(net);
        let last = |last: u8| IpAddr::from([127, 77, net, last]);
        Place {
            workshop: Workshop::new(),
            ours: last(1),
            metas: last(2),
            pbxs: last(3),
        }
    }

    async fn bridge(&self) -> Daemon {
        self.bridge_with_pages_at(&format!("{}:9091", self.ours))
            .await
    }

    async fn bridge_with_pages_at(&self, admin: &str) -> Daemon {
        let config = self.config(admin);
        let trust = Trust::of(&config);
        Daemon::start(config, &trust).await.unwrap()
    }

    fn config(&self, admin: &str) -> Config {
        self.workshop
            .load(&self.text(admin))
            .unwrap_or_else(|p| panic!("{p:?}"))
    }

    fn text(&self, admin: &str) -> String {
        let Place {
            ours, metas, pbxs, ..
        } = self;
        format!(
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
            ack_when_keyed = true
            [pbx_listener]
            udp = "{ours}:5070"
            tcp = "off"
            [media]
            meta_address = "{ours}"
            pbx_address = "{ours}"
            [admin]
            listen = "{admin}"
            "#
        )
    }

    /// Meta itself, whose numbers are keyed by DTLS, with such relays.
    async fn genuine_meta(&self, relay: relay::Settings) -> FarEnd {
        let (certificate, key) = ("meta.pem", "meta.key");
        let meta = MetaEnd {
            relay,
            businesses: vec![business(BUSINESS)],
            ..self.meta_end(&self.workshop.path(certificate), &self.workshop.path(key))
        };
        FarEnd::meta(meta).await.unwrap()
    }

    /// A Meta that shows this certificate.
    async fn meta(&self, certificate: &Path, key: &Path) -> FarEnd {
        FarEnd::meta(self.meta_end(certificate, key)).await.unwrap()
    }

    fn meta_end(&self, certificate: &Path, key: &Path) -> MetaEnd {
        let roots = Roots {
            files: vec![self.workshop.path("ca.pem")],
            ..Roots::default()
        };
        MetaEnd {
            listen: SocketAddr::new(self.metas, 5061),
            media: self.metas,
            media6: None,
            relay: relay::Settings::default(),
            additional_codecs: Vec::new(),
            server: tls::server_config(certificate, key).unwrap(),
            client: tls::client_config(&roots).unwrap(),
            bridge: SocketAddr::new(self.ours, 5061),
            hostname: "bridge.example.com".into(),
            businesses: Vec::new(),
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: Answering::default(),
        }
    }

    async fn pbx(&self) -> FarEnd {
        let pbx = PbxEnd {
            listen: SocketAddr::new(self.pbxs, 5060),
            protocol: Protocol::Udp,
            media: self.pbxs,
            path: Default::default(),
            speaks: Default::default(),
            bridge: SocketAddr::new(self.ours, 5070),
            answering: Answering::default(),
        };
        FarEnd::pbx(pbx).await.unwrap()
    }

    /// A telephone of the PBX calls a WhatsApp user.
    async fn pbx_calls(&self) -> CallReport {
        let pbx = self.pbx().await;
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

/// A number that is provisioned at Meta, and keyed by DTLS.
fn business(number: &str) -> Business {
    Business {
        number: number.parse().unwrap(),
        phone_number_id: "106540352242922".into(),
        hostname: "bridge.example.com".into(),
        password: Secret::new("meta-generated-secret"),
        keying: body::Keying::Dtls,
    }
}

/// A call in each direction, and what Meta's end and the PBX's say of it.
async fn both_call(meta: &FarEnd, pbx: &FarEnd, plan: Plan) -> [[CallReport; 2]; 2] {
    let outgoing = |from: &str, to: &str| Outgoing {
        from: from.into(),
        to: to.into(),
        plan: plan.clone(),
        ..Outgoing::default()
    };
    let both = async {
        let (users, taken) = tokio::join!(meta.call(outgoing(USER, BUSINESS)), pbx.taken());
        let first = [users.unwrap(), taken.unwrap()];
        let (taken, pbxs) = tokio::join!(meta.taken(), pbx.call(outgoing(BUSINESS, USER)));
        [first, [taken.unwrap(), pbxs.unwrap()]]
    };
    timeout(Duration::from_secs(30), both).await.unwrap()
}

/// The log's last line of a call of this direction that says so.
#[track_caller]
fn line_of_call(direction: &str, what: &str) -> String {
    let log = logged();
    let is_it = |line: &&str| {
        line.contains("call ended") && line.contains(direction) && line.contains(what)
    };
    let line = log.lines().rfind(is_it);
    line.unwrap_or_else(|| panic!("{direction}: {what:?} is missing in\n{log}"))
        .to_owned()
}

#[tokio::test]
async fn a_call_keyed_by_dtls_is_heard_on_both_sides_and_the_log_says_what_that_took() {
    let place = Place::new(4);
    let bridge = place.bridge().await;
    let meta = place.genuine_meta(relay::Settings::default()).await;
    let pbx = place.pbx().await;
    let plan = Plan {
        talk: Some(Duration::from_secs(1)),
        ..Plan::default()
    };
    for [metas, pbxs] in both_call(&meta, &pbx, plan).await {
        assert!(metas.ok() && pbxs.ok(), "{metas:#?}\n{pbxs:#?}");
        assert_eq!(metas.keying, Some(body::Keying::Dtls));
    }
    for end in [meta, pbx] {
        assert_eq!(end.shutdown().await, Vec::<String>::new());
    }
    bridge.stop().await;
    for direction in ["user-initiated", "business-initiated"] {
        let line = line_of_call(direction, " keying=dtls keyed_ms=");
        assert!(line.contains(" not_kept=0 "), "{line}");
    }
}

#[tokio::test]
async fn a_relay_with_another_certificate_than_its_sdp_names_ends_the_call_with_the_reason() {
    let place = Place::new(5);
    let bridge = place.bridge().await;
    let relay = relay::Settings {
        wrong_fingerprint: true,
        ..relay::Settings::default()
    };
    let meta = place.genuine_meta(relay).await;
    let pbx = place.pbx().await;
    let why = "no media path to Meta: ";
    for [metas, pbxs] in both_call(&meta, &pbx, Plan::default()).await {
        for end in [metas, pbxs] {
            let reason = end.bye_reason.unwrap_or_default();
            assert!(reason.starts_with("Q.850;cause=41;"), "{reason:?}");
            assert!(reason.contains(why), "{reason}");
        }
    }
    meta.shutdown().await;
    pbx.shutdown().await;
    bridge.stop().await;
    for direction in ["user-initiated", "business-initiated"] {
        let line = line_of_call(direction, why);
        assert!(line.contains("ended_by=bridge"), "{line}");
        assert!(line.contains(" kept=0 "), "{line}");
        assert!(!line.contains("keyed_ms="), "no keys: {line}");
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
