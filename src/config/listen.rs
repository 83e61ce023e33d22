//! Where we listen: one address, a list of them, or `"off"`.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserializer, Serialize, Serializer};

const OFF: &str = "off";

/// For a listener that there must be.
pub(super) fn on<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    deserializer.deserialize_any(Listens { may_be_off: false })
}

/// For a listener that can be turned off: then there is no address.
pub(super) fn on_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    deserializer.deserialize_any(Listens { may_be_off: true })
}

/// As it would be written.
pub(super) fn written<S: Serializer>(
    addresses: &[SocketAddr],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match addresses {
        [] => serializer.serialize_str(OFF),
        [one] => one.serialize(serializer),
        several => several.serialize(serializer),
    }
}

struct Listens {
    may_be_off: bool,
}

impl<'de> Visitor<'de> for Listens {
    type Value = Vec<SocketAddr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address with port such as \"0.0.0.0:5070\" or a list of them")?;
        match self.may_be_off {
            true => f.write_str(", or \"off\""),
            false => Ok(()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if self.may_be_off && text == OFF {
            return Ok(Vec::new());
        }
        let address = address(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self));
        Ok(vec![address?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut addresses = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            let address = address(&text)
                .ok_or_else(|| A::Error::invalid_value(Unexpected::Str(&text), &self));
            addresses.push(address?);
        }
        match addresses.is_empty() {
            true => Err(A::Error::invalid_length(0, &self)),
            false => Ok(addresses),
        }
    }
}

/// An IPv4 address in the dress of an IPv6 one is taken for what it is: our IPv6 sockets carry IPv6 alone.
fn address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Part {
        #[serde(deserialize_with = "on", serialize_with = "written")]
        on: Vec<SocketAddr>,
        #[serde(deserialize_with = "on_or_off", serialize_with = "written")]
        off: Vec<SocketAddr>,
    }

    #[test]
    fn one_address_or_several_or_none() {
        let text = "on = [\"0.0.0.0:5061\", \"[::]:5061\"]\noff = \"off\"\n";
        let part: Part = toml::from_str(text).unwrap();
        let both = ["0.0.0.0:5061", "[::]:5061"].map(|text| text.parse().unwrap());
        assert_eq!((part.on.as_slice(), part.off.len()), (both.as_slice(), 0));
        assert_eq!(toml::to_string(&part).unwrap(), text);
        let text = "on = \"192.0.2.1:5061\"\noff = \"[::1]:5070\"\n";
        let part: Part = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&part).unwrap(), text);
        let text = text.replace("192.0.2.1", "[::ffff:192.0.2.1]");
        assert_eq!(toml::from_str::<Part>(&text).unwrap(), part);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for on in [
            "\"off\"",
            "[]",
            "\"5061\"",
            "[\"0.0.0.0\"]",
            "5061",
            "[\"off\"]",
        ] {
            let text = format!("on = {on}\noff = \"off\"");
            assert!(toml::from_str::<Part>(&text).is_err(), "{on}");
        }
    }
}
