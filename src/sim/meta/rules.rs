//! What Meta compares, refuses or breaks on (§1, §3.3, §4–§6). Every function returns what is wrong, in words.

use super::auth::Refused;
use super::{Business, DOMAIN, shape};
use crate::number::User;
use crate::sim::dialog::Dialog;
use crate::sip::header::Via;
use crate::sip::message::Common;
use crate::sip::{Headers, Method, NameAddr, Request, Response};

/// What Meta refuses an INVITE for, before it looks at digest and policy.
pub fn refuses(invite: &Request, business: Option<&Business>) -> Option<Refused> {
    let uri = invite.uri.sip();
    let addressed = uri.is_some_and(|uri| {
        !uri.secure && uri.address().is_none() && uri.host.eq_ignore_ascii_case(DOMAIN)
    });
    if !addressed || !is_user(invite.uri.user().unwrap_or_default()) {
        return Some(Refused::new(404, "Not found"));
    }
    let from = invite.from()?;
    let from = from.uri.sip()?;
    let plus = from.user.as_deref().is_some_and(|u| u.starts_with('+'));
    let Some(business) = business.filter(|_| plus) else {
        let text = "Asset not found, invalid business phone number";
        return Some(Refused::new(400, text));
    };
    if !covers(&from.host, &business.hostname) {
        let text = format!(
            "SIP server {} from INVITE does not match any SIP server configured for phone number id {}",
            from.host, business.phone_number_id
        );
        return Some(Refused::new(403, text));
    }
    None
}

/// A number with its `+`, or a BSUID.
fn is_user(user: &str) -> bool {
    user.parse::<User>()
        .is_ok_and(|parsed| parsed.sip_user() == user)
}

/// §3.3: the domain of From is the configured host, or one that the configured host is below.
fn covers(from: &str, configured: &str) -> bool {
    let (from, configured) = (from.to_ascii_lowercase(), configured.to_ascii_lowercase());
    from == configured || configured.ends_with(&format!(".{from}"))
}

/// What is wrong with an INVITE though Meta may let it pass: shape, and what invites trouble later.
pub fn invite(invite: &Request, business: Option<&Business>) -> Vec<String> {
    let mut faults = Faults::new("INVITE");
    let headers = &invite.headers;
    let uri = invite.uri.sip();
    let tls = uri.and_then(|uri| uri.params.value("transport")) == Some("tls");
    faults.unless(tls, "the Request-URI has no ;transport=tls (§1)");
    if let (Some(to), Some(uri)) = (invite.to(), uri) {
        let named = to.uri.sip().map(|to| (&to.user, &to.host));
        faults.unless(
            named == Some((&uri.user, &uri.host)),
            "To names somebody else than the Request-URI",
        );
        let bare = to
            .uri
            .sip()
            .is_some_and(|to| to.params == Default::default());
        faults.unless(bare, "the URI of To has parameters (§1)");
    }
    faults.unless(
        invite.from().is_some_and(|from| from.tag().is_some()),
        "From has no tag",
    );
    faults.name(invite.contact(), business);
    for unwanted in [
        "Session-Expires",
        "Min-SE",
        "Require",
        "Proxy-Require",
        "Route",
        "Record-Route",
    ] {
        let found = headers.get(unwanted).is_some();
        faults.unless(!found, &format!("it carries {unwanted} (§3.1, §6)"));
    }
    faults.supported(headers);
    let body = invite.content_type().as_deref() == Some("application/sdp");
    faults.unless(body, "its body is not application/sdp");
    faults.unless(headers.get("Max-Forwards").is_some(), "no Max-Forwards");
    faults.via(invite.via());
    faults.list
}

