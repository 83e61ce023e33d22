//! Octets of a message, which are text nearly always.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Octets that are cheap to copy, and read as text by whoever reads the JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(Arc<[u8]>);

/// As JSON has them: text as text, all else in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written<'a> {
    Text(Cow<'a, str>),
    Base64(String),
}

impl Octets {
    /// As text; what is none is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl std::ops::Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Octets {
        Octets(octets.into())
    }
}

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.into()),
            Err(_) => Written::Base64(STANDARD.encode(&self.0)),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Octets, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into_owned().into_bytes().into(),
            Written::Base64(text) => STANDARD.decode(text).map_err(D::Error::custom)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive_json_whether_they_are_text_or_not() {
        for octets in [&b"OPTIONS sip:a@b \xc3\xbc\r\n"[..], b"\xff\x00\xfe", b""] {
            let octets = Octets::from(octets.to_vec());
            let json = serde_json::to_string(&octets).unwrap();
            assert_eq!(
                serde_json::from_str::<Octets>(&json).unwrap(),
                octets,
                "{json}"
            );
        }
        let text = serde_json::to_string(&Octets::from(b"a".to_vec())).unwrap();
        assert_eq!(text, r#"{"text":"a"}"#);
    }
}
