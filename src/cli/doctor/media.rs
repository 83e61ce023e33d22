//! Media: ports that are free and enough, and addresses that Meta and each PBX can send to.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::finding::Finding;
use super::probe::{is_here, is_public};
use crate::config::Config;
use crate::media::{Facing, Settings};

const ABOUT: &str = "media";
/// Ports that are named one by one.
const NAMED: usize = 5;

pub fn check(config: &Config) -> Vec<Finding> {
    let media = &config.media;
    let mut findings = addresses(config)
        .into_iter()
        .map(|(key, ip)| judge_ports(&key, ip, &taken(media, ip), ports(media)))
        .collect::<Vec<_>>();
    // With meta.address set, "Meta" is a simulator, and may well be here.
    if config.meta.address.is_none() {
        findings.push(judge_way(
            media.meta_address,
            media.meta_public_address,
            is_here,
        ));
    }
    findings
}

/// Every address that media is received at, once.
fn addresses(config: &Config) -> Vec<(String, IpAddr)> {
    let media = &config.media;
    let mut seen = BTreeSet::new();
    let metas = [
        ("media.meta_address", Some(media.meta_address)),
        (
            "media.meta_ipv6_address",
            media.meta_ipv6_address.map(IpAddr::V6),
        ),
    ];
    let metas = metas
        .into_iter()
        .filter_map(|(key, ip)| Some((key.to_owned(), ip?)));
    let pbxs = config.pbxs.iter().map(|pbx| {
        let key = pbx.media_key(&format!("pbx[{}]", pbx.name));
        (key, pbx.facing(media).address)
    });
    let all = metas.chain(pbxs);
    all.filter(|(_, ip)| seen.insert(*ip)).collect()
}

/// Whether what a PBX sends to the address that it is told can arrive, and what is sent from there can leave.
pub fn judge_pbxs_way(name: &str, pbx: SocketAddr, facing: Facing) -> Finding {
    let Facing { address, announced } = facing;
    let theirs = if pbx.is_ipv4() { "IPv4" } else { "IPv6" };
    if pbx.is_ipv4() != announced.is_ipv4() {
        return Finding::warn(
            ABOUT,
            format!("{name} is at {pbx}, and is told to send media to {announced}"),
            format!(
                "set pbx.media_address to an {theirs} address of this host, unless the PBX has both"
            ),
        );
    }
    let leaves = UdpSocket::bind((address, 0)).and_then(|socket| socket.connect(pbx));
    match leaves {
        Err(error) => Finding::fail(
            ABOUT,
            format!(
                "{name}: no media can be sent from {address} to {}: {error}",
                pbx.ip()
            ),
            "set pbx.media_address to the address of this host on the way to the PBX (ip route get)",
        ),
        Ok(()) if address != announced => Finding::note(
            ABOUT,
            format!(
                "{name} is told {announced}, and media leaves from {address}: a NAT must translate one into the other"
            ),
            "it must keep the ports as they are (one to one), in both directions, for all of media.ports",
        ),
        Ok(()) => Finding::ok(
            ABOUT,
            format!("{name} is told to send media to {announced}, which is this host's"),
        ),
    }
}

fn ports(media: &Settings) -> usize {
    usize::from(media.ports.last() - media.ports.first()) + 1
}

/// The ports that cannot be bound, and why.
fn taken(media: &Settings, ip: IpAddr) -> Vec<(u16, io::Error)> {
    (media.ports.first()..=media.ports.last())
        .filter_map(|port| Some((port, UdpSocket::bind((ip, port)).err()?)))
        .collect()
}

fn judge_ports(key: &str, ip: IpAddr, taken: &[(u16, io::Error)], ports: usize) -> Finding {
    let Some((_, error)) = taken.first() else {
        return Finding::ok(
            ABOUT,
            format!("all {ports} UDP ports of media.ports are free on {ip}"),
        );
    };
    if taken.len() == ports {
        let public = match key.starts_with("media.meta") {
            true => "media.meta_public_address",
            false => "pbx.media_public_address",
        };
        let remedy = match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                format!("set it to an address of this host (ip address); that of a NAT is {public}")
            }
            _ => "choose another range".to_owned(),
        };
        return Finding::fail(
            ABOUT,
            format!("{key}: no port can be bound on {ip}: {error}"),
            remedy,
        );
    }
    let named: Vec<String> = taken
        .iter()
        .take(NAMED)
        .map(|(port, _)| port.to_string())
        .collect();
    let more = if taken.len() > NAMED { " …" } else { "" };
    Finding::warn(
        ABOUT,
        format!(
            "{} of {ports} UDP ports of media.ports are taken on {ip}: {}{more}",
            taken.len(),
            named.join(", ")
        ),
        "those of calls that are up are the bridge's own; of other programs: ss -lunp names them, keep them out of the range \
         (net.ipv4.ip_local_reserved_ports)",
    )
}

