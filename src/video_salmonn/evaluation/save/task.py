"""What a task is: annotation file, prompt, metrics, reader. The tasks themselves are one small file each.

A task's prompt and its way of reading answers are pinned: changing either changes the version, and the version is
stored with every result, so that two numbers can be distinguished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Annotation, BenchmarkItem, MediaNames
from video_salmonn.evaluation.save.annotations import Record, read_records
from video_salmonn.evaluation.save.locate import Finder, Located, MediaIndex, locate
from video_salmonn.metrics.choice import option_lines

Kind = Literal["speech", "caption", "dialogue", "vqa", "short", "choice", "yes_no", "source"]
Sense = Literal["picture", "sound"]
SAVE_FILES = "SAVEBench folder of the video-SALMONN release (bytedance/SALMONN, branch videosalmonn)"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The words a task is asked with.

    Attributes:
        template: with ``{question}``, ``{options}`` (one line a candidate, "A. …") or ``{history}`` where needed.
        version: raised with every change of the template or of how answers are read.
    """

    template: str
    version: int = 1

    def render(self, entry: Annotation) -> str:
        """The prompt of one entry."""
        history = "".join(f"Q: {q}\nA: {a}\n" for q, a in entry.history)
        if history:
            history = f"The conversation so far:\n{history}"
        return self.template.format(
            question=entry.question.strip(), options=option_lines(entry.candidates), history=history
        )


CHOOSE = Prompt("{question}\nChoose one:\n{options}\nAnswer with the letter of your choice.", version=2)
"""How multiple choice is asked."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the benchmark.

    Attributes:
        id: of the contract.
        title: for tables.
        kind: how answers are read and scored (:mod:`video_salmonn.evaluation.scoring`).
        metrics: names of the contract, the first being the paper's.
        files: names its annotations go by; the first that exists below the data folder is read.
        prompt: what is asked.
        max_new_tokens: how long an answer may be.
        read: annotation file -> entries.
        annotations: where the annotations come from.
        media: where the media come from (a data set and its project).
        senses: what the task is about. A video of a task about pictures alone is shown without its sound, as the
            release does where an annotation names an mp4 and no wav.
        expected: number of entries of the published file, None where it is not known or depends on availability.
        counts: what else is known of the published file, by the names of :meth:`facts`.
    """

    id: str
    title: str
    kind: Kind
    metrics: tuple[str, ...]
    files: tuple[str, ...]
    prompt: Prompt
    max_new_tokens: int
    read: Callable[[Path], list[Annotation]]
    annotations: str
    media: str
    senses: tuple[Sense, ...] = ("picture", "sound")
    expected: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def facts(self, entries: Sequence[Annotation]) -> dict[str, int]:
        """Counts that distinguish the published file from another: distinct media, their recordings, answers; and
        entries by part, and by part and answer."""
        out = {
            "pictures and videos": len({e.names.image or e.names.video for e in entries} - {None}),
            "whole recordings": len({e.names.whole for e in entries} - {None}),
            "different answers": len({e.references[0] for e in entries}),
        }
        out |= Counter(f"part {e.part}" for e in entries if e.part)
        if self.kind == "yes_no":
            out |= Counter(f"part {e.part}, {e.references[0].lower()}" for e in entries)
        return out

    def find_annotations(self, data: Path) -> Path | None:
        """The annotation file: in ``data``, ``data/<task>`` or anywhere below (the first in sorted order)."""
        for folder in (data, data / self.id):
            for name in self.files:
                if (folder / name).exists():
                    return folder / name
        for name in self.files:
            if found := sorted(path for path in data.rglob(name)):
                return found[0]
        return None

    def entries(self, file: Path) -> list[Annotation]:
        """Read and check the annotation file.

        Raises:
            EvaluationError: on bad items and on ids that occur twice.
        """
        entries = self.read(file)
        seen: set[str] = set()
        for entry in entries:
            if entry.id in seen:
                raise EvaluationError(f"{file}: the id {entry.id!r} occurs twice")
            seen.add(entry.id)
        if not entries:
            raise EvaluationError(f"{file}: holds no items of task {self.id}")
        return entries

    def load(self, data: Path, index: MediaIndex | None = None) -> tuple[list[Annotation], Located, Path]:
        """Entries, what was found of their media, and the annotation file.

        Raises:
            EvaluationError: if there is no annotation file; the remedy says where to get it.
        """
        file = self.find_annotations(data)
        if file is None:
            raise EvaluationError(
                f"{data}: no annotations of task {self.id} ({' or '.join(self.files)})",
                remedy=f"get them from the {self.annotations}; `video-salmonn eval save check --data {data}` lists all",
            )
        entries = self.entries(file)
        beside = file if file.is_dir() else file.parent
        return entries, locate(entries, Finder(index or MediaIndex(data), self.id, beside)), file

    def items(self, entries: Sequence[Annotation], located: Located) -> list[BenchmarkItem]:
        """Entries whose media were found, with their prompts, in the annotation file's order."""
        return [
            BenchmarkItem(entry, located.media[entry.id], self.prompt.render(entry), located.notes.get(entry.id, ()))
            for entry in entries
            if entry.id in located.media
        ]


def numbered(task: str, record: Record) -> str:
    """Id of an entry whose file has none: its place in the file."""
    return f"{task}-{record.index:05d}"


def clip_names(record: Record) -> MediaNames:
    """Media of a clip with its own sound: ``[mp4, wav]`` of one stem, or one mp4 alone."""
    names = record.media()
    video, sound = names.get("video"), names.get("sound")
    if video is None:
        record.fail("names no video")
    own = sound is not None and Path(video).stem == Path(sound).stem
    return MediaNames(video=video, sound=sound, own_sound=own)


def picture_names(record: Record) -> MediaNames:
    """Media of a question about a picture alone."""
    names = record.media()
    if "image" not in names:
        record.fail("names no picture")
    return MediaNames(image=names["image"])


Answers = tuple[tuple[str, ...], tuple[str, ...]]
"""(reference answers, candidates)."""


def one_answer(record: Record) -> Answers:
    """Of a record with one ``answer``."""
    return (record.text("answer"),), ()


def several_answers(record: Record) -> Answers:
    """Of a record whose ``answer`` is a list."""
    return record.texts("answer"), ()


def chosen(record: Record) -> Answers:
    """Of a multiple-choice record: ``answer`` must be one of its ``answer_candidates``."""
    answer, candidates = record.text("answer"), record.texts("answer_candidates")
    if answer not in candidates:
        record.fail(f"the answer {answer!r} is none of the candidates {list(candidates)}")
    return (answer,), candidates


def read_questions(
    file: Path,
    *,
    task: str,
    names: Callable[[Record], MediaNames],
    answers: Callable[[Record], Answers] = one_answer,
) -> list[Annotation]:
    """The entries of one of the release's own files: a record's ``question``, its answers and its media."""
    entries = []
    for record in read_records(file):
        references, candidates = answers(record)
        question = record.text("question")
        entries.append(Annotation(numbered(task, record), question, references, names(record), candidates))
    return entries
