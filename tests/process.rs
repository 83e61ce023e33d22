//! The program as it is shipped: what a system allows it, and who reads what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "conf/workshop.rs"]
#[expect(dead_code, reason = "the tests of configuration need more of it")]
mod workshop;

use workshop::Workshop;

/// Nothing here takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bridge of its own addresses, in a process of its own.
struct Bridge {
    process: Child,
    workshop: Workshop,
    net: u8,
}

impl Bridge {
    /// `net`: tests run side by side. The shell may set limits before. It serves its pages when this returns; nobody has
    /// read what it logs.
    fn start(net: u8, limits: &str) -> Bridge {
        let workshop = Workshop::new();
        let file = configure(&workshop, net, 10);
        let process = Command::new("bash")
            .arg("-c")
            .arg(format!("{limits} exec \"$0\" run -c \"$1\""))
            .arg(env!("CARGO_BIN_EXE_wabridge"))
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let bridge = Bridge {
            process,
            workshop,
            net,
        };
        bridge.until("it serves its pages", || bridge.asked("/healthz").is_some());
        bridge
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let asked = Instant::now();
        while !holds() {
            assert!(asked.elapsed() < PATIENCE, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a page says, if it can be had.
    fn asked(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(ours(self.net, 9091)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// How many files it may open.
    fn files_allowed(&self) -> u64 {
        let limits = format!("/proc/{}/limits", self.process.id());
        let limits = std::fs::read_to_string(limits).unwrap();
        let line = limits
            .lines()
            .find_map(|l| l.strip_prefix("Max open files"));
        let soft = line.unwrap().split_whitespace().next().unwrap();
        soft.parse().unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ours(net: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 25, net, 1]), port)
}

fn configure(workshop: &Workshop, net: u8, calls: u16) -> PathBuf {
    let (ours, pbxs) = (ours(net, 0).ip(), format!("127.25.{net}.3"));
    let text = format!(
        r#"
        [meta]
        listen = "{ours}:5061"
        hostname = "bridge.example.com"
        certificate = "fullchain.pem"
        key = "privkey.pem"
        address = "127.25.{net}.2"
        ca_file = "ca.pem"
        [[number]]
        number = "+12145551869"
        password_file = "password"
        [[pbx]]
        name = "main"
        address = "{pbxs}:5060"
        options_interval = 0
        [pbx_listener]
        udp = "{ours}:5070"
        tcp = "off"
        [calls]
        max = {calls}
        [admin]
        listen = "{ours}:9091"
        [media]
        meta_address = "{ours}"
        pbx_address = "{ours}"
        "#
    );
    workshop.write("wabridge.toml", &text)
}

#[test]
fn a_reload_that_raises_calls_max_raises_the_limit_of_open_files() {
    let bridge = Bridge::start(1, "ulimit -S -n 1024;");
    let before = bridge.files_allowed();
    assert!((1024..2024).contains(&before), "{before}");
    configure(&bridge.workshop, 1, 500);
    bridge.signal("-HUP");
    bridge.until("two files a call more at least", || {
        bridge.files_allowed() >= before + 2 * 490
    });
}

#[test]
fn whoever_reads_the_log_may_stand_still_and_finds_later_what_was_logged() {
    let mut bridge = Bridge::start(2, "");
    // Each leaves a line of its own. A pipe holds 64 KiB.
    let pbx = UdpSocket::bind(("127.25.2.3", 0)).unwrap();
    let wanted = 2000;
    let malformed = || {
        let page = bridge.asked("/metrics").expect("signalling stands still");
        let count = "wabridge_sip_malformed_total{leg=\"pbx\"} ";
        let count = page.lines().find_map(|line| line.strip_prefix(count));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    let started = Instant::now();
    while malformed() < wanted {
        assert!(started.elapsed() < PATIENCE, "{}", malformed());
        for _ in 0..100 {
            pbx.send_to(b"no SIP", ours(2, 5070)).unwrap();
        }
    }
    let health = bridge.asked("/healthz").unwrap();
    assert!(health.contains(" 200 "), "{health}");

    let lines = BufReader::new(bridge.process.stderr.take().unwrap()).lines();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    bridge.signal("-TERM");
    assert!(bridge.process.wait().unwrap().success());
    let log = reader.join().unwrap();
    let told = log
        .iter()
        .filter(|l| l.contains("cannot read what came in"));
    assert!(told.count() >= wanted, "{} lines", log.len());
    let last = log.last().unwrap();
    assert!(last.contains(" stopped"), "what was said last: {last}");
}

#[test]
fn what_is_in_force_can_be_printed_into_a_pipe_that_is_closed() {
    let workshop = Workshop::new();
    let file = configure(&workshop, 3, 10);
    let mut print = Command::new(env!("CARGO_BIN_EXE_wabridge"))
        .args(["config", "print", "-c"])
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(print.stdout.take());
    let said = print.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaint.is_empty(), "{complaint}");
}
