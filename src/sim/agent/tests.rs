//! A bridge played by hand, in virtual time: what is right passes, and each thing that is wrong becomes a complaint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::leg::Leg;
use crate::secret::Secret;
use crate::sim::body::Keying;
use crate::sim::meta::{self, Business, Challenges, DigestUri, MetaManners};
use crate::sim::pbx::{self, PbxManners};
use crate::sim::relay::{self, Relays};
use crate::sim::speech::Speaks;
use crate::sip::digest::{Challenge, Counted, Credentials};
use crate::sip::transport::{Hop, Protocol};
use crate::sip::{Method, SipUri, build};

const EDGE: &str = "<sip:wa.meta.vc;transport=tls;lr>";
const INNER: &str = "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>";
const BRIDGE: &str = "<sip:+12145551869@meta-voip.example.com:5061;transport=tls>";

struct Bench<M> {
    agent: Agent<M>,
    now: Instant,
    sent: Vec<(Message, bool)>,
    orders: Vec<String>,
    reports: Vec<CallReport>,
}

fn sdp(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/data/meta/sdp/{name}.sdp")).unwrap()
}

fn ports() -> Ports {
    let mut port = 40_000;
    Box::new(move || {
        port += 2;
        Some(Listening {
            main: SocketAddr::from(([127, 0, 0, 2], port)),
            ipv6: None,
        })
    })
}

fn business() -> Business {
    Business {
        number: "+12145551869".parse().unwrap(),
        phone_number_id: "106540352242922".into(),
        hostname: "meta-voip.example.com".into(),
        password: Secret::new("meta-generated-secret"),
        keying: Keying::Sdes,
    }
}

fn meta(challenges: Challenges, answering: Answering) -> Bench<MetaManners> {
    keyed(Keying::Sdes, challenges, answering)
}

fn keyed(keying: Keying, challenges: Challenges, answering: Answering) -> Bench<MetaManners> {
    let business = Business {
        keying,
        ..business()
    };
    let manners = MetaManners::new(meta::Settings {
        speaks: Speaks::default(),
        businesses: vec![business],
        anybody: None,
        bridge: Hop {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            host: "meta-voip.example.com".into(),
            port: 5061,
        },
        challenges,
        digest_uri: DigestUri::Request,
        relays: Relays::new(relay::Settings::default()).unwrap(),
    });
    Bench::new(manners, answering)
}

fn pbx(answering: Answering) -> Bench<PbxManners> {
    let manners = PbxManners::new(pbx::Settings {
        speaks: Speaks::default(),
        listen: "127.0.0.3:5060".parse().unwrap(),
        bridge: Hop {
            leg: Leg::Pbx,
            protocol: Protocol::Tcp,
            host: "127.0.0.1".into(),
            port: 5070,
        },
    });
    Bench::new(manners, answering)
}

impl<M: Manners> Bench<M> {
    fn new(manners: M, answering: Answering) -> Bench<M> {
        Bench {
            agent: Agent::new(manners, ports(), answering),
            now: Instant::now(),
            sent: Vec::new(),
            orders: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn keep(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send {
                    message, elsewhere, ..
                } => self.sent.push((message, elsewhere)),
                Action::Line(_, order) => {
                    let text = format!("{order:?}");
                    let word = text.split('(').next().unwrap_or_default();
                    self.orders.push(word.to_owned());
                }
                Action::Ended(_, report) => self.reports.push(*report),
            }
        }
    }

    fn calls(&mut self, plan: Plan) -> Request {
        let outgoing = Outgoing {
            to: "+12145551869".into(),
            from: "+12195550714".into(),
            plan,
            ..Outgoing::default()
        };
        let (_, actions) = self.agent.place(outgoing, self.now).unwrap();
        self.keep(actions);
        self.request()
    }

