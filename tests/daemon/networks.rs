//! PBXs in different networks, one of them over IPv6: each has its own media address of ours.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::timeout;
use wabridge::config::Config;
use wabridge::daemon::{Daemon, Reloaded, Trust};
use wabridge::sim::run::{FarEnd, MetaEnd, PbxEnd};
use wabridge::sim::{Answering, CallReport, Outgoing, Plan};
use wabridge::sip::transport::Protocol;

use super::{BUSINESS, Place, USER, Workshop, business, logged};

/// The number of the PBX over IPv6.
const SIX: &str = "+12145551870";
/// A number whose calls that one gets if the other does not take them.
const EITHER: &str = "+12145551871";
const PATIENCE: Duration = Duration::from_secs(30);

/// A bridge between a Meta, a PBX over IPv4 and one over IPv6.
struct Networks {
    place: Place,
    /// Where the bridge has media of the PBX over IPv4.
    media: IpAddr,
    /// Where the PBX over IPv6 is.
    six: SocketAddr,
}

impl Networks {
    /// `net`: tests run side by side.
    fn new(net: u8) -> Networks {
        let _ = super::log();
        let at = |last: u8| IpAddr::from([127, 22, net, last]);
        // There is one such address only, so its port must be one that nobody has.
        let free = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        Networks {
            place: Place {
                workshop: Workshop::new(),
                ours: at(1),
                metas: at(2),
                pbxs: at(3),
            },
            media: at(4),
            six: free.local_addr().unwrap(),
        }
    }

    /// With the PBX over IPv4 alone, or with that over IPv6, which has this media address.
    fn config(&self, six: Option<&str>) -> Config {
        let Networks { place, media, .. } = self;
        let (ours, metas, pbxs) = (place.ours, place.metas, place.pbxs);
        let mut text = format!(
            r#"
            [meta]
            listen = "{ours}:5061"
            hostname = "bridge.example.com"
            certificate = "fullchain.pem"
            key = "privkey.pem"
            address = "{metas}"
            ca_file = "ca.pem"
            allowed_sources = ["{metas}/32"]
            [pbx_listener]
            udp = ["{ours}:5070", "[::1]:0"]
            tcp = "off"
            [media]
            meta_address = "{ours}"
            pbx_address = "{ours}"
            [admin]
            listen = "off"
            [[number]]
            number = "{BUSINESS}"
            password_file = "password"
            pbx = "main"
            [[pbx]]
            name = "main"
            address = "{pbxs}:5060"
            media_address = "{media}"
            options_interval = 0
            try_timeout = 1
            "#
        );
        if let Some(media) = six {
            text += &format!(
                r#"
                [[pbx]]
                name = "six"
                address = "{}"
                media_address = "{media}"
                [[number]]
                number = "{SIX}"
                password_file = "password"
                pbx = "six"
                [[number]]
                number = "{EITHER}"
                password_file = "password"
                pbx = ["main", "six"]
                "#,
                self.six
            );
        }
        let config = self.place.workshop.load(&text);
        config.unwrap_or_else(|p| panic!("{p:#?}"))
    }

    async fn bridge(&self, six: Option<&str>) -> Result<Daemon, String> {
        let config = self.config(six);
        let started = Daemon::start(config.clone(), &Trust::of(&config)).await;
        started.map_err(|error| error.to_string())
    }

    async fn reload(&self, bridge: &mut Daemon, six: Option<&str>) -> Result<Reloaded, String> {
        let config = self.config(six);
        let trust = Trust::of(&config);
        let reloaded = bridge.reload(config, &trust).await;
        reloaded.map_err(|error| error.to_string())
    }

    async fn meta(&self) -> FarEnd {
        let Place { workshop, .. } = &self.place;
        let meta = MetaEnd {
            businesses: [BUSINESS, SIX, EITHER].map(business).into(),
            ..self
                .place
                .meta_end(&workshop.path("meta.pem"), &workshop.path("meta.key"))
        };
        FarEnd::meta(meta).await.unwrap()
    }

    async fn pbx_over_ipv6(&self, bridge: &Daemon) -> FarEnd {
        let mut listeners = bridge.addresses().pbx.udp.iter();
        let pbx = PbxEnd {
            listen: self.six,
            protocol: Protocol::Udp,
            media: self.six.ip(),
            path: Default::default(),
            speaks: Default::default(),
            bridge: *listeners.find(|listener| listener.is_ipv6()).unwrap(),
            answering: Answering::default(),
        };
        FarEnd::pbx(pbx).await.unwrap()
    }
}

