//! The SDP of a far end: printed as Meta and plain telephones print it, and the bridge's read line by line.
//!
//! ```text
//!   Ours ── print ──▶ SDP ──▶ the bridge ──▶ SDP ── read, dtls ──▶ Theirs { …, complaints }
//!     └───────────────────────── with ─────────────────────────────┘ ──▶ Peer
//! ```
//!
//! Written apart from `sdp`, and stricter: it knows the one shape that both sides of a call are allowed (§7 of Meta's
//! rules) and names everything else.

mod dtls;
mod print;
mod read;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::speech::Speaks;
use super::words;
use crate::media::dtls::{Fingerprint, Role};
use crate::media::sdes::Crypto;
use crate::media::{Codec, Payload, SrtpKeys};
pub use dtls::TheirDtls;

/// Payload number of Opus in our offers.
pub const OPUS: u8 = 111;
/// Payload number of digits in our offers.
pub const EVENTS: u8 = 126;

/// How the two ends of a leg at Meta get their keys: a switch of each business number there (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// Keys in SDP (RFC 4568).
    Sdes,
    /// A handshake over the path that ICE finds (RFC 5763, RFC 8445).
    Dtls,
}

/// What a far end demands of the bridge's SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demands {
    /// What Meta does, for this keying (§7).
    Meta(Keying),
    /// `RTP/AVP`.
    Pbx,
}

/// Where the media of one call comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What `c=` and `m=` say.
    pub main: SocketAddr,
    /// A second address for ICE, of the other version of IP.
    pub ipv6: Option<SocketAddr>,
}

/// Which end of the DTLS handshake a far end takes (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The other side may choose: for offers.
    Actpass,
    /// We send the ClientHello.
    Active,
    /// We wait for it.
    Passive,
}

impl Setup {
    fn name(self) -> &'static str {
        match self {
            Setup::Actpass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }

    fn of(name: &str) -> Option<Setup> {
        let all = [Setup::Actpass, Setup::Active, Setup::Passive];
        all.into_iter().find(|setup| setup.name() == name)
    }
}

/// What checks are signed with: `a=ice-ufrag`, `a=ice-pwd`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    /// The user name fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: String,
}

/// What we print for ICE and DTLS.
#[derive(Clone, Debug)]
pub struct OurDtls {
    /// As Meta makes them: 16 characters, and 16 octets in base64 with its padding.
    pub ice: Ice,
    /// SHA-256 of our certificate, in pairs of digits.
    pub fingerprint: String,
    /// `a=setup`.
    pub setup: Setup,
    /// What we make of an offer that leaves it to us: active or passive.
    pub prefers: Setup,
}

/// How we protect what we send.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// With a key in our SDP.
    Sdes(Crypto),
    /// With keys of a handshake.
    Dtls(OurDtls),
}

/// What we put into SDP: one stream of sound and digits.
#[derive(Clone)]
pub struct Ours {
    /// Where we listen.
    pub media: Listening,
    /// Our only source.
    pub ssrc: u32,
    /// How we protect what we send.
    pub security: Security,
    /// What we speak, in our order.
    pub sound: Vec<Payload>,
    /// Milliseconds of sound in each packet.
    pub ptime: u16,
    /// Payload number of digits; `None`: not offered to us.
    pub events: Option<u8>,
    /// Name of the stream.
    pub mid: String,
    session: u64,
}

/// What the bridge put into its SDP.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    /// Where it listens.
    pub media: Option<SocketAddr>,
    /// Where its RTCP goes, if not with RTP.
    pub rtcp: Option<SocketAddr>,
    /// What it speaks of what we know, in its order.
    pub sound: Vec<Payload>,
    /// Payload number and clock rate of digits.
    pub events: Option<(u8, u32)>,
    /// How it protects what it sends, where SDP has its key.
    pub crypto: Option<Crypto>,
    /// What it says of ICE and DTLS, where they are demanded.
    pub dtls: TheirDtls,
    /// Payload numbers of the m= line in order.
    pub payloads: Vec<u8>,
    /// Name of the stream.
    pub mid: Option<String>,
    /// What is wrong with it.
    pub complaints: Vec<String>,
}

/// Where media goes and how it is protected, both ways.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where RTP goes; with DTLS only until ICE knows better.
    pub rtp: SocketAddr,
    /// Where RTCP goes; `None`: multiplexed.
    pub rtcp: Option<SocketAddr>,
    /// What is spoken.
    pub sound: Payload,
    /// Payload number and clock rate of digits.
    pub events: Option<(u8, u32)>,
    /// Our source.
    pub ssrc: u32,
    /// Where the keys come from.
    pub keys: Keys,
}

/// Where the keys of a call come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// There are none.
    Plain,
    /// Both SDPs.
    Sdes(SrtpKeys),
    /// A handshake.
    Dtls(Handshaking),
}

