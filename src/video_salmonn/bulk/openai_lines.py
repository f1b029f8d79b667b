"""OpenAI batch lines: ``{"custom_id", "method", "url": "/v1/chat/completions", "body"}`` in, result lines out.

Media are in the messages as the usual parts: ``image_url``, ``video_url``, ``audio_url`` (a ``data:`` URL, an
``https:`` URL, ``file:`` or a path relative to the lines' folder), ``input_audio`` and ``file`` with ``file_data``.
A message's only picture and its only sound are one clip, as for the server.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.files import digest

URL = "/v1/chat/completions"
_URLS = {
    "image_url": "image_url", "input_image": "image_url", "audio_url": "audio_url",
    "video_url": "video_url", "input_video": "video_url",
}  # fmt: skip
_TEXT = ("text", "input_text", "output_text")


@dataclass(frozen=True)
class Inline:
    """Bytes in the line itself as base64; decoded when they are needed.

    Attributes:
        data: base64 text, or a whole ``data:`` URL.
    """

    data: str

    def __repr__(self) -> str:
        return f"Inline({digest(self.data)[:16]})"

    def content(self) -> bytes:
        """The bytes. Raises MediaError where it is not base64."""
        head, comma, rest = self.data.partition(",")
        is_url = self.data[:5].lower() == "data:"
        if is_url and (not comma or not head.lower().endswith(";base64")):
            raise MediaError("<data URL>", "is not base64", remedy='write "data:video/mp4;base64,…"')
        try:
            return base64.b64decode(rest if is_url else self.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError("<base64>", f"is not base64 ({error})", remedy="encode the bytes again") from error


def is_openai_line(line: Mapping[str, Any]) -> bool:
    """Whether a line is one of OpenAI's batch files."""
    return isinstance(line.get("body"), dict) and ("url" in line or "custom_id" in line)


def read_openai_line(line: Mapping[str, Any], folder: Path) -> tuple[list[dict[str, Any]], tuple[Any, ...], dict]:
    """(messages with a place for each media item, the media in order, options) of a batch line.

    Raises:
        ConfigError: it asks for something that is not done here.
    """
    if line.get("url", URL) != URL:
        raise ConfigError(f"url is {line.get('url')!r}", remedy=f"batch answers {URL} only")
    body = line["body"]
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise ConfigError("body.messages is not a list of messages", remedy="give messages")
    conversation, media = [], []
    for number, message in enumerate(messages):
        role = "system" if message.get("role") == "developer" else message.get("role")
        content = message.get("content")
        if isinstance(content, list):
            parts = [_part(part, f"messages[{number}].content", folder) for part in content]
            parts = _paired(parts)
            media += [part for part in parts if not isinstance(part, str)]
            content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "media"} for part in parts]
        conversation.append({"role": role, "content": content or ""})
    return conversation, tuple(item.source for item in media), _options(body)


@dataclass(frozen=True)
class _Media:
    kind: str
    source: Any


def _part(part: Any, where: str, folder: Path) -> str | _Media:
    given = part.get("type") if isinstance(part, dict) else None
    kind = given if isinstance(given, str) else ""
    if kind in _TEXT and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in _URLS:
        url = part.get(_URLS[kind])
        url = url.get("url") if isinstance(url, dict) else url
        if isinstance(url, str) and url:
            return _Media("image" if "image" in kind else kind, _source(url, folder))
    inner = part.get("input_audio") or part.get("file") if isinstance(part, dict) else None
    data = (inner.get("data") or inner.get("file_data")) if isinstance(inner, dict) else None
    if isinstance(data, str) and data:
        return _Media("audio_url" if kind == "input_audio" else "file", Inline(data))
    known = ", ".join(("text", *_URLS, "input_audio (data)", "file (file_data)"))
    raise ConfigError(f"{where}: a part of type {given!r:.100} cannot be read", remedy=f"parts: {known}")


def _source(url: str, folder: Path) -> Any:
    if url[:5].lower() == "data:":
        return Inline(url)
    if url[:5].lower() == "file:":
        try:
            return unquote(urlsplit(url).path)
        except ValueError as error:  # an address in brackets that is none
            raise ConfigError(f"{url[:100]} is not a file: URL ({error})", remedy="give a path") from error
    return url if "://" in url or Path(url).is_absolute() else str(folder / url)


