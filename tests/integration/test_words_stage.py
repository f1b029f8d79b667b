"""The stage of words on the one loop: it learns, resumes exactly, and neither passes nor restarts change its losses."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from training_runs import run
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli.main import app
from video_salmonn.connector import MultiResolutionCausalQFormer
from video_salmonn.data.feature_index import FeatureIndex
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest, write_manifest
from video_salmonn.embedded.data.timing import state_times
from video_salmonn.errors import CheckpointError, ConfigError, MediaError
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.exporting import export
from video_salmonn.training.imagining import Imaginer
from video_salmonn.training.recipe import Recipe, load_recipe
from video_salmonn.training.stage import build_trainer
from video_salmonn.training.starting import build_model

STAGE = Path(__file__).parents[2] / "recipes/embedded-words.yaml"
LETTERS = "rgbxyz"
STEPS = 150
"""Steps of 20 ms of a sound: six frames, so 18 outputs."""


def item(name: str, media: dict, words: dict) -> Item:
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": next(iter(words.values()))}]
    return Item(name, media, turns, "any", split="train", extra={"words": words})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds whose features are noisy codes of the letters said in them, pictures and noises with names, a talking
    head; there are no media: the store's list of keys stands in for them."""
    folder = tmp_path_factory.mktemp("words")
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    codes = torch.randn(len(LETTERS), 32, generator=generator) * 2
    items: list[Item] = []
    with FeatureStore(folder / "features") as store:

        def sound(key: str, speech: torch.Tensor, events: torch.Tensor) -> None:
            noise = torch.randn(speech.shape, generator=generator)
            store.put({f"{key}.speech": speech + 0.1 * noise, f"{key}.audio": events})

        for index in range(24):
            letters = rng.sample(LETTERS, 2)
            speech = torch.zeros(STEPS, 32)
            for place, letter in enumerate(letters):
                speech[5 + 72 * place : 60 + 72 * place] = codes[LETTERS.index(letter)]
            sound(f"said{index}", speech, torch.zeros(6, 32))
            items.append(item(f"said/{index}", {"audio": f"said{index}"}, {"said": " ".join(letters)}))
        for index in range(12):
            sound(f"heard{index}", torch.zeros(75, 32), codes[index % 2].expand(3, -1))
            items.append(item(f"heard/{index}", {"audio": f"heard{index}"}, {"heard": "xy"[index % 2]}))
            store.put({f"seen{index}.visual": codes[index % 3].expand(1, 5, -1).contiguous()})
            items.append(item(f"seen/{index}", {"image": f"seen{index}"}, {"seen": "rgb"[index % 3]}))
        store.put({"moving.visual": torch.randn(6, 5, 32, generator=generator)})
        talk = {"video": "moving", "audio": "said0"}
        items.append(item("talk", talk, {"said": items[0].extra["words"]["said"], "seen": "z"}))
    names = {value for entry in items for value in entry.media.values()}
    store.add_to_index(FeatureIndex(keys={name: name for name in names}))
    write_manifest(folder / "train.jsonl", items)
    return folder


def stage(data: Path, out: Path, *more: str) -> Recipe:
    fixed = [
        "model=tiny",
        "fresh=[connector]",
        f"output={out}",
        f"data.train=[{data / 'train.jsonl'}]",
        f"data.validation={data / 'train.jsonl'}",
        f"data.features={data / 'features'}",
        "data.shares.series=0",  # of these items none states when its names are there
        "data.shares.wall/=0",
        "data.shares.imagined/=0",
        "data.workers=0",
        "precision=no",
        "open_branches=false",
        "max_steps=6",
        "batch_size=8",
        "micro_batch=8",
        "optim.warmup_steps=2",
        "optim.min_rate=1.0",
        "validate_every=0",
        "log_every=1",
        "save_every=3",
    ]
    return load_recipe(STAGE, [*fixed, *more])


def test_names_with_times_are_a_task_of_their_own(tmp_path: Path, data: Path) -> None:
    turns = [{"role": "user", "content": "Which came first?"}, {"role": "assistant", "content": "x"}]
    spans = {"spans": {"heard": [[0.0, 0.5, "x"], [0.5, 1.5, "y"]]}}
    rows = (data / "train.jsonl").read_text("utf-8")
    write_manifest(
        data / "series.jsonl", [Item("turns", {"audio": "heard0"}, turns, "any", split="train", extra=spans)]
    )
    with (data / "series.jsonl").open("a", encoding="utf-8") as file:
        file.write(rows)
    own = f"data.train=[{data / 'series.jsonl'}]"
    _, lines = run(stage(data, tmp_path, own, "data.shares.series=8", "max_steps=2", "save_every=0"))
    assert len(lines) == 2 and not any(line.get("broken_items") for line in lines)
    with pytest.raises(ConfigError, match=r"data\.shares names \['series'\]"):
        build_trainer(stage(data, tmp_path / "none", "data.shares.series=8"))


