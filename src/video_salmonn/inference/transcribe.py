"""What is said in a media file of any length, and when.

Two decoders can write the text:

* ``model``: the whole system. The language model reads what the connector makes of the sound, piece by piece, together
  with the connector's CTC; the times of words come from the connector's own outputs, six a second
  (:mod:`video_salmonn.inference.alignment`).
* ``whisper``: the decoder that belongs to the model's speech encoder, where the model has one
  (:mod:`video_salmonn.checkpoints.speech_decoder`).

A file is decoded and transcribed in stretches of at most :data:`STRETCH` seconds that end where it is quiet, so memory
does not grow with its length. Shorter stretches (``look_ahead``) give the transcript that live input gets: where a
stretch ends depends on nothing behind its longest length. Only the sound is listened to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.errors import ConfigError, EmptyMediaError
from video_salmonn.inference.alignment import word_times
from video_salmonn.inference.media_store import Timer
from video_salmonn.inference.pieces import AT_ONCE, border_loudness, spans
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inference.sound_stretches import RATE, SoundSource
from video_salmonn.inference.speech_decoder import SpeechDecoder
from video_salmonn.inference.transcript import Segment, Transcript, Word, segments_of
from video_salmonn.inference.transcript_options import (
    DECODING,
    GENERATION,
    STRETCH,
    check_transcript,
    checked_look_ahead,
)
from video_salmonn.model.words import without_names
from video_salmonn.types import Clip, Heard, MediaReport, Seen, Waveform

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

QUESTION = "<asr>"
"""What the language model is asked."""
PIECE = 30.0
"""Longest piece in seconds for a model that does not state what it was trained on."""
TOKENS_PER_SECOND = 8
"""Most tokens of speech in a second that an answer has room for."""
Progress = Callable[[float, float | None], None]
"""Called with the seconds that are transcribed, and the length of the file where it is known."""
_DECODERS: WeakKeyDictionary[Any, SpeechDecoder] = WeakKeyDictionary()


@dataclass
class _Made:
    """What became of the sound so far."""

    segments: list[Segment] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    timer: Timer = field(default_factory=Timer)
    language: str | None = None


class Transcriber:
    """Transcribes stretches of sound one after another, each by itself.

    Args:
        engine: the model.
        decoder, language, task, words, whisper, **options: as for :func:`transcribe`.

    Raises:
        MissingPartError, ConfigError: as :func:`transcribe`.
    """

    def __init__(
        self,
        engine: VideoSalmonn,
        *,
        decoder: str = "model",
        language: str | None = None,
        task: str = "transcribe",
        words: bool = True,
        whisper: Path | None = None,
        **options: Any,
    ) -> None:
        check_transcript(decoder, task, language=language, whisper=whisper, options=options)
        if engine.model.config.speech_config is None:
            reason = "this model has no speech encoder: it hears no words"
            raise ConfigError(f"{engine.name}: {reason}", remedy="use another")
        self.engine, self.decoder, self.task, self.words = engine, decoder, task, words
        self._listener = _listener(engine, whisper) if decoder == "whisper" else None
        self._options = {k: v for k, v in options.items() if k in GENERATION and v is not None}
        self._made = _Made(language=self._listener.check_language(language) if self._listener is not None else None)
        self._count = 0

    @property
    def timer(self) -> Timer:
        """Computing time by stage."""
        return self._made.timer

    @property
    def language(self) -> str | None:
        """Code of the language that was given or detected; None if the decoder does not state it."""
        return self._made.language

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the segments so far must know."""
        found = list(self._made.warnings)
        if self.decoder == "model" and self._count and self.engine.model.words is None:
            found.append(
                "times are those of whole pieces: this model's connector was not trained to say words, so nothing in "
                "it tells when a word is spoken"
            )
        return tuple(found)

    def stretch(self, samples: NDArray[np.float32], start: float) -> list[Segment]:
        """What is said in the next stretch.

        Args:
            samples: ``(n,)`` at 16 kHz.
            start: seconds at which it begins; times of the result count from the same zero.
        """
        made = self._made
        if self._listener is not None:
            _whisper_stretch(self.engine, self._listener, samples, start, self.task, self.words, made)
        else:
            _model_stretch(self.engine, samples, start, self._options, made)
        found = [replace(segment, id=self._count + number) for number, segment in enumerate(made.segments)]
        made.segments, made.warnings = [], list(dict.fromkeys(made.warnings))  # neither grows over hours
        self._count += len(found)
        return found


