//! What becomes of a PBX's wish to change a call that is up: hold, another codec, another address.

use serde::{Deserialize, Serialize};

/// What a re-INVITE of a PBX is told. Meta never hears of one: it refuses them (FAQ, 2025-11-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reinvite {
    /// 500, as Meta itself answers; the call goes on as it was.
    #[default]
    Reject,
    /// It is answered on the PBX's leg alone, and so are UPDATE, REFER and session timers.
    Local,
}
