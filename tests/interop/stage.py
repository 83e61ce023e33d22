"""The machine that a call is played on: addresses, files, the daemon, the PBX, and whatever else runs."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import programs

BUSINESS = {"sdes": "+12145551001", "dtls": "+12145551002"}
PORTS = range(40_000, 41_000)


class Stage:
    """Everything of one run; `close` ends each program that was started here."""

    def __init__(self):
        # Addresses of its own: beside another run of these tests neither is disturbed.
        network = f"127.{random.randint(16, 254)}.{random.randint(1, 254)}"
        self.bridge, self.meta, self.relay, self.pbx = (f"{network}.{host}" for host in range(1, 5))
        self.program = os.environ.get("WABRIDGE", "target/release/wabridge")
        self.out = Path("target/tests/interop")
        self.certs = self.out / "certs"
        self.case = "start"
        self.running = []

    async def open(self):
        """Makes the files and starts the daemon."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        subprocess.run(["certs/make", self.certs, "bridge.example.com"], check=True, stdout=subprocess.DEVNULL)
        (self.out / "password").write_text("meta-generated-secret\n")
        (self.out / "password").chmod(0o600)
        text = Path("tests/interop/bridge.toml").read_text()
        for name in ("bridge", "meta", "pbx"):
            text = text.replace(f"@{name}@", getattr(self, name))
        (self.out / "bridge.toml").write_text(text)
        self.daemon = await self.start("daemon", self.program, "run", "-c", self.out / "bridge.toml")
        await self.bound(self.daemon, self.bridge, 5070)

    async def close(self):
        """Ends what still runs, by its pid."""
        for process in reversed(self.running):
            await programs.end(process)

    async def start(self, name, *command, **streams):
        """Starts a program; what it says is in a log of this name unless a stream is asked for."""
        with open(self.out / f"{name}.log", "ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **streams}
            process = await asyncio.create_subprocess_exec(*map(str, command), **streams)
        self.running.append(process)
        return process

    def trace(self, direction, message):
        """Notes a SIP message of Meta's in the log of the call."""
        with open(self.out / f"{self.case}.sip", "a") as log:
            print(direction, bytes(message).decode().replace("\r\n", f"\n{direction} "), file=log)

    @contextlib.asynccontextmanager
    async def telephones(self, *what):
        """A PBX with a voice. In the end its report must be good: status, the user's tone, no complaint."""
        command = [self.program, "sim", "pbx", "--listen", f"{self.pbx}:5060", "--bridge", f"{self.bridge}:5070", *what]
        pbx = await self.start(f"{self.case}.pbx", *command, "--json", stdout=subprocess.PIPE)
        try:
            await self.bound(pbx, self.pbx, 5060)
            yield
            said, _ = await asyncio.wait_for(pbx.communicate(), 20)
        except asyncio.TimeoutError:
            raise AssertionError("the PBX's call does not end") from None
        finally:
            await programs.end(pbx)
        (self.out / f"{self.case}.pbx.json").write_bytes(said)
        assert json.loads(said)["ok"], f"the PBX says {said.decode().strip()}"

    async def bound(self, process, address, port):
        """Until a program has this UDP port."""
        await self.until(lambda: port in udp_ports(address), process, f"nobody has {address}:{port}")

    async def quiet(self):
        """Until the daemon has no media port left."""
        await self.until(lambda: udp_ports(self.bridge).isdisjoint(PORTS), self.daemon, "media ports are left open")

    async def until(self, condition, process, why):
        """Waits ten seconds for it, while the program lives."""
        for _ in range(200):
            if condition():
                return
            assert process.returncode is None, f"a program has ended: {process.returncode}"
            await asyncio.sleep(0.05)
        raise AssertionError(why)


def udp_ports(address):
    """The UDP ports that are open on an IPv4 address."""
    here = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    places = [line.split()[1].split(":") for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return {int(port, 16) for host, port in places if host == here}
