//! What comes in at one side of a session, and what leaves at the other.

use std::time::Duration;

use super::fixtures::*;
use super::*;
use crate::media::rtp::{Packet, Ssrc};
use crate::media::srtp::{Receiver, Sender};
use crate::media::{
    Codec, Direction, MasterKey, Reported, Security, Settings, SideSpec, Source, SrtpKeys,
    SrtpProfile, rtcp,
};

#[test]
fn nothing_goes_to_meta_before_start_and_a_silence_frame_at_once_after_it() {
    let mut call = agreed();
    call.start(Leg::Pbx).wait(2_000);
    assert!(
        call.sent.iter().all(|s| s.leg == Leg::Pbx),
        "only RTCP towards the PBX"
    );

    call.start(Leg::Meta);
    let first = call.sent.iter().find(|s| s.leg == Leg::Meta).unwrap();
    assert_eq!(first.at.as_millis(), 2_000);
    let (first, payload) = call.rtp(Leg::Meta)[0];
    assert_eq!(
        (payload, first.payload_type, first.marker),
        (SILENCE, 111, true)
    );
    assert!(first.seq.0 < 1 << 15, "RFC 3711 §3.3.1");
    call.talk(Leg::Pbx, 1, 0..50).is_one_stream(Leg::Meta);
}

/// Which of the voice frames of `Call::talk` a leg heard, by their numbers, in order.
fn heard(call: &Call, leg: Leg) -> Vec<u16> {
    let voices = call.rtp(leg).into_iter();
    let numbers = voices.filter_map(|(_, payload)| number_of(payload));
    numbers.collect()
}

#[test]
fn what_the_pbx_says_before_meta_may_be_sent_to_is_the_first_that_meta_hears_and_at_once() {
    let mut call = agreed();
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..40);
    assert!(call.rtp(Leg::Meta).is_empty());
    call.start(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), (0..40).collect::<Vec<_>>());
    call.talk(Leg::Pbx, 1, 40..60).is_one_stream(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), (0..60).collect::<Vec<_>>());
    let stats = call.session.stats().meta;
    assert_eq!((stats.kept, stats.not_kept, stats.held_back), (40, 0, 0));
    assert_eq!((stats.sent, stats.silence_sent), (60, 0));
    let first = call.rtp(Leg::Meta)[0].0;
    assert!(first.marker && first.seq.0 < 1 << 15);
}

#[test]
fn of_what_waits_too_long_the_oldest_makes_room_so_that_the_rest_joins_what_follows() {
    let mut call = agreed();
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..300);
    call.start(Leg::Meta).talk(Leg::Pbx, 1, 300..310);
    call.is_one_stream(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), (200..310).collect::<Vec<_>>());
    let stats = call.session.stats().meta;
    assert_eq!((stats.kept, stats.not_kept, stats.held_back), (100, 200, 0));
}

#[test]
fn where_nothing_is_to_be_kept_meta_hears_what_comes_from_now_on() {
    let mut call = with(Settings {
        kept_audio: 0,
        ..Settings::default()
    });
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, pbx());
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..50);
    call.start(Leg::Meta).talk(Leg::Pbx, 1, 50..60);
    assert_eq!(heard(&call, Leg::Meta), (50..60).collect::<Vec<_>>());
    let stats = call.session.stats().meta;
    assert_eq!((stats.kept, stats.not_kept, stats.held_back), (0, 0, 50));
    assert_eq!(call.rtp(Leg::Meta)[0].1, SILENCE);
}

#[test]
fn the_ringing_of_a_pbx_that_had_not_answered_is_not_played_to_the_user() {
    let mut call = agreed();
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..200);
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 200..210);
    call.start(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), (200..210).collect::<Vec<_>>());
    let stats = call.session.stats().meta;
    assert_eq!((stats.kept, stats.not_kept, stats.held_back), (10, 0, 200));
}

