//! Counter mode: our packets against libsrtp's, and against RFC 3711 written down once more; and what a receiver believes.

use super::*;
use crate::media::rtp::{Header, Packet, Seq, Timestamp};
use proptest::prelude::*;

const PROFILE: SrtpProfile = SrtpProfile::AesCm128HmacSha1_80;
const OURS: Ssrc = Ssrc(0xcafe_babe);
/// The X bit in the first octet of an RTP header.
pub(super) const EXTENSION_BIT: u8 = 1 << 4;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The master key and salt of RFC 3711 appendix B.3.
fn key() -> MasterKey {
    MasterKey(hex(
        "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
    ))
}

fn pair() -> (Sender, Receiver) {
    (
        Sender::new(PROFILE, &key()).unwrap(),
        Receiver::new(PROFILE, &key()).unwrap(),
    )
}

/// An RTP packet whose payload tells its index.
fn rtp(ssrc: Ssrc, index: u64) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: 111,
        seq: Seq(index as u16),
        timestamp: Timestamp((index * 960) as u32),
        ssrc,
    };
    let mut out = Vec::new();
    header.write(&index.to_be_bytes(), &mut out);
    out
}

fn report(ssrc: Ssrc) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend_from_slice(&ssrc.0.to_be_bytes());
    bytes
}

fn protect(sender: &mut Sender, ssrc: Ssrc, index: u64) -> Vec<u8> {
    let mut out = Vec::new();
    sender.protect_rtp(&rtp(ssrc, index), &mut out).unwrap();
    out
}

fn protect_report(sender: &mut Sender, ssrc: Ssrc) -> Vec<u8> {
    let mut out = Vec::new();
    sender.protect_rtcp(&report(ssrc), &mut out).unwrap();
    out
}

/// The index told by the payload of a packet that was accepted.
fn open(receiver: &mut Receiver, packet: &[u8]) -> Result<u64, SrtpError> {
    let mut out = Vec::new();
    receiver.unprotect_rtp(packet, &mut out)?;
    Ok(u64::from_be_bytes(
        Packet::parse(&out).unwrap().payload().try_into().unwrap(),
    ))
}

fn open_report(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut out = Vec::new();
    receiver.unprotect_rtcp(packet, &mut out).map(|()| out)
}

#[test]
fn packets_are_those_of_libsrtp_under_the_key_of_rfc_3711_b_3() {
    let (mut sender, mut receiver) = pair();
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let secret =
        hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    let mut out = Vec::new();
    sender.protect_rtp(&plain, &mut out).unwrap();
    assert_eq!(out, secret);
    receiver.unprotect_rtp(&secret, &mut out).unwrap();
    assert_eq!(out, plain);

    let plain = hex("81c8000bcafebabe abababababababababababababababab");
    let secret =
        hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
    sender.protect_rtcp(&plain, &mut out).unwrap();
    assert_eq!(out, secret);
    receiver.unprotect_rtcp(&secret, &mut out).unwrap();
    assert_eq!(out, plain);
}

/// RFC 3711 written down once more from block cipher and HMAC alone, to hold our packets against.
struct Reference {
    session_key: Vec<u8>,
    session_salt: Vec<u8>,
    auth_key: Vec<u8>,
}

impl Reference {
    fn new(key: &MasterKey) -> Reference {
        let (key, salt) = key.0.split_at(16);
        // §4.3.1: the label goes to the octet above the 48 bits of the index, which a rate of 0 leaves at zero.
        let derive = |label: u8, len: usize| {
            let mut iv = [salt, &[0, 0]].concat();
            iv[7] ^= label;
            let mut out = vec![0; len];
            xor_keystream(key, &iv, &mut out);
            out
        };
        Reference {
            session_key: derive(0, 16),
            session_salt: derive(2, 14),
            auth_key: derive(1, 20),
        }
    }

    fn protect(&self, packet: &[u8], header_len: usize, index: u64) -> Vec<u8> {
        let ssrc = u128::from(u32::from_be_bytes(packet[8..12].try_into().unwrap()));
        let salt = u128::from_be_bytes(
            [&self.session_salt[..], &[0, 0]]
                .concat()
                .try_into()
                .unwrap(),
        );
        let iv = salt ^ ssrc << 64 ^ u128::from(index) << 16;
        let mut out = packet.to_vec();
        xor_keystream(&self.session_key, &iv.to_be_bytes(), &mut out[header_len..]);
        let roc = ((index >> 16) as u32).to_be_bytes();
        let provider = rtc_crypto::default_provider().unwrap();
        let mut mac = provider
            .crypto()
            .new_hmac(rtc_crypto::HmacAlgorithm::Sha1, &self.auth_key)
            .unwrap();
        let mut tag = [0; 20];
        mac.sign(&[&out, &roc], &mut tag).unwrap();
        out.extend_from_slice(&tag[..10]);
        out
    }
}

