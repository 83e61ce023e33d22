"""aiortc as a WebRTC far end: full ICE, where Meta's is lite, DTLS with an ECDSA certificate, and Opus by PyAV."""

import asyncio

import aioice.ice
import aiortc
import av

import sound


class Voice(aiortc.MediaStreamTrack):
    """A microphone into which a tone is said."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.frames = sound.tone(sound.USER_HZ)
        self.nth = 0
        self.start = asyncio.get_running_loop().time()

    async def recv(self):
        """The next 20 ms, when they are due."""
        await asyncio.sleep(self.start + self.nth * 0.02 - asyncio.get_running_loop().time())
        frame = av.AudioFrame("s16", "mono", sound.FRAME)
        frame.sample_rate, frame.pts = sound.RATE, self.nth * sound.FRAME
        frame.planes[0].update(self.frames[self.nth % len(self.frames)])
        self.nth += 1
        return frame


class Aiortc:
    """The library."""

    def __init__(self, stage):
        self.stage = stage

    async def start(self):
        """It would leave loopback addresses out."""
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [self.stage.meta]

    def far(self):
        """A new far end."""
        return Far()


class Far:
    """One call."""

    def __init__(self):
        self.ear = sound.Ear(sound.PBX_HZ)
        self.listening = None
        self.peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self.peer.addTrack(Voice())
        self.peer.on("track", self.listens)

    def listens(self, track):
        """The other's track has begun."""

        async def listen():
            while True:
                frame = await track.recv()
                left = memoryview(bytes(frame.planes[0])).cast("h")[: 2 * frame.samples : 2]
                self.ear.hear(left)

        self.listening = asyncio.create_task(listen())

    async def offer(self):
        """With all candidates, as it knows no trickling."""
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def accept(self, answer):
        """The bridge's answer to that."""
        await self.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))

    async def answer(self, offer):
        """To the bridge's offer."""
        await self.peer.setRemoteDescription(aiortc.RTCSessionDescription(offer, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return self.peer.localDescription.sdp

    async def check(self):
        """What was heard."""
        self.ear.check()

    async def close(self):
        """Leaves."""
        if self.listening:
            self.listening.cancel()
        await self.peer.close()
