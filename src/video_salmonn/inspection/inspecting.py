"""One clip down the pipeline, the way ``ask`` takes, and note what became of it.

Encoding and answers are the engine's own: what was encoded before is not encoded again, and what the page says of an
answer is what ``ask`` answers. Only the connector's outputs are made here, since the windows are drawn from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from video_salmonn.connector import ConnectorConfig, ConnectorOutput
from video_salmonn.connector.diversity import pairwise_cosine
from video_salmonn.errors import ConfigError
from video_salmonn.features.logmel import HOP, SAMPLE_RATE
from video_salmonn.inference import long as long_media
from video_salmonn.inference.engine import STAGES, VideoSalmonn
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.inference.options import MEDIA_OPTIONS, checked
from video_salmonn.inspection.comparison import Comparison, compare
from video_salmonn.inspection.thumbnails import thumbnails
from video_salmonn.inspection.timeline import LevelView, Sight, Sound, SoundSegment, Timeline, Tokens
from video_salmonn.inspection.words_heard import WordsHeard, words_heard
from video_salmonn.model import prompt
from video_salmonn.model.aliases import expand
from video_salmonn.model.configuration import MediaConfig
from video_salmonn.model.connect import MediaTokens
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.transcripts import asks_for_words
from video_salmonn.types import Clip, Waveform
from video_salmonn.wording import counted

COLUMNS = 1100
"""Most columns of waveform and log-mel that are kept."""
CELLS = 240
"""Most rows and columns of a cosine matrix; longer clips are averaged."""
DECODING = (*MEDIA_OPTIONS, "no_audio", "no_video")
"""Options that say what of a file is seen and heard; the others are of the answer."""


def inspect_media(
    engine: VideoSalmonn, source: Any, *, sound: Any = None, question: str | None = None, **options: Any
) -> Timeline:
    """Send one media item down the pipeline and note everything on the way.

    Args:
        engine: the model.
        source, sound, options: as for :meth:`VideoSalmonn.ask`, without ``zero_levels`` and ``long="segments"``. An
            item that was encoded before has to bring its clip.
        question: ask it, also with sound, picture and all media taken away.

    Raises:
        MediaError: the media cannot be used.
        ContextError: media and question do not fit, and ``long`` is ``error``.
        ConfigError: an option is impossible.
    """
    if (options.get("long") or "error") not in ("error", "coarse"):
        raise ConfigError(f"long is {options['long']!r}", remedy="inspect knows error and coarse")
    if "zero_levels" in options:
        raise ConfigError("zero_levels is not for inspect, which sets levels to zero itself", remedy="leave it out")
    if question is not None:
        prompt.parse(question, 1)
    options = checked(options)
    config = engine.model.connector.config
    if not config.synchronise:
        raise ConfigError(
            "this model was made without synchronisation (connector.synchronise: false): sight and sound have no "
            "common time axis that could be drawn",
            remedy="inspect a model with synchronisation",
        )
    timer = Timer()
    decoding = {name: value for name, value in options.items() if name in DECODING}
    answering = {name: value for name, value in options.items() if name not in DECODING}
    with engine.lock:  # its own passes through the model, one after another
        encoded = engine.encode([source if sound is None else (source, sound)], timer, **decoding)[0]
        comparison = None
        if question is not None:
            comparison = compare(engine, encoded, question, answering, timer)
            comparison = comparison.knowing(silent=encoded.report.heard.status == "silent")
        coarseness, warnings = _coarseness(engine, encoded, question, answering)
        connected = _connected(engine, encoded, question, coarseness, timer if question is None else Timer())
        with timer.stage("drawing"):
            clip = encoded.clip or engine.processor.load(source, sound=sound, **_as_media_options(decoding))
            inputs = engine.processor.media_inputs([clip])
            sight = _sight(engine, clip, inputs, source, _as_media_options(decoding))
            heard = None if clip.sound is None else _sound(engine.processor.config.media_config, clip.sound, inputs)

    output, features, step = connected.groups[0][1], encoded.features, config.frame_seconds
    length = output.mask.shape[1] * config.levels[0].frames * coarseness / config.levels[0].queries * step
    pictures = 0 if features.visual is None else features.still_frames or len(features.visual)
    tokens = Tokens(output.mask[0].cpu().numpy(), length / output.mask.shape[1])
    answer_warnings = () if comparison is None else comparison.warnings
    known = {*engine.notices, *encoded.report.cuts, *encoded.report.warnings}
    return Timeline(
        model=engine.name,
        report=encoded.report,
        offset=float(decoding.get("start") or 0.0),
        frame_seconds=step,
        real_end=min(max(pictures, features.sound_frames) * step, length),
        axis_end=length,
        sight=sight,
        sound=heard,
        levels=tuple(level_view(config, output, index, coarseness) for index in range(len(output.levels))),
        tokens=tokens,
        coarseness=coarseness,
        sizes=_sizes(engine, inputs, features.visual, output, comparison),
        seconds=_seconds(engine, timer),
        words=_words(engine, connected, features.speech is not None, tokens.seconds, comparison),
        comparison=comparison,
        warnings=tuple(dict.fromkeys(w for w in (*answer_warnings, *warnings) if w not in known)),
        notes=_notes(engine, sight, comparison),
        caveats=tuple(engine.notices),
    )


def _as_media_options(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of :class:`MediaOptions` from options of ``ask``."""
    wanted = {name: value for name, value in decoding.items() if name in MEDIA_OPTIONS}
    wanted |= {"use_audio": False} if decoding.get("no_audio") else {}
    return wanted | ({"use_video": False} if decoding.get("no_video") else {})


