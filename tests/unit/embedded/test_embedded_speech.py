"""Synthetic speech by the hour: which sentences, which voices, what the items are."""

import json
import random
import struct
from collections import Counter

import numpy as np
import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.embedded.data.coverage import (
    AGAIN,
    Sentence,
    Worth,
    candidates,
    in_order,
    reached,
    tidy,
    word_counts,
)
from video_salmonn.embedded.data.hours import parse_hours
from video_salmonn.embedded.data.phonemes import kokoro_phonemes, phonemes
from video_salmonn.embedded.data.render import RATE, render_sound
from video_salmonn.embedded.data.spoken import speech_by_the_hour
from video_salmonn.embedded.data.voices import (
    SPEECH_FOLDER,
    STYLES,
    gender_of_voice,
    missing_voice_files,
    mixture,
    neural_layer,
    random_mixture,
    speech_key,
    voice_ids,
)
from video_salmonn.errors import ConfigError, MissingPartError

needs_voices = pytest.mark.skipif(bool(missing_voice_files()), reason="no voices: video-salmonn setup --voices")


@pytest.fixture
def texts(tmp_path):
    """A data folder with texts alone: 400 words in sentences of six."""
    rng = random.Random(0)
    ends = ("nt", "st", "ck", "lm", "rd", "sh", "th", "ng", "mp", "ft")
    words = [f"{a}{b}{c}ing" for a in "bdfgklmp" for b in "aeiou" for c in ends]
    folder = tmp_path / "data"
    (folder / "text").mkdir(parents=True)
    lines = [" ".join(rng.sample(words, 6)) + "." for _ in range(600)]
    (folder / "text" / "ljspeech.txt").write_text("\n".join(lines) + "\n")
    counts = "".join(f"{word}\t{1000 // (rank + 1) + 1}\n" for rank, word in enumerate(words))
    (folder / "text" / "librispeech-word-counts.txt").write_text(counts)
    return folder


