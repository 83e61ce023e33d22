//! A trace as people read it: who said what to whom and when, on both legs.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::observe::records::record::timestamp;

use super::{Event, Head, Kind, Packet, Side, Trace, What};

/// Columns between two of the three parties.
const WIDTH: usize = 36;

/// A trace, printed.
#[derive(Debug)]
pub struct Ladder<'a> {
    /// What is printed.
    pub trace: &'a Trace,
    /// Whether each message follows in full under its line.
    pub messages: bool,
}

impl fmt::Display for Ladder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        let between = " ".repeat(WIDTH - 4);
        writeln!(f, "\n{:>12} Meta{between}wabridge{between}PBX", "")?;
        let events = &self.trace.events;
        let middle = events.len() / 2;
        for (at, event) in events.iter().enumerate() {
            if self.trace.left_out > 0 && at == middle {
                writeln!(f, "{:>12}… {} more, not kept …", "", self.trace.left_out)?;
            }
            self.event(f, event, &events[..at])?;
        }
        self.ending(f)
    }
}

impl Ladder<'_> {
    fn event(&self, f: &mut fmt::Formatter<'_>, event: &Event, earlier: &[Event]) -> fmt::Result {
        let time = seconds(event.after());
        let packet = match &event.what {
            What::Message(packet) => packet,
            What::Mark { leg, words } => return writeln!(f, "{time}  {}", mark(*leg, words)),
        };
        let same =
            |earlier: &Event| matches!(&earlier.what, What::Message(other) if other == packet);
        writeln!(f, "{time}  {}", arrow(packet, earlier.iter().any(same)))?;
        if let Some(fault) = &packet.fault {
            let words = format!("unreadable: {fault}");
            writeln!(f, "{time}  {}", mark(Some(packet.leg), &words))?;
        }
        match self.messages {
            true => full(f, packet),
            false => Ok(()),
        }
    }

    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.trace.head;
        writeln!(f, "{}", line(head))?;
        for side in [Side::Meta, Side::Pbx] {
            let call_id = match side {
                Side::Meta => &head.meta_call_id,
                Side::Pbx => &head.pbx_call_id,
            };
            let Some(call_id) = call_id else { continue };
            let peer = self
                .trace
                .packets()
                .filter(|(_, packet)| packet.leg == side)
                .find_map(|(_, packet)| Some((packet.remote?, packet.protocol.name())));
            let peer = peer.map(|(peer, protocol)| format!(", {peer} by {protocol}"));
            writeln!(
                f,
                "{:<5}Call-ID {call_id}{}",
                side.name(),
                peer.unwrap_or_default()
            )?;
        }
        Ok(())
    }

    fn ending(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(end) = &self.trace.head.end else {
            return writeln!(f, "\nIt is not over yet.");
        };
        writeln!(
            f,
            "\nEnded by {} after {}: {}",
            end.ended_by,
            plain_seconds(end.after_ns),
            why(&self.trace.head)
        )?;
        for (name, carried) in [("Meta", &end.meta), ("PBX", &end.pbx)] {
            if let Some(carried) = carried {
                writeln!(f, "{name:<5}{carried}")?;
            }
        }
        Ok(())
    }
}

/// All that is kept, one line each.
pub fn list(heads: &[Head]) -> String {
    let mut out = String::new();
    for head in heads {
        out.push_str(&line(head));
        out.push('\n');
    }
    out
}

/// `17  2026-11-22T07:42:34.123Z  user-initiated  +1219*****14 → +1214*****69  200 …`
fn line(head: &Head) -> String {
    let when = timestamp(UNIX_EPOCH + Duration::from_nanos(head.began_ns));
    let withheld = || "withheld".to_owned();
    let number = head.number.clone().unwrap_or_default();
    let user = head.user.clone().unwrap_or_else(withheld);
    let parties = match (head.kind, head.direction.as_deref()) {
        (_, None) => "never became a call".to_owned(),
        (_, Some("user-initiated")) => format!("user-initiated      {user} → {number}"),
        (_, Some(direction)) => format!("{direction}  {number} → {user}"),
    };
    format!("{:<8}{when}  {parties:<50}  {}", head.id, status(head))
}

