"""A telephone of our own behind a relay or an SRTP library that is not: says a tone in RTP, listens for another."""

import asyncio
import struct

import av

import sound

SSRC = 849255537


def is_rtcp(packet):
    """Where both come to one port (RFC 5761 §4)."""
    return 192 <= packet[1] <= 223


class Phone:
    """Packets out by `send`, packets in by `hear`; where they go is not its business."""

    def __init__(self, payload_type, send):
        self.payload_type = payload_type
        self.send = send
        self.ear = sound.Ear(sound.PBX_HZ)
        self.sources = set()
        self.talking = None
        self.decoder = av.CodecContext.create("libopus", "r")
        self.encoder = av.CodecContext.create("libopus", "w")
        for codec in (self.decoder, self.encoder):
            codec.format, codec.layout, codec.sample_rate = "s16", "mono", sound.RATE

    def hear(self, packet):
        """One datagram; only the sound in it is of interest."""
        if is_rtcp(packet):
            return
        self.sources.add(packet[8:12])
        if packet[1] & 0x7F == self.payload_type:
            for frame in self.decoder.decode(av.Packet(packet[12:])):
                self.ear.hear(memoryview(bytes(frame.planes[0])).cast("h")[: frame.samples])

    def begin(self):
        """Speaks from now on."""
        self.talking = asyncio.create_task(self.talk())

    def stop(self):
        """Speaks no more."""
        if self.talking:
            self.talking.cancel()

    async def talk(self):
        """Says the tone of a WhatsApp user, 50 packets a second."""
        clock = asyncio.get_running_loop()
        start = clock.time()
        frames = sound.tone(sound.USER_HZ)
        nth = sent = 0
        while True:
            frame = av.AudioFrame("s16", "mono", sound.FRAME)
            frame.sample_rate, frame.pts = sound.RATE, nth * sound.FRAME
            frame.planes[0].update(frames[nth % len(frames)])
            for packet in self.encoder.encode(frame):
                header = struct.pack("!BBHII", 0x80, self.payload_type, sent, sent * sound.FRAME, SSRC)
                self.send(header + bytes(packet))
                sent += 1
            nth += 1
            await asyncio.sleep(start + nth * 0.02 - clock.time())

    def check(self):
        """Raises unless it spoke to the end and heard the other's tone, from a single source."""
        if self.talking.done():
            self.talking.result()
        self.ear.check()
        assert len(self.sources) == 1, f"{len(self.sources)} sources, where Meta's client garbles more than one"
