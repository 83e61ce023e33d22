//! What one side agreed to: its peer, its payload numbers, its keys, and where DTLS makes those, the path to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::across::Digits;
use super::common::Common;
use super::demux::Kind;
use super::path::Path;
use super::peer::Peer;
use super::srtp::{self, KeyError, SrtpError};
use super::{Codec, Payload, Security, SideSpec, SrtpKeys};

/// Octets of an event: code, flags and volume, duration (RFC 4733 §2.3).
const EVENT_LEN: usize = 4;

/// What holds from one agreement to the next.
pub(crate) struct Agreed {
    spec: SideSpec,
    pub(crate) peer: Peer,
    sender: Option<srtp::Sender>,
    receiver: Option<srtp::Receiver>,
    /// From [`Agreed::begin`] on, where DTLS makes the keys.
    path: Option<Box<Path>>,
}

impl Agreed {
    /// What is agreed now, after `old`. Contexts of unchanged keys, a path and a learnt address live on: a key stream
    /// must not begin anew under the same key.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub(crate) fn new(spec: SideSpec, mut old: Option<Agreed>) -> Result<Agreed, KeyError> {
        if let Some(old) = old.take_if(|old| old.spec.security == spec.security) {
            let peer = if old.peer.is_still(&spec) {
                old.peer
            } else {
                Peer::new(&spec)
            };
            return Ok(Agreed { peer, spec, ..old });
        }
        let (sender, receiver) = match &spec.security {
            Security::Sdes(keys) => contexts(keys, old)?,
            Security::Plain | Security::Dtls(_) => (None, None),
        };
        Ok(Agreed {
            peer: Peer::new(&spec),
            spec,
            sender,
            receiver,
            path: None,
        })
    }

    /// The side has started: where DTLS makes the keys, the path to the peer is looked for from now on, unless it is
    /// already.
    pub(crate) fn begin(&mut self, common: &Arc<Common>, now: Instant) {
        if let (Security::Dtls(spec), None) = (&self.spec.security, &self.path) {
            self.path = Some(Box::new(Path::new(spec, common.clone(), now)));
        }
    }

    /// Whether STUN and DTLS are for us.
    pub(crate) fn is_by_dtls(&self) -> bool {
        matches!(self.spec.security, Security::Dtls(_))
    }

    /// The path to the peer, where there is one and it has begun.
    pub(crate) fn path(&mut self) -> Option<&mut Path> {
        self.path.as_deref_mut()
    }

    /// When the path wants to be woken.
    pub(crate) fn path_due(&self) -> Option<Instant> {
        self.path.as_ref()?.deadline()
    }

    /// Whether packets can be protected as was agreed.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.spec.security, Security::Plain) || self.sender.is_some()
    }

    /// Whether the path has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.is_over())
    }

    /// The path has keys: from now on the peer is at `remote`.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub(crate) fn key(&mut self, remote: SocketAddr, keys: &SrtpKeys) -> Result<(), KeyError> {
        let (sender, receiver) = ends(keys)?;
        (self.sender, self.receiver) = (Some(sender), Some(receiver));
        self.peer.settle(remote);
        Ok(())
    }

    /// The path has failed: nothing is sent to the peer any more, in clear least of all.
    pub(crate) fn fail(&mut self) {
        (self.sender, self.receiver) = (None, None);
        self.peer = Peer::new(&self.spec);
        if let Some(path) = &mut self.path {
            path.end();
        }
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
            (None, _) if matches!(self.spec.security, Security::Plain) => return Ok(datagram),
            (None, _) => return Err(SrtpError::NoKey),
            (Some(receiver), Kind::Rtcp) => receiver.unprotect_rtcp(datagram, clear)?,
            (Some(receiver), _) => receiver.unprotect_rtp(datagram, clear)?,
        }
        Ok(clear)
    }

    /// Makes the packet that `bytes` ends in, from `start` on, what goes over the wire: sealed where keys were agreed.
    pub(crate) fn seal(
        &mut self,
        kind: Kind,
        bytes: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), SrtpError> {
        match (&mut self.sender, kind) {
            (None, _) if matches!(self.spec.security, Security::Plain) => Ok(()),
            (None, _) => Err(SrtpError::NoKey),
            (Some(sender), Kind::Rtcp) => sender.seal_rtcp(bytes, start),
            (Some(sender), _) => sender.seal_rtp(bytes, start),
        }
    }

    /// What the peer means by a payload number.
    pub(crate) fn codec(&self, number: u8) -> Option<Codec> {
        self.spec
            .receive
            .iter()
            .find(|p| p.number == number)
            .map(|p| p.codec)
    }

    /// What the peer takes a payload number of ours for.
    pub(crate) fn sent_as(&self, number: u8) -> Option<Codec> {
        let mut send = self.spec.send.iter();
        send.find(|p| p.number == number).map(|p| p.codec)
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

    /// What sound this side is sent.
    pub(crate) fn sound(&self) -> Option<Codec> {
        self.spec.sound()
    }

    /// How much of it a packet holds.
    pub(crate) fn ptime(&self) -> Duration {
        self.spec.ptime
    }

    /// How this side has digits.
    pub(crate) fn digits(&self) -> Digits {
        match self.events() {
            _ if self.spec.tones => Digits::Tones,
            Some(_) => Digits::Events,
            None => Digits::Elsewhere,
        }
    }

    /// How this side is told of digits, if it is by events.
    pub(crate) fn events(&self) -> Option<Payload> {
        let mut send = self.spec.send.iter();
        send.find(|p| !p.codec.is_audio()).copied()
    }
}

/// What protects and what opens with these keys: as it was where the key of that direction is the same, since a peer may
/// change its own alone (RFC 4568 §7.1.4).
fn contexts(
    keys: &SrtpKeys,
    old: Option<Agreed>,
) -> Result<(Option<srtp::Sender>, Option<srtp::Receiver>), KeyError> {
    let (mut sender, mut receiver) = (None, None);
    if let Some(old) = old
        && let Security::Sdes(before) = &old.spec.security
        && before.profile == keys.profile
    {
        sender = old.sender.filter(|_| before.send == keys.send);
        receiver = old.receiver.filter(|_| before.receive == keys.receive);
    }
    let (new_sender, new_receiver) = ends(keys)?;
    Ok((sender.or(Some(new_sender)), receiver.or(Some(new_receiver))))
}

/// What protects and what opens with these keys.
fn ends(keys: &SrtpKeys) -> Result<(srtp::Sender, srtp::Receiver), KeyError> {
    Ok((
        srtp::Sender::new(keys.profile, &keys.send)?,
        srtp::Receiver::new(keys.profile, &keys.receive)?,
    ))
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