fn status(head: &Head) -> String {
    match (&head.end, head.kind) {
        (None, Kind::Call) => "is up".to_owned(),
        (None, _) => "not answered".to_owned(),
        (Some(_), _) => why(head),
    }
}

/// `200, talked 3.0 s: the caller hung up`
fn why(head: &Head) -> String {
    let Some(end) = &head.end else {
        return String::new();
    };
    let talked = end
        .talked_ms
        .map(|ms| format!(", talked {:.1} s", Duration::from_millis(ms).as_secs_f64()));
    let why = match end.why.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    format!("{}{}{why}", end.status, talked.unwrap_or_default())
}

fn seconds(after: Duration) -> String {
    format!("{:>10.3} s", after.as_secs_f64())
}

fn plain_seconds(ns: u64) -> String {
    format!("{:.3} s", Duration::from_nanos(ns).as_secs_f64())
}

/// A message between two of the three lines.
fn arrow(packet: &Packet, again: bool) -> String {
    let again = if again { " again" } else { "" };
    let what: String = format!("{}{again}", printable(&packet.octets.text()))
        .chars()
        .take(WIDTH - 4)
        .collect();
    let shaft = "─".repeat(WIDTH - 3 - what.chars().count());
    let rightwards = (packet.leg == Side::Meta) != packet.sent;
    let arrow = match rightwards {
        true => format!(" {what} {shaft}▶"),
        false => format!("◀{shaft} {what} "),
    };
    let empty = " ".repeat(WIDTH);
    match packet.leg {
        Side::Meta => format!("│{arrow}│{empty}│"),
        Side::Pbx => format!("│{empty}│{arrow}│"),
    }
}

/// What a message is called: its method, or its status, reason and what it answers.
fn printable(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let start = lines.next().unwrap_or_default();
    let title = match start.strip_prefix("SIP/2.0 ") {
        None => start.split(' ').next().unwrap_or_default().to_owned(),
        Some(status) => {
            let cseq = lines.find(|line| {
                line.get(..5)
                    .is_some_and(|name| name.eq_ignore_ascii_case("cseq:"))
            });
            let method = cseq.and_then(|line| line.split_whitespace().last());
            match method {
                Some(method) => format!("{status} ({method})"),
                None => status.to_owned(),
            }
        }
    };
    title.chars().filter(|c| !c.is_control()).collect()
}

/// Something noted, where the line of its leg is.
fn mark(leg: Option<Side>, words: &str) -> String {
    let indent = match leg {
        Some(Side::Meta) => 2,
        None => WIDTH - 4,
        Some(Side::Pbx) => WIDTH + 3,
    };
    let words: String = words.chars().filter(|c| !c.is_control()).collect();
    let leg = leg.map_or_else(String::new, |leg| format!("{}: ", leg.name()));
    format!("│{}· {leg}{words}", " ".repeat(indent))
}

/// A message in full, each line moved to the right; nothing of it reaches the terminal but text.
fn full(f: &mut fmt::Formatter<'_>, packet: &Packet) -> fmt::Result {
    writeln!(f)?;
    for line in packet.octets.text().lines() {
        let line: String = line
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect();
        writeln!(f, "        {line}")?;
    }
    if packet.length > packet.octets.len() {
        writeln!(
            f,
            "        … {} octets more, not kept …",
            packet.length - packet.octets.len()
        )?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_the_list_stand_below_each_other() {
        let at = |ms: u64| {
            line(&Head {
                id: "7".to_owned(),
                kind: Kind::Stray,
                began_ns: ms * 1_000_000,
                direction: None,
                number: None,
                user: None,
                pbx: None,
                wacid: None,
                meta_call_id: None,
                pbx_call_id: None,
                end: None,
            })
        };
        let (whole, odd) = (at(1_795_346_531_200), at(1_795_346_529_339));
        assert!(
            whole.starts_with("7       2026-11-22T11:22:11.200Z  never"),
            "{whole}"
        );
        assert!(
            odd.starts_with("7       2026-11-22T11:22:09.339Z  never"),
            "{odd}"
        );
    }
}
