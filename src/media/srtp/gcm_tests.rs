//! AES-GCM (RFC 7714): our packets against libsrtp's, and against the RFC written down once more.

use proptest::prelude::*;
use rtc_crypto::{AeadAlgorithm, BlockCipherAlgorithm};

use super::tests::EXTENSION_BIT;
use super::*;

const PROFILES: [SrtpProfile; 2] = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm];
const TAG: usize = 16;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Key octets counting up from 00, salt octets from a0.
fn key(profile: SrtpProfile) -> MasterKey {
    let key_len = profile.key_and_salt_len() as u8 - 12;
    MasterKey((0..key_len).chain(0xa0..0xac).collect())
}

fn pair(profile: SrtpProfile) -> (Sender, Receiver) {
    (
        Sender::new(profile, &key(profile)).unwrap(),
        Receiver::new(profile, &key(profile)).unwrap(),
    )
}

fn rtp(index: u64) -> Vec<u8> {
    let mut packet = hex("80 6f 0000 00001000 cafebabe");
    packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    packet.extend_from_slice(&index.to_be_bytes());
    packet
}

fn report() -> Vec<u8> {
    hex("81c9 0007 cafebabe 00112233 44556677 8899aabb ccddeeff 01234567 89abcdef")
}

/// RFC 7714 from a GCM and a block cipher alone. Session keys, as its appendices give no master keys.
struct Reference {
    rtp: (Vec<u8>, Vec<u8>),
    rtcp: (Vec<u8>, Vec<u8>),
}

impl Reference {
    fn of_master(key: &MasterKey) -> Reference {
        let (key, salt) = key.0.split_at(key.0.len() - 12);
        // RFC 3711 §4.3.1, with the salt filled up to 112 bits by zeroes at its end (RFC 7714 §11).
        let derive = |label: u8, len: usize| {
            let cipher = if key.len() == 16 {
                BlockCipherAlgorithm::Aes128
            } else {
                BlockCipherAlgorithm::Aes256
            };
            let mut out = Vec::new();
            for nth in 0..len.div_ceil(16) as u8 {
                let mut block = [salt, &[0, 0, 0, nth]].concat();
                block[7] ^= label;
                let provider = rtc_crypto::default_provider().unwrap();
                provider
                    .crypto()
                    .block_encrypt(cipher, key, &mut block)
                    .unwrap();
                out.extend_from_slice(&block);
            }
            out.truncate(len);
            out
        };
        Reference {
            rtp: (derive(0, key.len()), derive(2, 12)),
            rtcp: (derive(3, key.len()), derive(5, 12)),
        }
    }

    /// §16: the session keys 00 01 02 … and the salt "Quid pro quo", for RTP and RTCP alike.
    fn of_the_rfc(key_len: u8) -> Reference {
        let keys = || ((0..key_len).collect(), b"Quid pro quo".to_vec());
        Reference {
            rtp: keys(),
            rtcp: keys(),
        }
    }

    /// §8: the header is authenticated, all else encrypted, and the tag stands at the end.
    fn protect_rtp(&self, packet: &[u8], header_len: usize, index: u64) -> Vec<u8> {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&packet[8..12]);
        iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        let (header, payload) = packet.split_at(header_len);
        [header, &seal(&self.rtp, iv, header, payload)].concat()
    }

    /// §9: the first two words and the index with its E bit are authenticated; the index follows the tag.
    fn protect_rtcp(&self, packet: &[u8], index: u32) -> Vec<u8> {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&packet[4..8]);
        iv[8..].copy_from_slice(&index.to_be_bytes());
        let word = (index | 1 << 31).to_be_bytes();
        let (header, payload) = packet.split_at(8);
        let sealed = seal(&self.rtcp, iv, &[header, &word].concat(), payload);
        [header, &sealed, &word].concat()
    }
}

