use super::*;
use crate::sip::build;
use crate::sip::message::Common;
use crate::sip::transport::Protocol;

const CHALLENGE: &str = "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";

/// A registration, and what it has said and sent last.
struct Desk {
    registration: Registration,
    tokens: Tokens,
    start: Instant,
    now: Instant,
    sent: Option<Request>,
    news: Vec<News>,
}

fn account() -> Account {
    Account {
        registrar: SipUri::new(None, "pbx.example.com"),
        address: SipUri::new(Some("trunk"), "pbx.example.com"),
        user: "trunk".into(),
        username: "trunk-auth".into(),
        password: Secret::new("secret"),
        expires: Duration::from_secs(300),
        identity: Identity::new(Protocol::Udp, "192.0.2.1", 5070),
    }
}

impl Desk {
    fn new() -> Desk {
        let (mut tokens, now) = (Tokens::seeded(7), Instant::now());
        Desk {
            registration: Registration::new(account(), None, &mut tokens, now),
            tokens,
            start: now,
            now,
            sent: None,
            news: Vec::new(),
        }
    }

    fn handle(&mut self, event: Event) {
        for action in self.registration.handle(event, &mut self.tokens, self.now) {
            match action {
                Action::Send(request) => assert!(self.sent.replace(request).is_none()),
                Action::News(news) => self.news.push(news),
            }
        }
    }

    /// Waits until the next REGISTER, and gives it with the seconds since the start.
    fn asks(&mut self) -> (Request, u64) {
        while self.sent.is_none() {
            let due = self.registration.deadline().expect("something is due");
            self.now = self.now.max(due);
            self.handle(Event::Deadline);
        }
        let request = self.sent.take().unwrap();
        (request, (self.now - self.start).as_secs())
    }

    fn gets(&mut self, request: &Request, status: u16, headers: &[(&str, &str)]) {
        let mut response = build::response(request, status, Some("t"));
        for (name, value) in headers {
            response.headers.push(name, *value);
        }
        self.handle(Event::Response(response));
    }

    fn is_registered(&mut self, request: &Request) {
        let contact = format!("{};expires=300", request.headers.get("Contact").unwrap());
        self.gets(request, 200, &[("Contact", contact.as_str())]);
    }
}

fn cseq(request: &Request) -> u32 {
    request.cseq().unwrap().number
}

#[test]
fn it_registers_at_once_and_again_before_what_was_granted_is_over() {
    let mut desk = Desk::new();
    let (first, at) = desk.asks();
    assert_eq!(
        (first.uri.to_string().as_str(), at),
        ("sip:pbx.example.com", 0)
    );
    let has = |name| first.headers.get(name).unwrap().to_owned();
    assert_eq!(has("To"), "<sip:trunk@pbx.example.com>");
    assert_eq!(has("Contact"), "<sip:trunk@192.0.2.1:5070>");
    assert_eq!(has("Expires"), "300");
    desk.is_registered(&first);
    assert!(desk.registration.standing().since.is_some());
    let (second, at) = desk.asks();
    assert!((216..=240).contains(&at), "{at}");
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.headers.get("From"), first.headers.get("From"));
    assert_eq!((cseq(&first), cseq(&second)), (1, 2));
}

#[test]
fn credentials_that_were_taken_are_given_unasked_with_the_next_count() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    assert!(first.headers.get("Authorization").is_none());
    desk.gets(&first, 401, &[("WWW-Authenticate", CHALLENGE)]);
    let (second, at) = desk.asks();
    let given = second.headers.get("Authorization").unwrap().to_owned();
    assert!(
        given.contains("username=\"trunk-auth\"") && given.contains("nc=00000001"),
        "{given}"
    );
    assert_eq!((cseq(&second), at), (2, 0));
    desk.is_registered(&second);
    let (third, _) = desk.asks();
    let given = third.headers.get("Authorization").unwrap();
    assert!(
        given.contains("nonce=\"n1\"") && given.contains("nc=00000002"),
        "{given}"
    );
    // The nonce is too old now.
    let stale = "Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\", stale=true";
    desk.gets(&third, 401, &[("WWW-Authenticate", stale)]);
    let (fourth, _) = desk.asks();
    let given = fourth.headers.get("Authorization").unwrap();
    assert!(
        given.contains("nonce=\"n2\"") && given.contains("nc=00000001"),
        "{given}"
    );
}

#[test]
fn a_wrong_password_is_not_tried_every_few_seconds() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.gets(&first, 401, &[("WWW-Authenticate", CHALLENGE)]);
    let (second, _) = desk.asks();
    desk.gets(&second, 401, &[("WWW-Authenticate", CHALLENGE)]);
    let error = desk.registration.standing().error.unwrap();
    assert!(error.contains("is the password right"), "{error}");
    let (third, at) = desk.asks();
    assert!((540..=600).contains(&at), "{at}");
    assert!(
        third.headers.get("Authorization").is_none(),
        "it begins anew"
    );
}

