//! Methods: rsip's vocabulary, and every other token a peer may send.

use std::fmt;

use crate::sip::grammar::is_token;

/// A request method. Methods compare with case (RFC 3261 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A method that RFC 3261 or one of its extensions defines.
    Known(rsip::Method),
    /// Any other token.
    Extension(String),
}

impl Method {
    /// RFC 3261 §13
    pub const INVITE: Method = Method::Known(rsip::Method::Invite);
    /// RFC 3261 §13.2.2.4
    pub const ACK: Method = Method::Known(rsip::Method::Ack);
    /// RFC 3261 §15
    pub const BYE: Method = Method::Known(rsip::Method::Bye);
    /// RFC 3261 §9
    pub const CANCEL: Method = Method::Known(rsip::Method::Cancel);
    /// RFC 3261 §11
    pub const OPTIONS: Method = Method::Known(rsip::Method::Options);
    /// RFC 3261 §10
    pub const REGISTER: Method = Method::Known(rsip::Method::Register);
    /// RFC 6086
    pub const INFO: Method = Method::Known(rsip::Method::Info);
    /// RFC 3515
    pub const REFER: Method = Method::Known(rsip::Method::Refer);
    /// RFC 6665
    pub const NOTIFY: Method = Method::Known(rsip::Method::Notify);
    /// RFC 3311
    pub const UPDATE: Method = Method::Known(rsip::Method::Update);

    /// Reads a token; `None` if it is none. Never rsip's parser, which compares without case.
    pub fn parse(text: &str) -> Option<Method> {
        use rsip::Method::*;
        let known = match text {
            "INVITE" => Invite,
            "ACK" => Ack,
            "BYE" => Bye,
            "CANCEL" => Cancel,
            "OPTIONS" => Options,
            "REGISTER" => Register,
            "INFO" => Info,
            "MESSAGE" => Message,
            "NOTIFY" => Notify,
            "PRACK" => PRack,
            "PUBLISH" => Publish,
            "REFER" => Refer,
            "SUBSCRIBE" => Subscribe,
            "UPDATE" => Update,
            other => return is_token(other).then(|| Method::Extension(other.to_owned())),
        };
        Some(Method::Known(known))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Known(known) => known.fmt(f),
            Method::Extension(text) => f.write_str(text),
        }
    }
}
