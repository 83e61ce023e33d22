//! What is kept for Meta, against the same said when Meta could be sent to.

use proptest::prelude::*;

use super::fixtures::*;
use crate::leg::Leg;
use crate::media::rtp::Header;

/// What a PBX does next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Says a frame.
    Voice,
    /// Says one that gets lost.
    Lost,
    /// Goes on pressing a key, and for some time none.
    Key,
    /// Transfers the call: another source, another sequence, another clock.
    Transfer,
}

/// A source as its packets show it.
struct Phone {
    ssrc: u32,
    seq: u16,
    clock: u32,
    /// Samples for which a key has been pressed.
    pressed: u16,
}

impl Phone {
    fn takes(&mut self, turn: Turn, number: u16, call: &mut Call) {
        match turn {
            Turn::Voice => {
                let voice = voice(number);
                call.pbx_sends(&frame_at(107, self.ssrc, self.seq, self.clock, &voice));
            }
            Turn::Lost => {}
            Turn::Key => {
                self.pressed += 160;
                let [high, low] = self.pressed.to_be_bytes();
                let event = [1, 10, high, low];
                call.pbx_sends(&frame_at(101, self.ssrc, self.seq, self.clock, &event));
            }
            Turn::Transfer => {
                self.ssrc += 1;
                self.seq = self.seq.wrapping_mul(31).wrapping_add(7);
                self.clock = self.clock.wrapping_mul(17).wrapping_add(5);
                return;
            }
        }
        self.seq = self.seq.wrapping_add(1);
    }

    /// Lets time pass. An event keeps the time of its beginning.
    fn waits(&mut self, turn: Turn, ms: u32, call: &mut Call) {
        if !matches!(turn, Turn::Key) {
            self.clock = self.clock.wrapping_add(48 * ms);
            self.pressed = 0;
        }
        call.wait(ms.into());
    }
}

/// What Meta hears of this, silence of ours aside, counted from its first packet; `live`: while it is said.
fn heard(script: &[(Turn, u32)], live: bool) -> Vec<(u8, u16, u32, Vec<u8>)> {
    let mut call = agreed();
    call.start(Leg::Pbx);
    if live {
        call.start(Leg::Meta);
    }
    let mut phone = Phone {
        ssrc: 1,
        seq: 65_530,
        clock: u32::MAX - 5_000,
        pressed: 0,
    };
    // A word comes first: a stream that begins with an event has no clock yet.
    let script = [&[(Turn::Voice, 20)], script].concat();
    for (number, (turn, ms)) in (0..).zip(script) {
        phone.takes(turn, number, &mut call);
        phone.waits(turn, ms, &mut call);
    }
    if !live {
        assert!(call.rtp(Leg::Meta).is_empty());
        call.start(Leg::Meta);
    }
    let packets = call.rtp(Leg::Meta).into_iter();
    let packets: Vec<_> = packets.filter(|(_, said)| *said != SILENCE).collect();
    let first: Header = packets[0].0;
    let counted = packets.iter().map(|(header, said)| {
        let seq = header.seq.0.wrapping_sub(first.seq.0);
        let clock = header.timestamp.0.wrapping_sub(first.timestamp.0);
        (header.payload_type, seq, clock, said.to_vec())
    });
    counted.collect()
}

proptest! {
    #[test]
    fn what_was_kept_is_heard_as_if_it_were_said_now_with_digits_losses_and_transfers_in_it(
        script in prop::collection::vec(
            (
                prop_oneof![
                    5 => Just(Turn::Voice), 1 => Just(Turn::Lost), 2 => Just(Turn::Key), 1 => Just(Turn::Transfer),
                ],
                prop::sample::select(vec![20, 20, 20, 40, 60]),
            ),
            1..30,
        ),
    ) {
        prop_assert_eq!(heard(&script, false), heard(&script, true));
    }
}
