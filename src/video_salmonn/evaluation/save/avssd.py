"""Audio-visual sound source detection on VGGSS clips (Chen et al., CVPR 2021). Paper: 47.6 %, judged by ChatGPT.

Fields ``image`` ([mp4, wav]), ``question`` (always the same), ``answer`` (a sentence around the label).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, clip_names, read_questions

TASK = Task(
    id="avssd",
    title="Sound sources, VGGSS",
    kind="source",
    metrics=("accuracy",),
    files=("testdata_formatted.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=48,
    read=partial(read_questions, task="avssd", names=clip_names),
    annotations=SAVE_FILES,
    media="VGG-Sound Source project (University of Oxford): clips of VGGSound",
    expected=847,
    counts={"different answers": 523},
)
