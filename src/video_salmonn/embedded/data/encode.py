"""Encode each distinct sound and picture of a data set once, with the frozen encoders of the embedded preset.

Sound is cut into segments of ``SEGMENT_SECONDS`` from its start, each padded to the full length and encoded alone: the
same cutting as in training, inference and live input. Kept are, in float16,

- ``<key>.speech`` ``(N, 512)``: Whisper's features, 50 a second, whole frames of 0.5 s;
- ``<key>.audio`` ``(T, 1024)``: YAMNet's, one a frame (repeated over the frame's steps when it is used);
- ``<key>.visual`` ``(T, 25, 1280)``: EfficientNet's tokens, one row a frame; a still picture has T = 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from video_salmonn.data.feature_index import Failure, FeatureIndex, failure_name, recipe_name
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import is_number
from video_salmonn.data.media_recipes import MediaRecipe, is_imagined, recipe_key
from video_salmonn.embedded.data.render import RATE, read_frames, render_sound
from video_salmonn.embedded.data.side_by_side import end_with_parent, side_by_side
from video_salmonn.embedded.pretrained import encoder_weights, load_efficientnet, load_whisper_encoder, load_yamnet
from video_salmonn.encoders.chunking import cut
from video_salmonn.encoders.efficientnet import MEAN, NAMES, SIZE, STD
from video_salmonn.encoders.imagined import imagine
from video_salmonn.errors import MediaError
from video_salmonn.features.frames import prepare_frames
from video_salmonn.features.logmel import log_mel
from video_salmonn.features.patches import yamnet_patches
from video_salmonn.files import write_text
from video_salmonn.model.encoder_marks import encoder_marks
from video_salmonn.model.presets import embedded
from video_salmonn.training.variation import STEPS_PER_FRAME

SEGMENT_SECONDS = 10.0
BLOCK = 64
"""Most segments of sound, or frames, that a GPU is given at once."""
TOGETHER = 32
"""Jobs whose sounds and frames a GPU is given together; a CPU takes them one by one."""


class FrozenEncoders:
    """The embedded preset's encoders, loaded once.

    Args:
        home: cache of the pretrained parts.
        dtype: Whisper's. bfloat16 takes 0.6 of float32's time where the processor has it, and moves the features by
            3 % of their mean magnitude.
        device: where they run.
    """

    def __init__(
        self, home: Path | None = None, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.block = 0 if self.device.type == "cpu" else BLOCK
        self.whisper = load_whisper_encoder(dtype, home).to(self.device)
        self.yamnet = load_yamnet(home).to(self.device)
        self.efficientnet = load_efficientnet(home).to(self.device)
        head = self.efficientnet.head
        self._head = head.weight.detach().cpu(), head.bias.detach().cpu()

    def _in_blocks(self, function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """A function of rows, in float16 on the CPU. On a GPU the rows go in blocks of few sizes (powers of two, filled
        up with zeros): cuDNN seems to plan every convolution anew for a size that it has not seen. The gain is not
        measured."""
        if not self.block:
            return function(rows.to(self.device)).half().cpu()
        found = []
        for block in rows.split(self.block):
            count = len(block)
            filled = F.pad(block, (0, 0) * (block.ndim - 1) + (0, (1 << (count - 1).bit_length()) - count))
            found.append(function(filled.to(self.device))[:count].half().cpu())
        return torch.cat(found)

    @torch.inference_mode()
    def sounds(self, sounds: Sequence[NDArray[np.float32]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """16 kHz samples ``(n,)`` of several sounds -> for each speech ``(T*25, 512)`` and sound events ``(T, 1024)``,
        float16. Segments are alike in length, so nothing is padded for the company."""
        parts = [cut(torch.from_numpy(samples), SEGMENT_SECONDS, pad_last=True) for samples in sounds]
        waveform = torch.cat([part.waveform for part in parts])
        speech = self._in_blocks(lambda rows: self.whisper(log_mel(rows)).values, waveform)
        audio = self._in_blocks(lambda rows: self.yamnet.embed(yamnet_patches(rows)), waveform)
        found, first = [], 0
        for part in parts:
            last = first + len(part.waveform)
            steps = part.frames * STEPS_PER_FRAME
            found.append((speech[first:last].flatten(0, 1)[:steps], audio[first:last].flatten(0, 1)[: part.frames]))
            first = last
        return found

    @torch.inference_mode()
    def pictures(self, strips: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
        """RGB frames ``(T, H, W, 3)`` of several strips of one size -> visual tokens ``(T, 25, 1280)``, float16."""
        frames = torch.from_numpy(np.ascontiguousarray(np.concatenate(strips)))

        def tokens(
            rows: torch.Tensor,
        ) -> torch.Tensor:  # pixels travel as they are and are prepared where they are seen
            found: torch.Tensor = self.efficientnet(prepare_frames(rows, SIZE, mean=MEAN, std=STD)[:, None]).values
            return found

        values = self._in_blocks(tokens, frames)
        return list(values.split([len(strip) for strip in strips]))

    def imagined(self, visual: torch.Tensor, recipe: dict[str, Any]) -> torch.Tensor:
        """Visual tokens of a recipe to ``imagine``, ``(1, 25, 1280)`` float16, from those of its file's first frame."""
        weight, bias = self._head
        tokens, _ = imagine(visual[0], weight, bias, int(recipe["imagine"]), recipe["seed"])
        return tokens[None].half()


