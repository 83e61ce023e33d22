//! Offers and answers for one audio stream (RFC 3264, RFC 8866).
//!
//! ```text
//!   our offer      Offer::new ──▶ text          their answer ──▶ Offer::accept        ──▶ SideSpec
//!   their offer    RemoteOffer::parse           … the other leg agrees …
//!                                               RemoteOffer::answer  ──▶ text and SideSpec
//!   either, later   Agreement: answers another offer, offers anew, repeats itself
//! ```
//!
//! A [`RemoteOffer`] is checked at once and answered later, because the bridge may answer one leg only when the
//! other has said which codecs it takes. Nothing here draws a random number or opens a port: session ids, keys and
//! addresses come in by [`Local`], so equal input gives equal text.
//!
//! `stream` reads the one stream that we take, `rtpmap` its codecs, `keys` what protects it, `dtls` its end of ICE and
//! DTLS; `write` says ours.

mod agreement;
mod dtls;
mod keys;
mod offer;
mod reject;
mod remote;
mod rtpmap;
mod stream;
mod write;

pub use agreement::Agreement;
pub use offer::Offer;
pub use reject::Reject;
pub use remote::{Answered, RemoteOffer};

use std::time::Duration;

use crate::media::dtls::Fingerprint;
use crate::media::sdes::Crypto;
use crate::media::{Codec, LocalPorts, Payload, Security, Source, ice};

/// Octets of SDP that are read; Meta's need about 1200, a browser's 6000.
pub const MAX_OCTETS: usize = 16 * 1024;

/// Lines of SDP that are read.
pub const MAX_LINES: usize = 400;

/// What one leg can do, whoever calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Codecs in our order of preference, each with the payload number under which we offer it. An answer to an
    /// offer uses the offer's numbers instead (RFC 3264 §6.1).
    pub payloads: Vec<Payload>,
    /// How media may be keyed on this leg: offered by the first, and an offer is answered in its own if it is listed.
    pub keyings: Vec<Keying>,
    /// Which end of the DTLS handshake an offer leaves us.
    pub setup: Setup,
    /// How much sound a packet is asked to hold (`a=ptime`).
    pub ptime: Duration,
    /// Whether RTCP may share the RTP port (RFC 5761): offered, and taken up where the peer offers it. Where DTLS keys the
    /// leg it does so whatever this says.
    pub rtcp_mux: bool,
    /// Whether digits are tones in the sound; goes into the `SideSpec` as it is.
    pub tones: bool,
    /// Which senders the media side accepts; goes into the `SideSpec` as it is.
    pub source: Source,
}

impl Capabilities {
    /// Opus and digits towards Meta: RTCP multiplexed, digits as 126 because Meta sends them so even to a peer that did
    /// not offer them.
    pub fn meta(keyings: Vec<Keying>, setup: Setup) -> Capabilities {
        Capabilities {
            payloads: vec![OPUS, digits(126)],
            keyings,
            setup,
            ptime: FRAME,
            tones: false,
            rtcp_mux: true,
            // That Meta's relay sends from where it receives is likely, but documented nowhere; its keys tell it.
            source: Source::Authentic,
        }
    }

    /// All that we carry towards a PBX, RTCP on a port of its own.
    pub fn pbx(keying: Keying, source: Source) -> Capabilities {
        let sound = [OPUS].into_iter().chain(STATIC.map(numbered));
        Capabilities {
            payloads: sound.chain([digits(101)]).collect(),
            keyings: vec![keying],
            setup: Setup::default(),
            ptime: FRAME,
            tones: false,
            rtcp_mux: false,
            source,
        }
    }

    /// The same with these codecs alone, in this order of preference.
    #[must_use]
    pub fn preferring(self, codecs: &[Codec]) -> Capabilities {
        let known = |codec| self.payloads.iter().find(|p| p.codec == codec).copied();
        Capabilities {
            payloads: codecs.iter().filter_map(|codec| known(*codec)).collect(),
            ..self
        }
    }

    /// The same, and these codecs of sound as well, which have numbers of their own; those in `first` before all others.
    #[must_use]
    pub fn with(mut self, codecs: &[Codec], first: Option<Codec>) -> Capabilities {
        for codec in codecs.iter().filter(|codec| STATIC.contains(codec)) {
            let place = self.payloads.iter().position(|p| !p.codec.is_audio());
            let place = match first == Some(*codec) {
                true => 0,
                false => place.unwrap_or(self.payloads.len()),
            };
            self.payloads.insert(place, numbered(*codec));
        }
        self
    }

    /// What sound is preferred among these.
    pub fn preferred(&self, codecs: &[Codec]) -> Option<Codec> {
        let mut ours = self.payloads.iter().map(|payload| payload.codec);
        ours.find(|codec| codec.is_audio() && codecs.contains(codec))
    }