#[test]
fn what_comes_between_the_agreement_with_the_pbx_and_its_start_belongs_to_its_answer() {
    let mut call = agreed();
    call.talk(Leg::Pbx, 1, 0..50).talk(Leg::Meta, 2, 0..7);
    call.talk(Leg::Pbx, 1, 50..53).start(Leg::Pbx);
    call.talk(Leg::Pbx, 1, 53..55).start(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), (50..55).collect::<Vec<_>>());
    assert!(heard(&call, Leg::Pbx).is_empty());
    let stats = call.session.stats();
    assert_eq!((stats.meta.kept, stats.meta.not_kept), (5, 0));
    let lost = stats.meta.held_back + stats.pbx.strangers;
    assert_eq!((lost, stats.pbx.held_back), (50, 7));
}

#[test]
fn a_pause_of_the_speaker_and_a_new_source_stay_what_they_are_while_they_are_kept() {
    let mut call = agreed();
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..5);
    // Comfort noise was switched off: the clock runs on and no packets come.
    call.wait(1_500)
        .pbx_sends(&frame_at(107, 1, 5, 80 * 960, b"voice"));
    call.wait(20).talk(Leg::Pbx, 9, 700..705);
    call.start(Leg::Meta);
    let clock: Vec<_> = call
        .rtp(Leg::Meta)
        .iter()
        .map(|(h, _)| h.timestamp)
        .collect();
    assert_eq!(clock.len(), 11);
    assert_eq!(clock[5].since(clock[4]), 76 * 960, "the pause");
    assert_eq!(clock[6].since(clock[5]), 960, "the new source");
}

#[test]
fn packets_that_overtook_each_other_before_meta_could_be_sent_to_go_out_in_order() {
    let mut call = agreed();
    call.start(Leg::Pbx);
    for seq in [65_535, 65_534, 1, 0, 1, 2] {
        call.pbx_sends(&frame(107, 1, seq, &voice(seq)));
    }
    call.start(Leg::Meta).is_one_stream(Leg::Meta);
    assert_eq!(heard(&call, Leg::Meta), [65_534, 65_535, 0, 1, 2]);
    let stats = call.session.stats();
    assert_eq!((stats.meta.kept, stats.pbx.repeated), (5, 1));
}

#[test]
fn a_call_that_ends_before_meta_could_be_sent_to_says_what_was_lost() {
    let mut call = agreed();
    call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..150);
    call.session.close(call.now, &mut call.out);
    let stats = call.session.stats().meta;
    assert_eq!((stats.kept, stats.not_kept), (0, 150));
}

#[test]
fn start_before_the_agreement_takes_effect_with_it() {
    let mut call = bare();
    call.start(Leg::Meta).wait(100);
    assert!(call.sent.is_empty());
    call.agree(Leg::Meta, meta());
    assert_eq!(call.rtp(Leg::Meta).len(), 1);
}

#[test]
fn payload_numbers_are_mapped_by_codec_both_ways() {
    let mut call = talking();
    call.pbx_sends(&frame(107, 1, 1, b"voice to meta"))
        .pbx_sends(&frame(101, 1, 2, &[5, 10, 0, 160]));
    call.meta_sends(&frame(111, 2, 1, b"voice to pbx"))
        .meta_sends(&frame(126, 2, 2, &[5, 10, 0, 160]));
    let numbers = |leg| {
        call.rtp(leg)
            .iter()
            .map(|(h, _)| h.payload_type)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(Leg::Meta), [111, 111, 126]);
    assert_eq!(numbers(Leg::Pbx), [107, 101]);
    assert_eq!(call.rtp(Leg::Pbx)[0].1, b"voice to pbx");
}

#[test]
fn what_nobody_agreed_to_is_dropped_and_counted() {
    let mut call = talking();
    call.pbx_sends(&frame(8, 1, 1, b"alaw"))
        .pbx_sends(b"\x05 not RTP")
        .pbx_sends(&[0x80; 5]);
    call.agree(Leg::Meta, side(META, None, &[(111, Codec::Opus)]));
    call.pbx_sends(&frame(101, 1, 2, &[5, 10, 0, 160]));
    assert_eq!(call.session.stats().pbx.unusable, 4);
    assert_eq!(call.rtp(Leg::Meta).len(), 1, "our silence alone");
}