def check_imagined(recipe: dict[str, Any], names: int) -> None:
    """Raise MediaError unless a recipe is ``{"file": path, "imagine": name's number, "seed": n}``."""
    number: Any = recipe.get("imagine")
    whole = is_number(number, 0) and number < names and number == int(number)
    if set(recipe) != {"file", "imagine", "seed"} or not whole:
        raise MediaError(
            str(recipe),
            f"is no picture to be imagined: file, seed and a number from 0 to {names - 1} are needed",
            remedy="correct the manifest",
        )


@dataclass(frozen=True)
class EncodeJob:
    """One thing to encode: ``kind`` is ``sound`` or ``visual``."""

    kind: str
    recipe: MediaRecipe

    @property
    def tensors(self) -> tuple[str, ...]:
        """What its features are called, after the key."""
        return ("speech", "audio") if self.kind == "sound" else ("visual",)

    @property
    def name(self) -> str:
        """How an index names it if it fails."""
        return failure_name("sound" if self.kind == "sound" else "sight", self.recipe)


Rendered = NDArray[np.float32] | NDArray[np.uint8]


def encode(
    jobs: Iterable[EncodeJob],
    root: Path,
    folder: Path,
    *,
    home: Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    workers: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
    heard: Callable[[float], None] | None = None,
) -> dict[str, int]:
    """Encode what the store lacks.

    Args:
        jobs: sounds and picture files; repeated ones are encoded once.
        root: what the jobs' paths are relative to.
        folder: the feature store.
        home: cache of the pretrained parts.
        dtype: of the speech encoder, see :class:`FrozenEncoders`.
        device: where the encoders run; a GPU takes 32 jobs at once.
        workers: processes that decode, speak and mix; 0 does it here, between the encoders' turns.
        processes: whole encoding processes on the device that share out what is missing, each with its own encoders and
            ``workers``.
        progress: called with (done, all) after each round of jobs.
        heard: called with the seconds of sound that a round encoded.

    Returns:
        counts: ``done``, ``already`` there, ``failed`` (media that could not be decoded; named in ``failed.txt``).
    """
    marks = frozen_marks(home)
    store = FeatureStore(folder, marks)
    wanted: dict[str, EncodeJob] = {}
    counts = {"done": 0, "already": 0, "failed": 0}
    keys: dict[str, str] = {}
    failed: dict[str, str] = {}
    for job in jobs:
        try:
            key = keys[recipe_name(job.recipe)] = recipe_key(job.recipe, root)
        except MediaError as error:  # costs the items it belongs to
            failed[job.name] = str(error)
            continue
        if all(f"{key}.{tensor}" in store for tensor in job.tensors):
            counts["already"] += 1
        else:
            wanted.setdefault(f"{key}.{job.kind}", job)
    store.add_to_index(FeatureIndex(keys=keys))
    said = 0

    def tell(part: Round) -> None:
        nonlocal said
        said += part.jobs
        counts["done"] += part.jobs - len(part.failed)
        failed.update(part.failed)
        if heard is not None:
            heard(part.seconds)
        if progress is not None:
            progress(said, len(wanted))

    share = partial(
        encode_share, root=root, folder=folder, marks=marks, home=home, dtype=dtype, device=device, workers=workers
    )
    if processes > 1 and wanted:
        parts = [dict(list(wanted.items())[first::processes]) for first in range(min(processes, len(wanted)))]
        side_by_side(share, parts, tell)
    elif wanted:
        for part in share(wanted):
            tell(part)
    store.add_to_index(FeatureIndex(failed={name: Failure(reason) for name, reason in failed.items()}))
    return counts | _told(list(failed.values()), folder)


