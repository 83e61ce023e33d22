"""rtpengine's ng protocol: how it is asked for something."""

import asyncio
import json
import uuid

PORT = 2223


async def ask(address, command, **words):
    """One command to the rtpengine at this address, in JSON; the reply."""
    loop = asyncio.get_running_loop()
    reply = loop.create_future()

    class Asked(asyncio.DatagramProtocol):
        def datagram_received(self, data, _):
            if not reply.done():
                reply.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Asked, remote_addr=(address, PORT))
    named = {name.replace("_", "-"): value for name, value in words.items()}
    transport.sendto(uuid.uuid4().hex.encode() + b" " + json.dumps({"command": command, **named}).encode())
    try:
        said = json.loads((await asyncio.wait_for(reply, 5)).split(b" ", 1)[1])
    finally:
        transport.close()
    assert said["result"] == "ok", f"rtpengine refuses {command}: {said}"
    return said