/// What is wrong with a response to our INVITE.
pub fn response(invite: &Request, response: &Response) -> Vec<String> {
    let mut faults = Faults::new(&response.status.to_string());
    let headers = &response.headers;
    for same in ["Call-ID", "From", "CSeq"] {
        let equal = headers.get(same) == invite.headers.get(same);
        faults.unless(
            equal,
            &format!("{same} is not what the INVITE has (§8.2.6)"),
        );
    }
    faults.vias(invite, response);
    let to = invite.headers.get("To").unwrap_or_default();
    let theirs = headers.get("To").unwrap_or_default();
    faults.unless(theirs.starts_with(to), "To is not what the INVITE has");
    let tagged = response.to().is_some_and(|to| to.tag().is_some());
    faults.unless(response.status == 100 || tagged, "To has no tag");
    for unwanted in ["Session-Expires", "RSeq", "Require"] {
        let found = headers.get(unwanted).is_some();
        faults.unless(!found, &format!("it carries {unwanted} (§3.1, §6)"));
    }
    match response.status {
        101..200 => faults.unless(
            response.body.is_empty(),
            "it carries SDP: media before the 200 counts as an answer (§4)",
        ),
        200 => faults.ok(invite, response),
        _ => {}
    }
    faults.list
}

/// What is wrong with an ACK, BYE or anything else in a dialog: Meta answers it with 404, or never sees it (§5).
pub fn in_dialog(dialog: &Dialog, request: &Request) -> Vec<String> {
    let mut faults = Faults::new(&request.method.to_string());
    let routes = request
        .headers
        .list("Route")
        .eq([shape::EDGE, shape::INNER]);
    faults.unless(
        routes,
        "its Routes are not wa.meta.vc, then the proxy behind it, exactly as recorded (§5)",
    );
    let local = NameAddr::parse(&dialog.local).ok();
    let user = local.and_then(|local| local.uri.user().map(str::to_owned));
    let calling = dialog.call_id.starts_with("outgoing:");
    let target = shape::contact_uri(&user.unwrap_or_default(), calling);
    faults.unless(
        request.uri.to_string() == target,
        "its Request-URI is not our Contact with every parameter (§5)",
    );
    faults.unless(
        request.headers.get("Max-Forwards").is_some(),
        "no Max-Forwards",
    );
    faults.via(request.via());
    if request.method == Method::BYE {
        let expires = request.headers.get("Session-Expires").is_some();
        faults.unless(!expires, "it carries Session-Expires");
    }
    faults.list
}

/// Collects what is wrong with one message.
struct Faults {
    message: String,
    list: Vec<String>,
}

impl Faults {
    fn new(message: &str) -> Faults {
        Faults {
            message: message.to_owned(),
            list: Vec::new(),
        }
    }

    fn unless(&mut self, right: bool, what: &str) {
        if !right {
            self.list.push(format!("{}: {what}", self.message));
        }
    }

    /// The bridge's own name must stand in its Contact: Meta checks the certificate by it (§5).
    fn name(&mut self, contact: Option<NameAddr>, business: Option<&Business>) {
        let Some(contact) = contact else {
            return self.unless(false, "no Contact");
        };
        let uri = contact.uri.sip();
        let named = uri.is_some_and(|uri| uri.address().is_none() && uri.host.contains('.'));
        self.unless(named, "Contact is not a fully qualified name (§5)");
        if let (Some(uri), Some(business)) = (uri, business) {
            let same = uri.host.eq_ignore_ascii_case(&business.hostname);
            self.unless(same, "Contact is not the configured host");
        }
        let tls = uri.and_then(|uri| uri.params.value("transport")) == Some("tls");
        self.unless(tls, "Contact has no ;transport=tls (§4)");
        self.unless(uri.is_some_and(|uri| !uri.secure), "Contact is sips:");
    }

    fn supported(&mut self, headers: &Headers) {
        let reliable = headers.list("Supported").any(|option| option == "100rel");
        self.unless(!reliable, "it offers 100rel, but Meta has no PRACK (§3.1)");
        let timer = headers.list("Supported").any(|option| option == "timer");
        self.unless(!timer, "it offers session timers (§6)");
    }

    fn via(&mut self, via: Option<Via>) {
        let Some(via) = via else {
            return self.unless(false, "no Via");
        };
        self.unless(via.transport == "TLS", "its Via is not SIP/2.0/TLS");
        let branch = via.branch().unwrap_or_default();
        let cookie = branch.starts_with("z9hG4bK") && branch.len() > 12;
        self.unless(cookie, "its branch is not one of RFC 3261");
    }

