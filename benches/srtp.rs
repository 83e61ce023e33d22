//! What it costs to protect a packet of speech and to open one, against `rtc-srtp`.
//!
//!     cargo bench --bench srtp
//!
//! 12 octets of header, 60 of payload, packets in order, buffers that are used again. Docs: docs/performance.md.

// Each bench uses its own part of them.
#[allow(dead_code)]
mod far_ends;

use std::hint::black_box;
use std::time::Instant;

use far_ends::describe_machine;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::srtp::{Receiver, Sender};
use wabridge::media::{MasterKey, SrtpProfile};

/// Measurements of each kind, in turns.
const ROUNDS: usize = 15;
/// Packets in one of them: more than one rollover.
const PACKETS: usize = 70_000;

const PROFILES: [(&str, SrtpProfile, ProtectionProfile); 3] = [
    (
        "AES_CM_128_HMAC_SHA1_80",
        SrtpProfile::AesCm128HmacSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
    (
        "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes128Gcm,
        ProtectionProfile::AeadAes128Gcm,
    ),
    (
        "AEAD_AES_256_GCM",
        SrtpProfile::AeadAes256Gcm,
        ProtectionProfile::AeadAes256Gcm,
    ),
];

fn main() {
    println!("{}", describe_machine());
    println!("ns a packet, medians of {ROUNDS} runs in turns");
    println!(
        "{:<24} {:>8} {:>8} {:>18} {:>16}",
        "profile", "protect", "open", "rtc-srtp: protect", "rtc-srtp: open"
    );
    let packets = speech();
    for (name, ours, theirs) in PROFILES {
        let mut all = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let round = measure_ours(ours, &packets).into_iter();
            let round = round.chain(measure_theirs(ours, theirs, &packets));
            all.iter_mut()
                .zip(round)
                .for_each(|(all, each)| all.push(each));
        }
        let [protect, open, their_protect, their_open] = all.map(median);
        println!("{name:<24} {protect:>8.0} {open:>8.0} {their_protect:>18.0} {their_open:>16.0}");
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

fn speech() -> Vec<Vec<u8>> {
    let packet = |index: usize| {
        let header = Header {
            marker: false,
            payload_type: 111,
            seq: Seq(index as u16),
            timestamp: Timestamp(index as u32 * 960),
            ssrc: Ssrc(7),
        };
        let mut bytes = Vec::new();
        header.write(&[0x48; 60], &mut bytes);
        bytes
    };
    (0..PACKETS).map(packet).collect()
}

fn key(profile: SrtpProfile) -> MasterKey {
    MasterKey((0..profile.key_and_salt_len() as u8).collect())
}

/// ns for each packet that this is done with.
fn each(packets: &[Vec<u8>], mut work: impl FnMut(&[u8])) -> f64 {
    let begun = Instant::now();
    packets.iter().for_each(|packet| work(packet));
    begun.elapsed().as_nanos() as f64 / packets.len() as f64
}

fn measure_ours(profile: SrtpProfile, packets: &[Vec<u8>]) -> [f64; 2] {
    let seal = |sender: &mut Sender, packet: &[u8], out: &mut Vec<u8>| {
        sender.protect_rtp(packet, out).expect("in order");
    };
    let mut out = Vec::with_capacity(256);
    let mut sender = Sender::new(profile, &key(profile)).expect("a key of that length");
    let protect = each(packets, |packet| {
        seal(&mut sender, black_box(packet), &mut out);
        black_box(&out);
    });
    let mut sender = Sender::new(profile, &key(profile)).expect("a key of that length");
    let sealed = |packet: &Vec<u8>| {
        let mut sealed = Vec::new();
        seal(&mut sender, packet, &mut sealed);
        sealed
    };
    let sealed: Vec<_> = packets.iter().map(sealed).collect();
    let mut receiver = Receiver::new(profile, &key(profile)).expect("a key of that length");
    let open = each(&sealed, |packet| {
        let opened = receiver.unprotect_rtp(black_box(packet), &mut out);
        opened.expect("as it was sealed");
        black_box(&out);
    });
    [protect, open]
}

fn measure_theirs(
    profile: SrtpProfile,
    theirs: ProtectionProfile,
    packets: &[Vec<u8>],
) -> [f64; 2] {
    let context = || {
        let key = key(profile);
        let (key, salt) = key.0.split_at(key.0.len() - profile.salt_len());
        let provider = rtc_crypto::default_provider().expect("ring");
        let context = Context::new(key, salt, theirs, None, None, provider.crypto());
        context.expect("a key of that length")
    };
    let mut sealing = context();
    let protect = each(packets, |packet| {
        let sealed = sealing.encrypt_rtp(black_box(packet));
        black_box(sealed.expect("in order"));
    });
    let mut sealing = context();
    let sealed = |packet: &Vec<u8>| sealing.encrypt_rtp(packet).expect("in order").to_vec();
    let sealed: Vec<_> = packets.iter().map(sealed).collect();
    let mut opening = context();
    let open = each(&sealed, |packet| {
        let opened = opening.decrypt_rtp(black_box(packet));
        black_box(opened.expect("as it was sealed"));
    });
    [protect, open]
}
