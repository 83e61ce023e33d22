//! Debian's Asterisk as a B2BUA between two endpoints: Meta's end calls by SRTP, and the PBX is called by RTP. Both speak
//! Opus, so nothing is transcoded.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wabridge::media::sdes::Crypto;
use wabridge::sip::{Message, Request, Response, build};

use crate::far_ends::messages::{METAS_KEY, read};
use crate::process::Process;
use crate::sdp::{description, key_in, opus_in, port_in};
use crate::speech::OPUS;
use crate::under_test::{Call, Place, UnderTest, log};

const SIP: u16 = 5_060;
const PROGRAM: &str = "tests/peers/asterisk";

/// Starts it, and sets up the calls one after another.
pub fn start(cores: &str, place: &Place, calls: usize) -> UnderTest {
    // A control socket's path may have 107 characters at most, so not under target/.
    let folder = tempfile::Builder::new()
        .prefix("wabridge-compare.")
        .tempdir();
    let folder = folder.expect("a temporary folder");
    configure(folder.path(), place);
    let main = folder
        .path()
        .join("etc/asterisk.conf")
        .display()
        .to_string();
    let words = ["-C".to_owned(), main, "-f".to_owned()];
    let log = log("asterisk");
    let mut process = Process::start(cores, Path::new(PROGRAM), &words, &log).expect("it starts");
    wait_until_booted(&folder, &mut process);
    let ends = Ends::new(place);
    let calls = (0..calls).map(|number| ends.call(number));
    UnderTest {
        calls: calls.collect(),
        process,
        folder: Some(folder),
    }
}

fn configure(run: &Path, place: &Place) {
    for folder in ["etc", "lib", "spool", "log"] {
        fs::create_dir_all(run.join(folder)).expect("the folder is ours");
    }
    let tree = fs::canonicalize("target/peers/sid/usr").expect("tests/peers/unpack has run");
    let text = |file: &str| {
        let path = PathBuf::from("tests/asterisk").join(file);
        fs::read_to_string(path).expect("the bench runs in the repository")
    };
    let main = text("asterisk.conf")
        .replace("@RUN@", &run.display().to_string())
        .replace("@TREE@", &tree.display().to_string());
    for (name, text) in [
        ("asterisk.conf", main),
        ("modules.conf", text("modules.conf")),
        ("logger.conf", text("logger.conf")),
        (
            "rtp.conf",
            "[general]\nrtpstart=20000\nrtpend=29999\nicesupport=no\n".into(),
        ),
        (
            "extensions.conf",
            "[calls]\nexten => _X.,1,Dial(PJSIP/pbx)\n".into(),
        ),
        ("pjsip.conf", pjsip(place)),
    ] {
        fs::write(run.join("etc").join(name), text).expect("the folder is ours");
    }
}

fn pjsip(place: &Place) -> String {
    let here = place.relay;
    let mut text = format!("[udp]\ntype=transport\nprotocol=udp\nbind={here}:{SIP}\n");
    for (name, end, encryption) in [
        ("meta", place.ends[0], "sdes"),
        ("pbx", place.ends[1], "no"),
    ] {
        let at = end.ip();
        text += &format!(
            "\n[{name}]\ntype=endpoint\ncontext=calls\ndisallow=all\nallow=opus\ndirect_media=no\naors={name}\n\
             media_encryption={encryption}\nmedia_address={here}\nbind_rtp_to_media_address=yes\ndtmf_mode=none\n\
             send_connected_line=no\n\
             \n[{name}]\ntype=aor\ncontact=sip:100@{at}:{SIP}\nqualify_frequency=0\n\
             \n[{name}]\ntype=identify\nendpoint={name}\nmatch={at}\n"
        );
    }
    text
}

