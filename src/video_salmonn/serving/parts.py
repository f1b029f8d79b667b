"""Messages to a conversation and the media it is about: which part is what, before anything is read or fetched.

Decisions:

* The content of a part is determined when it is decoded; its type and MIME type are hints that may be wrong.
* A picture and one sound in the same message are one clip (the picture is looked at while the sound is heard), as
  ``ask --sound`` makes one. ``mm_processor_kwargs.pair_sound: false`` keeps them apart.
* Images that are the frames of one video become one item where the first of them stood.
* A part with a ``uuid`` may come without its media, as with vLLM: it is what the same key sent with that ``uuid``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from video_salmonn.serving.problems import RequestProblem
from video_salmonn.serving.protocol import MediaFields, Message
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.wording import counted

Kind = Literal["image", "audio", "video", "file", "frames"]
TEXT = ("text", "input_text", "output_text")
_URLS: dict[str, tuple[str, Kind]] = {
    "image_url": ("image_url", "image"),
    "input_image": ("image_url", "image"),
    "audio_url": ("audio_url", "audio"),
    "video_url": ("video_url", "video"),
    "input_video": ("video_url", "video"),
}
"""Part type -> the field that holds its URL, and what it says that is."""
_FRAME_LIST = "data:video/jpeg;base64,"
_LONGEST_UUID = 256
_DATA = ("url", "data", "file_id", "file_data")


@dataclass(frozen=True)
class Wanted:
    """One media item of a request, not read yet.

    Attributes:
        kind: what its part says it is.
        param: its place in the body, such as ``messages[0].content[1]``.
        urls: where it is: ``data:`` or ``https:`` URLs; several only for frames of one video.
        file_id: of an uploaded file, where it is one.
        base64: its bytes, if they are in the part without a URL.
        sound: a sound that belongs to a picture.
        uuid: the client's name for it, by which it can be meant later without being sent.
    """

    kind: Kind
    param: str
    urls: tuple[str, ...] = ()
    file_id: str | None = None
    base64: str | None = None
    sound: Wanted | None = None
    uuid: str | None = None

    @property
    def is_sent(self) -> bool:
        """Whether the media came with the request, or are an uploaded file; else only their ``uuid`` did."""
        return bool(self.urls or self.file_id or self.base64)

    @property
    def name(self) -> str | None:
        """The ``uuid`` of the whole item; None where a part of it has none."""
        return self.uuid if self.sound is None else _together([self, self.sound])


@dataclass
class AskedConversation:
    """A conversation as the engine takes it, its media in order, and what the client should know of how it was read."""

    conversation: list[dict[str, Any]]
    media: list[Wanted]
    warnings: list[str] = field(default_factory=list)


def read_messages(messages: Sequence[Message], options: MediaFields, settings: ServerSettings) -> AskedConversation:
    """Read the messages of a request.

    Raises:
        RequestProblem: a part that cannot be read, or more of something than the server allows.
    """
    if len(messages) > settings.max_messages:
        raise _too_many(len(messages), "message", settings.max_messages, "messages")
    asked = AskedConversation([], [])
    characters = 0
    for number, message in enumerate(messages):
        role = "system" if message.role == "developer" else message.role
        content: Any = message.content
        if isinstance(content, list):
            content = _read_parts(content, f"messages[{number}].content", role, options, settings, asked)
            characters += sum(len(part["text"]) for part in content if part["type"] == "text")
        else:
            content = content or ""
            characters += len(content)
        asked.conversation.append({"role": role, "content": content})
    if characters > settings.max_text:
        raise _too_many(characters, "character", settings.max_text, "messages")
    if len(asked.media) > settings.max_media:
        raise _too_many(len(asked.media), "media item", settings.max_media, "messages")
    return asked


def _read_parts(
    parts: list[dict[str, Any]],
    where: str,
    role: str,
    options: MediaFields,
    settings: ServerSettings,
    asked: AskedConversation,
) -> list[dict[str, Any]]:
    found: list[str | Wanted] = []
    for number, part in enumerate(parts):
        param = f"{where}[{number}]"
        kind = part.get("type")
        if kind in TEXT:
            text = part.get("text")
            if not isinstance(text, str):
                raise RequestProblem(400, f"{param}.text is not text", param=f"{param}.text")
            found.append(text)
            continue
        if role != "user":
            raise RequestProblem(400, f"{param}: media are allowed in user messages only", param=param)
        found.append(_wanted(kind, part, param))
    found = _frames_joined(found, where, options, settings, asked)
    found = _sound_paired(found, options)
    made = []
    for item in found:
        if isinstance(item, str):
            made.append({"type": "text", "text": item})
        else:
            asked.media.append(item)
            made.append({"type": "media"})
    return made


def _wanted(kind: Any, part: dict[str, Any], param: str) -> Wanted:
    uuid = part.get("uuid")
    if uuid is None:
        return _sent(kind, part, param)
    if not isinstance(uuid, str) or not 0 < len(uuid) <= _LONGEST_UUID:
        raise RequestProblem(400, f"{param}.uuid is not text of 1 to {_LONGEST_UUID} characters", param=f"{param}.uuid")
    what: Kind | None = {"input_audio": "audio", "file": "file", "input_file": "file"}.get(kind)  # type: ignore[assignment]
    if kind in _URLS:
        what = _URLS[kind][1]
    if what is not None and _is_empty(part, kind):
        return Wanted(what, param, uuid=uuid)
    return replace(_sent(kind, part, param), uuid=uuid)


def _is_empty(part: dict[str, Any], kind: str) -> bool:
    """Whether a part has no media: ``{"type": "image_url", "image_url": null}``, or no such field, or nothing in it."""
    inner = part if kind == "input_file" else part.get(_URLS[kind][0] if kind in _URLS else kind)
    if inner is not part:
        return inner is None or (isinstance(inner, dict) and not any(inner.get(name) for name in _DATA))
    return not any(part.get(name) for name in _DATA)


def _sent(kind: Any, part: dict[str, Any], param: str) -> Wanted:
    if kind in _URLS:
        name, what = _URLS[kind]
        url = part.get(name)
        if isinstance(url, dict):
            url = url.get("url")
        if kind == "input_image" and url is None and isinstance(part.get("file_id"), str):
            return Wanted(what, param, file_id=part["file_id"])
        if not isinstance(url, str) or not url:
            raise RequestProblem(
                400, f"{param} has no {name}.url", remedy='give {"url": "data:…;base64,…"}', param=f"{param}.{name}"
            )
        if url[: len(_FRAME_LIST)].lower() == _FRAME_LIST:
            frames = url[len(_FRAME_LIST) :].split(",")
            return Wanted("frames", param, urls=tuple(f"data:image/jpeg;base64,{frame}" for frame in frames))
        return Wanted(what, param, urls=(url,))
    if kind == "input_audio":
        inner = part.get("input_audio")
        data = inner.get("data") if isinstance(inner, dict) else None
        if not isinstance(data, str) or not data:
            raise RequestProblem(
                400, f"{param} has no input_audio.data", remedy="give base64 text", param=f"{param}.input_audio.data"
            )
        if data[:5].lower() == "data:":  # some clients send a whole URL
            return Wanted("audio", param, urls=(data,))
        return Wanted("audio", param, base64=data)
    if kind in ("file", "input_file"):
        inner = part.get("file") if kind == "file" else part
        inner = inner if isinstance(inner, dict) else {}
        if isinstance(inner.get("file_id"), str):
            return Wanted("file", param, file_id=inner["file_id"])
        data = inner.get("file_data")
        if not isinstance(data, str) or not data:
            raise RequestProblem(400, f"{param} has neither file_id nor file_data", param=f"{param}.file")
        return (
            Wanted("file", param, urls=(data,)) if data[:5].lower() == "data:" else Wanted("file", param, base64=data)
        )
    known = ", ".join(["text", *_URLS, "input_audio", "file"])
    raise RequestProblem(400, f"{param}.type is not one that is read here", remedy=f"known types: {known}", param=param)


def _frames_joined(
    found: list[str | Wanted], where: str, options: MediaFields, settings: ServerSettings, asked: AskedConversation
) -> list[str | Wanted]:
    """Images that are the frames of one video, as one item."""
    images = [item for item in found if isinstance(item, Wanted) and item.kind == "image"]
    many = len(images) > settings.frames_above
    told = options.frames_are_video
    if len(images) >= 2 and (told or (told is None and many)):
        if not told:
            asked.warnings.append(
                f"{counted(len(images), 'image')} in one message were read as the frames of one video at "
                f"{options.fps or 2:g} a second; mm_processor_kwargs.frames_are_video false keeps them apart"
            )
        urls = tuple(url for image in images for url in image.urls)
        named = _together(images)
        if len(urls) != len(images) and (named is None or any(image.is_sent for image in images)):
            raise RequestProblem(
                400,
                f"{where}: frames of one video must all be URLs, or all a uuid; they cannot be uploaded files",
                param=where,
            )
        joined = Wanted("frames", images[0].param, urls=urls, uuid=named)
        first = found.index(images[0])
        rest = [item for item in found[first + 1 :] if not (isinstance(item, Wanted) and item.kind == "image")]
        found = [*found[:first], joined, *rest]
    for item in found:
        if isinstance(item, Wanted) and len(item.urls) > settings.max_frames:
            raise _too_many(len(item.urls), "frame", settings.max_frames, item.param)
    return found


def _sound_paired(found: list[str | Wanted], options: MediaFields) -> list[str | Wanted]:
    """A message's only picture and its only sound, as one item where the first of them stood."""
    media = [item for item in found if isinstance(item, Wanted)]
    seen = [item for item in media if item.kind in ("image", "frames")]
    heard = [item for item in media if item.kind == "audio"]
    if options.pair_sound is False or len(media) != 2 or len(seen) != 1 or len(heard) != 1:
        return found
    pair = replace(seen[0], sound=heard[0])
    return [pair if item is media[0] else item for item in found if item is not media[1]]


def _together(parts: Sequence[Wanted]) -> str | None:
    """One name for several parts, if each has one."""
    names = [part.uuid for part in parts]
    return None if None in names else json.dumps(names)


def _too_many(count: int, noun: str, most: int, param: str) -> RequestProblem:
    return RequestProblem(
        400, f"{param}: {counted(count, noun)}, more than the {most} that this server takes", param=param
    )