/// Whether what Meta sends to the address that it is told can arrive.
fn judge_way(ours: IpAddr, told: Option<IpAddr>, here: impl Fn(IpAddr) -> bool) -> Finding {
    let shown = told.unwrap_or(ours);
    if !is_public(shown) {
        return Finding::fail(
            ABOUT,
            format!(
                "Meta is told to send media to {shown}, which nobody on the internet can reach"
            ),
            "set media.meta_public_address to the public address that the NAT in front of this host has, and pass UDP \
             media.ports on to it",
        );
    }
    match told {
        Some(told) if told != ours && here(told) => Finding::warn(
            ABOUT,
            format!(
                "media.meta_public_address {told} is this host's own, and media comes from {ours}"
            ),
            "set media.meta_address to it, and leave media.meta_public_address out",
        ),
        Some(told) if told != ours => Finding::note(
            ABOUT,
            format!(
                "Meta is told {told}, and media leaves from {ours}: a NAT must translate one into the other"
            ),
            "it must keep the ports as they are (one to one), in both directions, for all of media.ports",
        ),
        _ => Finding::ok(
            ABOUT,
            format!("Meta is told to send media to {shown}, which is this host's"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::media::PortRange;

    #[test]
    fn a_port_that_another_program_has_is_named() {
        let ip = IpAddr::from([127, 87, 200, 1]);
        let other = UdpSocket::bind((ip, 20_003)).unwrap();
        let media = Settings {
            ports: PortRange::new(20_000, 20_009).unwrap(),
            ..Settings::default()
        };
        let finding = judge_ports("media.meta_address", ip, &taken(&media, ip), ports(&media));
        assert_eq!(finding.level, Level::Warn, "{finding}");
        assert!(
            finding.what.contains("1 of 10") && finding.what.contains("20003"),
            "{finding}"
        );
        drop(other);
        let finding = judge_ports("media.meta_address", ip, &taken(&media, ip), ports(&media));
        assert_eq!(finding.level, Level::Ok, "{finding}");
    }

    #[test]
    fn an_address_of_another_host_is_the_keys_fault() {
        let ip = "192.0.2.10".parse().unwrap();
        let media = Settings {
            ports: PortRange::new(20_000, 20_009).unwrap(),
            ..Settings::default()
        };
        let finding = judge_ports("media.meta_address", ip, &taken(&media, ip), ports(&media));
        assert_eq!(finding.level, Level::Fail, "{finding}");
        assert!(finding.remedy.contains("address of this host"), "{finding}");
    }

    #[test]
    fn a_pbx_must_be_told_an_address_that_is_on_the_way_to_it() {
        let way = |pbx: &str, ours: &str, told: &str| {
            let facing = Facing {
                address: ours.parse().unwrap(),
                announced: told.parse().unwrap(),
            };
            judge_pbxs_way("main", pbx.parse().unwrap(), facing).level
        };
        assert_eq!(
            way("127.0.0.1:5060", "127.87.200.2", "127.87.200.2"),
            Level::Ok
        );
        assert_eq!(way("[::1]:5060", "::1", "::1"), Level::Ok);
        assert_eq!(
            way("[::1]:5060", "127.87.200.2", "127.87.200.2"),
            Level::Warn
        );
        assert_eq!(
            way("127.0.0.1:5060", "127.87.200.2", "203.0.113.1"),
            Level::Note
        );
        // Reserved for documents (RFC 5737): no host has it.
        assert_eq!(way("127.0.0.1:5060", "192.0.2.1", "192.0.2.1"), Level::Fail);
    }

    #[test]
    fn meta_must_be_told_an_address_that_it_can_send_to() {
        let way = |ours: &str, told: Option<&str>, here: bool| {
            let told = told.map(|told| told.parse().unwrap());
            judge_way(ours.parse().unwrap(), told, |_| here).level
        };
        assert_eq!(way("10.0.0.5", None, false), Level::Fail);
        assert_eq!(way("10.0.0.5", Some("192.168.0.1"), false), Level::Fail);
        assert_eq!(way("10.0.0.5", Some("31.1.2.3"), false), Level::Note);
        assert_eq!(way("10.0.0.5", Some("31.1.2.3"), true), Level::Warn);
        assert_eq!(way("31.1.2.3", None, true), Level::Ok);
    }
}