def _paired(parts: list[str | _Media]) -> list[str | _Media]:
    """A message's only picture and its only sound as one item, where the first of them stood."""
    media = [part for part in parts if isinstance(part, _Media)]
    pictures = [part for part in media if part.kind == "image"]
    sounds = [part for part in media if part.kind == "audio_url"]
    if len(media) != 2 or len(pictures) != 1 or len(sounds) != 1:
        return parts
    pair = _Media("image", (pictures[0].source, sounds[0].source))
    return [pair if part is media[0] else part for part in parts if part is not media[1]]


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    if body.get("n", 1) not in (1, None):
        raise ConfigError(f"n is {body['n']!r}", remedy="a row gets one answer")
    kind = _object(body, "response_format").get("type", "text")
    if kind != "text":
        raise ConfigError("answers are plain text and cannot be forced into JSON", remedy="leave response_format out")
    media = _object(body, "mm_processor_kwargs")
    if media.get("frames_are_video"):
        raise ConfigError("images as the frames of a video are read by the server only", remedy="give the video")
    options: dict[str, Any] = {name: media[name] for name in ("start", "end", "long") if media.get(name) is not None}
    if media.get("use_audio_in_video") is False:
        options["no_audio"] = True
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most is not None:
        options["max_new_tokens"] = most
    if body.get("temperature"):
        options |= {"do_sample": True, "temperature": body["temperature"]}
        options |= {name: body[name] for name in ("top_p", "seed") if body.get(name) is not None}
    if body.get("stop"):
        stop = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
        if not (isinstance(stop, list) and all(isinstance(one, str) and one for one in stop)):
            raise ConfigError("stop is neither text nor a list of texts", remedy="correct stop, or leave it out")
        options["stop_strings"] = stop
    return options


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of a request's body, empty where it is left out. Raises ConfigError for any other value."""
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {type(value).__name__}, not an object", remedy=f"correct {name}, or leave it out")
    return value or {}


# --------------------------------------------------------------------------------------------------------- results


def completion(name: str, report: Mapping[str, Any], finish: str) -> dict[str, Any]:
    """OpenAI's ``chat.completion`` object of an answer, with the account of the media as an extension.

    Args:
        name: of the request.
        report: of the answer.
        finish: ``stop`` or ``length``.
    """
    prompt, new, media = report["prompt_tokens"], report["new_tokens"], report["media_tokens"]
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": report["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": report["answer"]}, "finish_reason": finish}
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": new,
            "total_tokens": prompt + new,
            "prompt_tokens_details": {"text_tokens": max(prompt - media, 0)},
        },
        "video_salmonn": {
            part: report[part] for part in ("media", "media_tokens", "warnings", "pieces") if part in report
        },
    }


def result_line(name: str, custom_id: str, body: Mapping[str, Any] | None, error: Exception | None) -> dict[str, Any]:
    """A line of an OpenAI batch's output file.

    Args:
        name: of the request.
        custom_id: of the row.
        body: the completion, for a row that was answered.
        error: why it was not.
    """
    line: dict[str, Any] = {"id": f"batch_req_{name}", "custom_id": custom_id}
    if error is None:
        return line | {"response": {"status_code": 200, "request_id": name, "body": body}, "error": None}
    told = {"code": type(error).__name__, "message": str(error), "remedy": getattr(error, "remedy", "")}
    status = 422 if isinstance(error, MediaError) else 400 if hasattr(error, "remedy") else 500
    failure = {"error": {"message": str(error), "type": type(error).__name__, "param": None, "code": status}}
    return line | {"response": {"status_code": status, "request_id": name, "body": failure}, "error": told}


def failed(line: Mapping[str, Any]) -> bool:
    """Whether a result line is that of a row that was not answered."""
    return bool(line.get("error")) or (line.get("response") or {}).get("status_code") != 200


def answer_of(line: Mapping[str, Any]) -> str | None:
    """The answer's text in a result line; None for a failed row."""
    if failed(line):
        return None
    choices: Sequence[Mapping[str, Any]] = line["response"]["body"]["choices"]
    return str(choices[0]["message"]["content"])
