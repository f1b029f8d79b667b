"""What callers hand to the processor, in this package's words or transformers' own, as conversations and media items.

Whatever is not known is refused by name: a picture that is left out silently makes an answer about nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import torch

from video_salmonn.errors import ConfigError
from video_salmonn.media import ArraySound, MediaOptions
from video_salmonn.media.options import switch
from video_salmonn.model.prompt import places, sources_of
from video_salmonn.wording import counted

Conversation = str | Sequence[Mapping[str, Any]]
KINDS = {"images": "image", "videos": "video", "audio": "audio"}
"""transformers' keyword -> type of a content part."""
_DECODING = tuple(field.name for field in fields(MediaOptions))
_SWITCHES = {"no_audio": "use_audio", "no_video": "use_video"}
_CHAT_UNUSED = ("tools", "documents", "return_assistant_tokens_mask", "sanitize_control_tokens")


@dataclass(frozen=True)
class MediaArgument:
    """One media item of a conversation.

    Attributes:
        source: as for :func:`video_salmonn.media.load_clip`, or a decoded clip.
        sound: takes the place of its own sound; None for none.
        kind: ``media`` (whatever is in it), or what it was given as: ``video``, ``image``, or ``audio`` (heard only).
    """

    source: Any
    sound: Any = None
    kind: str = "media"


def decoding_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of :class:`MediaOptions` among keyword arguments; ``no_audio`` and ``no_video`` as the engine has them.

    Raises:
        ConfigError: an unknown keyword, or one whose value cannot be followed.
    """
    options: dict[str, Any] = {}
    unknown = []
    for name, value in given.items():
        if name in _SWITCHES:
            if switch(value, name):
                options[_SWITCHES[name]] = False
        elif name in _DECODING:
            if value is not None:
                options[name] = value
        elif name == "return_tensors":
            if str(getattr(value, "value", value)) not in ("None", "pt"):
                raise ConfigError(f"return_tensors is {value!r}: this processor makes PyTorch tensors", remedy="use pt")
        elif name == "padding":
            if value not in (None, True, "longest"):
                raise ConfigError(f"padding is {value!r}: rows are padded to the longest", remedy="leave it out")
        else:
            unknown.append(name)
    if unknown:
        known = [*KINDS, "sampling_rate", "return_tensors", "padding", *_SWITCHES, *_DECODING]
        raise ConfigError(
            f"the processor knows no {', '.join(sorted(unknown))}", remedy=f"keywords: text, media, {', '.join(known)}"
        )
    return options


def chat_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of ``apply_chat_template`` that are passed on to the processor.

    Raises:
        ConfigError: one asks for what this model's prompt does not do.
    """
    rest = dict(given)
    for name in _CHAT_UNUSED:
        if rest.pop(name, None):
            raise ConfigError(f"apply_chat_template: {name} is not supported by this model", remedy="leave it out")
    if rest.pop("load_audio_from_video", None) is False:
        raise ConfigError("a video part always brings its own sound", remedy="switch it off with no_audio=True")
    further = rest.pop("processor_kwargs", None) or {}
    if not isinstance(further, Mapping):
        raise ConfigError(f"processor_kwargs is {type(further).__name__}", remedy="give a dict of the processor's own")
    return rest | dict(further)


def as_batch(conversations: Conversation | Sequence[Conversation] | None) -> list[Conversation]:
    """One conversation or a batch of them, as a batch.

    Raises:
        ConfigError: there is none.
    """
    if conversations is None:
        raise ConfigError("the processor needs text", remedy="give a question, a list of messages, or a batch of them")
    if isinstance(conversations, str):
        return [conversations]
    if not isinstance(conversations, Sequence):
        raise ConfigError(
            f"the first argument is text or messages, not {type(conversations).__name__}",
            remedy="give media by name: processor(text=…, images=…)",
        )
    rows = list(conversations)
    if not rows:
        raise ConfigError("a batch without conversations", remedy="give at least one question")
    if isinstance(rows[0], Mapping):
        return [rows]  # type: ignore[list-item]
    return rows  # type: ignore[return-value]


def as_items(
    batch: Sequence[Conversation],
    media: Any = None,
    keywords: Mapping[str, Any] | None = None,
    sampling_rate: int | None = None,
) -> list[list[MediaArgument]]:
    """Media items of each conversation, in the order of their places.

    Args:
        batch: conversations.
        media: for each conversation its media: a list of sources and ``(picture, sound)`` pairs, or one of them. The
            outermost list may be a tuple; for a single conversation it may be that conversation's own list.
        keywords: ``images``, ``videos``, ``audio`` as transformers has them: one source, one for each conversation, or
            a list for each.
        sampling_rate: of sound given as bare arrays.

    Raises:
        ConfigError: media and conversations do not belong together.
    """
    given = {name: value for name, value in (keywords or {}).items() if value is not None}
    if media is not None:
        if given:
            raise ConfigError(f"media and {', '.join(given)} were given", remedy="put everything into media")
        return [[_item(one) for one in own] for own in _rows(media, len(batch), "media")]
    if sampling_rate is not None and "audio" not in given and not any(places(row) for row in batch):
        raise ConfigError("sampling_rate was given without audio", remedy="leave it out")
    columns = {KINDS[name]: _rows(value, len(batch), name) for name, value in given.items()}
    rows = []
    for number, conversation in enumerate(batch):
        own = {kind: deque(lists[number]) for kind, lists in columns.items()}
        rows.append([_typed(source, kind, sampling_rate) for source, kind in _placed(conversation, own)])
    return rows


