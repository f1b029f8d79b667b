"""Preparers, on hand-made miniatures of each data set's own layout: what an item holds, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.data.manifest import Item, read_manifest, write_manifest
from video_salmonn.data.prepare import PREPARERS, prepare
from video_salmonn.data.prompts import PROMPTS, ask
from video_salmonn.errors import ConfigError, ManifestError


def put(folder: Path, files: dict[str, Any]) -> None:
    """Write files: text as it is, everything else as JSON; a media file is any bytes."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))


M = b"media"
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "librispeech": (
        "train-clean",
        {
            "LibriSpeech/train-clean-100/11/22/11-22.trans.txt": "11-22-0000 GOOD MORNING\n11-22-0001 NOT THERE\n",
            "LibriSpeech/train-clean-100/11/22/11-22-0000.flac": M,
            "LibriSpeech/dev-clean/33/44/33-44.trans.txt": "33-44-0000 ANOTHER PART\n",
            "LibriSpeech/dev-clean/33/44/33-44-0000.flac": M,
        },
    ),
    "audiocaps": (
        "train",
        {
            "dataset/train.csv": "audiocap_id,youtube_id,start_time,caption\n"
            '7,-ab_c,30,"A dog barks, twice"\n8,zz,0,Gone\n',
            "audio/Y-ab_c.wav": M,
        },
    ),
    "how2": (
        "train",
        {
            "data/train/segments": "v1_0 v1 1.5 4.0\nv1_1 v1 4.0 5.0\nv2_0 v2 0 1\n",
            "data/train/text.id.en": "v1_0 put the lid on\nv2_0 hello\n",
            "videos/v1.mp4": M,
        },
    ),
    "llava": (
        "train",
        {
            "llava_instruct_150k.json": [
                {
                    "id": "9",
                    "image": "000000000009.jpg",
                    "conversations": [
                        {"from": "human", "value": "What is it?\n<image>"},
                        {"from": "gpt", "value": "A meal."},
                    ],
                },
                {
                    "id": "10",
                    "image": "none.jpg",
                    "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}],
                },
            ],
            "train2017/000000000009.jpg": M,
        },
    ),
    "ocrvqa": (
        "train",
        {
            "dataset.json": {
                "0761183272": {
                    "split": 1,
                    "questions": ["Who wrote this?", "Genre?"],
                    "answers": ["A. Writer", "Calendars"],
                },
                "0000000000": {"split": 3, "questions": ["Who?"], "answers": ["Nobody"]},
            },
            "images/0761183272.jpg": M,
        },
    ),
    "textcaps": (
        "train",
        {
            "TextCaps_0.1_train.json": {
                "data": [
                    {"image_id": "00cc", "caption_id": 3, "caption_str": "A sign that says stop"},
                    {"image_id": "gone", "caption_id": 4, "caption_str": "x"},
                ]
            },
            "train_images/00cc.jpg": M,
        },
    ),
    "coco": (
        "train",
        {
            "annotations/captions_train2017.json": {
                "images": [{"id": 5, "file_name": "000000000005.jpg"}],
                "annotations": [{"image_id": 5, "id": 77, "caption": "Two cats."}],
            },
            "train2017/000000000005.jpg": M,
        },
    ),
    "spokencoco": (
        "train",
        {
            "SpokenCOCO_train.json": {
                "data": [
                    {
                        "image": "train2014/COCO_5.jpg",
                        "captions": [
                            {"text": "Two cats", "uttid": "u1", "wav": "wavs/train/0/u1.wav", "speaker": "m1"},
                            {"text": "Cats", "uttid": "u2", "wav": "wavs/train/0/u2.wav", "speaker": "m1"},
                        ],
                    }
                ]
            },
            "train2014/COCO_5.jpg": M,
            "wavs/train/0/u1.wav": M,
        },
    ),
    "videochat": (
        "train",
        {
            "videochat_instruct_11k.json": [
                {
                    "video": "0534/27.mp4",
                    "QA": [{"i": "", "q": "What happens?", "a": "A race."}, {"q": "Who?", "a": "Two."}],
                }
            ],
            "0534/27.mp4": M,
        },
    ),
    "nextqa": (
        "train",
        {
            "train.csv": "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
            "401,9,1,1,why did the boy run,2,6,CW,a,b,to catch it,d,e\n402,9,1,1,who,0,1,CW,a,b,c,d,e\n",
            "map_vid_vidorID.json": {"401": "1164/32", "402": "1164/33"},
            "NExTVideo/1164/32.mp4": M,
        },
    ),
    "msvd_qa": (
        "train",
        {
            "train_qa.json": [
                {"id": 0, "video_id": 1, "question": "who is running?", "answer": "man"},
                {"id": 1, "video_id": 2, "question": "who?", "answer": "dog"},
            ],
            "youtube_mapping.txt": "-4wsuPCjDBc_5_15 vid1\nxx_1_2 vid2\n",
            "YouTubeClips/-4wsuPCjDBc_5_15.avi": M,
        },
    ),
    "ego4d": (
        "train",
        {
            "v1/annotations/narration.json": {
                "videos": {
                    "u-1": {
                        "narration_pass_1": {
                            "summaries": [
                                {"start_sec": 0.0, "end_sec": 300.0, "summary_text": "#summary C cooked. "},
                                {"start_sec": 300.0, "end_sec": 400.0, "summary_text": ""},
                            ]
                        }
                    }
                }
            },
            "v1/full_scale/u-1.mp4": M,
        },
    ),
    "avsd": (
        "train",
        {
            "train_set4DSTC7-AVSD.json": {
                "dialogs": [
                    {
                        "image_id": "YLYH9",
                        "dialog": [
                            {"question": "who is it?", "answer": "a man"},
                            {"question": "alone?", "answer": "yes"},
                        ],
                    }
                ]
            },
            "Charades_v1_480/YLYH9.mp4": M,
        },
    ),
}


