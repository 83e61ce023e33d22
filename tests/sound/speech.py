"""What is said: four sentences of a man and a woman, spoken by espeak-ng."""

import io
import subprocess
import wave

import numpy as np
from scipy.signal import resample_poly

# A voice, and what it says: of the lists that telephone lines have been tested with since 1969 (IEEE, "Harvard").
SENTENCES = [
    ("en-us+m3", "The birch canoe slid on the smooth planks."),
    ("en-us+f2", "Glue the sheet to the dark blue background."),
    ("en-us+m3", "It's easy to tell the depth of a well."),
    ("en-us+f2", "These days a chicken leg is a rare dish."),
]
SECONDS = 12
# Of the speech itself, without its pauses, below the loudest sine: what P.862 is made for (ITU-T P.830 §8).
LEVEL_DB = -26


def read(file):
    """Rate and samples of a mono file."""
    with wave.open(file) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        return sound.getframerate(), samples.astype(float)


def write(path, rate, samples):
    """A mono file of 16 bits."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes())


def spoken():
    """All sentences with pauses between, at 16 kHz."""
    parts = [np.zeros(8_000)]
    for voice, sentence in SENTENCES:
        said = subprocess.run(
            ["espeak-ng", "-v", voice, "-s", "165", "--stdout", sentence], check=True, capture_output=True
        ).stdout
        rate, samples = read(io.BytesIO(whole(said)))
        parts += [resample_poly(samples, 16_000, rate), np.zeros(4_800)]
    sound = np.concatenate(parts)
    assert len(sound) <= SECONDS * 16_000, f"the sentences take {len(sound) / 16_000:.1f} s"
    sound = np.pad(sound, (0, SECONDS * 16_000 - len(sound)))
    loud = sound[np.abs(sound) > 0.01 * np.abs(sound).max()]
    return sound * 32_768 * 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(loud**2))


def whole(file):
    """espeak-ng cannot know the length when it writes to a pipe, and Python's reader trusts it."""
    size = len(file) - 44
    return file[:4] + (size + 36).to_bytes(4, "little") + file[8:40] + size.to_bytes(4, "little") + file[44:]


def make(folder):
    """Writes it at both rates; by rate: the file and its samples."""
    sound = {16_000: spoken()}
    sound[8_000] = resample_poly(sound[16_000], 1, 2)
    made = {}
    for rate, samples in sound.items():
        path = folder / f"speech-{rate}.wav"
        write(path, rate, samples)
        with open(path, "rb") as file:
            made[rate] = (path, read(file)[1])
    return made
