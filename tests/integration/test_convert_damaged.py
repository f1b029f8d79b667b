"""Files that are damaged, renamed, incomplete or of another model are refused, by name."""

import json
import pickle

import pytest
import torch
from official_files import Official, Sizes, in_memory
from safetensors.torch import save_file
from test_convert import HEADS, error_of, run, tokenizers  # noqa: F401

from video_salmonn.checkpoints.released import plan as released_plan
from video_salmonn.checkpoints.released.plan import plan_conversion
from video_salmonn.checkpoints.released.report import differences
from video_salmonn.checkpoints.released.sources import Ref, TensorFile
from video_salmonn.errors import CheckpointError
from video_salmonn.model.presets import preset

DEAD = {
    "delta": ("low_Qformer.", "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb"),
    "instructblip": ("Qformer.cls.", "llm_proj."),
    "eva": ("blocks.3.", "norm.", "head."),
    "beats": ("predictor.",),
    "whisper": ("model.decoder.",),
    "llm": ("model.layers.0.self_attn.rotary_emb",),
}
SOURCES = tuple(DEAD)


@pytest.fixture(scope="module")
def official():
    return Official(Sizes(qformer_layers=2, llm_layers=1), second_names=False)


@pytest.fixture
def memory(official):
    return in_memory(official)


@pytest.fixture(autouse=True)
def meta_models(monkeypatch):
    """One model on the meta device for one configuration, so that thousands of plans take seconds."""
    made = {}
    build = released_plan.build_on_meta

    def remembered(config):
        key = config.to_json_string(use_diff=False)
        if key not in made:
            made[key] = build(config)
        return made[key]

    monkeypatch.setattr(released_plan, "build_on_meta", remembered)


def live(source, state):
    names = [name for name in state if not name.startswith(DEAD[source]) and not name.endswith("position_ids")]
    return [name for name in names if not name.endswith("layers.1.self_attn.relative_attention_bias.weight")]


def refused(found):
    with pytest.raises(CheckpointError) as caught:
        plan_conversion(found, HEADS)
    return str(caught.value)


def test_the_sources_are_whole(memory):
    found, _ = memory
    assert len(plan_conversion(found, HEADS).targets) > 200


@pytest.mark.parametrize("source", SOURCES)
def test_any_tensor_removed_is_named(memory, source):
    found, states = memory
    refs = getattr(found, source)
    for name in live(source, states[source]):
        ref = refs.pop(name)
        message = refused(found)
        assert partner(name) in message or name in message, (name, message)
        assert f"{source}.pt" in message
        refs[name] = ref


def partner(name):
    """A bias that is stored in two parts, or a weight in gain and direction, is missing as one."""
    pairs = {"attn.v_bias": "attn.q_bias", "attn.q_bias": "attn.v_bias", "weight_v": "weight_g", "weight_g": "weight_v"}
    for ending, other in pairs.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    return name


@pytest.mark.parametrize(
    ("source", "gone", "named"),
    [
        (
            "delta",
            ".bert.encoder.layer.1.",
            "video_Qformer.bert.encoder.layer.1.",
        ),  # of every Q-Former, the unused one too
        ("delta", ".encoder_causal_attention.", "video_Qformer.bert.encoder.layer.0.encoder_causal_attention."),
        ("delta", ".v_proj.lora_", "v_proj.lora_A.default.weight"),
        ("delta", ".k_proj.lora_", "k_proj.lora_A.default.weight"),
        ("llm", "model.layers.0.", "model.layers.0."),
        ("whisper", "model.encoder.layers.1.", "model.encoder.layers.1."),
        ("beats", "encoder.layers.1.", "encoder.layers.1."),
        ("eva", "blocks.2.", "blocks.2."),
    ],
)
def test_whole_layers_that_are_missing_are_named(memory, source, gone, named):
    """A file cut short at a layer's end is not taken for a smaller model."""
    found, _ = memory
    refs = getattr(found, source)
    for name in [name for name in refs if gone in name]:
        del refs[name]
    if source == "eva":  # a released file has a fortieth block, which is not used
        refs.pop("blocks.3.norm1.weight", None)
    message = refused(found)
    assert named in message and "is missing" in message and f"{source}.pt" in message and "more are missing" in message


