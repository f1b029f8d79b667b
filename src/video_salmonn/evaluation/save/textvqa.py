"""TextVQA, validation questions: reading text in pictures (Singh et al., CVPR 2019). Paper: 37.8 %.

Fields ``image`` (an Open Images id with .jpg), ``question``, ``answer`` (ten people's).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, picture_names, read_questions, several_answers

TASK = Task(
    id="textvqa",
    title="Reading text in pictures, TextVQA validation",
    kind="vqa",
    metrics=("vqa_accuracy", "accuracy"),
    files=("textvqa.json",),
    prompt=Prompt("{question}\nAnswer with a word or a short phrase.", version=2),
    max_new_tokens=32,
    read=partial(read_questions, task="textvqa", names=picture_names, answers=several_answers),
    annotations=SAVE_FILES,
    media="TextVQA project (training and validation images, from Open Images)",
    senses=("picture",),
    expected=5000,
    counts={"pictures and videos": 3166},
)
