"""The CTC warm-up at tiny scale: it learns, resumes exactly, decodes as CTC does, leaves out what cannot be aligned."""

import json
import random
from types import SimpleNamespace

import pytest
import torch

from varied import augment_sound
from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.data.feature_batch import ClipFeatures
from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.embedded.branches import QUIET, open_branch
from video_salmonn.embedded.data.wordings import plain_name
from video_salmonn.embedded.warmup import (
    Utterance,
    Warmup,
    WarmupConfig,
    batches,
    learning_rate,
    say,
    spread_positions,
)
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.auxiliary import words_for
from video_salmonn.training.ctc import NAME_WEIGHT, WordHead, Words, best_names, word_losses
from video_salmonn.training.run_state import read_run

BLANK = 5
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
            writer.put({f"u{index}.speech": steps + 0.1 * torch.randn(75, 16, generator=generator)})
            writer.put({f"u{index}.audio": torch.zeros(3, 8)})
            utterances.append(Utterance(f"u{index}", " ".join(words)))
    return FeatureStore(folder), utterances


def new_head(texts, width=24):
    embeddings = torch.randn(20, width, generator=torch.Generator().manual_seed(1))
    return WordHead(embeddings, texts, WordTokenizer(), BLANK)


def make(setting, out, visual_dim=None, **changes):
    store, utterances = setting
    torch.manual_seed(0)
    config = ConnectorConfig(
        hidden_size=32, num_attention_heads=4, intermediate_size=64, num_hidden_layers=1, visual_dim=visual_dim,
        visual_tokens=5, speech_dim=16, audio_dim=8, llm_dim=24, dropout=0.0,
    )  # fmt: skip
    connector = MultiResolutionCausalQFormer(config)
    spread_positions(connector)
    head = new_head([u.text for u in utterances])
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
    expected = [whole.train_step(*next(plan)) for _ in range(6)]

    first = make(setting, tmp_path / "b", steps=12, augment=True)
    first.run(should_stop=lambda: first.step == 3)
    assert read_run(tmp_path / "b")[0] == 3
    again = make(setting, tmp_path / "b", steps=12, augment=True)
    again.connector.positions.data.zero_()  # resume must bring the weights back
    assert again.resume() and again.step == 3
    plan = again.plan()
    assert [again.train_step(*next(plan)) for _ in range(3)] == pytest.approx(expected[3:], abs=0)


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
    head = new_head(["red green", "green red"])
    best = torch.tensor([[1, 1, 0, 1, 2, 2, 0, 2]])
    scores = torch.nn.functional.one_hot(best, 3).float()
    assert head.decode(scores, torch.ones(1, 8, dtype=torch.bool)) == ["red red green green"]
    assert head.decode(scores, torch.tensor([[True] * 3 + [False] * 5])) == ["red"]
    assert head.columns_of("blue") is None and head.columns_of("red green") == (1, 2)


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
        warmup.train_step("speech", [0, 1])


def test_kinds_take_turns_by_share_and_go_on_anywhere(setting, tmp_path):
    store, utterances = setting
    with FeatureWriter(store.folder) as writer:
        for index in range(12):
            writer.put({f"p{index}.visual": torch.randn(1, 5, 12)})
    store.refresh()
    pictures = [Utterance(f"p{index}", WORDS[index % 6], "picture") for index in range(12)]
    sounds = [Utterance(item.key, "stone", "sound") for item in utterances[:8]]
    mixed = (store, [*utterances, *pictures, *sounds])
    shares = {"speech": 3, "sound": 1, "picture": 1, "speech+picture": 2, "sound+picture": 1}
    run = make(mixed, tmp_path, visual_dim=12, batch=4, shares=shares, augment=True)
    plan = run.plan()
    steps = [next(plan) for _ in range(24)]
    assert {kind: sum(kind == k for k, _ in steps) for kind in shares} == {k: 3 * n for k, n in shares.items()}
    for kind, indices in steps:
        assert len(indices) == 4
        assert {run.train_set[i][0].kind for i in indices} == {kind.split("+")[0]}
    for start in (3, 9, 17):
        run.step = start
        assert next(run.plan()) == steps[start]
    run.step = 0
    assert all(run.train_step(*step) > 0 for step in steps[:8])
    texts = run.transcribe([*pictures[:2], *utterances[:2], *sounds[:1]])
    assert len(texts) == 5


