//! wabridge joins WhatsApp voice calls to the telephone system a business already has.
//!
//! ```text
//!   Meta, wa.meta.vc                                                              on-prem PBX
//!       │ TLS                                                             UDP, TCP or TLS │
//!       ▼ bytes                                                                     bytes ▼
//!  sip::transport    datagrams and streams become whole messages, each with its Flow
//!       ▼ Arrival                       ── from here to peer: call::Bridge, one machine ──
//!  policy::sources   may this address send us requests at all?
//!       ▼
//!  sip::transaction  retransmission and matching (RFC 3261 §17)
//!       ▼ Request | Response
//!  sip::dialog       early, confirmed, ended; CSeq, routes, ACK (RFC 3261 §12–§15)
//!       ▼
//!  peer::meta ──────────▶   call::machine, one for each call   ◀────────── peer::pbx
//!  rules of wa.meta.vc             ▲             │ Command        rules of this PBX
//!                       MediaEvent │             ▼ (codecs, keys, addresses, "start")
//!                                media::Engine, threads
//!       SRTP, Opus ⇄ demux ▶ unprotect ▶ session ▶ [transcode] ▶ protect ⇄ RTP or SRTP
//! ```
//!
//! The modules, in the order in which they are best read:
//!
//! * [`leg`], [`number`], [`secret`]: words that every layer shares; numbers mask themselves, secrets do not print.
//! * [`sip`]: RFC 3261 from bytes to dialogs. Meta and the PBX are just peers here, and an SDP body is bytes.
//! * [`media`]: the packet path, and the door to it. It knows neither SIP nor SDP.
//! * [`sdp`]: offer and answer for one audio stream; what is agreed comes out in the words of [`media`].
//! * [`policy`]: who may call, and whom a number leads to.
//! * [`peer`]: what Meta and a PBX expect, each in a file of its own.
//! * [`call`]: the B2BUA. [`call::Bridge`] is all signalling as one machine, [`call::driver`] the loop that runs it.
//! * [`config`], [`observe`]: settings, put together from the parts that own them; the log.
//! * [`service`]: what the service manager hears of it, and whether every loop turns.
//! * [`daemon`]: builds every part, and starts and stops them in order.
//! * [`sim`]: the two far ends, for the demo, the tests and people without a Meta account.
//! * [`cli`]: the arguments of the program.
//!
//! What each module may import is a table in `tests/dependencies.rs`; docs/architecture.md says why.

pub mod call;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod leg;
pub mod media;
pub mod number;
pub mod observe;
pub mod peer;
pub mod policy;
pub mod sdp;
pub mod secret;
pub mod service;
pub mod sim;
pub mod sip;
