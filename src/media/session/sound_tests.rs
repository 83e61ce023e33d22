//! Calls whose two sides have no codec in common.

use std::time::Duration;

use super::fixtures::*;
use crate::leg::Leg;
use crate::media::rtp::Header;
use crate::media::sound::tones::{Generator, tests::codes};
use crate::media::sound::{Decode, Decoder, Encoder, OpusSettings, opus};
use crate::media::{Codec, Direction, SideSpec};

/// A PBX that speaks A-law.
fn alaw() -> SideSpec {
    side(PBX, Some(PBX_RTCP), &[(8, Codec::Pcma), (101, EVENT_8K)])
}

fn g711_call() -> Call {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, alaw());
    call.start(Leg::Pbx).start(Leg::Meta);
    call
}

/// Tones of 20 ms, as packets of one codec.
struct Voice(Encoder, u16);

impl Voice {
    fn of(codec: Codec) -> Voice {
        let encoder = Encoder::new(codec, 8_000, &OpusSettings::default());
        Voice(encoder.unwrap(), 0)
    }

    fn packet(&mut self, number: u8, clock_rate: u32) -> Vec<u8> {
        let sample = |n: u32| (6_000.0 * (f64::from(n) * 0.3).sin()) as i16;
        let samples: Vec<i16> = (0..160).map(sample).collect();
        let mut payload = Vec::new();
        self.0.encode(&samples, &mut payload).unwrap();
        self.1 += 1;
        let timestamp = u32::from(self.1) * clock_rate / 50;
        frame_at(number, 77, self.1, timestamp, &payload)
    }
}

/// The keys whose tones are in what a side heard, all of it sound.
fn keys_heard(heard: &[(Header, &[u8])], codec: Codec) -> Vec<u8> {
    let payloads = heard.iter().map(|(_, payload)| *payload);
    codes(8_000, &decoded(codec, payloads))
}

/// The loudest sample in all that a side heard of sound.
fn loudest(heard: &[(Header, &[u8])], number: u8, codec: Codec) -> i16 {
    let sound = heard.iter().filter(|(h, _)| h.payload_type == number);
    decoded(codec, sound.map(|(_, payload)| *payload))
        .iter()
        .map(|s| s.saturating_abs())
        .max()
        .unwrap_or(0)
}

#[test]
fn a_pbx_that_speaks_g711_hears_and_is_heard() {
    let mut call = g711_call();
    let (mut pbx, mut meta) = (Voice::of(Codec::Pcma), Voice::of(Codec::Opus));
    for _ in 0..50 {
        call.pbx_sends(&pbx.packet(8, 8_000));
        call.meta_sends(&meta.packet(111, 48_000)).wait(20);
    }
    let (user, phone) = (call.rtp(Leg::Meta), call.rtp(Leg::Pbx));
    assert!((50..=52).contains(&user.len()), "{}", user.len());
    assert!((50..=51).contains(&phone.len()), "{}", phone.len());
    assert!(loudest(&user, 111, Codec::Opus) > 4_000);
    assert!(loudest(&phone, 8, Codec::Pcma) > 4_000);
    call.is_one_stream(Leg::Meta).is_one_stream(Leg::Pbx);
    let steps = |heard: &[(Header, &[u8])]| {
        let pairs = heard[5..].windows(2);
        let steps = pairs.map(|p| p[1].0.timestamp.since(p[0].0.timestamp));
        steps.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(steps(&user), [960].into(), "on the clock of Opus");
    assert_eq!(steps(&phone), [160].into(), "on the clock of G.711");
    let stats = call.session.stats();
    assert_eq!((stats.pbx.received, stats.meta.received), (50, 50));
    assert!(stats.pbx.buffered_ms.is_some_and(|ms| ms <= 40.0));
    assert_eq!((stats.pbx.mended_ms, stats.meta.mended_ms), (0, 0));
}

#[test]
fn what_the_pbx_says_before_meta_can_be_sent_to_is_kept_though_it_is_g711() {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, alaw());
    call.start(Leg::Pbx);
    let mut pbx = Voice::of(Codec::Pcma);
    for _ in 0..30 {
        call.pbx_sends(&pbx.packet(8, 8_000)).wait(20);
    }
    assert!(call.rtp(Leg::Meta).is_empty());
    call.start(Leg::Meta);
    let at_once = call.rtp(Leg::Meta).len();
    assert!((29..=31).contains(&at_once), "{at_once}");
    assert!(loudest(&call.rtp(Leg::Meta), 111, Codec::Opus) > 4_000);
    for _ in 0..20 {
        call.pbx_sends(&pbx.packet(8, 8_000)).wait(20);
    }
    call.is_one_stream(Leg::Meta);
    assert_eq!(call.session.stats().meta.silence_sent, 0);
}

