use super::*;

const A: Ssrc = Ssrc(0xa);
const B: Ssrc = Ssrc(0xb);
const CLOCKS: Clocks = Clocks {
    timestamps: 8_000,
    events: 8_000,
};

/// What a peer says, and what is read of it.
struct Peer {
    reader: Reader,
    now: Instant,
    seq: u16,
    ssrc: Ssrc,
    clocks: Clocks,
}

fn peer() -> Peer {
    Peer {
        reader: Reader::new(),
        now: Instant::now(),
        seq: 65_530,
        ssrc: A,
        clocks: CLOCKS,
    }
}

fn told(stroke: Stroke) -> String {
    match stroke {
        Stroke::Down(key) => format!("{key}↓"),
        Stroke::Up(press) => format!("{}↑{}", press.key, press.duration.as_millis()),
    }
}

impl Peer {
    fn packet(&mut self, at: u32, marker: bool, payload: &[u8]) -> String {
        self.seq = self.seq.wrapping_add(1);
        self.numbered(self.seq, at, marker, payload)
    }

    fn numbered(&mut self, seq: u16, at: u32, marker: bool, payload: &[u8]) -> String {
        let header = Header {
            marker,
            payload_type: 101,
            seq: Seq(seq),
            timestamp: Timestamp(at),
            ssrc: self.ssrc,
        };
        let strokes = self.reader.read(&header, payload, self.clocks, self.now);
        strokes.map(told).collect::<Vec<_>>().join(" ")
    }

    /// The key `code` that began `at`, held for `ms` so far.
    fn held(&mut self, code: u8, at: u32, ms: u16) -> String {
        self.packet(at, ms == 20, &event(code, false, ms * 8))
    }

    fn ended(&mut self, code: u8, at: u32, ms: u16) -> String {
        self.packet(at, false, &event(code, true, ms * 8))
    }

    fn wait(&mut self, ms: u64) -> String {
        self.now += Duration::from_millis(ms);
        let strokes: Vec<_> = std::iter::from_fn(|| self.reader.tick(self.now)).collect();
        strokes.into_iter().map(told).collect()
    }
}

fn event(code: u8, end: bool, duration: u16) -> [u8; 4] {
    Report {
        code,
        end,
        duration,
    }
    .payload()
}

#[test]
fn a_press_is_told_when_it_is_first_seen_and_when_it_ends_and_never_again() {
    let mut p = peer();
    assert_eq!(p.held(5, 800, 20), "5↓");
    assert_eq!(p.held(5, 800, 40), "");
    assert_eq!(p.ended(5, 800, 60), "5↑60");
    assert_eq!(p.ended(5, 800, 60), "");
    assert_eq!(p.ended(5, 800, 60), "");
    assert_eq!(p.wait(1_000), "");
    assert_eq!(p.reader.deadline(), None);
}

#[test]
fn one_end_that_gets_through_is_a_whole_press() {
    let mut p = peer();
    assert_eq!(p.ended(11, 800, 40), "#↓ #↑40");
    assert_eq!(p.ended(11, 800, 40), "");
}

#[test]
fn a_press_whose_ends_are_all_lost_ends_when_nothing_more_is_heard_of_it() {
    let mut p = peer();
    p.held(1, 800, 20);
    assert_eq!(p.wait(100), "", "a sender may say no more than each 50 ms");
    p.held(1, 800, 120);
    assert_eq!(p.wait(149), "");
    assert_eq!(p.wait(1), "1↑120");
    assert_eq!(p.ended(1, 800, 240), "", "it comes back from the dead");
}

#[test]
fn the_next_press_ends_the_one_before() {
    let mut p = peer();
    p.held(1, 800, 20);
    assert_eq!(p.held(2, 1_600, 20), "1↑20 2↓");
    assert_eq!(p.ended(2, 1_600, 40), "2↑40");
}

#[test]
fn two_equal_digits_in_quick_succession_are_two() {
    let mut p = peer();
    assert_eq!(p.held(7, 800, 20), "7↓");
    assert_eq!(
        p.packet(1_440, false, &event(7, false, 160)),
        "7↑20 7↓",
        "the ends of the first are lost, and the marker of the second"
    );
    assert_eq!(p.ended(7, 1_440, 40), "7↑40");
}

#[test]
fn what_comes_late_changes_nothing() {
    let mut p = peer();
    p.held(1, 800, 20);
    let late = p.seq.wrapping_add(1);
    p.seq = late;
    p.held(2, 1_600, 20);
    assert_eq!(p.numbered(late, 800, false, &event(1, true, 320)), "");
    let unseen = p.seq.wrapping_sub(4);
    assert_eq!(
        p.numbered(unseen, 400, false, &event(9, true, 320)),
        "",
        "a digit out of its order"
    );
    assert_eq!(p.ended(2, 1_600, 40), "2↑40");
}

