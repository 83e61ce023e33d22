use super::*;

const FINGERPRINT: &str = "7F:5E:DC:53:F8:02:E2:E9:A4:20:3A:6E:8E:29:53:32:0F:FE:8A:DE:AA:13:96:15:77:38:92:C2:6B:D6:32:93";

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("tests/data/meta/sdp/{name}.sdp")).unwrap()
}

fn media() -> Listening {
    Listening {
        main: "157.240.19.130:3480".parse().unwrap(),
        ipv6: None,
    }
}

/// Where the DTLS samples listen, with this port.
fn both(port: u16) -> Listening {
    let ipv6 = "2a03:2880:f343:131:face:b00c:0:699c".parse().unwrap();
    Listening {
        main: SocketAddr::from(([57, 144, 135, 35], port)),
        ipv6: Some(SocketAddr::new(ipv6, port)),
    }
}

fn dtls(prefers: Setup) -> Ours {
    Ours::dtls(
        both(3478),
        OurDtls::new(FINGERPRINT.to_owned(), prefers),
        &Speaks::default(),
    )
}

/// The text without what is random: ids, sources, keys.
fn shape(sdp: &str) -> Vec<String> {
    let blank = |line: &str| {
        let random = [
            "o=- ",
            "a=msid",
            "a=ssrc:",
            "a=crypto:",
            "a=ice-ufrag:",
            "a=ice-pwd:",
        ];
        match random.iter().find(|r| line.starts_with(**r)) {
            Some(random) if random.starts_with("a=ice") => format!("{random} {}", line.len()),
            Some(random) => format!("{random} {}", line.split(' ').count()),
            None => line.to_owned(),
        }
    };
    sdp.split("\r\n").map(blank).collect()
}

#[test]
fn an_offer_is_printed_as_meta_prints_it() {
    let ours = Ours::srtp(media(), &Speaks::default()).as_meta();
    let documented = fixture("uic-offer-sdes-digest-doc");
    let documented = documented.replace("57.144.219.49", "157.240.19.130");
    assert_eq!(shape(&ours), shape(&documented));
    let dtls = OurDtls::new(FINGERPRINT.to_owned(), Setup::Active);
    let ours = Ours::dtls(both(3480), dtls, &Speaks::default()).as_meta();
    assert_eq!(shape(&ours), shape(&fixture("uic-offer-dtls-doc")));
}

#[test]
fn an_answer_takes_the_end_that_is_wished_for_and_the_numbers_of_the_offer() {
    let offer = fixture("bridge-offer-dtls-derived");
    let offer = Theirs::read(offer.as_bytes(), Demands::Meta(Keying::Dtls));
    for (prefers, file) in [
        (Setup::Active, "bic-answer-dtls-active-derived"),
        (Setup::Passive, "bic-answer-dtls-passive-derived"),
    ] {
        let ours = dtls(prefers).answering(&offer);
        assert_eq!(shape(&ours.as_meta()), shape(&fixture(file)));
    }
}

#[test]
fn credentials_are_made_as_metas_are_and_are_no_two_times_the_same() {
    let ice = Ice::as_meta();
    assert_eq!(ice.ufrag.len(), 16);
    assert_eq!(ice.pwd.len(), 24);
    assert!(ice.pwd.ends_with("=="));
    assert_ne!(ice, Ice::as_meta());
    assert!(!format!("{ice:?}").contains(&ice.pwd));
}

