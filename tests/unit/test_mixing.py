"""Mixing: every rule, its probability, and that a seed decides everything."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import SPOKEN_CAPTION, MixingConfig, Pools, lower_first, mix


def item(name: str, media: dict, question: str = "What is it?", answer: str = "A thing.") -> Item:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Item(name, media, turns, "t")


IMAGE = item("image", {"image": "a.png"}, "What do you see?", "A dog.")
VIDEO = item("video", {"video": {"length": 2, "slides": []}}, "What happens?", "A man runs.")
SOUND = item("sound", {"audio": "b.wav"}, "What is said?", "Hello there.")
PAIR = item("pair", {"video": "c.mp4", "audio": "c.mp4"}, "What is said?", "Good day.")
POOLS = Pools.of([IMAGE, VIDEO, SOUND, PAIR])


def draw(what: Item, config: MixingConfig, n: int = 2000) -> list:
    return [mix(what, POOLS, config, random.Random(i)) for i in range(n)]


def test_pools_hold_unpaired_items_only() -> None:
    assert [i.id for i in POOLS.sights] == ["image", "video"]
    assert [i.id for i in POOLS.sounds] == ["sound"]


def test_switched_off_every_item_stays_as_it_is() -> None:
    for what in (IMAGE, VIDEO, SOUND, PAIR):
        for mixed in draw(what, MixingConfig(enabled=False), 50):
            assert mixed.rule == "as it is"
            assert mixed.conversation == what.conversation


def test_image_always_gets_a_sound_and_half_the_time_one_question() -> None:
    drawn = draw(IMAGE, MixingConfig())
    assert all(m.sight is IMAGE and m.sound is SOUND for m in drawn)
    rules = Counter(m.rule for m in drawn)
    assert rules["image+sound, one question"] / len(drawn) == pytest.approx(0.5, abs=0.04)
    one = Counter(m.conversation[0]["content"] for m in drawn if m.rule.endswith("one question"))
    assert set(one) == {"In the image, what do you see?", "What is said?"}
    assert min(one.values()) / sum(one.values()) == pytest.approx(0.5, abs=0.06)


def test_both_questions_are_joined_in_either_order_and_both_answered() -> None:
    both = {
        (m.conversation[0]["content"], m.conversation[1]["content"])
        for m in draw(IMAGE, MixingConfig())
        if m.rule.endswith("both questions")
    }
    assert both == {
        ("In the image, what do you see, and what is said?", "A dog, and hello there."),
        ("What is said, and in the image, what do you see?", "Hello there, and a dog."),
    }


def test_video_is_shown_alone_eight_times_of_ten() -> None:
    drawn = draw(VIDEO, MixingConfig())
    masked = [m for m in drawn if m.rule == "sound masked"]
    assert len(masked) / len(drawn) == pytest.approx(0.8, abs=0.03)
    assert all(m.sound is None for m in masked)
    joint = next(m for m in drawn if m.sound is not None)
    assert ", and, " in joint.conversation[0]["content"]


def test_pairs_become_matching_questions_and_half_of_those_are_swapped() -> None:
    drawn = draw(PAIR, MixingConfig(), 8000)
    matching = [m for m in drawn if m.rule.startswith("matching")]
    assert len(matching) / len(drawn) == pytest.approx(0.1, abs=0.015)
    swapped = [m for m in matching if m.conversation[1]["content"] == "No."]
    assert len(swapped) / len(matching) == pytest.approx(0.5, abs=0.06)
    assert all(m.sound is SOUND for m in swapped)
    kept = [m for m in matching if m.conversation[1]["content"] == "Yes."]
    assert all(m.sound is PAIR and m.sight is PAIR for m in kept)


def test_spoken_caption_matching_replaces_its_tag_by_yes_or_no() -> None:
    tagged = item("cap", {"image": "a.png", "audio": "a.wav"}, "Is it described?", SPOKEN_CAPTION)
    answers = Counter(m.conversation[1]["content"] for m in draw(tagged, MixingConfig(), 400))
    assert set(answers) == {"Yes.", "No."}


def test_dialogues_are_never_joined_with_another_question() -> None:
    turns = [*IMAGE.conversation, *IMAGE.conversation]
    dialogue = Item("d", {"image": "a.png"}, turns, "t")
    assert all(m.conversation == turns for m in draw(dialogue, MixingConfig(), 200))


def test_the_same_seed_gives_the_same_example() -> None:
    assert draw(IMAGE, MixingConfig(), 100) == draw(IMAGE, MixingConfig(), 100)


@pytest.mark.parametrize(
    ("text", "lowered"), [("What is it?", "what is it?"), ("I see.", "I see."), ("TV is on.", "TV is on."), ("", "")]
)
def test_lower_first_keeps_names(text: str, lowered: str) -> None:
    assert lower_first(text) == lowered