    fn gets(&mut self, message: impl Into<Message>) {
        let protocol = match M::LEG {
            Leg::Meta => Protocol::Tls,
            Leg::Pbx => Protocol::Tcp,
        };
        let flow = Flow {
            leg: M::LEG,
            protocol,
            local: "127.0.0.2:5061".parse().unwrap(),
            remote: "127.0.0.1:40000".parse().unwrap(),
            connection: None,
        };
        let arrival = Arrival {
            message: message.into(),
            flow,
            octets: Arc::default(),
            at: self.now,
        };
        let actions = self
            .agent
            .handle(Event::Arrived(Box::new(arrival)), self.now);
        self.keep(actions);
    }

    /// Lets time pass, deadline by deadline.
    fn after(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let actions = self.agent.handle(Event::Tick, self.now);
            self.keep(actions);
        }
        self.now = end;
    }

    /// The last request that went out.
    fn request(&self) -> Request {
        let last = self.sent.iter().rev().find_map(|(m, _)| match m {
            Message::Request(request) => Some(request.clone()),
            Message::Response(_) => None,
        });
        last.expect("a request was sent")
    }

    /// The last response that went out.
    fn response(&self) -> Response {
        let last = self.sent.iter().rev().find_map(|(m, _)| match m {
            Message::Response(response) => Some(response.clone()),
            Message::Request(_) => None,
        });
        last.expect("a response was sent")
    }

    fn responds(&mut self, to: &Request, status: u16, change: impl FnOnce(&mut Response)) {
        let mut response = build::response(to, status, Some("bridge"));
        change(&mut response);
        self.gets(response);
    }

    fn sent_methods(&self) -> Vec<String> {
        let methods = self.sent.iter().filter_map(|(m, _)| match m {
            Message::Request(request) => Some(request.method.to_string()),
            Message::Response(_) => None,
        });
        methods.collect()
    }

    fn report(&self) -> &CallReport {
        self.reports.last().expect("a call is over")
    }
}

/// What makes a 200 of the bridge one that Meta accepts.
fn accept(ok: &mut Response) {
    ok.headers.push("Record-Route", EDGE);
    ok.headers.push("Record-Route", INNER);
    ok.headers.push("Contact", BRIDGE);
    ok.headers.push("Content-Type", "application/sdp");
    ok.body = sdp("bridge-answer-sdes-derived");
}

fn challenge(response: &mut Response) {
    let value = "Digest realm=\"b\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
    response.headers.push("Proxy-Authenticate", value);
}

/// A request of the bridge in the dialog that Meta's INVITE made.
fn in_dialog(invite: &Request, method: Method, cseq: u32) -> Request {
    let mut request = Request::new(method.clone(), invite.contact().unwrap().uri);
    let branch = format!("z9hG4bKbridge{method}{cseq}");
    let via = format!("SIP/2.0/TLS meta-voip.example.com:5061;branch={branch};rport");
    request.headers.push("Via", via);
    request.headers.push("Route", EDGE);
    request.headers.push("Route", INNER);
    request.headers.push("Max-Forwards", "70");
    let to = invite.headers.get("To").unwrap();
    request.headers.push("From", format!("{to};tag=bridge"));
    request
        .headers
        .push("To", invite.headers.get("From").unwrap());
    request.headers.push("Call-ID", invite.call_id());
    request.headers.push("CSeq", format!("{cseq} {method}"));
    request
}

fn answered(bench: &mut Bench<MetaManners>, plan: Plan) -> Request {
    let first = bench.calls(plan);
    bench.responds(&first, 407, challenge);
    let second = bench.request();
    bench.responds(&second, 180, |_| ());
    bench.after(Duration::from_millis(300));
    bench.responds(&second, 200, accept);
    second
}

