//! Calls that are up: what the bridge sends in them, and how either side ends them.

use std::time::{Duration, Instant};

use super::*;
use crate::sip::{Method, build};

impl<M: Manners> Agent<M> {
    pub(super) fn in_dialog(
        &mut self,
        id: CallId,
        server: ServerId,
        request: &Request,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let faults = match call.stage.dialog_mut() {
            Some(dialog) => {
                let mut faults = self.manners.judge_in_dialog(dialog, request);
                faults.extend(number(dialog, request));
                faults
            }
            None => Vec::new(),
        };
        let (status, ends) = match request.method {
            _ if !faults.is_empty() => (404, false),
            ref method if *method == Method::BYE => (200, true),
            ref method if *method == Method::INVITE => (500, false),
            ref method if *method == Method::OPTIONS => (200, false),
            _ => (405, false),
        };
        if matches!(status, 405 | 500) {
            let what = format!("{}: never sent to us in a call (§6)", request.method);
            self.complain(id, what);
        }
        self.complain_all(id, faults);
        let mut response = build::response(request, status, None);
        self.manners.dress_response(request, &mut response);
        self.respond(server, response, now, out);
        if ends {
            if let Some(call) = self.calls.get_mut(&id) {
                call.report.bye_reason = request.headers.get("Reason").map(str::to_owned);
            }
            self.early_bye(id, now, out);
            self.end(id, Some(EndedBy::Bridge), out);
        }
    }

    /// A BYE while we ring still wants a final response to the INVITE (§15.1.2).
    fn early_bye(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        if let Stage::Ringing { server, invite, .. } = &call.stage {
            let mut response = build::response(invite, 487, None);
            self.manners.dress_response(invite, &mut response);
            let server = *server;
            self.respond(server, response, now, out);
        }
    }

    /// From now on there is a dialog, and a conversation in it.
    pub(super) fn talk(&mut self, id: CallId, dialog: Dialog, ack: Option<Request>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.stage = Stage::Talking { dialog, ack };
        }
    }

    /// Sets the alarms for what the plan wants done in the call.
    pub(super) fn plan_the_rest(&mut self, id: CallId, now: Instant) {
        if let Some(call) = self.calls.get(&id) {
            for (after, alarm) in [
                (call.plan.talk, Alarm::HangUp),
                (call.plan.reinvite, Alarm::Reinvite),
            ] {
                self.alarms
                    .extend(after.map(|after| (now + after, id, alarm)));
            }
        }
    }

    /// Ends a call by whatever its stage asks for.
    pub(super) fn hang_up(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut call.stage, Stage::Closing { dialog: None }) {
            stage @ Stage::Calling { .. } => {
                call.stage = stage;
                self.give_up(id, now, out);
            }
            stage @ Stage::Ringing { .. } => {
                call.stage = stage;
                self.refuse(id, 486, "", now, out);
            }
            Stage::Answered { mut dialog, .. } | Stage::Talking { mut dialog, .. } => {
                call.report.ended_by = Some(EndedBy::Us);
                let mut bye = dialog.request(Method::BYE);
                call.stage = Stage::Closing {
                    dialog: Some(dialog),
                };
                self.dress(id, &mut bye, now);
                self.alarms.retain(|(_, owner, _)| *owner != id);
                self.send(id, Purpose::Bye, bye, now, out);
                // 64 × T1 is the table's to watch; this is for a BYE that meets a BYE.
                let patience = Duration::from_secs(40);
                self.alarms.insert((now + patience, id, Alarm::Forget));
            }
            stage @ Stage::Closing { .. } => call.stage = stage,
        }
    }

    pub(super) fn bye_answered(&mut self, id: CallId, status: u16, out: &mut Vec<Action>) {
        if status < 200 {
            return;
        }
        // 481: their BYE crossed ours.
        if !matches!(status, 200..300 | 481) {
            self.complain(id, format!("BYE: answered {status}"));
        }
        self.end(id, Some(EndedBy::Us), out);
    }

    /// Completes a request in a call.
    pub(super) fn dress(&self, id: CallId, request: &mut Request, now: Instant) {
        if let Some(call) = self.calls.get(&id) {
            let seconds = call.answered.map(|at| (now - at).as_secs());
            self.manners.dress_request(request, &call.report, seconds);
        }
    }
}

impl Stage {
    fn dialog_mut(&mut self) -> Option<&mut Dialog> {
        match self {
            Stage::Ringing { dialog, .. }
            | Stage::Answered { dialog, .. }
            | Stage::Talking { dialog, .. } => Some(dialog),
            Stage::Closing { dialog } => dialog.as_mut(),
            Stage::Calling { .. } => None,
        }
    }
}

/// Notes the CSeq of a request, which must be higher than those before (§12.2.2).
fn number(dialog: &mut Dialog, request: &Request) -> Option<String> {
    let number = request.cseq()?.number;
    let rises = dialog.remote_cseq.is_none_or(|last| number > last);
    dialog.remote_cseq = Some(number.max(dialog.remote_cseq.unwrap_or(0)));
    (!rises).then(|| format!("{}: its CSeq does not rise", request.method))
}
