"""The CTC warm-up at tiny scale: it learns, resumes exactly, decodes as CTC does, leaves out what cannot be aligned."""

import json
import math
import random
from types import SimpleNamespace

import pytest
import torch

from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.auxiliary import names_in
from video_salmonn.training.ctc import CtcHead, Names, best_names, ctc_sum, name_losses, name_sum, plain_name
from video_salmonn.training.run_state import read_run
from video_salmonn.training.warmup import (
    Utterance,
    Warmup,
    WarmupConfig,
    batches,
    learning_rate,
    spread_positions,
)

WORDS = ["red", "green", "blue", "stone", "river", "cloud"]


class WordTokenizer:
    """One token a word; ids 10, 11, …"""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens and text.startswith(" ")
        return SimpleNamespace(input_ids=[10 + WORDS.index(word) for word in text.split()])

    def decode(self, ids):
        return "".join(" " + WORDS[i - 10] for i in ids)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Utterances whose features are noisy one-hot codes of their words, ten steps a word."""
    folder = tmp_path_factory.mktemp("features")
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    codes = torch.randn(len(WORDS), 16, generator=generator) * 2
    utterances = []
    with FeatureWriter(folder) as writer:
        for index in range(24):
            words = rng.sample(WORDS, 3)
            steps = torch.zeros(75, 16)
            for place, word in enumerate(words):
                steps[5 + 22 * place : 20 + 22 * place] = codes[WORDS.index(word)]
            writer.put(f"u{index}.speech", steps + 0.1 * torch.randn(75, 16, generator=generator))
            writer.put(f"u{index}.audio", torch.zeros(3, 8))
            utterances.append(Utterance(f"u{index}", " ".join(words)))
    return FeatureStore(folder), utterances


def make(setting, out, visual_dim=None, **changes):
    store, utterances = setting
    torch.manual_seed(0)
    config = ConnectorConfig(
        hidden_size=32, num_attention_heads=4, intermediate_size=64, num_hidden_layers=1, visual_dim=visual_dim,
        visual_tokens=5, speech_dim=16, audio_dim=8, llm_dim=24, dropout=0.0,
    )  # fmt: skip
    connector = MultiResolutionCausalQFormer(config)
    spread_positions(connector)
    embeddings = torch.randn(20, 24, generator=torch.Generator().manual_seed(1))
    head = CtcHead(embeddings, [u.text for u in utterances], WordTokenizer())
    settings = {"steps": 120, "batch": 8, "rate": 5e-3, "rise": 10, "augment": False, "save_every": 40} | changes
    return Warmup(connector, head, store, utterances, WarmupConfig(**settings), out)


def test_it_learns_to_transcribe(setting, tmp_path):
    warmup = make(setting, tmp_path)
    assert warmup.skipped == 0
    lines = []
    warmup.run(lambda: {"words": 1.0}, report=lines.append)
    texts = warmup.transcribe(setting[1])
    assert sum(a == u.text for a, u in zip(texts, setting[1])) >= 20
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == lines and written[-1]["step"] == 120
    assert written[0]["loss"] > 2 * written[-1]["loss"]
    assert any("words" in line for line in written)


def test_stop_and_resume_gives_the_same_losses(setting, tmp_path):
    whole = make(setting, tmp_path / "a", steps=12, augment=True)
    plan = whole.plan()
    expected = [whole.train_step(next(plan)) for _ in range(6)]

    first = make(setting, tmp_path / "b", steps=12, augment=True)
    first.run(should_stop=lambda: first.step == 3)
    assert read_run(tmp_path / "b")[0] == 3
    again = make(setting, tmp_path / "b", steps=12, augment=True)
    again.connector.positions.data.zero_()  # resume must bring the weights back
    assert again.resume() and again.step == 3
    plan = again.plan()
    assert [again.train_step(next(plan)) for _ in range(3)] == pytest.approx(expected[3:], abs=0)


def test_batches_continue_anywhere_and_cover_an_epoch():
    lengths = [random.Random(1).randrange(50) for _ in range(100)]
    plan = batches(lengths, 8, 3, 0)
    stream = [next(plan) for _ in range(30)]
    for step in (1, 11, 12, 13, 29):
        assert next(batches(lengths, 8, 3, step)) == stream[step]
    epoch = [index for group in stream[:12] for index in group]
    assert len(epoch) == len(set(epoch)) == 96


def test_rate_rises_and_falls():
    config = WarmupConfig(steps=100, rise=10, rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert (
        rates[0] == 0.1 and max(rates) == rates[10] == pytest.approx(1.0) and rates[-1] == pytest.approx(0.05, abs=0.01)
    )


def test_decode_merges_repeats_and_drops_blanks(setting):
    head = CtcHead(torch.eye(20), ["red green", "green red"], WordTokenizer())
    best = torch.tensor([[1, 1, 0, 1, 2, 2, 0, 2]])
    scores = torch.nn.functional.one_hot(best, 3).float()
    assert head.decode(scores, torch.ones(1, 8, dtype=torch.bool)) == ["red red green green"]
    assert head.decode(scores, torch.tensor([[True] * 3 + [False] * 5])) == ["red"]
    assert head.columns("blue") is None and head.columns("red green") == [1, 2]


def test_too_long_transcripts_are_left_out(setting, tmp_path):
    store, utterances = setting
    long = Utterance("u0", " ".join(WORDS * 4))  # 24 tokens, 18 outputs
    warmup = make((store, [*utterances, long, Utterance("none", "red")]), tmp_path)
    assert warmup.skipped == 2


def test_it_fails_clearly(setting, tmp_path):
    with pytest.raises(ConfigError, match="no utterance"):
        make((setting[0], [Utterance("none", "red")]), tmp_path)
    with pytest.raises(ConfigError):
        WarmupConfig(steps=0)
    warmup = make(setting, tmp_path)
    warmup.save()
    (tmp_path / "weights-0.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="weights-0"):
        make(setting, tmp_path).resume()
    (tmp_path / "state.pt").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        make(setting, tmp_path).resume()
    warmup.connector.llm_projection.weight.data.fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"step 0.*u"):
        warmup.train_step([0, 1])


def test_kinds_take_turns_by_share_and_go_on_anywhere(setting, tmp_path):
    store, utterances = setting
    with FeatureWriter(store.folder) as writer:
        for index in range(12):
            writer.put(f"p{index}.visual", torch.randn(1, 5, 12))
    store.refresh()
    pictures = [Utterance(f"p{index}", WORDS[index % 6], "picture") for index in range(12)]
    sounds = [Utterance(item.key, "stone", "sound") for item in utterances[:8]]
    mixed = (store, [*utterances, *pictures, *sounds])
    changes = {"batch": 4, "shares": {"speech": 3, "sound": 1, "picture": 1}, "augment": True}
    run = make(mixed, tmp_path, visual_dim=12, **changes)
    plan = run.plan()
    steps = [next(plan) for _ in range(20)]
    kinds = [{run.train_set[i][0].kind for i in step} for step in steps]
    assert all(len(kind) == 1 for kind in kinds)
    assert [sum(kind == {k} for kind in kinds) for k in ("speech", "sound", "picture")] == [12, 4, 4]
    assert all(len(step) == (12 if kind == {"picture"} else 4) for step, kind in zip(steps, kinds))
    for start in (3, 9, 17):
        run.step = start
        assert next(run.plan()) == steps[start]
    run.step = 0
    assert all(run.train_step(step) > 0 for step in steps[:5])
    texts = run.transcribe([*pictures[:2], *utterances[:2], *sounds[:1]])
    assert len(texts) == 5


def test_shares_are_checked():
    for shares in ({"smell": 1}, {"speech": 0}, {"speech": -1, "sound": 3}):
        with pytest.raises(ConfigError, match="shares"):
            WarmupConfig(shares=shares)


def test_names_lose_article_and_full_stop():
    assert [plain_name(name) for name in ("A dog barking.", "An apple.", "Sour cream.", "USA.", "Rain")] == [
        "dog barking", "apple", "sour cream", "USA", "rain",
    ]  # fmt: skip


def test_the_auxiliary_sum_is_that_of_single_items(setting):
    head = CtcHead(torch.randn(20, 24), ["red green", "blue"], WordTokenizer()).requires_grad_(False)
    tokens = [torch.randn(9, 24), torch.randn(4, 24), torch.randn(1, 24)]
    texts = ["red green", "blue", "red green"]  # the last has too few outputs: adds nothing
    single = [ctc_sum(head, [t], [text]) for t, text in zip(tokens, texts)]
    assert float(ctc_sum(head, tokens, texts)) == pytest.approx(sum(map(float, single)), rel=1e-5)
    assert float(single[2]) == 0 < float(single[0])
    assert float(ctc_sum(head, tokens[:1], ["stone"])) == 0  # a word outside the vocabulary


def test_names_are_learned_from_pictures(setting, tmp_path):
    """Pictures that are noisy codes of two-word names: every output is to give the name, in any order of its tokens."""
    generator = torch.Generator().manual_seed(2)
    named = ["red stone", "blue river", "green cloud"]
    codes = torch.randn(3, 5, 12, generator=generator) * 2
    pictures = []
    with FeatureWriter(tmp_path / "features") as writer:
        for index in range(30):
            noisy = codes[index % 3] + 0.3 * torch.randn(5, 12, generator=generator)
            writer.put(f"p{index}.visual", noisy[None])
            pictures.append(Utterance(f"p{index}", named[index % 3], "picture"))
    store = FeatureStore(tmp_path / "features")
    run = make((store, pictures), tmp_path / "run", visual_dim=12, steps=40, batch=3, augment=True)
    run.run()
    found = run.name(pictures)
    assert sum(a == item.text for a, item in zip(found, pictures)) >= 27


def test_name_losses_by_hand():
    scores = torch.log(torch.tensor([[[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1]]]))
    mask = torch.tensor([[True, True, False]])
    expected = -sum(math.log(p) for p in (0.6, 0.2, 0.3, 0.6)) / 2
    assert float(name_losses(scores, mask, [[1, 2]])) == pytest.approx(expected)
    assert best_names(scores, mask, {"one": [1], "two": [2], "both": [1, 2]}) == ["two"]
    head = CtcHead(torch.randn(20, 24), ["red green", "blue"], WordTokenizer()).requires_grad_(False)
    tokens = [torch.randn(4, 24), torch.randn(2, 24)]
    single = [name_sum(head, [t], [text]) for t, text in zip(tokens, ["red", "blue"])]
    assert float(name_sum(head, tokens, ["red", "blue"])) == pytest.approx(float(sum(single)), rel=1e-5)
    assert float(name_sum(head, tokens, ["stone", "river"])) == 0


def test_a_name_is_told_from_all_others():
    head = CtcHead(torch.randn(20, 24), [" ".join(WORDS)], WordTokenizer()).requires_grad_(False)
    names = Names(head, ["red stone", "blue", "river", "cloud"])
    rows = [
        10 * head.rows[[column - 1 for column in head.columns(name)]].mean(0).expand(5, -1)
        for name in ("blue", "river")
    ]
    right = float(names.choice_sum(rows, ["blue", "river"]))
    assert right < 0.1 < float(names.choice_sum(rows, ["river", "blue"]))
    assert float(names.choice_sum(rows, ["green", "green"])) == 0  # no known name


def test_names_are_read_from_answers_about_both():
    assert names_in("picture", "A windsor chair.") == ["windsor chair"]
    assert names_in("both-sound-av", "I hear a dog barking. I see an apple.") == ["dog barking", "apple"]
    assert names_in("both-av", "It says: mr. x. It shows milk. It shows a hat.") == ["hat"]
    assert names_in("both-av", "nothing") == []
