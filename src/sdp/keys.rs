//! What keys a peer's packets, by its `m=` line and what stands below it.

use sdp_types::{Media, Session};

use crate::media::sdes::Crypto;
use crate::media::{Security, SrtpKeys};

use super::dtls::{self, Turn};
use super::reject::{Reject, quote};
use super::stream::flag;
use super::write::Protection;
use super::{Keying, Local};

/// What keys the peer's packets.
#[derive(Clone, Debug)]
pub(super) enum PeerKeys {
    Plain,
    Sdes(Crypto),
    Dtls(Box<dtls::Peer>),
}

impl PeerKeys {
    /// Reads the keys of one stream, if its transport is one that this leg takes.
    pub(super) fn read(
        session: &Session,
        media: &Media,
        keyings: &[Keying],
        turn: Turn,
    ) -> Result<PeerKeys, Reject> {
        let offered = quote(&media.proto);
        let wanted: Vec<_> = keyings.iter().map(|keying| keying.wanted()).collect();
        let wanted = wanted.join(" or ");
        match keying(session, media) {
            Some(keying) if keyings.contains(&keying) => match keying {
                Keying::Plain => Ok(PeerKeys::Plain),
                Keying::Sdes => crypto(media).map(PeerKeys::Sdes),
                Keying::Dtls => {
                    let peer = dtls::Peer::read(session, media, turn)?;
                    Ok(PeerKeys::Dtls(Box::new(peer)))
                }
            },
            Some(Keying::Dtls) => Err(Reject::Dtls { offered, wanted }),
            other => Err(Reject::Transport {
                offered,
                keys: other != Some(Keying::Plain),
                wanted,
            }),
        }
    }

    pub(super) fn keying(&self) -> Keying {
        match self {
            PeerKeys::Plain => Keying::Plain,
            PeerKeys::Sdes(_) => Keying::Sdes,
            PeerKeys::Dtls(_) => Keying::Dtls,
        }
    }

    /// What our answer says of keys: for SDES, ours under the tag of the peer's (RFC 4568 §5.1.2).
    pub(super) fn answered(&self, local: &Local) -> Protection {
        match self {
            PeerKeys::Plain => Protection::Clear,
            PeerKeys::Sdes(theirs) => Protection::Crypto(Crypto {
                tag: theirs.tag,
                profile: theirs.profile,
                key: local.crypto.key.clone(),
            }),
            PeerKeys::Dtls(peer) => Protection::Dtls(peer.setup()),
        }
    }

    /// What keys both directions. Each side's key protects what that side sends (RFC 4568 §5.1.2).
    pub(super) fn security(&self, local: &Local) -> Security {
        match self {
            PeerKeys::Plain => Security::Plain,
            PeerKeys::Sdes(theirs) => Security::Sdes(SrtpKeys {
                profile: theirs.profile,
                send: local.crypto.key.clone(),
                receive: theirs.key.clone(),
            }),
            PeerKeys::Dtls(peer) => Security::Dtls(Box::new(peer.spec(local))),
        }
    }
}

/// How a stream is keyed, by its m= line: whoever names TLS there will not send by the keys of an `a=crypto` beside it.
/// Only without TLS do the other lines count: RTP/SAVPF was how DTLS was said before it had a name of its own, and
/// RFC 8829 §5.1.2 has everybody understand it.
fn keying(session: &Session, media: &Media) -> Option<Keying> {
    let older_dtls = dtls::is_meant(session, media) && !flag(&media.attributes, "crypto");
    match media.proto.as_str() {
        "RTP/AVP" | "RTP/AVPF" => Some(Keying::Plain),
        "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF" => Some(Keying::Dtls),
        "RTP/SAVP" | "RTP/SAVPF" if older_dtls => Some(Keying::Dtls),
        "RTP/SAVP" | "RTP/SAVPF" => Some(Keying::Sdes),
        _ => None,
    }
}

/// RFC 4568 §5.1.2: the first line that we can use, in the peer's order.
fn crypto(media: &Media) -> Result<Crypto, Reject> {
    let mut reason = None;
    for line in media.attributes.iter().filter(|a| a.attribute == "crypto") {
        match Crypto::parse(line.value.as_deref().unwrap_or_default()) {
            Ok(crypto) => return Ok(crypto),
            Err(e) => reason = reason.or(Some(e)),
        }
    }
    Err(reason.map_or(Reject::NoKey, Reject::Key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::stream::session;
    use crate::sdp::tests::sdp;

    fn read(keying: Keying, rest: &str) -> Result<PeerKeys, Reject> {
        let session = session(&sdp(rest))?;
        PeerKeys::read(&session, &session.medias[0], &[keying], Turn::Offer)
    }

    #[test]
    fn a_transport_that_is_not_this_legs_is_named() {
        let text = |keying, rest: &str| read(keying, rest).unwrap_err().to_string();
        let plain = text(
            Keying::Sdes,
            "m=audio 4000 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n",
        );
        assert_eq!(
            plain,
            "the m= line says RTP/AVP without keys; this leg takes RTP/SAVP with a=crypto"
        );
        assert_eq!(
            text(Keying::Plain, "m=audio 4000 RTP/SAVP 0\n"),
            "the m= line says RTP/SAVP; this leg takes RTP/AVP"
        );
        assert!(text(Keying::Sdes, "m=audio 4000 RTP/SAVP 0\n").contains("no a=crypto"));
        assert!(text(Keying::Plain, "m=audio 4000 TCP/RTP/AVP 0\n").contains("TCP/RTP/AVP"));
    }

    #[test]
    fn dtls_is_refused_with_or_without_crypto_lines() {
        let key =
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n";
        for lines in ["", key] {
            let error = read(
                Keying::Sdes,
                &format!("m=audio 4000 UDP/TLS/RTP/SAVPF 111\n{lines}"),
            )
            .unwrap_err();
            assert!(matches!(error, Reject::Dtls { .. }), "{error}");
            assert!(error.to_string().contains("DTLS"));
        }
    }

    #[test]
    fn the_first_key_that_we_can_use_is_taken() {
        let keys = |lines: &str| read(Keying::Sdes, &format!("m=audio 4000 RTP/SAVP 111\n{lines}"));
        let stream = keys(concat!(
            "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:BwcH\n",
            "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n",
        ));
        assert!(matches!(
            stream.unwrap(),
            PeerKeys::Sdes(Crypto { tag: 2, .. })
        ));
        let error =
            keys("a=crypto:1 F8_999 inline:x\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:!\n")
                .unwrap_err();
        assert!(error.to_string().contains("F8_999"), "{error}");
    }
}
