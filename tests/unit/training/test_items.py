"""What is trained on: which items, how often, and the sounds and pictures of the stage of words."""

from collections import Counter

import pytest

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError
from video_salmonn.training.items import shared, word_items


def item(name, media, task="any", **words):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "This."}]
    return Item(name, media, turns, task, extra={"words": words} if words else {})


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
        talk,
    ]
    found = {entry.id: entry for entry in word_items(items)}
    assert list(found) == ["one", "dog", "cat", "talk#sound", "talk"]
    assert [(entry.task, entry.question, entry.answer) for entry in found.values()] == [
        ("transcribe", "said", "yes"),
        ("sound", "heard", "a dog"),
        ("picture", "seen", "a cat"),
        ("transcribe", "said", "hello"),
        ("transcribe", "said", "hello"),
    ]
    assert found["talk#sound"].media == {"audio": "t.wav", "start": 1} and found["talk"].media == talk.media
    assert [entry.id for entry in word_items(items, sight=False, events=False)] == ["one", "talk#sound"]
