//! The two sides of every call.

/// One side of a bridged call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Meta's WhatsApp Business Calling service, behind `wa.meta.vc`.
    Meta,
    /// The on-premises telephone system.
    Pbx,
}

impl Leg {
    /// Both of them, in the order in which `leg as usize` counts.
    pub const BOTH: [Leg; 2] = [Leg::Meta, Leg::Pbx];

    /// A word for it, for records and metrics: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Leg::Meta => "meta",
            Leg::Pbx => "pbx",
        }
    }

    /// The leg that this one is bridged to.
    pub fn other(self) -> Leg {
        match self {
            Leg::Meta => Leg::Pbx,
            Leg::Pbx => Leg::Meta,
        }
    }
}

impl std::fmt::Display for Leg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Leg::Meta => "Meta",
            Leg::Pbx => "the PBX",
        })
    }
}
