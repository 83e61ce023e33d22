"""The lite side of ICE (RFC 8445 §2.5), as Meta's relay is one: answers checks, takes the pair that is nominated, and
sorts what comes by it (RFC 7983)."""

import asyncio
import secrets

from aioice import stun


class IceLite(asyncio.DatagramProtocol):
    """One socket. `dtls` and `srtp` get the datagrams of the nominated pair; `nominated` is told that there is one."""

    def __init__(self, dtls, srtp, nominated):
        self.dtls, self.srtp, self.nominated = dtls, srtp, nominated
        self.ufrag = secrets.token_hex(8)
        # Like Meta's: 24 characters that end in ==, though RFC 8839 knows no = in a password.
        self.password = secrets.token_hex(11) + "=="
        self.transport = self.peer = None
        self.mistakes = set()

    async def open(self, address):
        """Binds it to a port, which is then all there is to say in a candidate."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, 0))
        self.port = self.transport.get_extra_info("sockname")[1]

    def send(self, datagram):
        """To the nominated address; before that there is nobody to send to."""
        if self.peer:
            self.transport.sendto(datagram, self.peer)

    def datagram_received(self, data, source):
        if data[0] < 4:
            self.checked(data, source)
        elif source != self.peer:
            self.mistakes.add(f"a datagram that begins with {data[0]}, but not on a pair that was nominated")
        elif 20 <= data[0] <= 63:
            self.dtls(data)
        else:
            self.srtp(data)

    def checked(self, data, source):
        """A connectivity check, or one for consent (RFC 7675)."""
        try:
            request = stun.parse_message(data)
        except ValueError as error:
            self.mistakes.add(f"a check that cannot be read: {error}")
            return
        if not request.check_message_integrity(self.password.encode()):
            self.mistakes.add("a check with another password")
            return
        needed = {"USERNAME", "PRIORITY", "ICE-CONTROLLING", "FINGERPRINT"}
        if not needed <= set(request.attributes) or not request.attributes["USERNAME"].startswith(f"{self.ufrag}:"):
            self.mistakes.add(f"a check with {request.attributes}")
            return
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = source
        response.add_message_integrity(self.password.encode())
        response.add_fingerprint()
        self.transport.sendto(bytes(response), source)
        if "USE-CANDIDATE" in request.attributes and source != self.peer:
            if self.peer:
                self.mistakes.add("a second pair was nominated")
            self.peer = source
            self.nominated()
