//! The far ends on real sockets: `wabridge sim`, the demo and tests start them in their own process.
//!
//! ```text
//!   FarEnd::call, answer, shutdown ──▶ one loop ── Agent ──▶ Transports (a second one for "another connection")
//!                                            └──── Order ──▶ Lines (a thread)
//! ```

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::agent::{Agent, Answering, Manners, Outgoing};
use super::driver::{Arrivals, Ask, Driver, stamped};
use super::line::Owner;
use super::lines::Lines;
use super::meta::{self, Business, Challenges, DigestUri, MetaManners};
use super::path;
use super::pbx::{self, PbxManners};
use super::relay::{self, Relays};
use super::report::CallReport;
use super::speech::Speaks;
use crate::leg::Leg;
use crate::media::Codec;
use crate::media::sound::SoundError;
use crate::sip::transport::tls::ClientTls;
use crate::sip::transport::{
    Clients, Hop, Listen, Names, Overrides, Protocol, Settings, Transports,
};

/// Events that may wait for the loop.
const QUEUE: usize = 4096;

/// A Meta to start.
#[derive(Clone)]
pub struct MetaEnd {
    /// Where it listens by TLS, as `wa.meta.vc:5061`; port 0 takes any.
    pub listen: SocketAddr,
    /// Where media comes in: the address that Meta's SDP names, of IPv4 there.
    pub media: IpAddr,
    /// A second candidate, where keys come from DTLS.
    pub media6: Option<Ipv6Addr>,
    /// How its media relays behave.
    pub relay: relay::Settings,
    /// Codecs that its numbers have beside Opus: `additional_codecs` (§7).
    pub additional_codecs: Vec<Codec>,
    /// Its certificate, which covers `wa.meta.vc`. Clients that offer ALPN are refused.
    pub server: Arc<ServerConfig>,
    /// What the bridge's certificate is verified with.
    pub client: Arc<ClientConfig>,
    /// Where the bridge listens for Meta.
    pub bridge: SocketAddr,
    /// The bridge's name, which its certificate must cover.
    pub hostname: String,
    /// The numbers that are provisioned.
    pub businesses: Vec<Business>,
    /// What holds for every other number.
    pub anybody: Option<Business>,
    /// How the bridge is challenged.
    pub challenges: Challenges,
    /// What its digest's `uri` is compared with.
    pub digest_uri: DigestUri,
    /// What is done with its calls.
    pub answering: Answering,
}

/// A PBX to start.
#[derive(Clone, Debug)]
pub struct PbxEnd {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Where media comes in.
    pub media: IpAddr,
    /// What is between its media and the bridge.
    pub path: path::Settings,
    /// What its telephones speak.
    pub speaks: Speaks,
    /// Where the bridge listens for the PBX.
    pub bridge: SocketAddr,
    /// What is done with its calls.
    pub answering: Answering,
}

