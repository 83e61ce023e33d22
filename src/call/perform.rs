//! Does what the machines of calls ask for, and tells whoever watches.

use std::time::Instant;

use super::bridge::Bridge;
use super::event::{Action, Receipt};
use super::live::CallId;
use super::machine::{self, Call};
use super::watch::{Mark, Note};
use crate::media::Command;
use crate::sdp::Keying;

impl Bridge {
    pub(super) fn admit_call(
        &mut self,
        call: Call,
        actions: Vec<machine::Action>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.stats.calls += 1;
        let id = self.live.insert(call);
        if let Some(call) = self.live.get_mut(id) {
            out.push(Action::Note(Note::Began(Box::new(call.began(id)))));
        }
        self.perform(id, actions, now, out);
    }

    pub(super) fn tell(
        &mut self,
        id: CallId,
        event: machine::Event,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = self.live.get_mut(id) else {
            return;
        };
        let actions = call.handle(event, &mut self.tokens, now);
        self.perform(id, actions, now, out);
    }

    fn perform(
        &mut self,
        id: CallId,
        actions: Vec<machine::Action>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        for action in actions {
            self.perform_one(id, action, now, out);
        }
        self.live.reschedule(id);
        let Some(call) = self.live.get_mut(id) else {
            return;
        };
        let (summary, is_gone) = (call.summary(id, now), call.is_gone(now));
        if let Some(summary) = summary {
            self.live.lingers(id);
            out.push(Action::Note(Note::Ended(Box::new(summary))));
        }
        if is_gone {
            self.live.remove(id);
            self.admission.ended(|| self.live.oldest());
        }
    }

    fn perform_one(
        &mut self,
        id: CallId,
        action: machine::Action,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match action {
            machine::Action::Request {
                request,
                target,
                purpose,
            } => {
                let (client, actions) = self.table.request(request, target, now);
                self.live.bind(client, id, purpose);
                self.transactions(actions, now, out);
            }
            machine::Action::Abandon(purpose) => {
                if let Some(client) = self.live.client_of(id, purpose) {
                    self.table.abandon(client);
                }
            }
            machine::Action::Ack(ack, target) => {
                out.push(Action::Send {
                    message: ack.into(),
                    target,
                    receipt: None,
                });
            }
            machine::Action::Respond {
                server,
                response,
                tell,
            } => {
                let from = out.len();
                self.respond(server, response, now, out);
                for action in &mut out[from..] {
                    if let (true, Action::Send { receipt, .. }) = (tell, action) {
                        *receipt = Some(Receipt::Answer(id));
                    }
                }
            }
            machine::Action::Seen(place, fate) => self.errands.upkeep.seen(&place, fate, now),
            machine::Action::Mark(mark) => out.push(Action::Note(Note::Mark { call: id, mark })),
            machine::Action::Media(command) => {
                let mark = mark_of(&command);
                out.extend(mark.map(|mark| Action::Note(Note::Mark { call: id, mark })));
                if let Some(session) = self.live.get_mut(id).map(|call| call.session()) {
                    self.media.command(session, command);
                }
            }
            machine::Action::Face(pbx) => {
                if let Some(session) = self.live.get_mut(id).map(|call| call.session()) {
                    let faced = self.media.face(session, pbx);
                    self.tell(id, machine::Event::Faced(faced), now, out);
                }
            }
            machine::Action::CloseMedia => {
                if let Some(session) = self.live.get_mut(id).map(|call| call.session()) {
                    self.media.close(session);
                }
            }
            machine::Action::Dialog(dialog, leg) => self.live.join(dialog, id, leg),
        }
    }
}

fn mark_of(command: &Command) -> Option<Mark> {
    Some(match command {
        Command::Start { leg } => Mark::Started(*leg),
        Command::Agree { leg, side } => Mark::Agreed {
            leg: *leg,
            codec: side.sound(),
            keying: Keying::of(&side.security),
            remote: side.remote_rtp,
        },
        // The BYE or the answer that it comes from is noted already.
        Command::Leave { .. } => return None,
        // The INFO that it comes from is noted already, and what was pressed is nobody's business.
        Command::Press { .. } => return None,
    })
}
