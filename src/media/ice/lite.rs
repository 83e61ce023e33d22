//! A lite peer for the tests (RFC 8445 §2.5), written from the RFCs without a line of [`super::stun`], so that a mistake
//! there meets somebody who does not share it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// What a lite peer does beside answering well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Proper,
    /// Answers this many requests with 487 first.
    Conflicted(usize),
    /// Signs with a password that is not in its SDP.
    WrongPassword,
    /// Answers 401, unsigned, as a server does that knows other credentials.
    Unauthorized,
}

pub(crate) struct Lite {
    pub(crate) ufrag: &'static str,
    pub(crate) pwd: &'static str,
    pub(crate) manner: Manner,
    /// The agent's, which the second half of USERNAME has to be.
    pub(crate) theirs: String,
    /// Addresses of ours over which the agent nominated, each request.
    pub(crate) nominated: Vec<SocketAddr>,
    /// Transactions that ended with an error.
    pub(crate) ended: Vec<Vec<u8>>,
    /// Requests that were right.
    pub(crate) checks: usize,
}

impl Lite {
    /// The answer of our address `at` to what came from `from`. Panics at anything that a lite peer would refuse.
    pub(crate) fn answer(&mut self, datagram: &[u8], from: SocketAddr, at: SocketAddr) -> Vec<u8> {
        assert_eq!(datagram[..2], [0, 1], "Binding request");
        assert_eq!(datagram[4..8], [0x21, 0x12, 0xa4, 0x42], "magic cookie");
        assert_eq!(usize::from(word(&datagram[2..])) + 20, datagram.len());
        let (mut at_octet, mut found) = (20, BTreeMap::new());
        while at_octet < datagram.len() {
            let kind = word(&datagram[at_octet..]);
            let length = usize::from(word(&datagram[at_octet + 2..]));
            let value = &datagram[at_octet + 4..at_octet + 4 + length];
            assert!(
                found.insert(kind, (at_octet, value)).is_none(),
                "{kind:#x} twice"
            );
            at_octet += 4 + length.div_ceil(4) * 4;
        }
        let username = format!("{}:{}", self.ufrag, self.theirs);
        assert_eq!(found[&0x0006].1, username.as_bytes(), "USERNAME");
        let priority = found[&0x0024].1;
        assert_eq!(
            (priority.len(), priority[0]),
            (4, 110),
            "as a peer-reflexive candidate"
        );
        assert!(
            !found.contains_key(&0x8029),
            "a lite peer is never controlling"
        );
        assert_eq!(found[&0x802a].1.len(), 8, "ICE-CONTROLLING");
        let (signed, tag) = found[&0x0008];
        assert_eq!(
            tag,
            sign(&datagram[..signed], self.pwd),
            "MESSAGE-INTEGRITY"
        );
        let (printed, crc) = found[&0x8028];
        assert_eq!(printed + 8, datagram.len(), "FINGERPRINT is the last");
        assert_eq!(crc, stamp(&datagram[..printed]), "FINGERPRINT");
        let id = &datagram[8..20];
        assert!(
            !self.ended.iter().any(|ended| ended == id),
            "an ended transaction"
        );

        match &mut self.manner {
            Manner::Conflicted(left @ 1..) => {
                *left -= 1;
                self.ended.push(id.to_vec());
                let error = attribute(&header(0x0111, id), 0x0009, &[0, 0, 4, 87]);
                return close(&error, self.pwd);
            }
            Manner::Unauthorized => {
                return attribute(&header(0x0111, id), 0x0009, b"\0\0\x04\x01Unauthorized");
            }
            _ => {}
        }
        self.checks += 1;
        if found.contains_key(&0x0025) {
            self.nominated.push(at);
        }
        let answer = attribute(&header(0x0101, id), 0x0020, &xored(from, id));
        match self.manner {
            Manner::WrongPassword => close(&answer, "AAAAAAAAAAAAAAAAAAAAAA=="),
            _ => close(&answer, self.pwd),
        }
    }
}

/// A check as a full agent sends it: for what a lite one never does.
pub(crate) fn request(
    username: &str,
    pwd: &str,
    id: [u8; 12],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let start = attribute(&header(0x0001, &id), 0x0006, username.as_bytes());
    let message = attributes.iter().fold(start, |message, (kind, value)| {
        attribute(&message, *kind, value)
    });
    close(&message, pwd)
}

/// An answer to `request` signed with `pwd`.
pub(crate) fn success(request: &[u8], from: SocketAddr, pwd: &str) -> Vec<u8> {
    let id = &request[8..20];
    close(
        &attribute(&header(0x0101, id), 0x0020, &xored(from, id)),
        pwd,
    )
}

fn header(kind: u16, id: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    message.extend(id);
    message
}

fn attribute(message: &[u8], kind: u16, value: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    while !message.len().is_multiple_of(4) {
        message.push(b' ');
    }
    longer(&message, 0)
}

fn close(message: &[u8], pwd: &str) -> Vec<u8> {
    let signed = attribute(message, 0x0008, &sign(message, pwd));
    attribute(&signed, 0x8028, &stamp(&signed))
}

/// `message` with the length it has once `more` octets follow.
fn longer(message: &[u8], more: usize) -> Vec<u8> {
    let mut message = message.to_vec();
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

fn sign(message: &[u8], pwd: &str) -> Vec<u8> {
    let mut hmac = Hmac::<Sha1>::new_from_slice(pwd.as_bytes()).unwrap();
    hmac.update(&longer(message, 24));
    hmac.finalize().into_bytes().to_vec()
}

/// CRC-32 by long division, the highest power first: not the usual way round, and so a check of it.
fn stamp(message: &[u8]) -> [u8; 4] {
    let mut bits: Vec<bool> = Vec::new();
    for octet in longer(message, 8) {
        bits.extend((0..8).map(|n| octet & (1 << n) != 0));
    }
    bits.extend([false; 32]);
    bits[..32].iter_mut().for_each(|bit| *bit = !*bit);
    for at in 0..bits.len() - 32 {
        if bits[at] {
            // x^32 + x^26 + x^23 + x^22 + x^16 + x^12 + x^11 + x^10 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1
            for power in [32, 26, 23, 22, 16, 12, 11, 10, 8, 7, 5, 4, 2, 1, 0] {
                bits[at + 32 - power] ^= true;
            }
        }
    }
    let remainder = &bits[bits.len() - 32..];
    let crc = (0..32).fold(0u32, |crc, n| crc | u32::from(!remainder[n]) << n);
    (crc ^ 0x5354_554e).to_be_bytes()
}

fn xored(address: SocketAddr, id: &[u8]) -> Vec<u8> {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let pad = [&[0x21, 0x12, 0xa4, 0x42], id].concat();
    let port = address.port().to_be_bytes();
    let mut value = vec![0, family, port[0] ^ pad[0], port[1] ^ pad[1]];
    value.extend(ip.iter().zip(&pad).map(|(octet, pad)| octet ^ pad));
    value
}

fn word(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[0], octets[1]])
}
