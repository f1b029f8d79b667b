"""Answers for a batch of prepared questions: the one call of ``generate`` that all of ``inference`` goes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from video_salmonn.errors import ConfigError
from video_salmonn.inference.media_store import Timer
from video_salmonn.inference.options import Options, generation_options, passed_on
from video_salmonn.inference.preparing import AskedQuestion, PreparedQuestion
from video_salmonn.inference.streaming import Spoken, WithoutLoops, without_loop
from video_salmonn.model.declining import BEGINNING, Declining
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, padded
from video_salmonn.model.transcripts import asks_for_words


@dataclass(frozen=True)
class Generated:
    """What was generated for a question.

    Attributes:
        text: the answer.
        ids: its tokens as they were generated, the one that ends it included, where it ended by itself.
        new_tokens: how many there are, without that one.
        warnings: sentences on where it was cut.
        joint: the connector's CTC took part.
    """

    text: str
    ids: list[int]
    new_tokens: int
    warnings: tuple[str, ...] = ()
    joint: bool = False


class _FirstToken(LogitsProcessor):
    """Notes when the first logits were there: the end of the prefill."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores as they are."""
        if self.at is None:
            self.at = perf_counter()
        return scores


def generate_in_turn(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    rows: Sequence[PreparedQuestion],
    at_once: int | None,
    asked: AskedQuestion,
    timer: Timer,
    said: Spoken,
) -> list[Generated]:
    """Generate for all rows, a part of them at once. Hold the engine's lock.

    Args:
        model, processor, rows, timer: as for :func:`generate`.
        at_once: rows that are generated for together, one where they are streamed; None for all.
        asked: one of the questions; all rows share its options.
        said: gets transcripts of pieces as they are there.
    """

    def some(part: Sequence[PreparedQuestion], streamer: Any) -> list[Generated]:
        return generate(model, processor, part, asked.new_tokens, asked.options, timer, streamer)

    if at_once is None:
        return some(rows, said.streamer)
    made: list[Generated] = []
    at_once = at_once if said.streamer is None else 1
    for first in range(0, len(rows), at_once):
        made += some(rows[first : first + at_once], None)
        if made[-1].joint and asks_for_words(asked.question):
            said.add(made[-1].text)
    return made


@torch.inference_mode()
def generate(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    rows: Sequence[PreparedQuestion],
    new_tokens: int,
    options: Options,
    timer: Timer,
    streamer: Any = None,
) -> list[Generated]:
    """Generate for a batch. Hold the engine's lock.

    Args:
        model, processor: that belong together.
        rows: what the language model is given, one entry a question.
        new_tokens: longest answer.
        options: checked ones, the same for all rows.
        timer: gets ``prefill`` and ``generate``.
        streamer: receives every token; only for one row.

    Raises:
        ConfigError: transformers refuses an option.
    """
    device, start, first = model.device, perf_counter(), _FirstToken()
    ids = padded([row.input_ids for row in rows], processor.pad_id, left=True).to(device)
    mask = padded([[1] * len(row.input_ids) for row in rows], 0, left=True).to(device)
    embeds = [row.media_embeds for row in rows if row.media_embeds is not None]
    media = torch.cat(embeds) if embeds else model.no_media()
    mode = options.get("joint_ctc") or model.own_option("joint_ctc", options)
    words = [asks_for_words(row.question) for row in rows]
    asked = [row.heard and (mode == "on" or one) for row, one in zip(rows, words)]
    joint = model.joint_decoding(ids, mask, media, mode, options.get("joint_ctc_weight"), asked, options)
    times = options.get("stop_repeats", model.stop_repeats(options))
    if streamer is not None and times:
        streamer = WithoutLoops(streamer, times)
    passed = generation_options(options) | {
        "logits_processor": LogitsProcessorList([first] if joint is None else [first, joint]),
        "streamer": streamer,
        "pad_token_id": processor.pad_id,
    }
    declining = model.declining(ids, mask, media, options.get("decline_below"), words, passed)
    if declining is not None:
        passed = declining.added_to(passed)
    with _seeded(options.get("seed"), device), _refused_options(options):
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            media_embeds=media,
            max_new_tokens=new_tokens,
            joint_ctc="off",  # it is among the processors already, where it says what it did; so is declining
            decline_below=0.0,
            stop_repeats=times,
            tokenizer=processor.tokenizer if options.get("stop_strings") else None,
            **passed,
        )
    end = perf_counter()
    timer.add("prefill", (first.at or end) - start)
    timer.add("generate", end - (first.at or end))
    used = [False] * len(rows) if joint is None else joint.used
    made = []
    for row, (new, took_part) in enumerate(zip(output[:, ids.shape[1] :].tolist(), used)):
        one = _generated(processor, new, times, took_part)
        made.append(_declined(processor, declining, row, one) if declining is not None else one)
    return made


def _declined(processor: VideoSalmonnProcessor, declining: Declining, row: int, made: Generated) -> Generated:
    """An answer, or what takes its place where it is declined; the warning then says what the model would have said."""
    if not declining.declines(row, made.ids):
        return made
    least = declining.belief.least(row, made.ids)
    said = processor.tokenizer.decode(made.ids[:BEGINNING], skip_special_tokens=True).strip()
    return Generated(
        text=processor.tokenizer.decode(declining.answer, skip_special_tokens=True).strip(),
        ids=[*declining.answer, declining.ends[0]],
        new_tokens=made.new_tokens,
        warnings=(
            f"declined: the model holds its own answer unlikely ({said!r}, least likely token {least:.2f}; "
            f"decline_below {declining.below:g})",
        ),
    )


def _generated(processor: VideoSalmonnProcessor, new: list[int], times: int, joint: bool) -> Generated:
    """What a row of new tokens says."""
    tokenizer, last = processor.tokenizer, processor.tokenizer.eos_token_id
    ends = {processor.pad_id, last}
    spoken, warning = without_loop(new, times, ends, tokenizer)
    return Generated(
        text=tokenizer.decode(spoken, skip_special_tokens=True).strip(),
        ids=new[: new.index(last) + 1] if last in new else new,
        new_tokens=sum(token not in ends for token in new),
        warnings=(warning,) if warning else (),
        joint=joint,
    )


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
