"""GQA testdev-balanced: questions about pictures (Hudson and Manning, CVPR 2019). Paper: 44.8 %.

Fields ``image``, ``question``, ``answer`` (a word or two), ``fullanswer`` (a sentence, not used).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, picture_names, read_questions

TASK = Task(
    id="gqa",
    title="Questions about pictures, GQA",
    kind="short",
    metrics=("accuracy",),
    files=("testdev_balanced_questions_with_images.json",),
    prompt=Prompt("{question}\nAnswer with a word or a short phrase.", version=2),
    max_new_tokens=32,
    read=partial(read_questions, task="gqa", names=picture_names),
    annotations=SAVE_FILES,
    media="GQA project (Stanford University): images",
    senses=("picture",),
    expected=12577,
    counts={"pictures and videos": 398},
)
