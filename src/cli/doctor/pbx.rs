//! Each PBX: it is found, it answers OPTIONS over its own transport, and it speaks a codec that can be carried.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::finding::{Finding, Level};
use super::{media, probe};
use crate::config::{Config, Pbx, Place};
use crate::daemon::Trust;
use crate::media::{Codec, Facing};
use crate::sdp::{Capabilities, Keying, RemoteOffer};
use crate::sip::message::{Common, Method};
use crate::sip::transport::{Protocol, tls};
use crate::sip::{Response, SipUri};

const ABOUT: &str = "pbx";

pub async fn check(config: &Config, trust: &Trust) -> Vec<Finding> {
    check_pbxs(&config.pbxs, |pbx| pbx.facing(&config.media), trust).await
}

/// All PBXs at once, for each that is silent takes seconds; told in the order of the configuration.
async fn check_pbxs(pbxs: &[Pbx], facing: impl Fn(&Pbx) -> Facing, trust: &Trust) -> Vec<Finding> {
    let mut asked = Vec::new();
    for pbx in pbxs {
        let facing = facing(pbx);
        let (pbx, trust) = (pbx.clone(), trust.clone());
        asked.push(tokio::spawn(async move {
            check_all(&pbx, facing, &trust).await
        }));
    }
    let mut findings = Vec::new();
    for one in asked {
        // It fails only if a check has panicked, which standard error then tells.
        findings.extend(one.await.unwrap_or_default());
    }
    findings
}

/// What was found at one address.
#[derive(Default)]
struct Found {
    told: Vec<Finding>,
    /// Nobody answers OPTIONS there.
    silence: Option<Finding>,
    /// Whether media finds its way there.
    way: Option<Finding>,
}

/// Every address of one PBX: it has failed only if nobody answers at any of them.
async fn check_all(pbx: &Pbx, facing: Facing, trust: &Trust) -> Vec<Finding> {
    let mut asked = Vec::new();
    for place in &pbx.address {
        let (pbx, place, trust) = (pbx.clone(), place.clone(), trust.clone());
        asked.push(tokio::spawn(async move {
            check_one(&pbx, &place, facing, &trust).await
        }));
    }
    let mut all = Vec::new();
    for one in asked {
        all.push(one.await.unwrap_or_default());
    }
    let answers = |found: &Found| found.told.first().is_some_and(|f| f.level != Level::Fail);
    let another_answers = all.iter().any(answers);
    let mut findings = Vec::new();
    for found in all {
        findings.extend(found.told);
        let silence = found.silence;
        findings.extend(silence.map(|silent| soften(pbx, another_answers, silent)));
        findings.extend(found.way);
    }
    findings
}

/// Silence where nobody expects an answer, or where calls find another address, keeps no call from getting through.
fn soften(pbx: &Pbx, another_answers: bool, mut silent: Finding) -> Finding {
    if pbx.health().interval.is_zero() {
        silent.level = Level::Note;
        silent.remedy =
            "options_interval is 0, so it may well ignore OPTIONS: place a call".to_owned();
    } else if another_answers {
        silent.level = Level::Warn;
    }
    silent
}

async fn check_one(pbx: &Pbx, place: &Place, facing: Facing, trust: &Trust) -> Found {
    let host = &place.address.host;
    let address = match probe::resolve(host, pbx.port(place)).await {
        Ok(found) => found
            .first()
            .copied()
            .ok_or_else(|| "it has no address".to_owned()),
        Err(why) => Err(why),
    };
    let mut found = Found::default();
    let address = match address {
        Ok(address) => address,
        Err(why) => {
            let what = format!("{}: {host} leads nowhere: {why}", pbx.name);
            let remedy = "mend pbx.address, or write an IP address";
            found.told.push(Finding::fail(ABOUT, what, remedy));
            return found;
        }
    };
    match options(pbx, host, address, trust).await {
        Ok(answer) => found.told = judge(pbx, address, &answer),
        Err(why) => found.silence = Some(silent(pbx, address, &why)),
    }
    found.way = Some(media::judge_pbxs_way(&pbx.name, address, facing));
    found
}

