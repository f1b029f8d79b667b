"""``VideoSalmonn``: ask, chat, batch and stream. Media are encoded once; questions after that cost the LLM only."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from transformers import StoppingCriteriaList

from video_salmonn.cache import Cache
from video_salmonn.errors import ConfigError
from video_salmonn.files import digest
from video_salmonn.files import fingerprint as fingerprint_of
from video_salmonn.inference.chat import ChatSession
from video_salmonn.inference.generating import Generated, generate_in_turn
from video_salmonn.inference.likelihood import answer_ids, log_likelihoods
from video_salmonn.inference.loading import load_in_place
from video_salmonn.inference.media_store import EncodedMedia, KeptMedia, MediaStore, Timer
from video_salmonn.inference.options import MEDIA_OPTIONS, Options, check_levels, checked
from video_salmonn.inference.piecewise import JoinedAnswer, SpanPlan, outcome, plan_of
from video_salmonn.inference.preparing import AskedQuestion, PreparedQuestion, Preparer
from video_salmonn.inference.questions import MediaQuestion, as_media, as_question, check_kinds, expanded, is_pair
from video_salmonn.inference.streaming import Spoken, stream
from video_salmonn.inference.transcript import Transcript
from video_salmonn.model import adapters, prompt
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import Conversation, VideoSalmonnProcessor
from video_salmonn.types import Answer, AnswerReport, Likelihood

if TYPE_CHECKING:
    from video_salmonn.inference.decide import Decisions

DEFAULT_NEW_TOKENS = 128
STAGES = ("load", "decode", "features", "encode", "connect", "prefill", "generate", "total")


class VideoSalmonn:
    """A model, its processor and a cache of encoded media.

    Args:
        model: the model, in evaluation mode.
        processor: that belongs to it.
        name: for reports.
        cache: of encoded media; by default 1 GiB in memory.
        load_seconds: for reports.
        notices: sentences that go into the warnings of every report.
        fingerprint: identifies these encoders in a cache on disk; computed here by default.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        *,
        name: str = "model",
        cache: Cache | None = None,
        load_seconds: float = 0.0,
        notices: Sequence[str] = (),
        fingerprint: str | None = None,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self.cache = cache if cache is not None else Cache()
        self.load_seconds = load_seconds
        self.notices = list(notices)
        if fingerprint is None:
            fingerprint = f"{name}#{uuid4()}" if self.cache.folder is None else fingerprint_of(model.tower)
        self._resting: tempfile.TemporaryDirectory[str] | None = None  # weights on the disk live as long as this
        self._lock = threading.RLock()  # adapters are switched inside the model: one answer at a time
        self.media = MediaStore(model, processor, self.cache, fingerprint, self._lock)
        self.preparer = Preparer(model, processor)

    def close(self) -> None:
        """Delete weights that rest on the disk (``offload_encoders``, ``device_map``), as the end of the process does.

        A model without such weights stays usable; another one does not.
        """
        if self._resting is not None:
            self._resting.cleanup()

    @property
    def lock(self) -> threading.RLock:
        """Held while the model runs; hold it to run parts of the model by hand while other threads ask."""
        return self._lock

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path = "embedded",
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        cache: Cache | None = None,
        profile: str | None = None,
        quantise: str | None = None,
        quantiser: str | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        offload_encoders: bool = False,
        kv_cache: str = "dynamic",
        quantization_config: Any = None,
    ) -> VideoSalmonn:
        """Load a model.

        Args:
            name_or_dir: ``embedded``, ``tiny``, a model directory, or a model's name on a hub of Hugging Face:
                ``owner/name`` or ``owner/name@revision``.
            device: where it runs.
            dtype: of the weights; None for the stored one. ``int8`` and ``int4`` are short for ``quantise``, with
                everything else in 16 bits.
            cache: of encoded media.
            profile: ``released`` switches to everything the released code does (frame times, resizing, 30 s of sound,
                padding attended, Vicuna prompt, beam search); only sensible for weights trained so.
            quantise, quantiser, device_map, offload_encoders, kv_cache: memory, see
                :class:`~video_salmonn.resources.placement.Placement`. Loading needs all weights in main memory once.

            quantization_config: transformers' ``BitsAndBytesConfig``, in place of ``quantise``.

        Raises:
            CheckpointError, MissingPartError, ConfigError.
        """
        loaded = load_in_place(
            name_or_dir,
            device=device,
            dtype=dtype,
            profile=profile,
            quantise=quantise,
            quantiser=quantiser,
            device_map=device_map,
            offload_encoders=offload_encoders,
            kv_cache=kv_cache,
            quantization_config=quantization_config,
            marked=cache is not None and cache.folder is not None,
        )
        engine = cls(
            loaded.model,
            loaded.processor,
            name=str(name_or_dir),
            cache=cache,
            load_seconds=loaded.seconds,
            notices=loaded.notices,
            fingerprint=loaded.fingerprint,
        )
        engine._resting = loaded.resting
        return engine

    # --------------------------------------------------------------------------------------------- questions

    def ask(self, media: Any, question: Conversation, *, sound: Any = None, **options: Any) -> Answer:
        """Answer a question about media.

        Args:
            media: a file, URL, bytes, array or clip; a list of them; or None for a question about nothing. Of a decoded
                clip, ``start``, ``end``, ``no_audio`` and ``no_video`` are applied; other decoding options are refused.
            question: text, an alias such as ``<asr>``, or a list of messages.
            sound: a sound file that takes the place of the media's own sound.
            **options: ``no_audio``, ``no_video``, ``max_new_tokens``, ``long`` (``error`` | ``segments`` | ``coarse``),
                ``piece_seconds`` (longer media are understood in pieces, see :mod:`video_salmonn.inference.pieces`; by
                default what the model was trained on, 0 for whole media), ``joint_ctc``, ``joint_ctc_weight``,
                ``stop_repeats`` (:data:`~video_salmonn.model.generation.OWN_GENERATION`),
                ``zero_levels``, ``adapter_scale``, ``seed`` (of sampling), decoding options (``start``, ``end``,
                ``frame_times`` …) and any option of transformers' ``generate`` (``num_beams``, ``do_sample``,
                ``temperature``, ``stop_strings`` …).

        Returns:
            the answer, with the account of the contract in ``answer.report``.

        Raises:
            MediaError: the media cannot be used.
            ContextError: media and question do not fit the context, and ``long`` is ``error``.
            ConfigError: an option is impossible.
        """
        return self.batch([MediaQuestion(question, as_media(media, sound), options)])[0]

    def chat(self, media: Any = None, *, sound: Any = None, **options: Any) -> ChatSession:
        """A conversation about media that are encoded once; ``session.ask(text)`` continues it."""
        return ChatSession(self, as_media(media, sound), options)

    def stream(
        self, media: Any, question: Conversation, *, sound: Any = None, **options: Any
    ) -> Generator[str, None, Answer]:
        """Like :meth:`ask`, but yields the answer's text piece by piece as it is generated.

        The generator's return value (``StopIteration.value``) is the whole :class:`Answer`. Closing the generator ends
        the generation at the next token.
        """
        item = as_question(MediaQuestion(question, as_media(media, sound), options))
        if item.options.get("long") == "segments":
            raise ConfigError("stream cannot be combined with long='segments'", remedy="use ask, or long='coarse'")
        if (item.options.get("num_beams") or self.model.generation_config.num_beams or 1) > 1:
            raise ConfigError("beams cannot be streamed", remedy="set num_beams=1")

        def answer(streamer: Any, left: Any) -> Answer:
            criteria = StoppingCriteriaList([*item.options.get("stopping_criteria", ()), left])
            return self._answers([replace(item, options={**item.options, "stopping_criteria": criteria})], streamer)[0]

        return stream(self.processor.tokenizer, answer)

    def batch(self, items: Sequence[MediaQuestion | Mapping[str, Any]]) -> list[Answer]:
        """Answer several items together; each gets the answer it would get alone.

        Args:
            items: :class:`MediaQuestion` objects, or mappings with ``question``, ``media`` and options. Those
                with equal generation options run as one batch.

        Raises:
            as :meth:`ask`; the first item that cannot be used stops the batch.
        """
        rows = [as_question(item) for item in items]
        answers: list[Answer | None] = [None] * len(rows)
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(digest({k: repr(v) for k, v in row.options.items()}), []).append(index)
        for members in groups.values():
            for index, answer in zip(members, self._answers([rows[i] for i in members])):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def ask_many(self, items: Sequence[MediaQuestion | Mapping[str, Any]]) -> list[Answer]:
        """Alias of :meth:`batch`, the name evaluation uses."""
        return self.batch(items)

    def transcribe(self, media: Any, **options: Any) -> Transcript:
        """What is said in a media file of any length, and when; see :mod:`video_salmonn.inference.transcribe`.

        Args:
            media: a file, URL, bytes, array or decoded clip with sound.
            **options: ``decoder`` (``model`` or ``whisper``), ``sound``, ``start``, ``end``, ``language`` …

        Raises:
            MediaError, MissingPartError, ConfigError.
        """
        from video_salmonn.inference.transcribe import transcribe

        return transcribe(self, media, **options)

    def likelihoods(self, item: MediaQuestion | Mapping[str, Any], answers: Sequence[str]) -> list[Likelihood]:
        """How likely the model holds each of several given answers to be.

        Media are encoded once and the prompt runs once; the answers share its cache.

        Args:
            item: what is asked, as for :meth:`batch`.
            answers: texts; each is judged with the token that ends an answer, as training saw it.

        Raises:
            as :meth:`ask`; ConfigError also without answers, or with an empty one.
        """
        item = as_question(item)
        if not answers:
            raise ConfigError("likelihoods of no answers were asked for", remedy="give at least one")
        if item.options.get("long") == "segments":
            raise ConfigError("likelihoods are not computed stretch by stretch", remedy="use long='coarse' or 'error'")
        texts = [prompt.readable(answer, "an answer") for answer in answers]
        conversation = expanded(item.conversation)
        rendered = self.processor.render_text(conversation, len(item.media))
        ids = [answer_ids(self.processor, conversation, rendered, answer) for answer in texts]
        room = max(int(item.options.get("max_new_tokens", 0)), *map(len, ids))
        media = self.encode(item.media, **item.options)
        check_kinds(conversation, [one.report for one in media])
        with self._answering(item.options):
            row = self.preparer.prepare(AskedQuestion(conversation, rendered, media, room, item.options))
            found = log_likelihoods(self.model, row.input_ids, row.media_embeds, ids)
        return [Likelihood(answer, log, len(one)) for answer, log, one in zip(answers, found, ids)]

    def prepare(self, media: Any, question: Conversation, *, sound: Any = None, **options: Any) -> PreparedQuestion:
        """What the language model would be given for a question about the whole media; arguments as for :meth:`ask`.

        Raises:
            as :meth:`ask`.
        """
        item = as_question(MediaQuestion(question, as_media(media, sound), options))
        asked = self._asked(item, Timer())
        with self._answering(item.options):
            return self.preparer.prepare(asked)

    def decide(self, media: Any, questions: Sequence[Any], **options: Any) -> Decisions:
        """Typed decisions about media, with probabilities; see :mod:`video_salmonn.inference.decide`.

        Args:
            media: as for :meth:`ask`.
            questions: ``Predicate``, ``Choice`` and ``Score`` objects, or mappings with OpenAI's names (``type``,
                ``instructions``, ``choices``, ``levels``, ``name``). Media are encoded once for all of them.
            **options: ``sound``, ``no_audio``, ``no_video``, ``start``, ``end``, ``long`` …

        Raises:
            MediaError, ContextError, ConfigError.
        """
        from video_salmonn.inference.decide import decide

        return decide(self, media, questions, **options)

    # ---------------------------------------------------------------------------------------------- the work

    def encode(self, media: Sequence[Any], timer: Timer | None = None, **options: Any) -> list[EncodedMedia]:
        """Encode media items (or take them from the cache).

        Args:
            media: sources, ``(source, sound)`` pairs, decoded clips; items that were encoded before go through.
            timer: collects seconds of ``decode``, ``features`` and ``encode``.
            **options: as for :meth:`ask`.

        Raises:
            MediaError: an item cannot be used.
            ConfigError: an option is impossible, or cannot be applied to an item that is decoded or encoded already.
        """
        options = checked(options)
        timer = timer or Timer()
        wanted: dict[str, Any] = {k: v for k, v in options.items() if k in MEDIA_OPTIONS and v is not None}
        if options.get("no_audio"):
            wanted["use_audio"] = False
        if options.get("no_video"):
            wanted["use_video"] = False
        self.processor.media_options(**wanted)  # impossible values are refused before anything is decoded
        encoded = []
        for item in media:
            if isinstance(item, KeptMedia):
                encoded.append(item.get(self.media, timer, wanted))
            elif isinstance(item, EncodedMedia):
                if wanted:
                    raise ConfigError(
                        f"{item.report.source}: {', '.join(sorted(wanted))} cannot be applied to encoded media",
                        remedy="encode it with these options",
                    )
                encoded.append(replace(item, reused=True))
            else:
                source, sound = item if is_pair(item) else (item, None)
                encoded.append(self.media.get(source, sound, timer=timer, **wanted))
        return encoded

    def _answers(self, items: list[MediaQuestion], streamer: Any = None) -> list[Answer]:
        """Answer items that share their options."""
        options = items[0].options
        if options.get("long") == "segments" and len(items) > 1:
            return [self._answers([item])[0] for item in items]
        start, timer = perf_counter(), Timer()
        asked = [self._asked(item, timer) for item in items]
        with self._answering(options):
            plans = [plan_of(one, self.preparer) for one in asked]
            with timer.stage("connect"):
                self.preparer.connect_together([one for one, plan in zip(asked, plans) if plan.form == "whole"])
                rows = [[self.preparer.prepare(one, span) for span in plan.spans] for one, plan in zip(asked, plans)]
            said = Spoken(streamer)
            at_once = min((plan.at_once for plan in plans if plan.at_once is not None), default=None)
            every = [row for own in rows for row in own]
            made = iter(generate_in_turn(self.model, self.processor, every, at_once, asked[0], timer, said))
            found = [
                self._outcome(plan, one, own, [next(made) for _ in own]) for plan, one, own in zip(plans, asked, rows)
            ]
            if plans[0].form != "whole":
                said.end(found[0].text)
        timer.seconds["total"] = perf_counter() - start
        return [Answer(one.text, self._report(one, own.media, timer)) for one, own in zip(found, asked)]

    def _asked(self, item: MediaQuestion, timer: Timer) -> AskedQuestion:
        """An item with its media encoded and its prompt rendered."""
        check_levels(item.options, len(self.model.connector.config.levels))
        media = self.encode(item.media, timer, **item.options)
        check_kinds(item.conversation, [one.report for one in media])
        conversation = expanded(item.conversation)
        rendered = self.processor.render_text(conversation, len(media))
        new_tokens = int(item.options.get("max_new_tokens", self.new_tokens))
        return AskedQuestion(conversation, rendered, media, new_tokens, item.options)

    @contextmanager
    def _answering(self, options: Options) -> Iterator[None]:
        """A block that has the model for itself, its adapters scaled as the options say."""
        with self._lock, adapters.scaled(self.model.language_model, options.get("adapter_scale")):
            yield

    def _outcome(
        self, plan: SpanPlan, asked: AskedQuestion, rows: Sequence[PreparedQuestion], made: Sequence[Generated]
    ) -> JoinedAnswer:
        """An item's answers as one."""

        def likely(row: PreparedQuestion, text: str) -> float:
            ids = answer_ids(self.processor, asked.conversation, asked.prompt, text)
            return log_likelihoods(self.model, row.input_ids, row.media_embeds, [ids])[0] / len(ids)

        return outcome(plan, asked, rows, made, self.model.connector.config, likely)

    # ------------------------------------------------------------------------------------------------ report

    @property
    def context(self) -> int:
        """Tokens the language model can hold."""
        return self.preparer.context

    @property
    def new_tokens(self) -> int:
        """Longest answer, in tokens, where the caller does not say."""
        return int(self.model.config.generation.max_new_tokens or DEFAULT_NEW_TOKENS)

    def _report(self, found: JoinedAnswer, media: Sequence[EncodedMedia], timer: Timer) -> AnswerReport:
        """The account of the contract. ``prompt_tokens`` counts the whole prompt, media tokens included."""
        seconds = {stage: round(timer.seconds.get(stage, 0.0), 4) for stage in STAGES}
        seconds["load"] = round(self.load_seconds, 4)
        warnings = [warning for item in media for warning in (*item.report.cuts, *item.report.warnings)]
        report = AnswerReport(
            answer=found.text,
            model=self.name,
            media=[{**item.report.to_dict(), "reused": item.reused} for item in media],
            media_tokens=found.media_tokens,
            prompt_tokens=found.prompt_tokens,
            new_tokens=found.new_tokens,
            seconds=seconds,
            warnings=[*self.notices, *warnings, *found.warnings],
        )
        if found.joint:
            report["joint_ctc"] = True
        if found.pieces:
            report["pieces"] = [piece.to_dict() for piece in found.pieces]
        return report