#[test]
fn a_user_calls_proves_who_it_is_acknowledges_and_hangs_up() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let plan = Plan {
        talk: Some(Duration::from_secs(2)),
        ..Plan::default()
    };
    let invite = answered(&mut bench, plan);
    assert!(invite.headers.get("Proxy-Authorization").is_some());
    assert_eq!(bench.orders, ["Open", "Agree", "Answered"]);
    let ack = bench.request();
    assert_eq!(ack.method, Method::ACK);
    assert_eq!(format!("<{}>", ack.uri), BRIDGE);
    assert_eq!(ack.headers.get("Route"), None);
    bench.after(Duration::from_secs(3));
    let bye = bench.request();
    assert_eq!(bye.headers.get("x-wa-meta-call-duration"), Some("2"));
    bench.responds(&bye, 200, |_| ());
    let report = bench.report();
    assert_eq!(report.complaints, Vec::<String>::new());
    assert_eq!((report.status, report.setup_ms), (200, Some(300)));
    assert_eq!(report.ended_by, Some(EndedBy::Us));
    assert_eq!(
        bench.sent_methods(),
        ["INVITE", "ACK", "INVITE", "ACK", "BYE"]
    );
    assert_eq!(bench.agent.calls().count(), 0);
}

#[test]
fn everything_after_the_first_invite_may_leave_on_another_connection() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let plan = Plan {
        talk: Some(Duration::from_secs(1)),
        other_connection: true,
        ..Plan::default()
    };
    answered(&mut bench, plan);
    bench.after(Duration::from_secs(2));
    let ways: Vec<bool> = bench.sent.iter().map(|(_, elsewhere)| *elsewhere).collect();
    assert!(!ways[0]);
    assert_eq!(ways[ways.len() - 3..], [true, true, true]);
}

#[test]
fn the_bridge_may_hang_up_with_the_right_routes_and_gets_404_with_wrong_ones() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = answered(&mut bench, Plan::default());
    let mut wrong = in_dialog(&invite, Method::BYE, 1);
    wrong.headers.remove("Route");
    wrong.headers.push("Route", INNER);
    bench.gets(wrong);
    assert_eq!(bench.response().status, 404);
    assert_eq!(bench.agent.calls().count(), 1, "the WhatsApp side stays up");
    bench.gets(in_dialog(&invite, Method::BYE, 2));
    assert_eq!(bench.response().status, 200);
    let report = bench.report();
    assert_eq!(report.ended_by, Some(EndedBy::Bridge));
    assert!(report.complaints.concat().contains("its Routes"));
}

#[test]
fn what_meta_refuses_in_a_call_is_refused_and_the_call_goes_on() {
    for (method, status) in [
        ("INVITE", 500),
        ("UPDATE", 405),
        ("INFO", 405),
        ("PRACK", 405),
        ("OPTIONS", 200),
    ] {
        let mut bench = meta(Challenges::Md5, Answering::default());
        let invite = answered(&mut bench, Plan::default());
        let method = Method::parse(method).unwrap();
        bench.gets(in_dialog(&invite, method.clone(), 1));
        assert_eq!(bench.response().status, status, "{method}");
        bench.gets(in_dialog(&invite, Method::BYE, 2));
        let named = bench.report().complaints.concat();
        assert_eq!(
            named.contains("never sent to us"),
            status != 200,
            "{method}"
        );
    }
}

#[test]
fn a_cseq_that_does_not_rise_is_noticed() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = answered(&mut bench, Plan::default());
    bench.gets(in_dialog(&invite, Method::OPTIONS, 5));
    bench.gets(in_dialog(&invite, Method::BYE, 5));
    assert_eq!(bench.response().status, 404);
    bench.gets(in_dialog(&invite, Method::BYE, 6));
    assert!(
        bench
            .report()
            .complaints
            .concat()
            .contains("CSeq does not rise")
    );
}

#[test]
fn a_200_with_changed_record_routes_gets_no_ack() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let first = bench.calls(Plan::default());
    bench.responds(&first, 200, |ok| {
        accept(ok);
        ok.headers.remove("Record-Route");
        ok.headers.push("Record-Route", INNER);
    });
    assert_eq!(bench.sent_methods(), ["INVITE"]);
    bench.gets(in_dialog(&first, Method::BYE, 1));
    assert!(
        bench
            .report()
            .complaints
            .concat()
            .contains("no ACK is sent")
    );
}