#[test]
fn an_event_of_another_clock_rate_has_its_duration_scaled() {
    let mut call = agreed();
    call.agree(
        Leg::Pbx,
        side(PBX, None, &[(107, Codec::Opus), (102, EVENT_48K)]),
    );
    call.start(Leg::Pbx).start(Leg::Meta);
    call.pbx_sends(&frame(102, 1, 2, &[5, 0x8a, 0x12, 0xc0]));
    call.meta_sends(&frame(126, 2, 2, &[7, 10, 0, 160]));
    call.meta_sends(&frame(126, 2, 3, &[7, 10, 0xff, 0xff]));
    call.meta_sends(&frame(126, 2, 4, &[7]));
    assert_eq!(
        call.rtp(Leg::Meta)[1].1,
        [5, 0x8a, 0x03, 0x20],
        "4800/48000 s is 800/8000 s"
    );
    assert_eq!(call.rtp(Leg::Pbx)[0].1, [7, 10, 0x03, 0xc0]);
    assert_eq!(
        call.rtp(Leg::Pbx)[1].1,
        [7, 10, 0xff, 0xff],
        "as long as the field can say"
    );
    assert_eq!(
        call.session.stats().meta.unusable,
        1,
        "too short to be an event"
    );
}

#[test]
fn meta_hears_one_stream_whatever_the_pbx_does_with_its_own() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 65_500..65_535).wait(900);
    call.talk(Leg::Pbx, 2, 10..60).wait(5_000);
    call.talk(Leg::Pbx, 2, 60..100)
        .talk(Leg::Pbx, 3, 40_000..40_020)
        .wait(1_000);
    call.is_one_stream(Leg::Meta);
    assert_eq!(
        call.rtp(Leg::Meta)
            .iter()
            .filter(|(_, p)| number_of(p).is_some())
            .count(),
        145
    );
}

#[test]
fn sequence_numbers_towards_meta_go_on_across_the_wrap() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..65_000);
    call.is_one_stream(Leg::Meta);
    assert_eq!(call.session.stats().meta.sent, 65_001);
}

#[test]
fn a_silent_pbx_is_covered_by_frames_that_libopus_decodes_to_silence() {
    let mut call = talking();
    call.wait(4_000);
    let frames: Vec<_> = call
        .sent
        .iter()
        .filter(|s| s.leg == Leg::Meta && !s.is_rtcp())
        .collect();
    assert!(
        frames
            .windows(2)
            .all(|w| w[1].at - w[0].at <= Duration::from_millis(400))
    );
    assert_eq!(frames.len(), 11);
    assert_eq!(call.session.stats().meta.silence_sent, 11);
    call.is_one_stream(Leg::Meta);

    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Stereo).unwrap();
    let mut sound = [1i16; 960 * 2];
    for (_, payload) in call.rtp(Leg::Meta) {
        assert_eq!(decoder.decode(payload, &mut sound, false).unwrap(), 960);
        assert!(sound.iter().all(|sample| *sample == 0));
    }
    assert!(call.rtp(Leg::Pbx).is_empty(), "the PBX needs none");
}

#[test]
fn a_loss_of_the_pbx_reaches_meta_as_a_gap_and_a_repetition_does_not() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..10)
        .talk(Leg::Pbx, 1, 12..14)
        .talk(Leg::Pbx, 1, 13..14);
    let seqs: Vec<_> = call.rtp(Leg::Meta).iter().map(|(h, _)| h.seq.0).collect();
    assert_eq!(seqs[10] + 3, seqs[11]);
    assert_eq!(seqs.len(), 13);
    let stats = call.session.stats().pbx;
    assert_eq!((stats.repeated, stats.received), (1, 13));
}

#[test]
fn packets_of_strangers_are_ignored_and_counted() {
    let mut call = talking();
    let packet = frame(107, 1, 1, b"voice");
    call.comes(Leg::Pbx, Socket::Rtp, "192.0.2.5:14002", &packet);
    call.comes(Leg::Pbx, Socket::Rtp, "192.0.2.66:14000", &packet);
    call.comes(Leg::Meta, Socket::Rtp, PBX, &frame(111, 1, 1, b"voice"));
    assert_eq!(call.rtp(Leg::Meta).len(), 1, "our silence");
    assert!(call.rtp(Leg::Pbx).is_empty());
    let stats = call.session.stats();
    assert_eq!((stats.pbx.strangers, stats.meta.strangers), (2, 1));
}

