//! All calls that are up, and how what happens finds its call.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::machine::{Call, Purpose};
use crate::leg::Leg;
use crate::media::SessionId;
use crate::sip::dialog::DialogId;
use crate::sip::transaction::{ClientId, ServerId};

/// Client transactions of one call that are remembered: in a long one those of its first refreshes are long over.
const MOST_CLIENTS: usize = 64;

/// Names a call for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The calls, by everything that leads to one.
#[derive(Debug, Default)]
pub struct Live {
    last: u64,
    /// In the order in which they began.
    calls: BTreeMap<CallId, Entry>,
    /// How many of them are over, but for what was given up and may yet be answered.
    lingering: usize,
    clients: HashMap<ClientId, (CallId, Purpose)>,
    servers: HashMap<ServerId, CallId>,
    dialogs: HashMap<DialogId, (CallId, Leg)>,
    sessions: HashMap<SessionId, CallId>,
    due: BTreeSet<(Instant, CallId)>,
}

#[derive(Debug)]
struct Entry {
    call: Call,
    clients: Vec<ClientId>,
    dialogs: Vec<DialogId>,
    due: Option<Instant>,
}

impl Live {
    /// Takes a new call in.
    pub fn insert(&mut self, call: Call) -> CallId {
        self.last += 1;
        let id = CallId(self.last);
        self.servers.insert(call.server(), id);
        self.sessions.insert(call.session(), id);
        self.calls.insert(
            id,
            Entry {
                call,
                clients: Vec::new(),
                dialogs: Vec::new(),
                due: None,
            },
        );
        id
    }

    /// A call is over and counts no more; what was given up of it may yet be answered.
    pub fn lingers(&mut self, id: CallId) {
        if self.calls.contains_key(&id) {
            self.lingering += 1;
        }
    }

    /// Forgets a call and all that leads to it.
    pub fn remove(&mut self, id: CallId) {
        let Some(entry) = self.calls.remove(&id) else {
            return;
        };
        if entry.call.lingers() {
            self.lingering -= 1;
        }
        self.servers.remove(&entry.call.server());
        self.sessions.remove(&entry.call.session());
        for client in entry.clients {
            self.clients.remove(&client);
        }
        for dialog in entry.dialogs {
            self.dialogs.remove(&dialog);
        }
        if let Some(due) = entry.due {
            self.due.remove(&(due, id));
        }
    }

    /// One call.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&id).map(|entry| &mut entry.call)
    }

    /// A client transaction belongs to a call.
    pub fn bind(&mut self, client: ClientId, id: CallId, purpose: Purpose) {
        if let Some(entry) = self.calls.get_mut(&id) {
            if entry.clients.len() >= MOST_CLIENTS {
                let oldest = entry.clients.remove(0);
                self.clients.remove(&oldest);
            }
            entry.clients.push(client);
            self.clients.insert(client, (id, purpose));
        }
    }

    /// Nothing more comes of a client transaction, unless it is an INVITE's, which may have another 2xx; a refresh may be one.
    /// A long call may have any number of the others.
    pub fn settled(&mut self, client: ClientId) {
        let Some((id, purpose)) = self.of_client(client) else {
            return;
        };
        if matches!(
            purpose,
            Purpose::Invite(_) | Purpose::Refresh | Purpose::Transfer(_)
        ) {
            return;
        }
        self.clients.remove(&client);
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.clients.retain(|other| *other != client);
        }
    }

    /// A dialog belongs to a leg of a call.
    pub fn join(&mut self, dialog: DialogId, id: CallId, leg: Leg) {
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.dialogs.push(dialog.clone());
            self.dialogs.insert(dialog, (id, leg));
        }
    }

    /// Notes anew when the call is due.
    pub fn reschedule(&mut self, id: CallId) {
        let Some(entry) = self.calls.get_mut(&id) else {
            return;
        };
        let due = entry.call.deadline();
        if due == entry.due {
            return;
        }
        if let Some(old) = entry.due {
            self.due.remove(&(old, id));
        }
        if let Some(due) = due {
            self.due.insert((due, id));
        }
        entry.due = due;
    }

    /// A call that is due.
    pub fn next_due(&self, now: Instant) -> Option<CallId> {
        self.due
            .first()
            .filter(|(due, _)| *due <= now)
            .map(|(_, id)| *id)
    }

    /// When the next call is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Whose client transaction this is.
    pub fn of_client(&self, client: ClientId) -> Option<(CallId, Purpose)> {
        self.clients.get(&client).copied()
    }

    /// The latest client transaction that a call has for this.
    pub fn client_of(&self, id: CallId, purpose: Purpose) -> Option<ClientId> {
        let clients = &self.calls.get(&id)?.clients;
        let is_it = |client: &&ClientId| self.clients.get(client) == Some(&(id, purpose));
        clients.iter().rev().find(is_it).copied()
    }

    /// Whose INVITE this is.
    pub fn of_server(&self, server: ServerId) -> Option<CallId> {
        self.servers.get(&server).copied()
    }

    /// Whose dialog this is.
    pub fn of_dialog(&self, dialog: &DialogId) -> Option<(CallId, Leg)> {
        self.dialogs.get(dialog).copied()
    }

    /// Whose media session this is.
    pub fn of_session(&self, session: SessionId) -> Option<CallId> {
        self.sessions.get(&session).copied()
    }

    /// The call that began first of all that are up.
    pub fn oldest(&self) -> Option<CallId> {
        self.calls.keys().next().copied()
    }

    /// The call that began last of all that are up.
    pub fn newest(&self) -> Option<CallId> {
        self.calls.keys().next_back().copied()
    }

    /// Names every call.
    pub fn ids(&self) -> Vec<CallId> {
        self.calls.keys().copied().collect()
    }

    /// Every call that is up, in the order in which they began.
    pub fn all(&self) -> impl Iterator<Item = (CallId, &Call)> {
        let all = self.calls.iter().map(|(id, entry)| (*id, &entry.call));
        all.filter(|(_, call)| !call.lingers())
    }

    /// How many calls are up.
    pub fn len(&self) -> usize {
        self.calls.len() - self.lingering
    }

    /// Whether there is no call, and nothing that leads to one.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.clients.is_empty()
            && self.servers.is_empty()
            && self.dialogs.is_empty()
            && self.sessions.is_empty()
            && self.due.is_empty()
    }
}
