//! A PBX calls a WhatsApp user.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::build;
use wabridge::sip::message::Common;

use crate::world::*;

#[test]
fn pbx_calls_user_answers_and_hangs_up() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    assert!(
        ours.headers
            .get("Proxy-Authorization")
            .unwrap()
            .contains("username=\"12145551869\"")
    );
    w.sends(Meta, respond(&ours, 180));
    w.gets(Pbx, 180);
    let ok_of_meta = metas_ok(&ours);
    w.sends(Meta, ok_of_meta.clone());
    let ack = w.gets_request(Meta, "ACK");
    assert_eq!(ack.uri, ok_of_meta.contact().unwrap().uri);
    assert_eq!(
        ack.headers.all("Route").next(),
        Some("<sip:wa.meta.vc;transport=tls;lr>")
    );
    let ok = w.gets_response(Pbx, 200);
    assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
    let ack = w.in_dialog("ACK", 1, &theirs, &ok, true);
    w.sends(Pbx, ack);
    w.wait(secs(10));
    let bye = w.in_dialog("BYE", 7, &ours, &ok_of_meta, false);
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends(Pbx, build::response(&bye, 200, None));
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.ended_by),
        (200, EndedBy::Leg(Meta))
    );
}
