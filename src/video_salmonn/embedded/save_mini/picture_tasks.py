"""Tasks about pictures alone: captions, words on signs, things, and the order of slides."""

from __future__ import annotations

from video_salmonn.embedded.data.wordings import named
from video_salmonn.embedded.save_mini.builder import Builder
from video_salmonn.embedded.save_mini.render import read_picture, with_word, write_picture, write_video

WORDS = (
    "STOP EXIT OPEN SALE NORTH COFFEE BAKERY TAXI HOTEL MUSEUM GARDEN BRIDGE SCHOOL MARKET TICKET RIVER LIBRARY CINEMA "
    "HARBOUR PLATFORM"
)


def flickr30k(build: Builder) -> int:
    """Held-out photographs with their five captions."""
    items = []
    for source in build.of("caption")[: build.most]:
        name = source.id.replace(":", "_")
        image = build.copy(source, name)
        answer = [text.strip() for text in source.extra["captions"]]
        items.append({"image": image.name, "question": "Write a short description about this image.", "answer": answer})
    return build.write_json("flickr30k_captions.json", items)


def textvqa(build: Builder) -> int:
    """20 photographs with a word on a sign."""
    items = []
    for number, (word, photo) in enumerate(zip(WORDS.split()[: build.most], build.photos())):
        name = f"{number:016x}.jpg"
        write_picture(build.folder / name, with_word(read_picture(build.use(photo)), word))
        question = "what word is written in the picture?"
        items.append({"dataset": "textvqa", "image": name, "question": question, "answer": [word.lower()] * 10})
    return build.write_json("textvqa.json", items)


def gqa(build: Builder) -> int:
    """30 photographs: what it is, or whether a thing is there (half of the time it is)."""
    items, photos = [], build.photos()
    for number, photo in enumerate(photos[: build.many(30)]):
        image = build.copy(photo, f"n{number:06d}")
        thing = named(photo.label)
        if number % 3 == 0:
            entry = {"question": "What is in the picture?", "answer": photo.label, "fullanswer": f"It is {thing}."}
        else:
            present = number % 3 == 1
            other = next(p.label for p in photos[number + 30 :] + photos if p.label != photo.label)
            asked = thing if present else named(other)
            full = f"Yes, it is {thing}." if present else f"No, it is {thing}."
            verb = "Does the picture show"
            entry = {"question": f"{verb} {asked}?", "answer": "yes" if present else "no", "fullanswer": full}
        items.append({"image": image.name, **entry})
    return build.write_json("testdev_balanced_questions_with_images.json", items)


def nextqa(build: Builder) -> int:
    """20 silent slide shows of three things: which comes first, last, or after another?"""
    items, photos = [], build.photos()
    by_label = {photo.label: photo for photo in photos}
    for number in range(build.many(20)):
        labels = build.random.sample(sorted(by_label), 5)
        name = f"{1000 + number}/{number:010d}.mp4"
        slides = [read_picture(build.use(by_label[label])) for label in labels[:3]]
        write_video(build.folder / name, slides, 2, None)
        question, place = (
            ("what is shown first", 0),
            (f"what is shown right after {named(labels[0])}", 1),
            ("what is shown at the end", 2),
        )[number % 3]
        candidates = [named(label) for label in build.random.sample(labels, 5)]
        answer = named(labels[place])
        items.append({"image": name, "question": question, "answer": answer, "answer_candidates": candidates})
    return build.write_json("nextqa_test.json", items)
