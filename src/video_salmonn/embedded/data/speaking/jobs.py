"""What is to be spoken by the neural voices: phonemes, voice and pace of every layer of some manifests, each once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.hours import ENGINES
from video_salmonn.embedded.data.voices import STYLES, mixture, speech_key, voice_ids
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.files import json_value, numbered_lines, write_text


@dataclass(frozen=True)
class SpeechJob:
    """One sentence of one voice.

    Attributes:
        key: what names its speech, see :func:`video_salmonn.embedded.data.voices.speech_key`.
        engine: ``piper`` or ``kokoro``.
        ids: its phonemes as the voice's numbers.
        mix: weights of Kokoro's styles; empty for Piper.
        pace, variation, rhythm: as in a recipe's layer.
    """

    key: str
    engine: str
    ids: tuple[int, ...]
    mix: tuple[float, ...] = ()
    pace: float = 1.0
    variation: float = 0.667
    rhythm: float = 0.8


def neural_layers(items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """The layers that a neural voice speaks, each distinct one once."""
    seen: set[str] = set()
    for item in items:
        audio = item.media.get("audio")
        for layer in audio.get("layers", ()) if isinstance(audio, dict) else ():
            if layer.get("engine") in ENGINES and "say" in layer:
                key = speech_key(layer)
                if key not in seen:
                    seen.add(key)
                    yield layer


def speech_job(layer: dict[str, Any]) -> SpeechJob:
    """A layer with its phonemes.

    Raises:
        ConfigError: nothing in it can be spoken, or its voice is not a mixture of styles.
        MissingPartError: espeak-ng or the voice's list of symbols is not installed.
    """
    engine = layer["engine"]
    ids = voice_ids(layer["say"], engine)
    if not ids:
        raise ConfigError(f"{layer['say']!r}: nothing in it can be spoken", remedy="give English words")
    mix = tuple(mixture(layer)) if engine == "kokoro" else ()
    named = {name: float(layer[name]) for name in ("pace", "variation", "rhythm") if name in layer}
    return SpeechJob(speech_key(layer), engine, tuple(ids), mix, **named)


def speech_jobs(layers: Iterable[dict[str, Any]]) -> tuple[list[SpeechJob], dict[str, str]]:
    """Layers with their phonemes; and those in which nothing can be spoken: key -> why."""
    jobs, failed = [], {}
    for layer in layers:
        try:
            jobs.append(speech_job(layer))
        except ConfigError as error:
            failed[speech_key(layer)] = str(error).splitlines()[0]
    return jobs, failed


def write_jobs(path: Path, jobs: Iterable[SpeechJob]) -> int:
    """Write jobs as JSON lines, for a machine without espeak-ng; returns their number."""
    lines = [json.dumps(asdict(job)) for job in jobs]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def read_jobs(path: Path) -> Iterator[SpeechJob]:
    """Jobs that :func:`write_jobs` wrote. Raises ManifestError where a line is none, naming it."""
    for number, line in numbered_lines(path, ManifestError):
        try:
            value = json_value(line)
            job = SpeechJob(**value | {name: tuple(value[name]) for name in ("ids", "mix")})
            if (
                job.engine not in ENGINES
                or not job.ids
                or len(job.mix) != (len(STYLES) if job.engine == "kokoro" else 0)
            ):
                raise ValueError("no engine, phonemes or mixture that the voices have")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ManifestError(
                f"{path}, line {number}: no sentence to speak ({error})", remedy="data speak-embedded --write-jobs"
            ) from error
        yield job
