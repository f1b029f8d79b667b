"""The embedded data builder, on a made-up data folder: splits, determinism, leaks, recipes, rendering."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.data.manifest import read_manifest
from video_salmonn.data.media_recipes import recipe_key
from video_salmonn.embedded.data import wordnet as wordnet_files
from video_salmonn.embedded.data.build import build, jobs
from video_salmonn.embedded.data.plan import DataPlan
from video_salmonn.embedded.data.render import RATE, render_sound
from video_salmonn.embedded.data.sources import bucket, plain_words, read_sources
from video_salmonn.embedded.data.wordings import SOUND_PHRASES, SPOKEN_QUESTIONS, WORDINGS, ask
from video_salmonn.errors import ManifestError, MediaError
from video_salmonn.metrics.yesno import read_yes_no

LABELS = ("camera", "anchor", "dalmatian", "rooster", "helicopter", "pizza")


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(name, **fields):
    return {"id": name, "media": f"x/{name}.bin", "licence": "CC0", "source": "made up"} | fields


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_up_folder(tmp_path_factory.mktemp("data"))


def made_up_folder(base):
    speech = {
        "librispeech": [
            row(f"{speaker}-{i}", text=f"sentence {'a' * (i + 1)} by {name}", speaker=speaker)
            for speaker, name in (("84", "dev"), ("777", "test"), ("12", "train"))
            for i in range(20)
        ],
        "librispeech_train": [row("t1", text="a real sentence", speaker="19")],
        "librispeech_first": [
            row("f1", text_machine="Chapter 1, the Law.", speaker="7"),
            row("f2", text_machine="He said: no!", speaker="8"),
        ],
        "speechocean": [row(f"o{i}", text=f"we are {i}", speaker=f"so{i}") for i in range(60)],
        "asterisk": [row("a1", text="Goodbye.", speaker="allison")],
        "ljspeech": [row("l1", text="Printing, then.", speaker="LJ")],
        "digits": [
            row(f"{d}_{s}_{i}", text=d, speaker=s) for s in ("theo", "ann") for d in ("one", "two") for i in range(4)
        ],
    }
    for name, rows in speech.items():
        write_lines(base / "speech" / f"{name}.jsonl", rows)
    slots = {"coffeeDrink": "latte", "size": "large"}
    write_lines(base / "speech" / "orders.jsonl", [row(f"c{i}", slots=slots) for i in range(20)])
    esc = [
        row(f"{f}-{n}{k}-A", label=label, fold=f)
        for f in range(1, 5)
        for n, label in enumerate(SOUND_PHRASES)
        for k in range(2)
    ]
    write_lines(base / "sounds" / "esc10.jsonl", esc)
    photos = [row(f"{label}{i}", label=label) for label in LABELS for i in range(30)]
    photos.append(row("cap", captions=["A cake on a table.", "Cake."]))
    write_lines(base / "images" / "photos.jsonl", photos)
    write_lines(base / "images" / "coco.jsonl", [row("k1", captions=["Two dogs."], objects=["dog"])])
    stamps = [row(n, caption=f"A {n}.", category="animals/x", sound=f"s/{n}.bin") for n in ("duck", "cow")]
    stamps.append(row("letter", caption="The letter A.", category="symbols/x"))
    write_lines(base / "images" / "stamps.jsonl", stamps)
    grid = [row(f"g{i}", text="bin blue at f two now") for i in range(40)]
    write_lines(base / "clips" / "grid_s1.jsonl", grid)
    write_lines(
        base / "clips" / "clips.jsonl", [row("bbaf2n", text="bin blue at f two now") | {"source": "GRID"}, row("film")]
    )
    (base / "text").mkdir(parents=True)
    (base / "text" / "librispeech-dev-clean.txt").write_text("sentence aaa by test\na free sentence\n")
    return base


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    build(DataPlan(folder, scale=0.05), out)
    return {split: list(read_manifest(out / f"{split}.jsonl")) for split in ("train", "dev", "test")}, out


def files(recipe):
    if recipe is None:
        return set()
    if isinstance(recipe, str):
        return {recipe}
    return {part["file"] for part in (recipe, *recipe.get("layers", ()), *recipe.get("slides", ())) if "file" in part}


def test_same_arguments_same_bytes(folder, tmp_path, built):
    target = built[1].parent / "again"  # same depth, so that relative paths agree
    build(DataPlan(folder, scale=0.05), target)
    for split in ("train", "dev", "test"):
        assert (target / f"{split}.jsonl").read_bytes() == (built[1] / f"{split}.jsonl").read_bytes()


def test_no_file_is_in_two_splits(built):
    used = {
        split: set().union(*(files(value) for item in items for key, value in item.media.items()))
        for split, items in built[0].items()
    }
    assert used["train"] and used["dev"] and used["test"]
    assert not used["train"] & used["test"] and not used["train"] & used["dev"] and not used["dev"] & used["test"]


def test_held_out_sentences_and_wordings_stay_out_of_training(built):
    train, test = built[0]["train"], built[0]["test"]
    held_out = {item.answer for item in test if item.task == "transcribe" and item.answer.startswith("sentence")}
    assert held_out and not held_out & {item.answer for item in train}
    said = [layer["say"] for item in train for layer in _layers(item) if "say" in layer]
    assert "a free sentence" in said and "sentence aaa by test" not in said
    for training, others in (*WORDINGS.values(), *SPOKEN_QUESTIONS.values()):
        assert training and others and not set(training) & set(others)
    asked = {
        split: {layer["say"] for item in built[0][split] if item.task == "spoken-question" for layer in _layers(item)}
        for split in ("train", "test")
    }
    assert all(asked.values()) and not asked["train"] & asked["test"]
    assert not {item.question for item in train} & {item.question for item in test}


def _layers(item):
    audio = item.media.get("audio")
    return audio["layers"] if isinstance(audio, dict) else []


def test_unseen_classes_are_only_tested_and_matches_are_balanced(built):
    train, test = built[0]["train"], built[0]["test"]
    assert not any("pizza" in item.answer for item in train)
    assert any(item.task == "picture-unseen" for item in test)
    matches = [item for item in train if item.task == "match"]
    verdicts = [read_yes_no(item.answer) for item in matches]
    assert verdicts.count(True) == verdicts.count(False) > 0
    assert all(re.fullmatch(r"I hear .+\. I see .+\. (Yes|No)\.", item.answer) for item in matches)
    assert all(item.licence and item.source for items in built[0].values() for item in items)


def test_items_state_what_is_in_them(built):
    train = {item.id: item for item in built[0]["train"]}
    assert train["transcribe/asterisk:a1"].extra["words"] == {"said": "goodbye", "voice": "woman"}
    said = {"said": "bin blue at f two now", "voice": "man"}
    assert train["talk/grid:g0/both"].extra["words"] == said | {"seen": "man speaking"}
    both = [item for item in train.values() if item.task == "both-sound-av"]
    assert both
    for item in both:
        words = item.extra["words"]
        heard, seen = re.fullmatch(r"I hear (?:an? )?(.+)\. I see (?:an? )?(.+)\.", item.answer).groups()
        assert words == {"heard": heard, "seen": seen}
    events = [item for item in train.values() if item.id.startswith(("events/", "series/"))]
    assert events and not any("words" in item.extra for item in events)
    for item in events:
        spans = item.extra["spans"]["heard"]
        assert [layer["at"] for layer in item.media["audio"]["layers"]] == [begin for begin, _, _ in spans]
        assert item.task != "event-first" or spans[0][2] in item.answer.lower()
    slides = [item for item in train.values() if item.id.startswith("slides")]
    assert slides and all(name not in item.extra.get("words", {}) for item in slides for name in ("seen",))
    for item in slides:
        spans = item.extra["spans"]["seen"]
        assert spans[-1][1] == item.media["video"]["length"] and len(spans) == len(item.media["video"]["slides"])
        assert item.task != "last-picture" or spans[-1][2] in item.answer.lower()


@pytest.fixture
def wordnet(tmp_path):
    """The form of WordNet's files: licence, then one sense a line with its gloss after a bar."""
    senses = [
        'a gnarled old tree; "the gnarled oak"; "3 oaks stood there"',
        'the old tree; "an old tree by the old house"',
        'the old man (of the tree); "the old tree and the old man"',
    ]
    for name in wordnet_files.FILES:
        lines = ["  1 This software is licensed | not a gloss", *(f"0000 00 n 01 | {sense}  " for sense in senses)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="latin-1")
    return tmp_path


