//! What a session measures of each direction while it lasts, and tells of it; what it says in extended reports.

use std::time::Duration;

use super::fixtures::*;
use crate::leg::Leg;
use crate::media::outbox::Socket;
use crate::media::quality::Impairment;
use crate::media::rtcp::{self, Ntp};
use crate::media::rtp::Ssrc;
use crate::media::xr::{self, Wanted};
use crate::media::{Codec, Settings, SideSpec, Turn, Way};

/// What turned, how and when, in seconds.
fn turns(call: &Call) -> Vec<(u64, Leg, Way, Turn)> {
    let turned = call.measured.iter().filter_map(|(at, leg, measured)| {
        let turn = measured.turn?;
        Some((at.as_secs(), *leg, measured.way, turn))
    });
    turned.collect()
}

/// Both talk for so many frames; of Meta's every n-th is lost on its way here, if `n` is not 0.
fn talk(call: &mut Call, frames: std::ops::Range<u16>, n: u16) {
    for seq in frames {
        if n == 0 || seq % n != 0 {
            call.meta_sends(&frame(111, 1, seq, &voice(seq)));
        }
        call.pbx_sends(&frame(107, 2, seq, &voice(seq))).wait(20);
    }
}

#[test]
fn a_leg_that_loses_packets_for_two_intervals_turns_bad_and_good_again_when_it_has_stopped() {
    let mut call = talking();
    talk(&mut call, 0..500, 6);
    talk(&mut call, 500..1_100, 0);
    assert_eq!(
        turns(&call),
        [
            (10, Leg::Meta, Way::In, Turn::Bad(Impairment::Loss)),
            (20, Leg::Meta, Way::In, Turn::Good),
        ]
    );
    let stats = call.session.stats();
    let (meta, pbx) = (stats.meta.quality_in, stats.pbx.quality_in);
    assert!((meta.worst.unwrap().loss - 1.0 / 6.0).abs() < 0.01);
    assert_eq!(meta.last.unwrap().loss, 0.0);
    assert!(!meta.is_bad && pbx.worst.unwrap().mos > 4.3, "{pbx:?}");
    assert_eq!(stats.pbx.quality_out.last, None, "it reports nothing");
}

#[test]
fn where_nothing_is_bad_nothing_turns_and_the_rest_of_a_call_is_measured_at_its_end() {
    let mut call = with(Settings {
        bad_mos: 1.0,
        ..Settings::default()
    });
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, pbx());
    call.start(Leg::Pbx).start(Leg::Meta);
    talk(&mut call, 0..120, 2);
    assert!(call.measured.is_empty(), "less than an interval");
    let now = call.now;
    call.session.close(now, &mut call.out);
    call.collect();
    assert!(turns(&call).is_empty());
    let worst = call.session.stats().meta.quality_in.worst.unwrap();
    assert!((worst.loss - 0.5).abs() < 0.02, "{worst:?}");
}

#[test]
fn silence_and_hold_are_no_bad_quality() {
    let mut call = talking();
    talk(&mut call, 0..60, 0);
    call.wait(25_000);
    assert_eq!(call.measured.len(), 2, "{:?}", call.measured);
    assert!(turns(&call).is_empty());
}

#[test]
fn a_peer_that_reports_loss_of_what_we_send_turns_that_direction_bad() {
    let mut call = talking();
    for nth in 1..=3_u16 {
        talk(&mut call, (nth - 1) * 240..nth * 240, 0);
        let (all, lost) = (240 * u32::from(nth), 40 * i32::from(nth));
        report(&mut call, Leg::Pbx, 7 + all, lost, 480);
    }
    talk(&mut call, 720..760, 0);
    let bad = Turn::Bad(Impairment::Loss);
    assert_eq!(turns(&call), [(10, Leg::Pbx, Way::Out, bad)]);
    let stats = call.session.stats();
    let last = stats.pbx.quality_out.last.unwrap();
    assert!((last.loss - 1.0 / 6.0).abs() < 0.01, "{last:?}");
    assert_eq!(last.jitter_ms, 10.0);
    assert!(!stats.pbx.quality_in.is_bad && !stats.meta.quality_in.is_bad);
}

