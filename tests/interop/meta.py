"""Meta's signalling: a WhatsApp user calls, or is called. The media is left to a far end; whether the bridge keeps to
all that Meta wants of SIP, to `wabridge sim meta` and tests/sipp."""

import asyncio
import ssl
import uuid

from sip import Message

HOST = "bridge.example.com"
USER = "+12195550714"
TALK = 3  # seconds


class Call:
    """The messages of one call."""

    def __init__(self, call_id):
        self.id = call_id
        self.inbox = asyncio.Queue()

    async def gets(self, what):
        """The next request, which must be this one, or the final response to it."""
        while True:
            message, writer = await soon(self.inbox.get(), what)
            if message.status is None or message.status >= 200:
                break
        assert message.method == what, f"not {what} but {told(message)}"
        return message, writer

    async def stays_up(self, seconds):
        """Nothing is heard from the bridge meanwhile."""
        try:
            message, _ = await asyncio.wait_for(self.inbox.get(), seconds)
        except asyncio.TimeoutError:
            return
        raise AssertionError(f"mid-call the bridge said {told(message)}")


async def soon(message, what):
    """What must come."""
    try:
        return await asyncio.wait_for(message, 15)
    except asyncio.TimeoutError:
        raise AssertionError(f"the bridge sends no {what}") from None


def told(message):
    """A message with its reasons, for a failure."""
    return "; ".join([message.start, *message.all("Reason"), *message.all("Warning")])


class Meta:
    """Both ends of the connections to the bridge."""

    def __init__(self, stage):
        self.stage = stage
        self.calls = {}
        self.invited = asyncio.Queue()
        self.tasks = set()

    async def start(self):
        """Listens where the bridge looks for wa.meta.vc."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.stage.certs / "meta.pem", self.stage.certs / "meta.key")
        self.server = await asyncio.start_server(self.read, self.stage.meta, 5061, ssl=context)

    def stop(self):
        """Closes every connection."""
        self.server.close()
        for task in self.tasks:
            task.cancel()

    async def read(self, reader, writer):
        """Takes the messages of one connection to their calls. Every BYE is right; whose turn it is, the call knows."""
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                message = await Message.read(reader)
                self.stage.trace("<", message)
                call = self.calls.get(message["Call-ID"])
                if not call:
                    call = self.calls[message["Call-ID"]] = Call(message["Call-ID"])
                    self.invited.put_nowait(call)
                call.inbox.put_nowait((message, writer))
                if message.start.startswith("BYE "):
                    self.send(writer, message.answered("200 OK", "meta"))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the connection's end, by either side
        finally:
            writer.close()

    def send(self, writer, message):
        """Puts a message on a connection."""
        self.stage.trace(">", message)
        writer.write(bytes(message))

    async def calls_business(self, number, far):
        """A WhatsApp user calls, talks and hangs up."""
        call = Call(f"outgoing:wacid.{uuid.uuid4().hex}")
        self.calls[call.id] = call
        offer = await far.offer()
        context = ssl.create_default_context(cafile=self.stage.certs / "ca.pem")
        reader, writer = await asyncio.open_connection(
            self.stage.bridge, 5061, ssl=context, server_hostname=HOST, local_addr=(self.stage.meta, 0)
        )
        reading = asyncio.create_task(self.read(reader, writer))
        to, target = f"<sip:{number}@{HOST}>", f"sip:{number}@{HOST};transport=tls"

        def request(method, sequence, body=""):
            headers = [
                ("Via", f"SIP/2.0/TLS wa.meta.vc:5061;branch=z9hG4bK{uuid.uuid4().hex};alias"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:{USER}@wa.meta.vc>;tag=meta"),
                ("To", to),
                ("Contact", f"<sip:{USER}@wa.meta.vc;transport=tls;ob>;isfocus"),
                ("Call-ID", call.id),
                ("CSeq", f"{sequence} {method}"),
            ]
            return Message(f"{method} {target} SIP/2.0", headers, body)

        self.send(writer, request("INVITE", 1, offer))
        answer, _ = await call.gets("INVITE")
        assert answer.status == 200, told(answer)
        to, target = answer["To"], answer["Contact"].strip("<").split(">")[0]
        self.send(writer, request("ACK", 1))
        try:
            await far.accept(answer.body)
            await call.stays_up(TALK)
        finally:
            self.send(writer, request("BYE", 2))
        answer, _ = await call.gets("BYE")
        assert answer.status == 200, told(answer)
        reading.cancel()

    async def is_called(self, far):
        """A WhatsApp user is called, answers, talks and is hung up on."""
        call = await soon(self.invited.get(), "INVITE")
        invite, writer = await call.gets("INVITE")
        contact = ("Contact", f"<sip:{USER}@wa.meta.vc;transport=tls;ob>;isfocus")
        self.send(writer, invite.answered("100 Trying", "meta"))
        self.send(writer, invite.answered("180 Ringing", "meta", [contact]))
        try:
            answer = await far.answer(invite.body)
        except Exception:
            self.send(writer, invite.answered("488 Not Acceptable Here", "meta"))
            raise
        self.send(writer, invite.answered("200 OK", "meta", [contact], answer))
        await call.gets("ACK")
        bye, _ = await call.gets("BYE")
        # Whatever has gone wrong is said there, with another cause than normal clearing.
        assert all("cause=16" in reason for reason in bye.all("Reason")), told(bye)
