//! Which address a PBX has for media, held against where the PBX is.

use std::net::IpAddr;

use super::Pbx;
use super::document::Document;
use crate::media::{self, Facing};

impl Pbx {
    /// Where its media is received, and what it is told.
    pub fn facing(&self, media: &media::Settings) -> Facing {
        let address = self.media_address.unwrap_or(media.pbx_address);
        Facing {
            address,
            announced: self.media_public_address.unwrap_or(address),
        }
    }

    /// The key that says where its media is received, if its section is called `at`.
    pub fn media_key(&self, at: &str) -> String {
        match self.media_address {
            Some(_) => format!("{at}.media_address"),
            None => "media.pbx_address".to_owned(),
        }
    }

    pub(super) fn check_media(&self, at: &str, media: &media::Settings, document: &Document<'_>) {
        let own = [
            ("media_address", self.media_address),
            ("media_public_address", self.media_public_address),
        ];
        let faults = own.map(|(key, address)| Some((key, media::fault(address?)?)));
        for (key, why) in faults.iter().flatten() {
            document.problem(&format!("{at}.{key}"), why, "");
        }
        if faults.iter().flatten().next().is_some() {
            return;
        }
        let facing = self.facing(media);
        if facing.address.is_ipv4() == facing.announced.is_ipv4() {
            self.check_way(at, facing.announced, document);
            return;
        }
        let Facing { address, announced } = facing;
        document.problem(
            &format!("{at}.media_public_address"),
            &format!("{announced} and media_address ({address}) are not of one IP version"),
            "give what the NAT makes of media_address; without a NAT set media_address alone",
        );
    }

    /// What the PBX is told must be something that it can send to.
    fn check_way(&self, at: &str, told: IpAddr, document: &Document<'_>) {
        let (name, ips) = (&self.name, self.address.iter());
        let ips: Vec<IpAddr> = ips.filter_map(|place| place.address.ip()).collect();
        let useless = told.is_loopback() && ips.iter().any(|ip| !ip.is_loopback());
        let cannot = format!("the PBX {name:?} cannot send to {told}");
        // One that has both versions of IP is told apart by neither.
        let apart = ips.iter().all(|ip| ip.is_ipv4() != told.is_ipv4());
        let Some(pbx) = ips.first().filter(|_| apart) else {
            if useless {
                let key = match self.media_public_address {
                    Some(_) => format!("{at}.media_public_address"),
                    None => self.media_key(at),
                };
                let remedy = "set it to this host's address on the way to the PBX";
                document.problem(&key, &cannot, remedy);
            }
            return;
        };
        let (key, theirs, ours) = (format!("{at}.media_address"), version(*pbx), version(told));
        let remedy = format!("set it to an {theirs} address of this host on the way to the PBX");
        if useless {
            document.problem(&key, &cannot, &remedy);
        } else {
            let what = format!(
                "the PBX {name:?} has {theirs}, and is told to send media to {told}, which is {ours}"
            );
            let remedy = format!("{remedy}, unless that has {ours} as well");
            document.warning(&key, &what, &remedy);
        }
    }
}

fn version(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}
