//! The table as a whole: strays, old peers, where answers go, the limit, and disorder of every kind.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{Bench, flow, hop, request, response, second_connection};
use super::*;
use Protocol::{Tcp, Tls, Udp};

fn via(text: &str) -> Request {
    let mut request = request("OPTIONS", "z9hG4bK1");
    request.headers.set("Via", text);
    request
}

#[test]
fn an_ack_that_matches_nothing_goes_to_the_dialog() {
    let mut bench = Bench::new();
    assert_eq!(bench.gets(request("ACK", "z9hG4bK9"), flow(Tls)), ["0 ack"]);
    bench.is_empty();
}

#[test]
fn a_cancel_that_matches_nothing_is_answered_481_with_the_same_tag_each_time() {
    let mut bench = Bench::new();
    let cancel = request("CANCEL", "z9hG4bK9");
    for _ in 0..2 {
        assert_eq!(
            bench.gets(cancel.clone(), flow(Udp)),
            ["0 send 481 to 192.0.2.7:5070"]
        );
    }
    let tag = bench.last_sent_tag();
    bench.gets(cancel, flow(Udp));
    assert_eq!((bench.last_sent_tag(), tag.len()), (tag, 16));
    bench.is_empty();
}

#[test]
fn a_cancel_before_any_response_of_ours_gets_a_tag_of_the_table() {
    let mut bench = Bench::new();
    bench.gets(request("INVITE", "z9hG4bK1"), flow(Tls));
    assert_eq!(
        bench.gets(request("CANCEL", "z9hG4bK1"), flow(Tls)),
        ["0 send 200 to 192.0.2.7:5070", "0 cancelled"]
    );
    assert_eq!(bench.last_sent_tag().len(), 16);
}

#[test]
fn a_cancel_over_another_connection_finds_its_invite_and_is_answered_there() {
    let mut bench = Bench::new();
    bench.gets(request("INVITE", "z9hG4bK1"), flow(Tls));
    assert_eq!(
        bench.gets(request("CANCEL", "z9hG4bK1"), second_connection()),
        ["0 send 200 to 192.0.2.7:6000", "0 cancelled"]
    );
    assert_eq!(bench.responds(487, "b"), ["0 send 487 to 192.0.2.7:5070"]);
}

#[test]
fn our_cancel_that_crosses_a_200_leaves_the_200_to_the_dialog() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let cancel = build::cancel(&invite);
    bench.sends(invite.clone(), hop(Udp));
    bench.gets(response(&invite, 180, "b"), flow(Udp));
    bench.sends(cancel.clone(), hop(Udp));
    assert_eq!(
        bench.gets(response(&invite, 200, "b"), flow(Udp)),
        ["0 response 200 b"]
    );
    assert_eq!(
        bench.gets(response(&cancel, 481, "b"), flow(Udp)),
        ["0 response 481 b"]
    );
    assert!(bench.until(32_000).is_empty());
    bench.is_empty();
}

#[test]
fn a_response_with_another_branch_method_or_leg_is_a_stray() {
    let mut bench = Bench::new();
    bench.sends(request("BYE", "z9hG4bK1"), hop(Tls));
    let ok = response(&request("BYE", "z9hG4bK1"), 200, "b");
    let meta = Flow {
        leg: Leg::Meta,
        ..flow(Tls)
    };
    assert!(bench.gets(ok.clone(), meta).is_empty());
    for other in [request("BYE", "z9hG4bK2"), request("INFO", "z9hG4bK1")] {
        assert!(bench.gets(response(&other, 200, "b"), flow(Tls)).is_empty());
    }
    assert_eq!(bench.table.stats().strays, 3);
    assert_eq!(bench.gets(ok, flow(Tls)), ["0 response 200 b"]);
    bench.is_empty();
}

#[test]
fn a_peer_of_rfc_2543_without_a_branch_has_its_invite_refused_and_acked() {
    let mut bench = Bench::new();
    let old = |method| {
        let mut request = request(method, "");
        request.headers.set("Via", "SIP/2.0/TLS old.example.net");
        request
    };
    assert_eq!(bench.gets(old("INVITE"), flow(Tls)), ["0 request INVITE"]);
    assert!(bench.gets(old("INVITE"), flow(Tls)).is_empty());
    assert_eq!(bench.gets(old("CANCEL"), flow(Tls)).len(), 2);
    bench.responds(487, "b");
    assert!(bench.gets(old("ACK"), flow(Tls)).is_empty());
    bench.is_empty();
}

