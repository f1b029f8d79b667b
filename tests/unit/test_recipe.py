"""Recipes: every file under recipes/ loads; unknown keys and contradictions are refused, naming the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_salmonn.errors import ConfigError
from video_salmonn.training.recipe import Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_shipped_recipe_is_whole(path: Path) -> None:
    load_recipe(path).check()


def test_overrides_win_and_keep_their_types() -> None:
    recipe = load_recipe(RECIPES[0], ["max_steps=7", "optim.rate=0.5", "mixing.swap=0.25", "output=/x"])
    assert (recipe.max_steps, recipe.optim.rate, recipe.mixing.swap, recipe.output) == (7, 0.5, 0.25, "/x")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("steps=3", "steps"),
        ("optim.lr=3", "lr"),
        ("max_steps=many", "max_steps"),
        ("batch_size", "key=value"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(change: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        load_recipe(None, [change])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("micro_batch=64", "micro_batch"),
        ("precision=int3", "precision"),
        ("data.on_broken=ignore", "data.on_broken"),
        ("optim.warmup_steps=1000", "optim.warmup_steps"),
        ("validate_every=5", "data.validation"),
        ("diversity_weight=-1", "diversity_weight"),
    ],
)
def test_contradictions_are_refused_naming_the_key(change: str, key: str) -> None:
    recipe = load_recipe(None, ["data.train=[a.jsonl]", "optim.warmup_steps=10", change])
    with pytest.raises(ConfigError, match=key):
        recipe.check()


def test_batch_must_divide_over_the_processes() -> None:
    recipe = Recipe(batch_size=6, micro_batch=2)
    recipe.data.train = ["a"]
    recipe.check(3)
    with pytest.raises(ConfigError, match="batch_size"):
        recipe.check(4)


def test_unreadable_recipes_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_recipe(tmp_path / "bad.yaml")
