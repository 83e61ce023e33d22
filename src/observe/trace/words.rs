//! What the bridge notes, in words.

use std::time::Instant;

use super::{End, Side, What};
use crate::call::watch::Mark;
use crate::call::{Summary, why_bad};
use crate::leg::Leg;
use crate::media::{Measured, Turn};
use crate::observe::call_log::carried;

/// Longest of somebody else's words that are kept.
const MOST_WORDS: usize = 512;

/// What happened in a call besides its messages.
pub(super) fn mark(mark: &Mark) -> What {
    let (leg, words) = match mark {
        Mark::Progress(status) => (None, format!("the caller is told {status}")),
        Mark::Redirected { why, address, .. } => {
            let why = short(why);
            (Some(Leg::Pbx), format!("{why}; goes on to {address}"))
        }
        Mark::Transferring { .. } => (Some(Leg::Pbx), "the PBX transfers the call".to_owned()),
        Mark::Transferred => (Some(Leg::Pbx), "transferred".to_owned()),
        Mark::Answered => (None, "answered".to_owned()),
        Mark::AckWaited(waited) => {
            let words = format!("the ACK waited {} ms for keys", waited.as_millis());
            (Some(Leg::Pbx), words)
        }
        Mark::Agreed {
            leg,
            codec,
            keying,
            remote,
        } => {
            let codec = codec.map_or_else(|| "no sound".to_owned(), |codec| codec.to_string());
            (Some(*leg), format!("agreed {codec}, {keying}, {remote}"))
        }
        Mark::Started(leg) => (Some(*leg), "media may be sent".to_owned()),
        Mark::Keyed(leg) => (Some(*leg), "keyed by DTLS".to_owned()),
        Mark::MediaFailed(leg, why) => (Some(*leg), format!("no media: {}", short(why))),
        Mark::Silent(leg) => (Some(*leg), "nothing comes any more".to_owned()),
        Mark::Turned { leg, measured } => (Some(*leg), turned(*leg, measured)),
    };
    What::Mark {
        leg: leg.map(Side::from),
        words,
    }
}

fn turned(leg: Leg, measured: &Measured) -> String {
    let (way, mos) = (measured.way.word(), measured.interval.mos);
    match measured.turn {
        Some(Turn::Bad(why)) => {
            format!(
                "{way} sounds bad, MOS {mos:.1}: {}",
                why_bad(leg, measured.way, why)
            )
        }
        Some(Turn::Good) | None => format!("{way} sounds good again, MOS {mos:.1}"),
    }
}

/// How a call ended; `base` is when it began here.
pub(super) fn end(summary: &Summary, base: Instant) -> End {
    End {
        after_ns: nanos(base, summary.ended),
        talked_ms: summary
            .answered
            .map(|_| u64::try_from(summary.talked().as_millis()).unwrap_or(u64::MAX)),
        status: summary.status,
        ended_by: summary.ended_by.to_string(),
        why: short(&summary.why),
        meta: Some(carried(&summary.media.meta)),
        pbx: Some(carried(&summary.media.pbx)),
    }
}

/// As much of a text as is kept.
pub(super) fn short(text: &str) -> String {
    text.chars().take(MOST_WORDS).collect()
}

/// Nanoseconds from one instant to a later one.
pub(super) fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