fn wait_until_booted(folder: &TempDir, process: &mut Process) {
    let main = folder.path().join("etc/asterisk.conf");
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let console = Command::new(PROGRAM)
            .arg("-C")
            .arg(&main)
            .args(["-rx", "core waitfullybooted"])
            .output()
            .expect("it starts");
        if String::from_utf8_lossy(&console.stdout).contains("fully booted") {
            return;
        }
        let gone = process.has_ended() || Instant::now() > patience;
        assert!(
            !gone,
            "Asterisk does not start: {}",
            log("asterisk").display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The signalling of both far ends.
struct Ends {
    relay: IpAddr,
    media: [SocketAddr; 2],
    meta: UdpSocket,
    pbx: UdpSocket,
}

impl Ends {
    fn new(place: &Place) -> Ends {
        let bind = |end: SocketAddr| {
            let socket = UdpSocket::bind((end.ip(), SIP)).expect("the address is ours alone");
            let timeout = Some(Duration::from_secs(5));
            socket.set_read_timeout(timeout).expect("a socket");
            socket
        };
        Ends {
            relay: place.relay,
            media: place.ends,
            meta: bind(place.ends[0]),
            pbx: bind(place.ends[1]),
        }
    }

    fn call(&self, number: usize) -> Call {
        let offer = description(self.media[0], Some(METAS_KEY), OPUS);
        self.meta_sends("INVITE", number, "", &offer);
        let invite = self.pbx_is_invited();
        self.pbx_answers(&invite);
        let ok = self.meta_is_answered(number);
        let tag = ok.headers.get("To").expect("every response has it");
        let tag = tag.split_once(";tag=").expect("a 200 has a tag").1;
        self.meta_sends("ACK", number, &format!(";tag={tag}"), "");
        let [answered, offered] =
            [&ok.body, &invite.body].map(|body| String::from_utf8_lossy(body));
        let key = key_in(&answered).expect("a=crypto in Asterisk's answer to Meta");
        Call {
            ports: [port_in(&answered), port_in(&offered)],
            pbxs_opus: opus_in(&offered),
            keys: [Some(Crypto::parse(key).expect("a key").key), None],
        }
    }

    fn meta_sends(&self, method: &str, number: usize, to_tag: &str, body: &str) {
        let (here, relay) = (self.media[0].ip(), self.relay);
        let length = body.len();
        let text = format!(
            "{method} sip:200@{relay}:{SIP} SIP/2.0\r\nVia: SIP/2.0/UDP {here}:{SIP};branch=z9hG4bK{method}{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:100@{here}>;tag=meta{number}\r\nTo: <sip:200@{relay}>{to_tag}\r\n\
             Call-ID: compare-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:100@{here}:{SIP}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let sent = self.meta.send_to(text.as_bytes(), (relay, SIP));
        sent.expect("loopback takes it");
    }

    fn meta_is_answered(&self, number: usize) -> Response {
        loop {
            let Message::Response(response) = receive(&self.meta).0 else {
                continue;
            };
            if response.headers.get("Call-ID") != Some(&format!("compare-{number}")) {
                continue;
            }
            match response.status {
                100..200 => {}
                200 => return response,
                other => panic!("Asterisk answers {other}: {}", log("asterisk").display()),
            }
        }
    }

    fn pbx_is_invited(&self) -> Request {
        loop {
            // The ACK of the call before comes here as well.
            if let (Message::Request(request), _) = receive(&self.pbx)
                && request.method.to_string() == "INVITE"
            {
                return request;
            }
        }
    }

    fn pbx_answers(&self, invite: &Request) {
        let mut ok = build::response(invite, 200, Some("pbx"));
        let here = self.media[1].ip();
        ok.headers
            .push("Contact", format!("<sip:100@{here}:{SIP}>"));
        ok.headers.push("Content-Type", "application/sdp");
        // Asterisk has a number of its own for Opus, and takes no other.
        let opus = opus_in(&String::from_utf8_lossy(&invite.body));
        ok.body = description(self.media[1], None, opus).into();
        let sent = self.pbx.send_to(&ok.to_bytes(), (self.relay, SIP));
        sent.expect("loopback takes it");
    }
}

fn receive(socket: &UdpSocket) -> (Message, SocketAddr) {
    let mut buffer = [0; 16_384];
    let (length, from) = socket.recv_from(&mut buffer).expect("Asterisk speaks");
    (read(&buffer[..length]), from)
}
