"""What is trained on: which items, how often, and the sounds and pictures of the stage of words."""

from collections import Counter
from dataclasses import replace

import pytest

from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.training.items import read_items, shared, word_items


def item(name, media, task="any", **words):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "This."}]
    return Item(name, media, turns, task, extra={"words": words} if words else {})


def in_turn(name, media, **spans):
    return replace(item(name, media), extra={"spans": spans})


@pytest.mark.parametrize(
    "extra",
    (
        {"words": 12},
        {"words": {"said": 3}},
        {"spans": []},
        {"spans": {"voice": [[0, 1, "a"]]}},
        {"spans": {"seen": [[1, 0.5, "a"]]}},
        {"spans": {"heard": []}},
        {"spans": {"heard": [["0", 1, "a"]]}},
        {"spans": {"heard": [[0, float("nan"), "a"]]}},
    ),
)
def test_words_of_another_form_are_refused_with_the_line(extra, tmp_path):
    write_manifest(tmp_path / "m.jsonl", [replace(item("x", {"audio": "a.wav"}), extra=extra)])
    with pytest.raises(ManifestError, match=rf"m\.jsonl, line 1: {next(iter(extra))} is .*; write {{"):
        read_items([str(tmp_path / "m.jsonl")])


@pytest.mark.parametrize("words", ({}, {"said": "a"}, {"said": "b a"}))
def test_times_of_other_words_than_those_that_are_said_are_refused(words, tmp_path):
    extra = {"words": words, "spans": {"said": [[0, 1, "a"], [1, 2, "b"]]}}
    write_manifest(tmp_path / "m.jsonl", [replace(item("x", {"audio": "a.wav"}), extra=extra)])
    with pytest.raises(ManifestError, match=r"m\.jsonl, line 1: spans has the times of 'a b', and words says"):
        read_items([str(tmp_path / "m.jsonl")])


def test_an_epoch_has_the_wanted_shares_and_what_has_none_is_left_out():
    items = [
        item(f"{task}/{index}", {}, task) for task, count in (("a", 10), ("b", 40), ("c", 7)) for index in range(count)
    ]
    found = Counter(entry.task for entry in shared(items, {"a": 3, "b": 1, "c": 0}, seed=0))
    assert "c" not in found and found["a"] + found["b"] == pytest.approx(50, abs=4)
    assert found["a"] == pytest.approx(37.5, abs=4)
    with pytest.raises(ConfigError, match=r"data\.shares names \['d'\]"):
        shared(items, {"d": 1}, seed=0)
    assert {entry.id for entry in shared(items, {"a/1": 1}, seed=0)} == {"a/1"}


def test_speech_whose_words_have_times_is_still_a_transcript():
    spoken = item("one", {"audio": "a.wav"}, said="good day")
    spoken.extra["spans"] = {"said": [[0, 0.3, "good"], [0.4, 0.8, "day"]]}
    (found,) = word_items([spoken])
    assert (found.task, found.answer, found.extra) == ("transcribe", "good day", spoken.extra)


def test_an_imagined_picture_is_alone_whatever_is_heard_beside_it():
    image = {"file": "a.jpg", "imagine": 3, "seed": 0}
    beside = in_turn("one", {"image": image, "audio": "a.wav"}, seen=[[0.0, 600.0, "jacamar"]])
    beside.extra["words"] = {"said": "good day"}
    (found,) = word_items([beside])
    assert (found.task, found.media, found.answer) == ("series", {"image": image}, "jacamar")
    assert not found.extra["words"]


def test_every_sound_and_picture_with_words_is_there_once():
    talk = item("talk", {"video": "t.mp4", "audio": "t.wav", "start": 1}, said="hello", seen="a man")
    items = [
        item("one", {"audio": "a.wav"}, said="yes"),
        item("again", {"audio": "a.wav"}, said="yes"),
        item("dog", {"audio": "b.wav"}, heard="a dog"),
        item("mix", {"audio": "c.wav"}, said="yes", heard="a dog"),
        item("cat", {"image": "d.jpg"}, seen="a cat"),
        item("beside", {"image": "d.jpg", "audio": "a.wav"}, said="yes", seen="a cat"),
        item("slides", {"video": {"length": 2, "slides": []}}, seen="a cat"),
        item("mute", {"audio": "e.wav"}),
        in_turn("first", {"audio": {"layers": []}}, heard=[[0.0, 2.0, "a dog"], [2.2, 4.2, "rain"]]),
        in_turn("last", {"audio": {"layers": []}}, heard=[[0.0, 2.0, "a dog"], [2.2, 4.2, "rain"]]),
        talk,
    ]
    found = {entry.id: entry for entry in word_items(items)}
    assert list(found) == ["one", "dog", "cat", "first", "talk#sound", "talk"]
    assert [(entry.task, entry.question, entry.answer) for entry in found.values()] == [
        ("transcribe", "said", "yes"),
        ("sound", "heard", "a dog"),
        ("picture", "seen", "a cat"),
        ("series", "heard", "a dog, then rain"),
        ("transcribe", "said", "hello"),
        ("transcribe", "said", "hello"),
    ]
    assert found["talk#sound"].media == {"audio": "t.wav", "start": 1} and found["talk"].media == talk.media
    assert [entry.id for entry in word_items(items, sight=False, events=False)] == ["one", "talk#sound"]
