"""``VideoSalmonn``: ask, chat, batch and stream. Media are encoded once; questions after that cost the LLM only."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from video_salmonn.cache import Cache, cache_home
from video_salmonn.checkpoints.assemble import load_model, notices
from video_salmonn.errors import ConfigError, ContextError
from video_salmonn.files import digest
from video_salmonn.files import fingerprint as fingerprint_of
from video_salmonn.inference import long as long_media
from video_salmonn.inference.chat import ChatSession
from video_salmonn.inference.connected import ConnectedTokens
from video_salmonn.inference.items import (
    Item,
    as_media,
    check_kinds,
    expanded,
    is_pair,
    item_of,
    parse_numbers,
)
from video_salmonn.inference.likelihood import answer_ids, log_likelihoods
from video_salmonn.inference.media_store import EncodedMedia, KeptMedia, MediaStore, Timer
from video_salmonn.inference.options import (
    MEDIA_OPTIONS,
    Options,
    checked,
    generation_options,
    passed_on,
    without_effect,
)
from video_salmonn.inference.pieces import (
    AT_ONCE,
    Piece,
    Span,
    agreed,
    is_yes_or_no,
    says_yes,
    spans,
    timeline,
    transcript,
)
from video_salmonn.inference.streaming import Spoken, WithoutLoops, stream, without_loop
from video_salmonn.inference.transcript import Transcript
from video_salmonn.model import adapters, prompt
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import Conversation, VideoSalmonnProcessor, pad_rows, question_of
from video_salmonn.model.transcripts import asks_for_words
from video_salmonn.resources import quantise as packing
from video_salmonn.resources.arithmetic import slow_numbers
from video_salmonn.resources.memory import memory_plan
from video_salmonn.resources.placement import Placement, checked_device, place
from video_salmonn.types import Answer, Likelihood
from video_salmonn.wording import counted

DEFAULT_NEW_TOKENS = 128
_LOADING = threading.Lock()
"""Loading switches the initialisation of the whole process off and on: one model at a time."""
STAGES = ("load", "decode", "features", "encode", "connect", "prefill", "generate", "total")


class FirstToken(LogitsProcessor):
    """Notes when the first logits were there: the end of the prefill."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores as they are."""
        if self.at is None:
            self.at = perf_counter()
        return scores


@dataclass(frozen=True)
class _Prepared:
    """An item ready for the language model: ids, tokens of its media, and the account so far."""

    input_ids: list[int]
    media_embeds: torch.Tensor | None
    media: list[EncodedMedia]
    media_tokens: int
    warnings: list[str]
    question: str = ""

    @property
    def heard(self) -> bool:
        """Whether there is sound that somebody could speak in."""
        return any(item.features.speech is not None for item in self.media)


@dataclass(frozen=True)
class _Made:
    """What was generated for a row: text, tokens it took, warnings, whether CTC took part, and the pieces it is of."""

    text: str
    new_tokens: int
    warnings: list[str]
    joint: bool = False
    pieces: Sequence[Piece] = ()


