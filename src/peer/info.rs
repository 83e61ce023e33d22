//! Digits in the bodies of INFO requests.
//!
//! No RFC has these: `application/dtmf-relay` is Cisco's, and `application/dtmf` what was made of it. Asterisk, FreeSWITCH
//! and most gateways speak the former.
//!
//! ```text
//!   Content-Type: application/dtmf-relay          Content-Type: application/dtmf
//!
//!   Signal=5                                      5
//!   Duration=160
//! ```

use std::time::Duration;

use crate::media::digits::{Key, Press};
use crate::sip::message::{Common, Request};

/// What can be read, for Accept.
pub const ACCEPT: &str = "application/dtmf-relay, application/dtmf";

const RELAY: &str = "application/dtmf-relay";
const PLAIN: &str = "application/dtmf";

/// How long a key is held of which only that is said.
const USUAL: Duration = Duration::from_millis(160);
/// And how long it is held at most, whatever is said: nobody hears anything meanwhile.
const LONGEST: Duration = Duration::from_secs(5);

/// Why an INFO is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It has something that is no digit.
    #[error("Content-Type is neither application/dtmf-relay nor application/dtmf")]
    UnknownType,
    /// It says nothing of a key.
    #[error("the body has no Signal=")]
    NoSignal,
    /// It says something that is on no telephone.
    #[error("Signal is none of 0-9, *, #, A-D")]
    NoKey,
    /// Nobody knows how long.
    #[error("Duration is no number of milliseconds")]
    NoDuration,
}

impl Unusable {
    /// What it is answered.
    pub fn status(self) -> u16 {
        match self {
            Unusable::UnknownType => 415,
            Unusable::NoSignal | Unusable::NoKey | Unusable::NoDuration => 400,
        }
    }
}

/// The press that an INFO tells of; `None` where it tells of none, as one without a body, or of a flash of the hook,
/// which WhatsApp has not.
///
/// # Errors
/// When it tells of something else, or of nothing that can be read.
pub fn read(info: &Request) -> Result<Option<Press>, Unusable> {
    if info.body.is_empty() {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&info.body);
    match info.content_type().as_deref() {
        Some(RELAY) => relayed(&body),
        Some(PLAIN) if body.contains('=') => relayed(&body),
        Some(PLAIN) => press(body.trim(), USUAL),
        _ => Err(Unusable::UnknownType),
    }
}

/// Makes an INFO tell of a press.
pub fn write(press: Press, info: &mut Request) {
    let ms = press.duration.as_millis();
    info.headers.push("Content-Type", RELAY);
    info.body = format!("Signal={}\r\nDuration={ms}\r\n", press.key).into_bytes();
}

fn relayed(body: &str) -> Result<Option<Press>, Unusable> {
    let value = |name: &str| {
        let mut lines = body
            .split(['\r', '\n'])
            .filter_map(|line| line.split_once('='));
        let line = lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.trim())
    };
    let signal = value("Signal").ok_or(Unusable::NoSignal)?;
    let duration = match value("Duration").filter(|value| !value.is_empty()) {
        None => USUAL,
        Some(ms) => duration(ms).ok_or(Unusable::NoDuration)?,
    };
    press(signal, duration)
}

/// In milliseconds; 0 is what is said by who does not know.
fn duration(ms: &str) -> Option<Duration> {
    let digits = ms.chars().all(|c| c.is_ascii_digit());
    let ms = digits.then(|| ms.parse().unwrap_or(u64::MAX))?;
    Some(match ms {
        0 => USUAL,
        ms => Duration::from_millis(ms).min(LONGEST),
    })
}

