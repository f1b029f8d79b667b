"""NExT-QA: why and how in videos, five choices, no sound needed (Xiao et al., CVPR 2021). Paper: 49.6 %.

Fields ``image`` ("folder/video.mp4"), ``question``, ``answer``, ``answer_candidates`` (five).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, read_questions

TASK = Task(
    id="nextqa",
    title="Video question answering, NExT-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("nextqa_test.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=partial(read_questions, task="nextqa", names=clip_names, answers=chosen),
    annotations=SAVE_FILES,
    media="NExT-QA project (National University of Singapore): videos, from VidOR",
    senses=("picture",),
    expected=1000,
    counts={"pictures and videos": 564},
)
