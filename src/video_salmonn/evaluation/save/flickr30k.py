"""Flickr30k, 1000 test pictures with five captions (Young et al., TACL 2014). Paper: CIDEr 89.6.

Fields ``image``, ``question``, ``answer`` (five captions).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, picture_names, read_questions, several_answers

TASK = Task(
    id="flickr30k",
    title="Image captioning, Flickr30k",
    kind="caption",
    metrics=("cider", "meteor", "spice", "spider"),
    files=("flickr30k_captions.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=64,
    read=partial(read_questions, task="flickr30k", names=picture_names, answers=several_answers),
    annotations=SAVE_FILES,
    media="Flickr30k images (University of Illinois Urbana-Champaign)",
    senses=("picture",),
    expected=1000,
)