#[test]
fn a_200_whose_sdp_cannot_be_used_is_acknowledged_and_hung_up() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let first = bench.calls(Plan::default());
    bench.responds(&first, 200, |ok| {
        accept(ok);
        ok.body = sdp("bridge-answer-dtls-derived");
    });
    assert_eq!(bench.sent_methods(), ["INVITE", "ACK", "BYE"]);
    let bye = bench.request();
    bench.responds(&bye, 200, |_| ());
    assert!(bench.report().complaints.concat().contains("no a=crypto"));
}

#[test]
fn a_repeated_200_is_acknowledged_again() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = answered(&mut bench, Plan::default());
    bench.responds(&invite, 200, accept);
    let methods = bench.sent_methods();
    assert_eq!(methods[methods.len() - 2..], ["ACK", "ACK"]);
}

#[test]
fn a_caller_without_patience_cancels_once_something_was_heard() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let plan = Plan {
        patience: Duration::from_secs(1),
        ..Plan::default()
    };
    let invite = bench.calls(plan);
    bench.after(Duration::from_secs(2));
    assert_eq!(
        bench.sent_methods(),
        ["INVITE"],
        "no CANCEL before a response"
    );
    bench.responds(&invite, 100, |_| ());
    let cancel = bench.request();
    assert_eq!(cancel.method, Method::CANCEL);
    assert_eq!(cancel.headers.all("Via").count(), 1);
    bench.responds(&cancel, 200, |_| ());
    bench.responds(&invite, 487, |_| ());
    let report = bench.report();
    assert_eq!((report.status, report.ended_by), (487, Some(EndedBy::Us)));
    assert_eq!(report.complaints, Vec::<String>::new());
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let plan = Plan {
        patience: Duration::from_secs(1),
        ..Plan::default()
    };
    let invite = bench.calls(plan);
    bench.responds(&invite, 180, |_| ());
    bench.after(Duration::from_secs(2));
    bench.responds(&invite, 200, accept);
    let methods = bench.sent_methods();
    assert_eq!(methods, ["INVITE", "CANCEL", "ACK", "BYE"]);
}

#[test]
fn a_bridge_that_challenges_for_ever_is_given_up() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let mut invite = bench.calls(Plan::default());
    for _ in 0..4 {
        bench.responds(&invite, 407, challenge);
        invite = bench.request();
    }
    let report = bench.report();
    assert_eq!(report.status, 407);
    assert!(report.complaints.concat().contains("challenged for ever"));
}

fn bridge_calls(bench: &mut Bench<MetaManners>) -> Request {
    let bare = crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip");
    bench.gets(bare.clone());
    let asked = bench.response();
    assert_eq!(asked.status, 407);
    let tag = asked.to().unwrap().tag().map(str::to_owned);
    assert_eq!(tag, bare.via().unwrap().branch().map(str::to_owned));
    let value = asked.headers.get("Proxy-Authenticate").unwrap();
    let challenge = Challenge::parse_all(value).remove(0).unwrap();
    let mut credentials = Credentials {
        username: "12145551869".into(),
        realm: challenge.realm,
        nonce: challenge.nonce,
        uri: bare.uri.to_string(),
        response: String::new(),
        algorithm: challenge.algorithm,
        opaque: challenge.opaque,
        counted: Some(Counted {
            cnonce: "c".into(),
            nc: "00000001".into(),
        }),
    };
    credentials.response = credentials.expected("INVITE", &business().password);
    let mut invite = crate::sim::tests::request("dialogs/bic-sdes/04-invite-auth.sip");
    let value = credentials.to_string();
    invite.headers.set("Proxy-Authorization", value);
    bench.gets(invite.clone());
    invite
}

/// A request of the bridge in the dialog that its own INVITE made.
fn by_the_caller(invite: &Request, ok: &Response, method: Method, cseq: u32) -> Request {
    let mut request = Request::new(method.clone(), ok.contact().unwrap().uri);
    let branch = format!("z9hG4bKcaller{method}{cseq}");
    let via = format!("SIP/2.0/TLS meta-voip.example.com:5061;branch={branch};rport");
    request.headers.push("Via", via);
    request.headers.push("Route", EDGE);
    request.headers.push("Route", INNER);
    request.headers.push("Max-Forwards", "70");
    request
        .headers
        .push("From", invite.headers.get("From").unwrap());
    request.headers.push("To", ok.headers.get("To").unwrap());
    request.headers.push("Call-ID", invite.call_id());
    request.headers.push("CSeq", format!("{cseq} {method}"));
    request
}