/// What both SDPs say of the handshake and the path to it.
#[derive(Clone, Debug)]
pub struct Handshaking {
    /// What the bridge's checks are signed with.
    pub ice: Ice,
    /// The bridge's part of their USERNAME.
    pub their_ufrag: String,
    /// Our end.
    pub role: Role,
    /// What the bridge's certificate must be: one of these.
    pub fingerprints: Vec<Fingerprint>,
}

impl Ice {
    /// Fresh ones, as Meta makes them (§7).
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn as_meta() -> Ice {
        let mut random = [0; 28];
        getrandom::fill(&mut random).expect("the operating system gives random numbers");
        let (ufrag, pwd) = random.split_at(12);
        // Letters alone, as in every offer of Meta's that was seen.
        let ufrag = BASE64.encode(ufrag);
        let ufrag = ufrag.replace(|c: char| !c.is_ascii_alphabetic(), "x");
        let pwd = BASE64.encode(pwd);
        Ice { ufrag, pwd }
    }
}

impl OurDtls {
    /// For an offer: the bridge may choose its end.
    pub fn new(fingerprint: String, prefers: Setup) -> OurDtls {
        OurDtls {
            ice: Ice::as_meta(),
            fingerprint,
            setup: Setup::Actpass,
            prefers,
        }
    }
}

impl Ours {
    /// An offer of ours, keyed as Meta keys numbers that were set to SDES.
    pub fn srtp(media: Listening, speaks: &Speaks) -> Ours {
        Ours {
            security: Security::Sdes(Crypto::generate(1)),
            ..Ours::plain(media, speaks)
        }
    }

    /// An offer of ours, keyed as Meta keys all other numbers.
    pub fn dtls(media: Listening, dtls: OurDtls, speaks: &Speaks) -> Ours {
        Ours {
            security: Security::Dtls(dtls),
            ..Ours::plain(media, speaks)
        }
    }

    /// An offer of ours for a plain PBX.
    pub fn plain(media: Listening, speaks: &Speaks) -> Ours {
        let payload = |&codec: &Codec| Payload {
            number: codec.static_number().unwrap_or(OPUS),
            codec,
        };
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Ours {
            media,
            ssrc: words::number() as u32,
            security: Security::Plain,
            sound: speaks.codecs.iter().map(payload).collect(),
            ptime: speaks.ptime,
            events: Some(EVENTS),
            mid: "audio".to_owned(),
            session: epoch.map_or(0, |e| e.as_millis() as u64),
        }
    }

    /// What the bridge's SDP must be to go with ours.
    pub fn demands(&self) -> Demands {
        match self.security {
            Security::Plain => Demands::Pbx,
            Security::Sdes(_) => Demands::Meta(Keying::Sdes),
            Security::Dtls(_) => Demands::Meta(Keying::Dtls),
        }
    }

    /// The first that the bridge has of what we speak.
    pub fn in_common(&self, theirs: &Theirs) -> Option<Payload> {
        let ours = |payload: &&Payload| self.sound.iter().any(|own| own.codec == payload.codec);
        theirs.sound.iter().find(ours).copied()
    }

    /// The same as an answer: the first that the bridge offered of what we speak, in the numbers that it offered.
    #[must_use]
    pub fn answering(mut self, offer: &Theirs) -> Ours {
        self.sound = Vec::from_iter(self.in_common(offer));
        self.events = offer.events.map(|(number, _)| number);
        self.mid = offer.mid.clone().unwrap_or(self.mid);
        match (&mut self.security, &offer.crypto) {
            (Security::Sdes(ours), Some(theirs)) => ours.tag = theirs.tag,
            (Security::Dtls(ours), _) => {
                ours.setup = match offer.dtls.setup {
                    Some(Setup::Active) => Setup::Passive,
                    Some(Setup::Passive) => Setup::Active,
                    Some(Setup::Actpass) | None => ours.prefers,
                };
            }
            _ => {}
        }
        self
    }

    /// Both ends put together. The error says what is missing.
    pub fn with(&self, theirs: &Theirs) -> Result<Peer, String> {
        let keys = match (&self.security, &theirs.crypto) {
            (Security::Plain, None) => Keys::Plain,
            (Security::Sdes(ours), Some(theirs)) => Keys::Sdes(SrtpKeys {
                profile: theirs.profile,
                send: ours.key.clone(),
                receive: theirs.key.clone(),
            }),
            (Security::Dtls(ours), _) => Keys::Dtls(ours.with(&theirs.dtls)?),
            (Security::Sdes(_), None) => {
                return Err("the SDP has no a=crypto that can be used".to_owned());
            }
            (Security::Plain, Some(_)) => {
                return Err("the SDP has a=crypto on a plain leg".to_owned());
            }
        };
        Ok(Peer {
            rtp: theirs.media.ok_or("the SDP says no address for audio")?,
            rtcp: theirs.rtcp,
            sound: self
                .in_common(theirs)
                .ok_or("the SDP has no codec of ours")?,
            events: theirs.events,
            ssrc: self.ssrc,
            keys,
        })
    }
}

/// Holds a key.
impl std::fmt::Debug for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ours")
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// Holds a password.
impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ice({}, secret)", self.ufrag)
    }
}
