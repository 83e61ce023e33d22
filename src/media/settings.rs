//! What an operator may set about media.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::io::Io;
use super::sound::{self, OpusSettings};
use super::transcode::Manner;
use super::{dtls, fault, ice};

/// The `[media]` table of the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of this machine that listens for Meta's media. Give the real one: `0.0.0.0` cannot be told to Meta
    /// unless `meta_public_address` is set.
    pub meta_address: IpAddr,
    /// Address that Meta is told, where a one-to-one NAT stands between Meta and `meta_address`. Unset: the same.
    pub meta_public_address: Option<IpAddr>,
    /// A second address of this machine, IPv6, that listens for Meta's media beside an IPv4 `meta_address`, and that Meta
    /// is told as a second ICE candidate where DTLS makes the keys. Unset: none.
    pub meta_ipv6_address: Option<Ipv6Addr>,
    /// Address of this machine that listens for the media of PBXs, and that they are told, unless a PBX has another.
    pub pbx_address: IpAddr,
    /// First and last UDP port for media, as in `"20000-29999"`. A call takes two pairs of them, so 10000 ports carry
    /// 2500 calls, resting ports aside. The firewall must let Meta's addresses reach the whole range.
    pub ports: PortRange,
    /// Seconds that ports of an ended call rest before another call gets them, so that late packets meet nobody.
    pub port_rest: u16,
    /// Threads that carry packets; 0: one for each processor.
    pub workers: u16,
    /// What carries packets between them and the kernel: `"uring"` (io_uring, Linux 6.1 or later) takes less of the
    /// processor than `"epoll"`; `"auto"` is io_uring where it is allowed, as it is not in many containers.
    pub io: Io,
    /// Seconds without any packet from one side after which a call is ended. Where DTLS makes the keys, Meta's count
    /// from when there are keys.
    pub silence_timeout: u16,
    /// Milliseconds for which the PBX may be silent before Meta is sent a frame of silence. Meta's client hangs up
    /// after 20 to 30 s without media.
    pub comfort_interval: u16,
    /// Longest time in seconds between two RTCP reports to one side.
    pub report_interval: u16,
    /// Estimated quality (MOS, 1 to 4.5) below which one direction of a leg is bad: after 10 s of it the log says so, and
    /// again when it has been better by 0.3 for as long. 1: never.
    pub bad_mos: f64,
    /// Milliseconds of what the PBX says that are kept while Meta cannot be sent to yet, and sent at once when it can: the
    /// newest, because it joins what follows. 0: none.
    pub kept_audio: u16,
    /// Milliseconds that sound which is transcoded is held back at least, so that it comes evenly; 0: as little as the
    /// network lets us.
    pub min_delay: u16,
    /// Milliseconds that it is held back at most; what comes later is lost.
    pub max_delay: u16,
    /// How much the Opus encoder works for its sound, 0 to 10.
    pub opus_complexity: u8,
    /// Percent of packets, 0 to 50, that Meta is expected to lose at least of what is transcoded: what FEC is made for, or for
    /// more where Meta reports more. 0: there is none.
    pub opus_expected_loss: u8,
    /// Whether the Opus encoder sends nothing while nobody speaks (DTX).
    pub opus_dtx: bool,
    /// Seconds for which a path to Meta is looked for by ICE, where DTLS makes the keys. Meta's client hangs up after 20 s
    /// without media.
    pub ice_timeout: u16,
    /// Seconds that the DTLS handshake with Meta may take once ICE has found the path.
    pub dtls_timeout: u16,
    /// Seconds without an answer to our ICE consent checks after which Meta is sent nothing more (RFC 7675 §5.1).
    pub consent_timeout: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            meta_address: IpAddr::from([127, 0, 0, 1]),
            meta_public_address: None,
            meta_ipv6_address: None,
            pbx_address: IpAddr::from([127, 0, 0, 1]),
            ports: PortRange {
                first: 20_000,
                last: 29_999,
            },
            port_rest: 5,
            workers: 0,
            io: Io::Auto,
            silence_timeout: 30,
            comfort_interval: 400,
            report_interval: 5,
            // Below it nearly all users are dissatisfied (G.107 Annex B).
            bad_mos: 3.1,
            kept_audio: 2_000,
            min_delay: sound::Settings::default().min_delay,
            max_delay: sound::Settings::default().max_delay,
            opus_complexity: OpusSettings::default().complexity,
            opus_expected_loss: OpusSettings::default().expected_loss,
            opus_dtx: false,
            ice_timeout: 15,
            dtls_timeout: 10,
            consent_timeout: 30,
        }
    }
}

