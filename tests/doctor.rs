//! `wabridge doctor` as an operator runs it, beside a bridge that runs and one that does not.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wabridge::config::Config;
use wabridge::daemon::{Daemon, Trust};
use wabridge::sim::Answering;
use wabridge::sim::meta::{Challenges, DigestUri};
use wabridge::sim::relay;
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sip::transport::Protocol;
use wabridge::sip::transport::tls::{self, Roots};

#[path = "conf/workshop.rs"]
#[expect(dead_code, reason = "the tests of configuration need more of it")]
mod workshop;

use workshop::Workshop;

const BUSINESS: &str = "+12145551869";

struct Place {
    workshop: Workshop,
    ours: IpAddr,
    metas: IpAddr,
    pbxs: IpAddr,
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

    /// A configuration that lets this host itself call, or not.
    fn configuration(&self, allowed: &str) -> PathBuf {
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
            allowed_sources = ["{metas}/32"{allowed}]
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
            max = 100
            [admin]
            listen = "off"
            [media]
            meta_address = "{ours}"
            pbx_address = "{ours}"
            ports = "20000-20999"
            "#
        );
        self.workshop.write("wabridge.toml", &text)
    }

    async fn meta(&self) -> FarEnd {
        let [certificate, key] = ["meta.pem", "meta.key"].map(|name| self.workshop.path(name));
        let roots = Roots {
            files: vec![self.workshop.path("ca.pem")],
            ..Roots::default()
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
            businesses: Vec::new(),
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
}

/// What the doctor says, and its exit code, which must agree.
async fn doctor(configuration: &Path) -> Vec<Value> {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_wabridge"));
    doctor.args(["doctor", "--json", "-c"]).arg(configuration);
    let output = tokio::task::spawn_blocking(move || doctor.output().unwrap());
    let output = output.await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ok"], output.status.success(), "{told:#}");
    told["findings"].as_array().unwrap().clone()
}

/// There is a finding of this level about this that says so.
#[track_caller]
fn says(findings: &[Value], level: &str, about: &str, what: &str) {
    let is_it = |finding: &&Value| {
        finding["level"] == level
            && finding["about"] == about
            && finding["what"]
                .as_str()
                .is_some_and(|said| said.contains(what))
    };
    assert!(
        findings.iter().any(|finding| is_it(&finding)),
        "no {level} about {about}: {what:?} in {findings:#?}"
    );
    for finding in findings {
        let text = finding.to_string();
        assert!(!text.contains(&BUSINESS[1..]), "{text}");
        assert!(!text.contains("meta-generated-secret"), "{text}");
        let mends = matches!(finding["level"].as_str(), Some("warn" | "fail"));
        assert!(!mends || finding["remedy"] != "", "what to do? {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_bridge_that_runs_everything_is_asked_and_nothing_rings() {
    let place = Place::new(20);
    let configuration = place.configuration(", \"127.0.0.1/32\"");
    let config = Config::load(&configuration).unwrap();
    let trust = Trust::of(&config);
    let bridge = Daemon::start(config, &trust).await.unwrap();
    let (meta, pbx) = (place.meta().await, place.pbx().await);
    let findings = doctor(&configuration).await;
    says(
        &findings,
        "ok",
        "listener",
        "shows the configured certificate",
    );
    says(
        &findings,
        "ok",
        "listener",
        "challenges a call with 407, realm bridge.example.com",
    );
    says(
        &findings,
        "ok",
        "number",
        "a call is challenged, and let in with the configured password",
    );
    says(
        &findings,
        "ok",
        "number",
        "goes with meta.hostname bridge.example.com",
    );
    says(
        &findings,
        "note",
        "number",
        "SIP server for this number is bridge.example.com",
    );
    says(&findings, "ok", "meta", "with a certificate of its own");
    says(&findings, "ok", "media", "1000 UDP ports");
    // The development certificate is no public one.
    says(&findings, "fail", "certificate", "no public authority");
    assert!(findings.iter().any(|finding| finding["about"] == "pbx"));
    assert_eq!(meta.shutdown().await, Vec::<String>::new());
    pbx.shutdown().await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_call_is_told_so_and_that_is_well() {
    let place = Place::new(21);
    let configuration = place.configuration("");
    let config = Config::load(&configuration).unwrap();
    let trust = Trust::of(&config);
    let bridge = Daemon::start(config, &trust).await.unwrap();
    let findings = doctor(&configuration).await;
    says(
        &findings,
        "ok",
        "listener",
        "not in meta.allowed_sources, as it should be",
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_runs_the_doctor_listens_itself_and_says_who_is_silent() {
    let place = Place::new(22);
    let findings = doctor(&place.configuration("")).await;
    says(
        &findings,
        "ok",
        "listener",
        "the bridge does not run just now",
    );
    says(
        &findings,
        "warn",
        "meta",
        "no connection to 127.87.22.2:5061",
    );
    says(&findings, "fail", "meta", "cannot be reached");
    says(&findings, "fail", "pbx", "main: no answer to OPTIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_is_a_failure_with_its_remedy() {
    let place = Place::new(23);
    // It is bound and not listened on: connections are refused, and nobody else can have it.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind(SocketAddr::new(place.ours, 5061)).unwrap();
    let findings = doctor(&place.configuration("")).await;
    says(
        &findings,
        "fail",
        "listener",
        "127.87.23.1:5061 cannot be listened on",
    );
}