#[test]
fn which_end_of_the_handshake_is_ours_follows_from_both_lines() {
    let read = |sdp: String| Theirs::read(sdp.as_bytes(), Demands::Meta(Keying::Dtls));
    let role = |ours: &Ours, theirs: &Theirs| match ours.with(theirs).unwrap().keys {
        Keys::Dtls(handshaking) => handshaking.role,
        _ => panic!("no handshake"),
    };
    for (answer, ours) in [("active", Role::Server), ("passive", Role::Client)] {
        let sdp = fixture("bridge-answer-dtls-derived");
        let theirs = read(sdp.replace("setup:active", &format!("setup:{answer}")));
        assert_eq!(role(&dtls(Setup::Active), &theirs), ours, "{answer}");
    }
    for (offer, prefers, ours) in [
        ("actpass", Setup::Active, Role::Client),
        ("actpass", Setup::Passive, Role::Server),
        ("active", Setup::Active, Role::Server),
        ("passive", Setup::Passive, Role::Client),
    ] {
        let sdp = fixture("bridge-offer-dtls-derived");
        let theirs = read(sdp.replace("setup:actpass", &format!("setup:{offer}")));
        let answer = dtls(prefers).answering(&theirs);
        assert_eq!(role(&answer, &theirs), ours, "{offer}, {prefers:?}");
    }
}

#[test]
fn the_bridges_own_shapes_are_found_in_order() {
    for name in ["bridge-offer-sdes-derived", "bridge-answer-sdes-derived"] {
        let theirs = Theirs::read(fixture(name).as_bytes(), Demands::Meta(Keying::Sdes));
        assert_eq!(theirs.complaints, Vec::<String>::new(), "{name}");
        assert_eq!(theirs.events.unwrap().1, 8000);
        let peer = Ours::srtp(media(), &Speaks::default())
            .answering(&theirs)
            .with(&theirs)
            .unwrap();
        assert!(matches!(peer.keys, Keys::Sdes(_)) && peer.rtcp.is_none());
    }
    for name in ["bridge-offer-dtls-derived", "bridge-answer-dtls-derived"] {
        let theirs = Theirs::read(fixture(name).as_bytes(), Demands::Meta(Keying::Dtls));
        assert_eq!(theirs.complaints, Vec::<String>::new(), "{name}");
        let dtls = &theirs.dtls;
        assert_eq!((dtls.candidates.len(), dtls.fingerprints.len()), (2, 1));
    }
}

/// What is complained about when `find` becomes `put` in an answer that is in order.
fn changed(find: &str, put: &str) -> String {
    let sdp = fixture("bridge-answer-sdes-derived");
    assert!(sdp.contains(find), "{find}");
    let mut theirs = Theirs::read(
        sdp.replace(find, put).as_bytes(),
        Demands::Meta(Keying::Sdes),
    );
    theirs.must_mirror(&Ours::srtp(media(), &Speaks::default()));
    theirs.complaints.join("\n")
}

#[test]
fn everything_that_meta_would_not_understand_is_named() {
    for (find, put, complaint) in [
        ("RTP/SAVP", "RTP/AVP", "not audio over RTP/SAVP"),
        ("RTP/SAVP", "UDP/TLS/RTP/SAVPF", "not audio over RTP/SAVP"),
        (
            "HMAC_SHA1_80",
            "HMAC_SHA1_32",
            "not AES_CM_128_HMAC_SHA1_80",
        ),
        ("a=crypto:", "a=x-crypto:", "no a=crypto"),
        ("a=crypto:1", "a=crypto:2", "another tag"),
        (
            "a=ptime:20",
            "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:MVh+0N8l/WxBsz9pdEXPfc+0TYqUiOPqIqc3pcKI",
            "more than one a=crypto",
        ),
        ("a=rtcp-mux", "a=setup:active", "DTLS or ICE beside SDES"),
        ("a=rtcp-mux", "a=rtcp:40101", "no a=rtcp-mux"),
        ("a=rtcp-mux", "a=rtcp-mux\n", "does not end with CRLF"),
        ("opus/48000/2", "opus/48000", "always opus/48000/2"),
        (
            "telephone-event/8000",
            "telephone-event/48000",
            "at 8000 only",
        ),
        ("a=ptime:20", "a=ptime:40", "ptime is not 20"),
        ("a=sendrecv", "a=sendonly", "not sendrecv"),
        ("RTP/SAVP 111 126", "RTP/SAVP 111 126 0", "were not offered"),
        (
            "m=audio",
            "m=audio 9 RTP/SAVP 0\r\nm=audio",
            "not exactly one m= line",
        ),
    ] {
        let complaints = changed(find, put);
        assert!(complaints.contains(complaint), "{put}: {complaints}");
    }
    assert!(changed("111", "107").contains("another payload number"));
    assert!(changed("126", "101").contains("telephone-event another number"));
}