impl Settings {
    /// What no peer could work with, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.groups();
        if self.meta_address.is_unspecified() && self.meta_public_address.is_none() {
            problems.push(
                "media.meta_address: name one address, or set meta_public_address too".into(),
            );
        }
        if self.meta_public_address.is_some_and(|a| a.is_unspecified()) {
            problems.push(
                "media.meta_public_address: Meta cannot send to an unspecified address".into(),
            );
        }
        if let Some(second) = self.meta_ipv6_address {
            if self.meta_address.is_ipv6() {
                problems.push(
                    "media.meta_ipv6_address: meta_address is IPv6 already; give that an IPv4 one, or leave this out"
                        .into(),
                );
            }
            if second.is_unspecified() || second.to_ipv4_mapped().is_some() {
                problems.push("media.meta_ipv6_address: name one IPv6 address".into());
            }
        }
        problems.extend(fault(self.pbx_address).map(|why| format!("media.pbx_address: {why}")));
        if self.silence_timeout == 0 {
            problems.push("media.silence_timeout: must be more than 0".into());
        }
        // A frame lasts 20 ms; and Meta's client hangs up after 20 s without media (troubleshooting, 2026-06-24). What was
        // kept for longer than 10 s nobody waits for. A handshake repeats a flight twelve times, which takes 25 s. Consent
        // is asked for every 4 to 6 s, and holds for 30 s at most (RFC 7675 §5.1).
        for (key, value, allowed, unit) in [
            ("comfort_interval", self.comfort_interval, 20..=10_000, "ms"),
            ("report_interval", self.report_interval, 1..=15, "s"),
            ("kept_audio", self.kept_audio, 0..=10_000, "ms"),
            ("max_delay", self.max_delay, 40..=1_000, "ms"),
            (
                "min_delay",
                self.min_delay,
                0..=self.max_delay.min(500),
                "ms",
            ),
            ("ice_timeout", self.ice_timeout, 1..=60, "s"),
            ("dtls_timeout", self.dtls_timeout, 1..=25, "s"),
            ("consent_timeout", self.consent_timeout, 10..=30, "s"),
        ] {
            if !allowed.contains(&value) {
                let (from, to) = allowed.into_inner();
                problems.push(format!("media.{key}: must be {from} to {to} {unit}"));
            }
        }
        if self.opus_complexity > 10 {
            problems.push("media.opus_complexity: must be 0 to 10".into());
        }
        if self.opus_expected_loss > 50 {
            problems.push("media.opus_expected_loss: must be 0 to 50 percent".into());
        }
        if !(1.0..=4.0).contains(&self.bad_mos) {
            problems.push("media.bad_mos: must be 1 to 4, for a call without fault has 4.4".into());
        }
        problems
    }

    /// Addresses that are nobody's own: datagrams to them reach many, or none.
    fn groups(&self) -> Vec<String> {
        let is_group = |address: &IpAddr| address.is_multicast() || *address == Ipv4Addr::BROADCAST;
        let addresses = [
            ("meta_address", Some(self.meta_address)),
            ("meta_public_address", self.meta_public_address),
            ("meta_ipv6_address", self.meta_ipv6_address.map(IpAddr::V6)),
        ];
        let groups = addresses
            .into_iter()
            .filter_map(|(key, address)| Some((key, address.filter(is_group)?)));
        let problem =
            |(key, address)| format!("media.{key}: {address} is no address of one host; name one");
        groups.map(problem).collect()
    }

    /// What Meta's SDP must say instead of `meta_address`.
    pub fn announced_to_meta(&self) -> IpAddr {
        self.meta_public_address.unwrap_or(self.meta_address)
    }

    /// Sockets of one session: for Meta one of each version of IP, and a pair for the PBX.
    pub fn sockets(&self) -> u64 {
        3 + u64::from(self.meta_ipv6_address.is_some())
    }

    /// `workers`, with 0 resolved.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => usize::from(n),
        }
    }

    /// The times that every session keeps.
    pub fn timing(&self) -> Timing {
        Timing {
            silence: Duration::from_secs(self.silence_timeout.into()),
            comfort: Duration::from_millis(self.comfort_interval.into()),
            report: Duration::from_secs(self.report_interval.into()),
            bad_mos: self.bad_mos,
            keep: Duration::from_millis(self.kept_audio.into()),
        }
    }

    /// How sound is treated that is transcoded.
    pub(crate) fn manner(&self) -> Manner {
        Manner {
            opus: OpusSettings {
                complexity: self.opus_complexity,
                expected_loss: self.opus_expected_loss,
                dtx: self.opus_dtx,
                ..OpusSettings::default()
            },
            player: sound::Settings {
                min_delay: self.min_delay,
                max_delay: self.max_delay,
            },
        }
    }

    /// The times that ICE keeps.
    pub fn ice(&self) -> ice::Settings {
        ice::Settings {
            give_up: Duration::from_secs(self.ice_timeout.into()),
            lost: Duration::from_secs(self.consent_timeout.into()),
            ..ice::Settings::default()
        }
    }

    /// How DTLS handshakes are done.
    pub fn dtls(&self) -> dtls::Settings {
        dtls::Settings {
            give_up: Duration::from_secs(self.dtls_timeout.into()),
            ..dtls::Settings::default()
        }
    }
}

