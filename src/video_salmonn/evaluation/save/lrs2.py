"""LRS2 test: sentences from television, with the speaker's face (Afouras et al. 2018). Paper: WER 4.9 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Annotation, MediaNames
from video_salmonn.evaluation.save.annotations import read_lines, safe_name
from video_salmonn.evaluation.save.task import Prompt, Task


def read(file: Path) -> list[Annotation]:
    """The corpus' list ``test.txt`` ("<video>/<clip>" a line, perhaps more columns) with the transcripts
    ``main/<video>/<clip>.txt``, whose first line is "Text:  WORDS"."""
    entries = []
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        name = line.split()[0]
        if not safe_name(name):
            raise EvaluationError(f"{file}: line {number}: {name!r} is not a name of a clip")
        entries.append(Annotation(name, "", (_transcript(file, name),), MediaNames(video=f"{name}.mp4")))
    return entries


def _transcript(file: Path, name: str) -> str:
    for folder in (file.parent / "main", file.parent):
        if (folder / f"{name}.txt").is_file():
            lines = read_lines(folder / f"{name}.txt")
            label, _, text = (lines or [""])[0].partition(":")
            if label.strip().lower() != "text" or not text.strip():
                raise EvaluationError(f"{folder / name}.txt: the first line must be 'Text: …' with the words spoken")
            return text.strip()
    raise EvaluationError(
        f"{file}: clip {name!r} has no transcript main/{name}.txt beside the list",
        remedy="keep the corpus' own folders: the list beside main/",
    )


TASK = Task(
    id="lrs2",
    title="Audio-visual speech recognition, LRS2",
    kind="speech",
    metrics=("wer",),
    files=("lrs2/test.txt", "mvlrs_v1/test.txt"),
    prompt=Prompt("Write down exactly the words that are spoken."),
    max_new_tokens=128,
    read=read,
    annotations="LRS2 corpus (University of Oxford and the BBC; agreement needed), list saved as lrs2/test.txt",
    media="the same corpus, folder main",
    expected=1243,  # Afouras, Chung and Zisserman 2018 (arXiv 1809.00496), table of data sets
)
