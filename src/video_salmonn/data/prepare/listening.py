"""Speech and sounds: LibriSpeech, AudioCaps, How2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from video_salmonn.data.manifest import Item
from video_salmonn.data.prepare.layout import Layout, item, read_table
from video_salmonn.data.prompts import ask
from video_salmonn.errors import ManifestError
from video_salmonn.files import numbered_lines


def librispeech(layout: Layout) -> Iterator[Item]:
    """LibriSpeech (Panayotov et al. 2015): ``SPLIT*/speaker/chapter/*.trans.txt`` beside the flac files.

    ``--split train-clean`` takes train-clean-100 and train-clean-360, the 460 hours of the paper. The transcripts,
    published in capitals, become lower case.
    """
    layout.find(f"{layout.split}*")
    for file in sorted(layout.folder.rglob("*.trans.txt")):
        if not any(part.startswith(layout.split) for part in file.relative_to(layout.folder.parent).parts):
            continue
        for _, line in numbered_lines(file, ManifestError):
            name, _, text = line.strip().partition(" ")
            if not text:
                continue
            sound = layout.media(str((file.parent / f"{name}.flac").relative_to(layout.folder)))
            if sound:
                question = ask("transcribe", name)
                yield item(name, {"audio": sound}, question, text.lower(), "transcribe", "LibriSpeech", layout.split)


def audiocaps(layout: Layout) -> Iterator[Item]:
    """AudioCaps (Kim et al. 2019): ``SPLIT.csv``, and sounds named by video id, with or without start time or a Y."""
    path = layout.find(f"{layout.split}.csv")
    for row in read_table(path, "audiocap_id", "youtube_id", "start_time", "caption"):
        video, start = row["youtube_id"], row["start_time"]
        sound = layout.media(f"{video}_{start}.wav", f"{video}_{start}", video, f"Y{video}", row["audiocap_id"])
        if sound:
            name = row["audiocap_id"]
            question = ask("sound-caption", name)
            yield item(name, {"audio": sound}, question, row["caption"], "sound-caption", "AudioCaps", layout.split)


def how2(layout: Layout) -> Iterator[Item]:
    """How2, 300 h (Sanabria et al. 2018): Kaldi's ``SPLIT/segments`` and ``SPLIT/text*``, and one video an id."""
    segments = layout.find(f"{layout.split}/segments")
    texts = dict(_pairs(layout.find(f"{layout.split}/text.id.en", f"{layout.split}/text")))
    for number, line in numbered_lines(segments, ManifestError):
        try:
            name, recording, start, end = line.split()
            span = {"start": float(start), "end": float(end)}
        except ValueError as error:
            raise ManifestError(f"{segments}, line {number}: no 'utterance video start end'") from error
        if not texts.get(name):
            layout.left_out["it has no transcript"] += 1
            continue
        video = layout.media(name, recording)
        if video:
            whole = Path(video).stem != name  # a file of the utterance alone is not cut again
            media = {"video": video, **(span if whole else {})}
            yield item(name, media, ask("transcribe-av", name), texts[name], "transcribe-av", "How2", layout.split)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for _, line in numbered_lines(path, ManifestError):
        name, _, text = line.strip().partition(" ")
        if name:
            yield name, text.strip()
