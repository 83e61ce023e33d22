//! RTP packets: a view of received ones, a header for ours (RFC 3550 §5.1).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!   |                           timestamp                           |
//!   |                              SSRC                             |
//!   |  CC × CSRC, then an extension if X: read over, never written  |
//!   |             payload, then padding if P: cut off               |
//! ```

use rtp_rs::RtpReader;

/// Octets of a header without contributing sources and extension, the only kind we write.
pub const HEADER_LEN: usize = 12;

/// How many packets in a row may be missing; a larger jump is a source that started anew (RFC 3550 appendix A.1).
pub const MAX_DROPOUT: i16 = 3000;
/// How many packets after its place one may still come (the same).
pub const MAX_MISORDER: i16 = 100;

/// RTP sequence number. It wraps every 65 536 packets, so it has a distance and no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u16);

impl Seq {
    /// Packets from `earlier` to this one along the shorter way round; negative if this one is the older.
    pub fn since(self, earlier: Seq) -> i16 {
        self.0.wrapping_sub(earlier.0) as i16
    }

    /// The number `packets` further on.
    #[must_use]
    pub fn plus(self, packets: u16) -> Seq {
        Seq(self.0.wrapping_add(packets))
    }

    /// The number of the packet after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        self.plus(1)
    }
}

/// RTP timestamp in units of the payload's clock rate. It wraps as [`Seq`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// Clock units from `earlier` to this one along the shorter way round; negative if this one is the older.
    pub fn since(self, earlier: Timestamp) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// The instant `units` of the clock later.
    #[must_use]
    pub fn plus(self, units: u32) -> Timestamp {
        Timestamp(self.0.wrapping_add(units))
    }
}

/// Synchronization source: names one sender of a session, by chance alone (RFC 3550 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ssrc(pub u32);

impl std::fmt::Display for Ssrc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What is wrong with bytes that should have been an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RTP packet: {0} (RFC 3550 §5.1)")]
pub struct Malformed(&'static str);

/// A received RTP packet, seen in the buffer it arrived in.
pub struct Packet<'a>(RtpReader<'a>);

impl<'a> Packet<'a> {
    /// Looks at `bytes` as one whole RTP packet.
    ///
    /// # Errors
    /// When they cannot be one: too short, another version, lengths that point outside.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        use rtp_rs::RtpReaderError::*;
        RtpReader::new(bytes)
            .map(Packet)
            .map_err(|error| match error {
                BufferTooShort(_) => Malformed("shorter than a header"),
                UnsupportedVersion(_) => Malformed("its version is not 2"),
                HeadersTruncated { .. } => Malformed("its header runs past its end"),
                PaddingLengthInvalid(_) => Malformed("its padding is longer than its payload"),
            })
    }

    /// Payload type, 0–127.
    pub fn payload_type(&self) -> u8 {
        self.0.payload_type()
    }

    /// Marker bit: the first packet of a talk spurt or of an event.
    pub fn marker(&self) -> bool {
        self.0.mark()
    }

    /// Sequence number.
    pub fn seq(&self) -> Seq {
        Seq(u16::from(self.0.sequence_number()))
    }

    /// Sampling instant of the first octet of the payload.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.timestamp())
    }

    /// Who sent it.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.0.ssrc())
    }

    /// The payload, without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.0.payload()
    }

    /// What [`Header::write`] needs to send this payload on.
    pub fn header(&self) -> Header {
        Header {
            marker: self.marker(),
            payload_type: self.payload_type(),
            seq: self.seq(),
            timestamp: self.timestamp(),
            ssrc: self.ssrc(),
        }
    }
}

impl std::fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The payload is what somebody says: its length is enough.
        write!(f, "{:?} + {} octets", self.header(), self.payload().len())
    }
}

/// The header of a packet that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type; only its lower seven bits are written.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: Seq,
    /// Sampling instant of the first octet of the payload.
    pub timestamp: Timestamp,
    /// Our source.
    pub ssrc: Ssrc,
}

impl Header {
    /// Makes `out` this header followed by `payload`; allocates only where `out` is too small for them.
    pub fn write(&self, payload: &[u8], out: &mut Vec<u8>) {
        out.clear();
        self.append(payload, out);
    }

    /// Adds this header followed by `payload` to `out`.
    pub(crate) fn append(&self, payload: &[u8], out: &mut Vec<u8>) {
        const VERSION_2: u8 = 2 << 6;
        let kind = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        let [s0, s1] = self.seq.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.0.to_be_bytes();
        let [a, b, c, d] = self.ssrc.0.to_be_bytes();
        let header: [u8; HEADER_LEN] = [VERSION_2, kind, s0, s1, t0, t1, t2, t3, a, b, c, d];
        out.reserve(HEADER_LEN + payload.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distance_is_right_across_the_wrap() {
        assert_eq!(Seq(2).since(Seq(65_534)), 4);
        assert_eq!(Seq(65_534).since(Seq(2)), -4);
        assert_eq!(Seq(65_535).next(), Seq(0));
        assert_eq!(Timestamp(100).since(Timestamp(u32::MAX - 859)), 960);
        assert_eq!(Timestamp(u32::MAX).plus(960), Timestamp(959));
    }

    #[test]
    fn csrc_extension_and_padding_are_no_payload() {
        let bytes = [
            0xb1,
            0x80 | 111,
            0x12,
            0x34,
            0,
            0,
            0,
            160,
            0xde,
            0xad,
            0xbe,
            0xef, // P, X, one CSRC, marker
            0,
            0,
            0,
            7, // CSRC
            0xbe,
            0xde,
            0,
            1,
            0x10,
            0xff,
            0,
            0, // one word of extension
            b'o',
            b'k',
            0,
            2, // payload, two octets of padding
        ];
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload(), b"ok");
        assert_eq!(packet.seq(), Seq(0x1234));
        assert_eq!(packet.ssrc(), Ssrc(0xdead_beef));
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), 111);
    }

    #[test]
    fn a_packet_of_another_version_or_cut_short_is_refused() {
        assert!(Packet::parse(&[0x40; 20]).is_err());
        assert!(Packet::parse(&[0x80; 11]).is_err());
        assert!(
            Packet::parse(&[0x8f; 12]).is_err(),
            "fifteen CSRC announced, none there"
        );
    }

    #[test]
    fn writing_into_a_large_enough_buffer_keeps_it() {
        let mut out = Vec::with_capacity(200);
        let before = out.as_ptr();
        let header = Header {
            marker: true,
            payload_type: 111,
            seq: Seq(1),
            timestamp: Timestamp(2),
            ssrc: Ssrc(3),
        };
        header.write(&[0; 100], &mut out);
        header.write(b"opus", &mut out);
        assert_eq!(out.as_ptr(), before);
        assert_eq!(
            out,
            [
                0x80, 0xef, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, b'o', b'p', b'u', b's'
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            marker: bool, payload_type in 0u8..128, seq: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>,
        ) {
            let header = Header {
                marker, payload_type, seq: Seq(seq), timestamp: Timestamp(timestamp), ssrc: Ssrc(ssrc),
            };
            let mut out = vec![1, 2, 3];
            header.write(&payload, &mut out);
            let packet = Packet::parse(&out).unwrap();
            prop_assert_eq!(packet.header(), header);
            prop_assert_eq!(packet.payload(), &payload[..]);
        }

        #[test]
        fn no_bytes_make_reading_panic(mut bytes: Vec<u8>, version_2: bool) {
            if let (true, Some(first)) = (version_2, bytes.first_mut()) {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload().len() + HEADER_LEN <= bytes.len());
            }
        }
    }
}
