"""TextVQA, validation questions: reading text in pictures (Singh et al., CVPR 2019). Paper: 37.8 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, numbered, picture_names


def read(file: Path) -> list[Annotation]:
    """Fields ``image`` (an Open Images id with .jpg), ``question``, ``answer`` (ten people's)."""
    return [
        Annotation(numbered("textvqa", r), r.text("question"), r.texts("answer"), picture_names(r))
        for r in read_records(file)
    ]


TASK = Task(
    id="textvqa",
    title="Reading text in pictures, TextVQA validation",
    kind="vqa",
    metrics=("vqa_accuracy", "accuracy"),
    files=("textvqa.json",),
    prompt=Prompt("{question}\nAnswer with a word or a short phrase.", version=2),
    max_new_tokens=32,
    read=read,
    annotations=SAVE_FILES,
    media="TextVQA project (training and validation images, from Open Images)",
    senses=("picture",),
    expected=5000,
    counts={"pictures and videos": 3166},
)