#[test]
fn on_hold_the_user_hears_a_soft_noise_in_the_same_stream_and_then_the_pbx_again() {
    let mut call = g711_call();
    let mut pbx = Voice::of(Codec::Pcma);
    for _ in 0..50 {
        call.pbx_sends(&pbx.packet(8, 8_000)).wait(20);
    }
    let on_hold = SideSpec {
        direction: Direction::Inactive,
        ..alaw()
    };
    call.agree(Leg::Pbx, on_hold);
    let before = call.rtp(Leg::Meta).len();
    call.wait(10_000);
    let held = call.rtp(Leg::Meta)[before..].len();
    assert!((499..=501).contains(&held), "{held}");
    call.agree(Leg::Pbx, alaw());
    for _ in 0..50 {
        call.pbx_sends(&pbx.packet(8, 8_000)).wait(20);
    }
    call.is_one_stream(Leg::Meta);
    let last = &call.rtp(Leg::Meta)[before + held..];
    assert!(loudest(last, 111, Codec::Opus) > 4_000);
}

#[test]
fn where_both_speak_g711_it_goes_through_untouched() {
    let mut call = bare();
    let user = side(META, None, &[(8, Codec::Pcma), (126, EVENT_8K)]);
    call.agree(Leg::Meta, user).agree(Leg::Pbx, alaw());
    call.start(Leg::Pbx).start(Leg::Meta).wait(400);
    let silence = call.rtp(Leg::Meta)[0];
    assert_eq!(silence.1, [0xd5; 160], "ours, in the codec of the call");
    let mut pbx = Voice::of(Codec::Pcma);
    let packet = pbx.packet(8, 8_000);
    call.pbx_sends(&packet);
    let heard = call.rtp(Leg::Meta);
    assert_eq!(heard.last().unwrap().1, &packet[12..]);
    assert_eq!(call.session.stats().pbx.buffered_ms, None);
}

#[test]
fn a_codec_change_of_the_pbx_changes_nothing_for_the_user_but_the_sound() {
    let mut call = g711_call();
    let mut alaw = Voice::of(Codec::Pcma);
    for _ in 0..20 {
        call.pbx_sends(&alaw.packet(8, 8_000)).wait(20);
    }
    call.agree(Leg::Pbx, pbx());
    let mut opus = Voice::of(Codec::Opus);
    for _ in 0..20 {
        call.pbx_sends(&opus.packet(107, 48_000)).wait(20);
    }
    assert_eq!(call.session.stats().pbx.buffered_ms, None, "passed on now");
    call.agree(Leg::Pbx, side(PBX, Some(PBX_RTCP), &[(9, Codec::G722)]));
    let mut g722 = Voice::of(Codec::G722);
    for _ in 0..20 {
        call.pbx_sends(&g722.packet(9, 8_000)).wait(20);
    }
    let sound = call.rtp(Leg::Meta);
    let ssrcs: std::collections::BTreeSet<_> = sound.iter().map(|(h, _)| h.ssrc.0).collect();
    assert_eq!(ssrcs.len(), 1);
    assert!((60..=64).contains(&sound.len()), "{}", sound.len());
    call.is_one_stream(Leg::Meta);
}

