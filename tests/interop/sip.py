"""SIP messages on a TLS connection, as much of them as a far end needs."""


class Message:
    """A request or a response."""

    def __init__(self, start, headers, body=""):
        self.start, self.headers, self.body = start, headers, body

    @classmethod
    async def read(cls, reader):
        """The next one; keep-alives (RFC 5626 §4.4.1) are passed over."""
        head = ""
        while not head:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().strip("\r\n")
        start, *lines = head.split("\r\n")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        message = cls(start, headers)
        message.body = (await reader.readexactly(int(message["Content-Length"]))).decode()
        return message

    def all(self, name):
        """The values of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name):
        return self.all(name)[0]

    @property
    def status(self):
        """Of a response; None for a request."""
        first, second, *_ = self.start.split(" ")
        return int(second) if first == "SIP/2.0" else None

    @property
    def method(self):
        """Of a request, or of what is responded to."""
        return self["CSeq"].split(" ")[1]

    def answered(self, status, tag, headers=(), body=""):
        """The response to this request."""
        mirrored = ("Via", "Record-Route", "From", "Call-ID", "CSeq")
        kept = [(name, value) for name, value in self.headers if name in mirrored]
        to = self["To"]
        if ";tag=" not in to:
            to += f";tag={tag}"
        return Message(f"SIP/2.0 {status}", [*kept, ("To", to), *headers], body)

    def __bytes__(self):
        headers = [(name, value) for name, value in self.headers if not name.startswith("Content-")]
        if self.body:
            headers.append(("Content-Type", "application/sdp"))
        headers.append(("Content-Length", len(self.body.encode())))
        lines = [self.start, *(f"{name}: {value}" for name, value in headers), "", self.body]
        return "\r\n".join(lines).encode()