def _coarseness(
    engine: VideoSalmonn, encoded: EncodedMedia, question: str | None, options: Mapping[str, Any]
) -> tuple[int, list[str]]:
    """Factor by which windows are longer, as in the answer, and what to say about media that do not fit."""
    config = engine.model.connector.config
    frames = long_media.frames_of(encoded.features, config)
    room = engine.context
    if question is not None:
        room -= int(options.get("max_new_tokens", engine.new_tokens))
        room -= len(engine.processor.render(expand(question), [0]).input_ids)
    tokens = config.tokens_for(frames)
    if tokens <= room:
        return 1, []
    if options.get("long") == "coarse":
        coarseness = long_media.coarseness_to_fit(config, [frames], room)
        return coarseness, [f"long media: windows are {coarseness} times as long as usual, so details are coarser"]
    if question is None:
        return 1, [
            f"{counted(tokens, 'media token', 'do')} not fit this model's context of {engine.context}: ask "
            f"needs start and end, long=segments or long=coarse"
        ]
    return 1, []  # understood in pieces, or refused already


def _connected(
    engine: VideoSalmonn, encoded: EncodedMedia, question: str | None, coarseness: int, timer: Timer
) -> MediaTokens:
    """The connector's outputs of the whole item."""
    with timer.stage("connect"), torch.inference_mode():
        pair = None if question is None else engine.processor.instruction([expand(question)])
        if pair is not None:
            pair = (pair[0].to(engine.model.device), pair[1].to(engine.model.device))
        return engine.model.connect_media([encoded.features], pair, coarseness=coarseness)


def _seconds(engine: VideoSalmonn, timer: Timer) -> dict[str, float]:
    """Seconds by stage; the total is that of one question, as ``ask`` counts it."""
    total = sum(timer.seconds.get(stage, 0.0) for stage in STAGES if stage not in ("load", "total"))
    seconds = {stage: round(timer.seconds.get(stage, 0.0), 4) for stage in (*STAGES, "comparison", "drawing")}
    return seconds | {"load": round(engine.load_seconds, 4), "total": round(total, 4)}


