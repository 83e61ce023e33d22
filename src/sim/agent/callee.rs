//! Calls that the bridge places with us: ring, answer or refuse, and see that the ACK comes.

use std::time::{Duration, Instant};

use super::*;
use crate::sim::report::Direction;
use crate::sim::words;
use crate::sip::{Method, build};

/// First wait before a 200 is repeated (§13.3.1.4): T1.
const T1: Duration = Duration::from_millis(500);

impl<M: Manners> Agent<M> {
    pub(super) fn out_of_dialog(
        &mut self,
        server: ServerId,
        request: Request,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let has_tag = request.to().is_some_and(|to| to.tag().is_some());
        if request.method == Method::INVITE && !has_tag {
            return self.invited(server, request, now, out);
        }
        let (status, fault) = match has_tag {
            true => (
                481,
                Some(format!("{}: it belongs to no call", request.method)),
            ),
            false => self.manners.stray(&request),
        };
        if let Some(fault) = fault {
            self.note(fault);
        }
        let mut response = build::response(&request, status, Some(&words::hex(16)));
        self.manners.dress_response(&request, &mut response);
        self.respond(server, response, now, out);
    }

    fn invited(&mut self, server: ServerId, invite: Request, now: Instant, out: &mut Vec<Action>) {
        let report = report_of::<M>(&invite);
        let demands = self.manners.demands(&report.from);
        let mut theirs = Theirs::read(&invite.body, demands);
        theirs.must_offer(demands);
        let busy = self.calls.values().any(|call| {
            (&call.report.from, &call.report.to) == (&report.from, &report.to)
                || (&call.report.from, &call.report.to) == (&report.to, &report.from)
        });
        match self.manners.admit(&invite, &theirs, busy) {
            Verdict::Challenge(response) => self.respond(server, *response, now, out),
            Verdict::Refuse(response, faults) => {
                self.turned_down(server, report, *response, faults, now, out);
            }
            Verdict::Welcome(faults) => {
                self.welcome(server, invite, &theirs, report, faults, now, out);
            }
        }
    }

    /// Refused by rule: a call that is reported though it never rang.
    fn turned_down(
        &mut self,
        server: ServerId,
        mut report: CallReport,
        response: Response,
        faults: Vec<String>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        report.status = response.status;
        report.reason = response.reason.clone();
        report.ended_by = Some(EndedBy::Us);
        for fault in faults {
            report.complain(fault);
        }
        let id = self.next_id();
        self.respond(server, response, now, out);
        out.push(Action::Ended(id, Box::new(report)));
    }

    #[expect(clippy::too_many_arguments)]
    fn welcome(
        &mut self,
        server: ServerId,
        invite: Request,
        theirs: &Theirs,
        mut report: CallReport,
        faults: Vec<String>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        for fault in faults {
            report.complain(fault);
        }
        let refusal = |status| build::response(&invite, status, Some(&words::hex(16)));
        let Some(media) = (self.ports)() else {
            return self.turned_down(server, report, refusal(503), Vec::new(), now, out);
        };
        let ours = self.manners.ours(media, &report.from).answering(theirs);
        let dialog = Dialog::callee(&invite, &words::hex(16));
        let (peer, dialog) = match (ours.with(theirs), dialog) {
            (Ok(peer), Some(dialog)) => (Box::new(peer), dialog),
            (Err(why), _) => {
                out.push(Action::Line(
                    self.upcoming_id(),
                    Order::Open(media, Plan::default()),
                ));
                return self.turned_down(server, report, refusal(488), vec![why], now, out);
            }
            (_, None) => {
                let why = vec!["INVITE: no Contact".to_owned()];
                out.push(Action::Line(
                    self.upcoming_id(),
                    Order::Open(media, Plan::default()),
                ));
                return self.turned_down(server, report, refusal(400), why, now, out);
            }
        };
        let id = self.next_id();
        self.respond(server, build::response(&invite, 100, None), now, out);
        let answering = &self.answering;
        let plan = answering.plan.clone();
        if answering.ring || answering.early_media {
            self.alarms.insert((now, id, Alarm::Ring));
        }
        if answering.outcome != Outcome::Ring {
            self.alarms
                .insert((now + answering.after, id, Alarm::Answer));
        }
        out.push(Action::Line(id, Order::Open(media, plan.clone())));
        let stage = Stage::Ringing {
            server,
            invite,
            dialog,
            peer,
        };
        self.calls.insert(
            id,
            Call {
                plan,
                ours,
                report,
                started: now,
                answered: None,
                stage,
            },
        );
    }

    pub(super) fn ring(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Ringing {
            server,
            invite,
            dialog,
            peer,
        } = &call.stage
        else {
            return;
        };
        let tag = super::super::dialog::tag_of(&dialog.local);
        let status = if self.answering.early_media { 183 } else { 180 };
        let mut response = build::response(invite, status, tag.as_deref());
        self.manners.dress_response(invite, &mut response);
        call.report.provisional.push(status);
        if status == 183 {
            response.headers.push("Content-Type", "application/sdp");
            response.body = self.manners.print(&call.ours).into_bytes();
            out.push(Action::Line(id, Order::Agree((**peer).clone())));
            out.push(Action::Line(id, Order::Speak));
        }
        let server = *server;
        self.respond(server, response, now, out);
    }

