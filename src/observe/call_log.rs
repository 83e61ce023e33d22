//! The line that every finished call leaves in the log.

use crate::call::Summary;
use crate::call::watch::{At, Note, Watch};
use crate::leg::Leg;
use crate::media::SideStats;
use crate::number::{Masked, without_numbers};

/// Writes a line for every finished call.
#[derive(Debug)]
pub struct CallLog;

impl Watch for CallLog {
    fn noted(&mut self, note: &Note, _at: At) {
        if let Note::Ended(summary) = note {
            log(summary);
        }
    }
}

fn log(summary: &Summary) {
    let user = summary
        .user
        .as_ref()
        .map_or_else(|| "withheld".to_owned(), ToString::to_string);
    tracing::info!(
        call = summary.call.0,
        direction = %summary.direction,
        number = %summary.number,
        user,
        meta_leg = %Masked(summary.call_id_of(Leg::Meta)),
        pbx_leg = %Masked(summary.call_id_of(Leg::Pbx)),
        status = summary.status,
        ended_by = %summary.ended_by,
        why = without_numbers(&summary.why),
        talked_s = (summary.talked().as_secs_f64() * 1000.0).round() / 1000.0,
        keying = summary.keying.map(tracing::field::display),
        keyed_ms = summary.media.meta.keyed_after.map(|after| after.as_millis()),
        ack_waited_ms = summary.ack_waited.map(|waited| waited.as_millis()),
        kept = summary.media.meta.kept,
        not_kept = summary.media.meta.not_kept,
        meta = %carried(&summary.media.meta),
        pbx = %carried(&summary.media.pbx),
        "call ended"
    );
}

pub(super) fn carried(side: &SideStats) -> String {
    let mut text = format!(
        "in {} lost {} out {} jitter {:.1} ms",
        side.received, side.lost, side.sent, side.jitter_ms
    );
    if side.discarded > 0 {
        text += &format!(" late {}", side.discarded);
    }
    if side.mended_ms > 0 {
        text += &format!(" made up {} ms", side.mended_ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_jitter_buffer_could_not_play_is_told_where_there_was_any() {
        let mut side = SideStats {
            received: 1190,
            sent: 1200,
            jitter_ms: 28.64,
            ..SideStats::default()
        };
        let clean = "in 1190 lost 0 out 1200 jitter 28.6 ms";
        assert_eq!(carried(&side), clean);
        (side.discarded, side.mended_ms) = (72, 2425);
        assert_eq!(carried(&side), format!("{clean} late 72 made up 2425 ms"));
    }
}
