"""Held-out measuring: scores by hand, conditions, and a run over a few stored items with a random model."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli.main import app
from video_salmonn.data.feature_index import FeatureIndex
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.embedded.held_out.answers import answer_all, under
from video_salmonn.embedded.held_out.groups import (
    GROUPS,
    balanced,
    both,
    both_parts,
    choose,
    contains,
    names,
    refused,
    refuses,
    says_missing,
)
from video_salmonn.embedded.held_out.measure import HeldOut, drawn, measure, read_answers
from video_salmonn.embedded.held_out.page import figure, page
from video_salmonn.embedded.held_out.probe import linear_probe, probe_groups
from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.files import write_tensors
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.checkpointing import CONNECTOR_FILE
from video_salmonn.training.examples import Example

TURNS = {
    key: [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    for key, answer in (("y", "Yes."), ("n", "No."))
}


def item(answer):
    return SimpleNamespace(answer=answer)


def test_names_take_synonyms_and_nothing_more():
    assert names("A jacket.", "A coat.") and names("coat", "A coat.")
    assert not names("A coat and a hat.", "A coat.") and not names("A coat.", "A jacket.")
    assert names("Two.", "Double shot.") and not names("Three.", "Double shot.")
    assert contains([item("A dog barking.")], ["I hear a dog barking outside"]).value == 1


def test_balanced_accuracy_counts_both_answers_alike():
    items = [item("Yes.")] * 3 + [item("No.")]
    assert balanced(items, ["yes", "Yes, it does.", "no", "no"]).value == pytest.approx((2 / 3 + 1) / 2)
    assert balanced(items, ["yes"] * 4).value == 0.5
    assert balanced(items, ["perhaps"] * 4).value == 0


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ("I can't tell from this clip.", True),
        ("I cannot know that.", True),
        ("That cannot be known.", True),
        ("I don’t know.", True),
        ("A can.", False),
        ("It is silent.", False),
        ("Tell me.", False),
        ("", False),
    ],
)
def test_a_refusal_is_told_from_an_answer(answer, refusal):
    assert refuses(answer) == refusal
    assert refused([item("Rain.")], [answer]).value == float(refusal)


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("It is silent.", "Nothing can be heard.", "A dog barking."),
        ("There is no picture.", "I see nothing.", "There is no sound."),
        ("There is no sound.", "It is silent.", "There is no picture."),
        ("Nothing is said.", "Nobody is speaking.", "nothing like it"),
    ],
)
def test_what_is_missing_may_be_said_in_other_words(reference, right, wrong):
    assert says_missing([item(reference)] * 3, [reference, right, wrong]).items == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("It says: the red fox ran home. It shows a coat.", (True, True)),
        ("It says: the red fox ran. It shows a jacket.", (True, True)),
        ("It says: a blue cat. It shows a coat.", (False, True)),
        ("It says: the red fox ran home. It shows a hat.", (True, False)),
        ("A coat.", (False, False)),
    ],
)
def test_both_parts_are_read_from_one_answer(answer, parts):
    assert both_parts(item("It says: the red fox ran home. It shows a coat."), answer) == parts


def test_both_gives_the_product_of_the_single_rates():
    items = [item("I hear rain. I see a hat.")] * 4
    answers = ["I hear rain. I see a hat.", "I hear rain. I see a cup.", "I hear a dog. I see a hat.", "rain"]
    scored = both(items, answers)
    assert scored.value == 0.25
    assert scored.note == "heard 0.500, seen 0.500, product 0.250"


def test_conditions_take_away_what_they_say():
    features = MediaFeatures(
        visual=torch.ones(1, 5, 3), speech=torch.ones(50, 4), audio=torch.ones(50, 2), sound_frames=2, still_frames=2
    )
    example = Example("x", features, [], 1.0, "as it is")
    assert under(example, "full").features is features
    assert under(example, "no_media").features is None
    frames = under(example, "frames_only").features
    assert (
        frames.speech is None and frames.audio is None and frames.visual is features.visual and not frames.sound_frames
    )
    sound = under(example, "sound_only").features
    assert sound.visual is None and sound.speech is features.speech and not sound.still_frames
    assert not under(example, "no_speech_encoder").features.speech.any()
    assert under(example, "no_event_encoder").features.speech.all()
    other = Example("y", MediaFeatures(speech=torch.zeros(25, 4)), [], 1.0, "as it is")
    assert under(example, "shuffled", other).features is other.features
    assert under(other, "frames_only").features is None
    with pytest.raises(ConfigError, match="no such condition"):
        under(example, "blindfolded")


def test_answers_in_a_batch_are_those_of_single_items():
    model, processor = build_tiny(0)
    torch.manual_seed(0)
    examples = []
    for index, frames in enumerate((3, 7, 0, 5)):
        config = model.connector.config
        features = MediaFeatures(
            speech=torch.randn(frames * 25, config.speech_dim),
            audio=torch.randn(frames * 25, config.audio_dim),
            sound_frames=frames,
        )
        turns = [{"role": "user", "content": f"Question {index}?"}, {"role": "assistant", "content": "Yes."}]
        examples.append(Example(str(index), features if frames else None, turns, 1.0, "as it is"))
    together = answer_all(model, processor, examples, new_tokens=6, batch=4)
    assert together == [answer_all(model, processor, [example], new_tokens=6)[0] for example in examples]
    assert answer_all(model, processor, examples, condition="zeroed", new_tokens=6) != together


def test_the_probe_separates_names_by_a_few_of_many_numbers_on_other_scales():
    """Four names, told apart by two numbers of 60, which are a thousand times smaller than the others' noise; one
    number never changes."""
    generator = torch.Generator().manual_seed(0)

    def drawn_rows(each):
        labels = [name for name in ("A dog barking.", "Rain.", "A saw.", "Rain on a saw.") for _ in range(each)]
        rows = 100 * torch.randn(len(labels), 60, generator=generator)
        corners = torch.tensor([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]).repeat_interleave(each, 0)
        rows[:, 20:22] = corners + 0.1 * torch.randn(len(labels), 2, generator=generator)
        rows[:, 40] = 7.0
        return rows, labels

    rows, labels = drawn_rows(200)
    unseen, names = drawn_rows(50)
    found = linear_probe(rows, labels, unseen)
    assert sum(one == other for one, other in zip(found, names)) >= 0.98 * len(names)
    assert linear_probe(rows, labels, unseen) == found
    assert linear_probe(rows[:200], labels[:200], unseen[:2]) == ["A dog barking."] * 2, "one name alone"


def test_a_probe_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingPartError, match="scikit-learn is not installed") as caught:
        linear_probe(torch.eye(2), ["a", "b"], torch.eye(2))
    assert caught.value.remedy == 'pip install "video-salmonn[eval]"'


def test_the_page_marks_baselines_of_fewer_items_and_gives_every_interval():
    full = {"value": 0.9, "low": 0.8, "high": 0.95}
    conditions = {
        "full": full,
        "no_media": {"value": 0.05, "low": 0.0, "high": 0.2},
        "same_items": {"value": 0.8, "low": 0.6, "high": 0.95},
        "zeroed": {"value": 0.1, "low": 0.0, "high": 0.3},
    }
    results = {
        "groups": {"sounds": {"items": 80, "compared": 10, "metric": "accuracy", "conditions": conditions}},
        "beside": {"sounds": {"linear probe": {"value": 0.97}}},
    }
    text = page(results, {"model": "m"})
    assert (
        "| 80 | accuracy | 90.0 % (80.0 to 95.0) | 5.0 % (0.0 to 20.0), 10 items | linear probe 97.0 % (no in" in text
    )
    assert "| sounds, ESC-10 fold 4 | 10 | 80.0 % (60.0 to 95.0) | 10.0 % (0.0 to 30.0) |" in text
    assert figure(None) == "·"
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def stored_sounds(folder, config):
    """Manifests of four sounds, and features of three of them."""
    generator = torch.Generator().manual_seed(0)
    lines, keys = [], {}
    with FeatureStore(folder / "features") as store:
        for index, name in enumerate(("Rain.", "A dog barking.", "Rain.", "A saw.")):
            turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": name}]
            lines.append(Item(f"sound/esc10:{index}", {"audio": f"{index}.wav"}, turns, "sound"))
            keys[f"{index}.wav"] = f"k{index}"
            if index < 3:  # the last one was never encoded
                store.put({f"k{index}.speech": torch.randn(100, config.speech_dim, generator=generator)})
                store.put({f"k{index}.audio": torch.randn(4, config.audio_dim, generator=generator)})
    store.add_to_index(FeatureIndex(keys=keys))
    for split in ("test", "train"):
        write_manifest(folder / f"{split}.jsonl", lines)


def test_a_run_keeps_its_answers_and_reads_only_what_it_needs(tmp_path):
    """Manifest and features of a few sounds and pictures; the second run asks nothing."""
    model, processor = build_tiny(0)
    stored_sounds(tmp_path, model.connector.config)
    data = HeldOut(tmp_path / "test.jsonl", tmp_path / "features", 10)
    assert data.missing == 1
    group = next(group for group in GROUPS if group.name == "sounds")
    said = []
    first = measure(model, processor, data, tmp_path / "out", groups=[group], compared=2, report=said.append)
    figures = first["sounds"]["conditions"]
    assert first["sounds"]["items"] == 3 and first["sounds"]["compared"] == 2
    assert set(figures) == {"full", "no_media", "same_items", *group.conditions}
    kept = (tmp_path / "out" / "answers.jsonl").read_text()
    assert len(kept.splitlines()) == 3 + 2 * (1 + len(group.conditions)) and len(said) == 2 + len(group.conditions)
    again = measure(model, processor, data, tmp_path / "out", groups=[group], compared=2)
    assert again == first and (tmp_path / "out" / "answers.jsonl").read_text() == kept
    said.clear()
    probed = probe_groups(model.config, GROUPS, data, tmp_path / "train.jsonl", report=said.append)
    assert list(probed) == ["sounds"], "the store has features of no picture"
    ((name, scored),) = probed["sounds"].items()
    assert name.startswith("linear probe on ") and scored["trained_on"] == 3 and scored["value"] == 1
    assert len(said) == 1 and "100.0 %" in said[0] and "3 items" in said[0]
    with pytest.raises(ConfigError, match="no item"):
        HeldOut(tmp_path / "test.jsonl", tmp_path / "nothing", 10)


def test_another_models_answers_are_never_published_under_a_new_name(tmp_path):
    """A second run into the folder, with other weights, other features or other questions, is refused."""
    model, processor = build_tiny(0)
    stored_sounds(tmp_path, model.connector.config)
    group = choose("sounds")
    out = tmp_path / "out"

    def run(model, dtype=torch.float32):
        data = HeldOut(tmp_path / "test.jsonl", tmp_path / "features", 10)
        return measure(model.to(dtype), processor, data, out, groups=group, only_full=True)

    first = run(model)
    assert run(build_tiny(0)[0]) == first
    kept = (out / "answers.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"settings\.json.*differs in weights"):
        run(build_tiny(1)[0])
    with pytest.raises(ConfigError, match="differs in dtype"):
        run(build_tiny(0)[0], torch.bfloat16)
    for change in (
        {"prompt": "llama2"},
        {"lora": {**model.config.lora.to_dict(), "alpha": 99}},
        {"generation": {"joint_ctc": "on"}},
    ):
        other = build_tiny(0)[0]
        for name, value in change.items():
            setattr(other.config, name, value)
        with pytest.raises(ConfigError, match="differs in configuration"):
            run(other)
    shard = next((tmp_path / "features").glob("*.safetensors"))
    save_file({name: tensor + 1 for name, tensor in load_file(shard).items()}, shard)
    with pytest.raises(ConfigError, match="differs in features"):
        run(build_tiny(0)[0])
    manifest = tmp_path / "test.jsonl"
    manifest.write_text(manifest.read_text().replace("What?", "Which sound?"))
    with pytest.raises(ConfigError, match="differs in"):
        run(build_tiny(0)[0])
    assert (out / "answers.jsonl").read_bytes() == kept
    (out / "settings.json").unlink()
    with pytest.raises(ConfigError, match="no settings"):
        run(build_tiny(0)[0])


def test_shuffled_media_do_not_depend_on_the_limit(tmp_path):
    model, processor = build_tiny(0)
    stored_sounds(tmp_path, model.connector.config)
    seen = []
    for limit in (None, 1):
        data = HeldOut(tmp_path / "test.jsonl", tmp_path / "features", 10, limit)
        measure(model, processor, data, tmp_path / str(limit), groups=choose("sounds"))
        seen.append(read_answers(tmp_path / str(limit) / "answers.jsonl"))
    fewer = {key: answer for key, answer in seen[1].items() if key[0] == "shuffled"}
    assert len(fewer) == 1 and fewer.items() <= seen[0].items()


def test_of_questions_that_take_turns_some_of_each_are_drawn():
    """As ``match/0/y``, ``match/0/n``, … stand in a manifest: every second one would be Yes alone."""
    (group,) = choose("match")
    items = [Item(f"match/{i}/{a}", {}, TURNS[a], "match") for i in range(40) for a in "yn"]
    for limit in (2, 7, 40):
        some = drawn(group, items, limit)
        yes = sum(item.answer == "Yes." for item in some)
        assert len(some) == limit and limit // 2 <= yes <= limit - limit // 2, limit
        assert some == [item for item in items if item in some], "in the manifest's order"
    few = [*items[:2], *(item for item in items[2:] if item.answer == "No.")]
    assert len(drawn(group, few, 10)) == 10, "one Yes and nine No"
    assert drawn(group, items, None) == drawn(group, items, 80) == items


def test_yes_or_no_items_alone_make_no_figure_and_end_nothing(tmp_path):
    """A balanced accuracy is of both; a row with one kind ended the whole evaluation, answers and all."""
    model, processor = build_tiny(0)
    stored_sounds(tmp_path, model.connector.config)
    (group,) = choose("yesno-sounds")

    def measured(answers, **options):
        items = [
            Item(f"yesno-sound/{i}", {"audio": f"{i}.wav"}, TURNS[a], "yesno-sound") for i, a in enumerate(answers)
        ]
        write_manifest(tmp_path / "test.jsonl", items)
        data = HeldOut(tmp_path / "test.jsonl", tmp_path / "features", 10)
        said = []
        out = tmp_path / f"{answers}{len(options)}"
        return measure(model, processor, data, out, groups=[group], report=said.append, **options), said, out

    found, said, out = measured("yyy")
    assert found == {} and "no figure of Yes or No items alone" in said[0] and not (out / "answers.jsonl").exists()
    found, said, _ = measured("yny", compared=1)
    row = found["yesno-sounds"]
    assert row["items"] == 3 and set(row["conditions"]) == {"full"} and "1 item there is no figure" in said[0]
    found, _, _ = measured("yny")
    assert {"full", "no_media", "same_items"} <= set(found["yesno-sounds"]["conditions"])


def test_the_command_measures_refuses_other_weights_and_names_groups_that_do_not_exist(tmp_path):
    """``eval held-out`` from end to end with the tiny model."""
    config = build_tiny(0)[0].connector.config
    stored_sounds(tmp_path, config)
    other = tmp_path / "other"
    other.mkdir()
    write_tensors(other / CONNECTOR_FILE, build_tiny(1)[0].connector.state_dict())

    def call(*words):
        base = ["eval", "held-out", "--manifests", tmp_path, "--features", tmp_path / "features", "--model", "tiny"]
        done = CliRunner().invoke(app, [str(word) for word in (*base, "--out", tmp_path / "out", "--json", *words)])
        return done.exit_code, json.loads(done.stdout)

    page_file = tmp_path / "docs.md"
    code, found = call("--groups", "sounds", "--compared", "2", "--docs", page_file)
    assert code == 0 and found["groups"]["sounds"]["items"] == 3 and found["missing"] == 1
    assert found["beside"]["sounds"] and len(found["settings"]["weights"]) == 64
    text = page_file.read_text()
    assert found["settings"]["weights"][:16] in text and "2 items" in text and "1 item without features" in text
    shutil.rmtree(tmp_path / "out")
    code, probes = call("--groups", "sounds,speech", "--only-probe")
    assert code == 0 and probes == found["beside"], "the model is asked nothing"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["probes.json"]
    call("--groups", "sounds", "--only-full")
    code, found = call("--groups", "sounds", "--weights", other)
    assert code == 2 and "weights" in found["error"]["message"] and page_file.read_text() == text
    code, found = call("--groups", "sounds,speach")
    assert code == 2 and "'speach'" in found["error"]["message"] and "speech" in found["error"]["remedy"]
    code, found = call("--split", "tets")
    assert code == 2 and "no tets.jsonl" in found["error"]["message"] and "test, train" in found["error"]["remedy"]
    code, found = call("--groups", " , ")
    assert code == 2 and "no group" in found["error"]["message"]


def test_every_shipped_figure_has_an_interval_or_says_that_it_has_none():
    docs = Path(__file__).parents[3] / "docs"
    rows = [
        line.split("|") for line in (docs / "embedded-results.md").read_text().splitlines() if line.startswith("| ")
    ]
    figures = [cell for row in rows for cell in row[3:] if "%" in cell]
    assert len(figures) > 100
    assert [cell for cell in figures if "(" not in cell.replace("(WER <= 0.3)", "")] == []


def test_nothing_calls_itself_the_reference_implementation():
    root = Path(__file__).parents[3]
    pages = [root / "README.md", root / "pyproject.toml", *(root / "docs").glob("*.md")]
    assert [page.name for page in pages if "reference implementation" in page.read_text().lower()] == []