#[test]
fn speech_that_overtakes_the_answer_of_the_pbx_is_heard_and_nobody_elses() {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).talk(Leg::Pbx, 1, 0..3);
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "192.0.2.66:14000",
        &frame(107, 9, 1, b"intruder"),
    );
    call.agree(Leg::Pbx, pbx()).start(Leg::Pbx);
    call.talk(Leg::Pbx, 1, 3..5).start(Leg::Meta);
    call.talk(Leg::Pbx, 1, 5..10);
    let heard: Vec<_> = call
        .rtp(Leg::Meta)
        .iter()
        .map(|(_, p)| p.to_vec())
        .collect();
    assert_eq!(heard, (0..10).map(voice).collect::<Vec<_>>());
    call.is_one_stream(Leg::Meta);
    let stats = call.session.stats();
    assert_eq!((stats.pbx.received, stats.pbx.strangers), (10, 1));
    assert_eq!(stats.meta.kept, 5);
}

#[test]
fn what_came_long_before_the_answer_or_without_one_was_nobodys() {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).talk(Leg::Pbx, 1, 0..50);
    call.agree(Leg::Pbx, pbx()).start(Leg::Pbx).start(Leg::Meta);
    let heard: Vec<_> = call
        .rtp(Leg::Meta)
        .iter()
        .map(|(_, p)| p.to_vec())
        .collect();
    assert_eq!(
        heard,
        (45..50).map(voice).collect::<Vec<_>>(),
        "0.1 s of it"
    );
    assert_eq!(call.session.stats().pbx.strangers, 45);

    let mut never = bare();
    never.talk(Leg::Pbx, 1, 0..2);
    never.comes(Leg::Pbx, Socket::Rtp, PBX, &[0x80; 1_501]);
    never.session.close(never.now, &mut never.out);
    assert_eq!(never.session.stats().pbx.strangers, 3);
}

#[test]
fn the_first_source_is_locked_on_to_and_answered() {
    let mut call = agreed();
    call.agree(
        Leg::Pbx,
        SideSpec {
            source: Source::First,
            ..pbx()
        },
    );
    call.start(Leg::Pbx).start(Leg::Meta);
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "203.0.113.66:9",
        &frame(99, 1, 1, b"unknown number"),
    );
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "203.0.113.9:61000",
        &frame(107, 1, 1, b"voice"),
    );
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "203.0.113.66:9",
        &frame(107, 9, 1, b"intruder"),
    );
    call.pbx_sends(&frame(107, 1, 2, b"from where SDP said"));
    call.meta_sends(&frame(111, 2, 1, b"answer"));
    let stats = call.session.stats().pbx;
    assert_eq!((stats.received, stats.strangers, stats.unusable), (1, 2, 1));
    assert_eq!(call.sent.last().unwrap().to, at("203.0.113.9:61000"));
    // The same agreement again (a repeated answer) does not forget what was learnt.
    call.agree(
        Leg::Pbx,
        SideSpec {
            source: Source::First,
            ..pbx()
        },
    );
    call.meta_sends(&frame(111, 2, 2, b"answer"));
    assert_eq!(call.sent.last().unwrap().to, at("203.0.113.9:61000"));
}

#[test]
fn reports_lock_on_too_and_then_rtp_must_come_from_the_same_host() {
    let mut call = agreed();
    call.agree(
        Leg::Pbx,
        SideSpec {
            source: Source::First,
            ..pbx()
        },
    );
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut report = Vec::new();
    rtcp::Report {
        ssrc: Ssrc(5),
        sent: None,
        blocks: &[],
        cname: "pbx",
        bye: false,
    }
    .write(&mut report);
    call.comes(Leg::Pbx, Socket::Rtcp, "203.0.113.9:61001", &report);
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "203.0.113.66:9",
        &frame(107, 9, 1, b"intruder"),
    );
    call.comes(
        Leg::Pbx,
        Socket::Rtp,
        "203.0.113.9:61000",
        &frame(107, 1, 1, b"voice"),
    );
    call.wait(5_000);
    assert!(
        call.rtcp(Leg::Pbx)
            .iter()
            .all(|sent| sent.to == at("203.0.113.9:61001"))
    );
    let stats = call.session.stats().pbx;
    assert_eq!((stats.received, stats.strangers), (1, 1));
}

