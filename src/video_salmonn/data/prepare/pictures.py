"""Pictures: LLaVA-Instruct, OCR-VQA, TextCaps, COCO captions, SpokenCOCO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import SPOKEN_CAPTION
from video_salmonn.data.prepare.layout import Layout, field_of, item, read_json
from video_salmonn.data.prompts import ask
from video_salmonn.data.readers import Reader, read_llava

OCRVQA_SPLITS = {"train": 1, "val": 2, "test": 3}


def llava(layout: Layout) -> Iterator[Item]:
    """LLaVA-Instruct 150k (Liu et al. 2023): ``llava_instruct_150k.json`` and the COCO pictures it names."""
    path = layout.find("llava_instruct_150k.json", "llava*instruct*.json", "llava*.json")
    reader = Reader(str(path), "instruct", layout.folder)
    for found in read_llava(reader):
        picture = layout.media(str(Path(found.media["image"]).relative_to(layout.folder.resolve())))
        if picture:
            yield replace(found, media={"image": picture}, source="LLaVA-Instruct", split=layout.split)
    layout.left_out.update(reader.left_out)


def ocrvqa(layout: Layout) -> Iterator[Item]:
    """OCR-VQA (Mishra et al. 2019): ``dataset.json``, where a cover has a split number, questions and answers."""
    path = layout.find("dataset.json")
    for number, (name, entry) in enumerate(read_json(path).items(), 1):
        questions, answers, split = field_of(entry, path, number, "questions", "answers", "split")
        if split != OCRVQA_SPLITS.get(layout.split):
            continue
        picture = layout.media(f"images/{name}.jpg", name)
        if not picture:
            continue
        for place, (question, answer) in enumerate(zip(questions, answers), 1):
            if str(answer).strip():
                media = {"image": picture}
                yield item(f"{name}/{place}", media, question, str(answer), "ocr-vqa", "OCR-VQA", layout.split)


def textcaps(layout: Layout) -> Iterator[Item]:
    """TextCaps (Sidorov et al. 2020): ``TextCaps_*_SPLIT.json``, pictures by their id."""
    path = layout.find(f"TextCaps_*_{layout.split}.json", f"*extCaps*{layout.split}*.json")
    for number, entry in enumerate(read_json(path)["data"], 1):
        image, caption = field_of(entry, path, number, "image_id", "caption_str")
        picture = layout.media(f"{layout.split}_images/{image}.jpg", image)
        if picture:
            name = f"{image}/{entry.get('caption_id', number)}"
            question = ask("text-caption", name)
            yield item(name, {"image": picture}, question, caption, "text-caption", "TextCaps", layout.split)


def coco(layout: Layout) -> Iterator[Item]:
    """COCO captions (Chen et al. 2015): ``captions_SPLIT*.json``."""
    path = layout.find(f"captions_{layout.split}*.json")
    values = read_json(path)
    files = {image["id"]: image["file_name"] for image in values["images"]}
    for number, entry in enumerate(values["annotations"], 1):
        image, name, caption = field_of(entry, path, number, "image_id", "id", "caption")
        picture = layout.media(files.get(image, str(image)))
        if picture:
            question = ask("image-caption", str(name))
            yield item(str(name), {"image": picture}, question, caption, "image-caption", "COCO", layout.split)


def spokencoco(layout: Layout) -> Iterator[Item]:
    """SpokenCOCO (Hsu et al. 2021): ``SpokenCOCO_SPLIT.json``; picture and spoken caption, for matching (paper 3.3).

    The answer is the tag that mixing replaces by Yes, or by No with another sound.
    """
    path = layout.find(f"SpokenCOCO_{layout.split}.json")
    for number, entry in enumerate(read_json(path)["data"], 1):
        image, captions = field_of(entry, path, number, "image", "captions")
        for caption in captions:
            name, wav = field_of(caption, path, number, "uttid", "wav")
            picture, sound = layout.media(image), layout.media(wav)
            if picture and sound:
                media = {"image": picture, "audio": sound}
                question = ask("spoken-caption", name)
                yield item(name, media, question, SPOKEN_CAPTION, "spoken-caption", "SpokenCOCO", layout.split)