def test_the_times_of_words_are_stated_once_and_trained_on(tmp_path: Path, data: Path) -> None:
    manifest = data / "timed.jsonl"
    manifest.write_bytes((data / "train.jsonl").read_bytes())
    plain, lines = run(stage(data, tmp_path / "plain", "max_steps=2", "save_every=0"))
    tokenizer = plain.processor.tokenizer
    with pytest.raises(ConfigError, match="says no words"):
        state_times(manifest, data / "features", build_tiny(0)[0], tokenizer)
    assert state_times(manifest, data / "features", plain.plain, tokenizer) == (25, 0)
    timed = {item.id: item.extra for item in read_manifest(manifest)}
    for name, extra in timed.items():
        spans = extra.get("spans", {}).get("said", [])
        assert [word for *_, word in spans] == extra["words"].get("said", "").split(), name
        assert spans == sorted(spans) and all(0 <= begin < end < 4 for begin, end, _ in spans), name
    assert timed["talk"]["spans"] == timed["said/0"]["spans"], "a sound is aligned once"
    assert state_times(manifest, data / "features", plain.plain, tokenizer) == (0, 0), "nothing is left to be done"
    _, others = run(stage(data, tmp_path / "timed", "max_steps=2", "save_every=0", f"data.train=[{manifest}]"))
    lost = [sum(line["word_loss"] for line in taken) for taken in (others, lines)]
    assert lost[0] > lost[1] + 0.2, "each word is also to be said in its time"


def test_the_command_that_states_times_names_what_is_missing(tmp_path: Path, data: Path) -> None:
    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["data", "time-embedded", "--manifests", str(data), *words])
        assert done.exit_code == 2 and "Traceback" not in done.output
        return done.output

    assert "no such folder" in said("--features", str(tmp_path / "none"))
    assert "says no words" in said("--features", str(data / "features"), "--model", "tiny")
    assert "dev.jsonl" in said("--features", str(data / "features"), "--split", "dev")


@pytest.mark.slow
def test_it_learns_to_transcribe_and_to_name(tmp_path: Path, data: Path) -> None:
    more = ("max_steps=80", "optim.rate=0.003", "optim.min_rate=0.05", "optim.warmup_steps=8", "validate_every=80")
    plain = ("data.augment=false", "data.picture_frames=[]", "mixing.audio_alone=1", "log_every=80", "save_every=0")
    trainer, lines = run(stage(data, tmp_path, *more, *plain))
    assert {"loss", "word_loss", "diversity_loss"} <= set(lines[0]) and "language_loss" not in lines[0]
    tasks = trainer.validated["tasks"]
    assert {name: entry["n"] for name, entry in tasks.items()} == {"transcribe": 25, "sound": 12, "picture": 12}
    assert tasks["sound"]["exact"] == tasks["picture"]["exact"] == 1.0
    assert trainer.validated["validation_wer"] < 0.4
    assert all(not name.startswith("language_model") for name, p in trainer.plain.named_parameters() if p.requires_grad)


def test_resume_gives_the_same_losses_step_by_step(tmp_path: Path, data: Path) -> None:
    more = ("level_dropout=0.5",)
    _, whole = run(stage(data, tmp_path / "a", *more))
    run(stage(data, tmp_path / "b", *more, "max_steps=3"))
    _, rest = run(stage(data, tmp_path / "b", *more), resume=True)
    assert [line["loss"] for line in rest] == pytest.approx([line["loss"] for line in whole[3:]], abs=1e-6)


def test_micro_batches_do_not_change_the_losses(tmp_path: Path, data: Path) -> None:
    more = ("diversity_weight=0.1", "max_steps=3", "save_every=0")
    whole = run(stage(data, tmp_path / "a", *more))[1]
    apart = run(stage(data, tmp_path / "b", *more, "micro_batch=3"))[1]
    for name in ("loss", "word_loss", "diversity_loss", "grad_norm"):
        assert [line[name] for line in apart] == pytest.approx([line[name] for line in whole], rel=2e-4), name