def test_wordnet_is_read_without_licence_digits_and_repeats(wordnet):
    texts = wordnet_files.read_texts(wordnet)
    assert "the gnarled oak" in texts and "a gnarled old tree" in texts and "the old man" in texts
    assert len(texts) == len(set(texts)) == 6
    assert not any("licensed" in text or "3" in text for text in texts)
    (wordnet / "data.adv").unlink()
    with pytest.raises(ManifestError, match=r"data\.adv"):
        wordnet_files.read_texts(wordnet)


def test_sentences_are_chosen_for_words_that_are_lacking(wordnet):
    texts = [f"the {word} is old" for word in ("oak", "elm", "ash")] * 2 + ["the man is old", "oak elm ash man"] * 2
    known = ["the man is old"] * 20
    chosen = wordnet_files.choose(texts, known, words=4)
    assert chosen == ["oak elm ash man"]
    assert wordnet_files.choose(texts, known, 12, seed=3) == wordnet_files.choose(texts, known, 12, seed=3)
    assert "the man is old" not in wordnet_files.choose(texts, known, 1000)


def test_packs_fill_a_segment():
    texts = ["one two three"] * 20
    packs = list(wordnet_files.packs(texts, words=7))
    assert [len(pack) for pack in packs] == [2] * 10
    assert list(wordnet_files.packs(["a b c"] * 3, characters=11)) == [["a b c"] * 2, ["a b c"]]
    assert list(wordnet_files.packs([])) == []