#[test]
fn what_meta_lost_is_not_held_against_the_leg_of_the_pbx() {
    let mut call = talking();
    for nth in 1..=3_u16 {
        talk(&mut call, (nth - 1) * 240..nth * 240, 4);
        let (all, lost) = (240 * u32::from(nth), 60 * i32::from(nth));
        report(&mut call, Leg::Pbx, 7 + all, lost, 0);
    }
    talk(&mut call, 720..760, 0);
    let bad = Turn::Bad(Impairment::Loss);
    assert_eq!(turns(&call), [(10, Leg::Meta, Way::In, bad)]);
    let stats = call.session.stats().pbx;
    let worst = stats.quality_out.worst.unwrap();
    assert!(worst.loss < 0.01, "{worst:?}");
    let lost = stats.reported.unwrap().lost;
    assert!(lost <= 1, "{lost}: only the gap before the first packet");
}

fn g711(rtp: &str, rtcp: Option<&str>) -> SideSpec {
    side(rtp, rtcp, &[(8, Codec::Pcma)])
}

#[test]
fn jitter_of_g_711_is_told_by_its_own_clock_in_both_directions() {
    let mut call = bare();
    call.agree(Leg::Meta, g711(META, None));
    call.agree(Leg::Pbx, g711(PBX, Some(PBX_RTCP)));
    call.start(Leg::Pbx).start(Leg::Meta);
    for seq in 0..400_u16 {
        let late = u64::from(seq % 2) * 8;
        let sound = frame_at(8, 1, seq, u32::from(seq) * 160, b"sound");
        call.wait(late).meta_sends(&sound).wait(20 - late);
    }
    report(&mut call, Leg::Pbx, 406, 0, 80);
    let stats = call.session.stats();
    let jitter_ms = stats.meta.jitter_ms;
    assert!((7.0..=8.0).contains(&jitter_ms), "{jitter_ms} ms");
    assert_eq!(stats.pbx.reported.unwrap().jitter_ms, 10.0);
    assert_eq!(stats.meta.codec_in, Some(Codec::Pcma));
    assert_eq!(stats.pbx.codec_out, Some(Codec::Pcma));
}

/// The blocks of extended reports that a leg was sent.
fn extended(call: &Call, leg: Leg) -> Vec<xr::Block> {
    let reports = call.sent.iter().filter(|s| s.leg == leg && s.is_rtcp());
    let entries = reports.flat_map(|s| rtcp::read(&s.bytes).unwrap());
    let block = |entry| match entry {
        rtcp::Entry::Extended { block, .. } => Some(block),
        _ => None,
    };
    entries.filter_map(block).collect()
}

fn asking(side: SideSpec) -> SideSpec {
    let extended_reports = Wanted::read("rcvr-rtt=all stat-summary=loss,dup,jitt voip-metrics");
    SideSpec {
        extended_reports,
        ..side
    }
}

#[test]
fn extended_reports_go_to_a_pbx_that_asks_for_them_and_never_to_meta() {
    let mut call = bare();
    call.agree(Leg::Meta, asking(meta()))
        .agree(Leg::Pbx, asking(pbx()));
    call.start(Leg::Pbx).start(Leg::Meta);
    talk(&mut call, 0..300, 0);
    let blocks = extended(&call, Leg::Pbx);
    let has = |is: fn(&xr::Block) -> bool| blocks.iter().any(is);
    assert!(has(|block| matches!(block, xr::Block::ReferenceTime(_))));
    assert!(has(
        |block| matches!(block, xr::Block::Summary(s) if s.source == Ssrc(2) && s.lost == Some(0))
    ));
    assert!(has(
        |block| matches!(block, xr::Block::Voip(v) if v.conversation == 44 && v.lost == 0)
    ));
    assert!(!has(|block| matches!(block, xr::Block::Delay(_))));
    assert_eq!(extended(&call, Leg::Meta), []);

    let mut call = talking();
    talk(&mut call, 0..300, 0);
    assert_eq!(extended(&call, Leg::Pbx), [], "it does not ask");
}

