"""GQA testdev-balanced: questions about pictures (Hudson and Manning, CVPR 2019). Paper: 44.8 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, numbered, picture_names


def read(file: Path) -> list[Annotation]:
    """Fields ``image``, ``question``, ``answer`` (a word or two), ``fullanswer`` (a sentence, not used)."""
    return [
        Annotation(numbered("gqa", r), r.text("question"), (r.text("answer"),), picture_names(r))
        for r in read_records(file)
    ]


TASK = Task(
    id="gqa",
    title="Questions about pictures, GQA",
    kind="short",
    metrics=("accuracy",),
    files=("testdev_balanced_questions_with_images.json",),
    prompt=Prompt("{question}\nAnswer with a word or a short phrase.", version=2),
    max_new_tokens=32,
    read=read,
    annotations=SAVE_FILES,
    media="GQA project (Stanford University): images",
    senses=("picture",),
    expected=12577,
    counts={"pictures and videos": 398},
)
