//! wabridge joins WhatsApp voice calls to the telephone system a business already has.

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
pub mod sim;
pub mod sip;