fn outgoing(from: &str, to: &str) -> Outgoing {
    Outgoing {
        from: from.into(),
        to: to.into(),
        plan: Plan {
            talk: Some(Duration::from_secs(1)),
            ..Plan::default()
        },
        ..Outgoing::default()
    }
}

#[track_caller]
fn all_heard(reports: impl IntoIterator<Item = Option<CallReport>>) {
    for report in reports {
        let report = report.expect("it is still there");
        assert!(report.ok(), "{report:#?}");
    }
}

#[tokio::test]
async fn pbxs_over_ipv4_and_ipv6_are_heard_side_by_side_when_a_reload_has_brought_the_second() {
    let networks = Networks::new(1);
    let mut bridge = networks.bridge(None).await.unwrap();
    let (meta, four) = (networks.meta().await, networks.place.pbx().await);
    let reloaded = networks.reload(&mut bridge, Some("::1")).await.unwrap();
    let changed = reloaded.changed.iter().map(ToString::to_string);
    assert!(changed.into_iter().any(|key| key == "pbx[six] added"));
    let six = networks.pbx_over_ipv6(&bridge).await;
    let users = async {
        tokio::join!(
            meta.call(outgoing(USER, BUSINESS)),
            meta.call(outgoing(USER, SIX)),
            four.taken(),
            six.taken(),
        )
    };
    all_heard(<[_; 4]>::from(timeout(PATIENCE, users).await.unwrap()));
    let pbxs = async {
        tokio::join!(
            four.call(outgoing(BUSINESS, USER)),
            six.call(outgoing(SIX, USER)),
            meta.taken(),
            meta.taken(),
        )
    };
    all_heard(<[_; 4]>::from(timeout(PATIENCE, pbxs).await.unwrap()));
    let view = bridge.view();
    let status = view.status(&view.snapshot().await.unwrap());
    let [ours, media] = [networks.place.ours, networks.media].map(|ip| ip.to_string());
    let expected = [(ours, 4), (media, 2), ("::1".to_owned(), 2)];
    assert_eq!(status.media_ports.len(), expected.len());
    for (ports, (address, pairs)) in status.media_ports.iter().zip(expected) {
        assert_eq!(ports.address, address);
        // Pairs that others have at the only address of its kind are passed over, and rest as well.
        assert!(ports.in_use + ports.resting >= pairs, "{ports:?}");
    }
    for end in [meta, four, six] {
        assert_eq!(end.shutdown().await, Vec::<String>::new());
    }
    bridge.stop().await;
}

#[tokio::test]
async fn a_call_that_the_pbx_over_ipv4_does_not_take_is_heard_at_the_one_over_ipv6() {
    let networks = Networks::new(2);
    let bridge = networks.bridge(Some("::1")).await.unwrap();
    let (meta, six) = (networks.meta().await, networks.pbx_over_ipv6(&bridge).await);
    let call = async { tokio::join!(meta.call(outgoing(USER, EITHER)), six.taken()) };
    all_heard(<[_; 2]>::from(timeout(PATIENCE, call).await.unwrap()));
    for end in [meta, six] {
        assert_eq!(end.shutdown().await, Vec::<String>::new());
    }
    bridge.stop().await;
    let log = logged();
    let is_it = |line: &&str| line.contains("goes to the next address");
    let line = log.lines().find(is_it).expect(&log);
    assert!(line.contains("next_pbx=\"six\""), "{line}");
}

#[tokio::test]
async fn an_address_of_another_host_is_refused_at_the_start_and_in_a_reload_and_nothing_changes() {
    // Reserved for documents (RFC 3849): no host has it.
    let elsewhere = Some("2001:db8::22");
    let networks = Networks::new(3);
    let refused = networks.bridge(elsewhere).await.err().unwrap();
    let mut bridge = networks.bridge(None).await.unwrap();
    let again = networks.reload(&mut bridge, elsewhere).await.unwrap_err();
    for refused in [refused, again] {
        for part in [
            "2001:db8::22",
            "set pbx[six].media_address",
            "pbx[six].media_public_address is for that of a NAT",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    let reloaded = networks.reload(&mut bridge, None).await.unwrap();
    assert_eq!(reloaded, Reloaded::default());
    bridge.stop().await;
}
