//! What a datagram on a media socket is, by its first octets (RFC 7983 §7, RFC 5761 §4).
//!
//! ```text
//!     0–3  STUN      20–63  DTLS      128–191  RTP, or RTCP if the next octet is 192–223
//! ```

/// The protocols that share a media socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// STUN, for ICE.
    Stun,
    /// DTLS, for keys.
    Dtls,
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// Nothing that we speak: ZRTP, TURN channels, noise, an empty datagram.
    Unknown,
}

impl Kind {
    /// What `datagram` claims to be. Whether it is well made, its own reader must say.
    pub fn of(datagram: &[u8]) -> Kind {
        match datagram {
            [0..=3, ..] => Kind::Stun,
            [20..=63, ..] => Kind::Dtls,
            // RTCP packet types 192–223 lie where payload types 64–95 with the marker set would be, which is why
            // RFC 5761 keeps those from use on a shared port.
            [128..=191, 192..=223, ..] => Kind::Rtcp,
            [128..=191, _, ..] => Kind::Rtp,
            _ => Kind::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_first_octet_belongs_to_the_protocol_of_rfc_7983() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                128..=191 => Kind::Rtp,
                _ => Kind::Unknown,
            };
            assert_eq!(Kind::of(&[first, 111]), expected, "first octet {first}");
        }
    }

    #[test]
    fn reports_are_told_from_audio_that_has_the_marker_set() {
        assert_eq!(Kind::of(&[0x80, 200]), Kind::Rtcp, "sender report");
        assert_eq!(Kind::of(&[0x81, 207]), Kind::Rtcp, "extended report");
        assert_eq!(
            Kind::of(&[0x80, 0x80 | 111]),
            Kind::Rtp,
            "Opus at Meta, marker set"
        );
        assert_eq!(
            Kind::of(&[0x80, 0x80 | 96]),
            Kind::Rtp,
            "lowest dynamic number, marker set"
        );
        assert_eq!(Kind::of(&[0x80, 0x80]), Kind::Rtp, "PCMU, marker set");
    }

    #[test]
    fn too_little_to_tell_is_unknown() {
        assert_eq!(Kind::of(&[]), Kind::Unknown);
        assert_eq!(Kind::of(&[0x80]), Kind::Unknown);
    }
}
