//! The set-up of the ladders: one number, one PBX, Meta as documented.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wabridge::call::Setup;
use wabridge::media::{Codec, Source};
use wabridge::number;
use wabridge::peer::{Meta, Pbx, pbx};
use wabridge::policy::{KeyExchange, Keying, Number, Numbers, Way, health};
use wabridge::sdp;
use wabridge::secret::Secret;
use wabridge::sip::dialog::Pace;
use wabridge::sip::digest::server;
use wabridge::sip::transaction;
use wabridge::sip::transport::Protocol;

use crate::world::*;

pub fn meta() -> Meta {
    Meta {
        domain: "wa.meta.vc".into(),
        port: 5061,
        our_port: 5061,
        digest: server::Settings::default(),
        realm: None,
        dtls_setup: Default::default(),
    }
}

/// The usual set-up with one thing changed about Meta.
pub fn with_meta(change: impl FnOnce(&mut Meta)) -> Setup {
    let mut changed = setup();
    change(Arc::make_mut(&mut changed.meta));
    changed
}

/// The usual set-up with one thing changed about the PBX.
pub fn with_pbx(change: impl FnOnce(&mut Pbx)) -> Setup {
    let mut changed = setup();
    change(Arc::make_mut(&mut changed.pbxs[0].0));
    changed
}

/// The usual set-up with a number of this keying.
pub fn with_keying(keying: Keying) -> Setup {
    let usual = setup();
    let number = usual.numbers.get(&BUSINESS.parse().unwrap()).unwrap();
    let number = Number {
        keying,
        ..number.clone()
    };
    Setup {
        numbers: Numbers::new([number]),
        ..usual
    }
}

/// The usual set-up with a PBX of these hosts and priorities.
pub fn with_hosts(hosts: &[(&str, u16)]) -> Setup {
    let way = |(host, priority): &(&str, u16)| Way {
        priority: *priority,
        ..Way::only(pbx::hop(host, 5060, Protocol::Udp))
    };
    with_pbx(|pbx| pbx.ways = hosts.iter().map(way).collect())
}

pub fn setup() -> Setup {
    let meta = meta();
    let number = Number {
        number: BUSINESS.parse().unwrap(),
        password: Secret::new(PASSWORD),
        hostname: "meta-voip.example.com".into(),
        target: Some("100".into()),
        pbxs: vec!["main".into()],
        keying: Keying::Set(KeyExchange::Sdes),
        additional_codecs: Vec::new(),
    };
    let pbx = Pbx {
        name: "main".into(),
        ways: vec![Way::only(pbx::hop("192.0.2.7", 5060, Protocol::Udp))],
        // Ladders about calls are not to be full of OPTIONS.
        health: health::Settings {
            interval: Duration::ZERO,
            ..health::Settings::default()
        },
        try_timeout: Duration::from_secs(3),
        our_host: "192.0.2.1".into(),
        our_ports: pbx::Ports {
            udp: Some(5070),
            tcp: Some(5070),
            tls: None,
        },
        keying: sdp::Keying::Plain,
        media: IpAddr::from([192, 0, 2, 1]).into(),
        source: Source::Negotiated,
        codecs: vec![Codec::Opus, Codec::TelephoneEvent { rate: 8000 }],
        ptime: wabridge::sdp::FRAME,
        dtmf: Default::default(),
        headers: Vec::new(),
        ack_when_keyed: false,
        reinvite: Default::default(),
        dialling: number::Settings::default(),
        default_number: Some(BUSINESS.parse().unwrap()),
        register: None,
    };
    Setup {
        meta: Arc::new(meta),
        meta_sources: wabridge::policy::sources::metas_networks(),
        pbxs: vec![(Arc::new(pbx), vec!["192.0.2.7/32".parse().unwrap()])],
        numbers: Numbers::new([number]),
        routes: Vec::new(),
        pace: Pace::from(&transaction::Settings::default()),
        max_calls: 10,
        overload_delay: Duration::from_millis(20),
        ring_timeout: Duration::from_secs(55),
        answer_timeout: Duration::from_secs(180),
    }
}