fn press(signal: &str, duration: Duration) -> Result<Option<Press>, Unusable> {
    let mut characters = signal.chars();
    let key = match (characters.next(), characters.next()) {
        (Some('!'), None) => return Ok(None),
        (Some(written), None) => Key::from_char(written),
        // Some write the event's code (RFC 4733 §3.2), of which 16 is the flash.
        _ if signal == "16" => return Ok(None),
        _ => signal
            .parse()
            .ok()
            .filter(|code| *code > 9)
            .and_then(Key::from_code),
    };
    let key = key.ok_or(Unusable::NoKey)?;
    Ok(Some(Press { key, duration }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Method, SipUri};

    fn info(content_type: &str, body: &str) -> Request {
        let mut info = Request::new(Method::INFO, SipUri::new(None, "192.0.2.1"));
        info.headers.push("Content-Type", content_type);
        info.body = body.into();
        info
    }

    fn told(content_type: &str, body: &str) -> Result<String, Unusable> {
        let told = |press: Press| format!("{} {}", press.key, press.duration.as_millis());
        read(&info(content_type, body)).map(|press| press.map_or("nothing".into(), told))
    }

    #[test]
    fn a_press_is_read_however_it_is_spelled() {
        for (body, press) in [
            ("Signal=5\r\nDuration=160\r\n", "5 160"),
            ("Signal= 5\r\nDuration= 250\r\n", "5 250"),
            ("signal = *\nduration = 80\n", "* 80"),
            ("Duration=100\rSIGNAL=d", "D 100"),
            ("Signal=#", "# 160"),
            ("Signal=0\r\nDuration=\r\n", "0 160"),
            ("Signal=1\r\nDuration=0\r\n", "1 160"),
            ("Signal=10\r\n", "* 160"),
            ("Signal=1\r\nDuration=99999999999999999999999\r\n", "1 5000"),
            ("\r\nTone=x\r\nSignal=9\r\n\r\n", "9 160"),
        ] {
            assert_eq!(
                told("application/dtmf-relay", body),
                Ok(press.into()),
                "{body:?}"
            );
        }
        assert_eq!(
            told("Application/DTMF-Relay; charset=utf-8", "Signal=5"),
            Ok("5 160".into())
        );
    }

    #[test]
    fn a_body_may_be_the_digit_alone() {
        assert_eq!(told("application/dtmf", "5"), Ok("5 160".into()));
        assert_eq!(told("application/dtmf", " #\r\n"), Ok("# 160".into()));
        assert_eq!(told("application/dtmf", "11"), Ok("# 160".into()));
        let named = told("application/dtmf", "Signal=5\r\nDuration=90");
        assert_eq!(named, Ok("5 90".into()));
    }

    #[test]
    fn a_flash_and_an_empty_info_tell_of_no_key() {
        for flash in ["Signal=!", "Signal=16"] {
            assert_eq!(told("application/dtmf-relay", flash), Ok("nothing".into()));
        }
        assert_eq!(told("text/plain", ""), Ok("nothing".into()));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (content_type, body, why) in [
            ("text/plain", "Signal=5", Unusable::UnknownType),
            ("application/dtmf-relay", "5", Unusable::NoSignal),
            ("application/dtmf-relay", "Signal=", Unusable::NoKey),
            ("application/dtmf-relay", "Signal=12345", Unusable::NoKey),
            ("application/dtmf-relay", "Signal=x", Unusable::NoKey),
            ("application/dtmf-relay", "Signal=17", Unusable::NoKey),
            (
                "application/dtmf-relay",
                "Signal=5\nDuration=-1",
                Unusable::NoDuration,
            ),
            ("application/dtmf", "12345", Unusable::NoKey),
            ("application/dtmf", "\u{fffd}", Unusable::NoKey),
        ] {
            assert_eq!(told(content_type, body), Err(why), "{body:?}");
        }
        assert_eq!(Unusable::UnknownType.status(), 415);
        assert_eq!(Unusable::NoKey.status(), 400);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for written in "0123456789*#ABCD".chars() {
            let key = Key::from_char(written).unwrap();
            let duration = Duration::from_millis(120);
            let press = Press { key, duration };
            let mut info = Request::new(Method::INFO, SipUri::new(None, "192.0.2.1"));
            write(press, &mut info);
            assert_eq!(read(&info), Ok(Some(press)));
        }
    }
}
