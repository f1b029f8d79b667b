"""Ego4D-QA: questions about first-person clips that need eyes and ears. Paper: 49.8 %.

Fields ``image_name`` ([mp4, wav], ``<video uid>__<n>.mp4``), ``question``, ``answer``, ``answer_candidates`` (five) and
``duration`` ([from, to] in seconds inside the whole video). Where a clip is missing but the whole video is there, that
stretch of it is used.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from video_salmonn.evaluation.item import MediaNames
from video_salmonn.evaluation.save.annotations import Record
from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, read_questions


def _names(record: Record) -> MediaNames:
    """The clip, and the stretch of the whole video that it is."""
    clip = clip_names(record)
    name = Path(clip.video or "")
    whole = f"{name.stem.rpartition('__')[0]}{name.suffix}" if "__" in name.stem else None
    return replace(clip, whole=whole, span=record.span("duration"))


TASK = Task(
    id="ego4d_qa",
    title="Audio-visual questions, Ego4D-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("ego4d_qa.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=partial(read_questions, task="ego4d_qa", names=_names, answers=chosen),
    annotations=SAVE_FILES,
    media="Ego4D consortium (licence agreement needed): the clips, or the whole videos by their uid",
    expected=899,
    counts={"whole recordings": 130},
)