def test_wordnet_brings_items_for_training_only(folder, wordnet, tmp_path):
    table = build(DataPlan(folder, scale=0.05, wordnet=wordnet), tmp_path / "with")
    found = {
        split: [item for item in read_manifest(tmp_path / "with" / f"{split}.jsonl") if "vocabulary" in item.id]
        for split in table["items"]
    }
    assert table["wordnet"] and found["train"] and not found["dev"] and not found["test"]
    for item in found["train"]:
        (layer,) = [layer for layer in item.media["audio"]["layers"] if "say" in layer]
        assert plain_words(layer["say"]) == item.answer == item.extra["words"]["said"]


def test_machine_transcripts_weigh_less_and_digits_in_them_are_left_out(built):
    by_id = {item.id: item for item in built[0]["train"]}
    assert by_id["transcribe/librispeech_first:f2"].weight == 0.5
    assert "transcribe/librispeech_first:f1" not in by_id
    assert by_id["transcribe/asterisk:a1"].answer == "goodbye"


def test_readings_are_heard_again_at_other_speeds_in_training_only(built):
    splits = built[0]
    paced = {item.id: item for item in splits["train"] if item.id.startswith("transcribe/paced:")}
    plain = [item for item in splits["train"] if item.id.startswith("transcribe/librispeech")]
    assert len(paced) == 2 * len(plain) > 0
    assert not any("paced" in item.id for split in ("dev", "test") for item in splits[split])
    for item in plain:
        for place, (low, high) in enumerate(((0.86, 0.94), (1.06, 1.14))):
            again = paced[f"transcribe/paced:{item.id.removeprefix('transcribe/')}/{place}"]
            assert (again.answer, again.weight, again.licence) == (item.answer, item.weight, item.licence)
            (layer,) = [layer for layer in again.media["audio"]["layers"] if "file" in layer]
            assert layer["file"] == item.media["audio"] and low <= layer["speed"] <= high