def test_a_picture_beside_speech_is_named_too(setting, tmp_path):
    store, utterances = setting
    with FeatureWriter(store.folder) as writer:
        for index in range(4):
            writer.put({f"q{index}.visual": torch.randn(1, 5, 12)})
        writer.put({"moving.visual": torch.arange(3.0)[:, None, None].expand(3, 5, 12)})
    store.refresh()
    pictures = [Utterance(f"q{index}", WORDS[index], "picture") for index in range(4)]
    talk = Utterance("u0", utterances[0].text, sight="moving", seen="cloud")
    run = make((store, [utterances[1], talk, *pictures]), tmp_path, visual_dim=12)
    batch, (words, moving) = run.assemble("speech+picture", [0, 1], random.Random(0))
    assert words.said == run.head.columns_of(utterances[1].text)
    assert words.seen in [run.head.columns_of(word) for word in WORDS[:4]]
    assert batch.visual.shape == (2, 3, 5, 12) and batch.speech is not None and batch.audio is not None
    assert moving.seen == run.head.columns_of("cloud")
    torch.testing.assert_close(batch.visual[1, :, 0, 0], torch.arange(3.0))
    batch, (words,) = run.assemble("speech", [1], random.Random(0))
    assert batch.visual is None and not words.seen


def test_a_talking_head_whose_pictures_failed_to_encode_is_speech_without_them(setting, tmp_path):
    store, utterances = setting
    with FeatureWriter(tmp_path / "more") as writer:
        writer.put({"heard.speech": store["u0.speech"], "heard.audio": store["u0.audio"]})
        writer.put({"half.speech": store["u1.speech"]})
        writer.put({f"q{index}.visual": torch.randn(1, 5, 12) for index in range(3)})
    talk = Utterance("heard", utterances[0].text, sight="failed", seen="cloud")
    pictures = [Utterance(f"q{index}", WORDS[index], "picture") for index in range(3)]
    half = Utterance("half", utterances[1].text)
    run = make((FeatureStore(tmp_path / "more"), [talk, half, *pictures]), tmp_path, visual_dim=12)
    assert (run.without_sight, run.skipped, len(run.train_set)) == (1, 1, 4)
    batch, (words,) = run.assemble("speech+picture", [0], random.Random(0))
    assert words.said == run.head.columns_of(talk.text)
    assert words.seen in [run.head.columns_of(word) for word in WORDS[:3]], "another picture stands beside it"
    assert batch.visual is not None and run.train_step("speech+picture", [0]) > 0


def test_a_batch_of_varied_sounds_is_the_sounds_varied_one_by_one(setting, tmp_path):
    store, utterances = setting
    run = make((store, utterances), tmp_path, augment=True)
    batch, _ = run.assemble("speech", [3, 4, 5], random.Random(7))
    rng = random.Random(7)
    for place, item in enumerate(utterances[3:6]):
        alone = augment_sound(ClipFeatures(None, store[f"{item.key}.speech"], store[f"{item.key}.audio"]), rng)
        length = len(alone.speech)
        torch.testing.assert_close(batch.speech[place, :length], alone.speech)
        torch.testing.assert_close(batch.audio[place, :length:25], alone.audio)
        assert not batch.speech[place, length:].any() and int(batch.sound_mask[place].sum()) == alone.frames


