import json
from pathlib import Path

import numpy as np
import pytest

from engines import RuleEngine
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.save_mini import build as mini
from video_salmonn.embedded.save_mini.render import RATE, in_a_row, read_sound, with_word, write_sound, write_video
from video_salmonn.errors import ConfigError, EvaluationError, MediaError
from video_salmonn.evaluation.benchmark import Options, evaluate
from video_salmonn.evaluation.report import report
from video_salmonn.evaluation.save import TASK_IDS, task, tasks
from video_salmonn.evaluation.save.check import check
from video_salmonn.media import load_clip

MINI = Path(__file__).parents[2] / "fixtures" / "save-mini"
WITHOUT_JAVA = "librispeech,textvqa,gqa,nextqa,how2,ego4d_qa,presentation_qa,avssd,avm,music_avqa,lrs2"


def test_fixture_is_complete_and_its_sources_are_held_out_and_free():
    assert all(entry.ok for entry in check(MINI, tasks()))
    marker = json.loads((MINI / "save-mini.json").read_text())
    assert set(marker["counts"]) == set(TASK_IDS) and sum(marker["counts"].values()) == marker["items"]
    assert {entry["split"] for entry in marker["sources"].values()} == {"test"}
    assert all(mini.may_hand_on(entry["licence"]) for entry in marker["sources"].values())


@pytest.mark.parametrize("name", TASK_IDS)
def test_every_item_decodes_with_what_the_task_needs(name):
    this = task(name)
    entries, located, _ = this.load(MINI)
    for item in this.items(entries, located):
        clip = load_clip(item.media.picture or item.media.sound, sound=item.media.sound if item.media.picture else None)
        if item.media.picture:
            assert clip.report.seen.status == "used"
        if name not in ("flickr30k", "textvqa", "gqa", "nextqa"):
            assert clip.report.heard.status == "used"


def test_runs_through_the_harness_and_is_never_compared_with_the_paper(tmp_path):
    results = evaluate(RuleEngine(), tasks(WITHOUT_JAVA), MINI, tmp_path / "out", Options(resamples=50))
    assert results["benchmark"] == "SAVE-mini 1" and len(results["tasks"]) == 11
    text = report(tmp_path / "out")[0].read_text()
    assert "would not be comparable" in text and "table 2" not in text and "published file" not in text


