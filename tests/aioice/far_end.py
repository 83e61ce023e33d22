"""aioice, the ICE of aiortc, as the far end of examples/ice.rs. It is a full agent, so it also asks.

Usage: far_end.py PROGRAM. The last line is `aioice: N passed, N failed`.
"""

import asyncio
import subprocess
import sys

import aioice
import aioice.ice


class Bridge:
    """The program, and what it says."""

    @classmethod
    async def start(cls, address):
        bridge = cls()
        bridge.process = await asyncio.create_subprocess_exec(
            sys.argv[1], address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return bridge

    async def says(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), 10)
        return line.decode().strip()

    async def hears(self, *lines):
        self.process.stdin.write("\n".join(lines).encode())
        self.process.stdin.close()

    async def stop(self):
        try:
            await asyncio.wait_for(self.process.wait(), 1)
        except asyncio.TimeoutError:
            self.process.kill()
            await self.process.wait()


async def pair(address, controlling=False, password=None):
    """Both ends, told of each other."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]
    bridge = await Bridge.start(address)
    peer = aioice.Connection(ice_controlling=controlling)
    await peer.gather_candidates()
    peer.remote_username = await bridge.says()
    peer.remote_password = await bridge.says()
    await peer.add_remote_candidate(aioice.Candidate.from_sdp(await bridge.says()))
    await peer.add_remote_candidate(None)
    candidates = [candidate.to_sdp() for candidate in peer.local_candidates]
    await bridge.hears(peer.local_username, password or peer.local_password, *candidates)
    return bridge, peer


async def connects(address, controlling=False):
    """Connected, controlled, agreed on the pair, and data goes both ways; then the peer leaves and is missed."""
    bridge, peer = await pair(address, controlling)
    try:
        await asyncio.wait_for(peer.connect(), 10)
        assert not peer.ice_controlling, "aioice must be controlled"
        host = f"[{address}]" if ":" in address else address
        said = await bridge.says()
        assert said == f"selected {host}:{peer.local_candidates[0].port}", said
        await peer.send(b"hello")
        assert await asyncio.wait_for(peer.recv(), 5) == b"hello"
        await asyncio.sleep(4)  # longer than consent lasts unless it is renewed
        await peer.send(b"still there")
        assert await asyncio.wait_for(peer.recv(), 5) == b"still there"
        await peer.close()
        said = await bridge.says()
        assert said == "lost", said
    finally:
        await peer.close()
        await bridge.stop()


async def over_ipv4():
    await connects("127.0.0.1")


async def over_ipv6():
    await connects("::1")


async def peer_that_wants_to_control_yields():
    await connects("127.0.0.1", controlling=True)


async def wrong_password_fails():
    bridge, peer = await pair("127.0.0.1", password="x" * 22)
    connecting = asyncio.create_task(peer.connect())
    try:
        said = await bridge.says()
        assert said.startswith("failed: ICE: "), said
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await peer.close()
        await bridge.stop()


async def main():
    cases = [over_ipv4, over_ipv6, peer_that_wants_to_control_yields, wrong_password_fails]
    failed = 0
    for case in cases:
        try:
            await asyncio.wait_for(case(), 40)
            print(f"ok      {case.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {case.__name__}: {error!r}")
    print(f"aioice: {len(cases) - failed} passed, {failed} failed")
    sys.exit(failed != 0)


asyncio.run(main())
