"""Ego4D-QA: questions about first-person clips that need eyes and ears. Paper: 49.8 %."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image_name`` ([mp4, wav], ``<video uid>__<n>.mp4``), ``question``, ``answer``, ``answer_candidates``
    (five) and ``duration`` ([from, to] in seconds inside the whole video).

    Where a clip is missing but the whole video is there, that stretch of it is used.
    """
    entries = []
    for record in read_records(file):
        answer, candidates = chosen(record)
        clip = clip_names(record)
        name = Path(clip.video or "")
        whole = f"{name.stem.rpartition('__')[0]}{name.suffix}" if "__" in name.stem else None
        names = dataclasses.replace(clip, whole=whole, span=record.span("duration"))
        entries.append(Annotation(numbered("ego4d_qa", record), record.text("question"), (answer,), names, candidates))
    return entries


TASK = Task(
    id="ego4d_qa",
    title="Audio-visual questions, Ego4D-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("ego4d_qa.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=read,
    annotations=SAVE_FILES,
    media="Ego4D consortium (licence agreement needed): the clips, or the whole videos by their uid",
    expected=899,
    counts={"whole recordings": 130},
)
