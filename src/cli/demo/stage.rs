//! The demo's stage: the bridge and both far ends on loopback addresses of their own, over real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;

use crate::config::{self, Certificate, Config};
use crate::daemon::{Daemon, Trust};
use crate::number::E164;
use crate::policy::Number;
use crate::secret::Secret;
use crate::sim::meta::{Business, Challenges, DigestUri};
use crate::sim::run::{FarEnd, MetaEnd, PbxEnd};
use crate::sim::{Answering, Plan};
use crate::sip::digest::server as digest;
use crate::sip::transport::Protocol;
use crate::sip::transport::tls::{self, Roots};
use crate::{call, media, number, observe};

/// The business number of the demo.
pub const BUSINESS: &str = "+12145551869";
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
    /// Sets everything up. `answering` is what each far end does with calls that come in.
    pub async fn set(calls: u16, meta: Answering, pbx: Answering) -> Result<Stage, Failure> {
        let paper = Paper::sign()?;
        let [ours, metas, pbxs] = addresses()?;
        let password = Secret::new(password()?);
        let config = configuration(calls, [ours, metas, pbxs], &paper, &password)?;
        let roots = Roots::only(vec![paper.authority.clone()]);
        let trust = Trust {
            meta: roots.clone(),
            pbx: roots.clone(),
        };
        let daemon = Daemon::start(config, &trust).await?;
        let business = Business {
            number: BUSINESS.parse()?,
            phone_number_id: "106540352242922".into(),
            hostname: HOSTNAME.into(),
            password,
        };
        let meta = FarEnd::meta(MetaEnd {
            listen: SocketAddr::new(metas, 5061),
            media: metas,
            server: tls::server_config_from(
                paper.meta.chain().to_vec(),
                paper.meta.key().clone_key(),
            )?,
            client: tls::client_config(&roots)?,
            bridge: SocketAddr::new(ours, 5061),
            hostname: HOSTNAME.into(),
            businesses: vec![business],
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: meta,
        });
        let pbx = FarEnd::pbx(PbxEnd {
            listen: SocketAddr::new(pbxs, 5060),
            protocol: Protocol::Udp,
            media: pbxs,
            bridge: SocketAddr::new(ours, 5070),
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

/// Answers at once, so that the demo is short, and follows `plan`.
pub fn answering(plan: Plan) -> Answering {
    Answering {
        after: Duration::from_millis(100),
        plan,
        ..Answering::default()
    }
}

/// Three loopback addresses that nobody else is likely to use: the bridge's, Meta's and the PBX's.
fn addresses() -> Result<[IpAddr; 3], Failure> {
    let random = getrandom::u32()?.to_be_bytes();
    // 127.0.x.x is where other programs are; 255 would be a broadcast elsewhere.
    let (second, third) = (random[0].clamp(1, 250), random[1].clamp(1, 250));
    Ok([1, 2, 3].map(|last| IpAddr::from(Ipv4Addr::new(127, second, third, last))))
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

fn configuration(
    calls: u16,
    [ours, metas, pbxs]: [IpAddr; 3],
    paper: &Paper,
    password: &Secret,
) -> Result<Config, Failure> {
    let number: E164 = BUSINESS.parse()?;
    let listen = |port| SocketAddr::new(ours, port);
    Ok(Config {
        meta: config::Meta {
            listen: listen(5061),
            hostname: HOSTNAME.into(),
            certificate: Default::default(),
            key: Default::default(),
            domain: META.into(),
            port: 5061,
            address: Some(metas),
            ca_file: None,
            realm: None,
            // The far ends open their connections from wherever the routing table says: loopback.
            allowed_sources: vec!["127.0.0.0/8".parse()?],
            digest: digest::Settings::default(),
        },
        certificate: paper.bridge.clone(),
        numbers: vec![Number {
            number: number.clone(),
            password: password.clone(),
            hostname: HOSTNAME.into(),
            target: Some("100".into()),
            pbx: "demo".into(),
        }],
        pbxs: vec![config::Pbx {
            name: "demo".into(),
            address: config::Address {
                host: pbxs.to_string(),
                port: Some(5060),
            },
            transport: Protocol::Udp,
            our_host: None,
            allowed_sources: None,
            default_number: Some(number),
            dialling: number::Settings::default(),
            srtp: false,
            source: media::Source::Negotiated,
            ca_file: None,
            verify: true,
        }],
        pbx_listener: config::Listener {
            udp: Some(listen(5070)),
            ..config::Listener::OFF
        },
        sip: Default::default(),
        transactions: Default::default(),
        calls: call::Settings {
            max: calls.max(10),
            ..call::Settings::default()
        },
        media: media::Settings {
            meta_address: ours,
            pbx_address: ours,
            ..media::Settings::default()
        },
        log: observe::log::Settings::default(),
        warnings: Vec::new(),
    })
}