def source(name, kind, path, **fields):
    return Source(name, kind, path, "test", "CC0 1.0", "made for this test", **fields)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Held-out sources made of the fixture's own media, as the data folder's reader would give them."""
    folder = tmp_path / "source"
    folder.mkdir()
    write_sound(folder / "s.flac", np.sin(np.arange(2 * RATE) / 20).astype(np.float32))
    speech = str(next(MINI.glob("librispeech/**/*.mp3")))
    photo = str(next(MINI.glob("gqa/*.jpg")))
    talk = str(next(MINI.glob("how2/*.mp4")))
    texts = ["one two three", "two three four", "three four five six", "four five six seven eight", "a b c d e f"]
    labels = ["dog bark", "rain", "rooster", "helicopter", "chainsaw", "sea waves"]
    found = [source(f"librispeech:1-2-{n:04d}", "speech", speech, text=text) for n, text in enumerate(texts)]
    found += [
        source(f"esc10:{n}-{i}", "sound", str(folder / "s.flac"), label=x) for n, x in enumerate(labels) for i in "ab"
    ]
    things = ["dalmatian", "rooster", "helicopter", "shoes", "hat", "apple", "lamp"]
    found += [source(f"photos:{x}", "photo", photo, label=x) for x in things]
    found += [source("coco:1", "caption", photo, extra={"captions": ["a", "b", "c", "d", "e"]})]
    found += [source(f"grid:{n}", "talk", talk, text=texts[n]) for n in range(2)]
    found += [source("grid-others:1", "talk", talk, text="bin blue at f two now")]
    trained = Source("photos:seen", "photo", "/nowhere.jpg", "train", "CC0 1.0", "", label="zebra")
    monkeypatch.setattr(mini, "read_sources", lambda folder, out: [*found, trained])
    return found


def test_builds_every_task_from_held_out_sources_the_same_way_each_time(sources, tmp_path):
    first = mini.build(tmp_path / "source", tmp_path / "a", most=3)
    second = mini.build(tmp_path / "source", tmp_path / "b", most=3)
    assert first == second and set(first["sources"]) <= {s.id for s in sources}
    assert "photos:seen" not in first["sources"] and all(entry.ok for entry in check(tmp_path / "a", tasks()))
    names = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.json")]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    avm = json.loads((tmp_path / "a/avm/audiovisualmatching_combined.json").read_text())
    pictures = [entry for entry in avm if entry["image"][0].endswith(".jpg")]
    assert {entry["answer"] for entry in pictures} == {"Yes", "No"}
    assert mini.build(tmp_path / "source", tmp_path / "c", seed=1, most=3, tasks=["nextqa"])["counts"] == {"nextqa": 3}
    a, c = (tmp_path / x / "nextqa/nextqa_test.json" for x in "ac")
    assert a.read_text() != c.read_text(), "the seed decides"


def test_appears_complete_or_not_at_all(sources, tmp_path, monkeypatch):
    def broken(build):
        raise MediaError("x.jpg", "is no picture")

    monkeypatch.setitem(mini.TASKS, "gqa", broken)
    with pytest.raises(MediaError, match=r"x\.jpg"):
        mini.build(tmp_path / "source", tmp_path / "out", most=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(ConfigError, match="not empty"):
        mini.build(tmp_path / "source", tmp_path / "out")
    assert (tmp_path / "out/mine.txt").exists()


def test_a_kind_without_held_out_sources_fails(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "read_sources", lambda folder, out: [s for s in sources if s.kind != "sound"])
    with pytest.raises(EvaluationError, match="audiocaps: no held-out source of kind 'sound'"):
        mini.build(tmp_path / "source", tmp_path / "out", tasks=["audiocaps"], most=1)


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0 1.0", True), ("CC BY 4.0 (GRID corpus)", True), ("CC BY-SA 2.0", True),
        ("public domain (LJSpeech)", True),
        ("CC BY 3.0 (collection; clips CC0 or CC BY)", True), ("MIT", False), ("GPL-2+ collection", False),
        ("CC BY 4.0 (record); pictures collected from the web: for training and local tests only", False),
        ("CC BY-NC 4.0", False), ("free for commercial and non-commercial use", False),
    ],
)  # fmt: skip
def test_what_may_be_handed_on(licence, free):
    assert mini.may_hand_on(licence) is free


def test_rendering(tmp_path):
    red, blue = (np.full((240, 320, 3), c, np.uint8) for c in ((200, 30, 30), (30, 30, 200)))
    tone = (0.5 * np.sin(np.arange(3 * RATE) / 10)).astype(np.float32)
    row = in_a_row([tone, tone[:RATE]], 2.0)
    assert len(row) == 4 * RATE and not row[3 * RATE :].any() and row[2 * RATE : 3 * RATE].any()
    write_video(tmp_path / "v.mp4", [red, blue], 2.0, row)
    clip = load_clip(tmp_path / "v.mp4")
    assert clip.duration == pytest.approx(4, abs=0.1) and len(clip.frames) == 8
    assert clip.frames.frames[0][..., 0].mean() > 150 > 60 > clip.frames.frames[-1][..., 0].mean()
    assert np.abs(clip.sound.samples[: 2 * RATE]).max() > 0.3 > 0.05 > np.abs(clip.sound.samples[-RATE // 2 :]).max()
    write_sound(tmp_path / "s.flac", row)
    loud = read_sound(tmp_path / "s.flac", 1.0)
    assert len(loud) == RATE and np.sqrt(np.mean(loud**2)) == pytest.approx(0.1, rel=0.02)
    lettered = with_word(blue, "STOP")
    assert (lettered == 255).all(-1).any() and (lettered != blue).any() and (blue == (30, 30, 200)).all()
