"""Synthetic speech from the two small engines that every Debian has: espeak-ng and flite."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import wave
from typing import Any

import numpy as np

from video_salmonn.errors import MissingPartError

ESPEAK_VOICES = tuple(
    f"{accent}+{variant}"
    for accent in ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
    for variant in ("m1", "m3", "m4", "m7", "f1", "f2", "f3", "f5")
)
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_SHARE = 0.35
"""Of the utterances; flite's voices are recorded speech put together, and nearer to people."""


def engine_path(engine: str) -> str:
    """The engine's program.

    Raises:
        MissingPartError: it is not installed.
    """
    found = shutil.which(engine)
    if found is None:
        raise MissingPartError(f"the speech synthesiser {engine} is not installed", remedy=f"apt-get install {engine}")
    return found


def speak(text: str, engine: str, voice: str, rate: int = 160) -> tuple[np.ndarray, int]:
    """Speak a sentence.

    Args:
        text: plain English.
        engine: ``espeak-ng`` or ``flite``.
        voice: one of the engine's voices.
        rate: words a minute (160 is plain).

    Returns:
        ``float32`` samples in [-1, 1], and samples per second.
    """
    program = engine_path(engine)
    if engine == "espeak-ng":
        command = [program, "-v", voice, "-s", str(rate), "--stdout", "--", text]
    else:
        stretch = f"duration_stretch={160 / rate:.3f}"
        command = [program, "-voice", voice, "--setf", stretch, "-t", text, "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 or len(done.stdout) < 44:
        raise MissingPartError(f"{engine} could not speak with voice {voice}: {done.stderr.decode()[:200]}")
    with wave.open(io.BytesIO(done.stdout)) as stream:  # the header of a piped file may claim any length
        frames = np.frombuffer(done.stdout[44:], dtype="<i2")
        return frames.astype(np.float32) / 32768.0, stream.getframerate()


def random_voice(text: str, rng: random.Random) -> dict[str, Any]:
    """A recipe layer that speaks ``text`` with a voice, rate, pitch, level and room drawn from ``rng``."""
    if rng.random() < ESPEAK_SHARE:
        layer: dict[str, Any] = {"say": text, "engine": "espeak-ng", "voice": rng.choice(ESPEAK_VOICES)}
    else:
        layer = {"say": text, "engine": "flite", "voice": rng.choice(FLITE_VOICES)}
    layer |= {"rate": rng.randrange(150, 210, 5), "level": rng.randrange(-26, -14)}
    layer["speed"] = round(rng.uniform(0.88, 1.14), 2)
    if rng.random() < 0.5:
        layer["room"] = rng.randrange(1000)
    return layer


def random_noise(rng: random.Random, quietest: int = -60, loudest: int = -36) -> dict[str, Any]:
    """A recipe layer of steady noise, ``quietest`` to ``loudest`` dB below full scale."""
    colour = rng.choice(("white", "pink", "brown"))
    return {"noise": colour, "seed": rng.randrange(10_000), "level": rng.randrange(quietest, loudest)}


def spoken_sentence(text: str, seed: str) -> dict[str, Any]:
    """The sound recipe of one synthetic utterance; ``seed`` decides voice, rate, room, noise and lead-in."""
    rng = random.Random(seed)
    layers = [random_voice(text, rng) | {"at": round(rng.uniform(0.0, 0.8), 2)}]
    if rng.random() < 0.6:
        layers.append(random_noise(rng))
    return {"layers": layers}
