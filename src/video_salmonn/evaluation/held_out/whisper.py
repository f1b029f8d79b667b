"""Whisper's own decoder on the same held-out sounds: what the speech encoder's makers get out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.checkpoints.embedded import load_whisper
from video_salmonn.data.embedded.render import render_sound
from video_salmonn.evaluation.held_out.groups import Group
from video_salmonn.evaluation.held_out.measure import ANSWERS, HeldOut, append_answers, read_answers

CONDITION = "whisper"
SECONDS = 30


@torch.inference_mode()
def whisper_figures(
    data: HeldOut, groups: Sequence[Group], out: Path, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Word error rates of Whisper base, greedy, sounds of at most 30 s padded to 30 s; kept like the model's answers.

    Its text is scored and never shown to our model.
    """
    path = out / ANSWERS
    known = read_answers(path)
    speech = [group for group in groups if group.metric == "wer" and group.name.startswith("speech")]
    whisper = None
    figures: dict[str, Any] = {}
    for group in speech:
        items = data.items(group)
        for number, item in enumerate(items, 1):
            if (CONDITION, item.id) in known:
                continue
            if whisper is None:
                whisper = load_whisper()
            model, tokenizer, extractor = whisper
            samples = render_sound(item.media["audio"], Path(item.extra["_root"]))[: SECONDS * 16000]
            inputs = extractor(samples, sampling_rate=16000, return_tensors="pt").input_features
            ids = model.generate(
                inputs, language="en", task="transcribe", num_beams=1, do_sample=False, max_new_tokens=200
            )
            answer = tokenizer.decode(ids[0], skip_special_tokens=True).strip()
            append_answers(path, CONDITION, [item], [answer])
            known[CONDITION, item.id] = answer
            if number % 20 == 0:
                report(f"{group.name} whisper: {number} of {len(items)}")
        if items:
            figures[group.name] = {
                "Whisper's own decoder": group.score(items, [known[CONDITION, item.id] for item in items]).to_dict()
            }
    return figures
