//! Whether what came out is what went in: every packet is opened with the key that was agreed, and every octet of its speech
//! compared.

use std::time::Duration;

use wabridge::media::SrtpProfile;
use wabridge::media::srtp::Receiver;

use crate::generator::{Heard, Taken};
use crate::speech::{self, EVERY_CALL, PACKET, SECURED};
use crate::under_test::Call;

/// What came out.
pub struct Came {
    /// Delays to Meta, to the PBX and of all packets that count, each sorted.
    pub delays: [Vec<Duration>; 3],
    /// Packets that are not what they should be.
    pub wrongs: u64,
    /// One of them.
    pub wrong: Option<String>,
}

/// Judges all that was heard; the first `warm` packets of each side of each call do not count.
pub fn judge(heard: &Heard, calls: &[Call], warm: u32) -> Came {
    let mut came = Came {
        delays: [const { Vec::new() }; 3],
        wrongs: 0,
        wrong: None,
    };
    for side in 0..2 {
        let mut listener = Listener::new(side, calls, &heard.sent_at[1 - side]);
        for taken in &heard.taken[side] {
            match listener.judge(taken) {
                Ok(Some((number, delay))) if number >= warm => came.delays[side].push(delay),
                Ok(_) => {}
                Err(wrong) => {
                    came.wrongs += 1;
                    came.wrong.get_or_insert(wrong);
                }
            }
        }
    }
    came.delays[2] = [&came.delays[0][..], &came.delays[1][..]].concat();
    came.delays
        .iter_mut()
        .for_each(|delays| delays.sort_unstable());
    came
}

/// One far end: what it knows, and what it has heard.
struct Listener<'a> {
    side: usize,
    sent_at: &'a [u64],
    /// The call of each port.
    calls: Vec<Option<u32>>,
    receivers: Vec<Option<Receiver>>,
    heard: Vec<bool>,
    opened: Vec<u8>,
}

impl<'a> Listener<'a> {
    fn new(side: usize, calls: &[Call], sent_at: &'a [u64]) -> Listener<'a> {
        let mut of_port = vec![None; 1 << 16];
        for (number, call) in calls.iter().enumerate() {
            of_port[usize::from(call.ports[side])] = Some(number as u32);
        }
        let receiver = |call: &Call| {
            let key = call.keys[side].as_ref()?;
            Some(Receiver::new(SrtpProfile::AesCm128HmacSha1_80, key).expect("a key"))
        };
        Listener {
            side,
            sent_at,
            calls: of_port,
            receivers: calls.iter().map(receiver).collect(),
            heard: vec![false; sent_at.len()],
            opened: Vec::new(),
        }
    }

    /// Its number and how long it took; nothing if it is none of those that are sent here.
    fn judge(&mut self, taken: &Taken) -> Result<Option<(u32, Duration)>, String> {
        let Some(call) = self.calls[usize::from(taken.port)] else {
            return Ok(None);
        };
        let length = usize::from(taken.length);
        let octets = &taken.octets[..length.min(taken.octets.len())];
        // Reports, and frames of silence, which are shorter.
        if !speech::is_speech(octets) || length < PACKET {
            return Ok(None);
        }
        let speech = match &mut self.receivers[call as usize] {
            None => octets,
            Some(_) if length != SECURED => return Err(format!("of {length} octets")),
            Some(receiver) => {
                let opened = receiver.unprotect_rtp(octets, &mut self.opened);
                opened.map_err(|error| error.to_string())?;
                &self.opened
            }
        };
        let (number, named) = speech::read(speech).ok_or("with other octets than were sent")?;
        // The user's packet is the same in every call; the PBX's names its own.
        let expected = if self.side == 1 { EVERY_CALL } else { call };
        if named != expected {
            return Err(format!("in call {call}, which belongs to {named}"));
        }
        let calls = self.receivers.len();
        let at = number as usize * calls + call as usize;
        let sent = *self.sent_at.get(at).ok_or("that was never sent")?;
        if std::mem::replace(&mut self.heard[at], true) {
            return Err("that had come before".into());
        }
        let took = Duration::from_nanos(taken.at.saturating_sub(sent));
        Ok(Some((number, took)))
    }
}
