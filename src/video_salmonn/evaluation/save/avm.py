"""Audio-visual matching: do sound and picture belong together? Paper: 79.7 %.

Two parts, scored together and apart: ``vggss`` (video and sound, 500) and ``spokencoco`` (picture and spoken
caption, 500).
"""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation, MediaNames
from video_salmonn.evaluation.save.annotations import read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, numbered
from video_salmonn.metrics.yesno import read_yes_no


def read(file: Path) -> list[Annotation]:
    """Fields ``image`` ([mp4 or jpg, wav]), ``question``, ``answer`` (Yes or No), ``text`` (not shown).

    The sound of a pair is often another clip's, so the video's own track never replaces it.
    """
    entries = []
    for record in read_records(file):
        names, answer = record.media(), record.text("answer")
        if "sound" not in names or len(names) != 2:
            record.fail("must name a picture or video and a sound")
        if read_yes_no(answer) is None:
            record.fail(f"the answer {answer!r} is neither yes nor no")
        part = "vggss" if "video" in names else "spokencoco"
        media = MediaNames(video=names.get("video"), image=names.get("image"), sound=names["sound"])
        entries.append(Annotation(numbered("avm", record), record.text("question"), (answer,), media, part=part))
    return entries


TASK = Task(
    id="avm",
    title="Audio-visual matching, VGGSS and SpokenCOCO",
    kind="yes_no",
    metrics=("accuracy",),
    files=("audiovisualmatching_combined.json",),
    prompt=Prompt("{question}\nAnswer yes or no.", version=2),
    max_new_tokens=8,
    read=read,
    annotations=SAVE_FILES,
    media="VGG-Sound Source clips, COCO images and SpokenCOCO recordings (MIT)",
    expected=1000,
    counts={
        "part vggss": 500,
        "part vggss, yes": 241,
        "part vggss, no": 259,
        "part spokencoco": 500,
        "part spokencoco, yes": 265,
        "part spokencoco, no": 235,
    },
)