def test_fewer_layers_are_taken_where_the_settings_state_them(memory):
    found, _ = memory
    for name in [name for name in found.delta if ".layer.1." in name or ".v_proj." in name]:
        del found.delta[name]
    settings = HEADS | {"connector": HEADS["connector"] | {"num_hidden_layers": 1}}
    settings["lora"] = {"targets": ["q_proj", "k_proj", "o_proj"]}
    config = plan_conversion(found, settings).config
    assert config.connector_config.num_hidden_layers == 1 and "v_proj" not in config.lora.targets
    told = differences(config)
    assert "connector num_hidden_layers 1 (released: 2)" in told and "LoRA targets" in told
    assert differences(preset("released-13b")) == ""


@pytest.mark.parametrize("source", SOURCES)
def test_any_tensor_renamed_is_named(memory, source):
    found, states = memory
    refs = getattr(found, source)
    for name in live(source, states[source]):
        refs[f"{name}_old"] = refs.pop(name)
        message = refused(found)
        assert name in message or partner(name) in message, (name, message)
        assert f"{source}.pt" in message
        refs[name] = refs.pop(f"{name}_old")


@pytest.mark.parametrize("source", SOURCES)
def test_any_tensor_reshaped_is_named_with_its_shape(memory, source):
    found, states = memory
    refs = getattr(found, source)
    for name in live(source, states[source]):
        ref = refs[name]
        shape = (*ref.shape[:-1], ref.shape[-1] + 1)
        refs[name] = Ref(ref.file, name, shape, ref.dtype)
        message = refused(found)
        assert name in message, (name, message)
        assert str(shape) in message
        assert f"{source}.pt" in message
        refs[name] = ref


@pytest.mark.parametrize("source", SOURCES)
def test_any_tensor_of_integers_is_named(memory, source):
    found, states = memory
    refs = getattr(found, source)
    for name in live(source, states[source]):
        ref = refs[name]
        refs[name] = Ref(ref.file, name, ref.shape, torch.int32)
        message = refused(found)
        assert name in message, (name, message)
        refs[name] = ref


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_any_corrupted_number_is_named(memory, source, value):
    found, states = memory
    plan = plan_conversion(found, HEADS)
    state, seen = states[source], set()
    for entry in plan.targets:
        for ref in entry.inputs.values():
            if ref.file.path.stem != source:
                continue
            state[ref.name] = state[ref.name].clone()
            kept = state[ref.name].view(-1)[-1].clone()
            state[ref.name].view(-1)[-1] = value
            with pytest.raises(CheckpointError) as caught:
                entry.make(torch.float32)
            assert ref.name in str(caught.value)
            assert f"{source}.pt" in str(caught.value)
            state[ref.name].view(-1)[-1] = kept
            seen.add(ref.name)
    assert seen == set(live(source, state))


def test_numbers_too_large_for_float16_are_named(memory):
    found, states = memory
    states["llm"]["lm_head.weight"] = states["llm"]["lm_head.weight"].clone()
    states["llm"]["lm_head.weight"][0, 0] = 1e6
    entry = next(e for e in plan_conversion(found, HEADS).targets if e.name == "language_model.lm_head.weight")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight.*too large"):
        entry.make(torch.float16)
    assert entry.make(torch.bfloat16).dtype == torch.bfloat16


def test_a_dead_tensor_has_to_be_a_known_one(memory):
    found, _ = memory
    found.delta["low_Qformer.bert.pooler.weight"] = found.delta["ln_video.weight"]
    assert "has no place" in refused(found)


def test_strangers_are_refused(memory):
    found, _states = memory
    for source in SOURCES:
        refs = getattr(found, source)
        refs["stranger.weight"] = Ref(TensorFile(f"{source}.pt"), "stranger.weight", (3,), torch.float32)
        message = refused(found)
        assert "stranger.weight" in message and "(3,)" in message and source in message, message
        del refs["stranger.weight"]