/// AES in counter mode (§4.1.1): `iv` ends in 16 zero bits that count the blocks.
fn xor_keystream(key: &[u8], iv: &[u8], data: &mut [u8]) {
    let provider = rtc_crypto::default_provider().unwrap();
    for (nth, chunk) in data.chunks_mut(16).enumerate() {
        let mut block = iv.to_vec();
        block[14..].copy_from_slice(&(nth as u16).to_be_bytes());
        let aes = rtc_crypto::BlockCipherAlgorithm::Aes128;
        provider
            .crypto()
            .block_encrypt(aes, key, &mut block)
            .unwrap();
        chunk
            .iter_mut()
            .zip(block)
            .for_each(|(octet, key)| *octet ^= key);
    }
}

#[test]
fn the_reference_gives_the_vectors_of_rfc_3711_appendix_b() {
    let reference = Reference::new(&key());
    assert_eq!(
        reference.session_key,
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(reference.session_salt, hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        reference.auth_key,
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
    let mut keystream = [0; 48];
    let iv = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000");
    xor_keystream(
        &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
        &iv,
        &mut keystream,
    );
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                    41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(keystream[..], hex(expected));
}

#[test]
fn packets_are_those_of_the_reference_in_the_fourth_rollover_too() {
    let (mut sender, mut receiver) = pair();
    let reference = Reference::new(&key());
    for index in (1_000..5 * 65_536).step_by(21_111) {
        let expected = reference.protect(&rtp(OURS, index), 12, index);
        assert_eq!(protect(&mut sender, OURS, index), expected, "index {index}");
        assert_eq!(open(&mut receiver, &expected), Ok(index));
    }
}

#[test]
fn contributing_sources_and_extensions_of_a_peer_do_not_move_its_payload() {
    let reference = Reference::new(&key());
    let mut receiver = pair().1;
    let csrc = [0, 0, 0, 1, 0, 0, 0, 2];
    // RFC 8285 with one octet and with two, padded; and one of the older kind.
    let extensions = [
        [0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0].as_slice(),
        &[0x10, 0x00, 0, 2, 3, 2, 1, 1, 4, 0, 0, 0],
        &[0x12, 0x34, 0, 1, 9, 9, 9, 9],
        &[0xbe, 0xde, 0, 0],
    ];
    for (index, extension) in (1u64..).zip(extensions) {
        let plain = rtp(OURS, index);
        let mut packet = [&plain[..12], &csrc, extension, &plain[12..]].concat();
        packet[0] |= EXTENSION_BIT | 2;
        let secret = reference.protect(&packet, 12 + csrc.len() + extension.len(), index);
        assert_eq!(open(&mut receiver, &secret), Ok(index));
    }
}

#[test]
fn a_stream_survives_several_wraps_with_loss_and_reordering() {
    let (mut sender, mut receiver) = pair();
    let mut wraps = 0;
    let mut index = 30_000u64;
    while wraps < 5 {
        // A burst in which every seventh packet is lost and the rest arrives in another order.
        let burst: Vec<_> = (index..index + 100)
            .map(|i| (i, protect(&mut sender, OURS, i)))
            .collect();
        for step in 0..100 {
            let (sent, packet) = &burst[(step * 37 + 50) % 100];
            if sent % 7 != 0 {
                assert_eq!(open(&mut receiver, packet), Ok(*sent));
            }
        }
        // Between bursts more is lost than a receiver ever should, except right before a wrap.
        let next = index + 100 + if index % 65_536 < 40_000 { 9_000 } else { 50 };
        let to_wrap = 65_536 - next % 65_536;
        index = if (500..25_000).contains(&to_wrap) {
            next + to_wrap - 260
        } else {
            next
        };
        wraps = index / 65_536;
    }
}

#[test]
fn no_packet_is_accepted_twice_not_even_a_rollover_later() {
    let (mut sender, mut receiver) = pair();
    let mut sent = Vec::new();
    for index in (100..140_000).step_by(500) {
        sent.push(protect(&mut sender, OURS, index));
        open(&mut receiver, sent.last().unwrap()).unwrap();
        for old in sent.iter().step_by(17) {
            assert!(open(&mut receiver, old).is_err());
        }
    }
    let next = protect(&mut sender, OURS, 140_001);
    assert_eq!(
        open(&mut receiver, &next),
        Ok(140_001),
        "the replays did no harm"
    );
}

#[test]
fn a_forged_or_damaged_packet_is_refused_and_changes_nothing() {
    let (mut sender, mut receiver) = pair();
    let mut stranger = Sender::new(PROFILE, &MasterKey(vec![7; 30])).unwrap();
    // The first packets of all are forged, with a number far from the true one.
    for index in 40_000..40_010 {
        assert_eq!(
            open(&mut receiver, &protect(&mut stranger, OURS, index)),
            Err(SrtpError::Forged)
        );
    }
    for index in 10..200 {
        let genuine = protect(&mut sender, OURS, index);
        for at in 0..genuine.len() {
            let mut damaged = genuine.clone();
            damaged[at] ^= 0x10;
            assert!(open(&mut receiver, &damaged).is_err(), "octet {at}");
        }
        assert_eq!(open(&mut receiver, &genuine), Ok(index));
    }
}

#[test]
fn a_flood_of_forged_sources_neither_grows_memory_nor_breaks_the_stream() {
    let (mut sender, mut receiver) = pair();
    let mut index = 65_000;
    open(&mut receiver, &protect(&mut sender, OURS, index)).unwrap();
    for forged in 0..3_000u32 {
        let mut packet = rtp(Ssrc(forged), forged.into());
        packet.extend_from_slice(&[0; 10]);
        assert_eq!(open(&mut receiver, &packet), Err(SrtpError::Forged));
        let mut packet = report(Ssrc(forged));
        packet.extend_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(open_report(&mut receiver, &packet), Err(SrtpError::Forged));
        index += 1;
        assert_eq!(
            open(&mut receiver, &protect(&mut sender, OURS, index)),
            Ok(index)
        );
    }
    assert_eq!((receiver.rtp.len(), receiver.rtcp.len()), (1, 0));
    assert!(open_report(&mut receiver, &protect_report(&mut sender, OURS)).is_ok());
}

#[test]
fn of_many_authentic_sources_the_one_silent_longest_is_forgotten() {
    let mut receiver = pair().1;
    let talk = |receiver: &mut Receiver, ssrc: u32, index| {
        // A sender each: one session of ours may not have so many.
        let mut sender = pair().0;
        let heard = open(receiver, &protect(&mut sender, Ssrc(ssrc), index));
        let reported = open_report(receiver, &protect_report(&mut sender, Ssrc(ssrc)));
        (heard, reported.is_ok())
    };
    for ssrc in 0..40 {
        assert_eq!(talk(&mut receiver, ssrc, 1), (Ok(1), true));
        assert_eq!(
            talk(&mut receiver, 0, 2 + u64::from(ssrc)).0,
            Ok(2 + u64::from(ssrc))
        );
    }
    assert_eq!(
        (receiver.rtp.len(), receiver.rtcp.len()),
        (MAX_SOURCES, MAX_SOURCES)
    );
    assert_eq!(
        talk(&mut receiver, 39, 1).0,
        Err(SrtpError::Replayed),
        "still remembered"
    );
}

#[test]
fn srtcp_that_claims_to_be_unencrypted_is_refused() {
    let mut receiver = pair().1;
    let mut packet = report(OURS);
    packet.extend_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(&[0; 10]);
    assert_eq!(
        open_report(&mut receiver, &packet),
        Err(SrtpError::Unencrypted)
    );
}

#[test]
fn srtcp_may_be_reordered_but_not_repeated() {
    let (mut sender, mut receiver) = pair();
    let reports: Vec<_> = (0..4).map(|_| protect_report(&mut sender, OURS)).collect();
    for at in [1, 0, 3, 2] {
        assert_eq!(open_report(&mut receiver, &reports[at]), Ok(report(OURS)));
        assert_eq!(
            open_report(&mut receiver, &reports[at]),
            Err(SrtpError::Replayed)
        );
    }
}

#[test]
fn a_number_of_ours_is_never_used_twice() {
    let (mut sender, mut out) = (pair().0, Vec::new());
    for index in [5, 30_000, 60_000, 65_536 + 3] {
        protect(&mut sender, OURS, index);
    }
    assert_eq!(
        sender.protect_rtp(&rtp(OURS, 3), &mut out),
        Err(SrtpError::Replayed)
    );
    assert!(out.is_empty(), "nothing unprotected is left to be sent");
}

#[test]
fn we_never_send_of_ever_more_sources() {
    let (mut sender, mut out) = (pair().0, Vec::new());
    for ssrc in 0..MAX_SOURCES {
        protect(&mut sender, Ssrc(ssrc as u32), 1);
        protect_report(&mut sender, Ssrc(ssrc as u32));
    }
    assert_eq!(
        sender.protect_rtp(&rtp(Ssrc(99), 1), &mut out),
        Err(SrtpError::TooManySources)
    );
    assert_eq!(
        sender.protect_rtcp(&report(Ssrc(99)), &mut out),
        Err(SrtpError::TooManySources)
    );
}

#[test]
fn the_last_report_that_a_key_may_protect_is_the_last() {
    let (mut sender, mut receiver) = pair();
    sender.rtcp.push((OURS, ENCRYPTED - 2));
    let last = protect_report(&mut sender, OURS);
    assert_eq!(open_report(&mut receiver, &last), Ok(report(OURS)));
    let mut out = Vec::new();
    let refused = sender.protect_rtcp(&report(OURS), &mut out);
    assert_eq!((refused, out.len()), (Err(SrtpError::UsedUp), 0));
}

#[test]
fn a_packet_is_sealed_where_it_stands_behind_others() {
    let (mut sender, mut receiver) = pair();
    let mut bytes = vec![7; 33];
    bytes.extend_from_slice(&rtp(OURS, 5));
    sender.seal_rtp(&mut bytes, 33).unwrap();
    assert_eq!(bytes[..33], [7; 33]);
    assert_eq!(open(&mut receiver, &bytes[33..]), Ok(5));
    let (len, before) = (bytes.len(), bytes.clone());
    bytes.extend_from_slice(&rtp(OURS, 5));
    assert_eq!(sender.seal_rtp(&mut bytes, len), Err(SrtpError::Replayed));
    assert_eq!(bytes, [before, rtp(OURS, 5)].concat());
    bytes.truncate(len);
    bytes.extend_from_slice(&report(OURS));
    sender.seal_rtcp(&mut bytes, len).unwrap();
    assert_eq!(open_report(&mut receiver, &bytes[len..]), Ok(report(OURS)));
}

#[test]
fn a_key_of_the_wrong_length_is_named_so() {
    let error = Receiver::new(PROFILE, &MasterKey(vec![0; 29]))
        .err()
        .unwrap();
    assert_eq!(
        error,
        KeyError::Length {
            got: 29,
            expected: 30
        }
    );
}

proptest! {
    #[test]
    fn no_bytes_make_opening_panic(mut bytes: Vec<u8>, first in 0x80u8..0xc0, encrypted: bool) {
        let mut receiver = pair().1;
        if let Some(octet) = bytes.first_mut() {
            *octet = first;
        }
        if let (true, Some(at)) = (encrypted, bytes.len().checked_sub(14)) {
            bytes[at] |= 0x80;
        }
        prop_assert!(open(&mut receiver, &bytes).is_err());
        prop_assert!(open_report(&mut receiver, &bytes).is_err());
    }

    #[test]
    fn no_header_of_an_authentic_peer_makes_opening_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 12..80), first in 0x80u8..0xc0, known_extension: bool,
    ) {
        bytes[0] = first;
        let extension = 12 + 4 * usize::from(first & 0xf);
        if let (true, Some(profile)) = (known_extension, bytes.get_mut(extension..extension + 4)) {
            profile.copy_from_slice(&[0xbe, 0xde, 0, profile[3] % 8]);
        }
        let index = u16::from_be_bytes([bytes[2], bytes[3]]).into();
        let secret = Reference::new(&key()).protect(&bytes, 12, index);
        let (mut receiver, mut out) = (pair().1, Vec::new());
        let opened = receiver.unprotect_rtp(&secret, &mut out).is_ok();
        prop_assert_eq!(out.len(), if opened { bytes.len() } else { 0 });
    }

    #[test]
    fn no_bytes_make_protecting_panic(bytes: Vec<u8>, first in 0x80u8..0xc0) {
        let (mut sender, mut out) = (pair().0, Vec::new());
        let mut bytes = bytes;
        if let Some(octet) = bytes.first_mut() {
            *octet = first;
        }
        let protected = sender.protect_rtp(&bytes, &mut out).is_ok();
        prop_assert_eq!(out.len(), if protected { bytes.len() + 10 } else { 0 });
        let protected = sender.protect_rtcp(&bytes, &mut out).is_ok();
        prop_assert_eq!(out.len(), if protected { bytes.len() + 14 } else { 0 });
    }
}