/// The times that every session keeps.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a leg may send nothing at all.
    pub silence: Duration,
    /// How long Meta may be sent nothing.
    pub comfort: Duration,
    /// Longest time between two RTCP reports.
    pub report: Duration,
    /// Score below which one direction of a leg is bad.
    pub bad_mos: f64,
    /// How much of what the PBX says is kept until Meta can be sent to.
    pub keep: Duration,
}

/// UDP ports, both ends included; written `"20000-29999"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// A range that holds at least one even port with its odd successor, else `None`.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        let range = PortRange { first, last };
        (first > 0 && range.pairs().next().is_some()).then_some(range)
    }

    /// Lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Every even port whose successor is in the range too.
    pub fn pairs(self) -> impl Iterator<Item = u16> {
        (self.first..self.last).filter(|port| port % 2 == 0)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends = text
            .split_once('-')
            .and_then(|(first, last)| Some((port(first)?, port(last)?)));
        ends.and_then(|(first, last)| PortRange::new(first, last))
            .ok_or_else(|| {
                format!("{text:?} is no port range with at least one even port and its successor")
            })
    }
}

fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_default_has_no_problem() {
        let settings: Settings = toml::from_str("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.problems(), Vec::<String>::new());
    }

    #[test]
    fn a_port_range_is_read_as_written_and_nonsense_is_refused() {
        let settings: Settings = toml::from_str("ports = \"30001-30004\"").unwrap();
        assert_eq!(settings.ports.pairs().collect::<Vec<_>>(), [30002]);
        assert_eq!(settings.ports.to_string(), "30001-30004");
        for wrong in [
            "",
            "20000",
            "30001-30002",
            "29999-20000",
            "0-70000",
            "0-9",
            "a-b",
        ] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Settings>("prots = \"30000-30100\"").is_err());
    }

    #[test]
    fn intervals_at_which_whatsapp_would_hang_up_are_problems() {
        for (comfort_interval, report_interval, key) in [
            (19, 5, "media.comfort_interval: "),
            (10_001, 5, "media.comfort_interval: "),
            (400, 0, "media.report_interval: "),
            (400, 16, "media.report_interval: "),
        ] {
            let settings = Settings {
                comfort_interval,
                report_interval,
                ..Settings::default()
            };
            has_one_problem(&settings, key);
        }
    }

    fn has_one_problem(settings: &Settings, key: &str) {
        let problems = settings.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(key), "{problems:?}");
    }

    #[test]
    fn times_that_no_call_could_live_with_are_problems() {
        for (text, key) in [
            ("kept_audio = 10001", "media.kept_audio: "),
            ("ice_timeout = 0", "media.ice_timeout: "),
            ("ice_timeout = 61", "media.ice_timeout: "),
            ("dtls_timeout = 0", "media.dtls_timeout: "),
            ("dtls_timeout = 26", "media.dtls_timeout: "),
            ("consent_timeout = 9", "media.consent_timeout: "),
            ("consent_timeout = 31", "media.consent_timeout: "),
            ("bad_mos = 4.5", "media.bad_mos: "),
            ("bad_mos = 0.5", "media.bad_mos: "),
            ("bad_mos = nan", "media.bad_mos: "),
        ] {
            has_one_problem(&toml::from_str(text).unwrap(), key);
        }
        for text in [
            "kept_audio = 0",
            "dtls_timeout = 25",
            "consent_timeout = 10",
        ] {
            let settings: Settings = toml::from_str(text).unwrap();
            assert_eq!(settings.problems(), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn times_reach_ice_dtls_and_the_packet_path() {
        let text = "kept_audio = 3\nice_timeout = 4\ndtls_timeout = 5\nconsent_timeout = 16";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.timing().keep, Duration::from_millis(3));
        assert_eq!(settings.ice().give_up, Duration::from_secs(4));
        assert_eq!(settings.dtls().give_up, Duration::from_secs(5));
        assert_eq!(settings.ice().lost, Duration::from_secs(16));
    }

    #[test]
    fn the_second_address_is_of_the_other_version_of_ip_and_one_address() {
        let key = "media.meta_ipv6_address: ";
        for text in [
            "meta_address = \"2001:db8::1\"\nmeta_ipv6_address = \"2001:db8::2\"",
            "meta_ipv6_address = \"::\"",
            "meta_ipv6_address = \"::ffff:192.0.2.1\"",
        ] {
            has_one_problem(&toml::from_str(text).unwrap(), key);
        }
        assert!(toml::from_str::<Settings>("meta_ipv6_address = \"192.0.2.1\"").is_err());
        let settings: Settings = toml::from_str("meta_ipv6_address = \"2001:db8::2\"").unwrap();
        assert_eq!(settings.problems(), Vec::<String>::new());
        assert_eq!((settings.sockets(), Settings::default().sockets()), (4, 3));
    }

    #[test]
    fn an_address_of_many_hosts_is_a_problem() {
        for (key, address) in [
            ("meta_address", "224.0.0.251"),
            ("meta_public_address", "255.255.255.255"),
            ("meta_ipv6_address", "ff02::1"),
            ("pbx_address", "239.1.1.1"),
        ] {
            let settings = toml::from_str(&format!("{key} = \"{address}\"")).unwrap();
            has_one_problem(&settings, &format!("media.{key}: {address} is no address"));
        }
    }

    #[test]
    fn an_address_that_cannot_be_announced_is_a_problem() {
        let any = IpAddr::from([0, 0, 0, 0]);
        let settings = Settings {
            meta_address: any,
            pbx_address: any,
            report_interval: 0,
            ..Settings::default()
        };
        assert_eq!(settings.problems().len(), 3);
        let public = Some(IpAddr::from([203, 0, 113, 1]));
        assert_eq!(
            Settings {
                meta_public_address: public,
                ..settings
            }
            .problems()
            .len(),
            2
        );
    }
}