def test_with_level_dropout_each_level_learns_to_say_words_alone(setting, tmp_path):
    run = make(setting, tmp_path, level_dropout=0.5, steps=200)
    run.run()
    _, utterances = setting
    indices = list(range(len(utterances)))
    batch, _ = run.assemble("speech", indices, random.Random(0))
    with torch.inference_mode():
        for zeroed in ((), (0,), (1,)):
            outputs, mask = say(run.connector.eval(), batch, zeroed)
            texts = run.head.decode(run.head(outputs), mask)
            right = sum(text == item.text for text, item in zip(texts, utterances))
            assert right > len(utterances) / 2, (zeroed, right)


def test_shares_are_checked():
    for shares in ({"smell": 1}, {"speech": 0}, {"speech": -1, "sound": 3}):
        with pytest.raises(ConfigError, match="shares"):
            WarmupConfig(shares=shares)


def test_names_lose_article_and_full_stop():
    assert [plain_name(name) for name in ("A dog barking.", "An apple.", "Sour cream.", "USA.", "Rain")] == [
        "dog barking", "apple", "sour cream", "USA", "rain",
    ]  # fmt: skip


def test_names_are_learned_from_pictures(setting, tmp_path):
    """Pictures that are noisy codes of two-word names, whose tokens take turns."""
    generator = torch.Generator().manual_seed(2)
    named = ["red stone", "blue river", "green cloud"]
    codes = torch.randn(3, 5, 12, generator=generator) * 2
    pictures = []
    with FeatureWriter(tmp_path / "features") as writer:
        for index in range(30):
            noisy = codes[index % 3] + 0.3 * torch.randn(5, 12, generator=generator)
            writer.put({f"p{index}.visual": noisy[None]})
            pictures.append(Utterance(f"p{index}", named[index % 3], "picture"))
    store = FeatureStore(tmp_path / "features")
    run = make((store, pictures), tmp_path / "run", visual_dim=12, steps=40, batch=3, augment=True)
    run.run()
    found = run.name(pictures)
    assert sum(a == item.text for a, item in zip(found, pictures)) >= 27


def outputs_for(head, columns, length=1.0):
    """Outputs that are the embeddings of the given columns."""
    return (head.mean + length * head.radius * head.rows[torch.tensor(columns)])[None]


def test_words_take_turns_in_the_outputs_of_a_frame():
    words = Words(seen=(4, 5), heard=(6,))
    assert words.names(9, 3) == [4, 6, 0, 5, 6, 0, 4, 6, 0]
    assert Words(said=(1, 2)).names(4, 3) == [0, 0, 0, 0]


def test_outputs_that_are_the_words_lose_nearly_nothing():
    head = new_head([" ".join(WORDS)], width=576)
    said, seen, heard = head.columns_of("red green"), head.columns_of("blue stone"), head.columns_of("river")
    right = {
        Words(said=said): [0, *said, 0, 0, 0],
        Words(seen=seen, heard=heard): [seen[0], heard[0], 0, seen[1], heard[0], 0],
        Words(said=said, seen=seen): [seen[0], said[0], 0, seen[1], said[1], 0],  # names where speech leaves room
        Words(said=said, heard=heard): [said[0], heard[0], 0, said[1], heard[0], 0],
    }
    mask = torch.ones(1, 6, dtype=torch.bool)
    for words, columns in right.items():
        outputs = outputs_for(head, columns)
        loss = float(word_losses(head, outputs, mask, [words], 3))
        assert loss < 0.05, words
        wrong = outputs_for(head, columns[::-1] if words.said else [0] * 6)
        assert float(word_losses(head, wrong, mask, [words], 3)) > 3 * NAME_WEIGHT
        longer = float(word_losses(head, outputs_for(head, columns, 1.5), mask, [words], 3))
        assert longer == pytest.approx(loss + 0.1 * 6 * 0.25, abs=0.01)  # the length of a word is wanted, too


