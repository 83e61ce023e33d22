//! What one side agreed to: its peer, its payload numbers, its keys.

use super::demux::Kind;
use super::peer::Peer;
use super::srtp::{self, KeyError, SrtpError};
use super::{Codec, Payload, Security, SideSpec};

/// Octets of an event: code, flags and volume, duration (RFC 4733 §2.3).
const EVENT_LEN: usize = 4;

/// What holds from one agreement to the next.
pub(crate) struct Agreed {
    spec: SideSpec,
    pub(crate) peer: Peer,
    sender: Option<srtp::Sender>,
    receiver: Option<srtp::Receiver>,
}

impl Agreed {
    /// What is agreed now, after `old`. Contexts of unchanged keys and a learnt address live on: a key stream must not
    /// begin anew under the same key.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub(crate) fn new(spec: SideSpec, old: Option<Agreed>) -> Result<Agreed, KeyError> {
        if let Some(old) = old.filter(|old| old.spec.security == spec.security) {
            let peer = if old.peer.is_still(&spec) {
                old.peer
            } else {
                Peer::new(&spec)
            };
            return Ok(Agreed { peer, spec, ..old });
        }
        let keys = match &spec.security {
            Security::Sdes(keys) => Some(keys),
            Security::Plain | Security::Dtls(_) => None,
        };
        let sender = keys
            .map(|k| srtp::Sender::new(k.profile, &k.send))
            .transpose()?;
        let receiver = keys
            .map(|k| srtp::Receiver::new(k.profile, &k.receive))
            .transpose()?;
        Ok(Agreed {
            peer: Peer::new(&spec),
            spec,
            sender,
            receiver,
        })
    }

    /// Whether RTP may be sent, and there is somewhere to send it to.
    pub(crate) fn may_send(&self) -> bool {
        self.spec.direction.sends() && self.peer.rtp().is_some()
    }

    /// Whether RTP of the peer is to be heard on the other side.
    pub(crate) fn may_receive(&self) -> bool {
        self.spec.direction.receives()
    }

    /// The packet in clear: as it came, or opened into `clear`.
    pub(crate) fn open<'a>(
        &mut self,
        kind: Kind,
        datagram: &'a [u8],
        clear: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SrtpError> {
        match (&mut self.receiver, kind) {
            (None, _) => return Ok(datagram),
            (Some(receiver), Kind::Rtcp) => receiver.unprotect_rtcp(datagram, clear)?,
            (Some(receiver), _) => receiver.unprotect_rtp(datagram, clear)?,
        }
        Ok(clear)
    }

    /// The packet for the wire: as it is, or sealed into `sealed`.
    pub(crate) fn seal<'a>(
        &mut self,
        kind: Kind,
        packet: &'a [u8],
        sealed: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SrtpError> {
        match (&mut self.sender, kind) {
            (None, _) => return Ok(packet),
            (Some(sender), Kind::Rtcp) => sender.protect_rtcp(packet, sealed)?,
            (Some(sender), _) => sender.protect_rtp(packet, sealed)?,
        }
        Ok(sealed)
    }

    /// What the peer means by a payload number.
    pub(crate) fn codec(&self, number: u8) -> Option<Codec> {
        self.spec
            .receive
            .iter()
            .find(|p| p.number == number)
            .map(|p| p.codec)
    }

    /// What this side calls a codec; an event finds events of another clock rate where its own was not agreed.
    pub(crate) fn payload(&self, codec: Codec) -> Option<Payload> {
        let send = &self.spec.send;
        let same = send.iter().find(|p| p.codec == codec);
        let event = || {
            send.iter()
                .find(|p| !codec.is_audio() && !p.codec.is_audio())
        };
        same.or_else(event).copied()
    }
}

/// An event with its duration counted in the other clock. One too long for the field stays at its end, as a sender
/// does that repeats the last packet (RFC 4733 §2.5.1.3 would begin a new segment).
pub(crate) fn rescale(event: &[u8], from: Codec, to: Codec) -> Option<[u8; EVENT_LEN]> {
    let [code, flags, high, low] = *event.first_chunk::<EVENT_LEN>()?;
    let duration = u64::from(u16::from_be_bytes([high, low]));
    let scaled = duration * u64::from(to.clock_rate()) / u64::from(from.clock_rate().max(1));
    let [high, low] = u16::try_from(scaled).unwrap_or(u16::MAX).to_be_bytes();
    Some([code, flags, high, low])
}