#[test]
fn over_udp_the_answer_goes_to_the_source_port_only_where_rport_asks_for_it() {
    for (text, port) in [
        ("SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK1", 5062),
        (
            "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1;received=192.0.2.7",
            5060,
        ),
        ("SIP/2.0/UDP 10.0.0.9:5062;rport;branch=z9hG4bK1", 5070),
        ("SIP/2.0/UDP 10.0.0.9:5062;rport=5070;branch=z9hG4bK1", 5070),
        (
            "SIP/2.0/UDP 10.0.0.9:5062;maddr=203.0.113.5;branch=z9hG4bK1",
            5062,
        ),
    ] {
        let mut bench = Bench::new();
        bench.gets(via(text), flow(Udp));
        let line = format!("0 send 200 to 192.0.2.7:{port}");
        assert_eq!(bench.responds(200, "b"), [line], "{text}");
    }
}

#[test]
fn over_a_stream_the_answer_takes_the_connection_whatever_the_via_says() {
    for protocol in [Tcp, Tls] {
        let mut bench = Bench::new();
        bench.gets(
            via("SIP/2.0/TCP 10.0.0.9:5062;branch=z9hG4bK1"),
            flow(protocol),
        );
        assert_eq!(bench.responds(200, "b"), ["0 send 200 to 192.0.2.7:5070"]);
    }
}

#[test]
fn beyond_the_limit_a_request_gets_503_and_those_under_way_go_on() {
    let mut bench = Bench::with(Settings {
        max_transactions: 1,
        ..Settings::default()
    });
    bench.gets(request("INVITE", "z9hG4bK1"), flow(Udp));
    assert_eq!(
        bench.gets(request("OPTIONS", "z9hG4bK2"), flow(Udp)),
        ["0 send 503 to 192.0.2.7:5070"]
    );
    assert_eq!(
        bench.last_sent_response().headers.get("Retry-After"),
        Some("5")
    );
    assert_eq!(bench.table.stats().refused[Leg::Pbx as usize], 1);
    assert_eq!(bench.gets(request("ACK", "z9hG4bK3"), flow(Udp)), ["0 ack"]);
    assert_eq!(
        bench.gets(request("CANCEL", "z9hG4bK1"), flow(Udp)).len(),
        2
    );
    // What we must say ourselves is never held back.
    bench.sends(request("BYE", "z9hG4bK4"), hop(Udp));
    assert_eq!(bench.responds(487, "b").len(), 1);
    assert_eq!(bench.table.len(), 2);
}

#[test]
fn a_late_tick_does_what_was_missed_once() {
    let mut bench = Bench::new();
    bench.sends(request("INVITE", "z9hG4bK1"), hop(Udp));
    bench.sends(request("BYE", "z9hG4bK2"), hop(Udp));
    let late = Instant::now() + Duration::from_secs(20);
    let actions = bench.table.tick(late);
    assert_eq!(actions.len(), 2);
    assert!(bench.table.deadline().unwrap() > late);
    assert!(bench.table.tick(late).is_empty());
}

#[test]
fn of_two_requests_of_ours_with_one_branch_the_later_gets_the_answers() {
    let mut bench = Bench::new();
    bench.sends(request("BYE", "z9hG4bK1"), hop(Tls));
    bench.until(1_000);
    bench.sends(request("BYE", "z9hG4bK1"), hop(Tls));
    assert_eq!(bench.until(32_500), ["32000 timed out"]);
    assert_eq!(
        bench.gets(response(&request("BYE", "z9hG4bK1"), 200, "b"), flow(Tls)),
        ["32500 response 200 b"]
    );
    bench.is_empty();
}