#[test]
fn a_registrar_that_wants_more_time_gets_it_once_an_attempt() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.gets(&first, 423, &[("Min-Expires", "1800")]);
    let (second, at) = desk.asks();
    assert_eq!((second.headers.get("Expires"), at), (Some("1800"), 0));
    desk.gets(&second, 423, &[("Min-Expires", "1801")]);
    let (third, at) = desk.asks();
    assert!(at >= 540, "{at}");
    desk.gets(&third, 423, &[("Min-Expires", "99999999")]);
    assert!(
        desk.registration
            .standing()
            .error
            .unwrap()
            .contains("Min-Expires")
    );
}

#[test]
fn refusals_wait_as_long_as_they_say_or_mean() {
    for (status, headers, earliest, latest) in [
        (503, vec![("Retry-After", "90 (restart)")], 90, 90),
        (503, vec![], 5, 10),
        (408, vec![], 5, 10),
        (403, vec![], 540, 600),
        (404, vec![], 540, 600),
        (403, vec![("Retry-After", "999999")], 3600, 3600),
        (302, vec![], 540, 600),
        (603, vec![], 540, 600),
    ] {
        let mut desk = Desk::new();
        let (first, _) = desk.asks();
        desk.gets(&first, status, &headers);
        let (_, at) = desk.asks();
        assert!((earliest..=latest).contains(&at), "{status}: {at}");
    }
}

#[test]
fn a_registration_outlives_refreshes_that_get_lost_until_its_time_is_over() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.is_registered(&first);
    let mut waits = Vec::new();
    while desk.registration.standing().since.is_some() {
        let (_, at) = desk.asks();
        waits.push(at);
        desk.now += Duration::from_secs(32);
        desk.handle(Event::Lost("no answer in time".into()));
    }
    assert!(waits.len() >= 2, "{waits:?}");
    assert!(desk.news.contains(&News::Expired));
    let (next, _) = desk.asks();
    desk.is_registered(&next);
    let since = desk.registration.standing().since.unwrap();
    assert!(
        since - desk.start > Duration::from_secs(300),
        "there was a gap"
    );
    assert_eq!(desk.registration.standing().error, None);
}

#[test]
fn nothing_is_registered_where_no_time_is_granted() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.gets(
        &first,
        200,
        &[("Contact", "<sip:trunk@192.0.2.1:5070>;expires=0")],
    );
    assert_eq!(desk.registration.standing().since, None);
    assert!(desk.asks().1 >= 540);
}

#[test]
fn leaving_before_there_was_anything_to_leave_is_not_told() {
    let mut desk = Desk::new();
    desk.handle(Event::Leave);
    assert!(desk.registration.is_over());
    assert_eq!(desk.news, []);
}

#[test]
fn leaving_takes_the_contact_away_with_credentials_if_need_be() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.is_registered(&first);
    desk.handle(Event::Leave);
    let bye = desk.sent.take().unwrap();
    assert_eq!(bye.headers.get("Expires"), Some("0"));
    assert_eq!(bye.headers.get("Contact"), first.headers.get("Contact"));
    desk.gets(&bye, 407, &[("Proxy-Authenticate", CHALLENGE)]);
    let again = desk.sent.take().unwrap();
    assert!(again.headers.get("Proxy-Authorization").is_some());
    assert_eq!(again.headers.get("Expires"), Some("0"));
    desk.gets(&again, 200, &[]);
    assert!(desk.registration.is_over());
    assert_eq!(desk.news.last(), Some(&News::Left));
}

#[test]
fn leaving_waits_for_the_registration_that_is_under_way_but_not_for_ever() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.handle(Event::Leave);
    assert!(desk.sent.is_none());
    desk.is_registered(&first);
    assert_eq!(desk.sent.take().unwrap().headers.get("Expires"), Some("0"));

    let mut desk = Desk::new();
    desk.asks();
    desk.handle(Event::Leave);
    desk.now = desk.registration.deadline().unwrap();
    desk.handle(Event::Deadline);
    assert!(desk.registration.is_over());
    assert!(desk.now - desk.start <= LEAVING);
}

#[test]
fn what_was_never_registered_leaves_without_a_word() {
    let mut desk = Desk::new();
    let (first, _) = desk.asks();
    desk.gets(&first, 403, &[]);
    desk.handle(Event::Leave);
    assert!(desk.sent.is_none() && desk.registration.is_over());
}

#[test]
fn no_user_and_no_password_is_printed() {
    let printed = format!("{:?}", account());
    assert!(
        !printed.contains("trunk") && !printed.contains("secret"),
        "{printed}"
    );
}