#[test]
fn the_business_calls_and_is_answered() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = bridge_calls(&mut bench);
    bench.after(Duration::from_millis(100));
    assert_eq!(bench.response().status, 180);
    bench.after(Duration::from_millis(200));
    let ok = bench.response();
    assert_eq!(ok.status, 200);
    assert_eq!(
        bench.orders,
        ["Open", "Agree"],
        "not answered before the ACK"
    );
    bench.gets(by_the_caller(&invite, &ok, Method::ACK, 2));
    assert_eq!(bench.orders, ["Open", "Agree", "Answered"]);
    bench.gets(by_the_caller(&invite, &ok, Method::BYE, 3));
    assert_eq!(bench.response().status, 200);
    let report = bench.report();
    assert_eq!(report.complaints, Vec::<String>::new());
    assert_eq!(report.status, 200);
    assert_eq!(report.ended_by, Some(EndedBy::Bridge));
    assert_eq!(
        (&*report.from, &*report.to),
        ("+12145551869", "+12195550714")
    );
}

#[test]
fn an_ack_that_goes_astray_is_missed_until_the_call_ends() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = bridge_calls(&mut bench);
    bench.after(Duration::from_secs(1));
    let ok = bench.response();
    let mut ack = by_the_caller(&invite, &ok, Method::ACK, 2);
    ack.headers.remove("Route");
    bench.gets(ack);
    let mut ack = by_the_caller(&invite, &ok, Method::ACK, 7);
    ack.headers.set("CSeq", "7 ACK");
    bench.gets(ack);
    let before = bench.sent.len();
    bench.after(Duration::from_secs(10));
    assert!(bench.sent.len() > before + 2, "the 200 is repeated");
    bench.after(Duration::from_secs(30));
    let bye = bench.request();
    assert_eq!(bye.method, Method::BYE);
    bench.responds(&bye, 200, |_| ());
    let complaints = bench.report().complaints.concat();
    for what in ["its Routes", "not that of the INVITE", "none came"] {
        assert!(complaints.contains(what), "{what}");
    }
}

