"""Audio-visual sound source detection on VGGSS clips (Chen et al., CVPR 2021). Paper: 47.6 %, judged by ChatGPT."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image`` ([mp4, wav]), ``question`` (always the same), ``answer`` (a sentence around the label)."""
    return [
        Annotation(numbered("avssd", r), r.text("question"), (r.text("answer"),), clip_names(r))
        for r in read_records(file)
    ]


TASK = Task(
    id="avssd",
    title="Sound sources, VGGSS",
    kind="source",
    metrics=("accuracy",),
    files=("testdata_formatted.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=48,
    read=read,
    annotations=SAVE_FILES,
    media="VGG-Sound Source project (University of Oxford): clips of VGGSound",
    expected=847,
    counts={"different answers": 523},
)
