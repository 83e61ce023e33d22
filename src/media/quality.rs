//! How speech sounds that came over a network, estimated from what the network did to it.
//!
//! ```text
//!   loss, jitter, round trip ─▶ R = 93.2 − Id − Ie,eff (ITU-T G.107) ─▶ MOS, 1 to 4.5 (G.107 Annex B)
//! ```
//!
//! It is the E-model with everything but the network at its default values:
//!
//! - Id, the delay: `0.024·d + 0.11·(d − 177.3)` ms, the second term above 177.3 ms only (Cole and Rosenbluth, "Voice over
//!   IP performance monitoring", ACM CCR 31(2), 2001). `d` is one way: half the round trip, a jitter buffer of twice the
//!   jitter, a frame of 20 ms and the 6.5 ms that Opus looks ahead (RFC 6716 §2).
//! - Ie,eff, the loss: `Ie + (95 − Ie)·Ppl / (Ppl + Bpl)` for losses at random (G.107 §7.5). G.113 has no values for Opus.
//!   Ie is 0, for at the bit rates of WhatsApp Opus is no worse than G.711; Bpl is 20, as the open `rtcscore` has it for Opus
//!   with forward error correction, which Meta's SDP asks for (`useinbandfec=1`).
//!
//! So it compares paths and calls. It does not know echo, level or noise, or what a transcoder behind the PBX adds.

use std::time::Duration;

use super::SideStats;

/// R of a call that the network leaves alone (G.107, all parameters at their defaults).
const UNTOUCHED: f64 = 93.2;
/// Ie of Opus.
const OPUS_IMPAIRMENT: f64 = 0.0;
/// Bpl of Opus with forward error correction, in percent.
const OPUS_ROBUSTNESS: f64 = 20.0;
/// A frame, and what Opus looks ahead, in milliseconds.
const CODEC_DELAY_MS: f64 = 26.5;
/// Milliseconds beyond which people begin to talk into each other's words.
const NOTICED_MS: f64 = 177.3;

/// What a network did to a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Part of the packets that never came, 0 to 1.
    pub loss: f64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// There and back, without what the ends themselves take.
    pub round_trip: Duration,
}

impl Path {
    /// The transmission rating factor R, 0 to 93.2.
    pub fn rating(&self) -> f64 {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let delay = ms(self.round_trip) / 2.0 + 2.0 * ms(self.jitter) + CODEC_DELAY_MS;
        let slow = 0.024 * delay + 0.11 * (delay - NOTICED_MS).max(0.0);
        let percent = self.loss.clamp(0.0, 1.0) * 100.0;
        let lossy =
            OPUS_IMPAIRMENT + (95.0 - OPUS_IMPAIRMENT) * percent / (percent + OPUS_ROBUSTNESS);
        (UNTOUCHED - slow - lossy).max(0.0)
    }

    /// The mean opinion score that listeners would give, 1 to 4.5.
    pub fn mos(&self) -> f64 {
        opinion(self.rating())
    }
}

/// G.107 Annex B.
fn opinion(rating: f64) -> f64 {
    match rating {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // For R below 6.5 the polynomial falls below the lowest score there is.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

impl SideStats {
    /// How what the peer sends sounds as it arrives here; `None` if nothing arrived. An unknown round trip counts as none.
    pub fn mos_in(&self) -> Option<f64> {
        let expected = self.received + self.lost;
        let path = Path {
            loss: self.lost as f64 / expected.max(1) as f64,
            jitter: milliseconds(self.jitter_ms),
            round_trip: milliseconds(self.round_trip_ms.unwrap_or_default()),
        };
        (self.received > 0).then(|| path.mos())
    }

    /// How what we send sounds as the peer reports that it arrives there; `None` if it reports nothing.
    pub fn mos_out(&self) -> Option<f64> {
        let reported = self.reported.as_ref()?;
        let path = Path {
            loss: reported.lost as f64 / self.sent.max(1) as f64,
            jitter: milliseconds(reported.jitter_ms),
            round_trip: milliseconds(self.round_trip_ms.unwrap_or_default()),
        };
        (self.sent > 0).then(|| path.mos())
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Reported;
    use proptest::prelude::*;

    fn path(percent: f64, jitter_ms: u64, round_trip_ms: u64) -> Path {
        Path {
            loss: percent / 100.0,
            jitter: Duration::from_millis(jitter_ms),
            round_trip: Duration::from_millis(round_trip_ms),
        }
    }

    #[track_caller]
    fn near(is: f64, wanted: f64) {
        assert!((is - wanted).abs() < 0.005, "{is} is not {wanted}");
    }

    #[test]
    fn the_scores_of_g_107_annex_b_are_met() {
        for (rating, score) in [
            (0.0, 1.0),
            (50.0, 2.575),
            (60.0, 3.10),
            (70.0, 3.597),
            (80.0, 4.024),
            (90.0, 4.339),
            (93.2, 4.409),
            (100.0, 4.5),
        ] {
            near(opinion(rating), score);
        }
    }

    #[test]
    fn a_path_that_does_nothing_costs_only_the_delay_of_the_codec() {
        near(path(0.0, 0, 0).rating(), 93.2 - 0.024 * 26.5);
        near(path(0.0, 0, 0).mos(), 4.396);
    }

    #[test]
    fn a_delay_hurts_more_once_it_is_noticed() {
        // One way: 73.5 + 26.5 = 100 ms, and 373.5 + 26.5 = 400 ms.
        near(path(0.0, 0, 147).rating(), 93.2 - 2.4);
        near(path(0.0, 0, 747).rating(), 93.2 - 9.6 - 0.11 * 222.7);
        near(path(0.0, 10, 107).rating(), 93.2 - 2.4);
    }

    #[test]
    fn as_much_loss_as_the_robustness_factor_costs_half_of_what_loss_can_cost() {
        let untouched = path(0.0, 0, 0).rating();
        near(untouched - path(20.0, 0, 0).rating(), 47.5);
        near(untouched - path(1.0, 0, 0).rating(), 95.0 / 21.0);
    }

    #[test]
    fn the_two_directions_of_a_leg_are_judged_apart() {
        let side = SideStats {
            received: 990,
            lost: 10,
            sent: 1000,
            round_trip_ms: Some(80.0),
            reported: Some(Reported {
                lost: 50,
                jitter_ms: 5.0,
            }),
            ..SideStats::default()
        };
        near(side.mos_in().unwrap(), path(1.0, 0, 80).mos());
        near(side.mos_out().unwrap(), path(5.0, 5, 80).mos());
        let silent = SideStats::default();
        assert_eq!((silent.mos_in(), silent.mos_out()), (None, None));
    }

    proptest! {
        #[test]
        fn whatever_was_measured_the_score_is_one_that_exists(
            received: u32, lost: u32, sent: u32, jitter_ms: f64, trip: f64, theirs: u32, jittered: f64,
        ) {
            let side = SideStats {
                received: received.into(),
                lost: lost.into(),
                sent: sent.into(),
                jitter_ms,
                round_trip_ms: Some(trip),
                reported: Some(Reported { lost: theirs.into(), jitter_ms: jittered }),
                ..SideStats::default()
            };
            for mos in [side.mos_in(), side.mos_out()].into_iter().flatten() {
                prop_assert!((1.0..=4.5).contains(&mos), "{mos}");
            }
        }
    }
}
