"""LibriSpeech test-clean: read speech (Panayotov et al., ICASSP 2015). Paper: WER 2.6 %."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Annotation, MediaNames
from video_salmonn.evaluation.save.annotations import read_lines
from video_salmonn.evaluation.save.task import Prompt, Task


def read(folder: Path) -> list[Annotation]:
    """Every ``*.trans.txt`` of the corpus' own tree: lines of "speaker-chapter-number TEXT"."""
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: must be the corpus' folder test-clean, not a file")
    entries = []
    for file in sorted(folder.rglob("*.trans.txt")):
        for number, line in enumerate(read_lines(file), 1):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            if not text.strip():
                raise EvaluationError(f"{file}: line {number}: utterance {name!r} has an empty transcript")
            entries.append(Annotation(name, "", (text.strip(),), MediaNames(sound=f"{name}.flac")))
    return entries


TASK = Task(
    id="librispeech",
    title="Speech recognition, LibriSpeech test-clean",
    kind="speech",
    metrics=("wer",),
    files=("test-clean",),
    prompt=Prompt("Write down exactly the words that are spoken."),
    max_new_tokens=256,
    read=read,
    annotations="LibriSpeech corpus (Open Speech and Language Resources, number 12): archive test-clean",
    media="the same archive",
    senses=("sound",),
    expected=2620,
)