def _words(
    engine: VideoSalmonn, connected: MediaTokens, heard: bool, seconds: float, comparison: Comparison | None
) -> WordsHeard | None:
    """Words with their times: those of the answer where it was decoded with CTC and asks for all of them."""
    outputs = engine.model.words
    if outputs is None or not heard:
        return None
    answered = comparison is not None and comparison.joint and asks_for_words(comparison.question)
    with torch.inference_mode():
        return words_heard(
            connected.tokens[0],
            outputs,
            engine.processor.tokenizer,
            per_frame=engine.model.connector.config.tokens_for(1),
            seconds=seconds,
            transcript=comparison.answer if comparison is not None and answered else "",
        )


def _sight(engine: VideoSalmonn, clip: Clip, inputs: MediaInputs, source: Any, wanted: dict[str, Any]) -> Sight | None:
    """Times of all frames, and thumbnails of some."""
    if clip.frames is None or not len(clip.frames) or inputs.pixel_values is None:
        return None
    assert inputs.still_frames is not None
    options = engine.processor.media_options(**wanted)
    height, width = inputs.pixel_values.shape[-2:]
    shown = thumbnails(clip.frames, source, options)
    return Sight(clip.frames.times, shown, (height, width), int(inputs.still_frames[0]))


def _sound(media: MediaConfig, sound: Waveform, inputs: MediaInputs) -> Sound:
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
        padded = round(media.segment_seconds * SAMPLE_RATE) if len(lengths) > 1 else max(lengths)
    segments, at = [], 0
    for length in lengths:
        segments.append(SoundSegment(at / sound.rate, (at + length) / sound.rate, (at + padded) / sound.rate))
        at += padded
    mel = None
    if inputs.log_mel is not None:
        whole = torch.cat([part[:, :n] for part, n in zip(inputs.log_mel, steps)], dim=1).float()
        if whole.shape[1] > COLUMNS:
            whole = F.adaptive_max_pool1d(whole, COLUMNS)
        mel = (whole.numpy() * 4.0 - 4.0) * 10.0  # undo (log10 + 4) / 4; decades to decibels
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return Sound(sound.seconds, envelope, peak, mel, int(media.mel_bins), tuple(segments))


def level_view(config: ConnectorConfig, output: ConnectorOutput, index: int, coarseness: int) -> LevelView:
    """Cosines between a level's query outputs, ``(1, W, N, D)``."""
    values = output.levels[index][0].float().cpu()
    real = output.window_masks[index][0].cpu()
    windows, queries, _ = values.shape
    within, absolute = torch.full((2, windows), torch.nan)
    if queries > 1:
        cosines, pairs = pairwise_cosine(values), queries * (queries - 1)
        within[real] = (cosines.sum((1, 2)) / pairs)[real]
        absolute[real] = (cosines.abs().sum((1, 2)) / pairs)[real]
    unit = F.normalize(values[real], dim=-1)
    neighbours = float((unit[1:] * unit[:-1]).sum(-1).mean()) if len(unit) > 1 else None
    rows = unit.flatten(1) / queries**0.5  # so that a product of two rows is the mean cosine over the queries
    grouped = max(1, -(-len(rows) // CELLS))
    if grouped > 1:
        # likewise the mean over two groups of windows is the product of the groups' mean rows
        rows = torch.stack([group.mean(0) for group in rows.split(grouped)])
    return LevelView(
        seconds=config.levels[index].frames * coarseness * config.frame_seconds,
        queries=queries,
        real=real.numpy(),
        within=within.numpy(),
        absolute=absolute.numpy(),
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


def _notes(engine: VideoSalmonn, sight: Sight | None, comparison: Comparison | None) -> tuple[str, ...]:
    """What a reader has to know to read the page right."""
    notes = []
    if comparison is not None and comparison.pieces:
        notes.append(
            f"The answer combines answers about {counted(len(comparison.pieces), 'piece')}, one after the "
            f"other; windows, cosines and words are drawn for the whole clip in one pass."
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
            + (", which was not given here." if comparison is None else ".")
        )
    return tuple(notes)
