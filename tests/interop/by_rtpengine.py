"""rtpengine as Meta's relay. Behind it stands a phone of our own that speaks plain RTP: ICE, DTLS and SRTP are all
rtpengine's."""

import asyncio
import re
import uuid

import ng
import rtp


class Rtpengine:
    """The daemon, and how it is asked."""

    def __init__(self, stage):
        self.stage = stage

    async def start(self):
        """With one interface for the bridge and one for the phone."""
        self.process = await self.stage.start(
            "rtpengine", "tests/peers/rtpengine",
            "--foreground", "--log-stderr", "--log-level=7", "--table=-1", "--num-threads=2", "--config-file=none",
            f"--interface=meta/{self.stage.meta}", f"--interface=phone/{self.stage.relay}",
            f"--listen-ng={self.stage.relay}:{ng.PORT}", "--port-min=30000", "--port-max=30999",
        )  # fmt: skip
        await self.stage.bound(self.process, self.stage.relay, ng.PORT)

    async def ask(self, command, **words):
        """One command; the reply."""
        return await ng.ask(self.stage.relay, command, **words)

    def far(self, keying, role=None):
        """A new far end, keyed by SDES, or by DTLS with rtpengine in this role."""
        return Far(self, keying, role)


# How it faces the bridge.
SDES = {"transport-protocol": "RTP/SAVP", "DTLS": "off", "SDES": ["only-AES_CM_128_HMAC_SHA1_80"]}
DTLS = {"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "SDES": "off"}


class Far(asyncio.DatagramProtocol):
    """One call through it."""

    def __init__(self, engine, keying, role=None):
        self.engine, self.keying, self.role = engine, keying, role
        self.names = {"call_id": uuid.uuid4().hex, "from_tag": "caller"}
        self.phone = None

    async def opens_phone(self, payload_type):
        """The phone's socket and, once rtpengine's port is known, its voice."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.engine.stage.relay, 0))
        self.phone = rtp.Phone(payload_type, lambda packet: self.transport.sendto(packet, self.peer))
        host, port = self.transport.get_extra_info("sockname")
        return (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} opus/48000/2\r\n"
            "a=ptime:20\r\na=maxptime:20\r\n"
        )

    def talks_to(self, sdp):
        """The phone's own peer is known: it speaks."""
        self.peer = (self.engine.stage.relay, int(re.search(r"^m=audio (\d+)", sdp, re.M)[1]))
        self.phone.begin()

    def datagram_received(self, data, _):
        self.phone.hear(data)

    async def offer(self):
        """As Meta's relay would offer."""
        sdp = await self.opens_phone(111)
        lite = {"ICE-lite": "forward"} if self.keying is DTLS else {}
        said = await self.engine.ask(
            "offer", sdp=sdp, direction=["phone", "meta"], rtcp_mux=["require"], **self.names, **self.keying, **lite
        )
        # It offers both roles and takes the one that the answer leaves; this offer leaves the answer no choice.
        wanted = "active" if self.role == "active" else "actpass"
        return said["sdp"].replace("a=setup:actpass", f"a=setup:{wanted}")

    async def accept(self, answer):
        """The bridge's answer to that."""
        if self.keying is DTLS:
            ours = {"active": "passive", "passive": "active"}[self.role]
            assert f"a=setup:{ours}" in answer, f"the bridge should be {ours}:\n{answer}"
        said = await self.engine.ask("answer", sdp=answer, to_tag="called", **self.names)
        self.talks_to(said["sdp"])

    async def answer(self, offer):
        """As Meta's relay would answer."""
        lite = {"ICE-lite": "backward", "DTLS-reverse": self.role} if self.keying is DTLS else {}
        said = await self.engine.ask(
            "offer", sdp=offer, direction=["meta", "phone"], transport_protocol="RTP/AVP", ICE="remove",
            rtcp_mux=["demux"], **self.names, **lite
        )  # fmt: skip
        payload_type = int(re.search(r"^a=rtpmap:(\d+) opus/", said["sdp"], re.M)[1])
        sdp = await self.opens_phone(payload_type)
        self.talks_to(said["sdp"])
        said = await self.engine.ask("answer", sdp=sdp, to_tag="called", **self.names)
        if self.keying is DTLS:
            assert f"a=setup:{self.role}" in said["sdp"], f"rtpengine should be {self.role}:\n{said['sdp']}"
        return said["sdp"]

    async def check(self):
        """What was heard."""
        self.phone.check()

    async def close(self):
        """Forgets the call."""
        if self.phone:
            self.phone.stop()
            self.transport.close()
            await self.engine.ask("delete", **self.names)