def test_word_losses_of_a_batch_are_those_of_single_items():
    head = new_head([" ".join(WORDS)])
    generator = torch.Generator().manual_seed(3)
    lengths, width = [9, 6, 3, 12], 12
    outputs = torch.randn(4, width, 24, generator=generator)
    words = [
        Words(said=head.columns_of("red green blue")),
        Words(seen=head.columns_of("stone"), said=head.columns_of("stone red")),
        Words(heard=head.columns_of("river")),
        Words(seen=head.columns_of("cloud red"), complete=False),
    ]
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    together = word_losses(head, outputs, mask, words, 3)
    for i, length in enumerate(lengths):
        alone = word_losses(head, outputs[i : i + 1, :length], mask[i : i + 1, :length], words[i : i + 1], 3)
        assert float(alone) == pytest.approx(float(together[i]), rel=1e-5)
    changed = outputs.clone()
    changed[~mask] = 7.0
    torch.testing.assert_close(word_losses(head, changed, mask, words, 3), together)


def test_ctc_part_is_torchs():
    head = new_head([" ".join(WORDS)])
    outputs = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(4))
    said = head.columns_of("red red green")
    wanted = torch.nn.functional.ctc_loss(
        head(outputs).log_softmax(-1).transpose(0, 1), torch.tensor([said]), [9], [3], reduction="sum"
    )
    stretched = 0.1 * head.stretched(outputs).sum()
    found = word_losses(head, outputs, torch.ones(1, 9, dtype=torch.bool), [Words(said=said)], 3)
    assert float(found) == pytest.approx(float(wanted + stretched), rel=1e-5)
    short = word_losses(head, outputs[:, :2], torch.ones(1, 2, dtype=torch.bool), [Words(said=said)], 3)
    assert float(short) == pytest.approx(float(0.1 * head.stretched(outputs[:, :2]).sum()), rel=1e-5)


def test_the_best_name_is_that_of_its_outputs():
    head = new_head([" ".join(WORDS)])
    candidates = {name: head.columns_of(name) for name in ("red stone", "blue", "stone red")}
    outputs = outputs_for(head, [*head.columns_of("stone"), 0, 0, *head.columns_of("red"), 0, 0])
    mask = torch.ones(1, 6, dtype=torch.bool)
    assert best_names(head, outputs, mask, candidates, 3, seen=True) == ["stone red"]


def test_words_of_an_item_are_known_or_left_out():
    head = new_head(["red green"])
    assert words_for(head, {"said": "red green", "seen": "green"}) == Words((1, 2), (2,), ())
    assert words_for(head, {"said": "red", "heard": "stone"}) is None
    assert words_for(head, {}) is None and words_for(head, {"said": ""}) is None


def test_an_opened_branch_keeps_what_tells_names_apart():
    generator = torch.Generator().manual_seed(5)
    labels = [index % 4 for index in range(400)]
    codes = torch.zeros(4, 40)
    codes[range(4), [30, 31, 32, 33]] = 1.0  # the names live in four faint channels; ten others are loud noise
    loudness = torch.cat([torch.full((10,), 20.0), torch.full((30,), 0.3)])
    features = codes[labels] + torch.randn(400, 40, generator=generator) * loudness
    projection = torch.nn.Linear(40, 8)
    open_branch(projection, features[:300], labels[:300])
    opened = projection(features).detach()
    assert opened.std(dim=0).mean() == pytest.approx(QUIET, rel=0.1) and opened.mean().abs() < 0.1

    def right(values):  # nearest mean of the training part
        means = torch.stack([values[:300][torch.tensor(labels[:300]) == label].mean(dim=0) for label in range(4)])
        return (torch.cdist(values[300:], means).argmin(dim=1) == torch.tensor(labels[300:])).float().mean()

    random = torch.nn.functional.linear(features, torch.randn(8, 40, generator=generator))
    assert right(opened) > 0.8 > 0.5 > right(random)
