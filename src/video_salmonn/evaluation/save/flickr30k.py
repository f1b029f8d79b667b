"""Flickr30k, 1000 test pictures with five captions (Young et al., TACL 2014). Paper: CIDEr 89.6."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, numbered, picture_names


def read(file: Path) -> list[Annotation]:
    """Fields ``image``, ``question``, ``answer`` (five captions)."""
    return [
        Annotation(numbered("flickr30k", r), r.text("question"), r.texts("answer"), picture_names(r))
        for r in read_records(file)
    ]


TASK = Task(
    id="flickr30k",
    title="Image captioning, Flickr30k",
    kind="caption",
    metrics=("cider", "meteor", "spice", "spider"),
    files=("flickr30k_captions.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=64,
    read=read,
    annotations=SAVE_FILES,
    media="Flickr30k images (University of Illinois Urbana-Champaign)",
    senses=("picture",),
    expected=1000,
)