def transcribe(
    engine: VideoSalmonn,
    media: Any,
    *,
    sound: Any = None,
    decoder: str = "model",
    start: float | None = None,
    end: float | None = None,
    language: str | None = None,
    task: str = "transcribe",
    words: bool = True,
    whisper: Path | None = None,
    look_ahead: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe a media file.

    Args:
        engine: the model.
        media: a file, URL, bytes, array or decoded clip with sound.
        sound: a sound file that takes the place of the media's own sound.
        decoder: one of :data:`DECODERS`.
        start, end: seconds into the file; the stretch that is wanted.
        language: of the speech, a code or an English name; for ``whisper``, which otherwise detects it.
        task: ``transcribe``, or ``translate`` into English with a multilingual Whisper.
        words: with ``whisper``, also give the times of words, which takes about twice as long; the model's own
            words have times at no cost.
        whisper: a folder with the whole Whisper that the model's speech encoder was taken from, for a model that comes
            without its decoder.
        look_ahead: seconds of sound that a text may depend on, from :data:`SHORTEST_LOOK_AHEAD` to :data:`STRETCH`,
            the default.
        progress: see :data:`Progress`.
        **options: :data:`DECODING` and :data:`GENERATION`.

    Returns:
        the transcript; without segments where nobody speaks.

    Raises:
        MediaError: the media cannot be used; EmptyMediaError: there is no sound in them.
        MissingPartError: the model has no decoder of its own for ``whisper``.
        ConfigError: an option is impossible.
    """
    longest = STRETCH if look_ahead is None else checked_look_ahead(look_ahead)
    writer = Transcriber(engine, decoder=decoder, language=language, task=task, words=words, whisper=whisper, **options)
    source = SoundSource(
        engine.processor, media, sound, start, end, {k: v for k, v in options.items() if k in DECODING}
    )
    segments: list[Segment] = []
    begin = float(start or 0.0)
    done = 0.0
    for offset, samples in source.stretches(writer.timer, longest):
        segments += writer.stretch(samples, begin + offset)
        done = offset + len(samples) / RATE
        if progress is not None:
            progress(done, source.length)
    report = source.report
    if report.heard.status not in ("used", "silent"):
        detail = report.heard.detail or f"sound: {report.heard.status}"
        raise EmptyMediaError(
            report.source, f"there is no sound to transcribe ({detail})", remedy="give a file with sound"
        )
    notes = engine.notices if decoder == "model" else []
    seconds = {name: round(value, 4) for name, value in writer.timer.seconds.items()}
    return Transcript(
        tuple(segments),
        report.duration,
        "english" if task == "translate" else _name_of(writer.language or language),
        decoder,
        task,
        (report.to_dict(),),
        engine.name,
        seconds,
        tuple(dict.fromkeys([*notes, *report.cuts, *report.warnings, *writer.warnings])),
    )


def _listener(engine: VideoSalmonn, whisper: Path | None) -> SpeechDecoder:
    """The decoder of the model's speech encoder, loaded at its first use."""
    if engine.model.main_device is not None:
        raise ConfigError(
            "decoder whisper needs the speech encoder in one place: not with device_map or offload_encoders",
            remedy="load the model without them",
        )
    found = _DECODERS.get(engine)
    if found is None or whisper is not None:
        from video_salmonn.checkpoints.speech_decoder import load_decoder

        with engine.lock:
            found = SpeechDecoder(*load_decoder(engine.name, engine.model.tower.speech.model, whisper))
        _DECODERS[engine] = found
    return found


def _name_of(language: str | None) -> str:
    """English name of a language by its code, in lower case."""
    if language is None:
        return "unknown"
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return LANGUAGES.get(language.lower(), language.lower())


# ------------------------------------------------------------------------------------------------------- decoders


def _whisper_stretch(
    engine: VideoSalmonn,
    listener: SpeechDecoder,
    samples: NDArray[np.float32],
    start: float,
    task: str,
    words: bool,
    made: _Made,
) -> None:
    sound = torch.from_numpy(samples)
    if words and not listener.tells_words:
        made.warnings.append("this Whisper does not say which of its attention heads follow the sound: no word times")
        words = False
    with engine.lock, made.timer.stage("generate"):
        if made.language is None:
            made.language = listener.language_of(sound)
        made.segments += listener.transcribe(sound, language=made.language, task=task, words=words, start=start)


def _model_stretch(
    engine: VideoSalmonn, samples: NDArray[np.float32], start: float, options: dict[str, Any], made: _Made
) -> None:
    """Transcribe a stretch with the whole model, in pieces as long as those of its training."""
    media, seconds = engine.model.config.media_config, engine.model.connector.config.frame_seconds
    longest = float(media.longest(words=True) or media.max_sound_seconds or PIECE)
    loudness = border_loudness(samples, RATE, seconds)
    frames = max(math.ceil(len(samples) / RATE / seconds), 1)
    plan = spans(frames, max(int(longest / seconds), 1), loudness)
    step = round(RATE * seconds)
    words: list[Word] = []
    for first in range(0, len(plan), AT_ONCE):
        pieces = [(span[0] * seconds, samples[span[0] * step : span[1] * step]) for span in plan[first:][:AT_ONCE]]
        for (offset, piece), found in zip(pieces, _answer(engine, [piece for _, piece in pieces], options, made)):
            text, logs = found
            if not text:
                continue
            begin, end = start + offset, start + offset + len(piece) / RATE
            if logs is None:
                made.segments.append(Segment(0, begin, end, text))
                continue
            assert engine.model.words is not None
            places = {token: column for column, token in enumerate(engine.model.words.columns.tolist()) if column}
            per_second = engine.model.connector.config.tokens_per_second
            tokenizer = engine.processor.tokenizer
            words += word_times(text, logs, tokenizer, places, start=begin, per_second=per_second)
    made.segments += segments_of(words)


def _answer(
    engine: VideoSalmonn, pieces: list[NDArray[np.float32]], options: dict[str, Any], made: _Made
) -> list[tuple[str, torch.Tensor | None]]:
    """For each piece of sound its text ("" where nobody speaks), and the connector's log-probabilities of words."""
    clips = [_clip(piece) for piece in pieces]
    with made.timer.stage("encode"):
        encoded = engine.encode(clips)
    room = math.ceil(max(clip.duration for clip in clips) * TOKENS_PER_SECOND) + 16
    asked = {"max_new_tokens": room, "piece_seconds": 0, **options}
    with made.timer.stage("generate"):
        answers = engine.batch([MediaQuestion(QUESTION, [one], asked) for one in encoded])
    head = engine.model.words
    jointly = head is not None and (options.get("joint_ctc") or engine.model.own_option("joint_ctc", {})) != "off"
    texts = []
    for answer in answers:
        spoken = answer.report.get("joint_ctc") or not jointly  # else CTC heard no words in it
        texts.append(answer.text if spoken else "")
        made.warnings += [note for note in answer.report["warnings"] if note not in engine.notices]
    if head is None:
        engine.preparer.tokens.forget(encoded)
        return [(text, None) for text in texts]
    per_frame = engine.model.connector.config.tokens_for(1)
    with engine.lock, made.timer.stage("align"), torch.inference_mode():
        outputs = engine.preparer.tokens.get(encoded)
        engine.preparer.tokens.forget(encoded)  # nobody asks about a piece again
        logs = [without_names(head.log_posteriors(one[None])[0], per_frame) for one in outputs]
    return list(zip(texts, logs))


def _clip(samples: NDArray[np.float32]) -> Clip:
    length = len(samples) / RATE
    report = MediaReport("<piece>", length, Seen("absent"), Heard("used", 0.0, length))
    return Clip(None, Waveform(samples, RATE), length, report)
