//! Call records of the daemon as it is shipped: a process of its own, with signals, between a simulated Meta and PBX.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use wabridge::secret::Secret;
use wabridge::sim::meta::{Business, Challenges, DigestUri};
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sim::{Answering, CallReport, Outgoing, Plan, body, relay};
use wabridge::sip::transport::Protocol;
use wabridge::sip::transport::tls::{self, Roots};

#[path = "conf/workshop.rs"]
#[expect(dead_code, reason = "the tests of configuration need more of it")]
mod workshop;

use workshop::Workshop;

const BUSINESS: &str = "+12145551869";
const PATIENCE: Duration = Duration::from_secs(30);

/// A bridge of its own addresses, in a process of its own.
struct Place {
    workshop: Workshop,
    ours: IpAddr,
    metas: IpAddr,
    pbxs: IpAddr,
}

/// The process, and what it has said.
struct Bridge {
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Place {
    /// `net`: tests run side by side, each on three addresses that no other has.
    fn new(net: u8) -> Place {
        let last = |last: u8| IpAddr::from([127, 87, net, last]);
        Place {
            workshop: Workshop::new(),
            ours: last(1),
            metas: last(2),
            pbxs: last(3),
        }
    }

    fn configuration(&self) -> PathBuf {
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
            [calls]
            drain_time = 0
            [admin]
            listen = "off"
            [media]
            meta_address = "{ours}"
            pbx_address = "{ours}"
            [log]
            level = "info,wabridge::call=debug"
            [records]
            file = "records.jsonl"
            "#
        );
        self.workshop.write("wabridge.toml", &text)
    }

    /// Runs the bridge, which listens when this returns. The shell may set limits before.
    fn bridge(&self, limits: &str) -> Bridge {
        let mut process = Command::new("bash")
            .arg("-c")
            .arg(format!("{limits} exec \"$0\" run -c \"$1\""))
            .arg(env!("CARGO_BIN_EXE_wabridge"))
            .arg(self.configuration())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, written) = (BufReader::new(process.stderr.take().unwrap()), log.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        let bridge = Bridge { process, log };
        bridge.says("listening", 1);
        bridge
    }

    async fn meta(&self) -> FarEnd {
        let roots = Roots {
            files: vec![self.workshop.path("ca.pem")],
            ..Roots::default()
        };
        let (certificate, key) = (
            self.workshop.path("meta.pem"),
            self.workshop.path("meta.key"),
        );
        let business = Business {
            number: BUSINESS.parse().unwrap(),
            phone_number_id: "106540352242922".into(),
            hostname: "bridge.example.com".into(),
            password: Secret::new("meta-generated-secret"),
            keying: body::Keying::Dtls,
        };
        let end = MetaEnd {
            listen: SocketAddr::new(self.metas, 5061),
            media: self.metas,
            media6: None,
            relay: relay::Settings::default(),
            additional_codecs: Vec::new(),
            server: tls::server_config(&certificate, &key).unwrap(),
            client: tls::client_config(&roots).unwrap(),
            bridge: SocketAddr::new(self.ours, 5061),
            hostname: "bridge.example.com".into(),
            businesses: vec![business],
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: Answering::default(),
        };
        FarEnd::meta(end).await.unwrap()
    }

    async fn pbx(&self) -> FarEnd {
        let end = PbxEnd {
            listen: SocketAddr::new(self.pbxs, 5060),
            protocol: Protocol::Udp,
            media: self.pbxs,
            path: Default::default(),
            speaks: Default::default(),
            bridge: SocketAddr::new(self.ours, 5070),
            answering: Answering::default(),
        };
        FarEnd::pbx(end).await.unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.workshop.path(name)).unwrap_or_default()
    }

    /// The records in a file, each line of which must be a whole one. On a full disk half a line may stand there for a
    /// moment, until it is taken back.
    #[track_caller]
    fn records(&self, name: &str) -> Vec<Value> {
        let mut text = String::new();
        until("a last line end", || {
            text = self.text(name);
            (text.is_empty() || text.ends_with('\n'), text.clone())
        });
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(read).collect()
    }
}