fn seal((key, salt): &(Vec<u8>, Vec<u8>), mut iv: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    iv.iter_mut()
        .zip(salt)
        .for_each(|(octet, salt)| *octet ^= salt);
    let algorithm = if key.len() == 16 {
        AeadAlgorithm::Aes128Gcm
    } else {
        AeadAlgorithm::Aes256Gcm
    };
    let provider = rtc_crypto::default_provider().unwrap();
    let mut cipher = provider.crypto().new_aead(algorithm, key).unwrap();
    let (mut out, mut tag) = (plain.to_vec(), [0; TAG]);
    cipher.seal_in_place(&iv, aad, &mut out, &mut tag).unwrap();
    out.extend_from_slice(&tag);
    out
}

#[test]
fn the_reference_gives_the_packets_of_rfc_7714_sections_16_and_17() {
    let rtp = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
         61727465 73207472 6573",
    );
    let rtcp = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
         deadbeef deadbeef deadbeef",
    );
    let (small, large) = (Reference::of_the_rfc(16), Reference::of_the_rfc(32));
    let sealed =
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
                  51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    assert_eq!(
        small.protect_rtp(&rtp, 12, 0xf17b),
        hex(sealed),
        "§16.1.1, AES-128"
    );
    let sealed =
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02
                  76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    assert_eq!(
        large.protect_rtp(&rtp, 12, 0xf17b),
        hex(sealed),
        "§16.2.1, AES-256"
    );
    let sealed =
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda
                  4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    assert_eq!(
        small.protect_rtcp(&rtcp, 0x5d4),
        hex(sealed),
        "§17.1, AES-128"
    );
    let sealed =
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be
                  8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
    assert_eq!(
        large.protect_rtcp(&rtcp, 0x5d4),
        hex(sealed),
        "§17.2, AES-256"
    );
}

#[test]
fn packets_are_those_of_the_reference_under_the_session_keys_of_rfc_7714_too() {
    let packet = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973");
    let compound = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a");
    for (profile, key_len) in PROFILES.into_iter().zip([16, 32]) {
        let key: Vec<u8> = (0..key_len).collect();
        let cipher = Cipher::new(profile, &SessionKeys::given(&key, b"Quid pro quo")).unwrap();
        let reference = Reference::of_the_rfc(key_len);
        let at = |ssrc, index| Place { ssrc, index };
        let (mut sealed, mut opened) = (packet.clone(), Vec::new());
        let place = at(Ssrc(0x5501_a0b2), 0xf17b);
        cipher.seal_rtp(&mut sealed, 0, 12, place).unwrap();
        assert_eq!(sealed, reference.protect_rtp(&packet, 12, 0xf17b));
        cipher.open_rtp(&sealed, 12, place, &mut opened).unwrap();
        assert_eq!(opened, packet);
        let (mut sealed, mut opened) = (compound.clone(), Vec::new());
        let place = at(Ssrc(0x4d61_7273), 0x5d4);
        cipher.seal_rtcp(&mut sealed, 0, place).unwrap();
        assert_eq!(sealed, reference.protect_rtcp(&compound, 0x5d4));
        cipher.open_rtcp(&sealed, place, &mut opened).unwrap();
        assert_eq!(opened, compound);
    }
}

#[test]
fn packets_are_those_of_libsrtp_under_its_test_key() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    let mut out = Vec::new();
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let secret = hex(
        "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392",
    );
    sender.protect_rtp(&plain, &mut out).unwrap();
    assert_eq!(out, secret);
    receiver.unprotect_rtp(&secret, &mut out).unwrap();
    assert_eq!(out, plain);

    let plain = hex("81c8000bcafebabe abababababababababababababababab");
    let secret = hex(
        "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001",
    );
    sender.protect_rtcp(&plain, &mut out).unwrap();
    assert_eq!(out, secret);
    receiver.unprotect_rtcp(&secret, &mut out).unwrap();
    assert_eq!(out, plain);
}

