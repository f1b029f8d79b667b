"""Which items a step takes: whole epochs, the same from anywhere, of like length where asked for."""

import random
from itertools import pairwise

import pytest

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError
from video_salmonn.training.items import repeated
from video_salmonn.training.loading import BatchPlan


@pytest.mark.parametrize("group", [0, 4])
@pytest.mark.parametrize(("count", "batch"), [(100, 8), (7, 8), (64, 8), (33, 4)])
def test_every_epoch_takes_every_item_once(count, batch, group):
    lengths = [random.Random(i).random() for i in range(count)]
    plan = BatchPlan(count, batch, 3, lengths, group)
    drawn = [index for step in range(3 * count) for _, index in plan(step)]
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (3, 8)])
def test_a_step_that_reaches_over_the_border_of_an_epoch_knows_each_items_epoch(count, batch):
    plan = BatchPlan(count, batch, 3)
    drawn = [place for step in range(15) for place in plan(step)]
    assert [epoch for epoch, _ in drawn] == [position // count for position in range(15 * batch)]
    assert len(set(drawn)) == len(drawn), "no item is made twice from the same random numbers"


def test_a_step_is_the_same_wherever_a_run_begins():
    lengths = [random.Random(i).random() for i in range(50)]
    whole = BatchPlan(50, 8, 0, lengths, 2)
    steps = [whole(step) for step in range(20)]
    for step in (19, 7, 13):
        assert BatchPlan(50, 8, 0, lengths, 2)(step) == steps[step]
    assert BatchPlan(50, 8, 1, lengths, 2)(7) != steps[7]


def test_like_lengths_share_a_batch():
    lengths = [random.Random(i).randrange(1000) for i in range(800)]
    for epoch_steps in (range(100), range(100, 200)):  # the second epoch's batches begin where steps do, too
        grouped, shuffled = BatchPlan(800, 8, 0, lengths, 10), BatchPlan(800, 8, 0)

        def waste(plan, steps=epoch_steps):
            batches = [[lengths[i] for _, i in plan(step)] for step in steps]
            return sum(max(batch) * len(batch) - sum(batch) for batch in batches) / sum(map(sum, batches))

        assert waste(grouped) < 0.15 < 0.5 < waste(shuffled)
    longest = [max(lengths[i] for _, i in BatchPlan(800, 8, 0, lengths, 10)(step)) for step in range(100)]
    assert any(a > b for a, b in pairwise(longest))  # batches are shuffled again, not run from short to long


def test_tasks_are_repeated_or_thinned_by_id():
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    items = [Item(f"{task}/{n}", {"audio": "a"}, turns, task) for task in ("rare", "common", "odd") for n in range(200)]
    chosen = [item.task for item in repeated(items, {"rare": 3, "common": 0.25}, seed=0)]
    assert chosen.count("rare") == 600 and chosen.count("odd") == 200 and 30 < chosen.count("common") < 70
    assert repeated(items, {"common": 0.25}, 0) == repeated(items, {"common": 0.25}, 0)
    assert repeated(items, {}, 0) == items
    with pytest.raises(ConfigError, match="smell"):
        repeated(items, {"smell": 2}, 0)
    assert repeated(items, {"smell": 0}, 0) == items  # a recipe's kind that these data lack, switched off
    with pytest.raises(ConfigError, match="no item"):
        repeated(items, {"rare": 0, "common": 0, "odd": 0}, 0)


def test_beginnings_of_ids_go_before_tasks():
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    names = [*(f"say/real:{n}" for n in range(50)), *(f"say/made:{n}" for n in range(50))]
    items = [Item(name, {"audio": "a"}, turns, "say") for name in names]
    chosen = [item.id for item in repeated(items, {"say": 2, "say/made": 0, "say/made:1": 3}, seed=0)]
    assert sum("real" in name for name in chosen) == 100
    assert sorted(set(chosen) - set(names[:50])) == sorted(name for name in names[50:] if name.startswith("say/made:1"))
    assert sum("made" in name for name in chosen) == 3 * 11
    with pytest.raises(ConfigError, match="say/odd"):
        repeated(items, {"say/odd": 1}, 0)