#[test]
fn a_round_trip_is_known_to_a_pbx_that_only_listens_and_to_us() {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, asking(pbx()));
    call.start(Leg::Pbx).start(Leg::Meta).wait(600);
    let sent = extended(&call, Leg::Pbx);
    let Some(xr::Block::ReferenceTime(ours)) = sent.first() else {
        panic!("{sent:?}");
    };
    let answer = xr::Delay {
        receiver: Ssrc(0xb),
        last: ours.middle(),
        since: Duration::from_millis(20),
    };
    let theirs = xr::Block::ReferenceTime(Ntp(0x1111_2222_3333_4444));
    let mut out = Vec::new();
    xr::write(Ssrc(0x77), &[theirs, xr::Block::Delay(answer)], &mut out);
    call.comes(Leg::Pbx, Socket::Rtcp, PBX_RTCP, &out);
    let trip = call.session.stats().pbx.round_trip_ms.unwrap();
    assert!((79.0..=81.0).contains(&trip), "{trip} ms since 500 ms");
    call.wait(5_000);
    let answered = extended(&call, Leg::Pbx).into_iter();
    let mut answers = answered.filter_map(|block| match block {
        xr::Block::Delay(delay) => Some((delay.receiver, delay.last)),
        _ => None,
    });
    assert_eq!(answers.next_back(), Some((Ssrc(0x77), 0x2222_3333)));
}

/// A user in Opus, whose every fifth packet comes so many ms late, and a PBX in G.711, for so many seconds.
fn transcoded(seconds: u16, late: u64) -> Call {
    let mut call = bare();
    call.agree(Leg::Meta, meta())
        .agree(Leg::Pbx, asking(g711(PBX, Some(PBX_RTCP))));
    call.start(Leg::Pbx).start(Leg::Meta);
    let mut waiting = Vec::new();
    for seq in 0..seconds * 50 {
        let sound = frame_at(8, 2, seq, u32::from(seq) * 160, &[0x55; 160]);
        waiting.push((u64::from(seq) * 20 + u64::from(seq % 5 == 4) * late, sound));
    }
    waiting.sort_by_key(|(comes, _)| *comes);
    for (comes, sound) in waiting {
        let ms = (call.now - call.begun).as_millis() as u64;
        call.wait(comes.saturating_sub(ms)).pbx_sends(&sound);
    }
    call.wait(10);
    call
}

#[test]
fn what_the_jitter_buffer_does_is_in_what_is_measured_and_reported() {
    let call = transcoded(21, 60);
    let stats = call.session.stats().pbx;
    let last = stats.quality_in.last.unwrap();
    let held = last.buffered_ms.unwrap();
    assert!((55.0..100.0).contains(&held), "{last:?}");
    assert!(last.loss < 0.01, "they are waited for: {last:?}");
    let mean = stats.buffered_mean_ms.unwrap();
    assert!((55.0..100.0).contains(&mean), "{mean}");
    let blocks = extended(&call, Leg::Pbx);
    let mut voip = blocks.iter().filter_map(|block| match block {
        xr::Block::Voip(voip) => Some(voip),
        _ => None,
    });
    let voip = voip.next_back().unwrap();
    let buffer = voip.buffer.unwrap();
    assert!((55..100).contains(&buffer.now), "{buffer:?}");
    assert_eq!((buffer.adapts, buffer.most), (true, 200));
    assert!(voip.end_system > buffer.now, "{voip:?}");
}

#[test]
fn what_comes_too_late_for_the_jitter_buffer_is_as_bad_as_lost() {
    let call = transcoded(16, 400);
    let stats = call.session.stats().pbx;
    assert_eq!(stats.lost, 0, "all of it comes");
    let bad = Turn::Bad(Impairment::Jitter);
    assert_eq!(turns(&call), [(10, Leg::Pbx, Way::In, bad)]);
    let last = stats.quality_in.last.unwrap();
    assert!((0.15..0.25).contains(&last.loss), "{last:?}");
    assert!(
        stats.discarded > 100 && stats.mended_ms > 2_000,
        "{stats:?}"
    );
    assert!(stats.mos_in().unwrap() < 3.0);
    let blocks = extended(&call, Leg::Pbx).into_iter();
    let mut discarded = blocks.filter_map(|block| match block {
        xr::Block::Voip(voip) => Some(voip.discarded),
        _ => None,
    });
    let discarded = discarded.next_back().unwrap();
    assert!((35..64).contains(&discarded), "{discarded} of 256");
}
