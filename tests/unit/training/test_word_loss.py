"""The auxiliary loss on a model: outputs that are an item's words lose less than others, and nothing else counts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import PLAIN
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.batching import PreparedExample
from video_salmonn.training.examples import Example
from video_salmonn.training.words import WordLoss, stated

HEARD = {"heard": "heavy rain"}
WORDS = ("...", "heavy", "rain")


class WordTokenizer:
    """One token a word: with the tiny model's bytes, the pause would be a part of every word."""

    def __call__(self, text, add_special_tokens):
        return SimpleNamespace(input_ids=[10 + WORDS.index(w) if w in WORDS else 30 for w in text.split()])

    def decode(self, ids):
        return " ".join(WORDS[token - 10] for token in ids)


TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Rain."}]


@pytest.fixture(scope="module")
def auxiliary():
    torch.manual_seed(0)
    model, _ = build_tiny(0)
    processor = SimpleNamespace(tokenizer=WordTokenizer())
    items = [Item("a", {"audio": "a.wav"}, TURNS, "sound", extra={"words": HEARD}), Item("b", {}, TURNS, "text")]
    items.append(Item("c", {}, TURNS, "series", extra={"spans": {"heard": [[0, 1, "heavy"], [1, 2, "rain"]]}}))
    return WordLoss(model, processor, stated(items), torch.device("cpu"))


def row(auxiliary, words):
    example = Example("x", None, TURNS, 1.0, PLAIN, words=words)
    return PreparedExample(example, 1, 1, words=auxiliary.words_of(example))


def saying(auxiliary, columns):
    """Outputs that are the embeddings of columns of the head."""
    head = auxiliary.head
    return head.mean + head.radius * head.rows[torch.tensor(columns)]


def test_saying_the_words_of_an_item_loses_less_than_silence(auxiliary):
    letters = auxiliary.head.columns_of("heavy rain")
    assert auxiliary.per_frame == 3 and len(letters) == len(auxiliary.head.tokens("heavy rain"))
    right = [column for letter in letters for column in (0, letter, 0)]  # the second output of a frame names the sound
    outputs = saying(auxiliary, right).requires_grad_()
    loss = auxiliary([row(auxiliary, HEARD)], [outputs])
    assert loss.shape == () and loss < auxiliary([row(auxiliary, HEARD)], [saying(auxiliary, [0] * len(right))]) / 2
    loss.backward()
    assert outputs.grad.abs().sum() > 0, "the connector learns from it"


def test_a_batch_loses_what_its_items_lose_together(auxiliary):
    letters = auxiliary.head.columns_of("heavy rain")
    long, short = saying(auxiliary, [0, letters[0], 0] * 3), saying(auxiliary, [0, letters[1], 0])
    alone = [auxiliary([row(auxiliary, HEARD)], [outputs]) for outputs in (long, short)]
    assert torch.allclose(auxiliary([row(auxiliary, HEARD)] * 2, [long, short]), sum(alone), atol=1e-4)


def test_names_with_a_time_are_said_in_its_frames_and_nothing_is_asked_of_the_others(auxiliary):
    in_turn = Example("x", None, TURNS, 1.0, PLAIN, spans={"heard": [(0.0, 1.0, "heavy"), (1.6, 3.1, "rain")]})
    features = MediaFeatures(speech=torch.zeros(175, 4), audio=torch.zeros(175, 4))
    in_turn = replace(in_turn, features=features)
    row_of = PreparedExample(in_turn, 1, 1, words=auxiliary.words_of(in_turn))
    heavy, rain = (auxiliary.head.columns_of(name)[0] for name in ("heavy", "rain"))
    names = [heavy, heavy, 0, 0, rain, rain, 0]  # the frame from 1.5 s on is not wholly within the rain
    right = [column for name in names for column in (0, name, 0)]
    other = [column for name in (rain, rain, 0, 0, heavy, heavy, 0) for column in (0, name, 0)]
    noisy = [column if place in (1, 4, 13, 16) else rain for place, column in enumerate(right)]
    losses = [float(auxiliary([row_of], [saying(auxiliary, columns)])) for columns in (right, other, noisy)]
    assert losses[0] < losses[1] / 2 and losses[2] == pytest.approx(losses[0], abs=1e-4)
    assert auxiliary.read([row_of], [saying(auxiliary, right)]) == ["heavy, then rain"]


def test_words_whose_time_is_known_are_to_be_said_then(auxiliary):
    """Three outputs a frame of 0.5 s; a word of two tokens takes two outputs, and none takes an output twice."""
    features = MediaFeatures(speech=torch.zeros(100, 4), audio=torch.zeros(100, 4))
    said = {"said": "heavy rain rain"}
    example = Example("x", features, TURNS, 1.0, PLAIN, words=said)
    times = [(0.4, 0.7, "heavy"), (0.7, 1.4, "rain rain"), (1.0, 1.1, "xylophone"), (9.0, 9.5, "rain")]
    timed = replace(example, spans={"said": times})
    heavy, rain = (auxiliary.head.columns_of(name)[0] for name in ("heavy", "rain"))
    words = auxiliary.words_of(timed)
    assert words.said_at == ((2, heavy), (4, rain), (6, rain)) and words.complete
    right, late = [0, 0, heavy, 0, rain, 0, rain, *[0] * 5], [0, 0, 0, 0, heavy, 0, rain, 0, rain, *[0] * 3]
    rows = [PreparedExample(one, 1, 1, words=auxiliary.words_of(one)) for one in (example, timed)]
    losses = [[float(auxiliary([row], [saying(auxiliary, columns)])) for columns in (right, late)] for row in rows]
    assert losses[0][0] == pytest.approx(losses[0][1], rel=0.05), "without times either is as good"
    assert losses[1][0] < losses[1][1] / 2, "with them only what is said in time"


def test_items_with_unknown_words_are_left_out(auxiliary):
    outputs = saying(auxiliary, [0] * 6)
    others = [row(auxiliary, {}), row(auxiliary, {"heard": "xylophone"})]
    assert auxiliary(others, [outputs] * 2) == 0
    assert auxiliary([row(auxiliary, HEARD), *others], [outputs] * 3) == auxiliary([row(auxiliary, HEARD)], [outputs])
