"""Calls with real speech, one line for each thing that is asked of them; `sound: N passed, N failed` in the end. run has how
it is started."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import measure
import reference
import speech
from stage import TOGETHER, Call, Stage, emptied

PAIRS = [("opus", "pcmu"), ("opus", "pcma"), ("opus", "g722"), ("opus", "opus"), ("pcma", "pcma")]
CLEAN = ("a clear path", [])
LOSSES = [
    *((f"{share} % lost", ["--path-loss", share]) for share in (1, 5, 10)),
    *((f"{share} % lost in bursts", ["--path-loss", share, "--path-burst", 3]) for share in (1, 5, 10)),
]
# Opus that is made for 15 % of loss has a second copy of each packet in the next, in a narrower band for the same bits.
FECS = [
    (f"{share} % lost, the user's Opus with FEC", ["--path-loss", share, "--expected-loss", 15]) for share in (5, 10)
]
JITTERS = [
    *((f"{most} ms of jitter", ["--path-jitter", most]) for most in (20, 40, 80)),
    ("40 ms of jitter and reordering", ["--path-jitter", 40, "--path-reorder"]),
]
DRIFTS = [(f"a clock {how}", ["--clock-drift", ppm]) for how, ppm in (("200 ppm fast", 200), ("200 ppm slow", -200))]
PATHS = [CLEAN, *LOSSES, *FECS, *JITTERS, *DRIFTS]

# How much worse than the codecs alone it may sound (MOS-LQO), and how late it may be (ms): figures of docs/sound.md, with a
# margin for a busy machine.
WORSE = {"a clear path": 0.5, "5 % lost": 1.6, "5 % lost in bursts": 1.8, "40 ms of jitter": 0.6}
LATE = {"a clear path": 80, "5 % lost": 120, "5 % lost in bursts": 120, "40 ms of jitter": 180}
LOUDER_DB = 1.0


class Verdict:
    """Counts what held."""

    def __init__(self):
        self.passed = self.failed = 0

    def says(self, name, faults):
        """One line."""
        if faults:
            self.failed += 1
            print(f"FAILED  {name}: {'; '.join(faults)}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name}", flush=True)


def call(meta, pbx, path, **more):
    """A call of these codecs over this path."""
    name, options = path
    impaired = [*options, "--path-outward-only", "--path-seed", "7"] if options else []
    return Call(f"{meta}-{pbx}, {name}", meta, pbx, additional=meta != "opus", path=list(map(str, impaired)), **more)


def quick():
    """What must hold at every change."""
    paths = dict(PATHS)
    some = [("pcmu", "5 % lost"), ("pcma", "5 % lost in bursts"), ("g722", "40 ms of jitter"), ("pcmu", "40 ms of jitter")]
    calls = [call(meta, pbx, CLEAN) for meta, pbx in PAIRS]
    calls += [call("opus", pbx, (name, paths[name])) for pbx, name in some]
    return calls + [call("opus", "pcma", ("a clear path, 30 ms packets", []), ptime=30)]


def full():
    """Each pair over each path, and other packet lengths."""
    calls = [call(meta, pbx, path) for meta, pbx in PAIRS for path in PATHS]
    ptimes = [call("opus", "pcmu", (f"a clear path, {ms} ms packets", []), ptime=ms) for ms in (10, 30, 40, 60)]
    return calls + ptimes


class Judge:
    """Measures, and compares with what the codecs alone leave."""

    def __init__(self, sounds):
        self.sounds = sounds
        self.references = {}

    def rate(self, *codecs):
        """The rate of the narrower of two codecs."""
        return min(reference.RATES[codec] for codec in codecs)

    def best(self, *codecs):
        """What the codecs alone leave of what is said, in this order."""
        codecs = codecs[:1] if codecs[0] == codecs[1] else codecs
        if codecs not in self.references:
            first = reference.RATES[codecs[0]]
            rate, sound = reference.through(codecs, first, self.sounds[first][1])
            self.references[codecs] = self.measured(codecs, rate, sound, 0.0)
        return self.references[codecs]

    def measured(self, codecs, rate, sound, ahead):
        """One direction."""
        common = self.rate(*codecs)
        return measure.heard(common, self.sounds[common][1], rate, sound, ahead)


def faults(call, path, result, best):
    """What is not as it must be."""
    found = []
    untouched = call.meta == call.pbx
    worse, late = WORSE.get(path, 0.5), LATE.get(path, 90)
    if result.mos < best.mos - worse:
        found.append(f"MOS {result.mos:.2f}, where the codecs alone have {best.mos:.2f}")
    if result.delay_ms > (25 if untouched else late):
        found.append(f"{result.delay_ms:.0f} ms late")
    if abs(result.level_db - best.level_db) > LOUDER_DB:
        found.append(f"{result.level_db:+.1f} dB, where the codecs alone have {best.level_db:+.1f}")
    if call.meta == call.pbx == "pcma" and abs(result.snr_db - best.snr_db) > 0.1:
        found.append(f"not the same samples: {result.snr_db:.1f} dB of {best.snr_db:.1f}")
    return found


async def play(calls, played, told):
    """Plays all calls, some at once; `told` gets each with what its ends heard, or why they did not."""
    gate = asyncio.Semaphore(TOGETHER)

    async def one(call):
        async with gate:
            try:
                return await played(call)
            except (AssertionError, asyncio.TimeoutError, ValueError) as why:
                return str(why) or type(why).__name__

    playing = [asyncio.create_task(one(call)) for call in calls]
    for call, task in zip(calls, playing):
        told(call, await task)


def load():
    """How busy the machine was in the last five minutes."""
    return Path("/proc/loadavg").read_text().split()[1]


def machine(before):
    """On what the figures were measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], check=True, capture_output=True, text=True).stdout
    return (
        f"{os.cpu_count()} × {model}, Linux {kernel}, {TOGETHER} calls at once, commit {commit.strip()}, "
        f"{time.strftime('%Y-%m-%d')}; load average over five minutes {before} before and {load()} after."
    )