#[test]
fn packets_are_those_of_the_reference_in_the_fourth_rollover_too() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let reference = Reference::of_master(&key(profile));
        let mut out = Vec::new();
        for index in (1_000..5 * 65_536).step_by(21_111) {
            let expected = reference.protect_rtp(&rtp(index), 12, index);
            sender.protect_rtp(&rtp(index), &mut out).unwrap();
            assert_eq!(out, expected, "{profile:?}, index {index}");
            receiver.unprotect_rtp(&expected, &mut out).unwrap();
            assert_eq!(out, rtp(index));
        }
        for index in 1..4 {
            let expected = reference.protect_rtcp(&report(), index);
            sender.protect_rtcp(&report(), &mut out).unwrap();
            assert_eq!(out, expected, "{profile:?}, index {index}");
            receiver.unprotect_rtcp(&expected, &mut out).unwrap();
            assert_eq!(out, report());
            let again = receiver.unprotect_rtcp(&expected, &mut out);
            assert_eq!(again, Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn contributing_sources_and_an_extension_of_a_peer_are_authenticated_but_not_encrypted() {
    for profile in PROFILES {
        let reference = Reference::of_master(&key(profile));
        let mut packet = rtp(7);
        packet[0] |= EXTENSION_BIT | 1;
        let header = hex("00000001 bede0001 10ff0000");
        packet.splice(12..12, header.iter().copied());
        let secret = reference.protect_rtp(&packet, 12 + header.len(), 7);
        let (mut receiver, mut out) = (pair(profile).1, Vec::new());
        receiver.unprotect_rtp(&secret, &mut out).unwrap();
        assert_eq!(out, packet);
    }
}

#[test]
fn a_damaged_packet_is_refused_as_forged_and_changes_nothing() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let (mut secret, mut sealed_report, mut out) = (Vec::new(), Vec::new(), Vec::new());
        sender.protect_rtp(&rtp(9), &mut secret).unwrap();
        sender.protect_rtcp(&report(), &mut sealed_report).unwrap();
        // Not the two octets that say how long the header or the report is: what they break is no packet at all.
        for at in 1..secret.len() {
            let mut damaged = secret.clone();
            damaged[at] ^= 0x10;
            let opened = receiver.unprotect_rtp(&damaged, &mut out);
            assert_eq!(opened, Err(SrtpError::Forged), "{profile:?}, octet {at}");
        }
        for at in 4..sealed_report.len() {
            let mut damaged = sealed_report.clone();
            damaged[at] ^= 0x10;
            let opened = receiver.unprotect_rtcp(&damaged, &mut out);
            assert_eq!(
                opened,
                Err(SrtpError::Forged),
                "{profile:?}, report octet {at}"
            );
        }
        assert_eq!(receiver.unprotect_rtp(&secret, &mut out), Ok(()));
        assert_eq!(receiver.unprotect_rtcp(&sealed_report, &mut out), Ok(()));
    }
}

#[test]
fn srtcp_that_claims_to_be_unencrypted_is_refused() {
    let (mut receiver, mut out) = (pair(SrtpProfile::AeadAes128Gcm).1, Vec::new());
    let mut packet = report();
    packet.extend_from_slice(&[0; TAG]);
    packet.extend_from_slice(&[0, 0, 0, 1]);
    let opened = receiver.unprotect_rtcp(&packet, &mut out);
    assert_eq!(opened, Err(SrtpError::Unencrypted));
}

#[test]
fn a_key_that_is_30_octets_long_is_none_for_gcm() {
    let error = Sender::new(SrtpProfile::AeadAes128Gcm, &MasterKey(vec![0; 30]));
    let expected = KeyError::Length {
        got: 30,
        expected: 28,
    };
    assert_eq!(error.err(), Some(expected));
}

proptest! {
    #[test]
    fn no_bytes_make_opening_panic(mut bytes: Vec<u8>, first in 0x80u8..0xc0, encrypted: bool, large: bool) {
        let mut receiver = pair(PROFILES[usize::from(large)]).1;
        let mut out = Vec::new();
        if let Some(octet) = bytes.first_mut() {
            *octet = first;
        }
        if let (true, Some(at)) = (encrypted, bytes.len().checked_sub(4)) {
            bytes[at] |= 0x80;
        }
        prop_assert!(receiver.unprotect_rtp(&bytes, &mut out).is_err());
        prop_assert!(receiver.unprotect_rtcp(&bytes, &mut out).is_err());
    }
}
