//! The daemon under measurement: the program itself, as `wabridge run` starts it, on loopback addresses of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use super::messages::{BUSINESS, PASSWORD};

/// The name that Meta knows the bridge by.
pub const HOSTNAME: &str = "meta-voip.example.com";

/// A running daemon; ends with this value.
pub struct Daemon {
    child: Child,
    /// Its own certificate, which also vouches for itself.
    pub certificate: CertificateDer<'static>,
    folder: TempDir,
}

/// What the kernel says of a process's memory, in kB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Pages in memory: `VmRSS`.
    pub resident: i64,
    /// Those of them that no file stands behind, which is what calls cost: `RssAnon`.
    pub anonymous: i64,
}

/// An address of this run: 1 is the bridge, 2 Meta, 3 the PBX.
pub fn own_address(host: u8) -> IpAddr {
    let [.., middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 128 | middle & 63, low, host])
}

/// Where Meta reaches the bridge.
pub fn for_meta() -> SocketAddr {
    SocketAddr::new(own_address(1), 5061)
}

/// Where the PBX reaches the bridge.
pub fn for_pbx() -> SocketAddr {
    SocketAddr::new(own_address(1), 5070)
}

/// Where the bridge reaches the PBX.
pub fn of_pbx() -> SocketAddr {
    SocketAddr::new(own_address(3), 5060)
}

impl Daemon {
    /// Starts it, and returns when it takes connections.
    pub fn start() -> Daemon {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = rcgen::generate_simple_self_signed([HOSTNAME.to_owned()]).expect("a pair");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the temporary folder is ours");
        };
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        write("bench.toml", configuration());
        let log = fs::File::create(folder.path().join("log")).expect("as above");
        // A call takes three sockets; the usual limit is 1024, and the permitted one far beyond.
        let child = Command::new("sh")
            .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" run -c \"$1\""])
            .arg(env!("CARGO_BIN_EXE_wabridge"))
            .arg(folder.path().join("bench.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon has been built");
        let mut daemon = Daemon {
            child,
            certificate: made.cert.der().clone(),
            folder,
        };
        daemon.wait_until_it_listens();
        daemon
    }

    fn wait_until_it_listens(&mut self) {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(for_meta()).is_err() {
            let ended = self.child.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > patience {
                let log = fs::read_to_string(self.folder.path().join("log"));
                panic!("the daemon does not listen:\n{}", log.unwrap_or_default());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// By which the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How much memory it has now.
    pub fn memory(&self) -> Memory {
        let status = self.proc("status");
        let kilobytes = |key: &str| -> i64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.split_ascii_whitespace().next());
            value
                .and_then(|value| value.parse().ok())
                .expect("Linux tells it")
        };
        Memory {
            resident: kilobytes("VmRSS:"),
            anonymous: kilobytes("RssAnon:"),
        }
    }

    /// How long its threads have been on a processor.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let on_cpu = |task: fs::DirEntry| -> u64 {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = stat.split_ascii_whitespace().next();
            nanoseconds.and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.flatten().map(on_cpu).sum())
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("it runs")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is not set is as users have it.
fn configuration() -> String {
    let (meta, udp, pbx) = (for_meta(), for_pbx(), of_pbx());
    let (here, simulated) = (own_address(1), own_address(2));
    format!(
        r#"
[meta]
listen = "{meta}"
hostname = "{HOSTNAME}"
# Never connected to here, but it says that this Meta can reach loopback.
address = "{simulated}"
certificate = "cert.pem"
key = "key.pem"
ca_file = "cert.pem"
allowed_sources = ["127.0.0.0/8"]

[[number]]
number = "{BUSINESS}"
password = "{PASSWORD}"
target = "100"

[[pbx]]
name = "main"
address = "{pbx}"
# Its far end answers what belongs to calls.
options_interval = 0

[pbx_listener]
udp = "{udp}"
tcp = "off"

[calls]
max = 2000

[transactions]
# Each call leaves two behind for 32 s, and these are hundreds of calls a second.
max_transactions = 500000

[admin]
listen = "off"

[media]
meta_address = "{here}"
pbx_address = "{here}"
ports = "20000-29999"
port_rest = 1
# The far ends of the benches say nothing for minutes.
silence_timeout = 600
"#
    )
}