#[test]
fn a_leg_from_which_nothing_comes_is_told_once_counted_from_its_own_start() {
    let mut call = agreed();
    call.start(Leg::Pbx)
        .wait(10_000)
        .start(Leg::Meta)
        .wait(60_000);
    assert_eq!(
        call.silent(),
        [
            (Duration::from_secs(30), Leg::Pbx),
            (Duration::from_secs(40), Leg::Meta),
        ]
    );
}

#[test]
fn the_silence_of_a_leg_that_was_started_early_counts_anew_from_the_answer() {
    let mut call = agreed();
    call.start(Leg::Pbx)
        .wait(45_000)
        .start(Leg::Pbx)
        .wait(60_000);
    assert_eq!(
        call.silent(),
        [
            (Duration::from_secs(30), Leg::Pbx),
            (Duration::from_secs(75), Leg::Pbx),
        ]
    );
}

#[test]
fn reports_alone_keep_a_leg_from_being_silent() {
    let mut call = talking();
    let mut report = Vec::new();
    rtcp::Report {
        ssrc: Ssrc(5),
        sent: None,
        blocks: &[],
        cname: "pbx",
        bye: false,
    }
    .write(&mut report);
    for _ in 0..4 {
        call.wait(20_000)
            .comes(Leg::Pbx, Socket::Rtcp, PBX_RTCP, &report);
    }
    assert_eq!(call.silent(), [(Duration::from_secs(30), Leg::Meta)]);
}

#[test]
fn a_pbx_that_sends_only_comfort_noise_is_not_silent() {
    let mut call = talking();
    for seq in 0..40 {
        call.pbx_sends(&frame(13, 1, seq, b"noise")).wait(1_000);
    }
    assert_eq!(call.silent(), [(Duration::from_secs(30), Leg::Meta)]);
    assert_eq!(call.session.stats().pbx.unusable, 40);
}

#[test]
fn a_leg_that_falls_silent_in_the_middle_is_told() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..500).wait(30_000);
    assert!(
        call.silent()
            .contains(&(Duration::from_millis(39_980), Leg::Pbx)),
        "{:?}",
        call.silent()
    );
}

#[test]
fn both_sides_get_reports_every_five_seconds_where_they_expect_them() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..1500);
    for (leg, socket, to) in [
        (Leg::Meta, Socket::Rtp, META),
        (Leg::Pbx, Socket::Rtcp, PBX_RTCP),
    ] {
        let reports = call.rtcp(leg);
        assert!(reports.len() >= 6, "{leg}: {}", reports.len());
        assert!(
            reports
                .windows(2)
                .all(|w| w[1].at - w[0].at <= Duration::from_secs(5))
        );
        assert!(reports.iter().all(|r| r.socket == socket && r.to == at(to)));
    }
    let last = rtcp::read(&call.rtcp(Leg::Meta).last().unwrap().bytes)
        .unwrap()
        .next();
    assert!(
        matches!(last, Some(rtcp::Entry::Sent { from: Ssrc(0xa), sent }) if sent.packets > 1000)
    );
    let heard = rtcp::read(&call.rtcp(Leg::Pbx).last().unwrap().bytes)
        .unwrap()
        .next();
    assert!(
        matches!(heard, Some(rtcp::Entry::Heard { block, .. }) if block.source == Ssrc(1) && block.lost == 0)
    );
}

#[test]
fn a_report_about_us_measures_the_round_trip_and_says_what_got_lost_of_ours() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..50);
    let first = rtcp::read(&call.rtcp(Leg::Meta)[0].bytes).unwrap().next();
    let Some(rtcp::Entry::Sent { sent, .. }) = first else {
        panic!("{first:?}")
    };
    let block = rtcp::Block {
        source: Ssrc(0xa),
        fraction_lost: 0,
        lost: 3,
        highest: 0,
        jitter: 480,
        last_sender_report: sent.ntp.middle(),
        delay: call.now - call.begun - call.rtcp(Leg::Meta)[0].at,
    };
    call.wait(80);
    let mut report = Vec::new();
    rtcp::Report {
        ssrc: Ssrc(5),
        sent: None,
        blocks: &[block],
        cname: "meta",
        bye: false,
    }
    .write(&mut report);
    call.meta_sends(&report);
    let stats = call.session.stats().meta;
    let trip = stats.round_trip_ms.unwrap();
    assert!((79.9..80.1).contains(&trip), "{trip}");
    let said = Reported {
        lost: 3,
        jitter_ms: 10.0,
    };
    assert_eq!(stats.reported, Some(said));
}

