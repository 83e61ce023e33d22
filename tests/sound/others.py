"""The same speech over the same paths through Asterisk and rtpengine, which transcode opus ⇄ PCMU between two telephones of
`wabridge sim pbx`: one speaks as Meta's users do, the other as PBXs do."""

import asyncio
import re
import tempfile
import uuid
from pathlib import Path

import ng
from stage import SECONDS, Call

TREE = Path("target/peers/sid/usr").absolute()


async def play(peer, stage, paths, told, played):
    """Starts it, plays a call over each path, and ends it with all else."""
    calls = []
    for path, options in paths:
        impaired = [*options, "--path-outward-only", "--path-seed", "7"] if options else []
        calls.append(Call(f"opus-pcmu, {path}", pbx="pcmu", path=list(map(str, impaired)), through=peer.name))
    stage.calls += calls
    await peer.start(stage, calls)
    await played(calls, lambda call: two_phones(peer, stage, call), told)


async def two_phones(peer, stage, call):
    """A call through it, and what both ends heard."""
    number = stage.calls.index(call) + 1
    user, pbx, between = stage.place(number, 2), stage.place(number, 4), await peer.place(stage, number)
    answering = await stage.phone(call, "pbx", pbx, f"{between}:5060", "pcmu", 20, "answer", "--calls", "1")
    await stage.bound(pbx, 5060)
    called = ["call", "--to", peer.called(number), "--from", "200", "--seconds", SECONDS]
    calling = await stage.phone(call, "meta", user, f"{between}:5060", "opus", 20, *called)
    return await stage.both(call, ("meta", calling, "opus"), ("pbx", answering, "pcmu"), strict=False)


class Asterisk:
    """With nothing set that has to do with sound, or with its adaptive jitter buffer on both channels."""

    def __init__(self, buffers):
        self.buffers = buffers
        self.name = "asterisk-buffered" if buffers else "asterisk"

    async def place(self, stage, _):
        """One for all calls."""
        return f"{stage.network}.0.{6 if self.buffers else 5}"

    def called(self, number):
        """The extension of a call."""
        return f"9{number}"

    async def start(self, stage, calls):
        """Its files, and the program."""
        here = await self.place(stage, 0)
        # A control socket's path may have 107 characters at most.
        self.folder = tempfile.TemporaryDirectory(prefix="wabridge-sound.")
        run = Path(self.folder.name)
        for folder in ("etc", "lib", "spool", "log"):
            (run / folder).mkdir()
        own = Path("tests/asterisk")
        text = (own / "asterisk.conf").read_text().replace("@RUN@", str(run)).replace("@TREE@", str(TREE))
        (run / "etc/asterisk.conf").write_text(text)
        modules = (own / "modules.conf").read_text()
        (run / "etc/modules.conf").write_text(modules + "load=func_jitterbuffer.so\nload=app_stack.so\n")
        for name in ("rtp.conf", "logger.conf"):
            (run / "etc" / name).write_text((own / name).read_text())
        buffer = "Set(JITTERBUFFER(adaptive)=default)" if self.buffers else "NoOp()"
        (run / "etc/extensions.conf").write_text(
            f"[calls]\nexten => _9.,1,{buffer}\n same => n,Dial(PJSIP/pbx-${{EXTEN:1}},,b(called^s^1))\n"
            f"[called]\nexten => s,1,{buffer}\n same => n,Return()\n"
        )
        (run / "etc/pjsip.conf").write_text(self.pjsip(stage, calls, here))
        await stage.start(self.name, "tests/peers/asterisk", "-C", run / "etc/asterisk.conf", "-f")
        await stage.bound(here, 5060)
        await asyncio.sleep(2)  # its modules

    def pjsip(self, stage, calls, here):
        """A trunk to each telephone."""
        text = f"[udp]\ntype=transport\nprotocol=udp\nbind={here}:5060\n"
        for call in calls:
            number = stage.calls.index(call) + 1
            for name, host, codec in (("user", 2, "opus"), ("pbx", 4, "ulaw")):
                address = stage.place(number, host)
                text += (
                    f"\n[{name}-{number}]\ntype=endpoint\ncontext=calls\ndisallow=all\nallow={codec}\ndirect_media=no\n"
                    f"aors={name}-{number}\nmedia_address={here}\nbind_rtp_to_media_address=yes\n"
                    f"\n[{name}-{number}]\ntype=aor\ncontact=sip:100@{address}:5060\nqualify_frequency=0\n"
                    f"\n[{name}-{number}]\ntype=identify\nendpoint={name}-{number}\nmatch={address}\n"
                )
        return text


class Rtpengine:
    """As it is, between two telephones whose SIP a proxy of a screen passes on, one for each call."""

    name = "rtpengine"

    def called(self, number):
        """Whoever is called there."""
        return str(number)

    async def start(self, stage, _):
        """The program."""
        self.here = f"{stage.network}.0.7"
        await stage.start(
            "rtpengine", "tests/peers/rtpengine", "--foreground", "--log-stderr", "--log-level=5", "--table=-1",
            "--num-threads=2", "--config-file=none", f"--interface={self.here}", f"--listen-ng={self.here}:{ng.PORT}",
            "--port-min=33000", "--port-max=33999",
        )  # fmt: skip
        await stage.bound(self.here, ng.PORT)

    async def place(self, stage, number):
        """A proxy of its own for each call."""
        loop = asyncio.get_running_loop()
        here = stage.place(number, 3)
        proxy = Proxy(self, here, stage.place(number, 2), stage.place(number, 4))
        await loop.create_datagram_endpoint(lambda: proxy, local_addr=(here, 5060))
        return here

    async def ask(self, command, **words):
        """One command; the reply."""
        return await ng.ask(self.here, command, **words)


class Proxy(asyncio.DatagramProtocol):
    """Passes on what each of two telephones sends the other, with rtpengine's SDP in place of theirs."""

    def __init__(self, engine, here, user, pbx):
        self.engine, self.here, self.user, self.pbx = engine, here, user, pbx
        self.names = {"call_id": uuid.uuid4().hex, "from_tag": "user"}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        asyncio.get_running_loop().create_task(self.passes_on(data.decode(), address[0]))

    async def passes_on(self, message, sender):
        """One message."""
        head, body = message.split("\r\n\r\n", 1)
        if body:
            body = await self.replaced(body, sender)
        lines = [line for line in head.split("\r\n") if not line.lower().startswith("content-length:")]
        if lines[0].startswith("SIP/2.0 "):
            ours = next(n for n, line in enumerate(lines) if line.lower().startswith("via:"))
            del lines[ours]
        else:
            # One branch for an INVITE and what belongs to it, by the sender's own.
            branch = re.search(r"branch=z9hG4bK([^;\r\n]+)", head)[1]
            lines.insert(1, f"Via: SIP/2.0/UDP {self.here}:5060;branch=z9hG4bKproxy{branch}")
        lines.append(f"Content-Length: {len(body)}")
        to = self.pbx if sender == self.user else self.user
        self.transport.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), (to, 5060))

    async def replaced(self, sdp, sender):
        """The user offers, the PBX answers."""
        if sender == self.user:
            codec = {"mask": ["opus"], "transcode": ["PCMU"]}
            said = await self.engine.ask("offer", sdp=sdp, codec=codec, rtcp_mux=["demux"], **self.names)
        else:
            said = await self.engine.ask("answer", sdp=sdp, to_tag="pbx", **self.names)
        return said["sdp"]


ALL = [Asterisk(buffers=False), Asterisk(buffers=True), Rtpengine()]
