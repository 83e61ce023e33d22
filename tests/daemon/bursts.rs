//! Hundreds of INVITEs at one moment: every one is answered, though nobody repeats any.

use std::collections::HashSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::message::Common;
use wabridge::sip::{Limits, Message};

use super::*;

const CALLS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

impl Place {
    /// A bridge that takes what comes, however late: this machine has other tests to run.
    async fn patient_bridge(&self) -> Daemon {
        let text = self.text(&format!("{}:9091", self.ours)) + "\n[calls]\noverload_delay = 0\n";
        let config = self
            .workshop
            .load(&text)
            .unwrap_or_else(|p| panic!("{p:?}"));
        let trust = Trust::of(&config);
        Daemon::start(config, &trust).await.unwrap()
    }

    fn invite(&self, call: usize, transport: &str, (from, to): (&str, &str)) -> Vec<u8> {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 16000 RTP/AVP 111\r\n\
             a=rtpmap:111 opus/48000/2\r\n",
            self.pbxs
        );
        let ours = self.ours;
        format!(
            "INVITE sip:{to}@{ours} SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1;rport;branch=z9hG4bK{call}\r\n\
             From: <sip:{from}@192.0.2.1>;tag={call}\r\nTo: <sip:{to}@{ours}>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
             Max-Forwards: 70\r\nContact: <sip:{from}@{0}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {1}\r\n\r\n{sdp}",
            self.pbxs,
            sdp.len()
        )
        .into_bytes()
    }
}

fn response(bytes: &[u8]) -> (u16, String) {
    match Message::parse(bytes, &Limits::default()) {
        Ok(Message::Response(response)) => (response.status, response.call_id().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn five_hundred_invites_at_once_over_one_tls_connection_are_all_challenged() {
    let place = Place::new(20);
    let bridge = place.patient_bridge().await;
    let roots = Roots {
        files: vec![place.workshop.path("ca.pem")],
        ..Roots::default()
    };
    // Meta's address is the one that may call.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(place.metas, 0)).unwrap();
    let socket = socket
        .connect(SocketAddr::new(place.ours, 5061))
        .await
        .unwrap();
    let name = ServerName::try_from("bridge.example.com").unwrap();
    let connector = TlsConnector::from(tls::client_config(&roots).unwrap());
    let stream = connector.connect(name, socket).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..CALLS)
        .flat_map(|call| place.invite(call, "TLS", (USER, BUSINESS)))
        .collect();
    let sending = tokio::spawn(async move {
        writing.write_all(&sent).await.unwrap();
        writing.flush().await.unwrap();
        writing
    });
    let mut framer = Framer::new(Limits::default());
    let mut challenged = HashSet::new();
    let hear = async {
        let mut buffer = vec![0; 65_536];
        while challenged.len() < CALLS {
            let count = reading.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "closed after {} answers", challenged.len());
            framer.push(&buffer[..count]);
            while let Some(Frame::Message(bytes)) = framer.next_frame().unwrap() {
                // A bare offer of Opus is none of Meta's: 488 is an answer as good as any.
                let (status, call_id) = response(&bytes);
                assert!(matches!(status, 407 | 488), "{status}");
                assert!(challenged.insert(call_id), "nothing is repeated over TLS");
            }
        }
    };
    timeout(PATIENCE, hear).await.unwrap();
    drop(sending.await.unwrap());
    bridge.stop().await;
}

#[tokio::test]
async fn five_hundred_invites_at_once_by_udp_all_find_room() {
    let place = Place::new(21);
    let bridge = place.patient_bridge().await;
    let socket = UdpSocket::bind(SocketAddr::new(place.pbxs, 5060))
        .await
        .unwrap();
    socket
        .connect(SocketAddr::new(place.ours, 5070))
        .await
        .unwrap();
    let sent: Vec<_> = (0..CALLS)
        .map(|call| place.invite(call, "UDP", (BUSINESS, USER)))
        .collect();
    let socket = Arc::new(socket);
    let sender = socket.clone();
    // From a thread of its own, or the bridge would have a turn between any two.
    let sending = tokio::task::spawn_blocking(move || {
        for datagram in &sent {
            while sender.try_send(datagram).is_err() {
                std::thread::yield_now();
            }
        }
    });
    let mut taken = HashSet::new();
    let hear = async {
        let mut buffer = vec![0; 65_536];
        while taken.len() < CALLS {
            let count = socket.recv(&mut buffer).await.unwrap();
            if buffer.starts_with(b"SIP/2.0 ") {
                // 100, and 503 since there is no Meta here, again and again.
                taken.insert(response(&buffer[..count]).1);
            }
        }
    };
    let heard = timeout(PATIENCE, hear).await;
    assert!(
        heard.is_ok(),
        "{} of {CALLS} INVITEs were answered",
        taken.len()
    );
    sending.await.unwrap();
    bridge.stop().await;
}
