"""Encode each distinct sound and picture of a data set once, with the frozen encoders of the embedded preset.

Sound is cut into segments of ``SEGMENT_SECONDS`` from its start, each padded to the full length and encoded alone: the
same cutting as in training, inference and live input. Kept are, in float16,

- ``<key>.speech`` ``(N, 512)``: Whisper's features, 50 a second, whole frames of 0.5 s;
- ``<key>.audio`` ``(T, 1024)``: YAMNet's, one a frame (repeated over the frame's steps when it is used);
- ``<key>.visual`` ``(T, 25, 1280)``: EfficientNet's tokens, one row a frame; a still picture has T = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.checkpoints.embedded import load_efficientnet, load_whisper_encoder, load_yamnet
from video_salmonn.data.embedded.keys import key_name, write_keys
from video_salmonn.data.embedded.recipes import Recipe, recipe_key
from video_salmonn.data.embedded.render import read_frames, render_sound
from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.encoders.chunking import cut
from video_salmonn.encoders.efficientnet import MEAN, SIZE, STD
from video_salmonn.errors import MediaError
from video_salmonn.features.frames import prepare_frames
from video_salmonn.features.logmel import log_mel
from video_salmonn.features.patches import yamnet_patches

SEGMENT_SECONDS = 10.0
STEPS_PER_FRAME = 25


class FrozenEncoders:
    """The embedded preset's encoders, loaded once, on the CPU.

    Args:
        home: cache of the pretrained parts.
        dtype: Whisper's. bfloat16 takes 0.6 of float32's time where the processor has it, and moves the features by
            3 % of their mean magnitude.
    """

    def __init__(self, home: Path | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.whisper = load_whisper_encoder(dtype, home)
        self.yamnet = load_yamnet(home)
        self.efficientnet = load_efficientnet(home)

    @torch.inference_mode()
    def sound(self, samples: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """16 kHz samples ``(n,)`` -> speech ``(T*25, 512)`` and sound events ``(T, 1024)``, float16."""
        segments = cut(torch.from_numpy(samples), SEGMENT_SECONDS, pad_last=True)
        speech = [self.whisper(log_mel(piece[None])).values[0] for piece in segments.waveform]
        audio = [self.yamnet.embed(yamnet_patches(piece[None]))[0] for piece in segments.waveform]
        steps = segments.frames * STEPS_PER_FRAME
        return torch.cat(speech)[:steps].half(), torch.cat(audio)[: segments.frames].half()

    @torch.inference_mode()
    def pictures(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """RGB frames ``(T, H, W, 3)`` -> visual tokens ``(T, 25, 1280)``, float16."""
        inputs = prepare_frames(torch.from_numpy(np.ascontiguousarray(frames)), SIZE, mean=MEAN, std=STD)
        return self.efficientnet(inputs[:, None]).values.half()


@dataclass(frozen=True)
class Job:
    """One thing to encode: ``kind`` is ``sound`` or ``visual``."""

    kind: str
    recipe: Recipe


def encode(
    jobs: Iterable[Job],
    root: Path,
    folder: Path,
    *,
    home: Path | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Encode what the store lacks.

    Args:
        jobs: sounds and picture files; repeated ones are encoded once.
        root: what the jobs' paths are relative to.
        folder: the feature store.
        home: cache of the pretrained parts.
        dtype: of the speech encoder, see :class:`FrozenEncoders`.
        progress: called with (done, all) after each job.

    Returns:
        counts: ``done``, ``already`` there, ``failed`` (media that could not be decoded; named in ``failed.txt``).
    """
    store = FeatureStore(folder)
    wanted: dict[str, Job] = {}
    counts = {"done": 0, "already": 0, "failed": 0}
    keys: dict[str, str] = {}
    for job in jobs:
        key = keys[key_name(job.recipe)] = recipe_key(job.recipe, root)
        if f"{key}.{'speech' if job.kind == 'sound' else 'visual'}" in store:
            counts["already"] += 1
        else:
            wanted.setdefault(f"{key}.{job.kind}", job)
    write_keys(folder, keys)
    if not wanted:
        return counts
    encoders = FrozenEncoders(home, dtype)
    failed: list[str] = []
    with FeatureWriter(folder) as writer:
        for number, (name, job) in enumerate(wanted.items(), 1):
            key = name.split(".")[0]
            try:
                if job.kind == "sound":
                    speech, audio = encoders.sound(render_sound(job.recipe, root))
                    writer.put(f"{key}.speech", speech)
                    writer.put(f"{key}.audio", audio)
                else:
                    writer.put(f"{key}.visual", encoders.pictures(_frames(job.recipe, root)))
                counts["done"] += 1
            except MediaError as error:
                failed.append(str(error))
                counts["failed"] += 1
            if progress is not None:
                progress(number, len(wanted))
    if failed:
        (folder / "failed.txt").write_text("\n".join(failed) + "\n")
    return counts


def _frames(recipe: Recipe, root: Path) -> NDArray[np.uint8]:
    if not isinstance(recipe, str):
        raise MediaError(str(recipe), "a picture job is one file; slides are put together from their files' features")
    return read_frames(root / recipe, SIZE)
