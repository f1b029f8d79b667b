"""Pictures that nobody took: features in which the head sees another thing, items made of them, their recipes."""

import random
from collections import Counter

import pytest
import torch
from torch import nn

from video_salmonn.embedded.data.asking.taught import imagined_pictures, teacher_pictures
from video_salmonn.embedded.data.build import jobs, media_files
from video_salmonn.embedded.data.encode import EncodeJob, check_imagined
from video_salmonn.embedded.data.further.seen import VAGUE, WIDER, imagenet_names, seen_phrase
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.encoders.imagined import CEILING, FAINT, SURE, imagine
from video_salmonn.errors import MediaError


@pytest.fixture
def head():
    torch.manual_seed(0)
    linear = nn.Linear(48, 30)
    linear.weight.data *= 5  # as steep as the real one, so that a picture is moved by about half of its length
    return linear.requires_grad_(False)


def photo(name, label, split="train", **extra):
    return Source(f"photos:{name}", "photo", f"{name}.jpg", split, "CC0", "made up", label=label, extra=extra)


@pytest.mark.parametrize("number", [0, 7, 29])
def test_the_head_sees_the_name_as_surely_as_it_does_in_photographs(head, number):
    photograph = torch.rand(25, 48) * 2
    tokens, chance = imagine(photograph, head.weight, head.bias, number, seed=3)
    chances = (tokens.mean(0) @ head.weight.T + head.bias).softmax(-1)
    assert tokens.shape == (25, 48) and SURE[0] <= chance <= 1 and float(chances[number]) == pytest.approx(chance)
    assert tokens.min() >= 0 and tokens.max() <= CEILING, "as after the head's last activation"
    assert not tokens.requires_grad


def test_the_photograph_is_still_in_it_and_a_seed_decides_all():
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(1280, 30).requires_grad_(False)
    head.weight.copy_(torch.randn(30, 1280, generator=generator) * 0.1)
    photograph = torch.rand(25, 1280, generator=generator) * 2
    made = [imagine(photograph, head.weight, head.bias, 4, seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    for tokens in made:
        share = (tokens.flatten() @ photograph.flatten()) / photograph.square().sum()
        assert share > 0.5 * FAINT
        assert torch.corrcoef(torch.stack([tokens.flatten(), photograph.flatten()]))[0, 1] > 0.3


def test_it_is_as_sparse_as_a_photograph():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(50, 1280, generator=generator) * 0.1, torch.zeros(50)
    photograph = torch.rand(25, 1280, generator=generator) * (torch.rand(25, 1280, generator=generator) < 0.2)
    made = [imagine(photograph, weight, bias, number, 1)[0] for number in range(20)]
    assert max(float((tokens > 0.01).float().mean()) for tokens in made) < 0.35


@pytest.mark.parametrize("recipe", [
    {"file": "a.jpg", "imagine": 1000, "seed": 0},
    {"file": "a.jpg", "imagine": -1, "seed": 0},
    {"file": "a.jpg", "imagine": 1.5, "seed": 0},
    {"file": "a.jpg", "imagine": "zebra", "seed": 0},
    {"file": "a.jpg", "imagine": True, "seed": 0},
    {"file": "a.jpg", "imagine": 3},
    {"file": "a.jpg", "imagine": 3, "seed": 0, "at": 1},
])  # fmt: skip
def test_what_cannot_be_imagined_is_said(recipe):
    with pytest.raises(MediaError, match="a number from 0 to 999"):
        check_imagined(recipe, 1000)


def test_every_name_is_made_as_often_and_asked_for_in_both_ways():
    shown = [photo(f"p{i}", "camera") for i in range(5)]
    speech = [Source("s:1", "speech", "s.opus", "train", "CC0", "made up", text="a cat sat there")]
    names = [n for n, name in enumerate(imagenet_names()) if name not in VAGUE]
    stock = Stock("train", {"photo": shown, "speech": speech}, [], random.Random(0))
    items = list(imagined_pictures(stock, 3 * len(names)))
    counts = Counter(item.media["image"]["imagine"] for item in items)
    assert set(counts) == set(names) and set(counts.values()) == {3}
    for item in items:
        number = item.media["image"]["imagine"]
        ((begin, end, name),) = item.extra["spans"]["seen"]
        bare = seen_phrase(number).removeprefix("a ").removeprefix("an ")
        assert begin == 0 and end > 60 and name.lower() == bare.lower()
        assert item.extra.get("words", {}).get("said") == ("a cat sat there" if "audio" in item.media else None)
        if item.task == "picture-imagined":
            assert item.answer.lower() == f"{seen_phrase(number)}.".lower()
    asked = [item for item in items if item.task == "yesno-picture"]
    yes = sum(item.answer == "Yes." for item in asked)
    assert len(asked) == len(names) and 0.45 < yes / len(asked) < 0.55
    assert 0.3 < sum("audio" in item.media for item in items) / len(items) < 0.37


def test_no_is_the_answer_about_names_of_other_groups_only():
    dogs = set(WIDER["a dog"])
    stock = Stock("train", {"photo": [photo("p", "camera")]}, [], random.Random(1))
    for item in imagined_pictures(stock, 6000):
        if item.task == "yesno-picture" and item.answer == "No." and item.media["image"]["imagine"] in dogs:
            question = item.conversation[0]["content"].lower()
            assert " a dog" not in question, "a dog of another breed is a dog"


def test_a_name_that_labels_contradict_is_not_taught():
    mug = seen_phrase(504)
    shown = [photo(f"p{i}", "cup", names=(mug,)) for i in range(2)] + [photo("q", "camera", names=("a zebra",))]
    stock = Stock("train", {"photo": shown}, [], random.Random(0))
    made = {item.media["image"]["imagine"] for item in imagined_pictures(stock, 2000)}
    assert 504 not in made and 340 in made, "once may be the head's mistake"
    assert not list(teacher_pictures(stock, 10)), "a cup stays a cup, whatever else the head calls it"


def test_pictures_of_the_test_are_real():
    stock = Stock("test", {"photo": [photo("p", "camera", "test")]}, [], random.Random(0))
    assert not list(imagined_pictures(stock, 100))


def test_an_imagined_picture_travels_and_is_encoded_by_its_photograph():
    stock = Stock("train", {"photo": [photo("p", "camera")]}, [], random.Random(0))
    items = list(imagined_pictures(stock, 3))
    assert media_files(items) == ["p.jpg"]
    assert list(jobs(items)) == [EncodeJob("visual", item.media["image"]) for item in items]
