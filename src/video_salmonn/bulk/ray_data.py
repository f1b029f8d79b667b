"""The batch on a cluster: Ray Data decodes on CPU workers and answers on GPU workers.

.. code-block:: python

    import ray
    from video_salmonn.bulk.ray_data import answered

    rows = ray.data.read_json("requests.jsonl")  # columns: media, question, and whatever is yours
    answered(rows, model="embedded", device="cuda", num_gpus=1, concurrency=4).write_json("answers")

Every row comes back with ``answer`` and ``report`` (JSON text). A row that could not be answered has its reason in
``__inference_error__`` (as Ray Data's own stages for language models name it) and an empty answer; nothing is raised.
An actor that dies is started again by Ray, which does so for every actor of its pools, and its rows are answered by the
new one.

Paths are as the workers see them: give a shared file system's, or URLs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_salmonn.bulk.predicting import Decoded, Predictor, media_options
from video_salmonn.bulk.rows import OPTIONS, parts_of
from video_salmonn.errors import ConfigError, VideoSalmonnError, needed
from video_salmonn.inference.options import checked
from video_salmonn.media.worker import Worker, clip_from_bytes, clip_to_bytes
from video_salmonn.types import Clip

if TYPE_CHECKING:
    import ray.data

    from video_salmonn.inference.engine import VideoSalmonn

ERROR = "__inference_error__"
CLIPS = "__clips__"
"""Column of decoded media between the two stages; not in the result."""
ANSWER, REPORT = "answer", "report"


class Decoder:
    """The first stage, on CPUs: a row's media, decoded.

    Args:
        model: name or folder of the model that will answer; its processor says how media are decoded. Only the
            configuration is read.
        options: of rows that do not have their own.
        seconds: that one row's media may take before its decoding process is killed.
    """

    def __init__(self, model: str, options: Mapping[str, Any], seconds: float | None = None) -> None:
        self._processor = _processor(model)
        self._options = dict(options)
        self._worker = Worker(seconds)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the column of its decoded media, or with its error."""
        try:
            items, named = _media(row)
            given = {name: value for name in OPTIONS if (value := _plain(row.get(name))) is not None}
            options = checked({**self._options, **named, **given})
            how = replace(media_options(self._processor, options), threads=1)
            clips = [clip_to_bytes(self._load(item, how)) for item in items]
        except VideoSalmonnError as error:
            return row | {CLIPS: b"", ERROR: f"{type(error).__name__}: {error}"}
        head = json.dumps({"options": options, "sizes": [len(clip) for clip in clips]}).encode()
        return row | {CLIPS: len(head).to_bytes(8, "little") + head + b"".join(clips), ERROR: ""}

    def _load(self, item: Any, how: Any) -> Clip:
        source, sound = item if isinstance(item, tuple) else (item, None)
        return self._worker.load(source, sound=sound, options=how)


