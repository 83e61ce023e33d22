//! STUN messages, as far as ICE needs them: the Binding method with short-term credentials (RFC 8489, RFC 8445 §7.1).
//!
//! ```text
//!     type(2) length(2) cookie(4) transaction(12) │ attribute: type(2) length(2) value, padded to 4 │ …
//!     … │ MESSAGE-INTEGRITY: HMAC-SHA1 of all before it │ FINGERPRINT: CRC-32 of all before it
//! ```
//!
//! Both closing attributes are computed as if the message ended with them, so the length field is rewritten for each.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use sha1::Sha1;

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const TAG: usize = 20;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLING: u16 = 0x802a;

/// Octets of the largest message that is read: none may need fragments (RFC 8489 §6.1). The fingerprint is computed for
/// whoever asks, before anybody's signature is looked at.
const LARGEST: usize = 1_500;

/// The most unknown attributes that a 420 lists: a datagram can hold hundreds, and one is enough to refuse it.
const LISTED: usize = 8;

/// Names a request and its answer: 96 bits that nobody off the path can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransactionId(pub(super) [u8; 12]);

/// What a Binding message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    fn of(kind: u16) -> Option<Class> {
        match kind {
            0x0001 => Some(Class::Request),
            0x0011 => Some(Class::Indication),
            0x0101 => Some(Class::Success),
            0x0111 => Some(Class::Error),
            _ => None, // another method, or no STUN at all
        }
    }

    fn kind(self) -> u16 {
        match self {
            Class::Request => 0x0001,
            Class::Indication => 0x0011,
            Class::Success => 0x0101,
            Class::Error => 0x0111,
        }
    }
}

/// A message that is well made; what it says is believed only once [`Message::is_signed_with`] says so.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) class: Class,
    pub(super) id: TransactionId,
    pub(super) username: Option<&'a [u8]>,
    pub(super) priority: Option<u32>,
    /// The sender believes that it controls (RFC 8445 §7.1.3).
    pub(super) controlling: bool,
    /// Where the peer saw our request come from.
    pub(super) mapped: Option<SocketAddr>,
    /// Of an error response: 300–699.
    pub(super) code: Option<u16>,
    /// Attributes that must be understood and are not (RFC 8489 §6.3.1); at most [`LISTED`].
    pub(super) unknown: Vec<u16>,
    signature: Option<Signature<'a>>,
}

/// What MESSAGE-INTEGRITY covers, and its value.
#[derive(Debug)]
struct Signature<'a> {
    signed: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads one datagram. `None`: no STUN, not Binding, torn, too large, or its FINGERPRINT is wrong.
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Message<'a>> {
        if datagram.len() > LARGEST {
            return None;
        }
        let (header, mut rest) = datagram.split_at_checked(HEADER)?;
        let length = usize::from(u16_at(header, 2)?);
        if u32_at(header, 4)? != COOKIE || length != rest.len() || length % 4 != 0 {
            return None;
        }
        let mut message = Message {
            class: Class::of(u16_at(header, 0)?)?,
            id: TransactionId(header.get(8..HEADER)?.try_into().ok()?),
            username: None,
            priority: None,
            controlling: false,
            mapped: None,
            code: None,
            unknown: Vec::new(),
            signature: None,
        };
        while !rest.is_empty() {
            let before = datagram.len() - rest.len();
            let (kind, value, after) = attribute(rest)?;
            match kind {
                FINGERPRINT => {
                    let expected = fingerprint(datagram.get(..before)?);
                    // It is always the last (RFC 8489 §14.7).
                    let right = after.is_empty() && value == expected.to_be_bytes();
                    return right.then_some(message);
                }
                // §14.5: nothing after the integrity counts, since nothing there is covered by it.
                _ if message.signature.is_some() => {}
                MESSAGE_INTEGRITY if value.len() == TAG => {
                    message.signature = Some(Signature {
                        signed: datagram.get(..before)?,
                        tag: value,
                    });
                }
                _ => message.take(kind, value)?,
            }
            rest = after;
        }
        Some(message)
    }

    /// Notes one attribute; `None` if its value cannot be what its type says.
    fn take(&mut self, kind: u16, value: &'a [u8]) -> Option<()> {
        match kind {
            // §14: of an attribute that comes twice only the first counts.
            USERNAME => self.username = self.username.or(Some(value)),
            PRIORITY => self.priority = self.priority.or(Some(u32_at(value, 0)?)),
            ICE_CONTROLLING => self.controlling = true,
            XOR_MAPPED_ADDRESS => {
                self.mapped = self.mapped.or(Some(unmapped(value, &self.id)?));
            }
            ERROR_CODE => {
                let (class, number) = (*value.get(2)? & 7, *value.get(3)?);
                self.code = Some(u16::from(class) * 100 + u16::from(number));
            }
            // Understood, and without a meaning for a controlling agent or for short-term credentials.
            USE_CANDIDATE | UNKNOWN_ATTRIBUTES => {}
            // Types from 0x8000 on may be skipped by who does not know them (§14).
            0x8000.. => {}
            _ if self.unknown.len() < LISTED => self.unknown.push(kind),
            _ => {}
        }
        Some(())
    }

    /// Whether the message carries an integrity made with `password` (RFC 8489 §9.1.3), in constant time.
    pub(super) fn is_signed_with(&self, password: &str) -> bool {
        let Some(Signature { signed, tag }) = &self.signature else {
            return false;
        };
        let signature = signature_of(signed, password);
        signature.verify_slice(tag).is_ok()
    }
}

