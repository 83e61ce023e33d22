//! What the payload numbers of an `m=` line mean: `a=rtpmap`, and the table for numbers that need none.

use sdp_types::Media;

use crate::media::{Codec, Payload};

use super::STATIC;
use super::reject::{Reject, quote};

/// One payload number of an m= line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// RTP payload type, 0–127.
    pub number: u8,
    /// As `a=rtpmap` says it, for messages.
    pub name: String,
    /// `None`: a codec that we do not carry.
    pub codec: Option<Codec>,
}

impl Format {
    pub(super) fn payload(&self) -> Option<Payload> {
        self.codec.map(|codec| Payload {
            number: self.number,
            codec,
        })
    }
}

/// The formats of an RTP stream in the peer's order of preference, each number once.
pub(super) fn formats(media: &Media) -> Result<Vec<Format>, Reject> {
    let mut formats: Vec<Format> = Vec::new();
    for text in media.fmt.split_ascii_whitespace() {
        let number = text.parse().ok().filter(|n| *n <= 127);
        let number: u8 = number.ok_or_else(|| Reject::PayloadNumber(quote(text)))?;
        if formats.iter().all(|f| f.number != number) {
            formats.push(format(number, mapped(media, number)));
        }
    }
    Ok(formats)
}

/// All formats, named in one line.
pub(super) fn names(formats: &[Format]) -> String {
    let names: Vec<&str> = formats.iter().map(|f| f.name.as_str()).collect();
    quote(&names.join(", "))
}

fn format(number: u8, mapped: Option<&str>) -> Format {
    match mapped {
        Some(encoding) => Format {
            number,
            name: quote(encoding),
            codec: codec(encoding),
        },
        None => Format {
            number,
            name: assigned(number),
            codec: STATIC
                .into_iter()
                .find(|c| c.static_number() == Some(number)),
        },
    }
}

/// The encoding of a number in `a=rtpmap:<number> <encoding>`; the first line counts.
fn mapped(media: &Media, number: u8) -> Option<&str> {
    let lines = media.attributes.iter().filter(|a| a.attribute == "rtpmap");
    lines
        .filter_map(|a| a.value.as_deref()?.trim().split_once(' '))
        .find_map(|(mapped, encoding)| {
            let same = mapped.parse::<u8>().is_ok_and(|n| n == number);
            same.then_some(encoding.trim())
        })
}

/// The codec of `<name>/<clock rate>[/<channels>]`.
fn codec(encoding: &str) -> Option<Codec> {
    let mut parts = encoding.split('/');
    let (name, rate) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
    let is = |codec: Codec| name.eq_ignore_ascii_case(codec.name()) && rate == codec.clock_rate();
    // RFC 7587 §7: the channel count of Opus says nothing about what is sent, so its absence is no reason to refuse.
    if is(Codec::Opus) {
        return Some(Codec::Opus);
    }
    let mono = parts.next().is_none_or(|channels| channels == "1");
    let known = STATIC.into_iter().find(|codec| mono && is(*codec));
    known.or(name
        .eq_ignore_ascii_case("telephone-event")
        .then_some(Codec::TelephoneEvent { rate }))
}

/// RFC 3551 §6: audio numbers that mean something without `a=rtpmap`.
fn assigned(number: u8) -> String {
    match number {
        0 => "PCMU/8000".into(),
        3 => "GSM/8000".into(),
        4 => "G723/8000".into(),
        8 => "PCMA/8000".into(),
        9 => "G722/8000".into(),
        13 => "CN/8000".into(),
        15 => "G728/8000".into(),
        18 => "G729/8000".into(),
        other => format!("payload type {other} without a=rtpmap"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Vec<Format>, Reject> {
        let text = format!("v=0\r\n{lines}");
        formats(&sdp_types::Session::parse(text.as_bytes()).unwrap().medias[0])
    }

    #[test]
    fn static_numbers_need_no_rtpmap_but_are_named() {
        let formats = read("m=audio 4 RTP/AVP 0 8 18 13 96\r\n").unwrap();
        assert_eq!(
            names(&formats),
            "PCMU/8000, PCMA/8000, G729/8000, CN/8000, payload type 96 without a=rtpmap"
        );
        let codecs: Vec<_> = formats.iter().map(|f| f.codec).collect();
        assert_eq!(
            codecs,
            [Some(Codec::Pcmu), Some(Codec::Pcma), None, None, None]
        );
    }

    #[test]
    fn names_compare_without_case_and_opus_may_lack_its_channels() {
        let formats = read(
            "m=audio 4 RTP/AVP 96 97\r\na=rtpmap:96 OPUS/48000\r\na=rtpmap:97 Telephone-Event/8000\r\n",
        );
        let codecs: Vec<_> = formats.unwrap().iter().map(|f| f.codec).collect();
        assert_eq!(
            codecs,
            [
                Some(Codec::Opus),
                Some(Codec::TelephoneEvent { rate: 8000 })
            ]
        );
    }

    #[test]
    fn a_static_number_may_be_mapped_too_and_two_channels_are_another_codec() {
        let lines = "m=audio 4 RTP/AVP 9 8 96 97\r\na=rtpmap:9 g722/8000\r\na=rtpmap:8 PCMA/8000/1\r\n\
            a=rtpmap:96 PCMU/8000/2\r\na=rtpmap:97 G722/16000\r\n";
        let codecs: Vec<_> = read(lines).unwrap().iter().map(|f| f.codec).collect();
        assert_eq!(codecs, [Some(Codec::G722), Some(Codec::Pcma), None, None]);
    }

    #[test]
    fn a_broken_rtpmap_leaves_its_number_unnamed_and_hurts_no_other() {
        let lines = "m=audio 4 RTP/AVP 96 97\r\na=rtpmap\r\na=rtpmap:x opus/48000/2\r\na=rtpmap:96\r\na=rtpmap:97 opus/48000/2\r\n";
        let formats = read(lines).unwrap();
        assert_eq!(
            (formats[0].codec, formats[1].codec),
            (None, Some(Codec::Opus))
        );
    }

    #[test]
    fn a_number_beyond_127_is_named_in_the_reason() {
        let error = read("m=audio 4 RTP/AVP 300 0\r\n").unwrap_err();
        assert_eq!(error, Reject::PayloadNumber("300".into()));
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn a_number_listed_twice_is_one_format() {
        assert_eq!(read("m=audio 4 RTP/AVP 0 0 8 0\r\n").unwrap().len(), 2);
    }
}
