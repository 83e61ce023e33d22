//! The program as it is shipped is told to read its configuration anew, again and again, while it carries calls.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wabridge::secret::Secret;
use wabridge::sim::meta::{Business, Challenges, DigestUri};
use wabridge::sim::phone::Mode;
use wabridge::sim::report::EndedBy;
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sim::{Answering, CallReport, Outgoing, Plan, body, relay};
use wabridge::sip::transport::Protocol;
use wabridge::sip::transport::tls::{self, Roots};

const BUSINESS: &str = "+12145551869";
const HOSTNAME: &str = "bridge.example.com";
const OURS: Ipv4Addr = Ipv4Addr::new(127, 81, 2, 1);
const METAS: Ipv4Addr = Ipv4Addr::new(127, 81, 2, 2);
const PBXS: Ipv4Addr = Ipv4Addr::new(127, 81, 2, 3);
/// Calls in each direction.
const CALLS: usize = 100;
const RELOADS: usize = 50;
/// Nothing here takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(50);

/// A folder with a configuration and what it names.
struct Folder {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Folder {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ours");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        let folder = Folder {
            folder: tempfile::tempdir().unwrap(),
            authority: authority.unwrap(),
        };
        folder.write("ca.pem", &folder.authority.pem());
        folder.write("password", "meta-generated-secret");
        folder.certify("wa.meta.vc", "meta");
        folder.certify(HOSTNAME, "bridge");
        folder.certify(HOSTNAME, "stranger");
        folder
    }

    /// A new certificate for a name, with its key, in two files.
    fn certify(&self, name: &str, file: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let chain = certificate.pem() + &self.authority.pem();
        self.write(&format!("{file}.pem"), &chain);
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn write(&self, file: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// The certificate that the bridge shall show.
    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path("bridge.pem")).unwrap()
    }

    fn roots(&self) -> Roots {
        Roots::only(vec![self.authority.der().clone()])
    }
}

fn configuration(ring_timeout: usize) -> String {
    format!(
        r#"
        [meta]
        listen = "{OURS}:5061"
        hostname = "{HOSTNAME}"
        certificate = "bridge.pem"
        key = "bridge.key"
        address = "{METAS}"
        ca_file = "ca.pem"
        allowed_sources = ["127.0.0.0/8"]
        [[number]]
        number = "{BUSINESS}"
        password_file = "password"
        keying = "sdes"
        [[pbx]]
        name = "main"
        address = "{PBXS}:5060"
        [pbx_listener]
        udp = "{OURS}:5070"
        tcp = "off"
        [calls]
        ring_timeout = {ring_timeout}
        # 200 calls at once are more than an unoptimised build does in time.
        overload_delay = 0
        [admin]
        listen = "{OURS}:9091"
        [media]
        meta_address = "{OURS}"
        pbx_address = "{OURS}"
        kept_audio = 10000
        "#
    )
}

/// Files that must change nothing, and what is said of each.
fn invalid(configuration: &str, which: usize) -> (String, &'static str) {
    match which % 3 {
        0 => (format!("{configuration}\n[calls\nmax = "), "wabridge.toml:"),
        1 => (
            configuration.replace("bridge.pem", "none.pem"),
            "meta.certificate: cannot read",
        ),
        _ => (
            configuration.replace("bridge.key", "stranger.key"),
            "meta.key: the key does not belong to the certificate",
        ),
    }
}

/// `wabridge run`, and what it logs.
struct Bridge {
    process: Child,
    log: mpsc::UnboundedReceiver<String>,
    said: Vec<String>,
}