#[test]
fn a_pbx_that_goes_from_one_law_to_the_other_or_is_started_once_more_loses_no_word() {
    let mut call = g711_call();
    let mut alaw_voice = Voice::of(Codec::Pcma);
    for _ in 0..50 {
        call.pbx_sends(&alaw_voice.packet(8, 8_000)).wait(20);
    }
    let before = call.rtp(Leg::Meta).len();
    call.agree(Leg::Pbx, side(PBX, Some(PBX_RTCP), &[(0, Codec::Pcmu)]));
    let mut mulaw = Voice::of(Codec::Pcmu);
    for _ in 0..25 {
        call.pbx_sends(&mulaw.packet(0, 8_000)).wait(20);
    }
    let changed = call.rtp(Leg::Meta).len() - before;
    assert!((25..=27).contains(&changed), "{changed}");
    call.start(Leg::Pbx);
    for _ in 0..25 {
        call.pbx_sends(&mulaw.packet(0, 8_000)).wait(20);
    }
    let resumed = call.rtp(Leg::Meta).len() - before - changed;
    assert!((25..=26).contains(&resumed), "{resumed}");
    call.is_one_stream(Leg::Meta);
    let stats = call.session.stats();
    // That one is from before the PBX said anything.
    assert_eq!((stats.pbx.repeated, stats.meta.silence_sent), (0, 1));
}

#[test]
fn a_tone_is_let_go_when_nobody_listens_to_the_sound_any_more() {
    let tones = by_tones(0, Codec::Pcmu);
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, tones.clone());
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut generator = Generator::new(8_000);
    let mut encoder = Encoder::new(Codec::Pcmu, 8_000, &OpusSettings::default()).unwrap();
    assert!(generator.press(4, Duration::from_secs(5)));
    for n in 1..=10u16 {
        let (mut samples, mut payload) = (vec![0; 160], Vec::new());
        generator.write(&mut samples);
        encoder.encode(&samples, &mut payload).unwrap();
        call.pbx_sends(&frame_at(0, 5, n, u32::from(n) * 160, &payload));
        call.wait(20);
    }
    let alaw = SideSpec {
        tones: true,
        ..alaw()
    };
    call.agree(Leg::Pbx, alaw);
    let mut voice = Voice::of(Codec::Pcma);
    for _ in 0..50 {
        call.pbx_sends(&voice.packet(8, 8_000)).wait(20);
    }
    let heard = call.rtp(Leg::Meta);
    let events = heard.iter().filter(|(h, _)| h.payload_type == 126);
    let ends = events.filter(|(_, p)| p[0] == 4 && p[1] & 0x80 != 0);
    assert_eq!(ends.count(), 3, "its end is said");
    assert_eq!(heard.last().unwrap().0.payload_type, 111, "sound again");
}

#[test]
fn where_meta_reports_loss_its_packets_have_copies_of_those_before() {
    let mut call = bare();
    let wideband = side(PBX, Some(PBX_RTCP), &[(9, Codec::G722)]);
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, wideband);
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut encoder = Encoder::new(Codec::G722, 16_000, &OpusSettings::default()).unwrap();
    let mut talk = |call: &mut Call, packets: std::ops::Range<u16>| {
        let before = call.rtp(Leg::Meta).len();
        for seq in packets {
            let samples = opus::tests::voice(16_000, seq.into());
            let mut payload = Vec::new();
            encoder.encode(&samples, &mut payload).unwrap();
            let packet = frame_at(9, 77, seq, u32::from(seq) * 160, &payload);
            call.pbx_sends(&packet).wait(20);
        }
        let heard = call.rtp(Leg::Meta);
        let payloads = heard[before..].iter().map(|(_, payload)| *payload);
        payloads.filter(|p| opus::tests::has_copy(p)).count()
    };
    assert_eq!(
        talk(&mut call, 0..250),
        0,
        "20 kbit/s have no room for them"
    );
    report(&mut call, Leg::Meta, 7 + 250, 30, 0);
    let copied = talk(&mut call, 250..350);
    assert!(copied > 50, "{copied} of 100");
}

#[test]
fn opus_of_another_length_than_metas_is_made_anew() {
    let mut call = talking();
    let mut encoder = Encoder::new(Codec::Opus, 16_000, &OpusSettings::default()).unwrap();
    for n in 1..=20u16 {
        let mut payload = Vec::new();
        encoder.encode(&[500; 640], &mut payload).unwrap();
        let packet = frame_at(107, 5, n, u32::from(n) * 1_920, &payload);
        call.pbx_sends(&packet).wait(40);
    }
    let heard = call.rtp(Leg::Meta);
    assert!((39..=42).contains(&heard.len()), "{}", heard.len());
    let decoder = Decoder::new(Codec::Opus, 16_000).unwrap();
    assert!(heard.iter().all(|(_, p)| decoder.samples(p) == Some(320)));
}

