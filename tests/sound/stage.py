"""The machines of a run, on loopback addresses of their own: the daemon, and for each call a simulated Meta and PBX."""

import asyncio
import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import programs
import speech

# Every call is up for so long after its answer: what is said is said once from its beginning to its end.
SECONDS = speech.SECONDS + 3
# Calls at once, and before all that is not of this test (where root runs it), so that nobody waits for a processor: what is
# measured is programs, not the machine.
TOGETHER = 5
FIRST = ["nice", "-n", "-19"]


@dataclass
class Call:
    """One call, and what it is made of."""

    name: str
    meta: str = "opus"  # what Meta's end of it must speak
    pbx: str = "opus"
    additional: bool = False  # whether the number has G.711 beside Opus at Meta
    path: list = field(default_factory=list)  # options of the path from either far end to the bridge
    ptime: int = 20  # of the PBX
    through: str = "wabridge"


@dataclass
class Heard:
    """What one end heard of the other."""

    rate: int
    sound: object
    ahead: float  # seconds from when it was begun to be said to the first sample
    late_ms: float  # how long a phone must wait for all packets but one in a hundred


class Stage:
    """Everything of one run; `close` ends each program that was started here."""

    def __init__(self, calls, sounds):
        # Addresses of its own: beside another run of these tests neither is disturbed.
        self.network = f"127.{random.randint(16, 254)}"
        self.bridge = f"{self.network}.0.1"
        self.program = os.environ.get("WABRIDGE", "target/release/wabridge")
        self.out = Path("target/tests/sound")
        self.certs = self.out / "certs"
        self.calls = calls
        self.sounds = sounds
        self.running = []

    async def open(self):
        """Makes the files and starts the daemon."""
        subprocess.run(["certs/make", self.certs, "bridge.example.com"], check=True, stdout=subprocess.DEVNULL)
        (self.out / "password").write_text("meta-generated-secret\n")
        (self.out / "password").chmod(0o600)
        text = Path("tests/sound/bridge.toml").read_text().replace("@network@", self.network)
        for number, call in enumerate(self.calls, 1):
            text += self.section(number, call)
        (self.out / "bridge.toml").write_text(text)
        await self.start("daemon", self.program, "run", "-c", self.out / "bridge.toml")
        await self.bound(self.bridge, 5070)

    def section(self, number, call):
        """Each call has a number and a PBX of its own."""
        additional = f'additional_codecs = ["{call.meta}"]\n' if call.additional else ""
        return (
            f'\n[[number]]\nnumber = "+1214555{number:04}"\npassword_file = "password"\nkeying = "sdes"\n'
            f'pbx = "pbx-{number}"\n{additional}'
            f'\n[[pbx]]\nname = "pbx-{number}"\naddress = "{self.place(number, 4)}:5060"\noptions_interval = 0\n'
            f'codecs = ["{call.pbx}", "telephone-event"]\nptime = {call.ptime}\n'
        )

    def place(self, number, host):
        """An address of a call: 2 is Meta, 4 the PBX."""
        return f"{self.network}.{number}.{host}"

    async def close(self):
        """Ends what still runs, by its pid."""
        for process in reversed(self.running):
            await programs.end(process)

    async def start(self, name, *command, **streams):
        """Starts a program; what it says is in a log of this name unless a stream is asked for."""
        with open(self.out / f"{name}.log", "ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **streams}
            process = await asyncio.create_subprocess_exec(*FIRST, *map(str, command), **streams)
        self.running.append(process)
        return process

    async def played(self, call):
        """Plays a call; what Meta's user heard and what the PBX heard."""
        number = self.calls.index(call) + 1
        bridge, pbx = f"{self.bridge}:5070", self.place(number, 4)
        answering = await self.phone(call, "pbx", pbx, bridge, call.pbx, call.ptime, "answer", "--calls", "1")
        await self.bound(pbx, 5060)
        more = ["--additional-codecs", call.meta] if call.additional else []
        calling = await self.sim(
            call, "meta", "sim", "meta", "--listen", f"{self.place(number, 2)}:5061", "--bridge", f"{self.bridge}:5061",
            "--ca", self.certs / "ca.pem", "--cert", self.certs / "meta.pem", "--key", self.certs / "meta.key",
            "--password-file", self.out / "password", "--keying", "sdes", *more, *call.path,
            "call", "--to", f"+1214555{number:04}", "--seconds", SECONDS, *self.talk(call, "meta", call.meta),
        )  # fmt: skip
        return await self.both(call, ("meta", calling, call.meta), ("pbx", answering, call.pbx))

    async def phone(self, call, end, address, bridge, codec, ptime, *action):
        """A telephone behind whatever is between."""
        where = ["--listen", f"{address}:5060", "--bridge", bridge, "--codecs", codec, "--ptime", ptime, *call.path]
        return await self.sim(call, end, "sim", "pbx", *where, *action, *self.talk(call, end, codec))

    def talk(self, call, end, codec):
        """What is said and kept, whoever calls."""
        file, _ = self.sounds[8_000 if codec.startswith("pcm") else 16_000]
        return ["--json", "--says", file, "--hears", "sound", "--records", self.file(call, end)]

    def file(self, call, end):
        """Where an end's recording is kept."""
        return self.out / f"{call.name.replace(' ', '-')}.{call.through}.{end}.wav"

    async def sim(self, call, end, *options):
        """One far end."""
        name = f"{call.name.replace(' ', '-')}.{call.through}.{end}"
        return await self.start(name, self.program, *options, stdout=subprocess.PIPE)

    async def both(self, call, *ends, strict=True):
        """Waits for two ends, of which the first hangs up; what each heard of the other. `strict`: nobody may complain."""
        reports = []
        for end, process, codec in ends:
            said, _ = await asyncio.wait_for(process.communicate(), SECONDS + 30)
            told = json.loads(said or b'{"calls": []}')
            report = told["calls"][0] if told["calls"] else {"complaints": ["no call"]}
            complaints = report["complaints"] + told.get("strays", [])
            assert not (strict and complaints), f"{end} complains: {complaints[0]}"
            spoken = str(report["codec"]).split("/")[0].lower()
            assert spoken == codec, f"{end} speaks {spoken}, not {codec}"
            assert report["recorded"], f"{end} heard nothing"
            reports.append(report)
        heard = []
        for (end, _, _), report, other in zip(ends, reports, reversed(reports)):
            rate, sound = speech.read(str(self.file(call, end)))
            recorded = report["recorded"]
            heard.append(Heard(rate, sound, recorded["from"] - other["said_from"], recorded["late_ms"]))
        return heard

    async def bound(self, address, port):
        """Until somebody has this UDP port."""
        here = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + f":{port:04X}"
        for _ in range(200):
            if here in Path("/proc/net/udp").read_text():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"nobody has {address}:{port}")


def emptied(folder):
    """Made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
