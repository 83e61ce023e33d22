//! The daemon under measurement: the program itself, as `wabridge run` starts it, on loopback addresses of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use super::messages::{BUSINESS, PASSWORD};
use super::process::{Memory, Process};

/// The name that Meta knows the bridge by.
pub const HOSTNAME: &str = "meta-voip.example.com";

/// A running daemon; ends with this value.
pub struct Daemon {
    process: Process,
    /// Its own certificate, which also vouches for itself.
    pub certificate: CertificateDer<'static>,
    folder: TempDir,
}

/// How it is started.
#[derive(Default)]
pub struct Start {
    /// The one processor that it may use.
    pub core: Option<usize>,
    /// What the limits are raised to, where calls come faster or are more than users have them.
    pub calls: Option<u32>,
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
        Daemon::start_as(&Start::default())
    }

    /// The same, in another way.
    pub fn start_as(start: &Start) -> Daemon {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = rcgen::generate_simple_self_signed([HOSTNAME.to_owned()]).expect("a pair");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the temporary folder is ours");
        };
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        write("bench.toml", configuration(start.calls));
        let log = fs::File::create(folder.path().join("log")).expect("as above");
        // A call takes three sockets; the usual limit is 1024, and the permitted one far beyond.
        let child = pinned(start.core)
            .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" run -c \"$1\""])
            .arg(env!("CARGO_BIN_EXE_wabridge"))
            .arg(folder.path().join("bench.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon has been built");
        let mut daemon = Daemon {
            process: Process::of(child),
            certificate: made.cert.der().clone(),
            folder,
        };
        daemon.wait_until_it_listens();
        daemon
    }

    fn wait_until_it_listens(&mut self) {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(for_meta()).is_err() {
            if self.process.has_ended() || Instant::now() > patience {
                panic!("the daemon does not listen:\n{}", self.log());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// By which the system knows it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How much memory it has now.
    pub fn memory(&self) -> Memory {
        self.process.memory()
    }

    /// How long its threads have been on a processor.
    pub fn cpu(&self) -> Duration {
        self.process.cpu_of_threads()
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A shell that, and whatever it becomes, may use this processor only.
pub fn pinned(core: Option<usize>) -> Command {
    let Some(core) = core else {
        return Command::new("sh");
    };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), "sh"]);
    command
}

/// What is not set is as users have it.
fn configuration(calls: Option<u32>) -> String {
    let (meta, udp, pbx) = (for_meta(), for_pbx(), of_pbx());
    let (here, simulated) = (own_address(1), own_address(2));
    // One address has too few ports for thousands of calls, most of all while those of ended calls rest. Two transactions
    // of a call are remembered for 64 × T1, so that by default some 300 calls a second fill the table for good.
    let (calls, media) = match calls {
        None => (2_000, media(here, "20000-29999")),
        Some(calls) => (calls, media(own_address(4), "10000-59999")),
    };
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
max = {calls}

[transactions]
max_transactions = 1000000

[admin]
listen = "off"

[media]
meta_address = "{here}"
{media}
# The far ends of the benches say nothing for minutes.
silence_timeout = 600
"#
    )
}

fn media(pbx_address: IpAddr, ports: &str) -> String {
    format!("pbx_address = \"{pbx_address}\"\nports = \"{ports}\"\nport_rest = 1")
}
