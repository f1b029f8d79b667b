"""Whisper's own decoder on the same held-out sounds: what the speech encoder's makers get out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.embedded.data.render import render_sound
from video_salmonn.embedded.held_out.groups import Group
from video_salmonn.embedded.held_out.measure import ANSWERS, HeldOut, append_answers, read_answers
from video_salmonn.embedded.pretrained import part_directory
from video_salmonn.evaluation.settings import agree_on_settings
from video_salmonn.evaluation.whisper_baseline import WhisperDecoder
from video_salmonn.files import digest_file

CONDITION = "whisper"
PART = "whisper-base"


def whisper_figures(
    data: HeldOut, groups: Sequence[Group], out: Path, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Word error rates of Whisper base on the rows of speech alone; answers are kept like the model's.

    Its text is scored and never shown to our model.

    Raises:
        ConfigError: the folder holds answers of another Whisper.
    """
    path = out / ANSWERS
    weights = part_directory(PART) / "model.safetensors"
    if weights.is_file():
        agree_on_settings(out, {"whisper": digest_file(weights)}, [path], resume=True)
    known = read_answers(path)
    decoder: WhisperDecoder | None = None
    figures: dict[str, Any] = {}
    for group in groups:
        if group.metric != "wer" or group.tasks != ("transcribe",):
            continue
        items = data.items(group)
        for number, item in enumerate(items, 1):
            if (CONDITION, item.id) in known:
                continue
            decoder = decoder or WhisperDecoder.from_folder(part_directory(PART))
            samples = render_sound(item.media["audio"], item.root)
            (answer,) = decoder.transcribe([torch.from_numpy(samples)])
            append_answers(path, CONDITION, [item], [answer])
            known[CONDITION, item.id] = answer
            if number % 20 == 0:
                report(f"{group.name} whisper: {number} of {len(items)}")
        if items:
            scored = group.score(items, [known[CONDITION, item.id] for item in items])
            figures[group.name] = {"Whisper base's own decoder": scored.to_dict()}
    return figures
