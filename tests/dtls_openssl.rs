//! Our DTLS end against the `openssl` program, in either role, over loopback: both must export the same keys.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wabridge::media::dtls::{Action, Certificate, Context, Fingerprint, Handshake, Role, Settings};
use wabridge::media::{SrtpKeys, SrtpProfile};

/// Longer than the handshake takes to give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The profiles, and what `openssl` calls them.
const PROFILES: [(SrtpProfile, &str); 3] = [
    (SrtpProfile::AesCm128HmacSha1_80, "SRTP_AES128_CM_SHA1_80"),
    (SrtpProfile::AeadAes128Gcm, "SRTP_AEAD_AES_128_GCM"),
    (SrtpProfile::AeadAes256Gcm, "SRTP_AEAD_AES_256_GCM"),
];

/// The program while it runs; killed at the end of a test, however that ends.
struct OpenSsl {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl OpenSsl {
    fn start(folder: &Path, arguments: &[&str]) -> OpenSsl {
        let mut child = Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped()) // it ends with its input
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the openssl program (tests/setup openssl)");
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        OpenSsl { child, lines }
    }

    /// The rest of the first line that contains `word`.
    fn says(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("openssl never said {word:?}"));
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes `cert.pem` and `key.pem`, and reads the fingerprint as SDP would say it.
fn certificate(folder: &Path, key: &[&str]) -> Fingerprint {
    let request = "req -x509 -nodes -days 2 -subj /CN=peer -keyout key.pem -out cert.pem";
    let mut command = Command::new("openssl");
    command.args(request.split(' ')).args(key);
    let made = command.current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let print = "x509 -in cert.pem -noout -fingerprint -sha256";
    let mut command = Command::new("openssl");
    command.args(print.split(' ')).current_dir(folder);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (_, octets) = printed.split_once('=').unwrap();
    format!("sha-256 {octets}").parse().unwrap()
}

/// Runs the handshake to its end; a server learns its peer's address from the first datagram.
fn shake(mut handshake: Handshake, socket: &UdpSocket, mut peer: Option<SocketAddr>) -> SrtpKeys {
    let mut buffer = [0; 2048];
    let mut actions = Vec::new();
    loop {
        let mut keys = None;
        for action in actions.drain(..) {
            match action {
                Action::Send(datagram) => {
                    socket.send_to(&datagram, peer.unwrap()).unwrap();
                }
                Action::Keys(exported) => keys = Some(exported),
                Action::Failed(failure) => panic!("{failure}"),
            }
        }
        if let Some(keys) = keys {
            return keys;
        }
        let due = handshake.deadline().expect("not over yet");
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            actions = handshake.tick(Instant::now());
            continue;
        }
        socket.set_read_timeout(Some(wait)).unwrap();
        // An error is the time, or a port that is not open yet: the next flight will find it.
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(*peer.get_or_insert(from), from);
            actions = handshake.handle(&buffer[..len], Instant::now());
        }
    }
}

/// The material in the order of RFC 5764 §4.2, as `openssl` prints it.
fn material(keys: &SrtpKeys, role: Role) -> String {
    let (client, server) = match role {
        Role::Client => (&keys.send, &keys.receive),
        Role::Server => (&keys.receive, &keys.send),
    };
    let key_len = keys.profile.key_and_salt_len() - keys.profile.salt_len();
    let ((client_key, client_salt), (server_key, server_salt)) =
        (client.0.split_at(key_len), server.0.split_at(key_len));
    let all = [client_key, server_key, client_salt, server_salt].concat();
    all.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn agree_with_openssl(key: &[&str], role: Role) {
    let folder = tempfile::tempdir().unwrap();
    let theirs = certificate(folder.path(), key);
    let context = Context::new(&Certificate::generate().unwrap(), &Settings::default()).unwrap();
    for (profile, name) in PROFILES {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let length = (2 * profile.key_and_salt_len()).to_string();
        let common = format!(
            "-dtls1_2 -cert cert.pem -key key.pem -use_srtp {name} -keymatexport EXTRACTOR-dtls_srtp \
             -keymatexportlen {length}"
        );
        let (program, peer) = match role {
            Role::Client => {
                let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let peer = free.local_addr().unwrap();
                drop(free);
                let arguments = format!("s_server -accept {peer} -Verify 1 {common}");
                (arguments, Some(peer))
            }
            Role::Server => {
                let ours = socket.local_addr().unwrap();
                (format!("s_client -connect {ours} {common}"), None)
            }
        };
        let arguments: Vec<&str> = program.split(' ').collect();
        let openssl = OpenSsl::start(folder.path(), &arguments);
        if role == Role::Client {
            openssl.says("ACCEPT");
        }
        let handshake = Handshake::new(&context, role, vec![theirs], Instant::now()).unwrap();
        let keys = shake(handshake, &socket, peer);
        assert_eq!(keys.profile, profile);
        assert_eq!(
            openssl.says("Keying material: "),
            material(&keys, role),
            "{name}"
        );
    }
}

const RSA: &[&str] = &["-newkey", "rsa:2048"];
const ECDSA: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn as_client_we_export_the_keys_of_openssl_with_an_rsa_certificate() {
    agree_with_openssl(RSA, Role::Client);
}

#[test]
fn as_client_we_export_the_keys_of_openssl_with_an_ecdsa_certificate() {
    agree_with_openssl(ECDSA, Role::Client);
}

#[test]
fn as_server_we_export_the_keys_of_openssl_with_an_rsa_certificate() {
    agree_with_openssl(RSA, Role::Server);
}

#[test]
fn as_server_we_export_the_keys_of_openssl_with_an_ecdsa_certificate() {
    agree_with_openssl(ECDSA, Role::Server);
}
