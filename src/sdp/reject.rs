//! Why a description is not taken, and the response it becomes.

use std::net::IpAddr;

use crate::media::{dtls, ice, sdes};

use super::{MAX_LINES, MAX_OCTETS};

/// Why an offer or an answer is not taken. The text says what the peer sent and what would have been taken, and
/// holds no key; what it quotes is cut and printable.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reject {
    /// Larger than anything a telephone sends.
    #[error("the SDP has {octets} octets in {lines} lines; we read {MAX_OCTETS} in {MAX_LINES}")]
    TooLarge {
        /// Its size.
        octets: usize,
        /// Its number of lines.
        lines: usize,
    },
    /// Not SDP (RFC 8866 §9).
    #[error("the SDP cannot be read: {0}")]
    Unreadable(String),
    /// A payload type outside 0–127 (RFC 3551 §6).
    #[error("the m= line lists payload type {0}; RTP has 0 to 127")]
    PayloadNumber(String),
    /// No `m=audio` line; what is there instead.
    #[error("no audio stream: the SDP has {0}")]
    NoAudio(String),
    /// The audio stream has port 0 (RFC 3264 §6).
    #[error("the audio stream has port 0: refused or ended by the peer")]
    Refused,
    /// No `c=` line applies to the audio stream (RFC 8866 §5.7).
    #[error("no c= line for the audio stream")]
    NoAddress,
    /// The `c=` line has no unicast IP address.
    #[error("c= names {0}; we send to unicast IP addresses only")]
    Address(String),
    /// The peer is on the other IP version.
    #[error("the peer's media is at {theirs}, ours at {ours}: not the same IP version")]
    Family {
        /// Our media address.
        ours: IpAddr,
        /// The peer's.
        theirs: IpAddr,
    },
    /// The transport of the m= line is not the one configured for this leg.
    #[error("the m= line says {offered}{}; this leg takes {wanted}", if *.keys { "" } else { " without keys" })]
    Transport {
        /// What it says.
        offered: String,
        /// Whether that transport is keyed at all.
        keys: bool,
        /// What this leg takes, or what we offered.
        wanted: String,
    },
    /// DTLS-SRTP (RFC 5764), which this leg is not set to, or which answers an offer without it.
    #[error(
        "the m= line says {offered}, keyed by DTLS; this leg takes {wanted}: set the peer to that"
    )]
    Dtls {
        /// What the m= line says.
        offered: String,
        /// What this leg takes, or what we offered.
        wanted: String,
    },
    /// `RTP/SAVP` and not one `a=crypto` (RFC 4568 §4).
    #[error("the m= line says RTP/SAVP, but there is no a=crypto line")]
    NoKey,
    /// No `a=crypto` line can be used; why the first cannot.
    #[error("{0}")]
    Key(sdes::ParseError),
    /// An answer that takes a key we did not offer (RFC 4568 §5.1.3).
    #[error("the answer takes a=crypto:{answered}; we offered tag {offered}")]
    Tag {
        /// The tag of the answer.
        answered: u32,
        /// The tag of our offer.
        offered: u32,
    },
    /// DTLS, and not one `a=fingerprint` (RFC 8122 §5).
    #[error("there is no a=fingerprint: the peer must send the SHA-256 of its certificate")]
    NoFingerprint,
    /// No `a=fingerprint` line can be used; why the first cannot.
    #[error("{0}: the peer must send the SHA-256 of its certificate")]
    Fingerprint(dtls::FingerprintError),
    /// DTLS without `a=setup` (RFC 8842 §5).
    #[error("there is no a=setup: the peer must say whether it opens the DTLS handshake")]
    NoSetup,
    /// An `a=setup` that is unknown, or out of place (RFC 8842 §5).
    #[error("a=setup is {stated}; it must be {wanted} (RFC 8842)")]
    Setup {
        /// What it says.
        stated: String,
        /// What it might say.
        wanted: &'static str,
    },
    /// DTLS without `a=ice-ufrag` or `a=ice-pwd` (RFC 8839 §5.4).
    #[error("there is no a={0}: the peer must use ICE where it uses DTLS (RFC 8839)")]
    NoCredential(&'static str),
    /// A malformed `a=ice-ufrag` or `a=ice-pwd`.
    #[error("a={0} (RFC 8839)")]
    Credential(ice::CredentialsError),
    /// DTLS, and not one `a=candidate`: those that RFC 8840 has come later are not waited for.
    #[error("there is no a=candidate: the peer must list its UDP addresses at once (RFC 8839)")]
    NoCandidate,
    /// No `a=candidate` line can be used; why the first malformed one cannot.
    #[error("{0}; the peer must list an IP address for RTP over UDP")]
    Candidate(ice::CandidateError),
    /// All `a=candidate` lines are of other transports, components or names; how many there are.
    #[error(
        "none of the {0} a=candidate lines has an IP address for RTP over UDP: the peer must list one"
    )]
    Candidates(usize),
    /// DTLS without `a=rtcp-mux` (RFC 5761).
    #[error("there is no a=rtcp-mux: keyed by DTLS, RTCP must share the port of RTP (RFC 5761)")]
    NoRtcpMux,
    /// Nothing in common to speak.
    #[error("no codec in common: the peer has {theirs}; we carry {ours}")]
    NoCommonCodec {
        /// Every format of the peer's m= line.
        theirs: String,
        /// What may be used on this call.
        ours: String,
    },
}

impl Reject {
    /// The status of the response that says so: 400 for what is not SDP, 488 for what we do not take.
    pub fn status(&self) -> u16 {
        match self {
            Reject::TooLarge { .. } | Reject::Unreadable(_) | Reject::PayloadNumber(_) => 400,
            _ => 488,
        }
    }
}

/// What a peer sent, fit for a log line or a header: printable ASCII, cut at 80 characters.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut quoted: String = text
        .chars()
        .take(LONGEST)
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        quoted.push_str("...");
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_cannot_break_a_line_or_fill_a_log() {
        assert_eq!(quote("G729/8000\r\nX: y\u{1b}[2J"), "G729/8000??X: y?[2J");
        assert_eq!(quote(&"x".repeat(5000)).len(), 83);
    }

    #[test]
    fn unreadable_is_400_and_unacceptable_488() {
        assert_eq!(Reject::Unreadable("x".into()).status(), 400);
        assert_eq!(Reject::NoKey.status(), 488);
    }
}
