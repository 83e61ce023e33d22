//! Our packets and those of `rtc-srtp`: each opens what the other has sealed.

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

const PROFILES: [(SrtpProfile, ProtectionProfile); 3] = [
    (
        SrtpProfile::AesCm128HmacSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
    (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (SrtpProfile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
];

/// Both implementations under one key.
struct Both {
    sender: Sender,
    receiver: Receiver,
    sealing: Context,
    opening: Context,
}

impl Both {
    fn new((ours, theirs): (SrtpProfile, ProtectionProfile), octets: &[u8; 46]) -> Both {
        let master = MasterKey(octets[..ours.key_and_salt_len()].to_vec());
        let context = || {
            let (key, salt) = master.0.split_at(ours.key_len());
            let provider = rtc_crypto::default_provider().unwrap();
            Context::new(key, salt, theirs, None, None, provider.crypto()).unwrap()
        };
        Both {
            sender: Sender::new(ours, &master).unwrap(),
            receiver: Receiver::new(ours, &master).unwrap(),
            sealing: context(),
            opening: context(),
        }
    }

    fn carry_rtp(&mut self, packet: &[u8]) {
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        self.sender.protect_rtp(packet, &mut sealed).unwrap();
        let theirs = self.sealing.encrypt_rtp(packet).unwrap();
        assert_eq!(sealed[..], theirs[..]);
        assert_eq!(self.opening.decrypt_rtp(&sealed).unwrap()[..], *packet);
        self.receiver.unprotect_rtp(&theirs, &mut opened).unwrap();
        assert_eq!(opened, packet);
    }

    fn carry_rtcp(&mut self, packet: &[u8]) {
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        self.sender.protect_rtcp(packet, &mut sealed).unwrap();
        let theirs = self.sealing.encrypt_rtcp(packet).unwrap();
        assert_eq!(sealed[..], theirs[..]);
        assert_eq!(self.opening.decrypt_rtcp(&sealed).unwrap()[..], *packet);
        self.receiver.unprotect_rtcp(&theirs, &mut opened).unwrap();
        assert_eq!(opened, packet);
    }
}

/// An RTP packet with so many contributing sources and, where wanted, an extension of RFC 8285 with two elements.
fn rtp(index: u64, ssrc: u32, csrcs: u8, extended: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | csrcs | u8::from(extended) << 4, 111];
    packet.extend_from_slice(&(index as u16).to_be_bytes());
    packet.extend_from_slice(&(index as u32).wrapping_mul(960).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|octet| octet ^ 0x5a));
    if extended {
        packet.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x10, 0xff, 0x21, 1, 2, 0, 0, 0]);
    }
    packet.extend_from_slice(payload);
    packet
}

/// A compound packet of whole words: a receiver report without blocks and an APP, as long as is wanted.
fn rtcp(ssrc: u32, words: &[u32]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0x80, 204, 0, 2 + words.len() as u8]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(b"test");
    words
        .iter()
        .for_each(|word| packet.extend_from_slice(&word.to_be_bytes()));
    packet
}

proptest! {
    #[test]
    fn each_opens_what_the_other_seals(
        octets in prop::collection::vec(any::<u8>(), 46),
        ssrc: u32,
        first: u16,
        packets in prop::collection::vec(
            (1u64..20_000, 0u8..=15, any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..20,
        ),
        reports in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..20), 1..4),
    ) {
        for profile in PROFILES {
            let mut both = Both::new(profile, octets[..].try_into().unwrap());
            let mut index = u64::from(first);
            for (step, csrcs, extended, payload) in &packets {
                // Up to five rollovers a case.
                both.carry_rtp(&rtp(index, ssrc, *csrcs, *extended, payload));
                index += step;
            }
            for words in &reports {
                both.carry_rtcp(&rtcp(ssrc, words));
            }
        }
    }

    #[test]
    fn an_extension_that_is_longer_than_its_packet_is_refused(words in 1u16.., profile in 0usize..3) {
        let mut both = Both::new(PROFILES[profile], &[9; 46]);
        let mut packet = rtp(1, 1, 0, true, &[]);
        packet[14..16].copy_from_slice(&words.saturating_add(2).to_be_bytes());
        let mut out = Vec::new();
        prop_assert_eq!(both.sender.protect_rtp(&packet, &mut out), Err(SrtpError::Rtp));
        prop_assert_eq!(both.receiver.unprotect_rtp(&packet, &mut out), Err(SrtpError::Rtp));
    }
}
