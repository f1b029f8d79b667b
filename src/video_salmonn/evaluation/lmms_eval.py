"""This package's model inside lmms-eval, with its sound: ``--model video_salmonn --model_args pretrained=DIR``.

Registered by :mod:`video_salmonn.evaluation.lmms_manifest`; imported only when lmms-eval asks for it. lmms-eval is no
dependency (its own requirements conflict with ours; docs/evaluation.md says how to install both).

Decisions:

- A *chat* model: it reads the task's messages, so every media item of a prompt arrives, in order.
- A video keeps its own sound track. Where a prompt gives as many sounds as videos (or pictures), each sound belongs to
  the video (or picture) of the same place; otherwise every sound is an item of its own.
- Generation as the model does it by itself (the released model: 5 beams), unless the task says otherwise or
  ``--model_args num_beams=N``; nothing is drawn unless the task asks for a temperature; answers end at the task's
  ``until`` strings.
- Media that cannot be used give an empty answer, and the log names item, file and reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from video_salmonn.errors import ConfigError, ContextError, MediaError, MissingPartError
from video_salmonn.evaluation.lmms_manifest import INSTALL, MODEL_ID

try:
    from lmms_eval.api.model import lmms
except ImportError as _error:
    raise MissingPartError("lmms-eval is not installed", remedy="; ".join(INSTALL)) from _error

log = logging.getLogger(__name__)


class VideoSalmonnForLmmsEval(lmms):  # type: ignore[misc]
    """The engine behind lmms-eval's interface.

    Args:
        pretrained: model name or folder, as ``--model`` everywhere else.
        device: cpu, cuda, cuda:N; None for the best there is.
        dtype: of the weights; None for the stored one.
        profile: ``released`` for weights trained by the released code.
        long: what to do with media beyond the context: ``coarse``, ``segments`` or ``error``.
        num_beams: width of the beam search for every task; None for the task's, and failing that the model's own.
        sound: False to show every video without its sound, whatever the task; lmms-eval's tasks play it.
        batch_size: accepted for lmms-eval's sake; items are asked one by one.

    Raises:
        ConfigError: on a model argument that does not exist.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "embedded",
        device: str | None = None,
        dtype: str | None = None,
        profile: str | None = None,
        long: str = "coarse",
        num_beams: int | str | None = None,
        sound: bool | str = True,
        batch_size: int | str = 1,
        **unknown: Any,
    ) -> None:
        super().__init__()
        # lmms-eval adds max_batch_size and device of its own command line, None where they were not given.
        if extra := sorted(name for name, value in unknown.items() if value is not None):
            raise ConfigError(
                f"--model_args: {', '.join(extra)} is not an argument of {MODEL_ID}",
                remedy="there are pretrained, device, dtype, profile, long, num_beams, sound and batch_size",
            )
        import torch

        from video_salmonn.evaluation.shards import Shards
        from video_salmonn.inference.engine import VideoSalmonn
        from video_salmonn.inference.options import whole
        from video_salmonn.resources.placement import checked_device

        shards = Shards.from_environment(device or "auto")
        self._rank, self._world_size = shards.rank, shards.count
        chosen = device or (f"cuda:{shards.local}" if torch.cuda.is_available() else "cpu")
        self._device = checked_device(chosen)
        self.engine = VideoSalmonn.load(pretrained, device=self._device, dtype=dtype, profile=profile)
        self.long = long
        beams = int(num_beams) if isinstance(num_beams, str) and num_beams.isdigit() else num_beams
        self.num_beams = None if beams is None else whole(beams, "num_beams")
        if str(sound).lower() not in ("true", "false"):
            raise ConfigError(f"--model_args: sound={sound} is neither true nor false", remedy="sound=false")
        self.sound = str(sound).lower() == "true"
        self.batch_size = 1

    def generate_until(self, requests: list[Any]) -> list[str]:
        """An answer to every request, in order."""
        return [self._answer(*request.args) for request in requests]

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Not offered."""
        raise NotImplementedError(f"{MODEL_ID} answers single-round tasks (generate_until)")

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Not offered."""
        raise NotImplementedError(f"{MODEL_ID} generates answers; use the task's generate_until variant")

    def _answer(
        self, context: str, to_messages: Any, generation: Mapping[str, Any], doc_id: Any, task: str, split: str
    ) -> str:
        messages = to_messages(self.task_dict[task][split][doc_id])
        conversation, media, wanted = read_messages(messages)
        options = generation_options(generation) | wanted | {"long": self.long}
        if self.num_beams is not None:
            options["num_beams"] = self.num_beams
        if not self.sound:
            options["no_audio"] = True
        try:
            answer = self.engine.ask(media, conversation, **options)
        except (MediaError, ContextError) as error:
            log.error("%s, item %s of %s: no answer: %s", task, doc_id, split, error)
            return ""
        for warning in answer.report.get("warnings", []):
            log.warning("%s, item %s of %s: %s", task, doc_id, split, warning)
        return cut(answer.text, generation.get("until"))


def read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, str]], list[Any], dict[str, Any]]:
    """A task's messages as the engine takes them.

    Returns:
        (conversation with texts only, media in order, options: start and end of a single video, ``no_audio`` if a
        part says ``silent``).
    """
    conversation: list[dict[str, str]] = []
    pictures: list[Any] = []
    sounds: list[Any] = []
    options: dict[str, Any] = {}
    for message in messages:
        texts = []
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            kind = part["type"]
            if kind == "text":
                texts.append(part["text"])
            elif kind == "audio":
                sounds.append(sound_source(part["url"]))
            elif kind in ("image", "video"):
                pictures.append(part["url"])
                span: dict[str, Any] = {"start": part.get("start_time"), "end": part.get("end_time")}
                options |= {name: value for name, value in span.items() if value is not None}
                if part.get("silent"):
                    options["no_audio"] = True
            else:
                raise ConfigError(f"a message part of type {kind!r} cannot be shown or played")
        conversation.append({"role": message["role"], "content": "\n".join(text for text in texts if text.strip())})
    if options.keys() & {"start", "end"} and len(pictures) > 1:
        raise ConfigError("start and end times can go with one video only")
    media = list(zip(pictures, sounds)) if len(pictures) == len(sounds) else [*pictures, *sounds]
    return conversation, media, options


def sound_source(value: Any) -> Any:
    """A sound in any form that lmms-eval's data sets use: a path, or an object with ``array`` and ``sampling_rate``."""
    if isinstance(value, Mapping) and value.get("array") is not None:
        return np.asarray(value["array"], dtype=np.float32), int(value["sampling_rate"])
    if isinstance(value, Mapping):
        return value.get("path") or value.get("bytes")
    return value


def generation_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """A task's generation settings as the engine's options: what the task leaves open is the model's own choice, but
    nothing is drawn unless a temperature is asked for."""
    warm = float(given.get("temperature") or 0) > 0
    options: dict[str, Any] = {"do_sample": warm}
    options |= {name: int(given[name]) for name in ("max_new_tokens", "num_beams") if given.get(name)}
    if warm:
        options["temperature"] = float(given["temperature"])
        if given.get("top_p") is not None:
            options["top_p"] = float(given["top_p"])
    return options


def cut(text: str, until: str | Sequence[str] | None) -> str:
    """The text before the first stop string."""
    for stop in [until] if isinstance(until, str) else until or []:
        if stop:
            text = text.split(stop, 1)[0]
    return text.strip()
