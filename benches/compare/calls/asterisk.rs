//! Asterisk 22 as the B2BUA on the same ladder: TLS and digest towards Meta with SDES, UDP and RTP towards the PBX.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use crate::far_ends::daemon::{HOSTNAME, of_pbx, own_address, pinned};
use crate::far_ends::messages::{BUSINESS, PASSWORD};
use crate::far_ends::process::Process;

/// A running Asterisk; ends with this value.
pub struct Asterisk {
    process: Process,
    /// Its own certificate, which also vouches for itself.
    pub certificate: CertificateDer<'static>,
    folder: TempDir,
}

/// Where Meta reaches it.
pub fn for_meta() -> SocketAddr {
    SocketAddr::new(own_address(5), 5061)
}

/// Where the PBX reaches it.
pub fn for_pbx() -> SocketAddr {
    SocketAddr::new(own_address(5), 5070)
}

/// Why there may be none; `tests/peers/unpack` brings it.
pub fn is_missing() -> bool {
    !root().join("target/peers/sid/usr/sbin/asterisk").exists()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Asterisk {
    /// Starts it on one processor, and returns when it takes connections.
    pub fn start(core: Option<usize>) -> Asterisk {
        // Its control socket's path may have 107 characters.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = rcgen::generate_simple_self_signed([HOSTNAME.to_owned()]).expect("a pair");
        for name in ["etc", "lib", "spool", "log"] {
            fs::create_dir(folder.path().join(name)).expect("the temporary folder is ours");
        }
        let run = folder.path().to_str().expect("a name in ASCII");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the temporary folder is ours");
        };
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        for (name, text) in files(run) {
            write(&format!("etc/{name}"), text);
        }
        let log = fs::File::create(folder.path().join("output")).expect("as above");
        let child = pinned(core)
            .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" -f -C \"$1\""])
            .arg(root().join("tests/peers/asterisk"))
            .arg(folder.path().join("etc/asterisk.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it has been unpacked");
        let mut asterisk = Asterisk {
            process: Process::of(child),
            certificate: made.cert.der().clone(),
            folder,
        };
        asterisk.wait_until_it_listens();
        asterisk
    }

    fn wait_until_it_listens(&mut self) {
        let patience = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(for_meta()).is_err() {
            if self.process.has_ended() || Instant::now() > patience {
                panic!("Asterisk does not listen:\n{}", self.log());
            }
            sleep(Duration::from_millis(50));
        }
        // The transports come before the dial plan.
        sleep(Duration::from_secs(2));
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }
}

/// Its configuration. What a call does not need is not loaded, and nothing is logged but warnings.
fn files(run: &str) -> [(&'static str, String); 6] {
    let tests = |name: &str| {
        fs::read_to_string(root().join("tests/asterisk").join(name)).expect("it is in the sources")
    };
    let tree = root().join("target/peers/sid/usr");
    let asterisk = tests("asterisk.conf")
        .replace("@RUN@", run)
        .replace("@TREE@", tree.to_str().expect("a name in ASCII"))
        .replace("maxfiles = 4096", "maxfiles = 20000");
    [
        ("asterisk.conf", asterisk),
        ("modules.conf", tests("modules.conf")),
        (
            "logger.conf",
            "[general]\n[logfiles]\nmessages => warning,error\n".to_owned(),
        ),
        (
            "rtp.conf",
            "[general]\nrtpstart=10000\nrtpend=59999\nicesupport=no\n".to_owned(),
        ),
        (
            "extensions.conf",
            "[from-meta]\nexten => _+X.,1,Dial(PJSIP/100@pbx)\n".to_owned(),
        ),
        ("pjsip.conf", pjsip(run)),
    ]
}

fn pjsip(run: &str) -> String {
    let (meta, here, udp, pbx) = (own_address(2), for_meta(), for_pbx(), of_pbx());
    let (address, name) = (here.ip(), BUSINESS.trim_start_matches('+'));
    format!(
        "[global]
type=global
endpoint_identifier_order=ip

[tls]
type=transport
protocol=tls
bind={here}
cert_file={run}/cert.pem
priv_key_file={run}/key.pem
method=tlsv1_2

[udp]
type=transport
protocol=udp
bind={udp}

[meta]
type=identify
endpoint=meta
match={meta}

[meta]
type=auth
auth_type=userpass
username={name}
password={PASSWORD}
realm={HOSTNAME}

[meta]
type=endpoint
transport=tls
context=from-meta
auth=meta
disallow=all
allow=opus
media_encryption=sdes
rtcp_mux=yes
direct_media=no
timers=no
100rel=no
send_connected_line=no
media_address={address}
bind_rtp_to_media_address=yes

[pbx]
type=aor
contact=sip:{pbx}
qualify_frequency=0

[pbx]
type=endpoint
transport=udp
context=nobody
aors=pbx
disallow=all
allow=opus
direct_media=no
timers=no
100rel=no
send_connected_line=no
media_address={address}
bind_rtp_to_media_address=yes
"
    )
}