def _rows(value: Any, rows: int, name: str) -> list[list[Any]]:
    """A list of sources for each conversation."""
    outer = list(value) if isinstance(value, (list, tuple)) and not _one_array(value) else [value]
    if rows == 1:
        own = outer[0] if len(outer) == 1 and isinstance(outer[0], list) and not _one_array(outer[0]) else outer
        return [[one for one in own if one is not None]]
    if len(outer) != rows:
        raise ConfigError(
            f"{counted(rows, 'conversation', 'need')} as many entries of {name}, got {len(outer)}",
            remedy=f"give a list with one entry (a source, or a list of them) for each: {name}=[[a], [b, c], []]",
        )
    nested = [own if isinstance(own, list) and not _one_array(own) else [own] for own in outer]
    return [[one for one in own if one is not None] for own in nested]


def _one_array(value: Sequence[Any]) -> bool:
    """Whether a list or tuple is one item: samples as numbers, or (array, rate)."""
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[1], Real) and not isinstance(value[0], Real)
    return bool(value) and all(isinstance(number, Real) for number in value[:2])


def _item(source: Any) -> MediaArgument:
    """An entry of ``media``: a source, a ``(picture, sound)`` pair, or an item made before."""
    if isinstance(source, MediaArgument):
        return source
    if isinstance(source, (tuple, list)) and len(source) == 2 and not _one_array(source):
        return MediaArgument(source[0], source[1])
    return MediaArgument(source)


def _placed(conversation: Conversation, given: dict[str, deque[Any]]) -> list[tuple[Any, str]]:
    """(source, kind) of each media item of a conversation; parts without a source take what was given beside it."""
    parts = places(conversation)
    if not parts:
        return [(source, kind) for kind in KINDS.values() for source in given.get(kind, ())]
    found = []
    for part in parts:
        kind = part["type"]
        source = _source_of(part)
        if source is None and kind in given and given[kind]:
            source = given[kind].popleft()
        if source is None:
            raise ConfigError(f"the {kind} part brings no source", remedy=f"put it under {kind}, url, path or base64")
        found.append((source, kind))
    left = {name: len(given[kind]) for name, kind in KINDS.items() if given.get(kind)}
    if left:
        raise ConfigError(
            f"the conversation has no place for {', '.join(f'{count} of {name}' for name, count in left.items())}",
            remedy='add a part such as {"type": "image"} for each',
        )
    return found


def _source_of(part: Mapping[str, Any]) -> Any:
    for name, source in sources_of(part).items():
        return _unpacked(source, part["type"]) if name == "base64" else source
    return None


def _unpacked(text: Any, kind: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ConfigError(f"base64 of a {kind} part cannot be decoded ({error})", remedy="encode it again") from error


def _typed(source: Any, kind: str, sampling_rate: int | None) -> MediaArgument:
    """A source as transformers' callers have it: tensors, lists of samples, data URLs, datasets' own dictionaries."""
    if isinstance(source, str) and source.startswith("data:") and ";base64," in source[:100]:
        source = _unpacked(source.partition(";base64,")[2], kind)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        if kind == "image" and source.ndim == 3 and source.shape[0] == 3:
            source = source.permute(1, 2, 0)
        source = source.numpy()
    if kind == "audio":
        source = _sound(source, sampling_rate)
    return MediaArgument(source, None, kind)


def _sound(source: Any, sampling_rate: int | None) -> Any:
    if isinstance(source, Mapping) and "array" in source:
        return ArraySound(np.asarray(source["array"]), source.get("sampling_rate") or _needed(sampling_rate))
    if isinstance(source, list) and _one_array(source):
        source = np.asarray(source, dtype=np.float32)
    return ArraySound(source, _needed(sampling_rate)) if isinstance(source, np.ndarray) else source


def _needed(sampling_rate: int | None) -> int:
    if sampling_rate is None:
        raise ConfigError("audio is an array without sampling_rate", remedy="give sampling_rate=16000, or a file")
    if not isinstance(sampling_rate, Real) or isinstance(sampling_rate, bool):
        raise ConfigError(f"sampling_rate is {sampling_rate!r}, not a number", remedy="give samples a second, as 16000")
    return sampling_rate