#[test]
fn the_end_is_said_with_bye_to_whom_we_spoke() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..2);
    call.session.close(call.now, &mut call.out);
    call.collect();
    let last = call.sent.last().unwrap();
    assert_eq!(
        last.leg,
        Leg::Meta,
        "the PBX heard no RTP of ours, so there is no stream to end"
    );
    let said: Vec<_> = rtcp::read(&last.bytes).unwrap().collect();
    assert_eq!(said.last(), Some(&rtcp::Entry::Bye { from: Ssrc(0xa) }));
}

#[test]
fn a_side_on_hold_is_neither_sent_to_nor_listened_to_but_gets_reports() {
    let mut call = talking();
    call.agree(
        Leg::Pbx,
        SideSpec {
            direction: Direction::Inactive,
            ..pbx()
        },
    );
    call.talk(Leg::Meta, 2, 0..400).talk(Leg::Pbx, 1, 0..50);
    assert!(call.rtp(Leg::Pbx).is_empty());
    assert!(
        call.rtp(Leg::Meta)
            .iter()
            .all(|(_, payload)| *payload == SILENCE)
    );
    assert!(call.rtcp(Leg::Pbx).len() >= 2);
    call.agree(Leg::Pbx, pbx())
        .talk(Leg::Meta, 2, 400..410)
        .talk(Leg::Pbx, 1, 50..60);
    call.is_one_stream(Leg::Meta).is_one_stream(Leg::Pbx);
    assert_eq!(call.rtp(Leg::Pbx).len(), 10);
}

fn key(octet: u8) -> MasterKey {
    MasterKey(vec![octet; 30])
}

const PROFILE: SrtpProfile = SrtpProfile::AesCm128HmacSha1_80;

fn keyed(spec: SideSpec, send: u8, receive: u8) -> SideSpec {
    let keys = SrtpKeys {
        profile: PROFILE,
        send: key(send),
        receive: key(receive),
    };
    SideSpec {
        security: Security::Sdes(keys),
        ..spec
    }
}

#[test]
fn srtp_is_opened_and_sealed_on_both_sides_with_each_sides_keys() {
    let mut call = bare();
    call.agree(Leg::Meta, keyed(meta(), 1, 2))
        .agree(Leg::Pbx, keyed(pbx(), 3, 4));
    call.start(Leg::Pbx).start(Leg::Meta);
    let (mut meta, mut pbx) = (
        Sender::new(PROFILE, &key(2)).unwrap(),
        Sender::new(PROFILE, &key(4)).unwrap(),
    );
    let mut sealed = Vec::new();
    for seq in 0..300 {
        meta.protect_rtp(&frame(111, 1, seq, b"from meta"), &mut sealed)
            .unwrap();
        call.meta_sends(&sealed);
        pbx.protect_rtp(&frame(107, 2, seq, b"from pbx"), &mut sealed)
            .unwrap();
        call.pbx_sends(&sealed).wait(20);
    }
    for (leg, key_octet, text) in [
        (Leg::Meta, 1, &b"from pbx"[..]),
        (Leg::Pbx, 3, b"from meta"),
    ] {
        let mut receiver = Receiver::new(PROFILE, &key(key_octet)).unwrap();
        let (mut clear, mut heard) = (Vec::new(), 0);
        for sent in call.sent.iter().filter(|s| s.leg == leg) {
            if sent.is_rtcp() {
                receiver.unprotect_rtcp(&sent.bytes, &mut clear).unwrap();
                assert!(rtcp::read(&clear).is_ok());
            } else {
                receiver.unprotect_rtp(&sent.bytes, &mut clear).unwrap();
                heard += usize::from(Packet::parse(&clear).unwrap().payload() == text);
            }
        }
        assert_eq!(heard, 300, "{leg}");
    }
}

