//! The demo's stage: the bridge and both far ends on loopback addresses of their own, over real sockets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;

use crate::config::{self, Certificate, Config};
use crate::daemon::{Daemon, Trust};
use crate::media::Codec;
use crate::policy::{self, KeyExchange, Number};
use crate::secret::{Secret, Source};
use crate::sim::body::Keying;
use crate::sim::meta::{Business, Challenges, DigestUri};
use crate::sim::run::{FarEnd, MetaEnd, PbxEnd};
use crate::sim::speech::Speaks;
use crate::sim::{Answering, Plan, relay};
use crate::sip::digest::server as digest;
use crate::sip::transport::Protocol;
use crate::sip::transport::tls::{self, Roots};
use crate::{call, media, number, observe};

/// The business numbers of the demo, set to each way of keying at Meta.
const BUSINESSES: [(Keying, KeyExchange, &str); 2] = [
    (Keying::Dtls, KeyExchange::Dtls, "+12145551869"),
    (Keying::Sdes, KeyExchange::Sdes, "+12145551870"),
];
/// After this long without a path the bridge gives up: sooner than it would elsewhere, so that a failure is soon shown.
const ICE_TIMEOUT: u16 = 2;
const HOSTNAME: &str = "bridge.example.com";
const META: &str = "wa.meta.vc";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Everything a demo call needs.
pub struct Stage {
    daemon: Daemon,
    /// WhatsApp and its users.
    pub meta: FarEnd,
    /// The telephone system.
    pub pbx: FarEnd,
}

/// Certificates of one demo, signed by an authority that lives as long as it does.
struct Paper {
    authority: CertificateDer<'static>,
    bridge: Certificate,
    meta: Certificate,
}

impl Stage {
    /// Sets everything up: what the PBX speaks, and what each far end does with calls that come in.
    pub async fn set(
        calls: u16,
        relay: relay::Settings,
        codec: Codec,
        meta: Answering,
        pbx: Answering,
    ) -> Result<Stage, Failure> {
        let paper = Paper::sign()?;
        let places = Places::choose()?;
        let password = Secret::new(password()?);
        let config = configuration(calls, codec, &places, &paper, &password)?;
        let roots = Roots::only(vec![paper.authority.clone()]);
        let trust = Trust {
            meta: roots.clone(),
            pbxs: Default::default(),
        };
        let daemon = Daemon::start(config, &trust).await?;
        let business = |(keying, _, number): &(Keying, _, &str)| -> Result<Business, Failure> {
            Ok(Business {
                number: number.parse()?,
                phone_number_id: "106540352242922".into(),
                hostname: HOSTNAME.into(),
                password: password.clone(),
                keying: *keying,
            })
        };
        let meta = FarEnd::meta(MetaEnd {
            listen: places.metas,
            media: places.metas.ip(),
            media6: places.ipv6,
            relay,
            additional_codecs: Vec::new(),
            server: tls::server_config_from(
                paper.meta.chain().to_vec(),
                paper.meta.key().clone_key(),
            )?,
            client: tls::client_config(&roots)?,
            bridge: places.for_meta,
            hostname: HOSTNAME.into(),
            businesses: BUSINESSES.iter().map(business).collect::<Result<_, _>>()?,
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: meta,
        });
        let pbx = FarEnd::pbx(PbxEnd {
            listen: places.pbxs,
            protocol: Protocol::Udp,
            media: places.pbxs.ip(),
            path: Default::default(),
            speaks: Speaks {
                codecs: vec![codec],
                ..Speaks::default()
            },
            bridge: places.for_pbx,
            answering: pbx,
        });
        Ok(Stage {
            daemon,
            meta: meta.await?,
            pbx: pbx.await?,
        })
    }

    /// Ends everything; returns what the far ends found wrong outside of any call.
    pub async fn strike(self) -> Vec<String> {
        let mut wrong = self.meta.shutdown().await;
        wrong.extend(self.pbx.shutdown().await);
        self.daemon.stop().await;
        wrong
    }
}

/// The number that Meta has set so.
pub fn business(keying: Keying) -> &'static str {
    let [dtls, sdes] = &BUSINESSES;
    if keying == dtls.0 { dtls.2 } else { sdes.2 }
}

/// Answers at once, so that the demo is short, and follows `plan`.
pub fn answering(plan: Plan) -> Answering {
    Answering {
        after: Duration::from_millis(300),
        plan,
        ..Answering::default()
    }
}

/// Where each listens: on three loopback addresses that nobody else is likely to use.
struct Places {
    /// The bridge, for Meta.
    for_meta: SocketAddr,
    /// The bridge, for the PBX.
    for_pbx: SocketAddr,
    metas: SocketAddr,
    pbxs: SocketAddr,
    /// A second address for media of Meta and of the bridge, where this machine has one.
    ipv6: Option<Ipv6Addr>,
}

