"""NExT-QA: why and how in videos, five choices, no sound needed (Xiao et al., CVPR 2021). Paper: 49.6 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image`` ("folder/video.mp4"), ``question``, ``answer``, ``answer_candidates`` (five)."""
    entries = []
    for record in read_records(file):
        answer, candidates = chosen(record)
        entries.append(
            Annotation(numbered("nextqa", record), record.text("question"), (answer,), clip_names(record), candidates)
        )
    return entries


TASK = Task(
    id="nextqa",
    title="Video question answering, NExT-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("nextqa_test.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=read,
    annotations=SAVE_FILES,
    media="NExT-QA project (National University of Singapore): videos, from VidOR",
    senses=("picture",),
    expected=1000,
    counts={"pictures and videos": 564},
)