def frozen_marks(home: Path | None = None) -> dict[str, str]:
    """Fingerprints of the streams that these encoders make, by stream: those of the embedded model itself. They are
    read from the files of the weights: no encoder is built."""
    parts = (encoder_weights(part, home) for part in ("efficientnet-lite0", "whisper-base", "yamnet"))
    return encoder_marks(embedded(), *parts)


@dataclass(frozen=True)
class Round:
    """What one turn of the encoders did: ``jobs``, why some of them ``failed``, and ``seconds`` of sound."""

    jobs: int
    failed: dict[str, str]
    seconds: float


def encode_share(
    wanted: dict[str, EncodeJob],
    root: Path,
    folder: Path,
    marks: dict[str, str],
    home: Path | None,
    dtype: torch.dtype,
    device: torch.device | str,
    workers: int,
) -> Iterator[Round]:
    """Encode jobs, named ``key.kind``; see :func:`encode`."""
    encoders = FrozenEncoders(home, dtype, device)
    together = 1 if encoders.device.type == "cpu" else TOGETHER
    with FeatureStore(folder, marks) as store:
        rendered = zip(wanted, _render_all(list(wanted.values()), root, workers))
        while group := list(islice(rendered, together)):
            failed = {wanted[name].name: found for name, found in group if isinstance(found, str)}
            usable = [(name.split("."), found) for name, found in group if not isinstance(found, str)]
            sounds: dict[str, Any] = {key: found for (key, kind), found in usable if kind == "sound"}
            strips: dict[str, Any] = {key: found for (key, kind), found in usable if kind == "visual"}
            for key, (speech, audio) in zip(sounds, encoders.sounds(list(sounds.values())) if sounds else ()):
                facts = {"sound_frames": len(audio), "audio_repeat": STEPS_PER_FRAME}
                store.put({f"{key}.speech": speech, f"{key}.audio": audio}, {key: facts})
            for key, visual in zip(strips, encoders.pictures(list(strips.values())) if strips else ()):
                recipe = wanted[f"{key}.visual"].recipe
                if is_imagined(recipe):
                    visual = encoders.imagined(visual, recipe)
                store.put({f"{key}.visual": visual})
            yield Round(len(group), failed, sum(len(samples) for samples in sounds.values()) / RATE)


def _told(failed: list[str], folder: Path) -> dict[str, int]:
    """Write the media that could not be used to ``failed.txt``; returns their count."""
    reasons = list(dict.fromkeys(failed))
    if reasons:
        write_text(folder / "failed.txt", "\n".join(reasons) + "\n")
    return {"failed": len(reasons)}


def _render(job: EncodeJob, root: Path) -> Rendered | str:
    """A job's sound or frames, or why there are none."""
    try:
        if job.kind == "sound":
            return render_sound(job.recipe, root)
        if isinstance(job.recipe, str):
            return read_frames(root / job.recipe, SIZE)
        if is_imagined(job.recipe):
            check_imagined(job.recipe, NAMES)
            return read_frames(root / job.recipe["file"], SIZE)
        raise MediaError(
            str(job.recipe), "a picture job is one file; slides are put together from their files' features"
        )
    except MediaError as error:
        return str(error)


def _render_all(jobs: Sequence[EncodeJob], root: Path, workers: int) -> Iterator[Rendered | str]:
    """Every job's, in order; processes are at most 8 jobs each ahead, which bounds what waits in memory."""
    if not workers:
        yield from (_render(job, root) for job in jobs)
        return
    coming = iter(jobs)
    ahead: deque[Future[Rendered | str]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        ahead.extend(pool.submit(_render, job, root) for job in islice(coming, 8 * workers))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(_render, job, root) for job in islice(coming, 1))


def _one_thread() -> None:
    end_with_parent()
    torch.set_num_threads(1)
