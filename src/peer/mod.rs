//! What each side expects of us, and what it means by what it says.
//!
//! [`meta`] holds everything we know about `wa.meta.vc`, [`pbx`] everything a PBX may need; neither knows the other.

pub mod meta;
mod meta_refusals;
pub mod pbx;

pub use meta::Meta;
pub use pbx::Pbx;

use crate::number::User;

/// Who calls, as the callee's phone should show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that the caller goes by, without quotes or control characters.
    pub name: Option<String>,
    /// The caller's number or id; `None`: withheld, or nothing we can read.
    pub user: Option<User>,
}

/// What identifies a request that starts a call; each call draws fresh ones.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Call-ID of the new leg: never the other leg's, which holds numbers.
    pub call_id: String,
    /// From tag.
    pub tag: String,
    /// Via branch.
    pub branch: String,
}

/// A refusal as the other leg is told it: a status, a Q.850 cause, and the words of whoever refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// SIP status.
    pub status: u16,
    /// ITU-T Q.850 cause value.
    pub cause: u8,
    /// Why, in the words of whoever refused.
    pub text: String,
}

impl Refusal {
    /// A refusal of our own.
    pub fn new(status: u16, cause: u8, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            cause,
            text: text.into(),
        }
    }

    /// The value of a Reason header (RFC 3326).
    pub fn reason(&self) -> String {
        format!(
            "Q.850;cause={};text={}",
            self.cause,
            crate::sip::grammar::quote(&printable(&self.text, 256))
        )
    }
}

/// What may be passed on of a text from the network: no control characters, bounded in length.
pub fn printable(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect::<String>()
        .trim()
        .to_owned()
}