#[test]
fn what_is_forged_or_replayed_is_refused_and_locks_nobody_on() {
    let mut call = agreed();
    let first = SideSpec {
        source: Source::First,
        ..keyed(meta(), 1, 2)
    };
    call.agree(Leg::Meta, first.clone())
        .start(Leg::Pbx)
        .start(Leg::Meta);
    let (mut sender, mut sealed) = (Sender::new(PROFILE, &key(2)).unwrap(), Vec::new());
    sender
        .protect_rtp(&frame(111, 1, 1, b"voice"), &mut sealed)
        .unwrap();
    let mut forged = sealed.clone();
    forged[14] ^= 1;
    call.comes(Leg::Meta, Socket::Rtp, "203.0.113.66:9", &forged);
    call.meta_sends(&sealed).meta_sends(&sealed);
    // A repeated agreement must not make old packets new.
    call.agree(Leg::Meta, first).meta_sends(&sealed);
    let stats = call.session.stats().meta;
    assert_eq!((stats.refused, stats.received, stats.strangers), (3, 1, 0));
    assert_eq!(call.rtp(Leg::Pbx).len(), 1);
}

#[test]
fn a_pbx_that_changes_its_own_key_is_heard_with_it_and_our_key_stream_goes_on() {
    let mut call = bare();
    call.agree(Leg::Meta, meta())
        .agree(Leg::Pbx, keyed(pbx(), 3, 4));
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut receiver = Receiver::new(PROFILE, &key(3)).unwrap();
    let (mut clear, mut sealed, mut heard) = (Vec::new(), Vec::new(), 0);
    // Long enough for our sequence numbers to wrap: a context that began anew would repeat its key stream.
    for seq in 0..u16::MAX {
        call.meta_sends(&frame(111, 1, seq, b"from meta"));
        if seq == u16::MAX - 10 {
            call.agree(Leg::Pbx, keyed(pbx(), 3, 9));
        }
        for sent in call.sent.drain(..).filter(|s| s.leg == Leg::Pbx) {
            if !sent.is_rtcp() {
                receiver.unprotect_rtp(&sent.bytes, &mut clear).unwrap();
                heard += 1;
            }
        }
    }
    assert_eq!(heard, u16::MAX);
    let mut theirs = Sender::new(PROFILE, &key(9)).unwrap();
    theirs
        .protect_rtp(&frame(107, 2, 1, b"from pbx"), &mut sealed)
        .unwrap();
    call.pbx_sends(&sealed);
    assert!(call.sent.iter().any(|sent| sent.leg == Leg::Meta));
}

#[test]
fn a_key_of_the_wrong_length_is_an_error_and_nothing_is_sent() {
    let mut call = agreed();
    let keys = SrtpKeys {
        profile: PROFILE,
        send: MasterKey(vec![1; 5]),
        receive: key(2),
    };
    let command = Command::Agree {
        leg: Leg::Meta,
        side: SideSpec {
            security: Security::Sdes(keys),
            ..meta()
        },
    };
    assert!(
        call.session
            .command(command, call.now, &mut call.out)
            .is_err()
    );
    call.start(Leg::Meta).wait(10_000);
    assert!(call.sent.is_empty(), "least of all in clear");
}

proptest::proptest! {
    #[test]
    fn no_datagram_makes_a_session_panic(
        datagrams: Vec<(Vec<u8>, bool, bool, u16)>, header in proptest::option::of((0u8..128, 0u16..9)),
    ) {
        let mut call = talking();
        for (mut bytes, from_meta, rtcp, wait) in datagrams {
            if let (Some((payload, seq)), Some(start)) = (header, bytes.first_chunk_mut::<4>()) {
                *start = [0x80, payload, seq as u8, 0];
            }
            let socket = if rtcp { Socket::Rtcp } else { Socket::Rtp };
            let (leg, from) = if from_meta { (Leg::Meta, META) } else { (Leg::Pbx, PBX) };
            call.comes(leg, socket, from, &bytes).wait(wait.into());
        }
    }
}