def test_second_names_have_to_be_equal_in_shape_and_number():
    found, states = in_memory(Official())
    plan = plan_conversion(found, HEADS)
    for alias in plan.aliases:
        name, state = alias.second.name, states[alias.second.file.path.stem]
        alias.check()
        state[name] = state[name] + 1
        with pytest.raises(CheckpointError) as caught:
            alias.check()
        assert name in str(caught.value)
    ref = found.delta["ln_joint.bias"]
    found.delta["ln_joint.bias"] = Ref(ref.file, ref.name, (3,), ref.dtype)
    assert "ln_joint.bias" in refused(found)
    found.delta["ln_joint.bias"] = ref
    del found.delta["ln_video.bias"]
    assert "ln_joint.bias" in refused(found)


def test_a_vision_encoder_in_the_instructblip_file_has_to_be_evas(memory):
    found, states = memory
    name = "visual_encoder.blocks.0.norm1.weight"
    states["instructblip"][name] = states["eva"]["blocks.0.norm1.weight"].half()
    ref = found.eva["blocks.0.norm1.weight"]
    file = next(file for file in found.files if file.path.stem == "instructblip")
    found.instructblip[name] = Ref(file, name, ref.shape, torch.float16)
    (alias,) = (a for a in plan_conversion(found, HEADS).aliases if a.second.name == name)
    alias.check()
    states["instructblip"][name] += 1
    with pytest.raises(CheckpointError, match=r"visual_encoder\.blocks\.0\.norm1\.weight"):
        alias.check()


def test_salmonn_which_only_hears_is_recognised(memory):
    found, _ = memory
    ref = found.delta["ln_video.weight"]
    names = ("speech_query_tokens", "ln_speech.weight", "ln_audio.weight", "speech_llama_proj.weight")
    found.delta.clear()
    found.delta.update(dict.fromkeys([*names, "speech_Qformer.bert.embeddings.LayerNorm.weight"], ref))
    message = refused(found)
    assert "hears but does not see" in message


def test_a_language_model_is_no_delta(memory):
    found, _ = memory
    refs = dict(found.llm)
    found.delta.clear()
    found.delta.update(refs)
    assert "is a language model" in refused(found)


def test_two_files_exchanged(memory):
    found, _ = memory
    eva, beats = dict(found.eva), dict(found.beats)
    found.eva.clear()
    found.eva.update(beats)
    assert "eva.pt" in refused(found)
    found.eva.clear()
    found.eva.update(eva)


@pytest.mark.parametrize(
    "change", [{"layer_norm_first": True}, {"deep_norm": False}, {"gru_rel_pos": False}, {"activation_fn": "glu"}, None]
)
def test_another_beats_is_refused(memory, change):
    found, _ = memory
    cfg = None if change is None else {**found.beats_cfg, **change}
    message = refused(found.__class__(**{**vars(found), "beats_cfg": cfg}))
    assert "beats.pt" in message
    assert "cfg" in message if change is None else next(iter(change)) in message


# -------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def files(tokenizers, tmp_path):  # noqa: F811
    return Official(second_names=False).write(tmp_path / "files", tokenizers)


class Malicious:
    def __reduce__(self):
        return (open, ("was_run", "w"))


