//! `pbx.address`: one address, or a list of them with priority and weight.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::meta::is_host_name;

/// `host:port` or `host`; the host is a name or an IP address, an IPv6 one with a port in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port, where it is not the transport's own.
    pub port: Option<u16>,
}

/// One address of a PBX among others. Priority and weight mean what they mean in RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The address.
    pub address: Address,
    /// Lower ones are tried first.
    #[serde(default = "one")]
    pub priority: u16,
    /// Its share of the calls among those of its priority.
    #[serde(default = "one")]
    pub weight: u16,
}

impl Place {
    /// An address of the usual priority and weight.
    pub fn only(address: Address) -> Place {
        Place {
            address,
            priority: one(),
            weight: one(),
        }
    }
}

fn one() -> u16 {
    1
}

/// Reads an address, or a list of addresses and of tables that have one.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Place>, D::Error> {
    deserializer.deserialize_any(OneOrMore)
}

/// A single address stands by itself.
pub(super) fn as_written<S: Serializer>(
    places: &[Place],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match places {
        [only] if *only == Place::only(only.address.clone()) => only.address.serialize(serializer),
        places => places.serialize(serializer),
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<Place>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"192.0.2.7:5060\", or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Place>, E> {
        Ok(vec![One.visit_str(text)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Place>, A::Error> {
        let mut places = Vec::new();
        while let Some(Listed(place)) = items.next_element()? {
            places.push(place);
        }
        match places.is_empty() {
            true => Err(de::Error::custom("the list has no address")),
            false => Ok(places),
        }
    }
}

struct Listed(Place);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_any(One).map(Listed)
    }
}

struct One;

impl<'de> Visitor<'de> for One {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or { address = \"192.0.2.8:5060\", priority = 2, weight = 10 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Place, E> {
        let address = Address::try_from(text.to_owned()).map_err(E::custom)?;
        Ok(Place::only(address))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Place, A::Error> {
        Place::deserialize(MapAccessDeserializer::new(table))
    }
}

impl Address {
    /// The IP address, unless a name is given.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        let wrong = || format!("{text:?} is no address; write for instance \"127.0.0.1:5060\"");
        if let Ok(host) = text.parse::<IpAddr>() {
            return Ok(Address {
                host: host.to_string(),
                port: None,
            });
        }
        if let Ok(both) = text.parse::<SocketAddr>() {
            return Ok(Address {
                host: both.ip().to_string(),
                port: Some(both.port()),
            });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (text.as_str(), None),
        };
        match is_host_name(host) && port != Some(0) {
            true => Ok(Address {
                host: host.to_owned(),
                port,
            }),
            false => Err(wrong()),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        match (address.port, address.host.contains(':')) {
            (Some(port), true) => format!("[{}]:{port}", address.host),
            (Some(port), false) => format!("{}:{port}", address.host),
            (None, _) => address.host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<(String, Option<u16>), String> {
        let address = Address::try_from(text.to_owned())?;
        assert_eq!(String::from(address.clone()), text);
        Ok((address.host, address.port))
    }

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        assert_eq!(
            address("127.0.0.1:5060"),
            Ok(("127.0.0.1".into(), Some(5060)))
        );
        assert_eq!(
            address("[2001:db8::1]:5060"),
            Ok(("2001:db8::1".into(), Some(5060)))
        );
        assert_eq!(address("2001:db8::1"), Ok(("2001:db8::1".into(), None)));
        assert_eq!(
            address("pbx.example.com:5080"),
            Ok(("pbx.example.com".into(), Some(5080)))
        );
        assert_eq!(address("pbx"), Ok(("pbx".into(), None)));
        for wrong in [
            "",
            ":5060",
            "pbx:",
            "pbx:99999",
            "pbx:0",
            "a b",
            "sip:pbx",
            "pbx:5060:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[derive(Debug, Deserialize)]
    struct Section {
        #[serde(deserialize_with = "one_or_more")]
        address: Vec<Place>,
    }

    fn places(text: &str) -> Result<Vec<(String, u16, u16)>, String> {
        let section: Section = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let places = section.address.into_iter();
        Ok(places
            .map(|p| (p.address.host, p.priority, p.weight))
            .collect())
    }

    #[test]
    fn one_address_or_a_list_of_addresses_and_tables() {
        assert_eq!(
            places("address = '192.0.2.7:5060'").unwrap(),
            [("192.0.2.7".into(), 1, 1)]
        );
        let list = "address = ['192.0.2.7', { address = '192.0.2.8', priority = 2, weight = 10 }]";
        assert_eq!(
            places(list).unwrap(),
            [("192.0.2.7".into(), 1, 1), ("192.0.2.8".into(), 2, 10)]
        );
    }

    #[test]
    fn a_bad_list_is_told_what_is_missing() {
        for (text, said) in [
            ("address = []", "the list has no address"),
            ("address = 5", "an address such as"),
            ("address = [5]", "an address, or {"),
            ("address = ['a b']", "is no address"),
            ("address = [{ priority = 1 }]", "missing field `address`"),
            (
                "address = [{ address = 'a', prio = 1 }]",
                "unknown field `prio`",
            ),
            (
                "address = [{ address = 'a', weight = 70000 }]",
                "invalid value",
            ),
        ] {
            let error = places(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
