use super::*;

const CLOCKS: Clocks = Clocks {
    timestamps: 48_000,
    events: 8_000,
};

/// A writer and what it has sent: at how many ms, marker, ms of the stream at its beginning, key, end, units.
struct Line {
    writer: Writer,
    begun: Instant,
    now: Instant,
    sent: Vec<Sent>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sent {
    at: u64,
    marker: bool,
    began: u32,
    key: String,
    end: bool,
    units: u16,
}

fn line(clocks: Clocks) -> Line {
    let now = Instant::now();
    Line {
        writer: Writer::new(clocks),
        begun: now,
        now,
        sent: Vec::new(),
    }
}

fn key(written: char) -> Key {
    Key::from_char(written).unwrap()
}

fn press(written: char, ms: u64) -> Press {
    Press {
        key: key(written),
        duration: Duration::from_millis(ms),
    }
}

impl Line {
    fn at(&self) -> u64 {
        self.now.duration_since(self.begun).as_millis() as u64
    }

    fn tick(&mut self) {
        let at = self.at();
        let clock = Timestamp(at as u32 * self.writer.clocks.timestamps / 1_000);
        while let Some(packet) = self.writer.next(clock, self.now) {
            let report = Report::parse(&packet.payload).unwrap();
            self.sent.push(Sent {
                at,
                marker: packet.marker,
                began: packet.timestamp.0,
                key: Key::from_code(report.code).unwrap().to_string(),
                end: report.end,
                units: report.duration,
            });
        }
    }

    /// Lets time go by, and wakes the writer when it wants to be woken.
    fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(due) = self.writer.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tick();
        }
        self.now = until;
    }

    fn down(&mut self, written: char) {
        self.writer.down(key(written), self.now);
        self.tick();
    }

    fn up(&mut self, ms: u64) {
        self.writer.up(Duration::from_millis(ms));
    }

    /// One line for each packet.
    fn told(&self) -> Vec<String> {
        let one = |s: &Sent| {
            let (marker, end) = (
                if s.marker { "M" } else { "" },
                if s.end { "E" } else { "" },
            );
            format!("{} {marker}{}{end} {}", s.at, s.key, s.units)
        };
        self.sent.iter().map(one).collect()
    }

    fn keys(&self) -> String {
        let begun = self.sent.iter().filter(|s| s.marker);
        begun.map(|s| s.key.as_str()).collect()
    }
}

#[test]
fn the_shortest_press_is_one_packet_and_three_ends() {
    let mut l = line(CLOCKS);
    l.writer.press(press('5', 40), l.now);
    l.wait(1_000);
    assert_eq!(
        l.told(),
        ["0 M5 160", "20 5E 320", "40 5E 320", "60 5E 320"]
    );
    assert!(l.sent.iter().all(|s| s.began == 0));
    assert_eq!(l.writer.deadline(), None);
    assert!(!l.writer.is_active());
}

#[test]
fn a_press_that_is_too_short_to_be_heard_lasts_40_ms() {
    let mut l = line(CLOCKS);
    l.writer.press(press('5', 1), l.now);
    l.wait(1_000);
    assert_eq!(l.sent.last().map(|s| s.units), Some(320));
}

#[test]
fn presses_that_come_at_once_are_written_one_after_another_with_a_gap() {
    let mut l = line(CLOCKS);
    l.wait(500);
    for written in "1123".chars() {
        l.writer.press(press(written, 100), l.now);
    }
    assert!(l.writer.is_active());
    l.wait(2_000);
    assert_eq!(l.keys(), "1123");
    let begun: Vec<_> = l
        .sent
        .iter()
        .filter(|s| s.marker)
        .map(|s| (s.at, s.began))
        .collect();
    assert_eq!(begun, [500, 640, 780, 920].map(|at| (at, at as u32 * 48)));
    assert!(
        l.sent.is_sorted_by_key(|s| s.began),
        "all ends of one are before the next"
    );
}

#[test]
fn a_key_that_is_held_is_written_while_it_is_down() {
    let mut l = line(CLOCKS);
    l.down('9');
    assert_eq!(l.told(), ["0 M9 160"], "at once");
    l.wait(70);
    l.up(70);
    l.wait(1_000);
    assert_eq!(
        l.told()[1..],
        [
            "20 9 320",
            "40 9 480",
            "60 9 640",
            "80 9E 640",
            "100 9E 640",
            "120 9E 640"
        ],
        "nothing that was said is taken back"
    );
}

