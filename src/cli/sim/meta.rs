//! `wabridge sim meta`

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::ValueEnum;

use super::talk::{Answer, Call, Voice};
use super::{Job, play};
use crate::cli::relay::MediaArguments;
use crate::media::Codec;
use crate::number::E164;
use crate::secret::Secret;
use crate::sim::meta::{Business, Challenges, DigestUri};
use crate::sim::run::{FarEnd, MetaEnd};
use crate::sim::speech::Speaks;
use crate::sim::{Answering, body};
use crate::sip::transport::tls::{self, Roots};

/// How Meta is set up.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen by TLS. This address is also where calls come from, so the bridge must allow it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.2:5061")]
    listen: SocketAddr,
    /// Where the bridge listens for Meta.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5061")]
    bridge: SocketAddr,
    /// The bridge's name, which its certificate must cover; `meta.hostname` in its configuration.
    #[arg(long, value_name = "NAME", default_value = "bridge.example.com")]
    hostname: String,
    /// PEM file with the authority of the bridge's certificate.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// PEM file with our certificate, for wa.meta.vc, leaf first.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File with the password of the numbers.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// A provisioned business number, with its +. May be repeated; without one every number is.
    #[arg(long = "number", value_name = "NUMBER")]
    numbers: Vec<E164>,
    /// Where media comes in; otherwise the address we listen on.
    #[arg(long, value_name = "IP")]
    media_address: Option<IpAddr>,
    /// A second candidate for ICE: an address of IPv6 where media comes in as well.
    #[arg(long, value_name = "IP")]
    media_address6: Option<Ipv6Addr>,
    /// How the numbers are set to get their keys: the bridge must offer it, and gets it offered.
    #[arg(long, value_enum, default_value_t = Keying::Dtls)]
    keying: Keying,
    /// How the bridge's INVITEs are challenged.
    #[arg(long, value_enum, default_value_t = Challenge::Md5)]
    challenge: Challenge,
    /// Compare the digest's uri with To, as one report has it, in place of the Request-URI.
    #[arg(long)]
    digest_uri_of_to: bool,
    /// Codecs that the numbers have beside Opus, as Meta's `additional_codecs`, separated by commas, in the order in which
    /// they are offered.
    #[arg(long, value_name = "CODECS", value_enum, value_delimiter = ',')]
    additional_codecs: Vec<G711>,
    #[command(flatten)]
    relay: MediaArguments,
    #[command(subcommand)]
    action: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keying {
    /// ICE and a DTLS handshake, Meta's default
    Dtls,
    /// Keys in SDP
    Sdes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum G711 {
    /// A-law
    Pcma,
    /// µ-law
    Pcmu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Challenge {
    /// Not at all
    Off,
    /// By MD5, as documented
    Md5,
    /// By SHA-256
    Sha256,
    /// By SHA-256 and MD5, for the bridge to choose
    Both,
    /// The first right answer is told that its nonce is stale
    StaleOnce,
    /// For ever
    Always,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A WhatsApp user calls a business number.
    Call(UserCall),
    /// WhatsApp users are called, and answer or refuse.
    ///
    /// Refusals that Meta documents, for --status and --reason: 403 "No Approved Call Permission Found: No approved
    /// call permission from the recipient", 403 "Business Initiated Connected Call Per Day Limit Hit", 403 "payment
    /// eligibility", 408 "RTP Timeout", 480, 486 "User declined the call", 500, 503.
    Answer(Answer),
}

#[derive(Debug, clap::Args)]
struct UserCall {
    #[command(flatten)]
    call: Call,
    /// The payload of the call button that was pressed.
    #[arg(long, value_name = "TEXT")]
    cta_payload: Option<String>,
    /// The payload of the deep link that was followed.
    #[arg(long, value_name = "TEXT")]
    deeplink_payload: Option<String>,
    /// Send the digest retry, ACK and BYE over another connection than the first INVITE, as Meta may.
    #[arg(long)]
    other_connection: bool,
}

impl Arguments {
    /// What the users' phones speak.
    fn speaks(&self) -> Speaks {
        let mut speaks = Speaks {
            expected_loss: self.relay.expected_loss(),
            ..Speaks::default()
        };
        speaks.codecs.extend(self.additional_codecs());
        speaks
    }

    fn additional_codecs(&self) -> impl Iterator<Item = Codec> {
        self.additional_codecs.iter().map(|codec| match codec {
            G711::Pcma => Codec::Pcma,
            G711::Pcmu => Codec::Pcmu,
        })
    }

    pub(super) async fn play(self) -> Result<bool, String> {
        let speaks = self.speaks();
        let end = self.end(&speaks)?;
        let (job, wanted) = match &self.action {
            What::Call(user) => {
                let payloads = [
                    ("x-wa-meta-cta-payload", &user.cta_payload),
                    ("x-wa-meta-deeplink-payload", &user.deeplink_payload),
                ];
                let other = user.other_connection;
                let calls = user.call.outgoing(Voice::User, &speaks, &payloads, other)?;
                (Job::Call(calls), user.call.talk.wanted(200))
            }
            What::Answer(answer) => {
                let answering = answer.answering(Voice::User, &speaks, false)?;
                let job = Job::Answer(Box::new(answering), answer.calls);
                (job, answer.wanted())
            }
        };
        let end = FarEnd::meta(end).await.map_err(|e| e.to_string())?;
        play(end, job, wanted).await
    }

    fn end(&self, speaks: &Speaks) -> Result<MetaEnd, String> {
        let text = std::fs::read_to_string(&self.password_file).map_err(|error| {
            let file = self.password_file.display();
            format!("--password-file: cannot read {file}: {error}")
        })?;
        let password = Secret::new(text.trim_end_matches(['\r', '\n']));
        let roots = Roots {
            files: vec![self.ca.clone()],
            ..Roots::default()
        };
        let business = |number: E164| Business {
            number,
            phone_number_id: "106540352242922".to_owned(),
            hostname: self.hostname.clone(),
            password: password.clone(),
            keying: match self.keying {
                Keying::Sdes => body::Keying::Sdes,
                Keying::Dtls => body::Keying::Dtls,
            },
        };
        let any: E164 = "+10000000000".parse().map_err(|e| format!("{e}"))?;
        Ok(MetaEnd {
            listen: self.listen,
            media: self.media_address.unwrap_or(self.listen.ip()),
            media6: self.media_address6,
            relay: self.relay.settings(),
            additional_codecs: self.additional_codecs().collect(),
            server: tls::server_config(&self.cert, &self.key).map_err(|e| e.to_string())?,
            client: tls::client_config(&roots).map_err(|e| e.to_string())?,
            bridge: self.bridge,
            hostname: self.hostname.clone(),
            businesses: self.numbers.iter().cloned().map(business).collect(),
            anybody: self.numbers.is_empty().then(|| business(any)),
            challenges: match self.challenge {
                Challenge::Off => Challenges::Off,
                Challenge::Md5 => Challenges::Md5,
                Challenge::Sha256 => Challenges::Sha256,
                Challenge::Both => Challenges::Both,
                Challenge::StaleOnce => Challenges::StaleOnce,
                Challenge::Always => Challenges::Always,
            },
            digest_uri: match self.digest_uri_of_to {
                true => DigestUri::To,
                false => DigestUri::Request,
            },
            answering: match &self.action {
                What::Answer(answer) => answer.answering(Voice::User, speaks, false)?,
                What::Call(_) => Answering::default(),
            },
        })
    }
}
