"""Videos: VideoChat, NExT-QA, MSVD-QA, Ego4D, AVSD. Sets that are about pictures alone are shown without sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from video_salmonn.data.manifest import Item
from video_salmonn.data.prepare.layout import Layout, field_of, item, read_json, read_table
from video_salmonn.data.prompts import ask
from video_salmonn.errors import ManifestError
from video_salmonn.files import numbered_lines
from video_salmonn.metrics.choice import option_lines


def videochat(layout: Layout) -> Iterator[Item]:
    """VideoChat's instruction data (Li et al. 2023): a list of videos, each with ``QA`` pairs ``q``, ``a``."""
    path = layout.find("videochat*.json", f"{layout.split}.json")
    for number, entry in enumerate(read_json(path), 1):
        name, pairs = field_of(entry, path, number, "video", "QA")
        video = layout.media(name)
        if not video or not pairs:
            continue
        turns = []
        for place, pair in enumerate(pairs):
            question, answer = field_of(pair, path, number, "q", "a")
            lead = pair.get("i", "") if place == 0 else ""
            turns += [
                {"role": "user", "content": f"{lead} {question}".strip() or ask("video-caption", name)},
                {"role": "assistant", "content": answer},
            ]
        media = {"video": video, "audio": None}
        yield Item(f"{name}#{number}", media, turns, "video-instruct", source="VideoChat", split=layout.split)


def nextqa(layout: Layout) -> Iterator[Item]:
    """NExT-QA (Xiao et al. 2021): ``SPLIT.csv`` of multiple choice (``a0`` to ``a4``) or open answers.

    Videos go by the id of the table, or by the path that ``map_vid_vidorID.json`` gives it.
    """
    path = layout.find(f"{layout.split}.csv")
    try:
        places = read_json(layout.find("map_vid_vidorID.json"))
    except ManifestError:
        places = {}
    for row in read_table(path, "video", "question", "answer", "qid"):
        place = places.get(row["video"], row["video"])
        video = layout.media(f"{place}.mp4", f"{row['video']}.mp4")
        if not video:
            continue
        name = f"{row['video']}/{row['qid']}"
        question, answer = f"{row['question'].strip().rstrip('?').capitalize()}?", row["answer"]
        if "a0" in row:
            candidates = [row[f"a{number}"] for number in range(5)]
            question, answer = f"{question}\n{option_lines(candidates)}", candidates[int(answer)]
        media = {"video": video, "audio": None}
        yield item(name, media, question, answer, "video-qa", "NExT-QA", layout.split)


def msvdqa(layout: Layout) -> Iterator[Item]:
    """MSVD-QA (Xu et al. 2017): ``SPLIT_qa.json``; ``youtube_mapping.txt`` maps ``vidN`` to clips."""
    path = layout.find(f"{layout.split}_qa.json")
    names = {}
    try:
        for _, line in numbered_lines(layout.find("youtube_mapping.txt"), ManifestError):
            clip, _, code = line.strip().rpartition(" ")
            names[code] = clip
    except ManifestError:
        pass  # clips may be named vidN themselves
    for number, entry in enumerate(read_json(path), 1):
        clip, question, answer, qid = field_of(entry, path, number, "video_id", "question", "answer", "id")
        key = f"vid{clip}"
        video = layout.media(*([f"{names[key]}.avi", names[key]] if key in names else []), f"{key}.avi", key)
        if video:
            media = {"video": video, "audio": None}
            yield item(str(qid), media, question.capitalize(), str(answer), "video-qa", "MSVD-QA", layout.split)


def ego4d(layout: Layout) -> Iterator[Item]:
    """Ego4D (Grauman et al. 2022): the summaries of ``narration.json``, of stretches of videos with their sound."""
    path = layout.find("narration.json", "*narration*.json")
    values = read_json(path)
    for number, (uid, entry) in enumerate(values.get("videos", values).items(), 1):
        video: str | None = None
        for writer in ("narration_pass_1", "narration_pass_2"):
            for place, summary in enumerate(entry.get(writer, {}).get("summaries", [])):
                start, end, text = field_of(summary, path, number, "start_sec", "end_sec", "summary_text")
                text = text.replace("#summary", "").replace("#Summary", "").strip()
                if not text or not end > start:
                    layout.left_out["its summary is empty"] += 1
                    continue
                video = video or layout.media(f"{uid}.mp4", uid)
                if not video:
                    break
                name = f"{uid}/{writer[-1]}/{place}"
                media = {"video": video, "start": float(start), "end": float(end)}
                yield item(name, media, ask("video-caption", name), text, "video-caption", "Ego4D", layout.split)


def avsd(layout: Layout) -> Iterator[Item]:
    """AVSD (Alamri et al. 2019): dialogues about Charades videos, ten questions each, with sound."""
    path = layout.find(f"{layout.split}_set*AVSD*.json", f"*avsd*{layout.split}*.json", f"*{layout.split}*.json")
    for number, entry in enumerate(read_json(path)["dialogs"], 1):
        name, dialog = field_of(entry, path, number, "image_id", "dialog")
        video = layout.media(f"{name}.mp4", name)
        turns = []
        for turn in dialog:
            question, answer = field_of(turn, path, number, "question", "answer")
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if video and turns:
            base = item(f"{name}#{number}", {"video": video}, "", "", "dialogue", "AVSD", layout.split)
            yield replace(base, conversation=turns)
