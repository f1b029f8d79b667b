"""AVSD: dialogues about videos (Alamri et al., CVPR 2019). In the release, not among the paper's ten tasks.

Every turn is an item, asked with the *true* earlier turns before it: the answer to one turn cannot spoil the next.
"""

from __future__ import annotations

from pathlib import Path

from video_salmonn.evaluation.item import Annotation
from video_salmonn.evaluation.save.annotations import Record, read_records
from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, clip_names, numbered


def read(file: Path) -> list[Annotation]:
    """Fields ``image_name`` ([mp4, wav]), ``conversation`` ([[question, answer], …])."""
    entries = []
    for record in read_records(file):
        turns, names = _turns(record), clip_names(record)
        for number, (question, answer) in enumerate(turns):
            name = f"{numbered('avsd', record)}-{number:02d}"
            entries.append(Annotation(name, question, (answer,), names, history=tuple(turns[:number])))
    return entries


def _turns(record: Record) -> list[tuple[str, str]]:
    value = record.fields.get("conversation")
    if not isinstance(value, list) or not value:
        record.fail("field 'conversation' must be a list of [question, answer] pairs")
    turns = []
    for number, turn in enumerate(value):
        good = (
            isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) and text.strip() for text in turn)
        )
        if not good:
            record.fail(f"turn {number} (counted from 0) of the conversation must be [question, answer], not {turn!r}")
        turns.append((turn[0], turn[1]))
    return turns


TASK = Task(
    id="avsd",
    title="Audio-visual dialogues, AVSD",
    kind="dialogue",
    metrics=("cider", "meteor", "spice", "spider"),
    files=("avsd_textformat_subset.json",),
    prompt=Prompt("{history}{question}"),
    max_new_tokens=64,
    read=read,
    annotations=SAVE_FILES,
    media="Charades videos (Allen Institute for AI), as used by the AVSD challenge",
    expected=4992,
)