/// What is complained about when `find` becomes `put` in an answer that is in order.
fn changed_dtls(find: &str, put: &str) -> String {
    let sdp = fixture("bridge-answer-dtls-derived");
    assert!(sdp.contains(find), "{find}");
    let sdp = sdp.replace(find, put);
    let mut theirs = Theirs::read(sdp.as_bytes(), Demands::Meta(Keying::Dtls));
    theirs.must_mirror(&dtls(Setup::Active));
    theirs.complaints.join("\n")
}

#[test]
fn everything_that_makes_no_path_or_no_handshake_with_meta_is_named() {
    let fingerprint = "a=fingerprint:sha-256 62:";
    for (find, put, complaint) in [
        (
            "UDP/TLS/RTP/SAVPF",
            "RTP/SAVP",
            "not audio over UDP/TLS/RTP/SAVPF",
        ),
        (
            "UDP/TLS/RTP/SAVPF",
            "UDP/TLS/RTP/SAVP",
            "not audio over UDP/TLS/RTP/SAVPF",
        ),
        (
            "a=fingerprint:",
            "a=x-fingerprint:",
            "No fingerprint found in SDP",
        ),
        (
            fingerprint,
            "a=fingerprint:sha-1 62:",
            "we compare only sha-256",
        ),
        (
            fingerprint,
            "a=fingerprint:sha-256 G2:",
            "pairs of hexadecimal digits",
        ),
        (fingerprint, "a=fingerprint:sha-256 62:62:", "has 33 octets"),
        (
            "a=setup:active",
            "a=setup:actpass",
            "cannot be a=setup:actpass",
        ),
        ("a=setup:active", "a=setup:passive", "want active"),
        ("a=setup:active", "a=setup:holdconn", "none of actpass"),
        (
            "a=setup:active",
            "a=setup:active\r\na=setup:active",
            "exactly one a=setup",
        ),
        (
            "a=setup:active",
            "a=ice-lite\r\na=setup:active",
            "a=ice-lite",
        ),
        (
            "a=setup:active",
            "a=ice-options:trickle\r\na=setup:active",
            "trickle ICE",
        ),
        (
            "a=setup:active",
            "a=crypto:1 x\r\na=setup:active",
            "a=crypto beside DTLS",
        ),
        ("a=rtcp-mux", "a=rtcp:40101", "no a=rtcp-mux"),
        ("a=mid:audio", "a=x-mid:audio", "no a=mid"),
        ("a=mid:audio", "a=mid:0", "a=mid is not the offer's"),
        ("BUNDLE audio", "BUNDLE 0", "no a=group:BUNDLE"),
        ("a=candidate:", "a=x-candidate:", "no a=candidate"),
        ("udp 2130706431", "tcp 2130706431", "is not UDP"),
        ("1 1 udp", "1 2 udp", "another component"),
        ("udp 2130706431", "udp 0", "not as RFC 8839"),
        (
            "198.51.100.20 40100 typ host",
            "198.51.100.20 0 typ host",
            "not as RFC 8839",
        ),
        (
            "198.51.100.20 40100 typ host",
            "198.51.100.20 40100 typ relay",
            "no address of the bridge",
        ),
        (
            "198.51.100.20 40100 typ",
            "5f1c.local 40100 typ",
            "no IP address",
        ),
        (
            "198.51.100.20 40100 typ",
            "0.0.0.0 40100 typ",
            "no address that can be sent to",
        ),
        (
            "198.51.100.20 40100 typ",
            "198.51.100.21 40100 typ",
            "name no candidate",
        ),
        (
            "a=ice-ufrag:72OlpnQq",
            "a=ice-ufrag:72O",
            "a=ice-ufrag is not 4 to 256",
        ),
        ("a=ice-ufrag:", "a=x-ufrag:", "exactly one a=ice-ufrag"),
        ("a=ice-pwd:", "a=ice-pwd:==", "a=ice-pwd is not 22 to 256"),
        ("a=ice-pwd:", "a=x-pwd:", "exactly one a=ice-pwd"),
    ] {
        let complaints = changed_dtls(find, put);
        assert!(complaints.contains(complaint), "{put}: {complaints}");
    }
    assert_eq!(changed_dtls("a=end-of-candidates\r\n", ""), "");
}