async def run(words):
    """All of it."""
    is_full = "--full" in words
    words = [word for word in words if word != "--full"]
    out = emptied(Path("target/tests/sound"))
    sounds = speech.make(out)
    calls = [call for call in (full() if is_full else quick()) if not words or any(word in call.name for word in words)]
    calls = calls or quick()[3:4]
    judge, verdict, rows, before = Judge(sounds), Verdict(), [], load()

    def told(call, heard):
        if isinstance(heard, str):
            return verdict.says(call.name, [heard])
        path = call.name.split(", ", 1)[1]
        for codecs, end in zip(((call.pbx, call.meta), (call.meta, call.pbx)), heard):
            result = judge.measured(codecs, end.rate, end.sound, end.ahead)
            best = judge.best(*codecs)
            who = "" if call.through == "wabridge" else f"{call.through}: "
            name = f"{who}{codecs[0]} → {codecs[1]} ({'the user hears' if end is heard[0] else 'the PBX hears'}), {path}"
            result.delay_ms += end.late_ms
            told = f"{name}: MOS {result.mos:.2f} of {best.mos:.2f}, {result.delay_ms:.0f} ms, {result.level_db:+.1f} dB"
            verdict.says(told, [] if is_full else faults(call, path, result, best))
            rows.append({
                "codecs": codecs, "path": path, "to": "user" if end is heard[0] else "pbx", "through": call.through,
                **asdict(result), "late_ms": end.late_ms, "best": best.mos,
            })  # fmt: skip

    stage = Stage(calls, sounds)
    try:
        await stage.open()
        await play(calls, stage.played, told)
        if is_full and (not words or "others" in words):
            import others

            for peer in others.ALL:
                await others.play(peer, stage, PATHS, told, play)
    finally:
        await stage.close()
    (out / "results.json").write_text(json.dumps(rows, indent=1))
    if is_full and not words:
        import report

        report.write(rows, machine(before))
    print(f"sound: {verdict.passed} passed, {verdict.failed} failed")
    return 0 if verdict.passed and not verdict.failed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))
