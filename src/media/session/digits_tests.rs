//! Digits that signalling brings to a session, and those that it is told of.

use std::time::Duration;

use super::fixtures::*;
use crate::leg::Leg;
use crate::media::digits::Key;
use crate::media::outbox::News;
use crate::media::sound::tones::Detector;
use crate::media::{Codec, Command, Direction, Press, SideSpec};

fn press(written: char, ms: u64) -> Press {
    Press {
        key: Key::from_char(written).unwrap(),
        duration: Duration::from_millis(ms),
    }
}

/// A PBX that is told of digits by INFO.
fn pbx_by_info() -> SideSpec {
    side(PBX, Some(PBX_RTCP), &[(107, Codec::Opus)])
}

impl Call {
    fn press(&mut self, written: char, ms: u64) -> &mut Self {
        self.command(Command::Press {
            leg: Leg::Meta,
            press: press(written, ms),
        })
    }

    /// The events that Meta heard: key, end bit, duration in units of 8 kHz.
    fn events(&self) -> Vec<(u8, bool, u16)> {
        let events = self.rtp(Leg::Meta).into_iter();
        let events = events.filter(|(header, _)| header.payload_type == 126);
        let told = events.map(|(_, p)| (p[0], p[1] & 0x80 != 0, u16::from_be_bytes([p[2], p[3]])));
        told.collect()
    }