def test_a_pickle_with_code_is_refused_and_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Malicious()}, files["delta"])
    error = error_of(run(files, tmp_path / "out"))
    assert "could run code" in error["message"]
    assert str(files["delta"]) in error["message"]
    files["delta"].write_bytes(pickle.dumps(Malicious()))
    error_of(run(files, tmp_path / "out"))
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["delta", "eva", "instructblip", "beats"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty", "missing", "list"])
def test_unreadable_files_are_named(files, tmp_path, name, damage):
    path = files[name]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "text":
        path.write_text("<html>404</html>")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "list":
        torch.save([torch.zeros(3)], path)
    else:
        path.unlink()
    error = error_of(run(files, tmp_path / "out"))
    assert error["type"] == "CheckpointError"
    assert str(path) in error["message"]
    assert error["remedy"]


def test_a_cut_safetensors_file_is_named(files, tmp_path):
    path = files["whisper"] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert str(path) in error_of(run(files, tmp_path / "out"))["message"]


def test_shards_and_index_have_to_agree(files, tmp_path):
    index = files["llm"] / "pytorch_model.bin.index.json"
    listed = json.loads(index.read_text())
    whole = index.read_text()
    listed["weight_map"]["model.layers.7.mlp.up_proj.weight"] = "pytorch_model-00001-of-00002.bin"
    index.write_text(json.dumps(listed))
    assert "model.layers.7.mlp.up_proj.weight" in error_of(run(files, tmp_path / "out"))["message"]
    index.write_text(whole)
    (files["llm"] / "pytorch_model-00002-of-00002.bin").unlink()
    assert "pytorch_model-00002-of-00002.bin" in error_of(run(files, tmp_path / "out"))["message"]
    index.unlink()
    assert "no weights here" in error_of(run(files, tmp_path / "out"))["message"]


def test_old_pickles_and_wrapped_ones_are_read(files, tmp_path):
    delta = torch.load(files["delta"], weights_only=True)
    torch.save({"model": delta, "step": 5001}, files["delta"], _use_new_zipfile_serialization=False)
    result = run(files, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "old format" in json.loads(result.stdout)["notes"][0]


def test_a_failure_half_way_leaves_nothing(files, tmp_path):
    state = torch.load(files["llm"] / "pytorch_model-00002-of-00002.bin", weights_only=True)
    state["lm_head.weight"][5, 5] = float("nan")
    torch.save(state, files["llm"] / "pytorch_model-00002-of-00002.bin")
    (tmp_path / "place").mkdir()
    error = error_of(run(files, tmp_path / "place" / "out"))
    assert "lm_head.weight" in error["message"]
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["out-settings.json"]


def test_a_full_directory_is_not_overwritten(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "is there already" in error_of(run(files, tmp_path / "out"))["message"]
    (tmp_path / "out" / "notes.txt").unlink()
    assert run(files, tmp_path / "out").exit_code == 0  # an empty one is taken


def test_the_visual_tower_has_one_source(files, tmp_path):
    without = {name: path for name, path in files.items() if name != "eva"}
    assert error_of(run(without, tmp_path / "out"))["type"] == "ConfigError"
    assert error_of(run(files | {"instructblip_hf": tmp_path}, tmp_path / "out"))["type"] == "ConfigError"


def test_tokenizers_have_to_fit(files, tmp_path):
    without = {name: path for name, path in files.items() if name != "bert_tokenizer"}
    assert "bert-base-uncased" in error_of(run(without, tmp_path / "out"))["remedy"]
    vocabulary = tmp_path / "bert" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwhat\n")
    error = error_of(run(files | {"bert_tokenizer": vocabulary.parent}, tmp_path / "out"))
    assert "6 tokens" in error["message"] or "7 tokens" in error["message"]
    (files["llm"] / "tokenizer.model").unlink()
    (files["llm"] / "tokenizer_config.json").unlink()
    assert "tokenizer" in error_of(run(files, tmp_path / "out"))["message"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"conector": {}}, "conector"),
        ({"connector": {"head": 3}}, "head"),
        ({"connector": {"levels": [[1, 3, 4]], "mask_direction": "up"}}, "mask_direction"),
        ({"media": {"fps": 3}}, "fps"),
    ],
)
def test_impossible_settings_are_named(files, tmp_path, settings, word):
    error = error_of(run(files, tmp_path / "out", settings=settings))
    assert error["type"] == "ConfigError"
    assert word in error["message"]


def test_without_its_adapter_the_checkpoint_is_incomplete(memory):
    found, _ = memory
    for name in [name for name in found.delta if name.startswith("llama_model.")]:
        del found.delta[name]
    assert "LoRA" in refused(found)


def test_windows_and_queries_have_to_fit(memory):
    found, _ = memory
    ref = found.delta["low_query_tokens"]
    found.delta["low_query_tokens"] = Ref(ref.file, ref.name, (1, 4, 24), ref.dtype)
    message = refused(found)
    assert "low_query_tokens" in message and "video_query_tokens" in message


def save_bare_whisper(folder, official):
    state = {name.removeprefix("model."): tensor for name, tensor in official.whisper.items()}
    save_file(state, folder / "model.safetensors")


def test_whisper_saved_without_its_head(files, tmp_path, official):
    save_bare_whisper(files["whisper"], official)
    result = run(files, tmp_path / "out")
    assert result.exit_code == 0, result.output