/// Why a far end does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] crate::sip::transport::StartError),
    /// Its media thread cannot be started.
    #[error("cannot start the media of the simulator: {0}")]
    Media(#[from] std::io::Error),
    /// DTLS is not to be had.
    #[error(transparent)]
    Dtls(#[from] crate::media::dtls::SetupError),
    /// It cannot speak as it should.
    #[error("cannot make a tone: {0}")]
    Tone(#[from] SoundError),
}

/// A far end that runs.
pub struct FarEnd {
    /// Where it listens.
    pub listen: SocketAddr,
    asks: mpsc::UnboundedSender<Ask>,
    taken: Mutex<mpsc::UnboundedReceiver<CallReport>>,
}

impl FarEnd {
    /// Starts a Meta.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub async fn meta(end: MetaEnd) -> Result<FarEnd, StartError> {
        let mut server = ServerConfig::clone(&end.server);
        // A client that offers nothing passes; one that offers anything finds no protocol in common (§2.5).
        server.alpn_protocols = vec![b"none-of-yours".to_vec()];
        let sockets = Sockets {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            tls: Some(Arc::new(server)),
            clients: Clients {
                meta: Some(ClientTls {
                    config: Arc::clone(&end.client),
                    server_name: Some(end.hostname.clone()),
                }),
                ..Clients::default()
            },
            names: (end.hostname.clone(), end.bridge),
        };
        let bridge = Hop {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            host: end.hostname.clone(),
            port: end.bridge.port(),
        };
        let relays = Relays::new(end.relay)?;
        let mut speaks = Speaks::default();
        speaks.codecs.extend(end.additional_codecs);
        let owner = Owner::meta(&speaks, relays.clone())?;
        let settings = meta::Settings {
            relays,
            businesses: end.businesses,
            anybody: end.anybody,
            bridge,
            challenges: end.challenges,
            digest_uri: end.digest_uri,
            speaks,
        };
        let make = |_| MetaManners::new(settings);
        let beside = SocketAddr::new(end.listen.ip(), 0);
        let listens = [end.listen, beside];
        start(
            owner,
            &sockets,
            &listens,
            (end.media, end.media6),
            end.answering,
            make,
        )
        .await
    }

    /// Starts a PBX.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub async fn pbx(end: PbxEnd) -> Result<FarEnd, StartError> {
        let bridge = Hop {
            leg: Leg::Pbx,
            protocol: end.protocol,
            host: end.bridge.ip().to_string(),
            port: end.bridge.port(),
        };
        let sockets = Sockets {
            leg: Leg::Pbx,
            protocol: end.protocol,
            tls: None,
            clients: Clients::default(),
            names: (String::new(), end.bridge),
        };
        let owner = Owner::pbx(&end.speaks, end.path)?;
        let make = |listen| {
            PbxManners::new(pbx::Settings {
                listen,
                bridge,
                speaks: end.speaks,
            })
        };
        let listens = [end.listen];
        start(
            owner,
            &sockets,
            &listens,
            (end.media, None),
            end.answering,
            make,
        )
        .await
    }

    /// Places a call. The report is there when the call is over; `None` if the far end is shut down before.
    pub fn call(&self, outgoing: Outgoing) -> impl Future<Output = Option<CallReport>> + use<> {
        let (tell, told) = oneshot::channel();
        let asked = self.asks.send(Ask::Call(Box::new(outgoing), tell));
        async move {
            asked.ok()?;
            told.await.ok()
        }
    }

    /// Replaces what is done with calls that come in from now on.
    pub fn answer(&self, answering: Answering) {
        let _ = self.asks.send(Ask::Answer(Box::new(answering)));
    }

    /// The next call that came in and is over; `None` after a shutdown. Calls wait here until they are asked for.
    pub async fn taken(&self) -> Option<CallReport> {
        self.taken.lock().await.recv().await
    }

    /// In how many calls the other's voice has been heard.
    pub async fn hearing(&self) -> usize {
        let (tell, told) = oneshot::channel();
        let _ = self.asks.send(Ask::Hearing(tell));
        told.await.unwrap_or_default()
    }

    /// Hangs up all calls.
    pub fn hang_up(&self) {
        let _ = self.asks.send(Ask::HangUp);
    }

    /// Hangs up all calls and closes all sockets; returns what was wrong outside of any call.
    pub async fn shutdown(self) -> Vec<String> {
        let (tell, told) = oneshot::channel();
        let _ = self.asks.send(Ask::Stop(tell));
        told.await.unwrap_or_default()
    }
}

/// What the transports of a far end need.
struct Sockets {
    leg: Leg,
    protocol: Protocol,
    tls: Option<Arc<ServerConfig>>,
    clients: Clients,
    names: (String, SocketAddr),
}

impl Sockets {
    async fn open(&self, address: SocketAddr) -> Result<Way, StartError> {
        let (events, arrivals) = mpsc::channel(QUEUE);
        let listen = Listen {
            leg: self.leg,
            protocol: self.protocol,
            address,
            tls: self.tls.clone(),
        };
        let (host, bridge) = &self.names;
        let names = Names::system(Overrides::from([(host.to_ascii_lowercase(), *bridge)]));
        let (transports, bound) = Transports::start(
            Settings::default(),
            vec![listen],
            self.clients.clone(),
            names,
            events,
        )
        .await?;
        Ok(Way {
            transports,
            arrivals: stamped(arrivals),
            listen: bound.first().copied().unwrap_or(address),
        })
    }
}

/// One set of connections.
struct Way {
    transports: Transports,
    arrivals: Arrivals,
    listen: SocketAddr,
}