    /// What signalling was told of presses.
    fn pressed(&self) -> Vec<(Duration, Press)> {
        let told = self.told.iter().filter_map(|(at, leg, news)| match news {
            News::Pressed(press) if *leg == Leg::Meta => Some((*at, *press)),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn a_press_that_signalling_brings_is_an_event_in_metas_stream_in_place_of_sound() {
    let mut call = talking();
    call.talk(Leg::Pbx, 1, 0..10).press('5', 60);
    call.talk(Leg::Pbx, 1, 10..30);
    assert_eq!(
        call.events(),
        [
            (5, false, 160),
            (5, false, 320),
            (5, true, 480),
            (5, true, 480),
            (5, true, 480)
        ]
    );
    let heard = call.rtp(Leg::Meta);
    let first = heard
        .iter()
        .position(|(h, _)| h.payload_type == 126)
        .unwrap();
    let event = &heard[first..first + 5];
    assert!(event[0].0.marker && event[1..].iter().all(|(h, _)| !h.marker));
    assert!(
        event
            .iter()
            .all(|(h, _)| h.timestamp == event[0].0.timestamp)
    );
    for pair in heard.windows(2) {
        assert_eq!(pair[1].0.seq, pair[0].0.seq.next(), "nothing looks lost");
        assert!(pair[1].0.timestamp.since(pair[0].0.timestamp) >= 0);
    }
    let numbers: Vec<_> = heard.iter().filter_map(|(_, p)| number_of(p)).collect();
    assert_eq!(numbers[..11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
    let stats = call.session.stats().meta;
    assert_eq!((stats.digits, stats.digits_lost), (1, 0));
}

#[test]
fn presses_while_nothing_else_is_said_are_heard_in_order() {
    let mut call = talking();
    call.wait(1_000)
        .press('1', 40)
        .press('1', 40)
        .press('#', 40);
    call.wait(1_000);
    let ends: Vec<u8> = call.events().iter().filter(|e| e.1).map(|e| e.0).collect();
    assert_eq!(ends, [1, 1, 1, 1, 1, 1, 11, 11, 11]);
}

#[test]
fn presses_wait_until_meta_may_be_sent_to() {
    let mut call = agreed();
    call.start(Leg::Pbx).press('7', 40).wait(500);
    assert!(call.rtp(Leg::Meta).is_empty());
    call.start(Leg::Meta).wait(500);
    assert_eq!(call.events().len(), 4);
    let mut hold = meta();
    hold.direction = Direction::Inactive;
    call.agree(Leg::Meta, hold).press('8', 40).wait(5_000);
    assert_eq!(call.events().len(), 4);
    call.agree(Leg::Meta, meta()).wait(500);
    assert_eq!(call.events().len(), 8);
}

#[test]
fn a_press_that_cannot_be_told_is_counted() {
    let mut call = agreed();
    call.agree(Leg::Meta, side(META, None, &[(111, Codec::Opus)]));
    call.start(Leg::Pbx)
        .start(Leg::Meta)
        .press('1', 40)
        .wait(500);
    assert!(call.events().is_empty());
    for _ in 0..130 {
        call.command(Command::Press {
            leg: Leg::Pbx,
            press: press('2', 40),
        });
    }
    let stats = call.session.stats();
    assert_eq!((stats.meta.digits, stats.meta.digits_lost), (0, 1));
    // One is under way.
    assert_eq!((stats.pbx.digits, stats.pbx.digits_lost), (129, 1));
}

#[test]
fn what_the_user_dials_is_news_where_the_pbx_takes_no_events() {
    let mut call = talking();
    call.agree(Leg::Pbx, pbx_by_info());
    for (seq, payload) in [
        (1, [9, 10, 0, 160]),
        (2, [9, 10, 1, 64]),
        (3, [9, 138, 1, 224]),
    ] {
        call.meta_sends(&frame_at(126, 2, seq, 960, &payload))
            .wait(20);
    }
    call.meta_sends(&frame_at(126, 2, 4, 960, &[9, 138, 1, 224]));
    assert_eq!(
        call.pressed(),
        [(Duration::from_millis(40), press('9', 60))]
    );
    // All ends of the next are lost.
    call.meta_sends(&frame_at(126, 2, 5, 9_600, &[11, 10, 0, 160]));
    call.wait(200);
    let pressed: Vec<_> = call.pressed().into_iter().map(|(_, press)| press).collect();
    assert_eq!(pressed, [press('9', 60), press('#', 20)]);
    assert!(call.rtp(Leg::Pbx).is_empty(), "nothing of it in the stream");
}

#[test]
fn events_go_through_where_both_sides_have_them_and_are_no_news() {
    let mut call = talking();
    call.meta_sends(&frame_at(126, 2, 1, 960, &[9, 138, 1, 224]))
        .wait(500);
    assert_eq!(call.rtp(Leg::Pbx)[0].1, [9, 138, 1, 224]);
    assert!(call.pressed().is_empty());
}

/// A PBX that speaks G.711, and has its events on the clock of that.
fn pbx_in_g711() -> SideSpec {
    side(PBX, Some(PBX_RTCP), &[(8, Codec::Pcma), (101, EVENT_8K)])
}

#[test]
fn digits_to_a_side_of_other_sound_are_written_anew_on_its_clock_while_they_last() {
    let mut call = talking();
    call.agree(Leg::Pbx, pbx_in_g711()).wait(1_000);
    // A press of 100 ms of which the first packets and all ends but one are lost, and another right after it.
    for (seq, payload) in [
        (3, [4, 10, 1, 224]),
        (4, [4, 10, 2, 128]),
        (5, [4, 138, 3, 32]),
    ] {
        call.pbx_sends(&frame_at(101, 9, seq, 800, &payload))
            .wait(20);
    }
    let first = call.events()[0];
    assert_eq!(first, (4, false, 160), "at once, from its beginning");
    call.wait(100);
    call.pbx_sends(&frame_at(101, 9, 9, 3_000, &[4, 138, 1, 64]))
        .wait(500);
    let ends: Vec<_> = call.events().into_iter().filter(|e| e.1).collect();
    assert_eq!(
        ends,
        [
            (4, true, 800),
            (4, true, 800),
            (4, true, 800),
            (4, true, 320),
            (4, true, 320),
            (4, true, 320)
        ]
    );
    let heard = call.rtp(Leg::Meta);
    let begins: Vec<_> = heard
        .iter()
        .filter(|(h, _)| h.payload_type == 126 && h.marker)
        .collect();
    assert_eq!(begins.len(), 2);
    // 160 ms lie between them.
    assert_eq!(begins[1].0.timestamp.since(begins[0].0.timestamp), 160 * 48);
    assert_eq!(call.session.stats().meta.digits, 2);
}

/// Somebody else at the PBX's side.
fn target(mut like: SideSpec) -> SideSpec {
    like.remote_rtp = at("192.0.2.8:18000");
    like.remote_rtcp = None;
    like
}

impl Call {
    fn press_to_pbx(&mut self, written: char, ms: u64) -> &mut Self {
        self.command(Command::Press {
            leg: Leg::Pbx,
            press: press(written, ms),
        })
    }

    /// The PBX's party leaves, and this one comes.
    fn gives_way(&mut self, to: SideSpec) -> &mut Self {
        self.command(Command::Leave { leg: Leg::Pbx });
        self.agree(Leg::Pbx, to).start(Leg::Pbx)
    }

    /// The keys that a party was told of by events.
    fn keys(&self, party: &SideSpec) -> Vec<u8> {
        let sent = self.sent.iter().filter(|s| s.to == party.remote_rtp);
        let sent = sent.filter(|s| s.bytes[1] & 0x7f == 101);
        let mut keys: Vec<u8> = sent.map(|s| s.bytes[12]).collect();
        keys.dedup();
        keys
    }
}

#[test]
fn digits_that_wait_for_one_party_are_not_told_to_the_next() {
    let mut call = talking();
    let mut hold = pbx();
    hold.direction = Direction::Inactive;
    call.agree(Leg::Pbx, hold);
    call.press_to_pbx('1', 60).press_to_pbx('2', 60).wait(1_000);
    let bob = target(pbx());
    call.gives_way(bob.clone()).wait(1_000);
    assert!(call.keys(&bob).is_empty() && call.keys(&pbx()).is_empty());
    let stats = call.session.stats().pbx;
    assert_eq!((stats.digits, stats.digits_lost), (0, 2));
    call.press_to_pbx('3', 60).wait(500);
    assert_eq!(call.keys(&bob), [3]);
}

#[test]
fn a_digit_of_which_half_is_told_goes_no_further_than_who_has_heard_that() {
    let mut call = talking();
    call.press_to_pbx('5', 500).press_to_pbx('6', 60).wait(60);
    assert_eq!(call.keys(&pbx()), [5]);
    let bob = target(pbx());
    call.gives_way(bob.clone()).wait(2_000);
    assert!(call.keys(&bob).is_empty());
    let stats = call.session.stats().pbx;
    assert_eq!((stats.digits, stats.digits_lost), (1, 1));
}

#[test]
fn tones_that_wait_for_one_party_are_not_heard_by_the_next() {
    let mut call = talking();
    let tones = by_tones(8, Codec::Pcma);
    call.agree(Leg::Pbx, tones.clone());
    call.talk(Leg::Meta, 2, 0..5);
    for n in 0..4u16 {
        let payload = [n as u8 + 1, 138, 3, 32];
        call.meta_sends(&frame_at(126, 2, 5 + n, 9_600 * u32::from(n + 1), &payload));
    }
    let bob = target(tones);
    call.gives_way(bob.clone());
    call.talk(Leg::Meta, 2, 9..60);
    let to_bob = call.sent.iter().filter(|s| s.to == bob.remote_rtp);
    let samples = decoded(Codec::Pcma, to_bob.map(|packet| &packet.bytes[12..]));
    assert!(samples.len() > 6_000, "{}", samples.len());
    let mut found = 0;
    Detector::new(8_000).hear(&samples, |_| found += 1);
    assert_eq!(found, 0);
}

#[test]
fn who_has_left_neither_hears_nor_is_heard() {
    let mut call = talking();
    call.talk(Leg::Meta, 2, 0..10).talk(Leg::Pbx, 1, 0..10);
    call.command(Command::Leave { leg: Leg::Pbx });
    call.sent.clear();
    call.talk(Leg::Meta, 2, 10..20).talk(Leg::Pbx, 1, 10..20);
    assert!(call.rtp(Leg::Pbx).is_empty() && call.rtcp(Leg::Pbx).is_empty());
    let to_meta = call.rtp(Leg::Meta);
    assert!(to_meta.iter().all(|(_, p)| number_of(p).is_none()));
    assert!(!to_meta.is_empty(), "the line is not dead");
    call.agree(Leg::Pbx, pbx()).start(Leg::Pbx);
    call.talk(Leg::Meta, 2, 20..30).talk(Leg::Pbx, 3, 0..10);
    let numbers = |leg| -> Vec<u16> {
        let heard = call.rtp(leg);
        heard.iter().filter_map(|(_, p)| number_of(p)).collect()
    };
    assert_eq!(numbers(Leg::Pbx), (20..30).collect::<Vec<u16>>());
    assert_eq!(numbers(Leg::Meta), (0..10).collect::<Vec<u16>>());
    call.is_one_stream(Leg::Meta);
}
