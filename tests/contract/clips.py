"""Decoded clips of every mix of modalities, made in memory: what a decoder would hand to the processor."""

from __future__ import annotations

import numpy as np

from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform


def clip(seconds: float, *, sight: bool = True, sound: bool = True, picture: bool = False, seed: int = 0) -> Clip:
    """A clip of colours and beeps, other ones for every seed. ``picture`` makes the sight one still picture."""
    draw = np.random.default_rng(seed)
    frames = heard = None
    streams = []
    if sight:
        count = 1 if picture else int(np.ceil(seconds * 2))
        colours = draw.integers(0, 226, (count, 1, 1, 3))
        pixels = (colours + draw.integers(0, 30, (count, 28, 28, 3))).astype(np.uint8)
        frames = FrameBatch(pixels, np.arange(count) / 2)
        streams.append({"index": 0, "kind": "picture" if picture else "video", "chosen": True})
    if sound:
        time = np.arange(round(seconds * 16_000)) / 16_000
        tone = np.sin(2 * np.pi * (200 + 150 * seed) * time) * (time % 0.7 < 0.4)
        heard = Waveform((0.3 * tone + 0.01 * draw.standard_normal(len(time))).astype(np.float32))
        streams.append({"index": len(streams), "kind": "audio", "chosen": True})
    report = MediaReport(
        "<array>",
        seconds,
        Seen("used", 0.0, seconds, len(frames)) if frames else Seen("absent"),
        Heard("used", 0.0, seconds) if heard else Heard("absent"),
        streams,
    )
    return Clip(frames, heard, seconds, report)


MIX = {
    "video with sound": ("What happens?", [clip(7.2, seed=1)]),
    "long video with sound": ("And in this one, which is longer?", [clip(13.0, seed=2)]),
    "silent video": ("What can be seen?", [clip(4.6, sound=False, seed=3)]),
    "sound": ("What is said?", [clip(12.3, sight=False, seed=4)]),
    "short sound": ("Who?", [clip(0.9, sight=False, seed=5)]),
    "picture": ("What is this?", [clip(0.0, sound=False, picture=True, seed=6)]),
    "picture and sound": ("Does the sound fit the picture?", [clip(3.4, picture=True, seed=7)]),
    "two clips": ("What is the difference?", [clip(2.0, seed=8), clip(1.5, sound=False, seed=9)]),
    "text": ("Nothing to see or to hear. Why?", []),
}
"""Question and media of each mix of modalities and lengths."""