/// A message being written. Attributes come in the order of the calls; [`Writer::finish`] closes it.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(class: Class, id: TransactionId) -> Writer {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend(class.kind().to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(id.0);
        Writer(bytes)
    }

    /// `peer:own`, the peer's fragment first (RFC 8445 §7.2.2).
    pub(super) fn username(self, username: &str) -> Writer {
        self.attribute(USERNAME, username.as_bytes())
    }

    pub(super) fn priority(self, priority: u32) -> Writer {
        self.attribute(PRIORITY, &priority.to_be_bytes())
    }

    pub(super) fn controlling(self, tie_breaker: u64) -> Writer {
        self.attribute(ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    pub(super) fn use_candidate(self) -> Writer {
        self.attribute(USE_CANDIDATE, &[])
    }

    pub(super) fn mapped(self, address: SocketAddr, id: &TransactionId) -> Writer {
        self.attribute(XOR_MAPPED_ADDRESS, &mapped(address, id))
    }

    /// `code` is 300–699.
    pub(super) fn error(self, code: u16, reason: &str) -> Writer {
        let (class, number) = ((code / 100) as u8, (code % 100) as u8);
        let mut value = vec![0, 0, class, number];
        value.extend(reason.as_bytes());
        self.attribute(ERROR_CODE, &value)
    }

    pub(super) fn unknown(self, kinds: &[u16]) -> Writer {
        let value: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        self.attribute(UNKNOWN_ATTRIBUTES, &value)
    }

    /// Signs the message, adds the fingerprint (RFC 8445 §7.1.1 wants both) and hands it out.
    pub(super) fn finish(self, password: &str) -> Vec<u8> {
        let tag = signature_of(&self.0, password).finalize().into_bytes();
        let signed = self.attribute(MESSAGE_INTEGRITY, &tag);
        let crc = fingerprint(&signed.0).to_be_bytes();
        signed.attribute(FINGERPRINT, &crc).0
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Writer {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let length = length_field(self.0.len());
        if let Some(field) = self.0.get_mut(2..4) {
            field.copy_from_slice(&length);
        }
        self
    }
}

/// What the length field says of a message of `total` octets.
fn length_field(total: usize) -> [u8; 2] {
    (total.saturating_sub(HEADER) as u16).to_be_bytes()
}

/// The first attribute of `bytes`: type, value, and what follows its padding, whose content nobody looks at.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16_at(bytes, 2)?);
    let value = bytes.get(4..4 + length)?;
    let after = bytes.get(4 + length.next_multiple_of(4)..)?;
    Some((u16_at(bytes, 0)?, value, after))
}

/// The HMAC of `before` as a message that ends with MESSAGE-INTEGRITY (§14.5).
fn signature_of(before: &[u8], password: &str) -> Hmac<Sha1> {
    let mut hmac =
        Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("HMAC takes keys of any length");
    let length = length_field(before.len() + 4 + TAG);
    for part in with_length(before, &length) {
        hmac.update(part);
    }
    hmac
}

/// The CRC-32 of `before` as a message that ends with FINGERPRINT (§14.7). Bit by bit: ICE sends a few messages a call.
fn fingerprint(before: &[u8]) -> u32 {
    let length = length_field(before.len() + 8);
    let octets = with_length(before, &length).into_iter().flatten();
    let crc = octets.fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    !crc ^ 0x5354_554e // "STUN", so that a CRC of another protocol in the same place does not fit
}

/// `message` with another length field: type, length, the rest.
fn with_length<'a>(message: &'a [u8], length: &'a [u8; 2]) -> [&'a [u8]; 3] {
    let kind = message.get(..2).unwrap_or_default();
    let rest = message.get(4..).unwrap_or_default();
    [kind, length, rest]
}

