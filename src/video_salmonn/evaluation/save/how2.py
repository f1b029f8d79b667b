"""How2 dev5: speech in instruction videos (Sanabria et al. 2018). Paper: WER 7.7 %. 42 clips are longer than 30 s."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image`` ([mp4, wav]), ``question``, ``answer`` (the transcript)."""
    return [
        Annotation(numbered("how2", r), r.text("question"), (r.text("answer"),), clip_names(r))
        for r in read_records(file)
    ]


TASK = Task(
    id="how2",
    title="Audio-visual speech recognition, How2",
    kind="speech",
    metrics=("wer",),
    files=("how2_test.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=256,
    read=read,
    annotations=SAVE_FILES,
    media="How2 project (srvk/how2-dataset): videos of dev5, cut at the times in the file names",
    expected=531,
)
