"""MUSIC-AVQA: questions about musical performances (Li et al., CVPR 2022). Paper, zero-shot: 52.6 %."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from video_salmonn.evaluation.item import Annotation, MediaNames
from video_salmonn.evaluation.save.annotations import Record, read_records, safe_name
from video_salmonn.evaluation.save.task import Prompt, Task
from video_salmonn.wording import counted

_SLOT = re.compile(r"<[^<>]*>")


def read(file: Path) -> list[Annotation]:
    """The project's ``avqa-test.json``: ``video_id``, ``question_id``, ``type`` (a list written as a text),
    ``question_content`` with slots such as ``<Object>``, ``templ_values`` (the slots' values, a list written as a
    text) and ``anser`` (so spelled)."""
    entries = []
    for record in read_records(file):
        video = record.text("video_id")
        if not safe_name(video):
            record.fail(f"{video!r} is not a name of a video")
        number = record.fields.get("question_id")
        if not isinstance(number, int | str):
            record.fail("field 'question_id' is missing")
        kinds = _listed(record, "type")
        names = MediaNames(video=f"{video}.mp4")
        entries.append(
            Annotation(str(number), _question(record), (record.text("anser"),), names, part=kinds[0].lower())
        )
    return entries


def _listed(record: Record, name: str) -> list[str]:
    value = record.fields.get(name)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        record.fail(f"field {name!r} must be a list of texts")
    if name == "type" and not value:
        record.fail("field 'type' is empty")
    return value


def _question(record: Record) -> str:
    template, values = record.text("question_content"), _listed(record, "templ_values")
    slots = len(_SLOT.findall(template))
    if slots > len(values):
        record.fail(f"the question has {counted(slots, 'slot')} and only {counted(len(values), 'value')}")
    rest = iter(values)
    return _SLOT.sub(lambda _: next(rest), template)


TASK = Task(
    id="music_avqa",
    title="Questions about music performances, MUSIC-AVQA",
    kind="short",
    metrics=("accuracy",),
    files=("avqa-test.json",),
    prompt=Prompt("{question}\nAnswer with one word.", version=2),
    max_new_tokens=16,
    read=read,
    annotations="MUSIC-AVQA project (GeWu-Lab/MUSIC-AVQA): data/json/avqa-test.json",
    media="the MUSIC-AVQA project's videos, named by their eight digits",
)