/// XOR-MAPPED-ADDRESS of `address` (§14.2): hidden from NATs that rewrite addresses wherever they see them.
fn mapped(address: SocketAddr, id: &TransactionId) -> Vec<u8> {
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(
        octets
            .iter()
            .zip(mask(id))
            .map(|(octet, mask)| octet ^ mask),
    );
    value
}

fn unmapped(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let port = u16_at(value, 2)? ^ (COOKIE >> 16) as u16;
    let mut octets: Vec<u8> = value.get(4..)?.to_vec();
    octets
        .iter_mut()
        .zip(mask(id))
        .for_each(|(octet, mask)| *octet ^= mask);
    let ip = match *value.get(1)? {
        1 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What addresses are XORed with: the cookie, then the transaction.
fn mask(id: &TransactionId) -> impl Iterator<Item = u8> {
    COOKIE.to_be_bytes().into_iter().chain(id.0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(octets.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ICE_CONTROLLED: u16 = 0x8029;

    /// RFC 5769 §2.1 to §2.3, all with this password.
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    const REQUEST: &str = "
        00010058 2112a442 b7e7a701 bc34d686 fa87dfae
        80220010 5354554e 20746573 7420636c 69656e74
        00240004 6e0001ff
        80290008 932ff9b1 51263b36
        00060009 6576746a 3a683676 59202020
        00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
        80280004 e57a3bcf";
    const ANSWER_V4: &str = "
        0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
        8022000b 74657374 20766563 746f7220
        00200008 0001a147 e112a643
        00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
        80280004 c07d4c96";
    const ANSWER_V6: &str = "
        01010048 2112a442 b7e7a701 bc34d686 fa87dfae
        8022000b 74657374 20766563 746f7220
        00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
        00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
        80280004 c8fb0b4c";

    fn octets(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let pairs = (0..digits.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    fn id() -> TransactionId {
        TransactionId(octets("b7e7a701 bc34d686 fa87dfae").try_into().unwrap())
    }

    #[test]
    fn the_request_of_rfc_5769_is_read_and_its_signature_fits() {
        let datagram = octets(REQUEST);
        let request = Message::parse(&datagram).unwrap();
        assert_eq!((request.class, request.id), (Class::Request, id()));
        assert_eq!(request.username, Some(b"evtj:h6vY".as_slice()));
        assert_eq!(request.priority, Some(0x6e00_01ff));
        assert!(!request.controlling, "it has ICE-CONTROLLED");
        assert!(request.unknown.is_empty(), "SOFTWARE may be skipped");
        assert!(request.is_signed_with(PASSWORD));
        assert!(!request.is_signed_with("VOkJxbRl1RmTxUk/WvJxBu"));
        assert!(!request.is_signed_with(""));
    }

    #[test]
    fn the_answers_of_rfc_5769_tell_where_the_request_came_from() {
        for (hex, mapped) in [
            (ANSWER_V4, "192.0.2.1:32853"),
            (ANSWER_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ] {
            let datagram = octets(hex);
            let answer = Message::parse(&datagram).unwrap();
            assert_eq!((answer.class, answer.id), (Class::Success, id()));
            assert_eq!(answer.mapped, Some(mapped.parse().unwrap()));
            assert!(answer.is_signed_with(PASSWORD));
        }
    }

    #[test]
    fn the_answers_of_rfc_5769_are_written_bit_by_bit_but_for_their_software() {
        for (hex, attribute) in [(ANSWER_V4, 36..48), (ANSWER_V6, 36..60)] {
            let address = Message::parse(&octets(hex)).unwrap().mapped.unwrap();
            let ours = Writer::new(Class::Success, id()).mapped(address, &id());
            assert_eq!(ours.0[HEADER..], octets(hex)[attribute]);
        }
    }

    #[test]
    fn one_bit_anywhere_breaks_the_fingerprint_and_without_it_the_signature() {
        let whole = octets(REQUEST);
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // A fingerprint whose type is broken is no fingerprint, and stands outside the signature.
            let believed = Message::parse(&broken).is_some_and(|m| m.is_signed_with(PASSWORD));
            let fingerprints_type = (96 * 8 + 32..96 * 8 + 48).contains(&bit);
            assert!(!believed || fingerprints_type, "bit {bit}");
        }
        let mut bare = whole[..whole.len() - 8].to_vec();
        bare[3] -= 8;
        assert!(Message::parse(&bare).unwrap().is_signed_with(PASSWORD));
        bare[25] ^= 1;
        assert!(!Message::parse(&bare).unwrap().is_signed_with(PASSWORD));
    }

    #[test]
    fn what_follows_the_signature_is_not_believed() {
        let signed = Writer::new(Class::Request, id()).username("a:b");
        let tag = signature_of(&signed.0, PASSWORD).finalize().into_bytes();
        let forged = signed.attribute(MESSAGE_INTEGRITY, &tag).controlling(1).0;
        let message = Message::parse(&forged).unwrap();
        assert!(message.is_signed_with(PASSWORD));
        assert!(!message.controlling);
    }

    #[test]
    fn an_error_and_what_it_did_not_understand_are_read_back() {
        let writer = Writer::new(Class::Error, id());
        let datagram = writer
            .error(420, "Unknown Attribute")
            .unknown(&[0x7001])
            .finish("p");
        let message = Message::parse(&datagram).unwrap();
        assert_eq!((message.class, message.code), (Class::Error, Some(420)));
        assert!(message.is_signed_with("p"));
    }

    #[test]
    fn what_no_path_carries_in_one_piece_costs_a_stranger_more_than_us() {
        for (padding, is_read) in [(1_444, true), (1_448, false), (65_000, false)] {
            let software = vec![b'x'; padding];
            let datagram = Writer::new(Class::Request, id())
                .attribute(0x8022, &software)
                .finish("p");
            assert_eq!(datagram.len(), padding + 56);
            assert_eq!(Message::parse(&datagram).is_some(), is_read, "{padding}");
        }
    }

    #[test]
    fn attributes_that_must_be_understood_are_listed_up_to_a_bound() {
        let writer = (0..100).fold(Writer::new(Class::Request, id()), |writer, n| {
            writer.attribute(0x7000 + n, b"?")
        });
        let datagram = writer.finish("p");
        let listed = Message::parse(&datagram).unwrap().unknown;
        assert_eq!(listed, (0x7000..0x7008).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&octets);
        }

        #[test]
        fn any_attributes_behind_a_right_header_are_read_or_refused(
            attributes in prop::collection::vec(
                (prop::sample::select(vec![
                    USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS, PRIORITY,
                    USE_CANDIDATE, FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING, 0x7777, 0x8022,
                ]), prop::collection::vec(any::<u8>(), 0..24)),
                0..12,
            ),
            kind in prop::sample::select(vec![1u16, 0x11, 0x101, 0x111, 3]),
            cut in 0usize..400,
        ) {
            let writer = Writer::new(Class::Request, id());
            let writer = attributes.iter().fold(writer, |w, (kind, value)| w.attribute(*kind, value));
            let mut datagram = writer.0;
            datagram[..2].copy_from_slice(&kind.to_be_bytes());
            if let Some(message) = Message::parse(&datagram) {
                prop_assert!(!message.is_signed_with(PASSWORD));
            }
            datagram.truncate(cut);
            let _ = Message::parse(&datagram);
        }

        #[test]
        fn what_is_written_is_read_back(
            name in "[a-zA-Z0-9+/]{4,40}:[a-zA-Z0-9+/]{4,40}", priority: u32, tie: u64, port: u16, ip: std::net::IpAddr,
        ) {
            let address = SocketAddr::new(ip, port);
            let datagram = Writer::new(Class::Request, id())
                .username(&name)
                .priority(priority)
                .controlling(tie)
                .use_candidate()
                .mapped(address, &id())
                .finish(PASSWORD);
            let message = Message::parse(&datagram).unwrap();
            prop_assert_eq!(message.username, Some(name.as_bytes()));
            prop_assert_eq!(message.priority, Some(priority));
            prop_assert_eq!(message.mapped, Some(address));
            prop_assert!(message.controlling && message.is_signed_with(PASSWORD));
        }
    }
}