async fn options(
    pbx: &Pbx,
    host: &str,
    address: SocketAddr,
    trust: &Trust,
) -> Result<Response, String> {
    let request = |ours: SocketAddr| {
        let name = pbx.transport.name().to_ascii_uppercase();
        let to = SipUri::new(None, &probe::bracketed(address.ip())).with_port(address.port());
        let from = SipUri::new(Some("doctor"), &probe::bracketed(ours.ip()));
        let mut options = probe::request(Method::OPTIONS, to, from, &name, ours);
        options.headers.push("Accept", "application/sdp");
        options
    };
    if pbx.transport == Protocol::Udp {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let opened = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok::<_, std::io::Error>((socket.local_addr()?, socket))
        };
        let (ours, socket) = opened.await.map_err(|error| error.to_string())?;
        return probe::ask_udp(&socket, &request(ours)).await;
    }
    let mut stream = probe::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let ours = stream.local_addr().map_err(|error| error.to_string())?;
    if pbx.transport == Protocol::Tcp {
        return probe::ask(&mut stream, &request(ours)).await;
    }
    let client = match (pbx.verify, trust.pbxs.get(&pbx.name)) {
        (true, Some(roots)) => tls::client_config(roots),
        (true, None) => tls::client_config(&tls::Roots::system()),
        (false, _) => tls::client_config_without_verification(),
    };
    let client = client.map_err(|error| error.to_string())?;
    let mut stream = probe::shake(stream, client, host).await?;
    probe::ask(&mut stream, &request(ours)).await
}

fn silent(pbx: &Pbx, address: SocketAddr, why: &str) -> Finding {
    let transport = pbx.transport.name();
    Finding::fail(
        ABOUT,
        format!(
            "{}: no answer to OPTIONS from {address} over {transport}: {why}",
            pbx.name
        ),
        format!(
            "does it run, and listen there ({transport})? A firewall or its own list of peers may drop what comes from this host"
        ),
    )
}

fn judge(pbx: &Pbx, address: SocketAddr, answer: &Response) -> Vec<Finding> {
    let (name, status) = (&pbx.name, answer.status);
    let answered = format!(
        "{name}: {address} answers OPTIONS with {status} {}",
        answer.reason
    );
    let reached = match status {
        200..=299 => Finding::ok(ABOUT, answered),
        // As it asks for it in REGISTER and in calls.
        401 | 407 if pbx.register.username.is_some() => Finding::ok(
            ABOUT,
            format!(
                "{answered}: it asks for the password of [pbx.register]; `wabridge status` says whether we are registered"
            ),
        ),
        401 | 403 | 407 => Finding::warn(
            ABOUT,
            answered,
            "it does not know the bridge by its address, and may refuse calls as well: `match` of an identify section in \
             Asterisk's pjsip.conf, an ACL in FreeSWITCH",
        ),
        503 => Finding::warn(ABOUT, answered, "it is there, and takes no calls just now"),
        _ => Finding::note(
            ABOUT,
            answered,
            "it is there; calls are another question, so place one",
        ),
    };
    vec![reached, codecs(pbx, answer)]
}

/// A PBX may say in its answer what it would offer (RFC 3261 §11.2); most do not.
fn codecs(pbx: &Pbx, answer: &Response) -> Finding {
    let name = &pbx.name;
    if answer.content_type().as_deref() != Some("application/sdp") || answer.body.is_empty() {
        return Finding::note(
            ABOUT,
            format!("{name}: it does not say which codecs it speaks"),
            "it needs one of pbx.codecs: allow=opus, g722, alaw or ulaw for the bridge in Asterisk",
        );
    }
    let keying = if pbx.srtp {
        Keying::Sdes
    } else {
        Keying::Plain
    };
    let ours: Vec<Codec> = pbx.codecs.iter().copied().map(Codec::from).collect();
    let capabilities = Capabilities::pbx(keying, pbx.source).preferring(&ours);
    match RemoteOffer::parse(&answer.body, &capabilities) {
        Ok(offer) => carried(name, &ours, &offer),
        Err(reject) => Finding::fail(
            ABOUT,
            format!("{name}: what it offers cannot be carried: {reject}"),
            "allow one of pbx.codecs for the bridge (allow=opus or alaw in Asterisk), and see pbx.srtp",
        ),
    }
}

