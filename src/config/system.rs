//! What this machine uses its ports for, as far as settings depend on it.

use std::ops::RangeInclusive;

/// The ports that the kernel gives to whoever opens a socket without naming one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ephemeral {
    /// `net.ipv4.ip_local_port_range`; it holds for IPv6 too.
    range: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`: those that it keeps away from.
    reserved: Vec<RangeInclusive<u16>>,
}

impl Ephemeral {
    /// What the kernel says; nothing where it says nothing.
    pub(super) fn read() -> Ephemeral {
        let setting = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
            text.unwrap_or_default()
        };
        Ephemeral::parse(
            &setting("ip_local_port_range"),
            &setting("ip_local_reserved_ports"),
        )
    }

    fn parse(range: &str, reserved: &str) -> Ephemeral {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let mut ends = range.split_whitespace().map(port);
        let ends = ends.next().flatten().zip(ends.next().flatten());
        let reserved = reserved.trim().split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(port(first)?..=port(last)?)
        });
        Ephemeral {
            range: ends.map(|(first, last)| first..=last),
            reserved: reserved.collect(),
        }
    }

    /// Which of these ports the kernel may give to somebody else: the first and the last of them.
    pub(super) fn within(&self, ports: RangeInclusive<u16>) -> Option<(u16, u16)> {
        let range = self.range.as_ref()?;
        let is_reserved = |port: &u16| self.reserved.iter().any(|range| range.contains(port));
        let mut given = ports.filter(|port| range.contains(port) && !is_reserved(port));
        let first = given.next()?;
        Some((first, given.next_back().unwrap_or(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_kernel_gives_to_others_are_found_unless_they_are_reserved() {
        let usual = Ephemeral::parse("32768\t60999\n", "\n");
        assert_eq!(usual.within(20000..=29999), None);
        assert_eq!(usual.within(30000..=39999), Some((32768, 39999)));
        assert_eq!(usual.within(60999..=65535), Some((60999, 60999)));
        let reserved = Ephemeral::parse("32768\t60999\n", "8080,30000-39999\n");
        assert_eq!(reserved.within(30000..=39999), None);
        assert_eq!(reserved.within(39998..=40001), Some((40000, 40001)));
    }

    #[test]
    fn a_system_that_says_nothing_is_believed_to_use_nothing() {
        assert_eq!(Ephemeral::parse("", ""), Ephemeral::default());
        assert_eq!(Ephemeral::default().within(1..=65535), None);
    }
}
