//! The pages for operators, over real sockets.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use wabridge::leg::Leg;
use wabridge::media::PortRange;
use wabridge::observe::Facts;
use wabridge::observe::admin::Listen;
use wabridge::sim::{Plan, relay};

use super::{BUSINESS, Place, USER, both_call, logged, openmetrics};

const PATIENCE: Duration = Duration::from_secs(10);

/// Says something and hears all that is answered.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, what: &[u8]) -> String {
    stream.write_all(what).await.unwrap();
    let mut answer = Vec::new();
    // Whoever is cut off has heard all that there is.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// Status and body.
fn parts(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let status = head.strip_prefix("HTTP/1.1 ").expect(head);
    (status[..3].parse().unwrap(), body.to_owned())
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

async fn get(from: SocketAddr, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(from).await.unwrap();
    parts(&say(stream, &request(path)).await)
}

async fn json(from: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(from, path).await;
    (status, serde_json::from_str(&body).expect(&body))
}

/// Asks until the answer is what is waited for.
async fn wait_for(from: SocketAddr, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let (_, answer) = json(from, path).await;
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{answer:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_is_shown_while_it_is_up_and_counted_when_it_is_over() {
    let place = Place::new(31);
    let bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let meta = place.genuine_meta(relay::Settings::default()).await;
    let pbx = place.pbx().await;
    let plan = Plan {
        talk: Some(Duration::from_secs(1)),
        ..Plan::default()
    };
    let talks = |calls: &Value| {
        let carried = |leg: &str, what: &str| calls[0][leg][what].as_u64() > Some(0);
        calls[0]["state"] == "talking"
            && calls[0]["talked"].is_number()
            && ["meta_media", "pbx_media"]
                .iter()
                .all(|leg| carried(leg, "received") && carried(leg, "sent"))
    };
    let (_, calls) = tokio::join!(
        both_call(&meta, &pbx, plan),
        wait_for(pages, "/calls", talks)
    );
    let call = &calls[0];
    assert_eq!(call["direction"], "user-initiated", "{call:#}");
    assert_eq!(
        (&call["pbx"], &call["keying"]),
        (&"main".into(), &"dtls".into()),
        "{call:#}"
    );
    for secret in [&BUSINESS[1..], &USER[1..]] {
        assert!(!calls.to_string().contains(secret), "{calls:#}");
    }
    let status = wait_for(pages, "/status", |status| status["calls"]["ending"] == 0).await;
    assert_eq!(status["since_start"]["calls"], 2, "{status:#}");
    assert_eq!(status["ready"], true, "{status:#}");
    assert_eq!(status["pbxs"][0]["up"], true, "{status:#}");

    let (code, text) = get(pages, "/metrics").await;
    assert_eq!(code, 200);
    let scrape = openmetrics::read(&text);
    for direction in ["user-initiated", "business-initiated"] {
        let by =
            |more: &[(&'static str, &'static str)]| [&[("direction", direction)], more].concat();
        let one =
            |name, more: &[_]| assert_eq!(scrape.value(name, &by(more)), 1.0, "{name}\n{text}");
        one(
            "wabridge_calls_total",
            &[("pbx", "main"), ("result", "answered")],
        );
        one(
            "wabridge_calls_answered_total",
            &[("keying", "dtls"), ("codec", "opus")],
        );
        one("wabridge_call_answer_seconds_count", &[]);
        for step in ["invite", "answer"] {
            one("wabridge_call_added_seconds_count", &[("step", step)]);
            let added = [("direction", direction), ("step", step)];
            let added = scrape.value("wabridge_call_added_seconds_sum", &added);
            assert!((0.000_01..1.0).contains(&added), "{step}: {added} s");
        }
        one("wabridge_call_keyed_seconds_count", &[]);
        let talked = scrape.value("wabridge_call_talk_seconds_sum", &by(&[]));
        assert!((0.5..10.0).contains(&talked), "{talked}");
    }
    for leg in ["meta", "pbx"] {
        for way in ["in", "out"] {
            let packets = scrape.value(
                "wabridge_media_packets_total",
                &[("leg", leg), ("way", way)],
            );
            assert!(
                packets > 80.0,
                "two calls of a second each: {packets} {way} at {leg}"
            );
        }
    }
    let to_meta = [("leg", "meta"), ("protocol", "tls"), ("opened_by", "us")];
    assert_eq!(
        scrape.value("wabridge_connections", &to_meta),
        1.0,
        "{text}"
    );
    assert_eq!(scrape.sum("wabridge_calls_total"), 2.0);
    let failed = [
        ("direction", "user-initiated"),
        ("pbx", "main"),
        ("result", "failed"),
    ];
    // What has not happened yet is there too, so that the first time is seen as growth.
    assert_eq!(scrape.value("wabridge_calls_total", &failed), 0.0);
    assert_eq!(scrape.sum("wabridge_calls_in_progress"), 0.0);
    assert_eq!(scrape.value("wabridge_ready", &[]), 1.0);
    assert!(
        scrape.value(
            "wabridge_sip_messages_total",
            &[("leg", "meta"), ("way", "in")]
        ) >= 8.0
    );
    for secret in [&BUSINESS[1..], &USER[1..]] {
        assert!(!text.contains(secret), "{text}");
    }
    meta.shutdown().await;
    pbx.shutdown().await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_bridge_that_drains_is_alive_and_not_ready_and_says_why() {
    let place = Place::new(32);
    let bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let meta = place.genuine_meta(relay::Settings::default()).await;
    let pbx = place.pbx().await;
    assert_eq!(json(pages, "/readyz").await.0, 200);
    let call = tokio::spawn(meta.call(wabridge::sim::Outgoing {
        from: USER.into(),
        to: BUSINESS.into(),
        ..Default::default()
    }));
    wait_for(pages, "/calls", |calls| calls[0]["state"] == "talking").await;
    bridge.drain().await;
    let drained = wait_for(pages, "/readyz", |ready| ready["ready"] == false).await;
    assert_eq!(drained["not_ready"][0]["reason"], "stopping", "{drained:#}");
    assert_eq!(json(pages, "/readyz").await.0, 503);
    assert_eq!(get(pages, "/healthz").await, (200, "ok\n".into()));
    bridge.stop().await;
    assert!(
        TcpStream::connect(pages).await.is_err(),
        "it serves no more"
    );
    call.await.unwrap();
    meta.shutdown().await;
    pbx.shutdown().await;
}

#[tokio::test]
async fn each_reason_why_no_call_can_be_served_is_told_by_its_word() {
    let place = Place::new(39);
    let bridge = place.bridge().await;
    let view = bridge.view();
    let now = view.snapshot().await.unwrap();
    assert_eq!(now.pbxs.len(), 1);
    assert_eq!(view.not_ready(&now), []);
    let mut worst = now.clone();
    worst.stopping = true;
    worst.max_calls = 0;
    worst.max_transactions = 0;
    worst.turned_away[Leg::Pbx as usize] = 7;
    worst.pbxs[0].is_up = false;
    view.know(Facts {
        certificate_expires: Some(SystemTime::now() - Duration::from_secs(1)),
        ..Facts::default()
    });
    let words: Vec<_> = view
        .not_ready(&worst)
        .into_iter()
        .map(|r| r.reason)
        .collect();
    assert_eq!(
        words,
        [
            "stopping",
            "calls-max",
            "transactions-max",
            "no-pbx",
            "certificate-expired"
        ]
    );
    let scrape = openmetrics::read(&view.text(&worst).unwrap());
    assert_eq!(scrape.value("wabridge_ready", &[]), 0.0);
    let refused = "wabridge_sip_requests_refused_total";
    assert_eq!(scrape.value(refused, &[("leg", "pbx")]), 7.0);
    assert_eq!(scrape.value(refused, &[("leg", "meta")]), 0.0);
    bridge.stop().await;

    let mut config = place.config("off");
    // A call takes a pair for each side of it.
    config.media.ports = PortRange::new(20_000, 20_001).unwrap();
    let trust = wabridge::daemon::Trust::of(&config);
    let bridge = wabridge::daemon::Daemon::start(config, &trust)
        .await
        .unwrap();
    let now = bridge.view().snapshot().await.unwrap();
    let reasons = bridge.view().not_ready(&now);
    assert_eq!(reasons[0].reason, "no-media-port", "{reasons:?}");
    assert!(
        reasons[0].detail.contains(&place.ours.to_string()),
        "{reasons:?}"
    );
    bridge.stop().await;
}

#[tokio::test]
async fn pages_are_served_at_a_unix_socket_and_a_reload_moves_them() {
    let place = Place::new(33);
    let path = place.workshop.path("admin.sock");
    let mut bridge = place.bridge_with_pages_at("unix:admin.sock").await;
    let stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(parts(&say(stream, &request("/healthz")).await).0, 200);

    let config = place.config(&format!("{}:0", place.ours));
    let trust = wabridge::daemon::Trust::of(&config);
    bridge.reload(config, &trust).await.unwrap();
    bridge.view().reloaded(true);
    let Some(Listen::Tcp(pages)) = bridge.admin().cloned() else {
        panic!("{:?}", bridge.admin())
    };
    let (_, status) = json(pages, "/status").await;
    assert_eq!(status["reloads"]["ok"], 1, "{status:#}");
    let listeners = status["listeners"].to_string();
    assert!(listeners.contains(&pages.to_string()), "{listeners}");
    wait_for(pages, "/status", |_| !path.exists()).await;
    bridge.stop().await;

    let bridge = place.bridge_with_pages_at("unix:admin.sock").await;
    assert!(path.exists());
    bridge.stop().await;
    assert!(!path.exists(), "nothing is left behind");
}

#[tokio::test]
async fn a_reload_opens_the_pages_to_others_at_the_same_port_and_a_bad_one_leaves_them_where_they_are()
 {
    let place = Place::new(41);
    let mut bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let trust = wabridge::daemon::Trust::of(&place.config("off"));
    // Port 9091 of every address may be somebody else's: one that is free.
    let free = TcpSocket::new_v4().unwrap();
    free.bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let at = |ip: &str| place.config(&format!("{ip}:{port}"));
    let ours = place.ours.to_string();
    bridge.reload(at(&ours), &trust).await.unwrap();
    let pages = SocketAddr::new(pages.ip(), port);
    assert_eq!(json(pages, "/readyz").await.0, 200);

    bridge.reload(at("0.0.0.0"), &trust).await.unwrap();
    let other = SocketAddr::new(place.metas, port);
    assert_eq!(json(other, "/readyz").await.0, 200);

    let mut bad = at(&ours);
    bad.records.file = Some(place.workshop.path("none/records.jsonl"));
    assert!(bridge.reload(bad, &trust).await.is_err());
    assert_eq!(json(other, "/readyz").await.0, 200);

    // 192.0.2.1 is no address of this host (RFC 5737).
    assert!(bridge.reload(at("192.0.2.1"), &trust).await.is_err());
    assert_eq!(json(other, "/readyz").await.0, 200);

    bridge.reload(at(&ours), &trust).await.unwrap();
    assert_eq!(json(pages, "/readyz").await.0, 200);
    assert!(TcpStream::connect(other).await.is_err(), "closed to others");
    bridge.stop().await;
}

#[tokio::test]
async fn a_pbx_whose_name_leads_nowhere_keeps_neither_start_nor_reload_from_the_others() {
    let place = Place::new(42);
    let listener = format!("udp = \"{}:5070\"", place.ours);
    let text = place.text("off").replace(&listener, "udp = \"0.0.0.0:0\"");
    let text = text.replace("[[number]]", "[[number]]\npbx = \"main\"");
    let away = "[[pbx]]\nname = \"away\"\naddress = \"pbx.invalid\"\nallowed_sources = [\"127.77.42.9\"]\n";
    let with = |more: &str| {
        place
            .workshop
            .load(&format!("{text}\n{away}{more}"))
            .unwrap()
    };
    let config = with("");
    let trust = wabridge::daemon::Trust::of(&config);
    let mut bridge = wabridge::daemon::Daemon::start(config, &trust)
        .await
        .unwrap();
    let reloaded = bridge.reload(with("[calls]\nmax = 7\n"), &trust).await;
    assert_eq!(reloaded.unwrap().changed.len(), 1);
    let now = bridge.view().snapshot().await.unwrap();
    assert_eq!(now.max_calls, 7);
    assert_eq!(now.pbxs.len(), 2);
    let log = logged();
    let warned = |line: &&str| line.contains("the PBX away") && line.contains("pbx.our_host");
    assert!(log.lines().filter(warned).count() >= 2, "{log}");
    bridge.stop().await;
}

#[tokio::test]
async fn what_is_no_request_for_a_page_is_refused_and_the_next_is_answered() {
    let place = Place::new(34);
    let bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let garbage: [(&[u8], &str); 6] = [
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            " 400 ",
        ),
        (b"GET\r\n\r\n", " 400 "),
        (long.as_bytes(), " 4"),
        (many.as_bytes(), " 431 "),
        (
            b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            " 405 ",
        ),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", " 404 "),
    ];
    for (said, status) in garbage {
        let answer = say(TcpStream::connect(pages).await.unwrap(), said).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(
            line.contains(status),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(said)
        );
        assert_eq!(get(pages, "/healthz").await.0, 200);
    }
    bridge.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_at_metas_door_and_no_sip_at_the_pbxs_is_counted() {
    let place = Place::new(36);
    let bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    for _ in 0..3 {
        let passer_by = TcpSocket::new_v4().unwrap();
        passer_by.bind((place.metas, 0).into()).unwrap();
        let passer_by = passer_by.connect((place.ours, 5061).into());
        say(passer_by.await.unwrap(), b"GET / HTTP/1.1\r\n\r\n").await;
    }
    let pbx = UdpSocket::bind((place.pbxs, 0)).await.unwrap();
    pbx.send_to(b"hello", (place.ours, 5070)).await.unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let scrape = openmetrics::read(&get(pages, "/metrics").await.1);
        let by_peer = [("leg", "meta"), ("opened_by", "peer")];
        let failed = scrape.value("wabridge_tls_handshake_failures_total", &by_peer);
        let malformed = scrape.value("wabridge_sip_malformed_total", &[("leg", "pbx")]);
        if (failed, malformed) == (3.0, 1.0) {
            break;
        }
        assert!(Instant::now() < until, "{failed} {malformed}");
        sleep(Duration::from_millis(20)).await;
    }
    bridge.stop().await;
    let (log, remote) = (logged(), format!("remote={}:", place.metas));
    let named = log.lines().filter(|line| line.contains(&remote));
    let named = named.filter(|line| line.contains("TLS handshake of a peer failed"));
    assert_eq!(named.count(), 1, "once a minute is enough:\n{log}");
}

#[tokio::test]
async fn whoever_holds_many_connections_keeps_nobody_out() {
    let place = Place::new(35);
    let bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(pages).await.unwrap();
        stream.write_all(b"GET /metrics HT").await.unwrap();
        held.push(stream);
    }
    assert_eq!(get(pages, "/healthz").await.0, 200);
    // The oldest were ended for it, and heard so.
    let read = timeout(PATIENCE, held[0].read(&mut [0; 100]))
        .await
        .unwrap();
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    bridge.stop().await;
}

/// Runs the program; gives its exit code, standard output and standard error.
async fn wabridge(arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<_> = arguments.iter().map(|&a| a.to_owned()).collect();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_wabridge"))
            .args(arguments)
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_shows_status_and_calls_and_says_when_no_bridge_is_there() {
    let place = Place::new(37);
    let admin = format!("{}:9091", place.ours);
    let bridge = place.bridge().await;
    let meta = place.genuine_meta(relay::Settings::default()).await;
    let pbx = place.pbx().await;
    let (code, out, error) = wabridge(&["calls", "--admin", &admin]).await;
    assert_eq!((code, out.as_str()), (0, "no call is up\n"), "{error}");
    let call = tokio::spawn(meta.call(wabridge::sim::Outgoing {
        from: USER.into(),
        to: BUSINESS.into(),
        ..Default::default()
    }));
    let pages = SocketAddr::new(place.ours, 9091);
    wait_for(pages, "/calls", |calls| calls[0]["state"] == "talking").await;
    // The file that the bridge was started with says where to ask.
    let file = place.workshop.path("wabridge.toml");
    let (code, out, error) = wabridge(&["calls", "-c", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{error}");
    assert!(
        out.contains("talking") && out.contains("user-initiated"),
        "{out}"
    );
    assert!(!out.contains(&USER[1..]), "{out}");
    let (code, out, error) = wabridge(&["status", "--admin", &admin]).await;
    assert_eq!(code, 0, "{out}{error}");
    assert!(
        out.contains(", ready\n") && out.contains("1 talking"),
        "{out}"
    );
    let alive = format!("main UDP {}:5060 up", place.pbxs);
    assert!(out.contains(&alive), "{alive}: {out}");
    let (_, json, _) = wabridge(&["status", "--json", "--admin", &admin]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["calls"]["talking"], 1, "{json:#}");

    bridge.drain().await;
    let (code, out, _) = wabridge(&["status", "--admin", &admin]).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("NOT READY") && out.contains("stopping: "),
        "{out}"
    );
    bridge.stop().await;
    call.await.unwrap();
    meta.shutdown().await;
    pbx.shutdown().await;
    for command in ["status", "calls"] {
        let (code, out, error) = wabridge(&[command, "--admin", &admin]).await;
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        assert!(
            error.contains("no bridge serves at") && error.contains(&admin),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_asked_and_is_no_bridge_is_said_so() {
    let place = Place::new(38);
    let listener = tokio::net::TcpListener::bind((place.ours, 0))
        .await
        .unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await
            .unwrap();
    });
    let (code, _, error) = wabridge(&["status", "--admin", &admin]).await;
    timeout(PATIENCE, other).await.unwrap().unwrap();
    assert_eq!(code, 1);
    assert!(error.contains("is no wabridge"), "{error}");
    let none = place.workshop.path("none.sock");
    let (_, _, error) = wabridge(&["calls", "--admin", &format!("unix:{}", none.display())]).await;
    assert!(error.contains("no bridge serves at unix:"), "{error}");
    let file = place
        .workshop
        .write("off.toml", "[admin]\nlisten = \"off\"\n");
    let (code, _, error) = wabridge(&["status", "-c", file.to_str().unwrap()]).await;
    assert_eq!(code, 1);
    assert!(error.contains("admin.listen is \"off\""), "{error}");
}

#[tokio::test]
async fn what_went_over_the_wire_is_there_for_who_asks_without_keys_or_numbers() {
    let place = Place::new(43);
    let _bridge = place.bridge().await;
    let pages = SocketAddr::new(place.ours, 9091);
    let (status, nothing) = get(pages, "/traces/last").await;
    assert_eq!(status, 404, "{nothing}");
    let meta = place.genuine_meta(relay::Settings::default()).await;
    let pbx = place.pbx().await;
    let plan = Plan {
        talk: Some(Duration::from_secs(1)),
        ..Plan::default()
    };
    both_call(&meta, &pbx, plan).await;
    let ended =
        |heads: &Value| heads[0]["end"]["status"] == 200 && heads[1]["end"]["status"] == 200;
    let heads = wait_for(pages, "/traces", ended).await;
    for head in heads.as_array().unwrap() {
        let id = head["id"].as_str().unwrap();
        let (status, trace) = json(pages, &format!("/traces/{id}")).await;
        assert_eq!((status, &trace["id"]), (200, &head["id"]));
        let text = trace.to_string();
        for leg in ["meta", "pbx"] {
            let invites = trace["events"].as_array().unwrap().iter().filter(|event| {
                let message = event["octets"]["text"].as_str().unwrap_or_default();
                event["leg"] == leg && message.starts_with("INVITE ")
            });
            // Meta's first is challenged, as ours is there.
            assert_eq!(
                invites.count(),
                if leg == "meta" { 2 } else { 1 },
                "{trace:#}"
            );
        }
        for secret in [&BUSINESS[1..], &USER[1..], "meta-generated-secret"] {
            assert!(!text.contains(secret), "{trace:#}");
        }
        // By what the list shows of a Call-ID, written as paths have it.
        let tag = head["meta_call_id"].as_str().unwrap().replace('~', "%7E");
        let (status, by_tag) = json(pages, &format!("/traces/{tag}")).await;
        assert_eq!((status, &by_tag["id"]), (200, &head["id"]));
    }
    // Nobody has said that media may be kept.
    let (status, why) = get(pages, "/traces/last/media").await;
    assert_eq!(status, 404);
    assert!(why.contains("set media = 60 under [trace]"), "{why}");
    let (status, why) = get(pages, "/traces?reveal=1").await;
    assert_eq!(status, 403);
    assert!(why.contains("trace.reveal_numbers"), "{why}");
    let admin = pages.to_string();
    let (code, _, error) = wabridge(&["trace", "--reveal", "--admin", &admin]).await;
    assert_eq!(
        (code, error.contains("trace.reveal_numbers")),
        (1, true),
        "{error}"
    );
    let (code, _, error) = wabridge(&["trace", "nobody@nowhere", "--admin", &admin]).await;
    assert_eq!(
        (code, error.contains("`wabridge trace` lists them")),
        (1, true),
        "{error}"
    );
    let (code, ladder, error) = wabridge(&["trace", "last", "--admin", &admin]).await;
    assert_eq!(code, 0, "{error}");
    assert!(
        ladder.contains("Ended by") && !ladder.contains("Content-Type"),
        "{ladder}"
    );
    let file = place.workshop.write("call.pcapng", "");
    let capture = ["trace", "last", "--pcap", file.to_str().unwrap(), "--media"];
    let (code, _, error) = wabridge(&[&capture[..], &["--admin", &admin]].concat()).await;
    assert_eq!((code, error.contains("trace.media")), (1, true), "{error}");
    let (code, _, error) = wabridge(&["trace", "last", "--media", "--admin", &admin]).await;
    assert_eq!(
        (code, error.contains("--pcap <FILE>")),
        (2, true),
        "{error}"
    );
}