#[test]
fn digits_of_a_pbx_that_has_them_as_tones_are_events_for_meta_and_back() {
    let tones = by_tones(0, Codec::Pcmu);
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, tones);
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut generator = Generator::new(8_000);
    let mut encoder = Encoder::new(Codec::Pcmu, 8_000, &OpusSettings::default()).unwrap();
    for code in [4, 2] {
        assert!(generator.press(code, Duration::from_millis(60)));
    }
    let mut user = Voice::of(Codec::Opus);
    for n in 1..=40u16 {
        let (mut samples, mut payload) = (vec![0; 160], Vec::new());
        generator.write(&mut samples);
        encoder.encode(&samples, &mut payload).unwrap();
        call.pbx_sends(&frame_at(0, 5, n, u32::from(n) * 160, &payload));
        call.meta_sends(&user.packet(111, 48_000)).wait(20);
    }
    let heard = call.rtp(Leg::Meta);
    let begun: Vec<u8> = heard
        .iter()
        .filter(|(h, _)| h.payload_type == 126 && h.marker)
        .map(|(_, p)| p[0])
        .collect();
    assert_eq!(begun, [4, 2], "each once, in order");
    assert_eq!(call.session.stats().meta.digits, 2);

    // And what the user presses sounds.
    for (n, payload) in [[9, 10, 1, 0x40], [9, 138, 2, 0x80], [9, 138, 2, 0x80]]
        .iter()
        .enumerate()
    {
        let seq = 100 + n as u16;
        call.meta_sends(&frame_at(126, 77, seq, 200_000, payload));
        call.wait(20);
    }
    for _ in 0..20 {
        call.meta_sends(&user.packet(111, 48_000)).wait(20);
    }
    assert_eq!(keys_heard(&call.rtp(Leg::Pbx), Codec::Pcmu), [9]);
}

#[test]
fn a_digit_in_the_speech_of_a_pbx_is_no_gap_in_it() {
    let mut call = g711_call();
    let mut pbx = Voice::of(Codec::Pcma);
    let mut seq = 0;
    for nth in 0..150u16 {
        // Of 100 ms from the 50th packet on, in place of sound; its end is said three times.
        let ms = (nth - nth.min(49)) * 20;
        let sound = pbx.packet(8, 8_000);
        if let 20..=100 = ms {
            let [high, low] = (ms * 8).to_be_bytes();
            let end = if ms == 100 { 0x80 } else { 0 };
            for _ in 0..if ms == 100 { 3 } else { 1 } {
                seq += 1;
                call.pbx_sends(&frame_at(101, 77, seq, 51 * 160, &[5, end | 10, high, low]));
            }
        } else {
            seq += 1;
            let timestamp = (u32::from(nth) + 1) * 160;
            call.pbx_sends(&frame_at(8, 77, seq, timestamp, &sound[12..]));
        }
        call.wait(20);
    }
    let stats = call.session.stats();
    assert_eq!((stats.pbx.mended_ms, stats.pbx.lost), (0, 0));
    assert!(stats.pbx.buffered_ms.is_some_and(|ms| ms <= 40.0));
    assert_eq!(stats.meta.digits, 1);
    let heard = call.rtp(Leg::Meta);
    let (before, after) = heard.split_at(heard.len() - 90);
    assert!(before.iter().any(|(h, _)| h.payload_type == 126));
    assert!(loudest(after, 111, Codec::Opus) > 4_000);
}

#[test]
fn what_a_user_presses_without_a_word_sounds_all_the_same() {
    let mut call = bare();
    let tones = by_tones(8, Codec::Pcma);
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, tones);
    call.start(Leg::Pbx).start(Leg::Meta);
    for (nth, key) in [1u8, 2, 11].into_iter().enumerate() {
        let seq = 3 * nth as u16;
        for (more, duration) in [(0, 0x140), (1, 0x320), (2, 0x320)] {
            let end = if more > 0 { 0x80 } else { 0 };
            let payload = [key, 10 | end, (duration >> 8) as u8, duration as u8];
            let at = 20_000 * (nth as u32 + 1);
            call.meta_sends(&frame_at(126, 77, seq + more, at, &payload));
            call.wait(20);
        }
        call.wait(300);
    }
    assert_eq!(keys_heard(&call.rtp(Leg::Pbx), Codec::Pcma), [1, 2, 11]);
}