    /// Whether a peer may use it. Digits are taken on the clock of either sound where they are taken at all.
    fn carries(&self, codec: Codec) -> bool {
        let events = matches!(
            codec,
            Codec::TelephoneEvent {
                rate: 8_000 | 48_000
            }
        );
        let mut ours = self.payloads.iter().map(|payload| payload.codec);
        ours.any(|ours| ours == codec || (events && !ours.is_audio()))
    }
}

/// What packets hold unless somebody asks for more or less; Meta takes nothing else.
pub const FRAME: Duration = Duration::from_millis(20);

/// Codecs whose payload numbers need no `a=rtpmap`, the best first.
pub const STATIC: [Codec; 3] = [Codec::G722, Codec::Pcma, Codec::Pcmu];

const OPUS: Payload = Payload {
    number: 111,
    codec: Codec::Opus,
};

fn digits(number: u8) -> Payload {
    Payload {
        number,
        codec: Codec::TelephoneEvent { rate: 8000 },
    }
}

/// A codec under its own number.
fn numbered(codec: Codec) -> Payload {
    Payload {
        number: codec.static_number().unwrap_or(OPUS.number),
        codec,
    }
}

/// How the media of a leg is keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// Clear RTP: `RTP/AVP`.
    Plain,
    /// SRTP with keys in the SDP: `RTP/SAVP` and `a=crypto` (RFC 4568).
    Sdes,
    /// SRTP with keys of a DTLS handshake, over a path that ICE finds: `UDP/TLS/RTP/SAVPF` (RFC 5763, RFC 8839), or
    /// `RTP/SAVPF` with `a=fingerprint` and no `a=crypto`, as older stacks say it (RFC 8829 §5.1.2).
    Dtls,
}

/// The `a=setup` of our offers (RFC 5763 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setup {
    /// The peer chooses.
    #[default]
    Actpass,
    /// We send the ClientHello.
    Active,
}

impl Keying {
    /// What a side that was agreed has.
    pub fn of(security: &Security) -> Keying {
        match security {
            Security::Plain => Keying::Plain,
            Security::Sdes(_) => Keying::Sdes,
            Security::Dtls(_) => Keying::Dtls,
        }
    }

    /// What such a leg must have in its SDP, for messages.
    fn wanted(self) -> &'static str {
        match self {
            Keying::Plain => "RTP/AVP",
            Keying::Sdes => "RTP/SAVP with a=crypto",
            Keying::Dtls => "UDP/TLS/RTP/SAVPF with a=fingerprint",
        }
    }
}

impl std::fmt::Display for Keying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Keying::Plain => "plain",
            Keying::Sdes => "sdes",
            Keying::Dtls => "dtls",
        })
    }
}

/// Our end of one stream, for one call.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where we listen, as the peer must see it.
    pub ports: LocalPorts,
    /// Session id of our `o=` line; equal in all descriptions of one dialog.
    pub session: u64,
    /// Version in our `o=` line; grows by one with each change (RFC 3264 §8).
    pub version: u64,
    /// Our key. Used on legs keyed with SDES; the answer puts it under the offer's tag.
    pub crypto: Crypto,
    /// What checks of the peer are signed with. Used on legs keyed with DTLS.
    pub ice: ice::Credentials,
    /// Of the certificate that we show in a DTLS handshake.
    pub fingerprint: Fingerprint,
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Our end, with a key that is recognised by its octets.
    pub(super) fn local(port: u16) -> Local {
        let key = crate::media::MasterKey(vec![7; 30]);
        let rtp = SocketAddr::from(([192, 0, 2, 1], port));
        Local {
            ports: LocalPorts {
                rtp,
                rtcp: Some(SocketAddr::new(rtp.ip(), port + 1)),
                other_family: None,
            },
            session: 1000,
            version: 1,
            crypto: Crypto {
                tag: 1,
                profile: crate::media::SrtpProfile::AesCm128HmacSha1_80,
                key,
            },
            ice: ice::Credentials::new("8hhY", "asd88fgpdd777uzjYhagZg").unwrap(),
            fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")).parse().unwrap(),
        }
    }

    /// A plain leg towards a PBX.
    pub(super) fn plain() -> Capabilities {
        Capabilities::pbx(Keying::Plain, Source::Negotiated)
    }

    /// A description of one session-level address and these m= sections.
    pub(super) fn sdp(rest: &str) -> Vec<u8> {
        let head = "v=0\no=- 1 1 IN IP4 203.0.113.9\ns=-\nc=IN IP4 203.0.113.9\nt=0 0\n";
        format!("{head}{rest}").replace('\n', "\r\n").into_bytes()
    }
}
