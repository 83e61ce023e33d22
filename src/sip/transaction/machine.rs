//! One transaction of any of the four kinds. What makes no sense for its kind it ignores.

use std::time::Instant;

use crate::sip::Response;
use crate::sip::transport::{Flow, Target};

use super::Action;
use super::client::Client;
use super::invite_client::InviteClient;
use super::invite_server::InviteServer;
use super::server::Server;

#[derive(Debug)]
pub(super) enum Machine {
    InviteClient(InviteClient),
    Client(Client),
    InviteServer(InviteServer),
    Server(Server),
}

impl Machine {
    /// A peer's response.
    pub fn response(&mut self, response: Response, flow: Flow, now: Instant) -> Vec<Action> {
        match self {
            Machine::InviteClient(machine) => machine.response(response, flow, now),
            Machine::Client(machine) => machine.response(response, flow, now),
            Machine::InviteServer(_) | Machine::Server(_) => Vec::new(),
        }
    }

    /// Our request could not be sent.
    pub fn failed(&mut self, reason: &str) -> Vec<Action> {
        match self {
            Machine::InviteClient(machine) => machine.failed(reason),
            Machine::Client(machine) => machine.failed(reason),
            Machine::InviteServer(_) | Machine::Server(_) => Vec::new(),
        }
    }

    /// A response of ours.
    pub fn respond(&mut self, response: Response, now: Instant) -> Vec<Action> {
        match self {
            Machine::InviteServer(machine) => machine.respond(response, now),
            Machine::Server(machine) => machine.respond(response, now),
            Machine::InviteClient(_) | Machine::Client(_) => Vec::new(),
        }
    }

    /// A peer's request came again.
    pub fn copy(&mut self, target: Target) -> Vec<Action> {
        match self {
            Machine::InviteServer(machine) => machine.copy(target),
            Machine::Server(machine) => machine.copy(target),
            Machine::InviteClient(_) | Machine::Client(_) => Vec::new(),
        }
    }

    /// When [`Machine::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Machine::InviteClient(machine) => machine.deadline(),
            Machine::Client(machine) => machine.deadline(),
            Machine::InviteServer(machine) => machine.deadline(),
            Machine::Server(machine) => machine.deadline(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        match self {
            Machine::InviteClient(machine) => machine.tick(now),
            Machine::Client(machine) => machine.tick(now),
            Machine::InviteServer(machine) => machine.tick(now),
            Machine::Server(machine) => machine.tick(),
        }
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        match self {
            Machine::InviteClient(machine) => machine.is_over(),
            Machine::Client(machine) => machine.is_over(),
            Machine::InviteServer(machine) => machine.is_over(),
            Machine::Server(machine) => machine.is_over(),
        }
    }
}
