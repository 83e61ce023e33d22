//! The names that Meta calls us by: they lead to this host, and from outside.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::finding::Finding;
use super::probe::{is_here, is_public, resolve};
use crate::config::Config;

const ABOUT: &str = "name";

pub async fn check(config: &Config) -> Vec<Finding> {
    if config.meta.address.is_some() {
        return vec![Finding::warn(
            ABOUT,
            "meta.address is set: calls go to a simulator, so the names were not looked up",
            "take meta.address out to reach Meta itself",
        )];
    }
    let mut findings = Vec::new();
    for (name, key) in hostnames(config) {
        let found = resolve(&name, 0).await;
        let found = found.map(|all| all.iter().map(|address| address.ip()).collect::<Vec<_>>());
        findings.push(judge(
            key,
            &name,
            &found,
            is_here,
            config.media.meta_public_address,
        ));
    }
    findings
}

/// Every name once, with the key that it was read from.
pub fn hostnames(config: &Config) -> BTreeMap<String, &'static str> {
    let mut names: BTreeMap<_, _> = config
        .numbers
        .iter()
        .map(|number| (number.hostname.clone(), "number.hostname"))
        .collect();
    names.insert(config.meta.hostname.clone(), "meta.hostname");
    names
}

/// `here`: whether this host has an address; `nat`: the one that a NAT in front of it has.
fn judge(
    key: &str,
    name: &str,
    found: &Result<Vec<IpAddr>, String>,
    here: impl Fn(IpAddr) -> bool,
    nat: Option<IpAddr>,
) -> Finding {
    let addresses = match found {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return nowhere(key, name, "it has no address"),
        Err(why) => return nowhere(key, name, why),
    };
    let listed = || {
        addresses
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(private) = addresses.iter().find(|ip| !is_public(**ip)) {
        return Finding::fail(
            ABOUT,
            format!("{key} {name} leads to {private}, which nobody on the internet can reach"),
            "let the public DNS name the public address. If it does, this host asks other name servers or has the name in \
             /etc/hosts",
        );
    }
    let elsewhere = |ip: &&IpAddr| !here(**ip) && nat != Some(**ip);
    match addresses.iter().find(elsewhere) {
        None => Finding::ok(
            ABOUT,
            format!("{key} {name} leads to {}, which is ours", listed()),
        ),
        Some(other) => Finding::warn(
            ABOUT,
            format!(
                "{key} {name} leads to {other}, which neither this host has nor media.meta_public_address names"
            ),
            "if a NAT has that address and passes TCP on to meta.listen, all is well; otherwise Meta connects to another \
             host: change the name's address",
        ),
    }
}

fn nowhere(key: &str, name: &str, why: &str) -> Finding {
    Finding::fail(
        ABOUT,
        format!("{key} {name} leads nowhere: {why}"),
        "add an A or AAAA record with the public address of this host; Meta looks the name up",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(31, 1, 2, 3));

    fn level(found: Result<Vec<&str>, &str>, nat: Option<IpAddr>) -> Level {
        let found = found
            .map(|all| all.iter().map(|ip| ip.parse().unwrap()).collect())
            .map_err(str::to_owned);
        judge(
            "meta.hostname",
            "bridge.example.com",
            &found,
            |ip| ip == OURS,
            nat,
        )
        .level
    }

    #[test]
    fn a_name_must_lead_to_a_public_address_of_ours() {
        assert_eq!(level(Ok(vec!["31.1.2.3"]), None), Level::Ok);
        assert_eq!(
            level(Ok(vec!["8.8.8.8"]), Some("8.8.8.8".parse().unwrap())),
            Level::Ok
        );
        assert_eq!(level(Ok(vec!["8.8.8.8"]), None), Level::Warn);
        assert_eq!(level(Ok(vec!["31.1.2.3", "8.8.8.8"]), None), Level::Warn);
        assert_eq!(level(Ok(vec!["192.168.1.4"]), None), Level::Fail);
        assert_eq!(level(Ok(vec![]), None), Level::Fail);
        assert_eq!(level(Err("no such name"), None), Level::Fail);
    }
}
