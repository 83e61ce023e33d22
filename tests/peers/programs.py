"""Programs that a test has started."""

import asyncio
import contextlib
import signal


async def end(process):
    """SIGTERM, ten seconds of grace, SIGKILL; by its pid."""
    for how, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, None)):
        with contextlib.suppress(asyncio.TimeoutError, ProcessLookupError):
            process.send_signal(how)
            await asyncio.wait_for(process.wait(), seconds)