def write_shard(folder, name, samples):
    folder.mkdir(parents=True, exist_ok=True)
    head = json.dumps({name: {"dtype": "I16", "shape": [len(samples)], "data_offsets": [0, samples.nbytes]}}).encode()
    (folder / "one.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + samples.tobytes())


def test_sentences_are_chosen_so_that_every_word_is_soon_heard(texts):
    counts = word_counts(texts)
    sentences = candidates(texts, set())
    chosen = Worth(counts, Counter())
    plain = Counter()
    order = list(in_order(sentences, chosen, 300))
    for sentence in random.Random(1).sample(sentences, len(order)):
        plain.update(sentence.words.split())
    assert reached(counts, chosen.heard, 1)[0] > reached(counts, plain, 1)[0]
    assert reached(counts, chosen.heard, 5)[1] > reached(counts, plain, 5)[1] + 0.02
    later = Worth(counts, Counter())
    assert len(list(in_order(sentences, later, 2000))) > len(order)
    assert reached(counts, later.heard, 1)[0] == len(counts)
    assert max(Counter(sentence.words for sentence in order).values()) <= AGAIN


def test_any_beginning_of_the_order_is_what_a_smaller_budget_gives(texts):
    counts = word_counts(texts)
    sentences = candidates(texts, set())
    short = list(in_order(sentences, Worth(counts, Counter()), 100, seed=3))
    long = list(in_order(sentences, Worth(counts, Counter()), 400, seed=3))
    assert len(short) < len(long)
    assert long[: len(short)] == short


def test_texts_of_held_out_recordings_are_not_spoken_not_even_a_part_of_them(texts):
    words = candidates(texts, set())[0].words
    others = candidates(texts, {f"said before {words} and after"})
    assert words not in {sentence.words for sentence in others}


ODD = (
    "A. B., your case",
    "in 1912 he came",
    "at twelve:thirty-four p.m.",
    "naïve",
    "",
    "Smith & Co. paid",
    "etc. and on",
)


@pytest.mark.parametrize("line", ODD)
def test_lines_that_could_be_read_in_several_ways_are_left_out(line):
    assert tidy(line) is None


def test_titles_and_hyphens_are_written_as_they_are_said():
    assert tidy("Mr. Buxton was ill-fed, he said;") == Sentence(
        "mister Buxton was ill fed, he said", "mister buxton was ill fed he said"
    )


def test_speech_by_the_hour_keeps_the_budget_and_its_shares(texts):
    hours = {"piper": 0.2, "kokoro": 0.1, "espeak": 0.1}
    hours = {engine: 4 * value for engine, value in hours.items()}
    items, table = speech_by_the_hour(texts, None, hours, [], set())
    found = table["hours"]
    assert 0.5 * 0.8 < found["piper"] <= 1.0
    assert 0.5 * 0.4 < found["kokoro"] <= 0.5
    assert table["never heard"]["after"] == 0
    assert len({item.id for item in items}) == len(items)
    rooms = sum("room" in item.media["audio"]["layers"][0] for item in items)
    noisy = sum(len(item.media["audio"]["layers"]) > 1 for item in items)
    assert rooms > 0.4 * len(items)
    assert noisy > 0.4 * len(items)
    for item in items:
        layer = item.media["audio"]["layers"][0]
        said = "".join(char if char.isalpha() or char == "'" else " " for char in layer["say"].lower()).split()
        assert said == item.extra["words"]["said"].split() == item.conversation[1]["content"].split()
    again, _ = speech_by_the_hour(texts, None, hours, [], set())
    assert again == items


@pytest.mark.parametrize("text", ["piper", "piper=x", "siri=3", "piper=-1", "piper=nan"])
def test_hours_that_make_no_sense_are_one_error(text):
    with pytest.raises(ConfigError, match="is not an engine") as raised:
        parse_hours(text)
    assert "piper=20" in raised.value.remedy


def test_hours_of_every_engine_are_read():
    assert parse_hours("piper=20, kokoro=8,espeak=0") == {"piper": 20.0, "kokoro": 8.0}
    assert parse_hours("") == {}


def test_mixtures_are_convex_and_strange_ones_are_refused():
    rng = random.Random(0)
    for _ in range(200):
        voice = random_mixture(rng)
        weights = mixture({"voice": voice})
        assert sum(weights) == pytest.approx(1)
        assert min(voice.values()) >= 0.14
    with pytest.raises(ConfigError, match="mixture"):
        mixture({"voice": {STYLES[0]: 0.5, "af_bella": 0.5}})
    with pytest.raises(ConfigError, match="mixture"):
        mixture({"voice": {STYLES[0]: 0.5}})


def test_phonemes_keep_words_stress_and_punctuation():
    assert phonemes("the quick brown fox, and so on.") == "ðə kwˈɪk bɹˈaʊn fˈɑːks, ænd sˌoʊ ˈɔn." or phonemes(
        "the quick brown fox, and so on."
    ).startswith("ðə kwˈɪk bɹˈaʊn fˈɑːks, ")
    assert kokoro_phonemes("cheap joy") == "ʧˈip ʤˈY"


def test_speech_made_elsewhere_is_used_and_needs_no_voice(tmp_path, monkeypatch):
    layer = neural_layer("hello there", "kokoro", random.Random(0))
    write_shard(tmp_path / "speech", speech_key(layer), (8000 * np.sin(np.arange(16000) / 20)).astype(np.int16))
    monkeypatch.setenv(SPEECH_FOLDER, str(tmp_path / "speech"))
    sound = render_sound({"layers": [layer | {"at": 0.5, "level": -20}]}, tmp_path)
    assert sound.size == pytest.approx(1.5 * RATE, abs=10)
    assert np.abs(sound[: RATE // 2]).max() == 0
    assert np.sqrt(np.mean(sound[RATE // 2 :] ** 2)) == pytest.approx(0.1, rel=0.05)


def test_level_and_room_do_not_change_what_a_voice_says():
    layer = neural_layer("hello there", "piper", random.Random(0))
    assert speech_key(layer) == speech_key(layer | {"room": 3, "at": 1.0, "level": -20, "speed": 1.1})
    assert speech_key(layer) != speech_key(layer | {"pace": 0.5})


@pytest.mark.skipif(not missing_voice_files(), reason="the voices are installed")
def test_a_voice_that_is_not_installed_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv(SPEECH_FOLDER, str(tmp_path))
    with pytest.raises(MissingPartError, match="not installed") as raised:
        render_sound({"layers": [neural_layer("hello", "piper", random.Random(0))]}, tmp_path)
    assert "setup --voices" in raised.value.remedy


def test_setup_says_which_voices_are_missing():
    done = CliRunner().invoke(app, ["setup", "--voices", "--check", "--json"])
    assert json.loads(done.stdout)["missing"] == missing_voice_files()


@needs_voices
def test_piper_speaks_the_same_twice_and_slower_when_asked(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv(SPEECH_FOLDER, str(tmp_path))
    layer = neural_layer("hello there", "piper", random.Random(0)) | {"pace": 1.0}
    first = render_sound({"layers": [layer]}, tmp_path)
    assert np.array_equal(first, render_sound({"layers": [layer]}, tmp_path))
    assert render_sound({"layers": [layer | {"pace": 0.7}]}, tmp_path).size > 1.2 * first.size
    assert max(voice_ids("hello there", "piper")) < 256


@pytest.mark.parametrize(("layer", "gender"), [
    ({"engine": "piper", "voice": "joe"}, "man"),
    ({"engine": "kokoro", "voice": "jf_alpha"}, "woman"),
    ({"engine": "kokoro", "voice": {"jf_alpha": 0.4, "jf_nezumi": 0.6}}, "woman"),
    ({"engine": "kokoro", "voice": {"jm_kumo": 1.0}}, "man"),
    ({"engine": "kokoro", "voice": {"jf_alpha": 0.4, "jm_kumo": 0.6}}, ""),
    ({"engine": "espeak", "voice": "en-us"}, ""),
])  # fmt: skip
def test_whose_voice_made_speech_has_is_known_where_it_is_one_sort(layer, gender):
    assert gender_of_voice(layer) == gender


def test_made_speech_states_whose_voice_it_is(texts):
    items, _ = speech_by_the_hour(texts, None, {"piper": 0.02, "kokoro": 0.05}, [], set())
    assert {item.extra["words"].get("voice") for item in items if ":piper/" in item.id} == {"man"}
    for item in items:
        assert item.extra["words"].get("voice", "") == gender_of_voice(item.media["audio"]["layers"][0])
