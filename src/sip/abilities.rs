//! What we do for one side, as we say it there.

use super::message::{Headers, Method};

/// The methods that one side may use, and the extensions of SIP that we know there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The value of Allow.
    pub allow: &'static str,
    /// Option tags (RFC 3261 §19.2), for Supported.
    options: &'static [&'static str],
}

impl Abilities {
    /// What a call needs, and all that Meta is told. A re-INVITE is refused all the same (call machine).
    pub const CALLS: Abilities = Abilities {
        allow: super::ALLOW,
        options: &[],
    };

    /// For a PBX, which may tell of digits by INFO (RFC 6086).
    pub const DIGITS: Abilities = Abilities {
        allow: "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO",
        options: &[],
    };

    /// The same for one that may change a call that is up (RFC 3311, RFC 3515, RFC 4028).
    pub const CHANGES: Abilities = Abilities {
        allow: "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, REFER, INFO",
        options: &["norefersub", "timer"],
    };

    /// Whether we know this method.
    pub fn allows(&self, method: &Method) -> bool {
        let name = method.to_string();
        self.allow.split(", ").any(|ours| ours == name)
    }

    /// Whether we know this extension.
    pub fn supports(&self, tag: &str) -> bool {
        self.options
            .iter()
            .any(|ours| ours.eq_ignore_ascii_case(tag))
    }

    /// Adds Allow, and Supported where there is something to say.
    pub fn say(&self, headers: &mut Headers) {
        headers.push("Allow", self.allow);
        if !self.options.is_empty() {
            headers.push("Supported", self.options.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_told_of_no_extension_and_of_no_change() {
        let mut headers = Headers::default();
        Abilities::CALLS.say(&mut headers);
        assert_eq!(headers.get("Supported"), None);
        for method in [Method::UPDATE, Method::REFER] {
            assert!(!Abilities::CALLS.allows(&method));
            assert!(Abilities::CHANGES.allows(&method));
        }
        assert!(!Abilities::CALLS.supports("timer"));
        assert!(Abilities::CHANGES.supports("Timer") && !Abilities::CHANGES.supports("100rel"));
        // What every PBX may use, one that may change calls can use too.
        let rest = Abilities::CHANGES
            .allow
            .strip_prefix(Abilities::CALLS.allow);
        assert!(rest.is_some_and(|rest| rest.starts_with(", ")));
    }
}
