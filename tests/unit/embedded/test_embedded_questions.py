"""Kinds of questions: wordings, balance, what is answered where a sense is missing, and what training may not use."""

import random
from collections import Counter

import numpy as np
import pytest
from test_embedded_data import LABELS, row, write_lines  # noqa: F401

from video_salmonn.embedded.data.asking import contents, kinds, presence, unknowable
from video_salmonn.embedded.data.asking.common import (
    NO_PICTURE,
    NO_SOUND,
    NOTHING_SAID,
    SILENT,
    UNKNOWN,
    heard_behind,
    silence,
)
from video_salmonn.embedded.data.asking.grammar import expand, readings, styled
from video_salmonn.embedded.data.asking.registry import QUESTIONS
from video_salmonn.embedded.data.asking.wordings import KINDS
from video_salmonn.embedded.data.render import RATE, render_sound
from video_salmonn.embedded.data.sources import Source, gender_of
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import WORDINGS
from video_salmonn.media.audio import SILENCE
from video_salmonn.metrics.yesno import read_yes_no


def source(name, kind, **fields):
    return Source(f"c:{name}", kind, f"{name}.bin", "train", "CC0", "made up", **fields)


@pytest.fixture
def stock():
    speech = [
        source(
            f"s{i}",
            "speech",
            text=text,
            extra={"speaker": f"p{i % 4}", "gender": ("man", "woman")[i % 2], "machine": False},
        )
        for i, text in enumerate(
            ("the cat sat there", "i saw two ships", "we drank water today", "a red house stood there") * 3
        )
    ]
    photos = [
        source(f"{label}{i}", "photo", label=label)
        for label in (*LABELS[:5], "apple", "shirt", "camera")
        for i in range(3)
    ]
    sounds = [
        source(f"{label}{i}", "sound", label=label)
        for label in ("dog bark", "rooster", "helicopter", "rain")
        for i in range(3)
    ]
    talks = [
        source(
            "t1",
            "talk",
            text="bin blue at f two now",
            label="a man",
            extra={"colour": "blue", "gender": "man", "speaker": "s1"},
        )
    ]
    orders = [source("o1", "order", extra={"coffeeDrink": "latte"})]
    digits = [
        source(f"d{i}", "digit", text=text, extra={"speaker": "ann"}) for i, text in enumerate(("one", "two", "six"))
    ]
    kinds = {"speech": speech, "photo": photos, "sound": sounds, "talk": talks, "order": orders, "digit": digits}
    return Stock("train", kinds, [], random.Random(0), text=[(f"What is {i}?", "A number.") for i in range(60)])


