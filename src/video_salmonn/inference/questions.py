"""What is asked: items, the forms callers may give them in, and the options that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import torch

from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.inference.options import DTYPES, Options, checked
from video_salmonn.model import prompt
from video_salmonn.model.aliases import expand
from video_salmonn.model.processing import Conversation
from video_salmonn.resources.quantise import BACKENDS
from video_salmonn.types import MediaReport


@dataclass(frozen=True)
class MediaQuestion:
    """A question about media, with its options.

    Attributes:
        conversation: a question, or a list of messages.
        media: the media items it is about, in order; each a source, a ``(source, sound)`` pair, or a decoded clip.
        options: per-item options, as for :meth:`VideoSalmonn.ask`.
    """

    conversation: Conversation
    media: Sequence[Any] = ()
    options: Options = field(default_factory=dict)


def as_media(media: Any, sound: Any = None) -> list[Any]:
    """One source, a list of them, or None, as a list; a separate sound joins the only item.

    Raises:
        ConfigError: a separate sound with several media items, or with one that has a separate sound already.
    """
    items = list(media) if isinstance(media, list) else [] if media is None else [media]
    if sound is None:
        return items
    if len(items) > 1:
        raise ConfigError("a separate sound can go with one media item only", remedy="give (file, sound) pairs")
    if items and is_pair(items[0]):
        raise ConfigError("the media item has a separate sound already", remedy="give one sound")
    return [(items[0], sound)] if items else [sound]


def is_pair(item: Any) -> bool:
    """Whether it is a (source, sound) pair, as opposed to an (array, rate) tuple."""
    return isinstance(item, tuple) and len(item) == 2 and not isinstance(item[1], Real)


def as_question(item: MediaQuestion | Mapping[str, Any]) -> MediaQuestion:
    """A :class:`MediaQuestion` of either form, with its question and options checked.

    Raises:
        ConfigError: no question, one that asks nothing or has no place for the media, or an impossible option.
    """
    if not isinstance(item, MediaQuestion):
        options = dict(item)
        if "question" not in options:
            raise ConfigError(f"an item has no question, only {sorted(options)}", remedy="give question and media")
        media, sound = options.pop("media", None), options.pop("sound", None)
        item = MediaQuestion(options.pop("question"), as_media(media, sound), options)
    options = checked(item.options)
    sources = [name for part in prompt.places(item.conversation) for name in prompt.sources_of(part)]
    if sources:
        raise ConfigError(
            f"the messages bring media of their own ({sources[0]}), which are not read here",
            remedy="give all media as the first argument, in the order of their places",
        )
    prompt.parse(item.conversation, len(item.media))
    return replace(item, options=options)


def check_kinds(conversation: Conversation, reports: Sequence[MediaReport]) -> None:
    """Raise where a message calls an item a picture, a video or a sound and it is something else.

    Raises:
        MediaError: names the item and what it is.
    """
    for part, report in zip(prompt.places(conversation), reports):
        still = any(stream.get("kind") == "picture" and stream.get("chosen") for stream in report.streams)
        seen = report.seen.status == "used"
        found = ("image" if still else "video") if seen else "audio"
        if part["type"] not in ("media", found) and "off" not in (report.seen.status, report.heard.status):
            remedy = "give no_video=True" if part["type"] == "audio" else f'use {{"type": "{found}"}} or "media"'
            raise MediaError(report.source, f"stands in a place for {part['type']}, and is {found}", remedy=remedy)


def expanded(conversation: Conversation) -> Conversation:
    """The conversation with prompt aliases such as ``<asr>`` written out."""
    if isinstance(conversation, str):
        return expand(conversation)
    return [{**message, "content": _expanded(message.get("content", ""))} for message in conversation]


def _expanded(content: Any) -> Any:
    """A message's content with its alias written out, where an alias is its only text."""
    if isinstance(content, str):
        return expand(content)
    texts = [index for index, part in enumerate(content) if isinstance(part, str) or part.get("type") == "text"]
    if len(texts) != 1:
        return content
    index, part = texts[0], content[texts[0]]
    new = expand(part) if isinstance(part, str) else {**part, "text": expand(part["text"])}
    return [*content[:index], new, *content[index + 1 :]]


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A torch dtype from its name. Raises ConfigError for an unknown one."""
    if not isinstance(dtype, str):
        return dtype
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is unknown", remedy=f"one of {', '.join([*DTYPES, *BACKENDS])}")
    long = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(dtype, dtype)
    made: torch.dtype = getattr(torch, long)
    return made


def parse_numbers(dtype: torch.dtype | str | None, quantise: str | None) -> tuple[torch.dtype | None, str | None]:
    """(dtype of the weights, kind of the language model's packed layers) from what the caller wrote.

    Raises:
        ConfigError: an unknown dtype, or one that contradicts ``quantise``.
    """
    if dtype not in BACKENDS:
        return parse_dtype(dtype), quantise
    if quantise not in (None, dtype):
        raise ConfigError(f"dtype is {dtype} and quantise is {quantise}", remedy="give one of them")
    return None, str(dtype)
