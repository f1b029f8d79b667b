"""Functions of the task files beside it: Daily-Omni and AVUT, two audio-visual benchmarks that lmms-eval lacks.

lmms-eval imports this file by its path, for the tasks of ``--include_path FOLDER``; nothing here imports lmms-eval.
The questions come from the data sets' own files. The media have to be unpacked into a folder that an environment
variable names.

- Daily-Omni (github.com/Lliar-liar/Daily-Omni): ``Videos/ID/ID_video.mp4`` and ``ID_audio.wav``, shown together; the
  prompt is its authors' for video and audio together.
- AVUT (github.com/lark-png/AVUT): ``ID.mp4`` with its own sound. Its repository holds no prompt: this one is ours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.choice import LETTERS, option_lines, read_choice

DAILY_OMNI, AVUT = "DAILY_OMNI_VIDEOS", "AVUT_VIDEOS"
"""Environment variables that name the folders of media."""
DURATIONS = ("30s", "60s")
"""Of Daily-Omni's videos."""
Document = Mapping[str, Any]
Messages = list[dict[str, Any]]


def _folder(variable: str) -> Path:
    name = os.environ.get(variable, "")
    if not name or not Path(name).is_dir():
        raise EvaluationError(
            f"{variable} is {name!r}, which is not a folder",
            remedy=f"export {variable}=FOLDER with the benchmark's videos",
        )
    return Path(name)


def _media(path: Path) -> str:
    if not path.is_file():
        raise EvaluationError(f"{path}: not there", remedy="unpack the benchmark's videos")
    return str(path)


def _message(prompt: str, **media: str) -> Messages:
    parts = [{"type": kind, "url": path} for kind, path in media.items()]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}]


def _marked(doc: Document, texts: Sequence[str], wanted: str, answer: str) -> float:
    """1 where an answer means the candidate with the wanted letter."""
    found = read_choice(answer, texts)
    return float(found is not None and LETTERS[found] == wanted.strip().upper())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


# --------------------------------------------------------------------------------------------------- Daily-Omni


def daily_omni_doc_to_visual(doc: Document) -> list[str]:
    """Video and sound, for models that take a list."""
    folder = _folder(DAILY_OMNI) / str(doc["video_id"])
    return [_media(folder / f"{doc['video_id']}_video.mp4"), _media(folder / f"{doc['video_id']}_audio.wav")]


def daily_omni_doc_to_text(doc: Document) -> str:
    """The authors' prompt; the choices are lettered in the data."""
    return (
        "Your task is to accurately answer multiple-choice questions based on the given video and audio together.\n"
        "Select the single most accurate answer from the given choices.\n"
        f"Question: {doc['Question']}\n"
        f"Choices: {list(doc['Choice'])}\n"
        "Your answer should be a capital letter representing your choice: A, B, C, or D. "
        "Don't generate any other text.\n"
    )


def daily_omni_doc_to_messages(doc: Document) -> Messages:
    """The video with its sound, and the prompt."""
    video, sound = daily_omni_doc_to_visual(doc)
    return _message(daily_omni_doc_to_text(doc), video=video, audio=sound)


def daily_omni_process_results(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """Right or wrong, with the video's length."""
    texts = [choice.partition(". ")[2] or choice for choice in doc["Choice"]]
    mark = {"right": _marked(doc, texts, doc["Answer"], results[0]), "length": doc.get("video_duration", "")}
    return dict.fromkeys(("daily_omni_accuracy", *(f"daily_omni_{length}" for length in DURATIONS)), mark)


def _of_length(length: str) -> Callable[[Sequence[Document]], float]:
    def aggregate(marks: Sequence[Document]) -> float:
        return _mean([mark["right"] for mark in marks if mark["length"] == length])

    return aggregate


daily_omni_30s, daily_omni_60s = map(_of_length, DURATIONS)


# --------------------------------------------------------------------------------------------------------- AVUT


def avut_doc_to_visual(doc: Document) -> list[str]:
    """The video, which has its own sound."""
    return [_media(_folder(AVUT) / Path(str(doc["video_path"])).name)]


def _avut_candidates(doc: Document) -> list[str]:
    return [str(doc[f"option_{letter}"]) for letter in "ABCD"]


def avut_doc_to_text(doc: Document) -> str:
    """The question, its four options, and what is wanted."""
    options = option_lines(_avut_candidates(doc))
    return f"{doc['question']}\n{options}\nAnswer with the option's letter from the given choices directly."


def avut_doc_to_messages(doc: Document) -> Messages:
    """The video and the prompt."""
    return _message(avut_doc_to_text(doc), video=avut_doc_to_visual(doc)[0])


def avut_process_results(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """Right or wrong."""
    mark = {"right": _marked(doc, _avut_candidates(doc), doc["answer"], results[0]), "task": doc.get("task_type", "")}
    return {"avut_accuracy": mark}


def accuracy(marks: Sequence[Document]) -> float:
    """Share of right answers."""
    return _mean([mark["right"] for mark in marks])
