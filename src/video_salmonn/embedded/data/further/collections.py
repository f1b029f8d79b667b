"""One function for each further collection: files of its repository -> rows of a manifest, media written."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.further.git import GitFolder
from video_salmonn.embedded.data.further.shrink import write_clip, write_picture, write_sound

Row = dict[str, Any]
Rows = Iterator[tuple[Row, str, Callable[[bytes, Path], object]]]
"""(row without ``media``, ``licence`` and ``source`` where the collection's own hold; file in the repository; how its
bytes become the row's file)."""
Known = dict[str, set[str]]
"""Ids of the first collections by manifest, which the further ones leave out."""


@dataclass(frozen=True)
class Collection:
    """One manifest out of one repository.

    Attributes:
        name: of the manifest and of its folder.
        kind: ``speech``, ``sounds``, ``images`` or ``clips``: its folder.
        repository: ``owner/name``.
        licence: of all of it, where rows state none.
        suffix: of the written files.
        rows: what there is.
        test_only: never trained on.
        beside: a second repository, with the texts.
        known_as: the name under which collections know each other's ids, so that none is made twice.
    """

    name: str
    kind: str
    repository: str
    licence: str
    suffix: str
    rows: Callable[[GitFolder, GitFolder | None, Known], Rows]
    test_only: bool = False
    beside: str | None = None
    known_as: str = ""


def _speech(data: bytes, target: Path) -> object:
    return write_sound(data, target)


def _narrow(data: bytes, target: Path) -> object:
    return write_sound(data, target, 16_000)


def _exact(data: bytes, target: Path) -> object:
    return write_sound(data, target, None)


def _kathleen(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    for name, text in files.read(files.under("data/", ".txt")):
        row = {"id": Path(name).stem, "text": text.decode("utf-8").strip(), "speaker": "kathleen", "gender": "woman"}
        yield row, name.removesuffix(".txt") + ".wav", _narrow


def _ljspeech(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    assert beside is not None
    texts = files if "LJSpeech-1.1/metadata.csv" in files.files else beside
    there = set(files.files)
    for line in texts.text("LJSpeech-1.1/metadata.csv").splitlines():
        name, _, text = line.split("|", 2)
        path = f"LJSpeech-1.1/wavs/{name}.wav"
        if path in there and name not in known.get("ljspeech", ()):
            yield {"id": name, "text": text, "speaker": "LJ", "gender": "woman"}, path, _narrow


def _table(text: str) -> dict[str, str]:
    return dict(line.split(None, 1) for line in text.splitlines() if line.strip())


ADULT = 18


def _children(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    for part in ("train", "test"):
        texts, paths, speakers, ages = (
            _table(files.text(f"{part}/{name}")) for name in ("text", "wav.scp", "utt2spk", "spk2age")
        )
        for name, text in texts.items():
            age = int(ages[speakers[name]])
            if age < ADULT and name not in known.get("speechocean", ()):
                row = {"id": name, "text": text.lower(), "speaker": f"so{speakers[name]}", "age": age}
                yield row, paths[name], _narrow


def _test_other(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    assert beside is not None
    folder = "audio_data/librispeech_test-other/"
    genders = speaker_genders(files.text(folder + "SPEAKERS.TXT"))
    texts = dict(
        line.split("\t")[:2] for line in beside.text("is21_deep_bias/ref/test-other.biasing_100.tsv").splitlines()
    )
    for path in files.under(folder, ".flac"):
        name = Path(path).stem
        speaker = name.split("-")[0]
        if name in texts:
            yield {"id": name, "text": texts[name], "speaker": speaker, "gender": genders[speaker]}, path, _exact


def speaker_genders(text: str) -> dict[str, str]:
    """LibriSpeech's SPEAKERS.TXT -> ``man`` or ``woman`` by speaker."""
    rows = [line.split("|") for line in text.splitlines() if line.strip() and not line.startswith(";")]
    return {row[0].strip(): {"M": "man", "F": "woman"}[row[1].strip()] for row in rows}


def _common_voice(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    there = set(files.files)
    genders = {"male": "man", "female": "woman"}
    for row in csv.DictReader(io.StringIO(files.text("en/validated.tsv")), delimiter="\t", quoting=csv.QUOTE_NONE):
        path = f"en/clips/{row['path']}"
        if path in there:
            speaker = row["client_id"][:16]
            known_as = {"id": Path(path).stem, "text": row["sentence"], "speaker": speaker}
            yield known_as | {"gender": genders.get(row["gender"], "")}, path, _speech


_CLIP = re.compile(r"^- \[(?P<name>[\w-]+)\.ogg\].*\[(?P<licence>CC0|CC-BY)\]\s*$")


def _esc50(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    marks = (_CLIP.match(line.strip()) for line in files.text("LICENSE").splitlines())
    licences = {mark["name"]: mark["licence"].replace("-", " ") for mark in marks if mark}
    there = set(files.files)
    for row in csv.DictReader(io.StringIO(files.text("meta/esc50.csv"))):
        name = row["filename"].rsplit("-", 1)[0]
        path = f"audio/{row['filename']}"
        if row["esc10"] == "False" and name in licences and path in there:
            label = row["category"].replace("_", " ")
            recording = row["src_file"]
            yield {"id": name, "label": label, "recording": recording, "licence": licences[name]}, path, _speech


def _soundfx(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    for name, text in files.read(files.under("soundfx.d/", ".txt")):
        stem = Path(name).stem
        licence = "CC0" if "CC-0" in text.decode() else "CC BY 3.0"
        yield {"id": stem, "label": stem.rstrip("0123456789"), "licence": licence}, f"soundfx.d/{stem}.mp3", _speech


GARMENTS = {
    "Blazer": "blazer", "Blouse": "blouse", "Body": "bodysuit", "Dress": "dress", "Hat": "hat", "Hoodie": "hoodie",
    "Longsleeve": "long-sleeved shirt", "Outwear": "coat", "Pants": "pants", "Polo": "polo shirt", "Shirt": "shirt",
    "Shoes": "shoes", "Shorts": "shorts", "Skirt": "skirt", "T-Shirt": "t-shirt", "Top": "top",
    "Undershirt": "undershirt",
}  # fmt: skip


def _clothing(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    there = set(files.files)
    for row in csv.DictReader(io.StringIO(files.text("images.csv"))):
        path = f"images/{row['image']}.jpg"
        name = f"clothing_{row['image']}"
        if row["label"] in GARMENTS and path in there and name not in known.get("photos", ()):
            yield {"id": name, "label": GARMENTS[row["label"]]}, path, write_picture


def _recycle(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    for path in files.under("data/dataset-resized/", ".jpg"):
        material = path.split("/")[2]
        if material != "trash":
            yield {"id": Path(path).stem, "material": material}, path, _small_picture


def _small_picture(data: bytes, target: Path) -> None:
    write_picture(data, target, 224, 75)


_COCO_LICENCES = {4: "CC BY 2.0", 5: "CC BY-SA 2.0"}


def _coco(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    seen = {name.rsplit("_", 1)[-1].lstrip("0") for name in known.get("coco", set()) | known.get("photos", set())}
    for folder in sorted(
        {path.rsplit("/", 2)[0] + "/" if path.count("/") > 1 else "" for path in files.files if "2017/" in path}
    ):
        for part in ("train2017", "val2017"):
            captions, instances = (
                json.loads(files.text(f"{folder}annotations/{kind}_{part}.json")) for kind in ("captions", "instances")
            )
            names = {entry["id"]: entry["name"] for entry in instances["categories"]}
            for image in instances["images"]:
                path = f"{folder}{part}/{image['file_name']}"
                if image["license"] not in _COCO_LICENCES or str(image["id"]) in seen or path not in set(files.files):
                    continue
                said = [entry["caption"] for entry in captions["annotations"] if entry["image_id"] == image["id"]]
                boxes = [names[entry["category_id"]] for entry in instances["annotations"]
                         if entry["image_id"] == image["id"]]  # fmt: skip
                counts = {name: boxes.count(name) for name in sorted(set(boxes))}
                row = {"id": str(image["id"]), "captions": said, "objects": sorted(counts), "counts": counts}
                yield row | {"licence": _COCO_LICENCES[image["license"]]}, path, write_picture


def _grid(files: GitFolder, beside: GitFolder | None, known: Known) -> Rows:
    for path in files.under("data/s1/", ".mpg"):
        name = Path(path).stem
        align = f"data/alignments/s1/{name}.align"
        if name in known.get("grid_s1", ()) or align not in files.files:
            continue
        words = [line.split()[-1] for line in files.text(align).splitlines() if line.strip()]
        text = " ".join(word for word in words if word not in ("sil", "sp"))
        yield {"id": name, "text": text, "speaker": "s1", "gender": "man"}, path, write_clip


COLLECTIONS: tuple[Collection, ...] = (
    Collection("kathleen", "speech", "rhasspy/dataset-voice-kathleen", "CC0", ".opus", _kathleen),
    Collection("lj_part1", "speech", "PrernaSocity/lj_speech_dataset_part_1", "public domain", ".opus", _ljspeech,
               beside="PrernaSocity/lj_speech_dataset_part_1", known_as="ljspeech"),
    Collection("lj_part2", "speech", "PhilippMatthes/dc_tts", "public domain", ".opus", _ljspeech,
               beside="PrernaSocity/lj_speech_dataset_part_1", known_as="ljspeech"),
    Collection("children", "speech", "jimbozhang/speechocean762",
               "free for commercial and non-commercial use (speechocean762)", ".opus", _children),
    Collection("test_other", "speech", "resemble-ai/Resemblyzer", "CC BY 4.0", ".flac", _test_other, True,
               "facebookresearch/fbai-speech"),
    Collection("common_voice", "speech", "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11", "CC0", ".opus",
               _common_voice, True),
    Collection("esc50", "sounds", "caitlinnguyen0/ESC-50", "", ".opus", _esc50),
    Collection("soundfx", "sounds", "rse/soundfx", "", ".opus", _soundfx),
    Collection("recycle", "images", "JMadiedo/RecycleNet", "MIT", ".jpg", _recycle),
    Collection("coco_mini", "images", "Obmutescence/COCO-MINI", "", ".jpg", _coco, known_as="coco"),
    Collection("coco_tiny", "images", "lizhogn/tiny_coco_dataset", "", ".jpg", _coco, known_as="coco"),
    Collection("clothing", "images", "alexeygrigorev/clothing-dataset", "CC0", ".jpg", _clothing),
    Collection("grid_more", "clips", "TVR28/LipNet", "CC BY 4.0 (GRID corpus)", ".mp4", _grid),
)  # fmt: skip
"""In the order in which they are made. Of two that hold the same picture the first has it."""
