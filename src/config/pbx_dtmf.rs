//! How a PBX tells of digits, held against what it speaks.

use super::Pbx;
use super::document::Document;
use super::pbx::Format;
use crate::media::Codec;
use crate::media::digits::Form;

impl Pbx {
    pub(super) fn check_dtmf(&self, at: &str, document: &Document<'_>) {
        if !self.has_sound() {
            // That there is no sound at all is said of the codecs.
            return;
        }
        if self.dtmf == Form::Rfc4733 && !self.codecs.contains(&Format::TelephoneEvent) {
            document.warning(
                &format!("{at}.codecs"),
                "without telephone-event, this PBX gets no digits of the user",
                "add \"telephone-event\", or set dtmf to \"info\" or \"inband\"",
            );
        }
        let allowed = |format: &&Format| self.dtmf.allows((**format).into());
        if !self.codecs.iter().any(|format| allowed(&format)) {
            return document.problem(
                &format!("{at}.dtmf"),
                "no codec of this PBX carries tones: what Opus makes of one is no digit any more",
                "list \"pcma\" or \"pcmu\" in codecs, or leave dtmf out",
            );
        }
        let useless = self.codecs.iter().find(|format| !allowed(format));
        // By default everything is listed.
        let Some(useless) = useless.filter(|_| document.names(&format!("{at}.codecs"))) else {
            return;
        };
        document.warning(
            &format!("{at}.codecs"),
            &format!(
                "{:?} is not offered to this PBX, for dtmf does not go with it",
                Codec::from(*useless).name()
            ),
            "take it out of codecs, or leave dtmf out",
        );
    }
}
