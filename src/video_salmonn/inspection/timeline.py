"""What became of a clip on its way to the language model, on one time axis: the data behind ``video-salmonn inspect``.

Everything here is measured on one real pass: the same decoding, the same encoder inputs, the same connector call that
``ask`` makes. :mod:`timeline_scene` lays it out; :mod:`timeline_html` and :mod:`timeline_picture` draw that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from video_salmonn.connector import ConnectorConfig, ConnectorOutput
from video_salmonn.connector.diversity import pairwise_cosine
from video_salmonn.errors import ConfigError, ContextError
from video_salmonn.features.logmel import HOP, SAMPLE_RATE
from video_salmonn.inference import long as long_media
from video_salmonn.inference.engine import DEFAULT_NEW_TOKENS, STAGES, VideoSalmonn
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.inference.options import MEDIA_OPTIONS, whole
from video_salmonn.inspection.comparison import Comparison, compare
from video_salmonn.inspection.thumbnails import Thumbnail, thumbnails
from video_salmonn.model import prompt
from video_salmonn.model.aliases import expand
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.types import Clip, MediaReport, Waveform
from video_salmonn.wording import counted

COLUMNS = 1100
"""Most columns of waveform and log-mel that are kept."""
CELLS = 240
"""Most rows and columns of a cosine matrix; longer clips are averaged."""


@dataclass(frozen=True)
class Sight:
    """The pictures.

    Attributes:
        times: of every frame given to the vision encoder, seconds, ``(T,)``.
        thumbnails: some of them, evenly chosen.
        size: (height, width) the vision encoder is given.
        still_frames: a picture is shown for so many frames; 0 for moving pictures.
    """

    times: np.ndarray
    thumbnails: tuple[Thumbnail, ...]
    size: tuple[int, int]
    still_frames: int


@dataclass(frozen=True)
class Segment:
    """A stretch of sound that is encoded by itself: seconds of its real sound, and where its padding ends."""

    start: float
    end: float
    padded_end: float


@dataclass(frozen=True)
class Sound:
    """The sound.

    Attributes:
        seconds: its length.
        envelope: smallest and largest sample of each column, ``(n, 2)``.
        peak: largest absolute sample.
        mel: log-mel as the speech encoder gets it, real sound only, ``(bins, m)`` in 10·log10(power) dB; None where
            the model has no speech encoder.
        mel_bins: bands of the speech encoder.
        segments: encoder segments.
    """

    seconds: float
    envelope: np.ndarray
    peak: float
    mel: np.ndarray | None
    mel_bins: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class LevelView:
    """One resolution of the connector.

    Attributes:
        seconds: length of a window.
        queries: per window.
        real: ``(W,)`` bool, windows with at least one real frame; the others are padding.
        within: ``(W,)`` mean cosine between different query outputs of a window (what the diversity loss lowers);
            NaN for padding and for a single query.
        queries_map: ``(N, N)`` cosine of query against query in the same window, mean over real windows.
        windows_map: ``(n, n)`` cosine of window against window, query by query, mean over the queries; real windows
            only, in the order of time. A cell is the mean over ``grouped`` × ``grouped`` windows.
        grouped: windows a row of ``windows_map`` stands for.
        neighbours: mean of ``windows_map`` between neighbouring windows (before grouping); None for one window.
    """

    seconds: float
    queries: int
    real: np.ndarray
    within: np.ndarray
    queries_map: np.ndarray
    windows_map: np.ndarray
    grouped: int
    neighbours: float | None

    @property
    def mean_within(self) -> float | None:
        """Mean of ``within`` over real windows; None where a window has one query."""
        known = self.within[np.isfinite(self.within)]
        return float(known.mean()) if known.size else None


@dataclass(frozen=True)
class Tokens:
    """Media tokens: ``kept`` is ``(L,)`` bool, each stands for ``seconds``; what is not kept is trimmed."""

    kept: np.ndarray
    seconds: float

    @property
    def given(self) -> int:
        """Tokens the language model is given."""
        return int(self.kept.sum())


@dataclass(frozen=True)
class Timeline:
    """Everything ``inspect`` shows of a clip.

    Attributes:
        model: its name.
        report: what was seen, heard, cut and lost.
        offset: the clip's time 0 in the file, seconds.
        frame_seconds: of the connector.
        real_end: end of the last frame of 0.5 s that holds anything, seconds.
        axis_end: end of the longest padding window.
        sight, sound: None where not seen or heard.
        levels: of the connector, finest first.
        tokens: media tokens.
        stretch: windows are so many times longer than usual.
        sizes: (what, size) in the order of the pipeline.
        seconds: by stage, names as in the report of ``ask``, and ``thumbnails`` and ``comparison``.
        comparison: answers, where a question was asked.
        warnings: beyond those of the report.
        notes: what this picture leaves out or how to read it.
    """

    model: str
    report: MediaReport
    offset: float
    frame_seconds: float
    real_end: float
    axis_end: float
    sight: Sight | None
    sound: Sound | None
    levels: tuple[LevelView, ...]
    tokens: Tokens
    stretch: int
    sizes: tuple[tuple[str, str], ...]
    seconds: dict[str, float]
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The source without its folders."""
        return Path(self.report.source).name or self.report.source

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``inspect --json``."""
        levels = [
            {
                "seconds": level.seconds,
                "queries": level.queries,
                "windows": len(level.real),
                "padding_windows": int((~level.real).sum()),
                "cosine_within": level.mean_within,
                "cosine_neighbours": level.neighbours,
            }
            for level in self.levels
        ]
        return {
            "model": self.model,
            "media": [self.report.to_dict()],
            "media_tokens": self.tokens.given,
            "trimmed_tokens": len(self.tokens.kept) - self.tokens.given,
            "levels": levels,
            "segments": [] if self.sound is None else [[s.start, s.end, s.padded_end] for s in self.sound.segments],
            "seconds": self.seconds,
            "question": None if self.comparison is None else self.comparison.to_dict(),
            "warnings": [*self.report.cuts, *self.report.warnings, *self.warnings],
        }


def inspect_media(
    engine: VideoSalmonn,
    source: Any,
    *,
    sound: Any = None,
    question: str | None = None,
    max_new_tokens: int | None = None,
    long: str = "error",
    no_audio: bool = False,
    no_video: bool = False,
    **options: Any,
) -> Timeline:
    """Send one media item down the pipeline and note everything on the way.

    Args:
        engine: the model.
        source, sound, options: as for :meth:`VideoSalmonn.ask` (decoding options only).
        question: ask it, also with sound, picture and all media taken away.
        max_new_tokens: of each answer; None for the model's own limit.
        long: media and question that do not fit the context: ``error``, or ``coarse`` for longer windows.
        no_audio, no_video: switch a modality off from the start.

    Raises:
        MediaError: the media cannot be used.
        ContextError: media and question do not fit, and ``long`` is ``error``.
        ConfigError: an option is impossible.
    """
    if long not in ("error", "coarse"):
        raise ConfigError(f"long is {long!r}", remedy="inspect knows error and coarse")
    if question is not None:
        prompt.parse(question, 1)
    unknown = sorted(set(options) - set(MEDIA_OPTIONS))
    if unknown:
        raise ConfigError(f"unknown options: {', '.join(unknown)}", remedy=f"known: {', '.join(MEDIA_OPTIONS)}")
    if no_audio and no_video:
        raise ConfigError("no_audio and no_video together leave nothing to look at or listen to", remedy="drop one")
    if max_new_tokens is not None:
        whole(max_new_tokens, "max_new_tokens")
    new_tokens = max_new_tokens or engine.model.config.generation.get("max_new_tokens") or DEFAULT_NEW_TOKENS
    wanted = {name: value for name, value in options.items() if value is not None}
    wanted |= {"use_audio": False} if no_audio else {}
    wanted |= {"use_video": False} if no_video else {}

    engine.processor.media_options(**wanted)  # impossible values are refused before anything is decoded
    with engine.lock:  # its own passes through the model, one after another
        return _inspected(engine, source, sound, question, int(new_tokens), long, wanted)


def _inspected(
    engine: VideoSalmonn,
    source: Any,
    sound: Any,
    question: str | None,
    new_tokens: int,
    long: str,
    wanted: dict[str, Any],
) -> Timeline:
    """The work of :func:`inspect_media`, with options that were checked."""
    model, processor, timer = engine.model, engine.processor, Timer()
    config = model.connector.config
    if not config.synchronise:
        raise ConfigError(
            "this model was made without synchronisation (connector.synchronise: false): sight and sound have no "
            "common time axis that could be drawn",
            remedy="inspect a model with synchronisation",
        )
    with timer.stage("decode"):
        clip = processor.load(source, sound=sound, **wanted)
    with timer.stage("features"):
        inputs = processor.media_inputs([clip])
    with timer.stage("encode"), torch.inference_mode():
        features = model.encode_media(inputs.to(model.device, model.dtype))[0]
    asked = None if question is None else expand(question)
    stretch, warnings = _fit(engine, long_media.frames_of(features, config), asked, new_tokens, long)
    with timer.stage("connect"), torch.inference_mode():
        pair = processor.instruction([asked]) if asked is not None else None
        if pair is not None:
            pair = (pair[0].to(model.device), pair[1].to(model.device))
        connected = model.connect_media([features], pair, stretch=stretch)
    output = connected.groups[0][1]

    comparison = None
    if asked is not None:
        comparison = compare(engine, EncodedMedia(features, clip.report), asked, new_tokens, stretch, timer)
        comparison = comparison.knowing(silent=clip.report.heard.status == "silent")
    total = sum(timer.seconds.get(stage, 0.0) for stage in STAGES if stage not in ("load", "total"))
    with timer.stage("thumbnails"):
        sight = _sight(engine, clip, inputs, source, wanted)
    seconds = {stage: round(timer.seconds.get(stage, 0.0), 4) for stage in (*STAGES, "comparison", "thumbnails")}
    seconds |= {"load": round(engine.load_seconds, 4), "total": round(total, 4)}

    step = config.frame_seconds
    length = output.mask.shape[1] * config.levels[0].frames * stretch / config.levels[0].queries * step
    pictures = 0 if features.visual is None else features.still_frames or len(features.visual)
    real = max(pictures, features.sound_frames) * step
    heard = None if clip.sound is None else _sound(processor.config.media, clip.sound, inputs)
    return Timeline(
        model=engine.name,
        report=clip.report,
        offset=float(wanted.get("start") or 0.0),
        frame_seconds=step,
        real_end=min(real, length),
        axis_end=length,
        sight=sight,
        sound=heard,
        levels=tuple(_level(config, output, index, stretch) for index in range(len(output.levels))),
        tokens=Tokens(output.mask[0].cpu().numpy(), length / output.mask.shape[1]),
        stretch=stretch,
        sizes=_sizes(engine, inputs, features.visual, output, comparison),
        seconds=seconds,
        comparison=comparison,
        warnings=tuple(warnings),
        notes=_notes(engine, sight, asked),
    )


def _fit(engine: VideoSalmonn, frames: int, question: str | None, new_tokens: int, long: str) -> tuple[int, list[str]]:
    """By how much windows are stretched so that media and question fit, and what to say about it."""
    config = engine.model.connector.config
    text = 0 if question is None else len(engine.processor.render(question, [0]).input_ids)
    room = engine.context - text - (0 if question is None else new_tokens)
    tokens = config.tokens_for(frames)
    if tokens <= room:
        return 1, []
    if long == "coarse":
        stretch = long_media.stretch_to_fit(config, [frames], room)
        return stretch, [f"long media: windows are {stretch} times as long as usual, so details are coarser"]
    if question is None:
        return 1, [
            f"{counted(tokens, 'media token', 'do')} not fit this model's context of {engine.context}: ask "
            f"needs start and end, "
            f"long=segments or long=coarse"
        ]
    raise ContextError(
        f"{counted(tokens, 'media token')}, a question of {counted(text, 'token')} and an answer of up to "
        f"{new_tokens} do not fit the "
        f"context of {counted(engine.context, 'token')}",
        remedy="inspect a stretch of it (start, end), or use long=coarse",
    )


def _sight(engine: VideoSalmonn, clip: Clip, inputs: MediaInputs, source: Any, wanted: dict[str, Any]) -> Sight | None:
    if clip.frames is None or not len(clip.frames) or inputs.pixel_values is None:
        return None
    assert inputs.still_frames is not None
    options = engine.processor.media_options(**wanted)
    height, width = inputs.pixel_values.shape[-2:]
    shown = thumbnails(clip.frames, source, options)
    return Sight(clip.frames.times, shown, (height, width), int(inputs.still_frames[0]))


def _sound(media: dict[str, Any], sound: Waveform, inputs: MediaInputs) -> Sound:
    """Waveform and log-mel, thinned out to at most ``COLUMNS`` columns."""
    assert inputs.segment_samples is not None
    samples = sound.samples
    columns = np.array_split(samples, min(COLUMNS, max(1, len(samples))))
    envelope = np.array([(c.min(), c.max()) if len(c) else (0.0, 0.0) for c in columns], np.float32)
    lengths = inputs.segment_samples.tolist()
    given = inputs.log_mel if inputs.log_mel is not None else inputs.audio_inputs
    steps = [] if inputs.log_mel is None else [-(-n // HOP) for n in lengths]
    padded = inputs.log_mel.shape[-1] * HOP if inputs.log_mel is not None else None
    if padded is None:
        assert given is not None
        padded = round(media["segment_seconds"] * SAMPLE_RATE) if len(lengths) > 1 else max(lengths)
    segments, at = [], 0
    for length in lengths:
        segments.append(Segment(at / sound.rate, (at + length) / sound.rate, (at + padded) / sound.rate))
        at += padded
    mel = None
    if inputs.log_mel is not None:
        whole = torch.cat([part[:, :n] for part, n in zip(inputs.log_mel, steps)], dim=1).float()
        if whole.shape[1] > COLUMNS:
            whole = F.adaptive_max_pool1d(whole, COLUMNS)
        mel = (whole.numpy() * 4.0 - 4.0) * 10.0  # undo (log10 + 4) / 4; decades to decibels
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return Sound(sound.seconds, envelope, peak, mel, int(media["mel_bins"]), tuple(segments))


def _level(config: ConnectorConfig, output: ConnectorOutput, index: int, stretch: int) -> LevelView:
    """Cosines between a level's query outputs, ``(1, W, N, D)``."""
    values = output.levels[index][0].float().cpu()
    real = output.window_masks[index][0].cpu()
    windows, queries, _ = values.shape
    within = torch.full((windows,), torch.nan)
    if queries > 1:
        means = pairwise_cosine(values).sum((1, 2)) / (queries * (queries - 1))
        within[real] = means[real]
    unit = F.normalize(values[real], dim=-1)
    neighbours = float((unit[1:] * unit[:-1]).sum(-1).mean()) if len(unit) > 1 else None
    rows = unit.flatten(1) / queries**0.5  # so that a product of two rows is the mean cosine over the queries
    grouped = max(1, -(-len(rows) // CELLS))
    if grouped > 1:
        # likewise the mean over two groups of windows is the product of the groups' mean rows
        rows = torch.stack([group.mean(0) for group in rows.split(grouped)])
    return LevelView(
        seconds=config.levels[index].frames * stretch * config.frame_seconds,
        queries=queries,
        real=real.numpy(),
        within=within.numpy(),
        queries_map=(unit @ unit.transpose(1, 2)).mean(0).numpy(),
        windows_map=(rows @ rows.T).numpy(),
        grouped=grouped,
        neighbours=neighbours,
    )


def _sizes(
    engine: VideoSalmonn,
    inputs: MediaInputs,
    visual: torch.Tensor | None,
    output: ConnectorOutput,
    comparison: Comparison | None,
) -> tuple[tuple[str, str], ...]:
    """What goes from stage to stage, with shapes in words a reader of the paper knows."""

    def shape(tensor: torch.Tensor) -> str:
        return " × ".join(map(str, tensor.shape))

    rows: list[tuple[str, str]] = []
    if inputs.pixel_values is not None:
        rows.append(("frames given to the vision encoder (T, 3, H, W)", shape(inputs.pixel_values)))
    if visual is not None:
        rows.append(("its output, cached (T, patches or V, D)", shape(visual)))
    if inputs.log_mel is not None:
        rows.append(("log-mel given to the speech encoder (segments, bands, steps of 10 ms)", shape(inputs.log_mel)))
    if inputs.audio_inputs is not None:
        rows.append(("given to the sound-event encoder (segments, …)", shape(inputs.audio_inputs)))
    for index, level in enumerate(output.levels):
        rows.append((f"connector, level {index + 1} (W windows, N queries, D)", shape(level[0])))
    rows.append(("media tokens, before trimming (L, D of the language model)", shape(output.tokens[0])))
    if comparison is not None:
        rows.append(("prompt, media tokens included (tokens)", str(comparison.prompt_tokens)))
        rows.append(("answer (tokens, end token included)", str(comparison.answer_tokens)))
    rows.append(("context of the language model (tokens)", str(engine.context)))
    return tuple(rows)


def _notes(engine: VideoSalmonn, sight: Sight | None, question: str | None) -> tuple[str, ...]:
    """What a reader has to know to read the page right."""
    notes = []
    if engine.name == "tiny":
        notes.append(
            "The model “tiny” has random weights: it shows the machinery; its answers and cosines mean nothing."
        )
    if sight is not None:
        height, width = sight.size
        if len(sight.thumbnails) < len(sight.times):
            notes.append(
                f"{counted(len(sight.times), 'frame', 'were')} given to the model; at most "
                f"{len(sight.thumbnails)} of them are shown."
            )
        notes.append(
            f"Thumbnails keep the picture’s proportions; the vision encoder is given {width} × "
            f"{counted(height, 'pixel')}."
        )
    if sight is not None and engine.model.config.depends_on_question:
        notes.append(
            "This model reads the pictures in the light of the question"
            + (", which was not given here." if question is None else ".")
        )
    return tuple(notes)
