//! One ICE agent on one UDP socket, for tests/aioice: says its credentials and candidate, reads the peer's until the end
//! of its input, then tells what happens and sends back whatever is not STUN. Its times are short.
//!
//!     cargo run --example ice 127.0.0.1

use std::error::Error;
use std::io::{self, BufRead};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use wabridge::media::demux;
use wabridge::media::ice::{Action, Agent, Candidate, Credentials, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("an address, please")?;
    let socket = UdpSocket::bind((address.as_str(), 0))?;
    let (local, bound) = (Credentials::generate(), socket.local_addr()?);
    println!("{}\n{}", local.ufrag(), local.pwd());
    println!("{}", Candidate::host(bound));

    let lines = io::stdin().lock().lines().collect::<io::Result<Vec<_>>>()?;
    let [ufrag, pwd, candidates @ ..] = &lines[..] else {
        return Err("a fragment, a password and candidates, please".into());
    };
    let remote = Credentials::new(ufrag, pwd)?;
    let candidates = candidates.iter().map(|line| Candidate::parse(line));
    let candidates: Vec<_> = candidates.collect::<Result<Vec<_>, _>>()?;
    let candidates: Vec<_> = candidates.into_iter().flatten().collect();
    let settings = Settings {
        give_up: Duration::from_secs(2),
        consent: Duration::from_secs(1),
        lost: Duration::from_secs(3),
        ..Settings::default()
    };
    let now = Instant::now();
    let agent = Agent::new(local, remote, &[bound], &candidates, now, settings);
    Ok(run(agent, &socket)?)
}

/// Until the agent is done.
fn run(mut agent: Agent, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 2048];
    while let Some(deadline) = agent.deadline() {
        let wait = deadline.saturating_duration_since(Instant::now());
        let actions = if wait.is_zero() {
            agent.tick(Instant::now())
        } else {
            socket.set_read_timeout(Some(wait))?;
            // Nothing in time, or the peer's port is closed: both are the agent's to notice.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let datagram = &buffer[..length];
            if demux::Kind::of(datagram) != demux::Kind::Stun {
                socket.send_to(datagram, from)?;
                continue;
            }
            agent.handle(datagram, from, Instant::now())
        };
        for action in actions {
            match action {
                Action::Send { to, datagram } => drop(socket.send_to(&datagram, to)),
                Action::Selected(address) => println!("selected {address}"),
                Action::Failed(failure) => println!("failed: {failure}"),
                Action::Lost => println!("lost"),
            }
        }
    }
    Ok(())
}
