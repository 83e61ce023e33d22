//! Lists of networks; a plain address stands for itself alone.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

/// One entry of a list.
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Network).ok_or_else(|| {
            let what = "is neither a network such as \"10.0.0.0/8\" nor an address";
            de::Error::custom(format!("{text:?} {what}"))
        })
    }
}

/// For a list that is there or has a default.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let list = Vec::<Network>::deserialize(deserializer)?;
    Ok(list.into_iter().map(|Network(network)| network).collect())
}

/// For a list that may be unset.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<IpNet>>, D::Error> {
    list(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Lists {
        #[serde(deserialize_with = "list")]
        set: Vec<IpNet>,
        #[serde(default, deserialize_with = "optional")]
        unset: Option<Vec<IpNet>>,
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        let lists: Lists = toml::from_str("set = ['192.0.2.7', '::1', '10.0.0.0/8']").unwrap();
        let expected = ["192.0.2.7/32", "::1/128", "10.0.0.0/8"].map(|net| net.parse().unwrap());
        assert_eq!(lists.set, expected);
        assert_eq!(lists.unset, None);
        let error = toml::from_str::<Lists>("set = ['10.0.0.0/33']")
            .err()
            .unwrap();
        assert!(error.message().contains("neither a network"), "{error}");
    }
}