impl Bridge {
    async fn start(file: &Path) -> Bridge {
        let mut process = Command::new(env!("CARGO_BIN_EXE_wabridge"))
            .args(["run", "-c"])
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, log) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut bridge = Bridge {
            process,
            log,
            said: Vec::new(),
        };
        bridge.says(&["listening"]).await;
        bridge
    }

    /// Waits for a line with one of these words in it.
    async fn says(&mut self, words: &[&str]) -> String {
        let line = async {
            loop {
                let line = self.log.recv().await.expect("the log has ended");
                self.said.push(line.clone());
                if words.iter().any(|word| line.contains(word)) {
                    return line;
                }
            }
        };
        match timeout(PATIENCE, line).await {
            Ok(line) => line,
            Err(_) => panic!("none of {words:?} in {:#?}", self.said),
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Open files and threads.
    fn holds(&self) -> (usize, usize) {
        let count = |what: &str| {
            let folder = format!("/proc/{}/{what}", self.process.id());
            std::fs::read_dir(folder).unwrap().count()
        };
        (count("fd"), count("task"))
    }

    /// Says BYE to everybody; all that it has logged.
    async fn stop(mut self) -> Vec<String> {
        self.signal("-TERM");
        self.says(&[" stopped"]).await;
        assert!(self.process.wait().unwrap().success());
        std::mem::take(&mut self.said)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both ends say less than they could: two hundred whole voices are more than a small machine has room for beside others.
fn plan() -> Plan {
    Plan {
        mode: Mode::Pause,
        ..Plan::default()
    }
}

fn answering() -> Answering {
    Answering {
        plan: plan(),
        ..Answering::default()
    }
}

async fn meta(folder: &Folder) -> FarEnd {
    let business = Business {
        number: BUSINESS.parse().unwrap(),
        phone_number_id: "106540352242922".into(),
        hostname: HOSTNAME.into(),
        password: Secret::new("meta-generated-secret"),
        keying: body::Keying::Sdes,
    };
    let end = MetaEnd {
        listen: SocketAddr::from((METAS, 5061)),
        media: IpAddr::from(METAS),
        media6: None,
        relay: relay::Settings::default(),
        additional_codecs: Vec::new(),
        server: tls::server_config(&folder.path("meta.pem"), &folder.path("meta.key")).unwrap(),
        client: tls::client_config(&folder.roots()).unwrap(),
        bridge: SocketAddr::from((OURS, 5061)),
        hostname: HOSTNAME.into(),
        businesses: vec![business],
        anybody: None,
        challenges: Challenges::Md5,
        digest_uri: DigestUri::Request,
        answering: answering(),
    };
    FarEnd::meta(end).await.unwrap()
}

async fn pbx() -> FarEnd {
    let end = PbxEnd {
        listen: SocketAddr::from((PBXS, 5060)),
        protocol: Protocol::Udp,
        media: IpAddr::from(PBXS),
        path: Default::default(),
        speaks: Default::default(),
        bridge: SocketAddr::from((OURS, 5070)),
        answering: answering(),
    };
    FarEnd::pbx(end).await.unwrap()
}

/// The certificate that the bridge shows to whoever connects now.
async fn shown(client: Arc<ClientConfig>) -> CertificateDer<'static> {
    let connecting = async {
        let socket = TcpStream::connect((OURS, 5061)).await.unwrap();
        let name = ServerName::try_from(HOSTNAME).unwrap();
        let stream = TlsConnector::from(client).connect(name, socket).await;
        let stream = stream.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].clone().into_owned()
    };
    timeout(PATIENCE, connecting).await.unwrap()
}

/// Calls in both directions, each with another WhatsApp user; what the caller's end will tell of each.
fn place(
    meta: &FarEnd,
    pbx: &FarEnd,
    users: std::ops::Range<usize>,
) -> Vec<impl Future<Output = Option<CallReport>> + use<>> {
    let user = |direction: usize, n: usize| format!("+1219{direction:03}{n:04}");
    let outgoing = |from: String, to: String| Outgoing {
        from,
        to,
        plan: plan(),
        ..Outgoing::default()
    };
    let mut calls = Vec::new();
    for n in users {
        calls.push(meta.call(outgoing(user(1, n), BUSINESS.into())));
        calls.push(pbx.call(outgoing(BUSINESS.into(), user(2, n))));
    }
    calls
}

/// Waits until both ends hear the other's voice in so many calls.
async fn all_are_heard(meta: &FarEnd, pbx: &FarEnd, count: usize) {
    let mut heard = (0, 0);
    let hearing = async {
        while heard != (count, count) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            heard = (meta.hearing().await, pbx.hearing().await);
        }
    };
    let in_time = timeout(PATIENCE, hearing).await.is_ok();
    assert!(in_time, "{heard:?} of {count} calls are heard");
}

/// Meta's end hangs up: what the callers and the called tell of so many calls in each direction.
async fn hang_up(
    meta: &FarEnd,
    pbx: &FarEnd,
    calls: Vec<impl Future<Output = Option<CallReport>>>,
) -> Vec<CallReport> {
    let count = calls.len() / 2;
    meta.hang_up();
    let told = async {
        let mut reports = Vec::new();
        for call in calls {
            reports.push(call.await.unwrap());
        }
        for _ in 0..count {
            reports.push(meta.taken().await.unwrap());
            reports.push(pbx.taken().await.unwrap());
        }
        reports
    };
    timeout(PATIENCE, told).await.unwrap()
}

