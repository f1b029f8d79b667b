"""AudioCaps test: captions of sounds (Kim et al., NAACL 2019). Paper: SPIDEr 49.7."""

from __future__ import annotations

import csv
from pathlib import Path

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Annotation, MediaNames
from video_salmonn.evaluation.save.annotations import safe_name
from video_salmonn.evaluation.save.task import Prompt, Task

_FIELDS = ("audiocap_id", "youtube_id", "start_time", "caption")


def read(file: Path) -> list[Annotation]:
    """The project's ``test.csv``: one row a caption, about five rows a clip; one entry a clip."""
    captions: dict[tuple[str, str], list[str]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            if lacking := set(_FIELDS) - set(rows.fieldnames or ()):
                raise EvaluationError(f"{file}: lacks the columns {', '.join(sorted(lacking))}")
            for row in rows:
                clip, start, caption = row["youtube_id"], row["start_time"], row["caption"]
                if not clip or not start or not (caption or "").strip() or not safe_name(clip):
                    raise EvaluationError(f"{file}: line {rows.line_num}: clip, start or caption is empty or unusable")
                captions.setdefault((clip, start), []).append(caption)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{file}: cannot be read as CSV: {error}") from error
    return [
        Annotation(f"{clip}_{start}", "", tuple(texts), _names(clip, start))
        for (clip, start), texts in captions.items()
    ]


def _names(clip: str, start: str) -> MediaNames:
    """Downloaders name the ten seconds by the clip, with or without its start, with or without a leading Y."""
    stems = (f"{clip}_{start}", f"Y{clip}_{start}", f"Y{clip}")
    return MediaNames(sound=f"{clip}.wav", also=tuple(f"{stem}.wav" for stem in stems))


TASK = Task(
    id="audiocaps",
    title="Audio captioning, AudioCaps test",
    kind="caption",
    metrics=("spider", "cider", "spice", "meteor"),
    files=("audiocaps/test.csv", "audiocaps_test.csv"),
    prompt=Prompt("Describe in one sentence what can be heard."),
    max_new_tokens=64,
    read=read,
    annotations="AudioCaps project (cdjkim/audiocaps): dataset/test.csv, saved as audiocaps/test.csv",
    media="YouTube clips the AudioCaps project lists; name each sound youtube_id.wav (availability shrinks over time)",
    senses=("sound",),
)