class VideoSalmonn:
    """A model, its processor and a cache of encoded media.

    Args:
        model: the model, in evaluation mode.
        processor: that belongs to it.
        name: for reports.
        cache: of encoded media; by default 1 GiB in memory.
        load_seconds: for reports.
        notices: sentences that go into the warnings of every report.
        fingerprint: tells these encoders from others in a cache on disk; made here by default.
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
        self.connected = ConnectedTokens(model)

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
    ) -> VideoSalmonn:
        """Load a model.

        Args:
            name_or_dir: ``embedded``, ``tiny``, or a model directory.
            device: where it runs.
            dtype: of the weights; None for the stored one. ``int8`` and ``int4`` are short for ``quantise``, with
                everything else in 16 bits.
            cache: of encoded media.
            profile: ``released`` switches to everything the released code does (frame times, resizing, 30 s of sound,
                padding attended, Vicuna prompt, beam search); only sensible for weights trained so.
            quantise, quantiser, device_map, offload_encoders, kv_cache: memory, see
                :class:`~video_salmonn.resources.placement.Placement`. Loading needs all weights in main memory once.

        Raises:
            CheckpointError, MissingPartError, ConfigError.
        """
        start = perf_counter()
        numbers, packed = parse_numbers(dtype, quantise)
        placement = Placement(checked_device(device), packed, quantiser, device_map, offload_encoders, kv_cache)
        with _LOADING:
            model, processor = load_model(name_or_dir, numbers, profile)
        if dtype in packing.BACKENDS and model.dtype == torch.float32:
            model = model.to(torch.bfloat16)
        fingerprint = None if cache is None or cache.folder is None else fingerprint_of(model.tower)
        resting = None
        if offload_encoders or device_map is not None:
            home = cache_home()
            home.mkdir(parents=True, exist_ok=True)  # not where the system keeps temporary files: that may be memory
            resting = tempfile.TemporaryDirectory(prefix="resting-", dir=home)
        room = _room(model) if device_map == "auto" else 0
        place(model, placement, Path(resting.name) if resting else None, room)
        engine = cls(
            model,
            processor,
            name=str(name_or_dir),
            cache=cache,
            load_seconds=perf_counter() - start,
            notices=[*notices(name_or_dir), *placement.notices, *slow_numbers(model.dtype, device)],
            fingerprint=fingerprint,
        )
        engine._resting = resting
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
        return self.batch([Item(question, as_media(media, sound), options)])[0]

    def chat(self, media: Any = None, *, sound: Any = None, **options: Any) -> ChatSession:
        """A conversation about media that are encoded once; ``session.ask(text)`` continues it."""
        return ChatSession(self, as_media(media, sound), options)

    def stream(self, media: Any, question: Conversation, *, sound: Any = None, **options: Any) -> Iterator[str]:
        """Like :meth:`ask`, but yields the answer's text piece by piece as it is generated.

        The generator's return value (``StopIteration.value``) is the whole :class:`Answer`. Closing the generator ends
        the generation at the next token.
        """
        item = item_of(Item(question, as_media(media, sound), options))
        if item.options.get("long") == "segments":
            raise ConfigError("stream cannot be combined with long='segments'", remedy="use ask, or long='coarse'")
        if (item.options.get("num_beams") or self.model.generation_config.num_beams or 1) > 1:
            raise ConfigError("beams cannot be streamed", remedy="set num_beams=1")

        def answer(streamer: Any, left: Any) -> Answer:
            criteria = StoppingCriteriaList([*item.options.get("stopping_criteria", ()), left])
            return self._run([replace(item, options={**item.options, "stopping_criteria": criteria})], streamer)[0]

        return stream(self.processor.tokenizer, answer)

    def batch(self, items: Sequence[Item | Mapping[str, Any]]) -> list[Answer]:
        """Answer several items together; each gets the answer it would get alone.

        Args:
            items: :class:`Item` objects, or mappings with ``question``, ``media`` and options. Items that share
                generation options run as one batch.

        Raises:
            as :meth:`ask`; the first item that cannot be used stops the batch.
        """
        rows = [item_of(item) for item in items]
        answers: list[Answer | None] = [None] * len(rows)
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(digest({k: repr(v) for k, v in row.options.items()}), []).append(index)
        for members in groups.values():
            for index, answer in zip(members, self._run([rows[i] for i in members])):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def ask_many(self, items: Sequence[Item | Mapping[str, Any]]) -> list[Answer]:
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

    def likelihoods(self, item: Item | Mapping[str, Any], answers: Sequence[str]) -> list[Likelihood]:
        """How likely the model holds each of several given answers to be.

        Media are encoded once and the prompt runs once; the answers share its cache.

        Args:
            item: what is asked, as for :meth:`batch`.
            answers: texts; each is judged with the token that ends an answer, as training saw it.

        Raises:
            as :meth:`ask`; ConfigError also without answers, or with an empty one.
        """
        item = item_of(item)
        if not answers:
            raise ConfigError("likelihoods of no answers were asked for", remedy="give at least one")
        conversation, options = expanded(item.conversation), item.options
        texts = [prompt.readable(answer, "an answer") for answer in answers]
        ids = [answer_ids(self.processor, conversation, len(item.media), answer) for answer in texts]
        room = max(int(options.get("max_new_tokens", 0)), *map(len, ids))
        encoded = self.encode(item.media, **options)
        check_kinds(conversation, [one.report for one in encoded])
        mode = options.get("long", "error")
        if mode == "segments":
            raise ConfigError("likelihoods cannot be told stretch by stretch", remedy="use long='coarse' or 'error'")
        with (
            self._lock,
            adapters.scaled(self.model.language_model, options.get("adapter_scale")),
            torch.inference_mode(),
        ):
            row = self._prepare(conversation, encoded, mode, room, options)
            found = log_likelihoods(self.model, row.input_ids, row.media_embeds, ids)
        return [Likelihood(answer, log, len(one)) for answer, log, one in zip(answers, found, ids)]

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

    def _run(self, items: list[Item], streamer: Any = None) -> list[Answer]:
        """Answer items that share their options."""
        start, timer = perf_counter(), Timer()
        options = dict(items[0].options)
        self._check_levels(options)
        mode = options.get("long", "error")
        if mode == "segments" and len(items) > 1:
            return [self._run([item])[0] for item in items]
        new_tokens = int(options.get("max_new_tokens", self._new_tokens()))
        encoded = [self.encode(item.media, timer, **options) for item in items]
        for item, media in zip(items, encoded):
            check_kinds(item.conversation, [one.report for one in media])
        conversations = [expanded(item.conversation) for item in items]
        plans = [self._spans(media, options) for media in encoded]
        with self._lock, adapters.scaled(self.model.language_model, options.get("adapter_scale")):
            if mode == "segments" and len(plans[0]) == 1:
                parts = self._stretches(conversations[0], encoded[0], new_tokens)
                if len(parts) > 1:
                    return [self._ask_stretches(conversations[0], parts, encoded[0], options, timer, start)]
            with timer.stage("connect"), torch.inference_mode():
                prepared = [
                    self._prepare(text, media, mode if span is None else "error", new_tokens, options, span)
                    for text, media, plan in zip(conversations, encoded, plans)
                    for span in plan
                ]
            if len(prepared) == len(items):
                outputs = self._generate(prepared, new_tokens, options, timer, streamer)
            else:
                at_once = AT_ONCE if streamer is None else 1
                outputs, said = [], Spoken(streamer)
                for first in range(0, len(prepared), at_once):
                    outputs += self._generate(prepared[first : first + at_once], new_tokens, options, timer, None)
                    if outputs[-1].joint and asks_for_words(prepared[first].question):
                        said.add(outputs[-1].text)
            answers: list[tuple[_Prepared, _Made]] = []
            begun = 0
            for text, plan in zip(conversations, plans):
                rows, made = prepared[begun : begun + len(plan)], outputs[begun : begun + len(plan)]
                begun += len(plan)
                answers.append((rows[0], made[0]) if len(plan) == 1 else self._joined(text, plan, rows, made, options))
            if len(prepared) > len(items):
                said.end(answers[0][1].text)
        timer.seconds["total"] = perf_counter() - start
        return [Answer(made.text, self._report(made, row, timer)) for row, made in answers]

    def _spans(self, media: list[EncodedMedia], options: Options) -> Sequence[Span | None]:
        """The pieces in which an item's media are understood; ``[None]`` for the whole."""
        config = self.model.connector.config
        longest = options.get("piece_seconds", self.model.config.media["trained_seconds"])
        if not longest or len(media) != 1 or not config.synchronise or options.get("long") == "coarse":
            return [None]
        features = media[0].features
        frames = long_media.frames_of(features, config)
        found = spans(frames, max(int(longest / config.frame_seconds), 1), features.loudness)
        return found if len(found) > 1 else [None]

    def _joined(
        self,
        conversation: Conversation,
        plan: Sequence[Span | None],
        rows: list[_Prepared],
        made: list[_Made],
        options: Options,
    ) -> tuple[_Prepared, _Made]:
        """The answers about an item's pieces as one; see :mod:`video_salmonn.inference.pieces`."""
        seconds, begin = self.model.connector.config.frame_seconds, float(options.get("start") or 0)
        pieces = [
            Piece(begin + span[0] * seconds, begin + span[1] * seconds, one.text, one.joint)
            for span, one in zip(plan, made)
            if span is not None
        ]
        if asks_for_words(rows[0].question):
            text = transcript(pieces)
        elif (same := agreed(pieces)) is not None:
            text = same
        elif is_yes_or_no(pieces):
            text = self._surest_yes(conversation, rows, made)
        else:
            text = timeline(pieces)
        longest = max(piece.end - piece.start for piece in pieces)
        note = f"long media: understood in {counted(len(pieces), 'piece')} of up to {longest:g} s"
        warnings = [note, *dict.fromkeys(warning for one in made for warning in one.warnings)]
        whole = _Prepared(
            [token for row in rows for token in row.input_ids],
            None,
            rows[0].media,
            sum(row.media_tokens for row in rows),
            list(dict.fromkeys(warning for row in rows for warning in row.warnings)),
        )
        joint = any(one.joint for one in made)
        return whole, _Made(text, sum(one.new_tokens for one in made), warnings, joint, pieces)

    def _surest_yes(self, conversation: Conversation, rows: list[_Prepared], made: list[_Made]) -> str:
        """Of the pieces answered by yes, the answer that is likeliest where it was given."""
        said = [(row, one.text) for row, one in zip(rows, made) if says_yes(one.text)]
        if len({text for _, text in said}) == 1:
            return said[0][1]
        logs = []
        for row, text in said:
            ids = answer_ids(self.processor, conversation, len(row.media), text)
            with torch.inference_mode():
                logs.append(log_likelihoods(self.model, row.input_ids, row.media_embeds, [ids])[0] / len(ids))
        return said[logs.index(max(logs))][1]

    def _prepare(
        self,
        conversation: Conversation,
        media: list[EncodedMedia],
        mode: str,
        new_tokens: int,
        options: Options,
        span: Span | None = None,
    ) -> _Prepared:
        """Connect an item's media, or a stretch of them, and render its prompt, within the context."""
        features = [item.features for item in media]
        config = self.model.connector.config
        frames = [long_media.frames_of(f, config) for f in features] if span is None else [span[1] - span[0]]
        text_tokens = len(self.processor.render(conversation, [0] * len(media)).input_ids)
        room = self.context - text_tokens - new_tokens
        stretch, warnings = 1, []
        if sum(config.tokens_for(n) for n in frames) > room:
            if not frames or room <= 0:  # text and answer alone are too much: no stretch of the media would fit
                raise ContextError(
                    f"a question of {counted(text_tokens, 'token')} and an answer of up to {new_tokens} do not "
                    f"fit the context of "
                    f"{counted(self.context, 'token')}",
                    remedy="ask a shorter question or for a shorter answer",
                )
            if mode == "error":
                seconds = sum(frames) * config.frame_seconds
                raise ContextError(
                    f"media of {seconds:g} s, a question of {counted(text_tokens, 'token')} and an answer of up "
                    f"to {new_tokens} "
                    f"do not fit the context of {counted(self.context, 'token')}",
                    remedy="ask about a stretch of it (start, end), or use long='segments' or long='coarse'",
                )
            stretch = long_media.stretch_to_fit(config, frames, room)
            warnings.append(f"long media: windows are {stretch} times as long as usual, so details are coarser")
        embeds, lengths = None, []
        if features:
            instruction = self.processor.instruction([question_of(conversation)] * len(features))
            if instruction is not None:
                instruction = (instruction[0].to(self.model.device), instruction[1].to(self.model.device))
            levels = options.get("zero_levels", ())
            if instruction is None:
                tokens = self.connected.get(features, levels, stretch, span)
            else:
                if span is not None:
                    features = [long_media.cut(item, span, config.audio_tokens) for item in features]
                tokens = self.model.connect_media(features, instruction, levels, stretch).tokens
            lengths = [len(part) for part in tokens]
            embeds = torch.cat(tokens)
        rendered = self.processor.render(conversation, lengths)
        if rendered.replaced:
            warnings.append(f"{counted(rendered.replaced, 'token')} of the question stand for media and were left out")
        warnings += without_effect(options, bool(self.model.generation_config.do_sample))
        return _Prepared(rendered.input_ids, embeds, media, sum(lengths), warnings, question_of(conversation))

    def _check_levels(self, options: Options) -> None:
        levels = options.get("zero_levels", ())
        count = len(self.model.connector.config.levels)
        if isinstance(levels, (str, int)) or any(level not in range(count) for level in levels):
            raise ConfigError(
                f"zero_levels is {levels!r}: the connector has levels 0 to {count - 1}", remedy="list some of them"
            )

    @torch.inference_mode()
    def _generate(
        self, rows: list[_Prepared], new_tokens: int, options: Options, timer: Timer, streamer: Any
    ) -> list[_Made]:
        """Generate for a batch."""
        padded = pad_rows(
            [_Ids(row.input_ids) for row in rows],  # type: ignore[misc]
            self.processor.pad_id,
            left=True,
        )
        device = self.model.device
        embeds = [row.media_embeds for row in rows if row.media_embeds is not None]
        first = FirstToken()
        start = perf_counter()
        ids, mask = padded["input_ids"].to(device), padded["attention_mask"].to(device)
        media_embeds = torch.cat(embeds) if embeds else self._no_media()
        mode = options.get("joint_ctc") or self.model.own_option("joint_ctc", options)
        asked = [row.heard and (mode == "on" or asks_for_words(row.question)) for row in rows]
        weight = options.get("joint_ctc_weight")
        joint = self.model.joint_decoding(ids, mask, media_embeds, mode, weight, asked, options)
        times = options.get("stop_repeats", self.model.stop_repeats(options))
        if streamer is not None and times:
            streamer = WithoutLoops(streamer, times)
        with _seeded(options.get("seed"), device), _refused_options(options):
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                media_embeds=media_embeds,
                max_new_tokens=new_tokens,
                logits_processor=LogitsProcessorList([first] if joint is None else [first, joint]),
                joint_ctc="off",  # it is among the processors already, where it says what it did
                stop_repeats=times,
                streamer=streamer,
                pad_token_id=self.processor.pad_id,
                tokenizer=self.processor.tokenizer if options.get("stop_strings") else None,
                **generation_options(options),
            )
        end = perf_counter()
        first_at = first.at if first.at is not None else end
        timer.seconds["prefill"] = timer.seconds.get("prefill", 0.0) + first_at - start
        timer.seconds["generate"] = timer.seconds.get("generate", 0.0) + end - first_at
        tokenizer, pad = self.processor.tokenizer, {self.processor.pad_id, self.processor.tokenizer.eos_token_id}
        made = []
        for index, new in enumerate(output[:, ids.shape[1] :].tolist()):
            count = sum(token not in pad for token in new)
            kept, warning = without_loop(new, times, pad, tokenizer)
            warnings = [warning] if warning else []
            text = tokenizer.decode(kept, skip_special_tokens=True).strip()
            made.append(_Made(text, count, warnings, joint is not None and joint.used[index]))
        return made

    def _no_media(self) -> torch.Tensor:
        width = self.model.connector.config.llm_dim
        return torch.zeros(0, width, device=self.model.device, dtype=self.model.dtype)

    def _stretches(
        self, conversation: Conversation, media: list[EncodedMedia], new_tokens: int
    ) -> list[list[MediaFeatures]]:
        """Cut media that do not fit into stretches that do; one stretch where everything fits."""
        config = self.model.connector.config
        features = [item.features for item in media]
        frames = [long_media.frames_of(f, config) for f in features]
        text_tokens = len(self.processor.render(conversation, [0] * len(media)).input_ids)
        room = self.context - text_tokens - new_tokens
        if sum(config.tokens_for(n) for n in frames) <= room:
            return [features]
        if not config.synchronise:
            raise ContextError(
                "long='segments' cuts along the time axis, which a model without synchronisation does not have",
                remedy="use long='coarse', or ask about a stretch of it (start, end)",
            )
        if len(features) > 1:
            raise ContextError(
                "long='segments' cuts one media item, several were given", remedy="use long='coarse', or ask one by one"
            )
        window = config.window_multiple
        fits = room * config.levels[0].frames // config.levels[0].queries // window * window
        if fits < window:
            raise ContextError(
                f"a question of {counted(text_tokens, 'token')} and an answer of up to {new_tokens} leave no "
                f"room for media in a "
                f"context of {self.context}",
                remedy="ask a shorter question or for a shorter answer",
            )
        return [[part] for part in long_media.split(features[0], fits, config.audio_tokens)]

    def _ask_stretches(
        self,
        conversation: Conversation,
        parts: list[list[MediaFeatures]],
        media: list[EncodedMedia],
        options: Options,
        timer: Timer,
        start: float,
    ) -> Answer:
        """Ask about each stretch in turn and put the answers together."""
        config = self.model.connector.config
        new_tokens = int(options.get("max_new_tokens", self._new_tokens()))
        answers, rows, count, joint = [], [], 0, False
        warnings: list[str] = []
        lengths = [long_media.frames_of(part[0], config) * config.frame_seconds for part in parts]
        for part in parts:
            with timer.stage("connect"), torch.inference_mode():
                row = self._prepare(conversation, [replace(media[0], features=part[0])], "error", new_tokens, options)
            (made,) = self._generate([row], new_tokens, options, timer, None)
            answers.append(made.text)
            rows.append(row)
            count += made.new_tokens
            joint |= made.joint
            warnings += made.warnings
        timer.seconds["total"] = perf_counter() - start
        merged = long_media.merge_answers(answers, lengths)
        whole = _Prepared(
            [i for row in rows for i in row.input_ids],
            None,
            media,
            sum(row.media_tokens for row in rows),
            [f"long media: asked about {counted(len(parts), 'stretch')} of up to {lengths[0]:g} s one by one"],
        )
        return Answer(merged, self._report(_Made(merged, count, warnings, joint), whole, timer))

    # ------------------------------------------------------------------------------------------------ report

    @property
    def context(self) -> int:
        """Tokens the language model can hold."""
        return int(getattr(self.model.config.text_config, "max_position_embeddings", 2048))

    def _new_tokens(self) -> int:
        configured = self.model.config.generation.get("max_new_tokens")
        return int(configured) if configured else DEFAULT_NEW_TOKENS

    def _report(self, made: _Made, row: _Prepared, timer: Timer) -> dict[str, Any]:
        """The account of the contract. ``prompt_tokens`` counts the whole prompt, media tokens included."""
        seconds = {stage: round(timer.seconds.get(stage, 0.0), 4) for stage in STAGES}
        seconds["load"] = round(self.load_seconds, 4)
        media = [item.report.to_dict() | {"reused": item.reused} for item in row.media]
        warnings = [warning for item in row.media for warning in (*item.report.cuts, *item.report.warnings)]
        return {
            "answer": made.text,
            "model": self.name,
            "media": media,
            "media_tokens": row.media_tokens,
            "prompt_tokens": len(row.input_ids),
            "new_tokens": made.new_tokens,
            "seconds": seconds,
            "warnings": [*self.notices, *warnings, *row.warnings, *made.warnings],
            **({"joint_ctc": True} if made.joint else {}),
            **({"pieces": [piece.to_dict() for piece in made.pieces]} if made.pieces else {}),
        }


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """A block whose draws depend on the seed alone; None changes nothing. The caller's generators stay as they are."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _refused_options(options: Options) -> Iterator[None]:
    """A block in which what transformers says against the caller's options is one clear error."""
    given = {name: value for name, value in options.items() if name in passed_on() and value not in (1, False)}
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError, RuntimeError) as error:
        if not given:
            raise
        named = ", ".join(f"{name}={value!r}" for name, value in sorted(given.items()))
        raise ConfigError(
            f"no answer can be generated with {named}: {str(error).strip().splitlines()[0:1]}",
            remedy="correct these options, or leave them out",
        ) from error


@dataclass(frozen=True)
class _Ids:
    """What :func:`pad_rows` needs of a prompt without labels."""

    input_ids: list[int]

    @property
    def labels(self) -> list[int]:
        return self.input_ids


def _room(model: VideoSalmonnForConditionalGeneration) -> int:
    """Bytes a card needs beside weights, for a clip of a minute."""
    dtype = {torch.float32: "fp32", torch.float16: "fp16"}.get(model.dtype, "bf16")
    plan = memory_plan(model.config, 60.0, dtype)
    return int(plan["needed"]) - int(plan["weights"]["total"])