def test_one_line_stands_for_many_wordings():
    assert expand("(Do|Can) you hear {x}( here|)?") == (
        "Do you hear {x} here?", "Do you hear {x}?", "Can you hear {x} here?", "Can you hear {x}?",
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_thirty_wordings_and_others_for_dev_and_test(kind):
    train, dev, test = (set(KINDS[kind].of(split)) for split in ("train", "dev", "test"))
    assert len(train) >= 30 and dev and test
    assert not train & dev and not train & test and not dev & test
    assert all("  " not in wording and "(" not in wording for wording in train | dev | test)


def test_no_wording_of_training_is_one_of_the_older_held_out_wordings():
    training = {wording for lines in KINDS.values() for wording in lines.of("train")}
    held_out = {wording for lines in KINDS.values() for wording in (*lines.of("dev"), *lines.of("test"))}
    for older_training, older_held_out in WORDINGS.values():
        assert not training & set(older_held_out) and not held_out & set(older_training)


def test_a_slip_of_the_fingers_spares_what_is_asked_for():
    typed = {styled("Can you hear elephants somewhere here?", random.Random(i), ("elephants",)) for i in range(400)}
    assert all("elephants" in text.lower() for text in typed)
    assert any("somewhere" not in text.lower() for text in typed) and "can you hear elephants somewhere here" in typed


@pytest.mark.parametrize(
    "name", ("sound_presence", "picture_presence", "speech_present", "silence_present", "music_present")
)
def test_yes_and_no_are_as_frequent_for_the_same_thing(stock, name):
    items = [item for item in QUESTIONS[name][0](stock, 160) if item.task.startswith("yesno")]
    verdicts = [read_yes_no(item.answer) for item in items]
    assert None not in verdicts
    assert abs(verdicts.count(True) - verdicts.count(False)) <= 0.2 * len(verdicts)


def test_a_sound_that_is_seen_is_not_thereby_heard(stock):
    for item in presence.sense_presence(stock, 24):
        asked = "hear" if item.id.endswith("hear-x") else "see"
        own = {"a dog": "dog", "a rooster": "rooster", "a helicopter": "helicopter"}
        thing = next(word for phrase, word in own.items() if phrase in item.question.lower())
        file = item.media["audio" if asked == "hear" else "image"]
        there = thing in file.replace("dalmatian", "dog")
        assert read_yes_no(item.answer) == there, item


def test_what_is_missing_is_said(stock):
    answers = {
        "no_picture": {NO_PICTURE}, "no_sound": {NO_SOUND}, "nothing_said": {NOTHING_SAID},
    }  # fmt: skip
    for name, allowed in answers.items():
        items = list(QUESTIONS[name][0](stock, 60))
        assert {item.answer for item in items} == allowed
    assert all(
        "image" not in item.media and "video" not in item.media for item in QUESTIONS["no_picture"][0](stock, 60)
    )
    silent = [item for item in QUESTIONS["silent_track"][0](stock, 90) if item.task == "silent"]
    assert {item.answer for item in silent} == {SILENT}
    assert all(item.extra["words"]["heard"] == "silence" for item in silent)


def test_the_voice_is_stated_where_it_is_known_whose_it_is(stock):
    asked = [item for item in QUESTIONS["genders"][0](stock, 24) if item.task == "gender" and "words" in item.extra]
    assert {item.extra["words"]["voice"] for item in asked} == {"man", "woman"}
    assert all(item.answer == f"A {item.extra['words']['voice']}." for item in asked)


def test_made_silence_is_silence_and_made_music_is_not(tmp_path):
    for seed in range(12):
        recipe = silence(random.Random(seed))
        sound = render_sound(recipe, tmp_path)
        assert len(sound) == round(recipe["length"] * RATE)
        assert np.abs(sound).max() < 5 * SILENCE and heard_behind({"audio": recipe}) == "silence"
    first, again, other = (
        render_sound({"length": 3, "layers": [{"music": seed, "level": -20}]}, tmp_path) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert 0.05 < np.sqrt(np.mean(first**2)) < 0.2


def test_unknowable_things_are_refused_and_topics_belong_to_one_split(stock):
    items = list(unknowable.unknowable(stock, 100))
    assert {item.answer for item in items} == {UNKNOWN} and len({item.question for item in items}) > 60
    for lines in unknowable.LINES.values():
        train, test = (set(readings(lines[split])) for split in ("train", "test"))
        assert len(train) >= 30 and not train & test


def test_a_word_is_asked_where_it_is_said_and_where_it_is_not(stock):
    spoken = {entry.path: entry.text.split() for entry in stock.of("speech")}
    rare = {word for text in spoken.values() for word in text if len(word) > 3} - {"there"}  # said in half of them
    items = list(contents.word_presence(stock, 60))
    assert len(items) > 30
    for item in items:
        (word,) = rare & set(item.question.lower().strip("?").split())
        assert read_yes_no(item.answer) == (word in spoken[item.media["audio"]])


def test_all_turns_of_a_chat_end_with_the_assistant_and_text_alone_has_no_media(stock):
    chats = list(QUESTIONS["chats"][0](stock, 60))
    assert chats
    for item in chats:
        assert [turn["role"] for turn in item.conversation] == ["user", "assistant"] * (len(item.conversation) // 2)
        assert 4 <= len(item.conversation) <= 6
    text = list(QUESTIONS["text_alone"][0](stock, 0))
    assert text and all(item.media == {} for item in text)


def test_speakers_are_men_and_women_by_their_corpora():
    assert gender_of("librispeech", "84") == "woman" and gender_of("librispeech_first", "103") in ("man", "woman")
    assert gender_of("digits", "theo") == "" and gender_of("ljspeech", "LJ") == "woman"


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_every_kind_makes_items_without_missing_fields(stock, name):
    items = list(QUESTIONS[name][0](stock, 40))
    if name in (
        "materials",
        "colours",
        "teacher_pictures",
        "teacher_sounds",
        "teacher_presence",
    ):  # nothing of the kind in this stock
        assert not items
        return
    assert items and all("{" not in turn["content"] for item in items for turn in item.conversation)
    assert len({item.id for item in items}) == len(items)


def test_held_out_questions_and_their_media_stay_out_of_training(tmp_path):
    from test_embedded_data import made_up_folder

    from video_salmonn.data.manifest import read_manifest
    from video_salmonn.embedded.data.build import build, media_files
    from video_salmonn.embedded.data.plan import DataPlan

    folder = made_up_folder(tmp_path / "data")
    asked = tmp_path / "asked.jsonl"
    write_lines(asked, [{"media": "images/x/camera3.bin", "question": "What am I looking at here?"},
                        {"media": "images/x/anchor1.bin", "question": "name the object."}])  # fmt: skip
    build(DataPlan(folder, scale=0.1, held_out=asked), tmp_path / "out")
    train = list(read_manifest(tmp_path / "out" / "train.jsonl"))
    assert not any("camera3.bin" in file or "anchor1.bin" in file for file in media_files(train))
    questions = Counter(turn["content"].lower().strip("?.") for item in train for turn in item.conversation)
    assert questions["what am i looking at here"] == 0 and questions["name the object"] == 0


def test_what_is_seen_before_a_painted_wall_is_the_wall(stock):
    stock.sources["wall"] = [source(f"w{colour}", "wall", label=colour) for colour in ("red", "white")]
    found = [item for item in kinds.walls(stock, 32) if "image" in item.media and item.task == "wall-colour"]
    assert {len(item.media) for item in found} == {1, 2}, "alone, and while somebody speaks"
    for item in found:
        colour = item.media["image"].removeprefix("w").removesuffix(".bin")
        assert item.extra["words"]["seen"] == f"{colour} wall" and item.answer == f"{colour.capitalize()}.", item.id


def test_no_colour_of_a_wall_is_likelier_than_another_with_sound_or_without(stock):
    names = ("red", "white", "black", "blue")
    stock.sources["wall"] = [source(f"w{colour}", "wall", label=colour) for colour in names]
    stock.sources["talk"] = [source("t", "talk", text="lay red by t two now", label="a man", extra={"colour": "red"})]
    found = [item for item in kinds.walls(stock, 2000) if item.task == "wall-colour"]
    for beside in (False, True):
        counts = Counter(item.answer for item in found if ("audio" in item.media) == beside)
        assert set(counts) == {f"{name.capitalize()}." for name in names}, "blue too, alone and beside speech"
        assert max(counts.values()) < 1.4 * min(counts.values()), counts
    assert any("video" in item.media for item in found)
