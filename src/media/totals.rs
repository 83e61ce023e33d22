//! What all sessions together have carried so far, for whoever asks at any time: each worker adds what is new of its
//! sessions about once a second, so that the packet path itself counts nothing twice and shares nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{SessionStats, SideStats};
use crate::leg::Leg;

/// What is summed up. Counts are packets unless they say otherwise, and say the same as the field of [`SideStats`] of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// RTP accepted from the peer.
    Received,
    /// RTP sent to the peer.
    Sent,
    /// RTP of the peer that never came.
    Lost,
    /// From addresses that are not the peer's.
    Strangers,
    /// Refused by SRTP.
    Refused,
    /// No RTP, or of a payload number that nobody agreed to.
    Unusable,
    /// Came twice, or too late.
    Repeated,
    /// Came too late for the jitter buffer, or too many at once.
    Discarded,
    /// Milliseconds of sound made up in place of what did not come.
    MendedMs,
    /// For a peer that may not be sent to yet.
    HeldBack,
    /// Were to be kept for the peer, and could not be, or in vain.
    NotKept,
    /// Not taken by the operating system.
    Unsent,
}

impl Count {
    /// All of them, in the order in which `count as usize` counts.
    pub const ALL: [Count; 12] = [
        Count::Received,
        Count::Sent,
        Count::Lost,
        Count::Strangers,
        Count::Refused,
        Count::Unusable,
        Count::Repeated,
        Count::Discarded,
        Count::MendedMs,
        Count::HeldBack,
        Count::NotKept,
        Count::Unsent,
    ];

    fn of(self, side: &SideStats) -> u64 {
        match self {
            Count::Received => side.received,
            Count::Sent => side.sent,
            Count::Lost => side.lost,
            Count::Strangers => side.strangers,
            Count::Refused => side.refused,
            Count::Unusable => side.unusable,
            Count::Repeated => side.repeated,
            Count::Discarded => side.discarded,
            Count::MendedMs => side.mended_ms,
            Count::HeldBack => side.held_back,
            Count::NotKept => side.not_kept,
            Count::Unsent => side.unsent,
        }
    }
}

/// A number for each count of each side.
type Table<T> = [[T; Count::ALL.len()]; Leg::BOTH.len()];

/// The sums of one worker's sessions, those that are over included.
#[derive(Debug, Default)]
pub(crate) struct Totals(Table<AtomicU64>);

/// What of one session is in the sums already.
#[derive(Debug, Default)]
pub(crate) struct Told(Table<u64>);

impl Totals {
    /// Adds what a session has carried since it was last added. A sum never shrinks: what was counted as lost and came
    /// after all stays counted.
    pub(crate) fn add(&self, stats: &SessionStats, told: &mut Told) {
        for (leg, side) in [(Leg::Meta, &stats.meta), (Leg::Pbx, &stats.pbx)] {
            for count in Count::ALL {
                let told = &mut told.0[leg as usize][count as usize];
                let now = count.of(side).max(*told);
                self.0[leg as usize][count as usize].fetch_add(now - *told, Ordering::Relaxed);
                *told = now;
            }
        }
    }

    /// One of the sums.
    pub(crate) fn get(&self, leg: Leg, count: Count) -> u64 {
        self.0[leg as usize][count as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(received: u64, lost: u64) -> SessionStats {
        let pbx = SideStats {
            received,
            lost,
            ..SideStats::default()
        };
        SessionStats {
            pbx,
            ..SessionStats::default()
        }
    }

    #[test]
    fn a_session_is_added_as_it_grows_and_a_packet_that_came_late_takes_nothing_back() {
        let (totals, mut first, mut second) = (Totals::default(), Told::default(), Told::default());
        totals.add(&stats(10, 3), &mut first);
        totals.add(&stats(100, 0), &mut second);
        totals.add(&stats(14, 2), &mut first);
        totals.add(&stats(15, 4), &mut first);
        assert_eq!(totals.get(Leg::Pbx, Count::Received), 115);
        assert_eq!(totals.get(Leg::Pbx, Count::Lost), 4);
        assert_eq!(totals.get(Leg::Meta, Count::Received), 0);
    }
}
