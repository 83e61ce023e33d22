"""The best that a pair of codecs allows: what was said, encoded and decoded offline by FFmpeg's codecs (PyAV), without a
network or a clock between."""

from fractions import Fraction

import av
import numpy as np
from scipy.signal import resample_poly

RATES = {"opus": 16_000, "g722": 16_000, "pcma": 8_000, "pcmu": 8_000}
NAMES = {"opus": "libopus", "g722": "g722", "pcma": "pcm_alaw", "pcmu": "pcm_mulaw"}
# As Meta asks for it, and as both the bridge and its far ends encode it.
OPUS = {"application": "voip", "frame_duration": "20", "packet_loss": "5", "fec": "1"}
# How hard libopus works: at a far end, and in the bridge unless it is told otherwise (media.opus_complexity).
FAR_END, BRIDGE = 9, 5


def through(codecs, rate, sound):
    """What is left of it after the far end's codec and, where there is another, the bridge's; and at which rate."""
    sound, complexity = coded(codecs[0], rate, sound, FAR_END), BRIDGE
    for codec in codecs[1:]:
        # Of two codecs the narrower one's rate is enough for both.
        wanted = min(rate, RATES[codec])
        sound = resample_poly(sound, wanted, rate) if rate != wanted else sound
        sound, rate = coded(codec, wanted, sound, complexity), wanted
    return rate, sound


def coded(codec, rate, sound, complexity):
    """Encoded and decoded once."""
    encoder = av.CodecContext.create(NAMES[codec], "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.time_base = rate, "mono", "s16", Fraction(1, rate)
    if codec == "opus":
        encoder.bit_rate, encoder.options = 20_000, {**OPUS, "compression_level": str(complexity)}
    decoder = av.CodecContext.create(NAMES[codec], "r")
    decoder.layout, decoder.sample_rate, decoder.format = "mono", rate, "s16"
    frame, out, made = rate // 50, [], rate
    samples = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    samples = np.pad(samples, (0, -len(samples) % frame))
    packets = []
    for start in range(0, len(samples), frame):
        part = av.AudioFrame.from_ndarray(samples[None, start : start + frame], "s16", "mono")
        part.sample_rate, part.pts, part.time_base = rate, start, Fraction(1, rate)
        packets += encoder.encode(part)
    for packet in packets:
        for decoded in decoder.decode(av.Packet(bytes(packet))):
            made = decoded.sample_rate
            out.append(decoded.to_ndarray().reshape(-1).astype(float) * (1 if "16" in decoded.format.name else 32_768))
    sound = np.concatenate(out)
    return resample_poly(sound, rate, made) if made != rate else sound