async fn start<M: Manners + Send + 'static>(
    owner: Owner,
    sockets: &Sockets,
    listens: &[SocketAddr],
    (media, media6): (IpAddr, Option<Ipv6Addr>),
    answering: Answering,
    make: impl FnOnce(SocketAddr) -> M,
) -> Result<FarEnd, StartError> {
    let mut ways = Vec::new();
    for listen in listens {
        ways.push(sockets.open(*listen).await?);
    }
    let listen = ways.first().map_or(sockets.names.1, |way| way.listen);
    let (tell, heard) = mpsc::unbounded_channel();
    let lines = Lines::start(owner, move |event| {
        let _ = tell.send(event);
    })?;
    let (asks, asked) = mpsc::unbounded_channel();
    let (taken, take) = mpsc::unbounded_channel();
    let mut main = None;
    let mut beside = None;
    let mut transports = Vec::new();
    for way in ways {
        transports.push(way.transports);
        let place = if main.is_none() {
            &mut main
        } else {
            &mut beside
        };
        *place = Some(way.arrivals);
    }
    let agent = Agent::new(make(listen), lines.ports(media, media6), answering);
    let driver = Driver::new(agent, transports, lines, taken);
    tokio::spawn(driver.run(asked, heard, main, beside));
    Ok(FarEnd {
        listen,
        asks,
        taken: Mutex::new(take),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::agent::{Outcome, Plan};
    use crate::sim::ear::ListensFor;
    use crate::sim::report::EndedBy;
    use crate::sim::tone::PBX_HZ;
    use crate::sip::transport::tls;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    async fn telephone(bridge: SocketAddr, protocol: Protocol, answering: Answering) -> FarEnd {
        FarEnd::pbx(PbxEnd {
            listen: loopback(),
            protocol,
            media: loopback().ip(),
            path: path::Settings::default(),
            speaks: Speaks::default(),
            bridge,
            answering,
        })
        .await
        .unwrap()
    }

    fn hearing_its_like(talk: Option<Duration>) -> Plan {
        Plan {
            talk,
            listens_for: Some(ListensFor::Tone(PBX_HZ)),
            digits: "7".into(),
            ..Plan::default()
        }
    }

    #[tokio::test]
    async fn two_telephones_hear_each_other() {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let answering = Answering {
                plan: hearing_its_like(None),
                ..Answering::default()
            };
            let callee = telephone(loopback(), protocol, answering).await;
            let caller = telephone(callee.listen, protocol, Answering::default()).await;
            let outgoing = Outgoing {
                to: "100".into(),
                from: "+12145551869".into(),
                plan: hearing_its_like(Some(Duration::from_millis(1500))),
                ..Outgoing::default()
            };
            let called = caller.call(outgoing).await.unwrap();
            let taken = callee.taken().await.unwrap();
            for (report, by) in [(&called, EndedBy::Us), (&taken, EndedBy::Bridge)] {
                assert!(report.ok(), "{report:?}");
                assert_eq!(report.ended_by, Some(by));
                assert_eq!(report.heard.lost, 0);
                assert_eq!(report.digits_received, "7");
            }
            assert_eq!(caller.shutdown().await, Vec::<String>::new());
            assert_eq!(callee.shutdown().await, Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn a_shutdown_hangs_up() {
        let ringing = Answering {
            outcome: Outcome::Ring,
            ..Answering::default()
        };
        let callee = telephone(loopback(), Protocol::Udp, ringing).await;
        let caller = telephone(callee.listen, Protocol::Udp, Answering::default()).await;
        let call = caller.call(Outgoing {
            to: "100".into(),
            from: "200".into(),
            ..Outgoing::default()
        });
        let (report, _) = tokio::join!(call, caller.shutdown());
        assert_eq!(report.unwrap().status, 487);
    }

    async fn handshake(to: SocketAddr, mut client: ClientConfig, alpn: &[&str]) -> bool {
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("wa.meta.vc").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        match connector.connect(name, stream).await {
            Ok(_) => true,
            Err(error) => {
                let text = format!("{error:?}");
                assert!(text.contains("NoApplicationProtocol"), "{text}");
                false
            }
        }
    }

    #[tokio::test]
    async fn meta_refuses_alpn_by_its_alert() {
        let made = rcgen::generate_simple_self_signed(["wa.meta.vc".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let client = tls::client_config(&tls::Roots::only(vec![certificate.clone()])).unwrap();
        let end = FarEnd::meta(MetaEnd {
            listen: loopback(),
            media: loopback().ip(),
            media6: None,
            relay: relay::Settings::default(),
            additional_codecs: Vec::new(),
            server: tls::server_config_from(vec![certificate], key).unwrap(),
            client: Arc::clone(&client),
            bridge: "127.0.0.1:9".parse().unwrap(),
            hostname: "bridge.example.com".into(),
            businesses: Vec::new(),
            anybody: None,
            challenges: Challenges::Md5,
            digest_uri: DigestUri::Request,
            answering: Answering::default(),
        })
        .await
        .unwrap();
        let client = ClientConfig::clone(&client);
        assert!(handshake(end.listen, client.clone(), &[]).await);
        assert!(!handshake(end.listen, client.clone(), &["sip"]).await);
        assert!(!handshake(end.listen, client, &["sip", "h2"]).await);
        // A bridge that is not there makes a report, not a hang.
        let report = end.call(Outgoing {
            to: "+12145551869".into(),
            from: "+12195550714".into(),
            ..Outgoing::default()
        });
        let report = report.await.unwrap();
        assert_eq!(report.status, 0);
        assert!(report.complaints[0].contains("INVITE: "), "{report:?}");
        end.shutdown().await;
    }
}