def test_a_picture_beside_a_sound_is_named_too(tmp_path: Path, data: Path) -> None:
    trainer = build_trainer(
        stage(data, tmp_path, "mixing.audio_alone=0", "data.shares={transcribe: 1, sound: 0, picture: 1}")
    )
    every = [trainer.maker.make(index, 0) for index in range(len(trainer.maker.items))]
    made = [example for example in every if example.task == "transcribe"]
    assert all({"said", "seen"} == set(example.words) for example in made)
    own = next(example for example in made if example.id == "talk")
    assert own.words["seen"] == "z" and own.features is not None and not own.features.still_frames
    assert {example.words["seen"] for example in made} == {"r", "g", "b", "z"}


def test_pictures_are_shown_for_one_of_the_numbers_of_frames(tmp_path: Path, data: Path) -> None:
    trainer = build_trainer(
        stage(data, tmp_path, "data.shares={transcribe: 0, sound: 0, picture: 1}", "data.picture_frames=[2, 7]")
    )
    frames = {trainer.maker.make(index, epoch).frames for index in range(12) for epoch in range(3)}
    assert frames == {(2, 0), (7, 0)}
    rows = trainer.loader.load(0, more=False).rows
    sizes = [trainer.collate([row]).features[0].still_frames for row in rows]
    assert sorted(set(sizes)) == [2, 7] and [row.counted for row in rows] == [3 * n if n == 7 else 6 for n in sizes]


def test_pictures_alone_train_on_few_of_their_tokens(tmp_path: Path, data: Path) -> None:
    pictures = "data.shares={transcribe: 0, sound: 0, picture: 1}"
    few = stage(data, tmp_path / "few", pictures, "data.still_tokens=2", "max_steps=60", "optim.rate=0.003")
    trainer = build_trainer(few)
    batch = trainer.collate(trainer.loader.load(0, more=False).rows)
    assert {len(features.places or ()) for features in batch.features} == {2}
    losses = [line["loss"] for line in run(few)[1]]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    with pytest.raises(ConfigError, match=r"still_tokens needs data\.augment"):
        stage(data, tmp_path, "data.still_tokens=2", "data.augment=false", "data.picture_frames=[]")


def test_pictures_share_passes_where_few_of_their_tokens_are_taken(tmp_path: Path, data: Path) -> None:
    more = ("data.shares={transcribe: 1, sound: 1, picture: 2}", "length_group=8", "batch_size=4", "micro_batch=4")
    trainer = build_trainer(stage(data, tmp_path, *more, "data.still_tokens=2", "data.picture_frames=[4]"))
    batches = [trainer.collate(trainer.loader.load(step, more=False).rows) for step in range(12)]
    alone = [all(features.places for features in batch.features) for batch in batches]
    apart = [not any(features.places for features in batch.features) for batch in batches]
    assert sum(alone) >= 4 and all(one or other for one, other in zip(alone, apart))
    pure = [len({features.speech is None for features in batch.features}) for batch in batches]
    assert pure.count(2) <= 2, "only where an epoch's pictures end"


class NothingThere:
    def sight(self, of: Item) -> MediaFeatures:
        raise MediaError(str(of.media["image"]), "is gone")


def test_pictures_are_imagined_anew_each_time(tmp_path: Path) -> None:
    made = {f"{name}.jpg": MediaFeatures(visual=torch.rand(1, 4, 12), still_frames=10) for name in "ab"}
    source = SimpleNamespace(sight=lambda of: made[of.media["image"]])
    photographs = [item(name, {"image": name}, {"seen": "r"}) for name in made]
    head = torch.nn.Linear(12, 9)
    head.weight.data *= 5
    imaginer = Imaginer(head, photographs, source)
    asked = item("one", {"image": {"file": "a.jpg", "imagine": 7, "seed": 0}}, {"seen": "g"})
    stored = MediaFeatures(visual=torch.zeros(1, 4, 12, dtype=torch.float16), still_frames=10)
    rng = random.Random(0)
    first, second = (imaginer(asked, stored, rng).visual for _ in range(2))
    assert first.dtype == torch.float16 and first.shape == (1, 4, 12) and not torch.equal(first, second)
    assert all(int(head(visual[0].float().mean(0)).argmax()) == 7 for visual in (first, second))
    assert imaginer(photographs[0], stored, rng) is stored
    gone = Imaginer(head, photographs, NothingThere())
    assert gone(asked, stored, rng) is stored, "a photograph that is not there costs nothing but itself"
    with pytest.raises(ConfigError, match="finds no photograph"):
        Imaginer(head, [asked], source)


def test_pictures_are_widened_once_by_a_head_that_knows_names(tmp_path: Path, data: Path) -> None:
    recipe = stage(data, tmp_path, "widen_pictures=true")
    with pytest.raises(ConfigError, match="whose head knows names"):
        build_trainer(recipe)


