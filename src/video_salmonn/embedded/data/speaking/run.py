"""Speak many sentences into a folder of shards; what is there already is left out, so that a broken run is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.embedded.data.speaking.jobs import SpeechJob
from video_salmonn.embedded.data.voices import RATE, speak_ids, trimmed
from video_salmonn.errors import VideoSalmonnError

SHARD_BYTES = 200_000_000
"""About an hour and three quarters of speech."""
BATCH = {"piper": 48, "kokoro": 16}
"""Sentences at once, by engine: 11 and 5.6 GiB of a GPU's memory."""
_WAITING = 64

Work = TypeVar("Work")
Progress = Callable[[int, int, float], None]


@dataclass
class SpeechAccount:
    """What a run did.

    Attributes:
        spoken, already: sentences.
        seconds: of speech, silence at both ends trimmed.
        spent: seconds that it took.
        failed: key -> why it could not be spoken.
    """

    spoken: int = 0
    already: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


def share(entries: Sequence[Work], part: int, parts: int) -> list[Work]:
    """Every ``parts``-th entry from ``part`` on (counted from 0), so that several processes share the work."""
    return list(entries[part::parts])


def batches(jobs: Sequence[SpeechJob], sizes: dict[str, int]) -> Iterator[list[SpeechJob]]:
    """Batches of one engine and like length, the longest first: what does not fit fails at once."""
    for engine in sorted({job.engine for job in jobs}):
        size = sizes[engine]
        own = sorted((job for job in jobs if job.engine == engine), key=lambda job: (-len(job.ids), job.pace, job.key))
        yield from (own[start : start + size] for start in range(0, len(own), size))


def speak_all(
    jobs: Sequence[SpeechJob],
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    batch: int | None = None,
    interpret: bool | None = None,
    progress: Progress | None = None,
) -> SpeechAccount:
    """Speak what the folder lacks.

    Args:
        jobs: sentences.
        folder: gets shards of int16 samples at 16 kHz; see :class:`video_salmonn.embedded.data.voices.SpeechFolder`.
        device: where; a CPU speaks one sentence at a time by onnxruntime, other devices batches by torch.
        batch: sentences at once; by default :data:`BATCH`.
        interpret: use torch (True) or onnxruntime (False) whatever the device is.
        progress: called with (done, all, seconds of speech so far) after each batch.

    Raises:
        MissingPartError: a voice, or what it needs, is not installed.
        CheckpointError: a shard in the folder, or a voice's file, is damaged.
    """
    began = time.monotonic()
    store = FeatureStore(folder, shard_bytes=SHARD_BYTES)
    left = [job for job in jobs if job.key not in store]
    account = SpeechAccount(already=len(jobs) - len(left))
    by_torch = torch.device(device).type != "cpu" if interpret is None else interpret
    sizes = {engine: batch or size for engine, size in BATCH.items()}
    speak = _Torch(device, sizes["kokoro"]).speak if by_torch else _by_onnxruntime
    sizes["kokoro"] *= 16  # it sorts them by their frames, which it alone knows
    sizes = sizes if by_torch else dict.fromkeys(sizes, 1)
    with store, ThreadPoolExecutor(1) as thread:
        waiting: list[Future[None]] = []

        def keep(group: list[SpeechJob], sounds: list[NDArray[np.float32]]) -> None:
            for job, samples in zip(group, sounds):
                samples = trimmed(samples, RATE)
                account.seconds += len(samples) / RATE
                account.spoken += 1
                store.put({job.key: torch.from_numpy((samples * 32767).astype(np.int16))})

        done = 0
        for group in batches(left, sizes):
            for part, sounds in _or_halves(group, speak, account.failed):
                waiting.append(thread.submit(keep, part, sounds))
            while len(waiting) > _WAITING:
                waiting.pop(0).result()
            done += len(group)
            if progress is not None:
                progress(done, len(left), account.seconds)
        for future in waiting:
            future.result()
    account.spent = time.monotonic() - began
    return account


Speak = Callable[[list[SpeechJob]], list[NDArray[np.float32]]]


def _or_halves(
    group: list[SpeechJob], speak: Speak, failed: dict[str, str]
) -> Iterator[tuple[list[SpeechJob], list[NDArray[np.float32]]]]:
    """A batch spoken; one that fails (too large for the memory, or with something in it that no voice can say) is
    halved until the failing item is alone."""
    try:
        yield group, speak(group)
        return
    except VideoSalmonnError:  # a part that is missing: every sentence would fail
        raise
    except Exception as error:  # onnxruntime's errors have no common class; reported by sentence
        if "CUDA error" in str(error):  # the device answers nothing more
            raise
        if len(group) == 1:
            failed[group[0].key] = str(error).splitlines()[0]
            return
        half = len(group) // 2
    for part in (group[:half], group[half:]):
        yield from _or_halves(part, speak, failed)


class _Torch:
    """The voices' graphs run by torch, each loaded when it is first asked."""

    def __init__(self, device: torch.device | str, kokoro_batch: int) -> None:
        from video_salmonn.embedded.data.speaking import bulk

        self._make: dict[str, Callable[[], bulk.BulkPiper | bulk.BulkKokoro]] = {
            "piper": lambda: bulk.BulkPiper(device),
            "kokoro": lambda: bulk.BulkKokoro(device, kokoro_batch),
        }
        self._voices: dict[str, bulk.BulkPiper | bulk.BulkKokoro] = {}

    def speak(self, group: list[SpeechJob]) -> list[NDArray[np.float32]]:
        engine = group[0].engine
        if engine not in self._voices:
            self._voices[engine] = self._make[engine]()
        torch.manual_seed(int(group[0].key[:15], 16))  # one batch is spoken alike again
        return self._voices[engine].speak(group)


def _by_onnxruntime(group: list[SpeechJob]) -> list[NDArray[np.float32]]:
    from video_salmonn.embedded.data.render import resampled

    found = []
    for job in group:
        seed = int(job.key[:8], 16)
        samples, rate = speak_ids(job.engine, list(job.ids), list(job.mix), job.pace, job.variation, job.rhythm, seed)
        found.append(resampled(samples, rate))
    return found
