"""Recipes: every file under recipes/ loads; unknown keys and contradictions are refused, naming the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import ConfigError
from video_salmonn.training.recipe import load_recipe

FOLDER = Path(__file__).parents[3] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.relative_to(FOLDER).as_posix())
def test_every_shipped_recipe_is_whole(path: Path) -> None:
    load_recipe(path)


def test_a_base_gives_what_a_recipe_leaves_open(tmp_path: Path) -> None:
    low = "max_steps: 9\nseed: 3\nmicro_batch: 1\ndata: {train: [a.jsonl]}\noptim: {warmup_steps: 1}\n"
    (tmp_path / "low.yaml").write_text(low + "connector: {dropout: 0.2, mask_direction: past}\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/mid.yaml").write_text("base: ../low.yaml\nseed: 4\nconnector: {dropout: 0.0}\n")
    (tmp_path / "more/top.yaml").write_text("base: mid.yaml\nbatch_size: 2\n")
    recipe = load_recipe(tmp_path / "more/top.yaml", ["batch_size=1"])
    assert (recipe.max_steps, recipe.seed, recipe.batch_size) == (9, 4, 1)
    assert recipe.connector == {"dropout": 0.0, "mask_direction": "past"}
    (tmp_path / "low.yaml").write_text("base: more/top.yaml\n")
    with pytest.raises(ConfigError, match="leads back to itself"):
        load_recipe(tmp_path / "low.yaml")
    (tmp_path / "more/mid.yaml").write_text("base: none.yaml\n")
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_recipe(tmp_path / "more/top.yaml")
    (tmp_path / "more/mid.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="no keys"):
        load_recipe(tmp_path / "more/mid.yaml")


def test_every_ablation_changes_what_its_name_says() -> None:
    full = load_recipe(FOLDER / "paper-13b.yaml")
    ablations = {path.stem: load_recipe(path) for path in FOLDER.glob("ablations/*.yaml")}
    assert len(ablations) >= 10
    for name, recipe in ablations.items():
        changed = {key for key, value in recipe.to_dict().items() if value != full.to_dict()[key]}
        assert "output" in changed and len(changed) == 2, (name, changed)
        ConnectorConfig.from_dict(recipe.connector)  # every connector that an ablation asks for can be built
    assert len({recipe.output for recipe in ablations.values()}) == len(ablations)


def test_overrides_win_and_keep_their_types() -> None:
    recipe = load_recipe(
        FOLDER / "tiny.yaml", ["max_steps=7", "optim.rate=0.5", "mixing.swap=0.25", "output=/x", "optim.warmup_steps=1"]
    )
    assert (recipe.max_steps, recipe.optim.rate, recipe.mixing.swap, recipe.output) == (7, 0.5, 0.25, "/x")


def test_a_bare_no_is_a_precision(tmp_path: Path) -> None:
    (tmp_path / "no.yaml").write_text("precision: no\ndata: {train: [a]}\n")
    assert load_recipe(tmp_path / "no.yaml").precision == "no"
    assert load_recipe(None, ["precision=no", "data.train=[a]"]).precision == "no"


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
        ("fresh=[tower]", "fresh"),
        ("frozen_precision=bf16", "frozen_precision"),
        ("data.workers=-1", "data.workers"),
    ],
)
def test_contradictions_are_refused_naming_the_key(change: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load_recipe(None, ["data.train=[a.jsonl]", "optim.warmup_steps=10", change])


def test_unreadable_recipes_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
    top = tmp_path / "top.yaml"
    top.write_text("base: bad.yaml\n")
    for text in (b"a: [1,", b"a:\n\t- 1", b"3", b"- 1", b"a: caf\xe9", b"a: 1\na: 2", b"{a: " * 3000, b"\0"):
        (tmp_path / "bad.yaml").write_bytes(text)
        for path in (top, tmp_path / "bad.yaml"):
            with pytest.raises(ConfigError, match=r"bad\.yaml: (not readable as YAML|no keys)") as caught:
                load_recipe(path)
            assert "\n" not in str(caught.value) and "None" not in str(caught.value)
            assert "recipes/" in caught.value.remedy
    (tmp_path / "bad.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"bad\.yaml: data\.train is empty"):
        load_recipe(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    "change", ["max_steps=[", "=", "data..train=1", "a.b.c=d", "seed", "model={", "output=${output}"]
)
def test_a_change_that_cannot_be_is_named(change: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(FOLDER / "tiny.yaml", [change])
    assert caught.value.remedy and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("value", ["-1", ".nan", ".inf"])
@pytest.mark.parametrize(
    "key",
    ["optim.rate", "optim.rates.connector", "optim.clip", "optim.weight_decay", "diversity_weight", "word_weight"],
)
def test_numbers_that_are_none_or_negative_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is "):
        load_recipe(Path("recipes/tiny.yaml"), [f"{key}={value}"])


@pytest.mark.parametrize(
    "change",
    [
        "optim.warmup_steps=-5",
        "data.validation_items=-1",
        "optim.beta2=1",
        "optim.min_rate=2",
        "optim.rates.connector=0",
    ],
)
def test_numbers_out_of_their_range_are_refused(change: str) -> None:
    with pytest.raises(ConfigError, match=change.partition("=")[0].removesuffix(".connector")):
        load_recipe(Path("recipes/tiny.yaml"), [change])