#[test]
fn an_offer_leaves_the_end_to_meta_or_takes_the_clients() {
    for (setup, right) in [("actpass", true), ("active", true), ("passive", false)] {
        let sdp = fixture("bridge-offer-dtls-derived");
        let sdp = sdp.replace("setup:actpass", &format!("setup:{setup}"));
        let demands = Demands::Meta(Keying::Dtls);
        let mut theirs = Theirs::read(sdp.as_bytes(), demands);
        theirs.must_offer(demands);
        assert_eq!(theirs.complaints.is_empty(), right, "{setup}");
    }
}

#[test]
fn sdp_of_the_other_keying_is_of_no_use() {
    let sdes = fixture("bridge-offer-sdes-derived");
    let theirs = Theirs::read(sdes.as_bytes(), Demands::Meta(Keying::Dtls));
    let why = dtls(Setup::Active).with(&theirs).unwrap_err();
    assert_eq!(why, "No fingerprint found in SDP");
    let dtls = fixture("bridge-offer-dtls-derived");
    let theirs = Theirs::read(dtls.as_bytes(), Demands::Meta(Keying::Sdes));
    assert!(
        Ours::srtp(media(), &Speaks::default())
            .with(&theirs)
            .is_err()
    );
}

#[test]
fn a_lifetime_after_the_key_is_more_than_meta_has() {
    let sdp = fixture("bridge-answer-sdes-derived");
    let line = sdp.lines().find(|l| l.starts_with("a=crypto")).unwrap();
    let longer = sdp.replace(line, &format!("{line}|2^20"));
    let theirs = Theirs::read(longer.as_bytes(), Demands::Meta(Keying::Sdes));
    assert!(theirs.complaints.concat().contains("more than a tag"));
}

#[test]
fn a_pbx_may_have_its_media_over_ipv6_and_meta_names_no_such_address_as_its_own() {
    let at = "[2001:db8::7]:4000".parse().unwrap();
    let listening = Listening {
        main: at,
        ipv6: None,
    };
    let ours = Ours::plain(listening, &Speaks::default());
    let sdp = ours.as_pbx();
    assert!(sdp.contains("\r\nc=IN IP6 2001:db8::7\r\n"), "{sdp}");
    let theirs = Theirs::read(sdp.as_bytes(), Demands::Pbx);
    assert_eq!(theirs.complaints, Vec::<String>::new());
    assert_eq!(theirs.media, Some(at));
    let theirs = Theirs::read(sdp.as_bytes(), Demands::Meta(Keying::Sdes));
    assert_eq!(theirs.media, None);
}