/// What becomes of what the PBX offers.
fn carried(name: &str, ours: &[Codec], offer: &RemoteOffer) -> Finding {
    let has_digits = |codecs: &[Codec]| codecs.iter().any(|codec| !codec.is_audio());
    if has_digits(ours) && !has_digits(&offer.codecs()) {
        return Finding::warn(
            ABOUT,
            format!("{name}: it does not offer telephone-event/8000, which pbx.codecs lists"),
            "allow it in the PBX (dtmf_mode=rfc4733 in Asterisk), or take it out of pbx.codecs",
        );
    }
    Finding::ok(
        ABOUT,
        match offer.preferred() {
            Some(codec) if codec != Codec::Opus => {
                format!("{name}: its sound is {codec}, and is made Opus here, and back")
            }
            _ => format!("{name}: its sound is Opus, which is passed on as it is"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;
    use crate::sip::{Limits, build};

    fn pbx(address: SocketAddr) -> Pbx {
        toml::from_str(&format!("name = 'main'\naddress = '{address}'")).unwrap()
    }

    fn facing() -> Facing {
        std::net::IpAddr::from(Ipv4Addr::LOCALHOST).into()
    }

    fn trust() -> Trust {
        Trust {
            meta: tls::Roots::default(),
            pbxs: Default::default(),
        }
    }

    /// A PBX that answers one request so.
    async fn answering(last: u8, status: u16, body: &'static str) -> Vec<Finding> {
        judged(last, status, body, "").await
    }

    /// The same with more lines in its part of the configuration.
    async fn judged(last: u8, status: u16, body: &'static str, more: &str) -> Vec<Finding> {
        let socket = UdpSocket::bind((
            "127.87.201.1".parse::<Ipv4Addr>().unwrap(),
            5060 + u16::from(last),
        ))
        .await
        .unwrap();
        let address = socket.local_addr().unwrap();
        let far_end = async {
            let mut octets = [0; 4096];
            let (n, from) = socket.recv_from(&mut octets).await.unwrap();
            let Message::Request(request) =
                Message::parse(&octets[..n], &Limits::default()).unwrap()
            else {
                panic!("a request");
            };
            let mut response = build::response(&request, status, Some("tag"));
            if !body.is_empty() {
                response.headers.push("Content-Type", "application/sdp");
                response.body = body.into();
            }
            socket.send_to(&response.to_bytes(), from).await.unwrap();
        };
        let pbx: Pbx =
            toml::from_str(&format!("name = 'main'\naddress = '{address}'\n{more}")).unwrap();
        let trust = trust();
        let (findings, ()) = tokio::join!(check_all(&pbx, facing(), &trust), far_end);
        findings
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[tokio::test]
    async fn a_pbx_that_speaks_opus_is_well_and_so_is_g711_where_it_is_listed() {
        const OPUS: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\n";
        const G711: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
        let opus_alone = judged(1, 200, OPUS, "codecs = ['opus']").await;
        assert_eq!(levels(&opus_alone), [Level::Ok, Level::Ok, Level::Ok]);
        let g711 = judged(6, 200, G711, "codecs = ['pcma', 'opus']").await;
        assert_eq!(levels(&g711), [Level::Ok, Level::Ok, Level::Ok]);
        assert!(g711[1].what.contains("made Opus here"), "{}", g711[1]);
        let findings = judged(2, 200, G711, "codecs = ['opus', 'pcmu']").await;
        assert_eq!(levels(&findings), [Level::Ok, Level::Fail, Level::Ok]);
        assert!(findings[1].what.contains("PCMA"), "{}", findings[1]);
    }

    #[tokio::test]
    async fn a_pbx_without_digits_is_told_of_where_its_codecs_list_them() {
        const OPUS: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\n";
        const BOTH: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 107 101\r\na=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n";
        let findings = answering(4, 200, OPUS).await;
        assert_eq!(levels(&findings), [Level::Ok, Level::Warn, Level::Ok]);
        assert!(
            findings[1]
                .what
                .contains("does not offer telephone-event/8000"),
            "{}",
            findings[1]
        );
        assert_eq!(
            levels(&answering(5, 200, BOTH).await),
            [Level::Ok, Level::Ok, Level::Ok]
        );
    }

    #[tokio::test]
    async fn a_pbx_that_does_not_know_us_answers_all_the_same() {
        let findings = answering(3, 401, "").await;
        assert_eq!(levels(&findings), [Level::Warn, Level::Note, Level::Ok]);
        assert!(findings[0].remedy.contains("pjsip.conf"), "{}", findings[0]);
    }

    #[tokio::test]
    async fn a_pbx_that_we_register_at_may_ask_for_the_password() {
        let findings = judged(
            9,
            401,
            "",
            "[register]\nusername = 'wabridge'\npassword = 'x'",
        )
        .await;
        assert_eq!(levels(&findings), [Level::Ok, Level::Note, Level::Ok]);
        assert!(
            findings[0].what.contains("[pbx.register]"),
            "{}",
            findings[0]
        );
    }

    /// The first answers only when the second was asked.
    #[tokio::test]
    async fn addresses_do_not_wait_for_each_other() {
        let bind = || UdpSocket::bind("127.87.201.3:0");
        let (first, second) = (bind().await.unwrap(), bind().await.unwrap());
        let at = |socket: &UdpSocket| socket.local_addr().unwrap();
        let pbxs = [pbx(at(&first)), pbx(at(&second))];
        let far_ends = async {
            let mut requests = Vec::new();
            for socket in [&first, &second] {
                let mut octets = vec![0; 4096];
                let (n, from) = socket.recv_from(&mut octets).await.unwrap();
                octets.truncate(n);
                requests.push((socket, octets, from));
            }
            for (socket, octets, from) in requests {
                let Message::Request(request) =
                    Message::parse(&octets, &Limits::default()).unwrap()
                else {
                    panic!("a request");
                };
                let answer = build::response(&request, 200, Some("tag"));
                socket.send_to(&answer.to_bytes(), from).await.unwrap();
            }
        };
        let trust = trust();
        let (findings, ()) = tokio::join!(check_pbxs(&pbxs, |_| facing(), &trust), far_ends);
        for (ours, at) in [(&findings[0], at(&first)), (&findings[3], at(&second))] {
            assert_eq!(ours.level, Level::Ok, "{ours}");
            assert!(ours.what.contains(&at.to_string()), "{ours}");
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_it_is_said_who_and_over_what() {
        // Its port is closed, which the system says at once.
        let closed = UdpSocket::bind("127.87.201.2:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let pbx = pbx(closed);
        let findings = check_all(&pbx, facing(), &trust()).await;
        assert_eq!(levels(&findings), [Level::Fail, Level::Ok]);
        assert!(
            findings[0]
                .what
                .contains("main: no answer to OPTIONS from 127.87.201.2"),
            "{}",
            findings[0]
        );
    }

    #[tokio::test]
    async fn a_silence_that_costs_no_call_is_no_failure() {
        let closed = UdpSocket::bind("127.87.201.2:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let not_asked: Pbx = toml::from_str(&format!(
            "name = 'main'\naddress = '{address}'\noptions_interval = 0"
        ))
        .unwrap();
        let findings = check_all(&not_asked, facing(), &trust()).await;
        assert_eq!(levels(&findings), [Level::Note, Level::Ok]);
        assert!(
            findings[0].remedy.contains("place a call"),
            "{}",
            findings[0]
        );

        let silent = silent(&not_asked, address, "closed");
        let pbx = pbx(address);
        assert_eq!(soften(&pbx, true, silent.clone()).level, Level::Warn);
        assert_eq!(soften(&pbx, false, silent).level, Level::Fail);
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_is_a_failure_whoever_is_asked() {
        let pbx: Pbx =
            toml::from_str("name = 'main'\naddress = 'pbx.invalid'\noptions_interval = 0").unwrap();
        let findings = check_all(&pbx, facing(), &trust()).await;
        assert_eq!(levels(&findings), [Level::Fail]);
    }
}
