"""Calls between a simulated PBX and a far end of foreign make, in both directions. In each both sides say a tone, and
must hear the other's: the PBX that of the far end's, by our decoder, and the far end that of the PBX, by its own.

Usage: main.py [WORD…], from the repository's root. The last line is `interop: N passed, N failed`.
"""

import asyncio
import sys

import programs
from by_aiortc import Aiortc
from by_chromium import Chromium
from by_openssl import OpenSsl
from by_rtpengine import DTLS, SDES, Rtpengine
from meta import TALK, USER, Meta
from stage import BUSINESS, Stage


async def user_calls(stage, meta, keying, far):
    """A WhatsApp user calls the business."""
    async with stage.telephones("answer", "--calls", "1"):
        await meta.calls_business(BUSINESS[keying], far)


async def user_is_called(stage, meta, keying, far):
    """The business calls a WhatsApp user."""
    async with stage.telephones("call", "--from", BUSINESS[keying], "--to", USER, "--seconds", str(TALK)):
        await meta.is_called(far)


def far_ends(stage):
    """Name, keying, the program that must run, and what it needs to know for a call."""
    rtpengine, openssl = Rtpengine(stage), OpenSsl(stage)
    yield "rtpengine-sdes", "sdes", rtpengine, [SDES]
    yield "rtpengine-dtls-passive", "dtls", rtpengine, [DTLS, "passive"]
    yield "rtpengine-dtls-active", "dtls", rtpengine, [DTLS, "active"]
    yield "openssl-rsa-passive", "dtls", openssl, ["passive"]
    yield "openssl-rsa-active", "dtls", openssl, ["active"]
    yield "aiortc", "dtls", Aiortc(stage), []
    yield "chromium", "dtls", Chromium(stage), []


class Result:
    """The calls so far, each a line."""

    def __init__(self):
        self.passed = self.failed = 0

    def ok(self, name):
        """This one is as it must be."""
        self.passed += 1
        print(f"ok      {name}", flush=True)

    def not_ok(self, name, why):
        """This one is not."""
        self.failed += 1
        print(f"FAILED  {name}: {why!r}", flush=True)


async def play(stage, meta, direction, keying, far):
    """One call, which must leave nothing behind."""
    try:
        await direction(stage, meta, keying, far)
        await far.check()
    finally:
        await far.close()
    await stage.quiet()


async def main():
    """All calls whose names have one of the words."""
    stage, result, starting = Stage(), Result(), {}
    meta = Meta(stage)
    wanted = sys.argv[1:] or [""]
    try:
        await stage.open()
        await meta.start()
        for name, keying, program, known in far_ends(stage):
            for direction in (user_calls, user_is_called):
                stage.case = f"{direction.__name__.replace('_', '-')}-{name}"
                if not any(word in stage.case for word in wanted):
                    continue
                try:
                    # One that does not start fails each call that needs it.
                    if program not in starting:
                        starting[program] = asyncio.create_task(program.start())
                    await starting[program]
                    await play(stage, meta, direction, keying, program.far(*known))
                    result.ok(stage.case)
                except Exception as error:
                    result.not_ok(stage.case, error)
        meta.stop()
        await programs.end(stage.daemon)
        assert stage.daemon.returncode == 0, f"the daemon ends with {stage.daemon.returncode} on SIGTERM"
    except Exception as error:
        result.not_ok("the daemon", error)
    finally:
        await stage.close()
    print(f"interop: {result.passed} passed, {result.failed} failed")
    sys.exit(result.failed > 0 or result.passed == 0)


asyncio.run(main())