#[test]
fn fast_dialling_goes_on_at_its_own_speed() {
    let mut l = line(CLOCKS);
    for written in "0123456789*#ABCD".repeat(3).chars() {
        l.down(written);
        l.wait(40);
        l.up(40);
        l.wait(40);
    }
    let behind = l.sent.last().map(|s| s.at).unwrap();
    assert!(behind >= 48 * 80 - 120, "{behind}");
    l.wait(200);
    assert_eq!(l.keys(), "0123456789*#ABCD".repeat(3));
    assert_eq!(l.sent.iter().filter(|s| s.end).count(), 3 * 48);
    assert!(
        l.sent
            .iter()
            .filter(|s| s.end)
            .all(|s| (320..=480).contains(&s.units))
    );
    assert!(!l.writer.is_active());
}

#[test]
fn a_key_that_goes_down_while_another_is_written_waits_with_its_length() {
    let mut l = line(CLOCKS);
    l.writer.press(press('1', 400), l.now);
    l.wait(100);
    l.down('2');
    l.up(60);
    l.down('3');
    l.wait(1_000);
    assert_eq!(l.keys(), "123");
    let two: Vec<_> = l
        .sent
        .iter()
        .filter(|s| s.key == "2")
        .map(|s| s.units)
        .collect();
    assert_eq!(two, [160, 320, 480, 480, 480]);
    assert!(l.writer.is_active(), "3 is still held");
    l.up(1_100);
    l.wait(2_000);
    assert!(!l.writer.is_active());
}

#[test]
fn a_key_whose_end_never_came_ends_with_the_next() {
    let mut l = line(CLOCKS);
    l.down('1');
    l.wait(100);
    l.down('2');
    l.up(40);
    l.wait(1_000);
    assert_eq!(l.keys(), "12");
    assert_eq!(l.sent.iter().filter(|s| s.end).count(), 6);
}

#[test]
fn a_press_longer_than_the_field_goes_on_in_segments() {
    let mut l = line(Clocks {
        timestamps: 48_000,
        events: 48_000,
    });
    l.writer.press(press('1', 3_000), l.now);
    l.wait(5_000);
    assert_eq!(l.sent.iter().filter(|s| s.marker).count(), 1);
    let full: Vec<_> = l.sent.iter().filter(|s| s.units == u16::MAX).collect();
    assert!(full.iter().all(|s| !s.end));
    assert_eq!(
        full.iter().map(|s| s.began).collect::<Vec<_>>(),
        [0, 65_535]
    );
    let last = l.sent.last().unwrap();
    assert_eq!((last.end, last.began), (true, 131_070));
    assert_eq!(131_070 + u32::from(last.units), 3_000 * 48);
    let mut units = l.sent.iter().map(|s| s.began + u32::from(s.units));
    assert!(units.by_ref().is_sorted());
}

#[test]
fn segments_of_opus_begin_on_its_clock() {
    let mut l = line(CLOCKS);
    l.writer.press(press('1', 9_000), l.now);
    l.wait(10_000);
    assert_eq!(l.sent.last().map(|s| s.began), Some(6 * 65_535));
}

#[test]
fn a_worker_that_was_held_up_does_not_send_a_burst() {
    let mut l = line(CLOCKS);
    l.down('1');
    l.now += Duration::from_millis(300);
    l.tick();
    assert_eq!(l.told(), ["0 M1 160", "300 1 2560"]);
    l.up(310);
    l.wait(100);
    assert_eq!(l.told()[2..], ["320 1E 2560", "340 1E 2560", "360 1E 2560"]);
}

#[test]
fn whoever_sends_more_digits_than_can_be_dialled_loses_the_last() {
    let mut l = line(CLOCKS);
    for _ in 0..MOST_WAITING + 5 {
        l.writer.press(press('1', 40), l.now);
    }
    l.writer.down(key('2'), l.now);
    l.writer.up(Duration::from_millis(40));
    assert_eq!(l.writer.dropped(), 6);
    l.wait(60_000);
    assert_eq!(l.keys(), "1".repeat(MOST_WAITING));
}

#[test]
fn a_clock_of_nothing_breaks_nothing() {
    let mut l = line(Clocks {
        timestamps: 0,
        events: 0,
    });
    l.writer.press(press('1', 40), l.now);
    l.wait(1_000);
    assert_eq!(l.keys(), "1");
    assert!(!l.writer.is_active());
}
