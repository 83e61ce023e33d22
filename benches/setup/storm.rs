//! More and more calls a second, whole ones, over TLS and UDP on loopback: what is offered, what is completed, what is told 503
//! and how soon, and what setting a call up takes meanwhile. The daemon has one processor, the far ends have the others.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use wabridge::media::Codec;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::message::Common;
use wabridge::sip::transport::tls::{self, Roots};
use wabridge::sip::{Limits, Message, Response, build};

use crate::far_ends::daemon::{Daemon, HOSTNAME, for_meta, for_pbx, of_pbx, own_address};
use crate::far_ends::messages::{Caller, answer, read};
use crate::times::Times;

/// For how long each rate is offered; the first of it is not counted.
const OFFERED: Duration = Duration::from_secs(6);
const UNCOUNTED: Duration = Duration::from_secs(1);
/// For how long users talk.
const TALK: Duration = Duration::from_millis(200);
/// How long what is still under way may take to end.
const REST: Duration = Duration::from_secs(3);

/// Measures and prints.
pub fn run() {
    let pid = std::process::id();
    pin(pid, "1");
    let daemon = Daemon::start();
    pin(daemon.id(), "0");
    let _pbx = Pbx::start();
    println!("Calls a second, offered and completed; one processor for the daemon; times in ms");
    println!(
        "{:>8} {:>10} {:>8} {:>8} | {:>9} {:>9} {:>9} | {:>9} {:>9} | {:>12} {:>10}",
        "offered",
        "completed",
        "503",
        "other",
        "503: p50",
        "p99",
        "most",
        "set-up p50",
        "p99",
        "CPU-s a s",
        "µs a call"
    );
    for rate in rates() {
        measure(&daemon, rate);
    }
    println!();
}

/// Those named on the command line, or a ladder of them.
fn rates() -> Vec<u32> {
    let named: Vec<u32> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    match named.is_empty() {
        true => vec![100, 200, 400, 600, 800, 1000, 1200, 1500, 2000, 3000, 4000],
        false => named,
    }
}

fn pin(process: u32, processors: &str) {
    let done = Command::new("taskset")
        .args(["-a", "-p", "-c", processors, &process.to_string()])
        .output();
    if !done.is_ok_and(|done| done.status.success()) {
        eprintln!("(taskset failed: the daemon shares its processor)");
    }
}

fn measure(daemon: &Daemon, rate: u32) {
    let mut users = Users::of(daemon, rate);
    let started = Instant::now();
    let (mut cpu, mut counted) = (None, Count::default());
    let mut at_end = Duration::ZERO;
    while started.elapsed() < OFFERED + REST {
        if cpu.is_none() && started.elapsed() > UNCOUNTED {
            cpu = Some(daemon.cpu());
            users.count = Count::default();
        }
        let offers = started.elapsed() < OFFERED;
        if offers {
            users.call_when_due(started);
        } else if at_end.is_zero() {
            at_end = daemon.cpu();
            counted = std::mem::take(&mut users.count);
        }
        users.turn();
        if !offers && users.calls.is_empty() {
            break;
        }
    }
    let seconds = (OFFERED - UNCOUNTED).as_secs_f64();
    let used = (at_end - cpu.unwrap_or_default()).as_secs_f64();
    let each = |count: usize| count as f64 / seconds;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let of = |times: &Times, percent| match times.is_empty() {
        true => "-".to_owned(),
        false => format!("{:.1}", ms(times.percentile(percent))),
    };
    println!(
        "{rate:>8} {:>10.0} {:>8.0} {:>8.0} | {:>9} {:>9} {:>9} | {:>9} {:>9} | {:>12.2} {:>10.0}{}",
        each(counted.completed),
        each(counted.refused.len()),
        each(counted.other),
        of(&counted.refused, 50),
        of(&counted.refused, 99),
        of(&counted.refused, 100),
        of(&counted.set_up, 50),
        of(&counted.set_up, 99),
        used / seconds,
        used * 1e6 / counted.completed.max(1) as f64,
        match users.calls.len() {
            0 => String::new(),
            left => format!("  ({left} were never answered)"),
        }
    );
}

#[derive(Default)]
struct Count {
    completed: usize,
    other: usize,
    refused: Times,
    /// From the first INVITE to the 200, the challenge included.
    set_up: Times,
}

struct Call {
    caller: Caller,
    began: Instant,
}

/// Meta, with all its users on one connection.
struct Users {
    stream: StreamOwned<ClientConnection, TcpStream>,
    framer: Framer,
    calls: HashMap<String, Call>,
    /// Who hangs up, and when.
    talking: VecDeque<(Instant, String, Response)>,
    count: Count,
    rate: u32,
    begun: u64,
    number: u64,
    outgoing: Vec<u8>,
}