    /// All Vias byte for byte, but for what the receiver adds to the topmost.
    fn vias(&mut self, invite: &Request, response: &Response) {
        let ours: Vec<&str> = invite.headers.all("Via").collect();
        let theirs: Vec<&str> = response.headers.list("Via").collect();
        let rest = ours.get(1..) == theirs.get(1..);
        let mut top = response.via();
        if let Some(via) = &mut top {
            via.params.remove("received");
            via.params.set("rport", None);
        }
        let same = top == invite.via();
        self.unless(rest && same, "the Vias do not come back as they were (§4)");
    }

    fn ok(&mut self, invite: &Request, response: &Response) {
        let ours: Vec<&str> = invite.headers.list("Record-Route").collect();
        let theirs: Vec<&str> = response.headers.list("Record-Route").collect();
        self.unless(
            theirs.ends_with(&ours) && theirs.len() >= ours.len(),
            "Meta's two Record-Routes are not the last two, unchanged (§5)",
        );
        self.name(response.contact(), None);
        let body = response.content_type().as_deref() == Some("application/sdp");
        self.unless(body, "its body is not application/sdp");
        self.supported(&response.headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sim::body::Keying;
    use crate::sim::tests::{request, response as sample};
    use crate::sip::{Limits, Message};

    fn business() -> Business {
        Business {
            number: "+12145551869".parse().unwrap(),
            phone_number_id: "106540352242922".into(),
            hostname: "meta-voip.example.com".into(),
            password: Secret::new("x"),
            keying: Keying::Sdes,
        }
    }

    fn changed(file: &str, find: &str, put: &str) -> Message {
        let text = std::fs::read_to_string(format!("tests/data/meta/{file}")).unwrap();
        assert!(text.contains(find), "{find} in {file}");
        // The length is left as it is: these tests change headers only.
        Message::parse(text.replace(find, put).as_bytes(), &Limits::default()).unwrap()
    }

    fn changed_request(file: &str, find: &str, put: &str) -> Request {
        match changed(file, find, put) {
            Message::Request(request) => request,
            Message::Response(_) => panic!("{file} is a response"),
        }
    }

    const INVITE: &str = "dialogs/bic-sdes/04-invite-auth.sip";

    #[test]
    fn the_bridges_documented_shapes_are_in_order() {
        let good = request(INVITE);
        assert_eq!(refuses(&good, Some(&business())), None);
        assert_eq!(invite(&good, Some(&business())), Vec::<String>::new());
        let call = request("dialogs/uic-sdes-407/04-invite-auth.sip");
        for file in ["05-100", "06-180", "07-200"] {
            let answer = sample(&format!("dialogs/uic-sdes-407/{file}.sip"));
            assert_eq!(response(&call, &answer), Vec::<String>::new(), "{file}");
        }
        for folder in ["uic-sdes-407", "bic-sdes"] {
            let dialog = dialog(folder);
            let bye = match folder {
                "bic-sdes" => "09b-bye-from-bridge",
                _ => "09-bye-from-bridge",
            };
            let bye = request(&format!("dialogs/{folder}/{bye}.sip"));
            assert_eq!(in_dialog(&dialog, &bye), Vec::<String>::new(), "{folder}");
        }
        let ack = request("dialogs/bic-sdes/08-ack.sip");
        assert_eq!(in_dialog(&dialog("bic-sdes"), &ack), Vec::<String>::new());
    }

    fn dialog(folder: &str) -> Dialog {
        let invite = request(&format!("dialogs/{folder}/04-invite-auth.sip"));
        match folder {
            "bic-sdes" => Dialog::callee(&invite, "81835f44b9ac3500").unwrap(),
            _ => {
                let ok = sample(&format!("dialogs/{folder}/07-200.sip"));
                Dialog::caller(&invite, &ok).unwrap()
            }
        }
    }

    #[test]
    fn an_invite_is_refused_in_metas_words() {
        for (find, put, status, words) in [
            (
                "INVITE sip:+12195550714@wa.meta.vc",
                "INVITE sip:+12195550714@157.240.1.1",
                404,
                "Not found",
            ),
            ("INVITE sip:", "INVITE sips:", 404, "Not found"),
            ("INVITE sip:+1219", "INVITE sip:1219", 404, "Not found"),
            (
                "INVITE sip:+12195550714@wa.meta.vc",
                "INVITE sip:+12195550714@other.example",
                404,
                "Not found",
            ),
            (
                "From: <sip:+1214",
                "From: <sip:1214",
                400,
                "Asset not found",
            ),
            (
                "From: <sip:+12145551869@meta-voip.example.com",
                "From: <sip:+12145551869@wa.meta.vc",
                403,
                "SIP server wa.meta.vc from INVITE does not match any SIP server configured for phone number id 106540352242922",
            ),
        ] {
            let refused = refuses(&changed_request(INVITE, find, put), Some(&business())).unwrap();
            assert_eq!(refused.status, status, "{put}");
            assert!(refused.reason.starts_with(words), "{}", refused.reason);
        }
        let unknown = refuses(&request(INVITE), None).unwrap();
        assert_eq!(unknown.status, 400);
    }

    #[test]
    fn a_from_above_the_configured_host_passes_and_one_below_does_not() {
        assert!(covers("foo.com", "bar.foo.com") && covers("Foo.com", "foo.com"));
        assert!(!covers("bar.foo.com", "foo.com") && !covers("oo.com", "foo.com"));
    }

    #[test]
    fn a_user_id_may_be_called() {
        let to = changed_request(INVITE, "+12195550714", "US.13491208655302741918");
        assert_eq!(refuses(&to, Some(&business())), None);
    }

    #[test]
    fn everything_that_invites_trouble_in_an_invite_is_named() {
        for (find, put, complaint) in [
            (
                "wa.meta.vc;transport=tls SIP",
                "wa.meta.vc SIP",
                "no ;transport=tls",
            ),
            (
                "To: <sip:+12195550714@wa.meta.vc",
                "To: <sip:+12195550714@wa.meta.vc;transport=tls",
                "To has parameters",
            ),
            ("To: <sip:+1219", "To: <sip:+1218", "To names somebody else"),
            (
                "Contact: <sip:+12145551869@meta-voip.example.com",
                "Contact: <sip:+12145551869@198.51.100.20",
                "not a fully qualified name",
            ),
            (
                "Contact: <sip:+12145551869@meta-voip.example.com",
                "Contact: <sip:+12145551869@other.example.com",
                "not the configured host",
            ),
            (
                "5061;transport=tls>",
                "5061>",
                "Contact has no ;transport=tls",
            ),
            ("Contact: <sip:", "Contact: <sips:", "Contact is sips:"),
            ("Contact:", "X-Contact:", "no Contact"),
            (
                "User-Agent: ",
                "Session-Expires: 1800\r\nUser-Agent: ",
                "carries Session-Expires",
            ),
            (
                "User-Agent: ",
                "Require: 100rel\r\nUser-Agent: ",
                "carries Require",
            ),
            (
                "User-Agent: ",
                "Route: <sip:wa.meta.vc;lr>\r\nUser-Agent: ",
                "carries Route",
            ),
            (
                "User-Agent: ",
                "Record-Route: <sip:us.example;lr>\r\nUser-Agent: ",
                "carries Record-Route",
            ),
            (
                "User-Agent: ",
                "Supported: replaces, timer\r\nUser-Agent: ",
                "offers session timers",
            ),
            (
                "User-Agent: ",
                "Supported: 100rel\r\nUser-Agent: ",
                "offers 100rel",
            ),
            ("application/sdp", "text/plain", "not application/sdp"),
            ("Max-Forwards:", "X-Max-Forwards:", "no Max-Forwards"),
            ("SIP/2.0/TLS", "SIP/2.0/TCP", "not SIP/2.0/TLS"),
            ("branch=z9hG4bK", "branch=", "not one of RFC 3261"),
        ] {
            let faults = invite(&changed_request(INVITE, find, put), Some(&business())).concat();
            assert!(faults.contains(complaint), "{put}: {faults}");
        }
    }

    #[test]
    fn a_200_that_meta_would_lose_is_named() {
        let call = request("dialogs/uic-sdes-407/04-invite-auth.sip");
        for (find, put, complaint) in [
            (
                "Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\n",
                "",
                "Record-Routes",
            ),
            (
                "Record-Route: <sip:wa.meta.vc;transport=tls;lr>",
                "Record-Route: <sip:wa.meta.vc;lr;transport=tls>",
                "Record-Routes",
            ),
            (
                "proxy.fbinfra.net:8191;transport=tls;lr>",
                "proxy.fbinfra.net:8191;transport=tls;lr>\r\nRecord-Route: <sip:us.example;lr>",
                "Record-Routes",
            ),
            ("Call-ID: outgoing:", "Call-ID: ", "Call-ID is not"),
            ("From: \"12195550714\"", "From: 12195550714", "From is not"),
            (
                "received=2803:6080:f8bc:9272:e488:9927:400:0",
                "received=\"2803:6080:f8bc:9272:e488:9927:400:0\"",
                "the Vias do not",
            ),
            (
                "branch=z9hG4bKPj7eb16e23e8671ac97aa6fd2c46abeadf;alias",
                "branch=z9hG4bKPj7eb16e23e8671ac97aa6fd2c46abeadf",
                "the Vias do not",
            ),
            (";tag=b-de74ecf9", "", "To has no tag"),
            (
                "Contact: <sip:+12145551869@meta-voip.example.com",
                "Contact: <sip:+12145551869@10.0.0.1",
                "not a fully qualified name",
            ),
            ("5061;transport=tls>", "5061>", "Contact has no"),
            (
                "User-Agent: ",
                "Session-Expires: 90\r\nUser-Agent: ",
                "carries Session-Expires",
            ),
            ("application/sdp", "text/plain", "not application/sdp"),
        ] {
            let Message::Response(answer) = changed("dialogs/uic-sdes-407/07-200.sip", find, put)
            else {
                panic!("a response");
            };
            let faults = response(&call, &answer).concat();
            assert!(faults.contains(complaint), "{put}: {faults}");
        }
    }

    #[test]
    fn own_record_routes_may_stand_above_metas() {
        let call = request("dialogs/uic-sdes-407/04-invite-auth.sip");
        let mut answer = sample("dialogs/uic-sdes-407/07-200.sip");
        answer
            .headers
            .push_front("Record-Route", "<sip:meta-voip.example.com;lr>");
        assert_eq!(response(&call, &answer), Vec::<String>::new());
    }

    #[test]
    fn a_ringing_that_carries_sdp_is_an_answer_too_early() {
        let call = request("dialogs/uic-sdes-407/04-invite-auth.sip");
        let mut ringing = sample("dialogs/uic-sdes-407/06-180.sip");
        ringing.body = b"v=0\r\n".to_vec();
        assert!(response(&call, &ringing).concat().contains("carries SDP"));
    }

    #[test]
    fn a_bye_with_a_wrong_route_or_target_is_named() {
        let file = "dialogs/uic-sdes-407/09-bye-from-bridge.sip";
        for (find, put, complaint) in [
            (
                "Route: <sip:wa.meta.vc;transport=tls;lr>\r\n",
                "",
                "its Routes",
            ),
            (
                "Route: <sip:wa.meta.vc;transport=tls;lr>",
                "Route: <sip:wa.meta.vc;lr>",
                "its Routes",
            ),
            (
                ";transport=tls;ob SIP",
                ";transport=tls SIP",
                "Request-URI is not our Contact",
            ),
            ("Max-Forwards:", "X-Max-Forwards:", "no Max-Forwards"),
        ] {
            let faults = in_dialog(&dialog("uic-sdes-407"), &changed_request(file, find, put));
            assert!(faults.concat().contains(complaint), "{put}");
        }
        let text = std::fs::read_to_string(format!("tests/data/meta/{file}")).unwrap();
        let (edge, inner) = (
            format!("Route: {}\r\n", shape::EDGE),
            format!("Route: {}\r\n", shape::INNER),
        );
        let swapped = text.replace(&format!("{edge}{inner}"), &format!("{inner}{edge}"));
        let Ok(Message::Request(bye)) = Message::parse(swapped.as_bytes(), &Limits::default())
        else {
            panic!("a request");
        };
        assert!(
            in_dialog(&dialog("uic-sdes-407"), &bye)
                .concat()
                .contains("its Routes")
        );
    }
}
