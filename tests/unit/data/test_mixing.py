"""Mixing: every rule, its probability, and that a seed decides everything."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import SPOKEN_CAPTION, MixingConfig, Pools, lower_first, mix, unmixed
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.model.aliases import ALIASES


def item(name: str, media: dict, question: str = "What is it?", answer: str = "A thing.") -> Item:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Item(name, media, turns, "t")


IMAGE = item("image", {"image": "a.png"}, "What do you see?", "A dog.")
VIDEO = item("video", {"video": {"length": 2, "slides": []}}, "What happens?", "A man runs.")
SOUND = item("sound", {"audio": "b.wav"}, "What is said?", "Hello there.")
PAIR = item("pair", {"video": "c.mp4", "audio": "c.mp4"}, "What is said?", "Good day.")
TWIN = item("twin", {"video": "d.mp4", "audio": "d.mp4"}, "What is said?", "Good night.")
POOLS = Pools.of([IMAGE, VIDEO, SOUND, PAIR, TWIN])


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
    assert all(m.sight is PAIR and m.sound is TWIN for m in swapped)
    kept = [m for m in matching if m.conversation[1]["content"] == "Yes."]
    assert all(m.sound is PAIR and m.sight is PAIR for m in kept)


def caption(number: int, picture: str | None = None) -> Item:
    media = {"image": picture or f"{number}.png", "audio": f"{number}.wav"}
    return item(f"cap{number}", media, "Is it described?", SPOKEN_CAPTION)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_spoken_caption_is_swapped_with_a_spoken_caption_of_another_picture(enabled: bool) -> None:
    captions = [caption(0), caption(1, "0.png"), caption(2), caption(3)]  # the first two describe one picture
    pools = Pools.of([*captions, IMAGE, VIDEO, SOUND, PAIR, TWIN])
    config = MixingConfig(enabled=enabled)
    drawn = [mix(captions[0], pools, config, random.Random(i)) for i in range(600)]
    answers = Counter(m.conversation[1]["content"] for m in drawn)
    assert set(answers) == {"Yes.", "No."} and answers["No."] / 600 == pytest.approx(0.5, abs=0.06)
    swapped = Counter(m.sound.id for m in drawn if m.conversation[1]["content"] == "No.")
    assert set(swapped) == {"cap2", "cap3"}, "no audiobook, no sound event, no caption of the same picture"
    assert all(m.sound is captions[0] for m in drawn if m.conversation[1]["content"] == "Yes.")


def test_a_pair_is_swapped_within_its_source_and_never_with_its_own_file() -> None:
    def pair(name: str, file: str, source: str, task: str = "t") -> Item:
        return replace(item(name, {"video": file, "audio": file}), source=source, task=task)

    own, again = pair("a", "a.mp4", "LRS"), pair("b", "a.mp4", "LRS")
    near, far, other = pair("c", "c.mp4", "LRS"), pair("d", "d.mp4", "How2"), pair("e", "e.mp4", "Music", "music")
    rng = random.Random(0)
    pools = Pools.of([own, again, near, far, other, SOUND])
    assert {pools.another(own, rng).id for _ in range(50)} == {"c"}
    pools = Pools.of([own, again, far, other, SOUND])
    assert {pools.another(own, rng).id for _ in range(50)} == {"d"}, "the task is the next best"
    pools = Pools.of([own, again, other, SOUND])
    assert pools.another(own, rng) is None
    drawn = [mix(own, pools, MixingConfig(matching=1.0), random.Random(i)) for i in range(50)]
    assert {m.rule for m in drawn} == {"as it is"}, "with nothing to swap with it is not asked at all, not always Yes"


def test_spoken_captions_with_nothing_to_swap_with_are_refused_and_pairs_are_told() -> None:
    config = MixingConfig()
    for alone in ([caption(0), SOUND, PAIR], [caption(0), caption(1, "0.png")]):
        with pytest.raises(ConfigError, match=r"cap0: .*always be Yes"):
            Pools.of(alone).check(alone, config)
    lonely = [PAIR, IMAGE, SOUND]
    assert "1 of 1 item" in Pools.of(lonely).check(lonely, config)[0]
    assert Pools.of(lonely).check(lonely, MixingConfig(matching=0)) == []
    assert Pools.of(lonely).check(lonely, MixingConfig(enabled=False)) == []
    fine = [PAIR, TWIN, IMAGE, SOUND, caption(0), caption(1)]
    assert Pools.of(fine).check(fine, config) == []
    assert "answered Yes" in Pools.of(fine).check(fine, MixingConfig(swap=0.0))[0]
    silent = [IMAGE, VIDEO]
    assert "nothing is laid under" in Pools.of(silent).check(silent, config)[0]


def test_a_caption_item_that_lacks_its_picture_is_never_learned_literally() -> None:
    broken = item("cap", {"audio": "a.wav"}, "Is it described?", SPOKEN_CAPTION)
    for make in (
        lambda: mix(broken, POOLS, MixingConfig(), random.Random(0)),
        lambda: unmixed(broken, POOLS, MixingConfig(), 0),
    ):
        with pytest.raises(MediaError, match="needs a picture and a sound"):
            make()


def test_validation_asks_spoken_captions_and_never_scores_the_tag() -> None:
    captions = [caption(number) for number in range(60)]
    pools = Pools.of(captions)
    asked = [unmixed(entry, pools, MixingConfig(enabled=False), 0) for entry in captions]
    answers = Counter(m.conversation[1]["content"] for m in asked)
    assert set(answers) == {"Yes.", "No."} and min(answers.values()) > 15
    assert asked == [unmixed(entry, pools, MixingConfig(enabled=False), 0) for entry in captions]
    assert all((m.sound is m.sight) == (m.conversation[1]["content"] == "Yes.") for m in asked)


def test_a_later_question_of_a_borrowed_dialogue_is_not_asked_without_its_context() -> None:
    turns = [*SOUND.conversation, {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "More."}]
    dialogue = Item("dialogue", {"audio": "d.wav"}, turns, "t")
    pools = Pools.of([IMAGE, SOUND, dialogue])
    drawn = [mix(IMAGE, pools, MixingConfig(), random.Random(i)) for i in range(300)]
    assert {m.sound.id for m in drawn} == {"sound"}
    assert mix(dialogue, pools, MixingConfig(), random.Random(0)).conversation == turns


def test_an_alias_is_written_out_in_a_wording_drawn_for_item_and_epoch() -> None:
    tagged = item("asr", {"audio": "a.wav"}, "<asr>", "Hello.")
    pools = Pools.of([tagged, IMAGE, PAIR, TWIN])
    drawn = [mix(tagged, pools, MixingConfig(), random.Random(i)).conversation[0]["content"] for i in range(200)]
    assert set(drawn) == set(ALIASES["asr"])
    assert drawn == [
        mix(tagged, pools, MixingConfig(), random.Random(i)).conversation[0]["content"] for i in range(200)
    ]
    assert unmixed(tagged, pools, MixingConfig(), 0).conversation[0]["content"] == ALIASES["asr"][0]
    pictured = item("cap", {"image": "a.png"}, "<audiocaption>", "A dog.")
    for entry in (IMAGE, pictured):
        for i in range(300):  # borrowed and joined questions, too
            asked = mix(entry, pools, MixingConfig(), random.Random(i)).conversation[0]["content"]
            assert "<" not in asked
    dialogue = Item("d", {"audio": "d.wav"}, [*tagged.conversation, *tagged.conversation], "t")
    turns = mix(dialogue, pools, MixingConfig(), random.Random(1)).conversation
    assert {turns[0]["content"], turns[2]["content"]} <= set(ALIASES["asr"])


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