def test_jobs_name_each_sound_and_picture_once(built):
    found = [(job.kind, json.dumps(job.recipe, sort_keys=True)) for job in jobs(built[0]["train"])]
    assert len(found) == len(set(found))
    assert {kind for kind, _ in found} == {"sound", "visual"}


def test_text_and_buckets_are_stable():
    assert plain_words("Mr. Smith's 'big' DOG—no!") == "mr smith's 'big' dog no"
    assert [bucket(name, 16) for name in ("so0024", "so0025", "so0026")] == [3, 13, 14]
    assert ask("said-after", "x", "dev", event="rain") == "Which words follow rain?"


def test_missing_folder_fails(tmp_path):
    result = CliRunner().invoke(
        app, ["data", "build-embedded", "--source", str(tmp_path), "--out", str(tmp_path), "--json"]
    )
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "ManifestError"
    with pytest.raises(ManifestError, match=r"librispeech\.jsonl"):
        read_sources(tmp_path, tmp_path)


def write_wave(path, samples, rate=RATE):
    import wave

    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((samples * 32767).astype("<i2").tobytes())


def test_rendering_places_layers(tmp_path):
    write_wave(tmp_path / "a.wav", np.full(RATE, 0.25, np.float32))
    recipe = {
        "length": 3,
        "layers": [{"file": "a.wav", "at": 1.0}, {"file": "a.wav", "at": 1.5, "to": 0.25, "gain": -6.0206}],
    }
    sound = render_sound(recipe, tmp_path)
    assert sound.shape == (3 * RATE,) and sound.dtype == np.float32
    assert np.abs(sound[:RATE]).max() == 0 and np.abs(sound[2 * RATE :]).max() == 0
    assert sound[int(1.2 * RATE)] == pytest.approx(0.25, abs=1e-3)
    assert sound[int(1.6 * RATE)] == pytest.approx(0.375, abs=1e-3)
    loud = render_sound({"layers": [{"file": "a.wav", "level": -20}]}, tmp_path)
    assert np.sqrt((loud**2).mean()) == pytest.approx(0.1, rel=1e-2)
    assert len(render_sound({"layers": [{"file": "a.wav", "speed": 1.25}]}, tmp_path)) == pytest.approx(
        0.8 * RATE, abs=64
    )
    too_loud = render_sound({"layers": [{"file": "a.wav", "gain": 40}]}, tmp_path)
    assert np.abs(too_loud).max() == pytest.approx(1.0)


def test_noise_fills_and_room_and_seeds_are_repeatable(tmp_path):
    write_wave(tmp_path / "a.wav", np.sin(np.arange(RATE) / 5).astype(np.float32) * 0.5)
    noise = {"noise": "pink", "seed": 1, "level": -40}
    recipe = {"layers": [{"file": "a.wav", "at": 0.5, "room": 3}, noise]}
    one, two = render_sound(recipe, tmp_path), render_sound(recipe, tmp_path)
    np.testing.assert_array_equal(one, two)
    assert len(one) == int(1.5 * RATE) and np.abs(one[: RATE // 4]).max() > 0
    with pytest.raises(MediaError, match="noise or music alone"):
        render_sound({"layers": [noise]}, tmp_path)
    with pytest.raises(MediaError, match=r"gone\.wav"):
        render_sound("gone.wav", tmp_path)


def test_keys_follow_content_not_names(tmp_path):
    for name, level in (("a.wav", 0.1), ("b.wav", 0.1), ("c.wav", 0.2)):
        write_wave(tmp_path / name, np.full(100, level, np.float32))
    keys = [recipe_key(name, tmp_path) for name in ("a.wav", "b.wav", "c.wav")]
    assert keys[0] == keys[1] != keys[2]
    assert recipe_key({"layers": [{"file": "a.wav", "at": 1}]}, tmp_path) != keys[0]
    with pytest.raises(MediaError):
        recipe_key("gone.wav", tmp_path)