class VideoSalmonnPredictor:
    """The second stage, an actor with the model: answers decoded rows in batches.

    Args:
        model: name or folder.
        question: asked about rows that have no ``question``.
        device, dtype: as for :meth:`VideoSalmonn.load`.
        loading: further options of :meth:`VideoSalmonn.load`.
    """

    def __init__(
        self,
        model: str,
        question: str | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        from video_salmonn.inference.engine import VideoSalmonn

        engine: VideoSalmonn = VideoSalmonn.load(model, device=device, dtype=dtype, **(loading or {}))
        self._predictor = Predictor(engine)
        self._question = question

    def __call__(self, batch: Any) -> Any:
        """A batch (a pandas frame) with answers in place of decoded media."""
        errors: list[str] = list(batch[ERROR])
        rows, places = [], []
        for place, packed in enumerate(batch[CLIPS]):
            if errors[place]:
                continue
            question = _plain(batch["question"].iloc[place]) if "question" in batch else None
            question = question or self._question
            if not question:
                errors[place] = "ConfigError: the row has no question"
                continue
            clips, options = _unpacked(packed)
            rows.append(Decoded(question, clips, options))
            places.append(place)
        answers, reports = [""] * len(errors), [""] * len(errors)
        for place, found in zip(places, self._predictor.answer(rows)):
            if isinstance(found, Exception):
                errors[place] = f"{type(found).__name__}: {found}"
            else:
                answers[place], reports[place] = found.text, json.dumps(found.report, ensure_ascii=False)
        return batch.drop(columns=[CLIPS]).assign(**{ANSWER: answers, REPORT: reports, ERROR: errors})


def answered(
    rows: ray.data.Dataset,
    *,
    model: str = "embedded",
    question: str | None = None,
    options: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    decoders: int | tuple[int, int] = (1, 4),
    concurrency: int | tuple[int, int] = 1,
    num_gpus: float = 0,
    device: str = "cpu",
    dtype: str | None = None,
    decode_seconds: float | None = 1800.0,
    loading: Mapping[str, Any] | None = None,
) -> ray.data.Dataset:
    """A data set with answers.

    Args:
        rows: with a column ``media`` (a path, a URL, a list of them, or an object of ``video``, ``image``, ``audio``,
            ``start`` and ``end``), and if they like ``sound``, ``question`` and
            any of :data:`~video_salmonn.bulk.rows.OPTIONS`; other columns come through unchanged.
        model: name, or a folder that every worker can read.
        question: for rows without one.
        options: for rows without their own.
        batch_size: rows answered together.
        decoders: actors that decode, a CPU each; a pair lets Ray choose between.
        concurrency: actors with the model; a pair lets Ray choose between.
        num_gpus: of each of them.
        device, dtype, loading: as for :meth:`VideoSalmonn.load`.
        decode_seconds: that one row's media may take.

    Returns:
        the rows with ``answer``, ``report`` (JSON text) and ``__inference_error__`` (empty where there is an answer).

    Raises:
        MissingPartError: Ray is not installed.
        ConfigError: an option is impossible.
    """
    with needed("Ray Data is not installed", remedy='pip install "video-salmonn[ray]"'):
        from ray.data import ActorPoolStrategy
    given = checked(options or {})
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise ConfigError(f"rows have no option {', '.join(unknown)}", remedy=f"options: {', '.join(OPTIONS)}")

    def pool(size: int | tuple[int, int]) -> Any:
        return (
            ActorPoolStrategy(size=size)
            if isinstance(size, int)
            else ActorPoolStrategy(min_size=size[0], max_size=size[1])
        )

    decoder: Any = Decoder  # Ray's types know functions only
    decoded = rows.map(
        decoder,
        fn_constructor_args=(model, given, decode_seconds),
        compute=pool(decoders),
        num_cpus=1,
    )
    return decoded.map_batches(
        VideoSalmonnPredictor,
        fn_constructor_args=(model, question, device, dtype, loading),
        batch_size=batch_size,
        batch_format="pandas",
        compute=pool(concurrency),
        num_gpus=num_gpus or None,
    )


def _processor(model: str) -> Any:
    """The processor of a model, without its weights."""
    from video_salmonn.checkpoints.assemble import build_tiny
    from video_salmonn.checkpoints.shipped import shipped_model
    from video_salmonn.model.processing import VideoSalmonnProcessor

    if model == "tiny":
        return build_tiny()[1]
    folder = shipped_model() if model == "embedded" else Path(model)
    return VideoSalmonnProcessor.from_pretrained(folder, local_files_only=True)


def _plain(value: Any) -> Any:
    """A value of a column as Python has it; None where the column has nothing for the row."""
    value = value.tolist() if hasattr(value, "tolist") else value  # numpy's scalars and arrays
    return None if isinstance(value, float) and value != value else value


def _media(row: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Media of a row, and options that they state where they are an object, of which a column may fill up fields."""
    media = _plain(row.get("media"))
    if isinstance(media, Mapping):
        media = {name: value for name in media if (value := _plain(media[name])) is not None}
    items, sound, options = parts_of(media, _plain(row.get("sound")) or None)
    if sound is None:
        return items, options
    return [(items[0], sound)] if items else [sound], options


def _unpacked(packed: bytes) -> tuple[list[Clip], dict[str, Any]]:
    length = int.from_bytes(packed[:8], "little")
    head = json.loads(packed[8 : 8 + length])
    clips, place = [], 8 + length
    for size in head["sizes"]:
        clips.append(clip_from_bytes(packed[place : place + size]))
        place += size
    return clips, head["options"]