impl Places {
    /// The ports are any that are free: a PBX or a bridge on this machine may have 5060 and the like on all addresses.
    fn choose() -> Result<Places, Failure> {
        let random = getrandom::u32()?.to_be_bytes();
        // 127.0.x.x is where other programs are; 255 would be a broadcast elsewhere.
        let (second, third) = (random[0].clamp(1, 250), random[1].clamp(1, 250));
        let [ours, metas, pbxs] = [1, 2, 3].map(|last| Ipv4Addr::new(127, second, third, last));
        Ok(Places {
            for_meta: TcpListener::bind((ours, 0))?.local_addr()?,
            for_pbx: UdpSocket::bind((ours, 0))?.local_addr()?,
            metas: TcpListener::bind((metas, 0))?.local_addr()?,
            pbxs: UdpSocket::bind((pbxs, 0))?.local_addr()?,
            ipv6: UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))
                .is_ok()
                .then_some(Ipv6Addr::LOCALHOST),
        })
    }
}

fn password() -> Result<String, Failure> {
    Ok(format!(
        "{:016x}{:016x}",
        getrandom::u64()?,
        getrandom::u64()?
    ))
}

impl Paper {
    fn sign() -> Result<Paper, Failure> {
        let mut authority = CertificateParams::new(Vec::<String>::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "wabridge demo authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let sign = |name: &str| -> Result<Certificate, Failure> {
            let key = KeyPair::generate()?;
            let signed =
                CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority)?;
            Ok(Certificate::new(
                vec![signed.der().clone()],
                key.serialize_der().try_into()?,
            ))
        };
        Ok(Paper {
            bridge: sign(HOSTNAME)?,
            meta: sign(META)?,
            authority: authority.der().clone(),
        })
    }
}

/// What the configuration calls it.
fn format(codec: Codec) -> config::Format {
    match codec {
        Codec::Opus => config::Format::Opus,
        Codec::G722 => config::Format::G722,
        Codec::Pcma => config::Format::Pcma,
        Codec::Pcmu => config::Format::Pcmu,
        Codec::TelephoneEvent { .. } => config::Format::TelephoneEvent,
    }
}

fn configuration(
    calls: u16,
    codec: Codec,
    places: &Places,
    paper: &Paper,
    password: &Secret,
) -> Result<Config, Failure> {
    let number = |(_, keying, number): &(_, KeyExchange, &str)| -> Result<Number, Failure> {
        Ok(Number {
            number: number.parse()?,
            password: password.clone(),
            hostname: HOSTNAME.into(),
            target: Some("100".into()),
            pbxs: vec!["demo".into()],
            keying: policy::Keying::Set(*keying),
            additional_codecs: Vec::new(),
        })
    };
    let passwords = vec![Source::Inline(password.clone()); BUSINESSES.len()];
    let numbers: Vec<Number> = BUSINESSES.iter().map(number).collect::<Result<_, _>>()?;
    Ok(Config {
        meta: config::Meta {
            listen: vec![places.for_meta],
            hostname: HOSTNAME.into(),
            certificate: Default::default(),
            key: Default::default(),
            domain: META.into(),
            port: places.metas.port(),
            address: Some(places.metas.ip()),
            ca_file: None,
            realm: None,
            dtls_setup: Default::default(),
            // The far ends open their connections from wherever the routing table says: loopback.
            allowed_sources: vec!["127.0.0.0/8".parse()?],
            digest: digest::Settings::default(),
        },
        certificate: paper.bridge.clone(),
        routes: Vec::new(),
        pbxs: vec![config::Pbx {
            name: "demo".into(),
            address: vec![config::Place::only(config::Address {
                host: places.pbxs.ip().to_string(),
                port: Some(places.pbxs.port()),
            })],
            // The demo is about calls.
            options_interval: 0,
            down_after: 3,
            up_after: 2,
            try_timeout: 3,
            transport: Protocol::Udp,
            our_host: None,
            media_address: None,
            media_public_address: None,
            allowed_sources: None,
            default_number: numbers.first().map(|number| number.number.clone()),
            register: config::Register::default(),
            dialling: number::Settings::default(),
            srtp: false,
            source: media::Source::Negotiated,
            codecs: vec![format(codec), config::Format::TelephoneEvent],
            ptime: 20,
            dtmf: Default::default(),
            headers: Default::default(),
            ack_when_keyed: false,
            reinvite: Default::default(),
            ca_file: None,
            verify: true,
        }],
        pbx_listener: config::Listener {
            udp: vec![places.for_pbx],
            ..config::Listener::OFF
        },
        sip: Default::default(),
        transactions: Default::default(),
        calls: call::Settings {
            max: calls.max(10),
            ..call::Settings::default()
        },
        media: media::Settings {
            meta_address: places.for_meta.ip(),
            meta_ipv6_address: places.ipv6,
            pbx_address: places.for_pbx.ip(),
            ice_timeout: ICE_TIMEOUT,
            ..media::Settings::default()
        },
        numbers,
        passwords,
        records: observe::records::Settings::default(),
        admin: observe::admin::Settings {
            listen: observe::admin::Listen::Off,
        },
        trace: observe::trace::Settings {
            calls: 0,
            ..observe::trace::Settings::default()
        },
        log: observe::log::Settings::default(),
        warnings: Vec::new(),
    })
}
