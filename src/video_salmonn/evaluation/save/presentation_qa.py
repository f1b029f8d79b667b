"""Presentation-QA: questions about talks whose slides and speech belong together. Paper: 70.5 %.

Fields ``image_name`` ([mp4, wav]), ``question``, ``answer``, ``answer_candidates`` (five).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import CHOOSE, SAVE_FILES, Task, chosen, clip_names, read_questions

TASK = Task(
    id="presentation_qa",
    title="Audio-visual questions, Presentation-QA",
    kind="choice",
    metrics=("accuracy",),
    files=("presentation_qa.json",),
    prompt=CHOOSE,
    max_new_tokens=32,
    read=partial(read_questions, task="presentation_qa", names=clip_names, answers=chosen),
    annotations=SAVE_FILES,
    media="the talks named in the files, cut at the times in their file names",
    expected=963,
)