    pub(super) fn answer_call(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        match self.answering.outcome.clone() {
            Outcome::Answer => self.accept(id, now, out),
            Outcome::Refuse { status, reason } => self.refuse(id, status, &reason, now, out),
            Outcome::Ring => {}
        }
    }

    pub(super) fn refuse(
        &mut self,
        id: CallId,
        status: u16,
        reason: &str,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Ringing {
            server,
            invite,
            dialog,
            ..
        } = &call.stage
        else {
            return;
        };
        let tag = super::super::dialog::tag_of(&dialog.local);
        let mut response = build::response(invite, status, tag.as_deref());
        if !reason.is_empty() {
            response.reason = reason.to_owned();
        }
        self.manners.dress_response(invite, &mut response);
        call.report.status = status;
        call.report.reason = response.reason.clone();
        let server = *server;
        self.respond(server, response, now, out);
        self.end(id, Some(EndedBy::Us), out);
    }

    fn accept(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Ringing {
            server,
            invite,
            dialog,
            peer,
        } = std::mem::replace(&mut call.stage, Stage::Closing { dialog: None })
        else {
            return;
        };
        let tag = super::super::dialog::tag_of(&dialog.local);
        let mut ok = build::response(&invite, 200, tag.as_deref());
        self.manners.dress_response(&invite, &mut ok);
        ok.headers.push("Content-Type", "application/sdp");
        ok.body = self.manners.print(&call.ours).into_bytes();
        call.report.status = 200;
        call.report.reason = ok.reason.clone();
        call.answered = Some(now);
        call.stage = Stage::Answered {
            server,
            ok: ok.clone(),
            invite: invite.cseq().map_or(0, |cseq| cseq.number),
            dialog,
        };
        self.alarms.insert((now + T1, id, Alarm::Repeat));
        self.alarms.insert((now + 64 * T1, id, Alarm::NoAck));
        out.push(Action::Line(id, Order::Agree(*peer)));
        if M::LEG == Leg::Pbx {
            // A telephone hears and speaks as soon as it is lifted; Meta's app waits for the ACK and for us (§8).
            out.push(Action::Line(id, Order::Answered));
        }
        self.respond(server, ok, now, out);
    }

    pub(super) fn repeat_answer(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        if let Stage::Answered { server, ok, .. } = &call.stage {
            let since = call.answered.map_or(T1, |at| now - at);
            // Doubling, but never more than T2 = 4 s apart.
            let wait = since.min(8 * T1);
            let (server, ok) = (*server, ok.clone());
            self.alarms.insert((now + wait, id, Alarm::Repeat));
            self.respond(server, ok, now, out);
        }
    }

    pub(super) fn no_ack(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        if let Some(Stage::Answered { .. }) = self.calls.get(&id).map(|call| &call.stage) {
            self.complain(id, "ACK: none came for our 200 in 32 s");
            self.hang_up(id, now, out);
        }
    }

    pub(super) fn ack(&mut self, ack: &Request, now: Instant, out: &mut Vec<Action>) {
        let answered = self.calls.iter().find(|(_, call)| match &call.stage {
            Stage::Answered { dialog, .. } => dialog.owns(ack),
            _ => false,
        });
        // A copy of an ACK, or one for a call that is over: nothing is owed.
        let Some(id) = answered.map(|(id, _)| *id) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Answered { dialog, invite, .. } = &call.stage else {
            return;
        };
        let mut faults = self.manners.judge_in_dialog(dialog, ack);
        if ack.cseq().is_none_or(|cseq| cseq.number != *invite) {
            faults.push("ACK: its CSeq is not that of the INVITE".to_owned());
        }
        if !faults.is_empty() {
            return self.complain_all(id, faults); // it would have gone astray, so the 200 goes out again
        }
        let dialog = dialog.clone();
        self.alarms.retain(|(_, owner, alarm)| {
            *owner != id || !matches!(alarm, Alarm::Repeat | Alarm::NoAck)
        });
        self.talk(id, dialog, None);
        if M::LEG == Leg::Meta {
            out.push(Action::Line(id, Order::Answered));
        }
        self.plan_the_rest(id, now);
    }

    pub(super) fn cancelled(&mut self, server: ServerId, now: Instant, out: &mut Vec<Action>) {
        let ringing = self.calls.iter().find(|(_, call)| match &call.stage {
            Stage::Ringing { server: ours, .. } => *ours == server,
            _ => false,
        });
        if let Some((&id, _)) = ringing {
            self.refuse(id, 487, "", now, out);
        }
    }
}

fn report_of<M: Manners>(invite: &Request) -> CallReport {
    let user = |value: Option<crate::sip::NameAddr>| {
        let user = value.and_then(|v| v.uri.user().map(str::to_owned));
        user.unwrap_or_default()
    };
    let meta = |name: &str| name.to_ascii_lowercase().starts_with("x-wa");
    CallReport {
        direction: match M::LEG {
            Leg::Meta => Direction::BusinessInitiated,
            Leg::Pbx => Direction::UserInitiated,
        },
        call_id: invite.call_id().to_owned(),
        from: user(invite.from()),
        to: invite.uri.user().unwrap_or_default().to_owned(),
        meta_headers: invite
            .headers
            .iter()
            .filter(|(name, _)| meta(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..CallReport::default()
    }
}