#[test]
fn each_documented_refusal_can_be_given() {
    for (status, reason) in [
        (486, "User declined the call"),
        (480, "Temporarily Unavailable"),
        (403, "Business Initiated Connected Call Per Day Limit Hit"),
    ] {
        let outcome = Outcome::Refuse {
            status,
            reason: reason.into(),
        };
        let mut bench = meta(
            Challenges::Off,
            Answering {
                outcome,
                ..Answering::default()
            },
        );
        bench.gets(crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip"));
        bench.after(Duration::from_secs(1));
        let refusal = bench.response();
        assert_eq!((refusal.status, &*refusal.reason), (status, reason));
        let warning = refusal.headers.get("Warning").unwrap();
        assert_eq!(warning, format!("399 wa.meta.vc \"{reason}\""));
        assert_eq!(bench.report().complaints, Vec::<String>::new());
    }
}

#[test]
fn a_second_call_between_the_same_two_is_a_duplicate() {
    let mut bench = meta(Challenges::Off, Answering::default());
    let first = crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip");
    bench.gets(first.clone());
    let mut second = first;
    let via = second
        .headers
        .get("Via")
        .unwrap()
        .replace("794422e3420e", "aaaabbbbcccc");
    second.headers.set("Via", via);
    second.headers.set("Call-ID", "another");
    bench.gets(second);
    assert_eq!(bench.report().reason, "duplicate call");
}

#[test]
fn an_offer_that_meta_cannot_use_is_an_sdp_validation_error() {
    let mut bench = meta(Challenges::Off, Answering::default());
    let mut invite = crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip");
    invite.body = sdp("bridge-offer-dtls-derived");
    bench.gets(invite);
    let report = bench.report();
    assert_eq!(
        (report.status, &*report.reason),
        (403, "SDP validation error")
    );
    assert!(!report.complaints.is_empty());
}

#[test]
fn a_number_set_to_dtls_takes_nothing_else_from_a_business_that_calls() {
    for (sdp_of, answered) in [("dtls", true), ("sdes", false)] {
        let mut bench = keyed(Keying::Dtls, Challenges::Off, Answering::default());
        let mut invite = crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip");
        invite.body = sdp(&format!("bridge-offer-{sdp_of}-derived"));
        bench.gets(invite);
        if answered {
            bench.after(Duration::from_millis(300));
            let body = String::from_utf8(bench.response().body).unwrap();
            assert!(body.contains("a=ice-lite\r\n") && body.contains("a=setup:active\r\n"));
            assert_eq!(bench.orders, ["Open", "Agree"]);
        } else {
            assert_eq!(bench.report().reason, "SDP validation error");
            let said = bench.report().complaints.concat();
            assert!(said.contains("UDP/TLS/RTP/SAVPF"), "{said}");
        }
    }
}

#[test]
fn a_user_who_calls_a_number_set_to_dtls_offers_it_and_wants_it_back() {
    for (sdp_of, right) in [("dtls", true), ("sdes", false)] {
        let mut bench = keyed(Keying::Dtls, Challenges::Off, Answering::default());
        let invite = bench.calls(Plan::default());
        let offer = String::from_utf8(invite.body.clone()).unwrap();
        assert!(offer.contains("a=setup:actpass\r\n"), "{offer}");
        bench.responds(&invite, 200, |ok| {
            accept(ok);
            ok.body = sdp(&format!("bridge-answer-{sdp_of}-derived"));
        });
        if right {
            assert_eq!(bench.orders, ["Open", "Agree", "Answered"]);
        } else {
            let bye = bench.request();
            assert_eq!(bye.method, Method::BYE);
            bench.responds(&bye, 200, |_| ());
            let said = bench.report().complaints.concat();
            assert!(said.contains("No fingerprint found in SDP"), "{said}");
        }
    }
}

#[test]
fn why_the_bridge_hung_up_is_reported() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    let invite = answered(&mut bench, Plan::default());
    let mut bye = in_dialog(&invite, Method::BYE, 1);
    let reason = "Q.850;cause=102;text=\"ICE: no candidate answered\"";
    bye.headers.push("Reason", reason);
    bench.gets(bye);
    assert_eq!(bench.report().bye_reason.as_deref(), Some(reason));
}

#[test]
fn the_bridge_may_cancel() {
    let answering = Answering {
        outcome: Outcome::Ring,
        ..Answering::default()
    };
    let mut bench = meta(Challenges::Off, answering);
    let invite = crate::sim::tests::request("dialogs/bic-sdes/01-invite.sip");
    bench.gets(invite.clone());
    bench.after(Duration::from_secs(1));
    bench.gets(build::cancel(&invite));
    assert_eq!(bench.report().status, 487);
    assert_eq!(bench.report().complaints, Vec::<String>::new());
}

#[test]
fn requests_that_belong_to_no_call_are_refused_as_documented() {
    let mut bench = meta(Challenges::Off, Answering::default());
    bench.gets(crate::sim::tests::request(
        "dialogs/refused/03-register-from-bridge.sip",
    ));
    assert_eq!(bench.response().status, 403);
    bench.gets(crate::sim::tests::request(
        "dialogs/refused/01-reinvite-from-bridge.sip",
    ));
    assert_eq!(bench.response().status, 481);
    assert_eq!(bench.agent.complaints().len(), 2);
}

#[test]
fn a_line_that_hears_nothing_hangs_up_and_says_so() {
    let mut bench = meta(Challenges::Md5, Answering::default());
    answered(&mut bench, Plan::default());
    let call = bench.agent.calls().next().unwrap();
    let silent = Event::Silent(call, "20 s without media".into());
    let actions = bench.agent.handle(silent, bench.now);
    bench.keep(actions);
    let bye = bench.request();
    bench.responds(&bye, 200, |_| ());
    assert_eq!(bench.report().complaints, ["20 s without media"]);
}

