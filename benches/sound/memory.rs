//! Memory of the daemon for a call that is transcoded, both legs talking, against one that is not.

use std::thread::sleep;
use std::time::Duration;

use wabridge::media::Codec;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::Sender;

use super::far_ends::daemon::Daemon;
use super::far_ends::ends::{FarEnds, Up};
use super::far_ends::media::number;
use super::far_ends::messages::METAS_KEY;
use super::speech;

/// Calls that are up.
const CALLS: usize = 100;
/// Two seconds of speech each way in every call, so that everything a session ever builds is built.
const PACKETS: usize = 100;

/// Prints a line for each codec of the PBX.
pub fn run() {
    println!("\n{CALLS} calls, kB of anonymous memory");
    println!("{:>10} {:>14}", "PBX", "kB for a call");
    for codec in [Codec::Opus, Codec::Pcmu, Codec::G722] {
        let daemon = Daemon::start();
        let mut ends = FarEnds::of(&daemon).speaking(codec);
        // The first call of all builds what stays.
        let mut up = vec![ends.call().0];
        talk(&ends, &up, codec);
        let before = daemon.memory().anonymous;
        up.extend((0..CALLS).map(|_| ends.call().0));
        talk(&ends, &up[1..], codec);
        let each = (daemon.memory().anonymous - before) as f64 / CALLS as f64;
        println!("{:>10} {each:>14.1}", codec.name());
        up.iter().for_each(|call| ends.hang_up(call));
    }
}

/// Both sides of every call speak, each frame at its time.
fn talk(ends: &FarEnds, up: &[Up], codec: Codec) {
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    let mut protect = Sender::new(crypto.profile, &crypto.key).expect("the key fits");
    let [user, pbx] = [Codec::Opus, codec].map(|codec| speech::spoken(codec, None));
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    for nth in 0..PACKETS {
        let header = |voice: &wabridge::sim::speech::Recording, ssrc| Header {
            marker: nth == 0,
            payload_type: number(voice.format.codec),
            seq: Seq(nth as u16),
            timestamp: Timestamp(nth as u32 * voice.format.units()),
            ssrc: Ssrc(ssrc),
        };
        header(&user, 1_615_009_994).write(user.packet(nth), &mut plain);
        protect.protect_rtp(&plain, &mut secured).expect("RTP");
        header(&pbx, 9).write(pbx.packet(nth), &mut plain);
        ends.speak(up, &secured, &plain);
        sleep(Duration::from_millis(20));
    }
}