#[track_caller]
fn is_whole(report: &CallReport) {
    // Two hundred calls at once keep a small machine so busy that sound overtakes the answer it belongs to: before any
    // reload, and inside the far end.
    let mut complaints = report.complaints.iter();
    let complaint = complaints.find(|complaint| !complaint.contains(" too early "));
    assert_eq!((report.status, complaint), (200, None), "{report:#?}");
    // By what was sent and in its order: a busy machine is slow, and how much it says in a second tells nothing.
    let heard = &report.heard;
    assert!(heard.first_audio_ms.is_some(), "{report:#?}");
    assert_eq!((heard.lost, heard.ssrcs), (0, 1), "{report:#?}");
    match report.ended_by {
        Some(EndedBy::Us) => assert_eq!(report.bye_reason, None),
        Some(EndedBy::Bridge) => {
            let reason = report.bye_reason.as_deref().unwrap_or_default();
            assert!(reason.starts_with("Q.850;cause=16;"), "{report:#?}");
        }
        None => panic!("{report:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_go_on_through_fifty_reloads_and_a_bad_file_leaves_nothing() {
    let folder = Folder::new();
    let file = folder.path("wabridge.toml");
    folder.write("wabridge.toml", &configuration(50));
    let mut bridge = Bridge::start(&file).await;
    let (meta, pbx) = (meta(&folder).await, pbx().await);
    let calls = place(&meta, &pbx, 0..CALLS);
    all_are_heard(&meta, &pbx, 2 * CALLS).await;
    let (files, threads) = bridge.holds();
    let client = tls::client_config(&folder.roots()).unwrap();
    assert_eq!(shown(client.clone()).await, folder.certificate());

    let mut good = configuration(50);
    for round in 0..RELOADS / 2 {
        let shown_before = folder.certificate();
        let (bad, why) = invalid(&good, round);
        folder.write("wabridge.toml", &bad);
        bridge.signal("-HUP");
        let said = bridge.says(&["is not taken over"]).await;
        assert!(said.contains(why), "{said}");
        assert_eq!(shown(client.clone()).await, shown_before);

        // Every other time the good file says what is in force already: had the bad one left anything, it would be named.
        let changes = round % 2 == 1;
        if changes {
            good = configuration(51 + round);
            folder.certify(HOSTNAME, "bridge");
        }
        folder.write("wabridge.toml", &good);
        bridge.signal("-HUP");
        let said = bridge
            .says(&["was taken over", "nothing has changed"])
            .await;
        let expected = match changes {
            true => "changed=\"calls.ring_timeout, meta.certificate\"",
            false => "nothing has changed",
        };
        assert!(said.contains(expected), "{said}");
        assert_eq!(shown(client.clone()).await, folder.certificate());
    }
    // What the connections above took is given back; so is whatever a reload takes.
    let mut now = bridge.holds();
    let settled = async {
        while now.0 > files || now.1 > threads {
            tokio::time::sleep(Duration::from_millis(20)).await;
            now = bridge.holds();
        }
    };
    let settled = timeout(PATIENCE, settled).await.is_ok();
    assert!(settled, "{:?} became {now:?}", (files, threads));

    all_are_heard(&meta, &pbx, 2 * CALLS).await;
    let reports = hang_up(&meta, &pbx, calls).await;
    assert_eq!(reports.len(), 4 * CALLS);
    reports.iter().for_each(is_whole);
    let by_meta = |report: &&CallReport| report.ended_by == Some(EndedBy::Us);
    assert_eq!(reports.iter().filter(by_meta).count(), 2 * CALLS);

    // And calls come and go under the last configuration.
    let calls = place(&meta, &pbx, CALLS..CALLS + 1);
    all_are_heard(&meta, &pbx, 2).await;
    let reports = hang_up(&meta, &pbx, calls).await;
    reports.iter().for_each(is_whole);
    for end in [meta, pbx] {
        assert_eq!(end.shutdown().await, Vec::<String>::new());
    }
    let log = bridge.stop().await;
    let ended: Vec<_> = log.iter().filter(|l| l.contains("call ended")).collect();
    assert_eq!(ended.len(), 2 * CALLS + 2);
    for line in ended {
        assert!(line.contains(" ended_by=meta "), "{line}");
        let count = |after: &str| -> u64 {
            let (_, rest) = line.split_once(after).unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        let (metas, pbxs) = line.split_once(" pbx=in ").unwrap();
        assert!(
            metas.contains(" lost 0 out ") && pbxs.contains(" lost 0 out "),
            "{line}"
        );
        // Meta is sent silence beside what the PBX says; the PBX is sent what Meta says and nothing else.
        let (_, to_pbx) = pbxs.split_once(" out ").unwrap();
        let to_pbx = to_pbx.split(' ').next().unwrap().parse();
        assert_eq!(Ok(count(" meta=in ")), to_pbx, "{line}");
        // Where Meta's ACK took long, which a reload has no part in, what was said before may be more than is kept.
        let to_meta = count(" out ") + count(" not_kept=");
        assert!(to_meta >= count(" pbx=in "), "{line}");
    }
}
