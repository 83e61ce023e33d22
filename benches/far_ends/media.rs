//! What is agreed about media where a bench drives the engine itself.

use std::net::SocketAddr;

use wabridge::media::sdes::Crypto;
use wabridge::media::{Codec, Direction, Payload, Security, SideSpec, Source, SrtpKeys};
use wabridge::sdp::FRAME;

use super::messages::METAS_KEY;

/// The payload number of a codec of sound.
pub fn number(codec: Codec) -> u8 {
    codec.static_number().unwrap_or(111)
}

/// A side there that speaks this codec, in clear, or under the key of Meta's sample.
pub fn side(remote: SocketAddr, codec: Codec, srtp: bool) -> SideSpec {
    let payload = Payload {
        number: number(codec),
        codec,
    };
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    SideSpec {
        remote_rtp: remote,
        remote_rtcp: None,
        send: vec![payload],
        receive: vec![payload],
        security: match srtp {
            false => Security::Plain,
            true => Security::Sdes(SrtpKeys {
                profile: crypto.profile,
                send: Crypto::generate(1).key,
                receive: crypto.key,
            }),
        },
        source: Source::Negotiated,
        direction: Direction::SendRecv,
        ptime: FRAME,
        tones: false,
        extended_reports: Default::default(),
    }
}