#[test]
fn a_shorter_duration_that_comes_later_shortens_no_press() {
    let mut p = peer();
    p.held(1, 800, 20);
    p.held(1, 800, 80);
    p.held(1, 800, 60);
    assert_eq!(p.held(2, 2_400, 20), "1↑80 2↓");
}

#[test]
fn a_source_that_starts_anew_is_heard_though_its_clock_goes_back() {
    let mut p = peer();
    p.ended(1, 1_000_000, 40);
    p.ssrc = B;
    p.seq = 12;
    assert_eq!(p.ended(2, 77, 40), "2↓ 2↑40");
    assert_eq!(p.ended(3, 5, 40), "3↓ 3↑40", "the clock alone goes back");
}

#[test]
fn a_long_press_in_segments_is_one() {
    let mut p = peer();
    assert_eq!(p.held(5, 0, 20), "5↓");
    p.packet(0, false, &event(5, false, 0xff00));
    p.wait(20);
    assert_eq!(p.packet(0, false, &event(5, false, 0xffff)), "");
    assert_eq!(p.packet(0xffff, false, &event(5, false, 160)), "");
    p.wait(20);
    assert_eq!(p.packet(0xffff, false, &event(5, false, 0xffff)), "");
    assert_eq!(p.packet(0x1_fffe, false, &event(5, true, 800)), "5↑16483");
    assert_eq!(p.packet(0xffff, false, &event(5, false, 0xffff)), "");
}

#[test]
fn segments_are_found_where_timestamps_are_those_of_opus() {
    let mut p = peer();
    p.clocks = Clocks {
        timestamps: 48_000,
        events: 8_000,
    };
    p.held(5, 0, 20);
    p.packet(0, false, &event(5, false, 0xfff0));
    assert_eq!(p.packet(6 * 0xffff, false, &event(5, false, 160)), "");
    assert_eq!(p.packet(6 * 0xffff, false, &event(5, true, 800)), "5↑8291");
}

#[test]
fn a_press_right_after_a_long_one_is_another() {
    let mut p = peer();
    p.held(5, 0, 20);
    p.packet(0, false, &event(5, false, 0xfff0));
    assert_eq!(
        p.packet(0xffff, true, &event(5, false, 160)),
        "5↑8190 5↓",
        "it has the marker"
    );
}

#[test]
fn what_is_no_digit_is_counted_and_left_out() {
    let mut p = peer();
    assert_eq!(p.packet(0, true, &event(16, false, 160)), "");
    assert_eq!(p.packet(0, true, &[]), "");
    assert_eq!(p.packet(0, true, &[1, 10, 0]), "");
    assert_eq!(p.held(1, 800, 20), "1↓");
    assert_eq!(p.held(2, 800, 40), "", "one beginning is one key");
    assert_eq!(p.reader.ignored(), 4);
}

#[test]
fn the_first_of_several_events_in_a_packet_counts() {
    let mut p = peer();
    let mut both = event(1, true, 320).to_vec();
    both.extend(event(2, true, 320));
    assert_eq!(p.packet(0, true, &both), "1↓ 1↑40");
}

#[test]
fn a_key_is_let_go_when_its_owner_is_put_on_hold() {
    let mut p = peer();
    p.held(1, 800, 20);
    assert_eq!(p.reader.release().map(told), Some("1↑20".to_owned()));
    assert_eq!(p.held(1, 800, 40), "");
}

proptest::proptest! {
    #[test]
    fn whatever_comes_each_key_that_goes_down_comes_up_once(
        packets in proptest::collection::vec(
            (0u32..2, proptest::num::u16::ANY, 0u32..6, proptest::bool::ANY,
             proptest::collection::vec(proptest::num::u8::ANY, 0..9), 0u64..200, 0u32..3),
            0..200,
        ),
    ) {
        let mut p = peer();
        let mut down = None;
        for (ssrc, seq, at, marker, payload, wait, rate) in packets {
            p.ssrc = Ssrc(ssrc);
            p.clocks.events = [0, 8_000, u32::MAX][rate as usize];
            p.now += Duration::from_millis(wait);
            let header = Header { marker, payload_type: 101, seq: Seq(seq), timestamp: Timestamp(at * 0x7fff), ssrc: p.ssrc };
            let mut strokes: Vec<_> = p.reader.tick(p.now).into_iter().collect();
            strokes.extend(p.reader.read(&header, &payload, p.clocks, p.now));
            for stroke in strokes {
                match stroke {
                    Stroke::Down(key) => proptest::prop_assert!(down.replace(key).is_none()),
                    Stroke::Up(press) => proptest::prop_assert_eq!(down.take(), Some(press.key)),
                }
            }
        }
    }
}
