//! A trace as a capture that Wireshark opens: one interface a leg, each message a datagram between the addresses that it
//! really went between, what the bridge noted as comments.
//!
//! What went over TLS or TCP is a datagram as well: it is read without keys, and message by message. So is media, where it
//! was recorded.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use super::in_clear::in_clear;
use super::{Media, MediaPacket, Packet, Side, Trace, What};
use crate::sip::transport::Protocol;

/// Nanoseconds, as a power of ten (pcapng, if_tsresol).
const NANOSECONDS: u8 = 9;
/// Most of a comment; the format has 16 bits for its length.
const MOST_COMMENT: usize = 4096;
const TIME_TO_LIVE: u8 = 64;
/// What is said of a file with media.
const IN_CLEAR: &str = "Media is decrypted in this file: it has what people said. SDP names RTP where it named SRTP, so \
    that Wireshark reads it; the comments of those messages say so.";

/// Why a capture could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file.
    #[error(transparent)]
    File(#[from] pcap_file::PcapError),
    /// A packet that IP has no room for.
    #[error("a message cannot be made a packet: {0}")]
    Packet(#[from] etherparse::err::packet::BuildWriteError),
}

/// Both ends of a leg, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

/// A packet on its way into the file.
struct Written {
    after_ns: u64,
    leg: Side,
    data: Vec<u8>,
    comments: Vec<String>,
}

/// Writes a trace as pcapng, with its media or without.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(trace: &Trace, media: Option<&Media>, out: impl Write) -> Result<(), PcapError> {
    let mut options = vec![SectionHeaderOption::UserApplication("wabridge".into())];
    if media.is_some() {
        options.push(SectionHeaderOption::Comment(IN_CLEAR.into()));
    }
    let section = SectionHeaderBlock {
        options,
        ..SectionHeaderBlock::default()
    };
    let mut writer = PcapNgWriter::with_section_header(out, section)?;
    for side in [Side::Meta, Side::Pbx] {
        writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(side.name().into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
    }
    for packet in packets(trace, media)? {
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: packet.leg as u32,
            timestamp: Duration::from_nanos(trace.head.began_ns.saturating_add(packet.after_ns)),
            original_len: u32::try_from(packet.data.len()).unwrap_or(u32::MAX),
            data: Cow::Owned(packet.data),
            options: packet
                .comments
                .iter()
                .map(|comment| EnhancedPacketOption::Comment(comment.as_str().into()))
                .collect(),
        })?;
    }
    Ok(())
}

/// All that the file has, in the order of its times.
fn packets(trace: &Trace, media: Option<&Media>) -> Result<Vec<Written>, PcapError> {
    let comments = comments(trace);
    let mut packets = Vec::new();
    for ((event, packet), mut comments) in trace.packets().zip(comments) {
        let open = media.and_then(|_| in_clear(&packet.octets));
        let octets = match open {
            Some((octets, words)) => {
                comments.push(words);
                Cow::Owned(octets)
            }
            None => Cow::Borrowed(&packet.octets[..]),
        };
        let leg = ends(trace, packet.leg);
        let remote = packet.remote.or(leg.remote).unwrap_or(nowhere());
        let local = packet.local.or(leg.local).unwrap_or(nowhere());
        packets.push(Written {
            after_ns: event.after_ns,
            leg: packet.leg,
            data: datagram(packet.sent, local, remote, &octets)?,
            comments,
        });
    }
    for packet in media.into_iter().flat_map(|media| &media.packets) {
        packets.push(of_media(packet)?);
    }
    packets.sort_by_key(|packet| packet.after_ns);
    Ok(packets)
}

fn of_media(packet: &MediaPacket) -> Result<Written, PcapError> {
    Ok(Written {
        after_ns: packet.after_ns,
        leg: packet.leg,
        data: datagram(packet.sent, packet.local, packet.remote, &packet.octets)?,
        comments: Vec::new(),
    })
}

/// What is noted, with the message that came before it on the leg that it is about.
fn comments(trace: &Trace) -> Vec<Vec<String>> {
    let mut comments: Vec<(Side, Vec<String>)> = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::Message(packet) => comments.push((packet.leg, about(packet))),
            What::Mark { leg, words } => {
                let fits =
                    |(side, _): &&mut (Side, Vec<String>)| leg.is_none_or(|leg| leg == *side);
                if let Some((_, comments)) = comments.iter_mut().rev().find(fits) {
                    let leg = leg.map_or_else(String::new, |leg| format!("{}: ", leg.name()));
                    comments.push(short(&format!("{leg}{words}")));
                }
            }
        }
    }
    comments.into_iter().map(|(_, comments)| comments).collect()
}

/// What a datagram alone would not tell.
fn about(packet: &Packet) -> Vec<String> {
    let mut about = Vec::new();
    if packet.protocol != Protocol::Udp {
        about.push(format!("went over {}", packet.protocol.name()));
    }
    if let Some(hop) = packet.hop.as_ref().filter(|_| packet.remote.is_none()) {
        about.push(short(&format!("sent to {hop}")));
    }
    if let Some(fault) = &packet.fault {
        about.push(short(&format!("unreadable: {fault}")));
    }
    if packet.length > packet.octets.len() {
        about.push(format!("the first of {} octets", packet.length));
    }
    about
}

fn short(text: &str) -> String {
    text.chars().take(MOST_COMMENT / 4).collect()
}

/// The addresses of a leg. A request to a next hop does not say them, the answer does.
fn ends(trace: &Trace, leg: Side) -> Ends {
    let of = |which: fn(&Packet) -> Option<SocketAddr>| {
        let mut packets = trace.packets().filter(|(_, packet)| packet.leg == leg);
        packets.find_map(|(_, packet)| which(packet))
    };
    Ends {
        local: of(|packet| packet.local),
        remote: of(|packet| packet.remote),
    }
}

fn datagram(
    sent: bool,
    local: SocketAddr,
    remote: SocketAddr,
    octets: &[u8],
) -> Result<Vec<u8>, PcapError> {
    let (from, to) = match sent {
        true => (local, remote),
        false => (remote, local),
    };
    let (from, to) = of_one_family(from, to);
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => PacketBuilder::ipv4(a.octets(), b.octets(), TIME_TO_LIVE),
        (a, b) => PacketBuilder::ipv6(v6(a).octets(), v6(b).octets(), TIME_TO_LIVE),
    };
    let builder = builder.udp(from.port(), to.port());
    let mut data = Vec::with_capacity(builder.size(octets.len()));
    builder.write(&mut data, octets)?;
    Ok(data)
}

/// Of an end that nobody learnt, as where a connection could not be opened.
fn nowhere() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), Protocol::Udp.default_port())
}

/// A socket on all addresses may have been asked for as IPv6 and be heard by IPv4.
fn of_one_family(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let beside =
        |at: SocketAddr, other: SocketAddr| match at.ip().is_unspecified() && other.is_ipv4() {
            true => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port()),
            false => at,
        };
    let (a, b) = (canonical(a), canonical(b));
    (beside(a, b), beside(b, a))
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