def test_what_cannot_be_said_is_counted_and_named(tmp_path: Path, data: Path) -> None:
    manifest = tmp_path / "long.jsonl"
    long = item("long", {"audio": "said0"}, {"said": " ".join(LETTERS * 3)})
    gone = item("gone", {"audio": "nothing"}, {"said": "r"})
    write_manifest(manifest, [long, gone, item("fine", {"audio": "said1"}, {"said": "r"})])
    shares = "data.shares={transcribe: 1, sound: 0, picture: 0}"
    more = (f"data.train=[{manifest}]", shares, "data.validation=null", "max_steps=2", "batch_size=3")
    trainer, _ = run(stage(data, tmp_path / "run", *more, "micro_batch=3"))
    assert set(trainer.broken) == {"long", "gone"} and "to be said by" in trainer.broken["long"]


def test_a_connector_of_speech_alone_is_trained_and_grown(tmp_path: Path, data: Path) -> None:
    alone = ("connector.visual_dim=null", "connector.audio_dim=null", "mixing.audio_alone=1")
    only = (*alone, "data.shares={transcribe: 1, sound: 0, picture: 0}", "data.picture_frames=[]")
    small, _ = run(stage(data, tmp_path / "speech", *only, "validate_every=6"))
    assert set(small.validated["tasks"]) == {"transcribe"}
    speech = torch.randn(1, STEPS, 32)
    blind = ("connector.visual_dim=null", "data.shares={transcribe: 1, sound: 1, picture: 0}", "data.picture_frames=[]")
    more = (f"init={tmp_path / 'speech'}", *blind, "open_branches=true")
    whole, opened = (
        build_trainer(stage(data, tmp_path / "words", *some)).plain.connector for some in (more[:-1], more)
    )
    with torch.no_grad():
        wanted = small.plain.connector(None, speech).tokens
        found = whole(None, speech, torch.zeros(1, STEPS, 32)).tokens
    assert (found - wanted).abs().mean() < 0.1 * wanted.std(), "for speech alone it starts as the small one"
    assert not torch.equal(whole.audio_projection.weight, opened.audio_projection.weight)


def test_a_file_of_weights_and_an_export_are_starts_too(tmp_path: Path, data: Path) -> None:
    trained, _ = run(stage(data, tmp_path / "run"))
    state = trained.plain.connector.state_dict()
    save_file({f"connector.{name}": value for name, value in state.items()}, tmp_path / "prefixed.safetensors")
    export(tmp_path / "run", tmp_path / "export", which="last", adapter_only=True)
    for start in ("prefixed.safetensors", "export", "run"):
        model, _ = build_model(stage(data, tmp_path / "next", f"init={tmp_path / start}"))
        assert all(torch.equal(value, state[name]) for name, value in model.connector.state_dict().items()), start
    with pytest.raises(CheckpointError, match="holds no"):
        build_model(stage(data, tmp_path / "next", f"init={tmp_path / 'none'}"))


def test_a_run_of_the_old_warm_up_is_refused_with_the_way_on(tmp_path: Path, data: Path) -> None:
    model, _ = build_model(stage(data, tmp_path))
    old = {f"connector.{name}": value for name, value in model.connector.state_dict().items()}
    save_file(old, tmp_path / "weights-40.safetensors")
    torch.save({"optimizer": {}, "step": 40, "config": {}}, tmp_path / "state.pt")
    (tmp_path / "metrics.jsonl").write_text('{"step": 40}\n')
    trainer = build_trainer(stage(data, tmp_path / "fine"))
    trainer.out = tmp_path
    with pytest.raises(CheckpointError, match="warmup") as refused:
        trainer.resume()
    assert f"init={tmp_path / 'weights-40.safetensors'}" in refused.value.remedy
    assert isinstance(build_model(stage(data, tmp_path, f"init={tmp_path / 'weights-40.safetensors'}"))[0].connector,
                      MultiResolutionCausalQFormer)  # fmt: skip


def test_the_command_trains_and_only_validates(tmp_path: Path, data: Path) -> None:
    loaded = stage(data, tmp_path / "run", "max_steps=2")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(loaded.to_dict()))
    result = CliRunner().invoke(app, ["train", str(recipe), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["step"] == 2, result.output
    checked = CliRunner().invoke(app, ["train", str(recipe), "--resume", "--validate", "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["validation"]["validation_items"] == 49
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2, "a measurement is no part of the run"


def test_contradictions_are_refused(data: Path, tmp_path: Path) -> None:
    for change, key in (("strategy=fsdp2", "strategy"), ("data.repeat={sound: 2}", "data.shares"), ("loss=x", "loss")):
        with pytest.raises(ConfigError, match=key):
            stage(data, tmp_path, change)