impl Users {
    fn of(daemon: &Daemon, rate: u32) -> Users {
        let roots = Roots::only(vec![daemon.certificate.clone()]);
        let config = tls::client_config(&roots).expect("the daemon's certificate is good");
        let name = ServerName::try_from(HOSTNAME).expect("a name");
        let connection = ClientConnection::new(config, name).expect("a client");
        let mut stream = TcpStream::connect(for_meta()).expect("the daemon listens");
        stream.set_nodelay(true).expect("a socket");
        let mut connection = connection;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a handshake");
        }
        stream.set_nonblocking(true).expect("a socket");
        Users {
            stream: StreamOwned::new(connection, stream),
            framer: Framer::new(Limits::default()),
            calls: HashMap::new(),
            talking: VecDeque::new(),
            count: Count::default(),
            rate,
            begun: 0,
            number: u64::from(rate) * 1_000_000,
            outgoing: Vec::new(),
        }
    }

    /// As many calls begin as should have by now, whatever becomes of those before.
    fn call_when_due(&mut self, started: Instant) {
        let due = (started.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
        while self.begun < due {
            self.begun += 1;
            self.number += 1;
            let mut caller = Caller::new(self.number, (own_address(2), 3480).into());
            let call_id = format!("storm-{}", self.number);
            caller.invite.headers.set("Call-ID", &call_id);
            self.outgoing.extend(caller.invite.to_bytes());
            let began = Instant::now();
            self.calls.insert(call_id, Call { caller, began });
        }
    }

    /// Writes and reads what can be.
    fn turn(&mut self) {
        let now = Instant::now();
        while self.talking.front().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, call_id, ok)) = self.talking.pop_front()
                && let Some(call) = self.calls.get(&call_id)
            {
                self.outgoing.extend(call.caller.bye(&ok).to_bytes());
            }
        }
        let wrote = self.write();
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the bridge has closed the connection"),
            Ok(length) => self.framer.push(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock && !wrote => {
                thread::sleep(Duration::from_micros(100));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(frame) = self.framer.next_frame().expect("the bridge frames well") {
            if let Frame::Message(bytes) = frame
                && let Message::Response(response) = read(&bytes)
            {
                self.answered(response);
            }
        }
    }

    fn write(&mut self) -> bool {
        if self.outgoing.is_empty() {
            let _ = self.stream.flush();
            return false;
        }
        match self.stream.write(&self.outgoing) {
            Ok(written) => drop(self.outgoing.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        let _ = self.stream.flush();
        true
    }

    fn answered(&mut self, response: Response) {
        let call_id = response.call_id().to_owned();
        let Some(call) = self.calls.get_mut(&call_id) else {
            return;
        };
        let method = response.cseq().map(|cseq| cseq.method.to_string());
        let of_bye = method.as_deref() == Some("BYE");
        match response.status {
            ..200 => {}
            200 if of_bye => {
                self.count.completed += 1;
                self.calls.remove(&call_id);
            }
            200 => {
                self.outgoing.extend(call.caller.ack(&response).to_bytes());
                self.count.set_up.add(call.began.elapsed());
                let until = Instant::now() + TALK;
                self.talking.push_back((until, call_id, response));
            }
            407 => {
                let ack = build::ack(&call.caller.invite, &response);
                self.outgoing.extend(ack.to_bytes());
                call.caller.authenticate(&response);
                self.outgoing.extend(call.caller.invite.to_bytes());
            }
            status => {
                let ack = build::ack(&call.caller.invite, &response);
                self.outgoing.extend(ack.to_bytes());
                match status {
                    503 => self.count.refused.add(call.began.elapsed()),
                    _ => self.count.other += 1,
                }
                self.calls.remove(&call_id);
            }
        }
    }
}

/// A PBX that takes every call at once.
struct Pbx {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pbx {
    fn start() -> Pbx {
        let socket = UdpSocket::bind(of_pbx()).expect("the address is ours alone");
        let patience = Some(Duration::from_millis(100));
        socket.set_read_timeout(patience).expect("a socket");
        let media = UdpSocket::bind((own_address(3), 16_000)).expect("the same");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let serve = move || {
            let mut buffer = [0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut buffer) else {
                    continue;
                };
                let Message::Request(request) = read(&buffer[..length]) else {
                    continue;
                };
                let to = media.local_addr().expect("bound");
                let answer = match request.method.to_string().as_str() {
                    "INVITE" => answer(&request, to, Codec::Opus),
                    "ACK" => continue,
                    _ => build::response(&request, 200, None),
                };
                let _ = socket.send_to(&answer.to_bytes(), for_pbx());
            }
        };
        Pbx {
            stop,
            thread: Some(thread::spawn(serve)),
        }
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