impl Bridge {
    /// It has said this so many times, or will soon.
    #[track_caller]
    fn says(&self, what: &str, times: usize) {
        until(what, || {
            let log = self.log.lock().unwrap();
            let said = log.matches(what).count() >= times;
            (said, log.clone())
        });
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    fn ends_by(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.process.wait().unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It fails for a process that is gone already, as it should be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn until(what: &str, mut look: impl FnMut() -> (bool, String)) {
    let begun = Instant::now();
    loop {
        let (is_so, seen) = look();
        if is_so {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what:?} is missing in\n{seen}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Telephones of the PBX call, all at once, each a user of its own: Meta lets nobody call one twice.
fn call(pbx: &Arc<FarEnd>, calls: usize, talk: Option<Duration>) -> Vec<JoinHandle<CallReport>> {
    let one = |n| {
        let outgoing = Outgoing {
            from: BUSINESS.into(),
            to: format!("+1219555000{n}"),
            plan: Plan {
                talk,
                ..Plan::default()
            },
            ..Outgoing::default()
        };
        let pbx = pbx.clone();
        tokio::spawn(async move { pbx.call(outgoing).await.unwrap() })
    };
    (0..calls).map(one).collect()
}

async fn close(ends: Vec<FarEnd>) {
    for end in ends {
        end.shutdown().await;
    }
}

fn alone(pbx: Arc<FarEnd>) -> FarEnd {
    Arc::try_unwrap(pbx).unwrap_or_else(|_| panic!("a call is still up"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_with_calls_up_loses_no_record() {
    let place = Place::new(1);
    let bridge = place.bridge("");
    let (meta, pbx) = (place.meta().await, Arc::new(place.pbx().await));
    let calls = call(&pbx, 5, None);
    bridge.says("the DTLS handshake is done", 5);
    assert!(bridge.ends_by("TERM").success());
    let records = place.records("records.jsonl");
    assert_eq!(records.len(), 5, "{records:#?}");
    let users: BTreeSet<_> = records.iter().map(|r| r["user"].to_string()).collect();
    assert_eq!(users.len(), 5, "{users:?}");
    for record in &records {
        assert_eq!(record["ended_by"], "bridge", "{record:#}");
        assert_eq!(record["caller_status"], 200, "{record:#}");
        assert_eq!(record["keying"], "dtls", "{record:#}");
        assert!(record["duration_ms"].is_u64(), "{record:#}");
    }
    for call in calls {
        call.await.unwrap();
    }
    close(vec![meta, alone(pbx)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigkill_every_call_that_was_over_for_a_second_has_its_record_and_new_ones_follow() {
    let place = Place::new(2);
    let (meta, pbx) = (place.meta().await, Arc::new(place.pbx().await));
    let bridge = place.bridge("");
    for call in call(&pbx, 3, Some(Duration::from_millis(300))) {
        assert_eq!(call.await.unwrap().status, 200);
    }
    bridge.says("call ended", 3);
    let over = Instant::now();
    until("three records", || {
        let text = place.text("records.jsonl");
        (text.lines().count() == 3, text)
    });
    let took = over.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!bridge.ends_by("KILL").success());
    assert_eq!(place.records("records.jsonl").len(), 3);

    // As if it had been killed while it wrote.
    let torn = place.text("records.jsonl") + "{\"schema\":1,\"id\":\"x";
    place.workshop.write("records.jsonl", &torn);
    let bridge = place.bridge("");
    for call in call(&pbx, 1, Some(Duration::from_millis(300))) {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert!(bridge.ends_by("TERM").success());
    let text = place.text("records.jsonl");
    let whole: Vec<bool> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).is_ok())
        .collect();
    assert_eq!(whole, [true, true, true, false, true], "{text}");
    close(vec![meta, alone(pbx)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_touches_no_call_and_no_line_is_torn_or_lost() {
    let place = Place::new(3);
    let (meta, pbx) = (place.meta().await, Arc::new(place.pbx().await));
    // No file may have more than 5120 octets: less than four records.
    let bridge = place.bridge("trap '' XFSZ; ulimit -f 5;");
    for round in 0..2 {
        for call in call(&pbx, 4, Some(Duration::from_millis(300))) {
            let report = call.await.unwrap();
            assert_eq!(report.status, 200, "round {round}: {report:#?}");
            assert!(report.ok(), "round {round}: {report:#?}");
        }
    }
    bridge.says("call records cannot be written", 1);
    let first = place.records("records.jsonl").len();
    assert!((1..8).contains(&first), "{first}");

    // Room is made, by hand or by logrotate, and what has waited is written: as much as there is room for, each time. All
    // files are read each time, for the writer may be at work.
    let path = |name: &str| place.workshop.path(name);
    let mut moved = 0;
    until("all records", || {
        let whole = |name: &str| {
            let text = std::fs::read_to_string(path(name)).unwrap_or_default();
            text.matches('\n').count()
        };
        let here = whole("records.jsonl");
        let elsewhere: usize = (0..moved).map(|n| whole(&format!("moved.{n}"))).sum();
        let all = here + elsewhere;
        if all < 8 && here >= first {
            std::fs::rename(path("records.jsonl"), path(&format!("moved.{moved}"))).unwrap();
            moved += 1;
        }
        (all == 8, format!("{all} records in {} files", moved + 1))
    });
    let moved = (0..moved).map(|n| place.records(&format!("moved.{n}")).len());
    assert_eq!(
        moved.sum::<usize>() + place.records("records.jsonl").len(),
        8
    );
    bridge.says("call records are written again", 1);
    assert!(bridge.ends_by("TERM").success());
    close(vec![meta, alone(pbx)]).await;
}
