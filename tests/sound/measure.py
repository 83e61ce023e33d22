"""What came out, held against what went in: delay, level, noise, and how it sounds (PESQ, ITU-T P.862)."""

from dataclasses import dataclass

import numpy as np
from pesq import pesq
from scipy.signal import butter, correlate, resample_poly, sosfiltfilt

# What a telephone line carries, in Hz.
BAND = (300, 3_400)
# How far from the beginning of a call what is said may be found in it, in seconds.
LATEST = 2.0


@dataclass
class Measured:
    """One direction of one call."""

    delay_ms: float  # from the mouth of one end to the ear of the other, packets and codecs included; median of all seconds
    delays_ms: tuple  # the least and the most of all seconds
    level_db: float  # louder than it was said
    snr_db: float  # in the band of a telephone line; of use where nothing was stretched or modelled
    mos: float  # MOS-LQO: P.862.1 narrowband, P.862.2 wideband


def heard(rate, said, heard_rate, sound, ahead):
    """`said`, at `rate`, against a recording that began `ahead` seconds after it was begun to be said."""
    sound = resample_poly(sound, rate, heard_rate) if heard_rate != rate else sound
    place = found(said, sound, range(-int(LATEST * rate), int((LATEST + 1) * rate)))
    sound = part(sound, place, len(said))
    delays = [(ahead + place / rate) * 1000 + 1000 * lag / rate for lag in lags(said, sound, rate)]
    narrow = [sosfiltfilt(butter(6, BAND, "bandpass", fs=rate, output="sos"), one) for one in (said, sound)]
    loud = loudness(said, rate) > 0.01
    level = 20 * np.log10(max(rms(narrow[1][loud]), 1e-9) / rms(narrow[0][loud]))
    gain = np.dot(narrow[1], narrow[0]) / np.dot(narrow[0], narrow[0])
    noise = rms(narrow[1] - gain * narrow[0])
    return Measured(
        delay_ms=float(np.median(delays)),
        delays_ms=(min(delays), max(delays)),
        level_db=float(level),
        snr_db=float(20 * np.log10(max(abs(gain) * rms(narrow[0]), 1e-9) / max(noise, 1e-9))),
        mos=mos(rate, said, sound),
    )


def mos(rate, said, sound):
    """As the package `pesq` computes it. -1: it found no speech."""
    if rms(sound) < 1:
        return 1.0
    clipped = [np.clip(one, -32768, 32767).astype(np.int16) for one in (said, sound)]
    return float(pesq(rate, *clipped, "nb" if rate == 8_000 else "wb"))


def found(said, sound, places):
    """Where in `sound` what was said begins."""
    likeness = correlate(sound, said, "full", "fft")
    zero = len(said) - 1
    first, last = max(places.start + zero, 0), min(places.stop + zero, len(likeness))
    return int(np.argmax(likeness[first:last])) + first - zero


def lags(said, sound, rate):
    """By how much each second of speech is later than the whole, in samples."""
    reach = rate // 10
    for start in range(0, len(said) - rate, rate):
        here = said[start : start + rate]
        if rms(here) < 100:
            continue
        there = part(sound, start - reach, rate + 2 * reach)
        if rms(there) > 50:
            yield int(np.argmax(correlate(there, here, "valid"))) - reach


def part(sound, start, length):
    """Some of a recording, with silence where it has nothing."""
    before = max(-start, 0)
    there = sound[max(start, 0) : max(start + length, 0)]
    return np.pad(there, (before, length - before - len(there)))


def loudness(sound, rate):
    """Of each sample's surroundings, as a share of the loudest."""
    width = rate // 50
    power = np.convolve(sound**2, np.ones(width) / width, "same")
    return power / power.max()


def rms(sound):
    """Root mean square."""
    return float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