EXPECTED: dict[str, tuple[str, str, dict[str, int]]] = {
    # name: (answer of the first item, stem of its picture or sound, what is left out)
    "librispeech": ("good morning", "11-22-0000", {"its media file is not there": 1}),
    "audiocaps": ("A dog barks, twice", "Y-ab_c", {"its media file is not there": 1}),
    "how2": ("put the lid on", "v1", {"it has no transcript": 1, "its media file is not there": 1}),
    "llava": ("A meal.", "000000000009", {"its media file is not there": 1}),
    "ocrvqa": ("A. Writer", "0761183272", {}),
    "textcaps": ("A sign that says stop", "00cc", {"its media file is not there": 1}),
    "coco": ("Two cats.", "000000000005", {}),
    "spokencoco": ("audio_text_matching", "COCO_5", {"its media file is not there": 1}),
    "videochat": ("Two.", "27", {}),
    "nextqa": ("to catch it", "32", {"its media file is not there": 1}),
    "msvd_qa": ("man", "-4wsuPCjDBc_5_15", {"its media file is not there": 1}),
    "ego4d": ("C cooked.", "u-1", {"its summary is empty": 1}),
    "avsd": ("yes", "YLYH9", {}),
}


def test_every_preparer_has_a_miniature() -> None:
    assert set(LAYOUTS) == set(EXPECTED) == set(PREPARERS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_miniature_becomes_a_manifest(name: str, tmp_path: Path) -> None:
    split, files = LAYOUTS[name]
    put(tmp_path / "set", files)
    layout, items = prepare(name, tmp_path / "set", split)
    write_manifest(tmp_path / "m.jsonl", items)
    found = list(read_manifest(tmp_path / "m.jsonl"))  # ids are unique, and every line is good
    answer, stem, left_out = EXPECTED[name]
    assert found[0].answer == answer
    paths = [Path(path) for key, path in found[0].media.items() if key in ("video", "image", "audio") and path]
    assert paths[0].stem == stem and all(path.is_file() and path.is_absolute() for path in paths)
    assert dict(layout.left_out) == left_out
    assert all(item.question and item.source and item.split == split for item in found)


def made(name: str, tmp_path: Path) -> list[Item]:
    split, files = LAYOUTS[name]
    put(tmp_path, files)
    return list(prepare(name, tmp_path, split)[1])


def test_what_is_particular_to_a_set(tmp_path: Path) -> None:
    assert made("how2", tmp_path / "1")[0].media["start"] == 1.5
    assert "C. to catch it" in made("nextqa", tmp_path / "2")[0].question
    assert made("nextqa", tmp_path / "2")[0].question.startswith("Why did the boy run?\n")
    assert len(made("avsd", tmp_path / "3")[0].conversation) == 4
    assert [item.id for item in made("ocrvqa", tmp_path / "4")] == ["0761183272/1", "0761183272/2"]
    for name in ("msvd_qa", "nextqa", "videochat"):  # about pictures alone
        assert made(name, tmp_path / name)[0].media["audio"] is None
    for name in ("avsd", "ego4d", "how2"):  # a video with its own sound
        assert "audio" not in made(name, tmp_path / name)[0].media


def test_wordings_are_stable_and_all_in_use() -> None:
    for task, wordings in PROMPTS.items():
        drawn = {ask(task, str(number)) for number in range(200)}
        assert drawn == set(wordings)
        assert len(set(wordings)) == len(wordings)
    assert ask("transcribe", "11-22-0000") == ask("transcribe", "11-22-0000")


def test_what_cannot_be_prepared_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="imagenet"):
        prepare("imagenet", tmp_path, "train")
    with pytest.raises(ManifestError, match=r"holds no train\.csv"):
        list(prepare("audiocaps", tmp_path, "train")[1])
    put(tmp_path, {"train.csv": "a,b\n1,2\n"})
    with pytest.raises(ManifestError, match=r"lacks the columns \['audiocap_id'"):
        list(prepare("audiocaps", tmp_path, "train")[1])
    put(tmp_path, {"dataset.json": {"x": {"split": 1}}})
    with pytest.raises(ManifestError, match=r"dataset\.json, entry 1: needs questions, answers, split"):
        list(prepare("ocrvqa", tmp_path, "train")[1])
    with pytest.raises(ManifestError, match="no such folder"):
        list(prepare("coco", tmp_path / "none", "train")[1])


def test_the_command_tells_what_was_left_out(tmp_path: Path) -> None:
    put(tmp_path / "set", LAYOUTS["audiocaps"][1])
    out = tmp_path / "m.jsonl"
    done = CliRunner().invoke(app, ["data", "prepare", "audiocaps", str(tmp_path / "set"), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"out": str(out), "items": 1, "left_out": {"its media file is not there": 1}}
    before = out.read_text()
    (tmp_path / "set/audio/Y-ab_c.wav").unlink()
    done = CliRunner().invoke(app, ["data", "prepare", "audiocaps", str(tmp_path / "set"), "--out", str(out)])
    assert done.exit_code == 2 and "its media file is not there" in done.stderr
    assert out.read_text() == before, "a manifest that is there stays"