fn bridges_media() -> Listening {
    Listening {
        main: "127.0.0.1:42000".parse().unwrap(),
        ipv6: None,
    }
}

/// A plain call of the bridge to the PBX.
fn to_the_pbx() -> Request {
    let uri = SipUri::new(Some("100"), "127.0.0.3").with_port(5060);
    let mut invite = Request::new(Method::INVITE, uri);
    for (name, value) in [
        (
            "Via",
            "SIP/2.0/TCP 127.0.0.1:5070;branch=z9hG4bKtothepbx;rport",
        ),
        ("Max-Forwards", "70"),
        ("From", "<sip:+12195550714@127.0.0.1>;tag=b"),
        ("To", "<sip:100@127.0.0.3>"),
        ("Call-ID", "c"),
        ("CSeq", "1 INVITE"),
        ("Contact", "<sip:127.0.0.1:5070;transport=tcp>"),
        ("X-WA-Meta-User-Id", "US.1"),
        ("Content-Type", "application/sdp"),
    ] {
        invite.headers.push(name, value);
    }
    invite.body = Ours::plain(bridges_media(), &Speaks::default())
        .as_pbx()
        .into_bytes();
    invite
}

#[test]
fn a_pbx_rings_with_early_media_answers_and_is_hung_up_on() {
    let answering = Answering {
        early_media: true,
        ..Answering::default()
    };
    let mut bench = pbx(answering);
    let invite = to_the_pbx();
    bench.gets(invite.clone());
    bench.after(Duration::from_millis(100));
    assert_eq!(bench.response().status, 183);
    assert!(!bench.response().body.is_empty());
    assert_eq!(bench.orders, ["Open", "Agree", "Speak"]);
    bench.after(Duration::from_millis(200));
    let ok = bench.response();
    let mut ack = by_the_caller(&invite, &ok, Method::ACK, 1);
    ack.headers.remove("Route");
    bench.gets(ack);
    let mut bye = by_the_caller(&invite, &ok, Method::BYE, 2);
    bye.headers.remove("Route");
    bench.gets(bye);
    let report = bench.report();
    assert_eq!(report.complaints, Vec::<String>::new());
    assert_eq!(report.meta_headers.len(), 1);
    assert_eq!(
        (report.status, report.ended_by),
        (200, Some(EndedBy::Bridge))
    );
}

#[test]
fn a_pbx_sends_a_reinvite_that_must_be_refused() {
    for (status, right) in [(500, true), (200, false)] {
        let mut bench = pbx(Answering::default());
        let plan = Plan {
            reinvite: Some(Duration::from_secs(1)),
            talk: Some(Duration::from_secs(3)),
            ..Plan::default()
        };
        let invite = bench.calls(plan);
        let answer = |ok: &mut Response| {
            ok.headers.push("Contact", "<sip:127.0.0.1:5070>");
            ok.body = Ours::plain(bridges_media(), &Speaks::default())
                .as_pbx()
                .into_bytes();
        };
        bench.responds(&invite, 200, answer);
        bench.after(Duration::from_millis(1500));
        let again = bench.request();
        assert_eq!(again.method, Method::INVITE);
        bench.responds(&again, status, answer);
        bench.after(Duration::from_secs(2));
        let bye = bench.request();
        bench.responds(&bye, 200, |_| ());
        let report = bench.report();
        assert_eq!(report.reinvite, Some(status));
        assert_eq!(report.complaints.is_empty(), right);
    }
}

#[test]
fn a_pbx_wants_its_contact_back_as_request_uri() {
    let mut bench = pbx(Answering::default());
    let invite = to_the_pbx();
    bench.gets(invite.clone());
    bench.after(Duration::from_secs(1));
    let ok = bench.response();
    let mut bye = by_the_caller(&invite, &ok, Method::BYE, 2);
    bye.uri = SipUri::new(Some("200"), "127.0.0.3").into();
    bench.gets(bye);
    assert_eq!(bench.response().status, 404);
}
