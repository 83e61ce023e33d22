"""The `openssl` program as DTLS end with an RSA certificate, in either role, behind a lite side of ICE. It exports the
keys; libsrtp uses them, and a phone of our own speaks in SRTP."""

import asyncio
import base64
import hashlib
import re
import subprocess
from asyncio.subprocess import PIPE

import pylibsrtp

import ice_lite
import programs
import rtp

PORT = 4433
# For each role another profile: how OpenSSL and libsrtp call it, and its octets of key and salt (RFC 5764, RFC 7714).
PROFILES = {
    "passive": ("SRTP_AES128_CM_SHA1_80", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
    "active": ("SRTP_AEAD_AES_128_GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
}
# As Meta prints it. Nobody answers at the IPv6 candidate, which has the higher priority.
SDP = """v=0
o=- 1741113186367 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE {mid}
a=msid-semantic: WMS 632a909f-1060-4369-96a4-7bd03e291ee7
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {opus} {events}
c=IN IP4 {address}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1775469887 1 udp 2122260223 {address} {port} typ host generation 0 network-cost 50
a=candidate:3355715111 1 udp 2122262783 ::1 {port} typ host generation 0 network-cost 50
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=fingerprint:{fingerprint}
a=setup:{setup}
a=mid:{mid}
a=sendrecv
a=msid:632a909f-1060-4369-96a4-7bd03e291ee7 WhatsAppTrack1
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=rtpmap:{events} telephone-event/8000
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""


def fingerprint(pem):
    """Of a certificate, as SDP has it."""
    der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
    return "sha-256 " + hashlib.sha256(der).digest().hex(":").upper()


class OpenSsl:
    """The certificate, which is the same in all calls."""

    def __init__(self, stage):
        self.stage = stage

    async def start(self):
        """Makes it."""
        files = ["-out", self.stage.out / "rsa.pem", "-keyout", self.stage.out / "rsa.key"]
        request = "openssl req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=relay".split()
        subprocess.run([*request, *files], check=True, stderr=subprocess.DEVNULL)
        self.fingerprint = fingerprint((self.stage.out / "rsa.pem").read_text())

    def far(self, role):
        """A new far end, with `openssl` as DTLS client (active) or server (passive)."""
        return Far(self, role)


class Far(asyncio.DatagramProtocol):
    """One call. `openssl` talks to this socket, and what is said there passes on through that of ICE."""

    def __init__(self, openssl, role):
        self.openssl, self.stage, self.role = openssl, openssl.stage, role
        self.profile, self.srtp_profile, self.key, self.salt = PROFILES[role]
        self.ice = ice_lite.IceLite(dtls=self.from_bridge, srtp=self.hear, nominated=self.begin)
        self.mistakes = self.ice.mistakes
        self.phone = self.program = self.inside = self.inbound = self.outbound = None
        self.early = []  # SRTP may be faster than the program prints the keys
        self.tasks = []

    async def opens(self, setup, opus, events, mid):
        """All that must listen before the bridge knows where; the SDP that says so."""
        await self.ice.open(self.stage.meta)
        self.phone = rtp.Phone(int(opus), self.say)
        loop = asyncio.get_running_loop()
        self.inside, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.stage.relay, 0))
        if self.role == "passive":
            await self.runs("s_server", "-accept", f"{self.stage.relay}:{PORT}", "-Verify", "1")
            await self.stage.bound(self.program, self.stage.relay, PORT)
            self.peer = (self.stage.relay, PORT)
        return SDP.format(
            address=self.stage.meta, port=self.ice.port, ufrag=self.ice.ufrag, password=self.ice.password,
            fingerprint=self.openssl.fingerprint, setup=setup, opus=opus, events=events, mid=mid, ssrc=rtp.SSRC,
        ).replace("\n", "\r\n")  # fmt: skip

    async def runs(self, *command):
        """Starts the program in its role, and listens to it."""
        self.program = await self.stage.start(
            f"{self.stage.case}.openssl", "openssl", *command, "-dtls1_2", "-timeout", "-mtu", "1200",
            "-cert", self.stage.out / "rsa.pem", "-key", self.stage.out / "rsa.key", "-use_srtp", self.profile,
            "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", 2 * (self.key + self.salt),
            stdin=PIPE, stdout=PIPE,
        )  # fmt: skip
        self.tasks.append(asyncio.create_task(self.takes_keys()))

    def begin(self):
        """The path is there: the client says hello."""
        if self.role == "active":
            _, port = self.inside.get_extra_info("sockname")
            self.tasks.append(asyncio.create_task(self.runs("s_client", "-connect", f"{self.stage.relay}:{port}")))

    def datagram_received(self, data, source):
        """DTLS from the program to the bridge."""
        self.peer = source
        self.ice.send(data)

    def from_bridge(self, data):
        """DTLS from the bridge to the program."""
        self.inside.sendto(data, self.peer)

    async def takes_keys(self):
        """When the handshake is over the program prints them, and before that the bridge's certificate."""
        said = ""
        while "Keying material: " not in said:
            line = await self.program.stdout.readline()
            if not line:
                self.mistakes.add("openssl has ended without a handshake")
                return
            said += line.decode(errors="replace")
        (self.stage.out / f"{self.stage.case}.openssl.txt").write_text(said)
        self.certificate = re.search("-----BEGIN CERTIFICATE.*?END CERTIFICATE-----", said, re.S)[0]
        material = bytes.fromhex(re.search("Keying material: ([0-9A-F]+)", said)[1])
        # RFC 5764 §4.2: both keys, then both salts, the client's first.
        keys, salts = material[: 2 * self.key], material[2 * self.key :]
        client, server = (keys[: self.key] + salts[: self.salt], keys[self.key :] + salts[self.salt :])
        own, other = (client, server) if self.role == "active" else (server, client)
        self.outbound = self.srtp(own, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.inbound = self.srtp(other, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self.phone.begin()
        for packet in self.early:
            self.hear(packet)

    def srtp(self, key, direction):
        """One direction of SRTP."""
        return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=self.srtp_profile))

    def say(self, packet):
        """RTP of the phone."""
        self.ice.send(self.outbound.protect(packet))

    def hear(self, packet):
        """SRTP or SRTCP of the bridge."""
        if not self.inbound:
            self.early.append(packet)
            return
        try:
            if rtp.is_rtcp(packet):
                self.inbound.unprotect_rtcp(packet)
            else:
                self.phone.hear(self.inbound.unprotect(packet))
        except pylibsrtp.Error as error:
            self.mistakes.add(f"SRTP: {error}")

    async def offer(self):
        """As Meta would, except that it may leave no choice of the role."""
        return await self.opens("actpass" if self.role == "passive" else "active", 111, 126, "audio")

    async def accept(self, answer):
        """The bridge's answer to that."""
        self.sdp = answer

    async def answer(self, offer):
        """To the bridge's offer."""
        self.sdp = offer
        same = [r"rtpmap:(\d+) opus/48000/2", r"rtpmap:(\d+) telephone-event/8000", "mid:(.+)"]
        return await self.opens(self.role, *(re.search(f"^a={what}\r$", offer, re.M)[1] for what in same))

    async def check(self):
        """The other's tone, and no mistake in ICE, DTLS or SRTP."""
        for task in self.tasks:
            if task.done():
                task.result()  # raises what it died of
        assert not self.mistakes, "; ".join(self.mistakes)
        assert self.inbound, "no handshake" if self.ice.peer else "no pair was nominated"
        said = f"a=fingerprint:{fingerprint(self.certificate)}\r\n"
        assert said in self.sdp, "the bridge's certificate is not the one of its SDP"
        self.phone.check()

    async def close(self):
        """Ends the program and closes the sockets."""
        for task in self.tasks:
            task.cancel()
        if self.phone:
            self.phone.stop()
        if self.program:
            await programs.end(self.program)
        for transport in (self.inside, self.ice.transport):
            if transport:
                transport.close()
