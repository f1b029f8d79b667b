"""Presentation-QA: questions about talks whose slides and speech belong together. Paper: 70.5 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image_name`` ([mp4, wav]), ``question``, ``answer``, ``answer_candidates`` (five)."""
    entries = []
    for record in read_records(file):
        answer, candidates = chosen(record)
        name = numbered("presentation_qa", record)
        entries.append(Annotation(name, record.text("question"), (answer,), clip_names(record), candidates))
    return entries


TASK = Task(
    id="presentation_qa",
    title="Audio-visual questions, Presentation-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("presentation_qa.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=read,
    annotations=SAVE_FILES,
    media="the talks named in the files, cut at the times in their file names",
    expected=963,
)