#[test]
fn unknown_ids_are_ignored() {
    let mut bench = Bench::new();
    let now = Instant::now();
    bench.gets(request("BYE", "z9hG4bK1"), flow(Tls));
    let ok = response(&request("BYE", "z9hG4bK1"), 200, "b");
    assert!(bench.table.respond(ServerId(9), ok.clone(), now).is_empty());
    // A server's number is no client's.
    assert!(bench.table.failed(ClientId(1), "refused", now).is_empty());
    assert_eq!(bench.table.respond(ServerId(1), ok, now).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Send {
        method: usize,
        branch: u8,
        lossy: bool,
    },
    Answered {
        method: usize,
        branch: u8,
        status: u16,
        tag: u8,
    },
    Arrives {
        method: usize,
        branch: u8,
        lossy: bool,
    },
    Respond {
        which: usize,
        status: u16,
    },
    Fail {
        which: usize,
    },
    Wait {
        ms: u64,
    },
}

const METHODS: [&str; 5] = ["INVITE", "BYE", "OPTIONS", "CANCEL", "ACK"];

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![
        Just(100u16),
        Just(180),
        Just(200),
        Just(302),
        Just(486),
        Just(603)
    ];
    prop_oneof![
        (0..4usize, 0..4u8, any::<bool>()).prop_map(|(method, branch, lossy)| Step::Send {
            method,
            branch,
            lossy
        }),
        (0..4usize, 0..4u8, status.clone(), 0..3u8).prop_map(|(method, branch, status, tag)| {
            Step::Answered {
                method,
                branch,
                status,
                tag,
            }
        }),
        (0..5usize, 0..4u8, any::<bool>()).prop_map(|(method, branch, lossy)| Step::Arrives {
            method,
            branch,
            lossy
        }),
        (0..8usize, status).prop_map(|(which, status)| Step::Respond { which, status }),
        (0..8usize).prop_map(|which| Step::Fail { which }),
        (0..20_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// A table, and a user of it that keeps its promises: in the end it answers every INVITE and cancels its own.
struct Disorder {
    table: Table,
    now: Instant,
    clients: Vec<(ClientId, Request)>,
    servers: Vec<(ServerId, Request)>,
}

impl Disorder {
    fn branch(branch: u8) -> String {
        // One of the four promises nothing.
        ["z9hG4bKa", "z9hG4bKb", "z9hG4bK", "1"][usize::from(branch) % 4].to_owned()
    }

    fn flow(lossy: bool) -> Flow {
        flow(if lossy { Udp } else { Tls })
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send {
                method,
                branch,
                lossy,
            } => {
                let request = request(METHODS[method], &Disorder::branch(branch));
                // Nobody who keeps promises uses a branch twice.
                if self.clients.iter().any(|(_, sent)| *sent == request) {
                    return;
                }
                let target = hop(if lossy { Udp } else { Tls });
                let (id, actions) = self.table.request(request.clone(), target, self.now);
                assert_eq!(actions.len(), 1);
                self.clients.push((id, request));
            }
            Step::Answered {
                method,
                branch,
                status,
                tag,
            } => {
                let request = request(METHODS[method], &Disorder::branch(branch));
                let message = response(&request, status, &format!("t{tag}")).into();
                self.receive(message, Disorder::flow(true));
            }
            Step::Arrives {
                method,
                branch,
                lossy,
            } => {
                let message = request(METHODS[method], &Disorder::branch(branch)).into();
                self.receive(message, Disorder::flow(lossy));
            }
            Step::Respond { which, status } => {
                if let Some((id, request)) = self.servers.get(which).cloned() {
                    let response = response(&request, status, "ours");
                    self.table.respond(id, response, self.now);
                }
            }
            Step::Fail { which } => {
                if let Some((id, _)) = self.clients.get(which) {
                    self.table.failed(*id, "refused", self.now);
                }
            }
            Step::Wait { ms } => self.wait(Duration::from_millis(ms)),
        }
    }

    fn receive(&mut self, message: Message, flow: Flow) {
        for action in self.table.receive(
            Arrival {
                message,
                flow,
                octets: Arc::default(),
                at: self.now,
            },
            self.now,
        ) {
            if let Action::Request {
                server, request, ..
            } = action
            {
                assert!(request.method != Method::ACK && request.method != Method::CANCEL);
                self.servers.push((server, request));
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.table.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline lies in the past");
            self.now = at;
            self.table.tick(at);
            assert!(self.table.deadline().is_none_or(|next| next > at));
        }
        self.now = end;
    }
}

proptest! {
    #[test]
    fn in_any_order_nothing_panics_and_the_table_empties(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = Disorder {
            table: Table::with_seed(Settings::default(), 1),
            now: Instant::now(),
            clients: Vec::new(),
            servers: Vec::new(),
        };
        for step in steps {
            world.step(step);
            prop_assert!(world.table.index.len() <= world.table.len());
        }
        for (id, request) in world.servers.clone() {
            world.table.respond(id, response(&request, 487, "ours"), world.now);
        }
        for (_, request) in world.clients.clone() {
            if request.method == Method::INVITE {
                world.table.request(build::cancel(&request), hop(Udp), world.now);
            }
        }
        world.wait(Duration::from_millis(3 * 64 * 500));
        prop_assert!(world.table.is_empty(), "{:?}", world.table.entries);
        prop_assert!(world.table.index.is_empty());
        prop_assert_eq!(world.table.deadline(), None);
    }
}