#[test]
fn a_plain_leg_has_no_keys() {
    let ours = Ours::plain(media(), &Speaks::default());
    let theirs = Theirs::read(ours.as_pbx().as_bytes(), Demands::Pbx);
    assert_eq!(theirs.complaints, Vec::<String>::new());
    assert!(matches!(ours.with(&theirs).unwrap().keys, Keys::Plain));
    let keyed = Theirs::read(
        fixture("bridge-offer-sdes-derived").as_bytes(),
        Demands::Pbx,
    );
    assert!(ours.with(&keyed).is_err() || !keyed.complaints.is_empty());
    let two_ports = ours.as_pbx().replace("a=rtcp-mux\r\n", "");
    let theirs = Theirs::read(two_ports.as_bytes(), Demands::Pbx);
    assert_eq!(theirs.rtcp.unwrap().port(), 3481);
}

fn speaking(codecs: &[Codec], ptime: u16) -> Speaks {
    Speaks {
        codecs: codecs.to_vec(),
        ptime,
        ..Speaks::default()
    }
}

#[test]
fn a_pbx_offers_what_it_speaks_in_its_order_and_takes_the_first_of_the_bridges_that_is_among_it() {
    let speaks = speaking(&[Codec::Pcma, Codec::G722, Codec::Opus], 30);
    let offer = Ours::plain(media(), &speaks).as_pbx();
    for line in [
        "RTP/AVP 8 9 111 126\r\n",
        "\r\na=rtpmap:8 PCMA/8000\r\n",
        "\r\na=rtpmap:9 G722/8000\r\n",
        "\r\na=ptime:30\r\n",
    ] {
        assert!(offer.contains(line), "{line} is missing in\n{offer}");
    }
    let theirs = Theirs::read(offer.as_bytes(), Demands::Pbx);
    assert_eq!(theirs.complaints, Vec::<String>::new());
    let ours = Ours::plain(media(), &speaking(&[Codec::Opus, Codec::G722], 20));
    let answer = ours.clone().answering(&theirs);
    assert!(answer.as_pbx().contains("RTP/AVP 9 126\r\n"));
    assert_eq!(answer.with(&theirs).unwrap().sound.codec, Codec::G722);
    let none = Ours::plain(media(), &speaking(&[Codec::Pcmu], 20));
    assert_eq!(
        none.with(&theirs).unwrap_err(),
        "the SDP has no codec of ours"
    );
}

#[test]
fn a_payload_number_of_old_needs_no_map() {
    let offer = Ours::plain(media(), &speaking(&[Codec::Pcmu, Codec::Pcma], 20));
    let sdp = offer.as_pbx().replace("a=rtpmap:0 PCMU/8000\r\n", "");
    let theirs = Theirs::read(sdp.as_bytes(), Demands::Pbx);
    assert_eq!(theirs.complaints, Vec::<String>::new());
    assert_eq!(offer.with(&theirs).unwrap().sound.codec, Codec::Pcmu);
}

#[test]
fn meta_takes_g711_in_an_answer_only_where_its_number_has_it_and_never_an_offer_without_opus() {
    let demands = Demands::Meta(Keying::Sdes);
    let answer = fixture("bridge-answer-sdes-derived");
    let answer = answer.replace("RTP/SAVP 111 126", "RTP/SAVP 8 126");
    for (codecs, expected) in [
        (vec![Codec::Opus], "PCMA/8000, which was not offered"),
        (vec![Codec::Opus, Codec::Pcma], ""),
    ] {
        let ours = Ours::srtp(media(), &speaking(&codecs, 20));
        let mut theirs = Theirs::read(answer.as_bytes(), demands);
        theirs.must_mirror(&ours);
        let said = theirs.complaints.join("\n");
        assert!(
            said.contains(expected) && said.is_empty() == expected.is_empty(),
            "{said}"
        );
        assert_eq!(ours.with(&theirs).is_ok(), expected.is_empty());
    }
    let offer = fixture("bridge-offer-sdes-derived");
    let offer = offer.replace("RTP/SAVP 111 ", "RTP/SAVP 8 ");
    let mut theirs = Theirs::read(offer.as_bytes(), demands);
    theirs.must_offer(demands);
    assert!(theirs.complaints.concat().contains("no opus/48000/2"));
}
