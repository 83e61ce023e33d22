"""Tones: how one is made, and how one is found in what is heard. A tone that arrives proves every packet on its way."""

import math
from array import array

RATE = 48_000
FRAME = 960  # samples of 20 ms

# What each end of a call says, as `wabridge sim` has it (src/sim/tone.rs).
USER_HZ = 580
PBX_HZ = 1020


def tone(hz):
    """One second of it, in frames of 20 ms, to be said over and over: both tones fit a second without a seam."""
    samples = [round(10_000 * math.sin(math.tau * hz * n / RATE)) for n in range(RATE)]
    return [array("h", samples[start : start + FRAME]).tobytes() for start in range(0, RATE, FRAME)]


class Ear:
    """Listens for one tone, 20 ms by 20 ms."""

    def __init__(self, hz):
        self.twice_cos = 2 * math.cos(math.tau * hz / RATE)
        self.frames = []

    def hear(self, samples):
        """Takes mono sound, whole frames of it."""
        for start in range(0, len(samples), FRAME):
            self.frames.append(self.is_tone(samples[start : start + FRAME]))

    def is_tone(self, samples):
        """Most of the energy is at the tone, and it is loud enough to be heard."""
        energy = sum(sample * sample for sample in samples)
        last = before = 0.0
        for sample in samples:  # Goertzel's algorithm
            last, before = sample + self.twice_cos * last - before, last
        at_tone = last * last + before * before - self.twice_cos * last * before
        return energy > 300**2 * len(samples) and at_tone * 2 / (len(samples) * energy) > 0.6

    def check(self):
        """The tone was there without a gap, and for no short time. What was before and after it does not count."""
        first = self.frames.index(True) if True in self.frames else len(self.frames)
        said = self.frames[first : len(self.frames) - [*reversed(self.frames), True].index(True)]
        summary = f"{len(self.frames)} frames heard, and the tone in {sum(said)} of {len(said)}"
        assert len(said) >= 75 and sum(said) >= 0.95 * len(said), summary
