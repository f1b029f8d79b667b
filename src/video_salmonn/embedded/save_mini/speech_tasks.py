"""Tasks about speech: read speech, talking heads in both schemas, talks over slides, dialogues."""

from __future__ import annotations

import json

from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.wordings import named
from video_salmonn.embedded.save_mini.builder import Builder
from video_salmonn.embedded.save_mini.render import in_a_row, read_picture, read_sound, write_sound, write_video

TRANSCRIBE = "Can you transcribe the speech into text, paying attention to the video?"


def librispeech(build: Builder) -> int:
    """40 utterances of 5 to 25 words by held-out speakers, in the corpus' own layout."""
    fitting = [s for s in build.of("speech", collection="librispeech:") if 5 <= len(s.text.split()) <= 25]
    chosen = sorted(build.random.sample(fitting, min(build.many(40), len(fitting))), key=lambda s: s.id)
    lines: dict[str, list[str]] = {}
    for source in chosen:
        name = source.id.partition(":")[2]
        speaker, chapter, _ = name.split("-")
        build.copy(source, f"test-clean/{speaker}/{chapter}/{name}")
        place = f"test-clean/{speaker}/{chapter}/{speaker}-{chapter}.trans.txt"
        lines.setdefault(place, []).append(f"{name} {source.text.upper()}")
    for place, texts in lines.items():
        (build.folder / place).write_text("\n".join(texts) + "\n", encoding="utf-8")
    return len(chosen)


def how2(build: Builder) -> int:
    """30 clips of a man who speaks to the camera, as [mp4, wav] pairs."""
    talks = [s for s in build.of("talk", collection="grid:") if s.path.endswith(".mp4")]
    items = []
    for source in build.random.sample(talks, min(build.many(30), len(talks))):
        name = source.id.partition(":")[2]
        clip = build.copy(source, name)
        write_sound(build.folder / f"{name}.flac", read_sound(clip))
        answer = source.text.capitalize() + "."
        items.append({"image": [clip.name, f"{name}.wav"], "question": TRANSCRIBE, "answer": answer})
    return build.write_json("how2_test.json", items)


def lrs2(build: Builder) -> int:
    """Speakers never seen in training, in the corpus' own layout; the list names .mp4, a mapping names the files."""
    lines, mapping = [], {}
    for number, source in enumerate(build.of("talk", collection="grid-others:")[: build.most]):
        name = f"{number:019d}/00001"
        clip = build.copy(source, f"main/{name}")
        clip.with_suffix(".txt").write_text(f"Text:  {source.text.upper()}\nConf:  5\n", encoding="utf-8")
        mapping[f"{name}.mp4"] = str(clip.relative_to(build.folder.parent))
        lines.append(name)
    (build.folder / "test.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (build.folder.parent / "lrs2.paths.json").write_text(json.dumps(mapping, indent=1) + "\n", encoding="utf-8")
    return len(lines)


def presentation_qa(build: Builder) -> int:
    """25 talks: two slides, a sentence over each; which sentence belongs to which slide?"""
    pool = {s.text: s for s in build.of("speech") if 3 <= len(s.text.split()) <= 8}
    photos, items = build.photos(), []
    for number in range(build.many(25)):
        texts = build.random.sample(sorted(pool), 5)
        slides = _two_things(photos, number)
        sound = in_a_row([read_sound(build.use(pool[text]), 4) for text in texts[:2]], 4)
        name = f"talk_{number:02d}_0.00_8.00"
        write_video(build.folder / f"{name}.mp4", [read_picture(build.use(s)) for s in slides], 4, sound)
        write_sound(build.folder / f"{name}.flac", sound)
        asked = number % 2
        question = f"What does the speaker say while {named(slides[asked].label)} is shown?"
        items.append(_choice(build, name, question, texts[asked], texts))
    return build.write_json("presentation_qa.json", items)


def _two_things(photos: list[Source], number: int) -> list[Source]:
    first = photos[2 * number % len(photos)]
    second = next(p for p in photos[(2 * number + 1) % len(photos) :] + photos if p.label != first.label)
    return [first, second]


def _choice(build: Builder, name: str, question: str, answer: str, candidates: list[str]) -> dict[str, object]:
    order = build.random.sample(candidates, len(candidates))
    media = [f"{name}.mp4", f"{name}.wav"]
    return {"image_name": media, "question": question, "answer": answer, "answer_candidates": order}


def avsd(build: Builder) -> int:
    """8 dialogues of two turns about a man who speaks."""
    talks = [s for s in build.of("talk", collection="grid:") if s.path.endswith(".mp4")]
    items, turns = [], 0
    for source in build.random.sample(talks, min(build.many(8), len(talks))):
        name = source.id.partition(":")[2]
        clip = build.copy(source, name)
        write_sound(build.folder / f"{name}.flac", read_sound(clip))
        conversation = [
            ["is there a person in the video?", "yes, there is a man"],
            ["what does the man say?", f"he says {source.text}"],
        ]
        turns += len(conversation)
        items.append({"image_name": [clip.name, f"{name}.wav"], "conversation": conversation})
    build.write_json("avsd_textformat_subset.json", items)
    return turns
