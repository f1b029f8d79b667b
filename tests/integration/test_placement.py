"""Memory options: spread, offloaded, packed, other caches. The answers are those of the plain model, or near them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import QuantizedCache
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli.main import app
from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.model.adapters import lora_layers
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.packed import packed
from video_salmonn.resources import placement, quantise
from video_salmonn.resources.device_map import PARTS, parse_device_map
from video_salmonn.resources.placement import Placement, atoms, automatic_map, checked_map, place

MEDIA = Path(__file__).parents[1] / "fixtures" / "media"
CLIP = MEDIA / "flower.webm"
CPU = torch.device("cpu")
ITEMS = [
    {"question": "What happens?", "media": CLIP, "max_new_tokens": 12},
    {"question": "And what is heard in it, please?", "media": MEDIA / "lbax4n.mpg", "end": 2.0, "max_new_tokens": 12},
]
needs_bnb = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('bitsandbytes')", reason="bitsandbytes")
needs_ao = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('torchao')", reason="torchao")


@pytest.fixture(scope="module")
def plain():
    return VideoSalmonn.load("tiny")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """What rests on the disk rests here."""
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    return tmp_path


def texts(engine, **options):
    return [answer.text for answer in engine.batch([item | options for item in ITEMS])]


def logits(engine, media=CLIP):
    """Logits of a prompt about a clip, (L, vocabulary)."""
    with torch.inference_mode():
        row = engine.prepare(media, "What happens?", max_new_tokens=4)
        ids = torch.tensor([row.input_ids])
        return engine.model(ids, torch.ones_like(ids), media_embeds=row.media_embeds).logits[0].float()


def distance(ours, theirs):
    """Largest difference in units of the spread of the plain logits."""
    return float((ours - theirs).abs().max() / theirs.std())


# ------------------------------------------------------------------------------------------------------- devices


def resting(module):
    return [name for name, tensor in module.named_parameters() if tensor.is_meta]


def test_encoders_come_in_turn_and_leave(plain, home):
    engine = VideoSalmonn.load("tiny", offload_encoders=True)
    tower = engine.model.tower
    assert len(resting(tower)) == len(list(tower.parameters()))
    assert not resting(engine.model.connector) and not resting(engine.model.language_model)
    there: dict[str, set[str]] = {}

    def note(name):
        def look(module, inputs):
            there[name] = {part for part in placement.ENCODERS if not resting(getattr(tower, part))}

        return look

    inner = {"vision": tower.vision.model.encoder, "speech": tower.speech.model.layers[0]}
    inner |= {"audio": tower.audio.encoder, "instruction_qformer": tower.instruction_qformer.qformer.encoder}
    for name, module in inner.items():
        module.register_forward_pre_hook(note(name))
    assert texts(engine) == texts(plain)
    assert there == {name: {name} for name in inner}, "only the encoder that runs is there"
    assert len(resting(tower)) == len(list(tower.parameters()))
    (folder,) = home.iterdir()
    engine.close()
    assert not folder.exists()


@pytest.mark.parametrize(
    "device_map",
    [
        "auto",
        {"": "cpu"},
        {"": "cpu", "tower": "disk", "language_model.model.layers.1": "disk"},
        {"tower": "cpu", "connector": "disk", "language_model": "disk"},
    ],
)
def test_a_spread_model_answers_as_a_whole_one(plain, device_map):
    engine = VideoSalmonn.load("tiny", device_map=device_map)
    places = set(device_map.values()) if isinstance(device_map, dict) else {"cpu"}
    assert bool(resting(engine.model)) == ("disk" in places)
    assert engine.model.device == CPU
    assert texts(engine) == texts(plain)
    assert texts(engine, num_beams=2) == texts(plain, num_beams=2)
    assert torch.allclose(logits(engine), logits(plain), atol=1e-5)


def test_the_automatic_map_splits_nothing(monkeypatch):
    model, _ = build_tiny()
    size = sum(p.nbytes for p in model.parameters())
    layer = sum(p.nbytes for p in placement.decoder_layers(model)[0].parameters())
    names = dict(model.named_modules())
    for share in (0.5, 0.8, 0.97):
        monkeypatch.setattr(placement, "get_max_memory", lambda share=share: {"cpu": int(size * share)})
        found = automatic_map(model, 0)
        assert set(found.values()) == {"cpu", "disk"}
        for name in found:
            above = [names[name.rsplit(".", n)[0]] for n in range(1, name.count(".") + 1)]
            assert not {type(module).__name__ for module in above} & set(atoms(model))
        monkeypatch.setattr(placement, "get_max_memory", lambda share=share: {"cpu": int(size * share) + layer})
        assert automatic_map(model, layer) == found, "the reserve is kept free"


def test_a_map_over_cards_is_read(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    model, _ = build_tiny()
    given = {"": 0, "language_model.model.layers.1": "cuda:1", "tower.speech": "cpu"}
    assert checked_map(model, given) == {"": 0, "language_model.model.layers.1": 1, "tower.speech": "cpu"}
    placed = Placement(CPU, device_map=given)
    places = placement.packed_places(model, placed, checked_map(model, given))
    assert {str(device) for name, device in places.items() if ".layers.0." in name} == {"cuda:0"}
    assert {str(device) for name, device in places.items() if ".layers.1." in name} == {"cuda:1"}


@pytest.mark.parametrize(
    ("device_map", "word"),
    [
        ({"": "cpu", "tower.vision.model.encoder": "disk"}, "would split 'tower.vision'"),
        ({"": "cpu", "language_model.model.layers.0.mlp": "disk"}, "would split 'language_model.model.layers.0'"),
        ({"": "cpu", "connector.qformers": "disk"}, "would split 'connector'"),
        ({"": "cpu", "tower.visions": "disk"}, "no module 'tower.visions'"),
        ({"": 7}, "no device 7"),
        ({"": "cuda:9"}, "no device 'cuda:9'"),
        ({"": True}, "no device True"),
        ({"tower": "cpu"}, "connector"),
        ("balanced", "balanced"),
    ],
)
def test_impossible_maps_are_refused(device_map, word):
    with pytest.raises(ConfigError, match=word) as error:
        VideoSalmonn.load("tiny", device_map=device_map)
    assert error.value.remedy


def test_maps_on_the_command_line(tmp_path):
    file = tmp_path / "map.json"
    file.write_text('{"": 0}')
    assert parse_device_map(None) is None and parse_device_map("auto") == "auto"
    assert parse_device_map('{"": "cpu"}') == {"": "cpu"} and parse_device_map(str(file)) == {"": 0}
    for text in ("balanced", "{", str(tmp_path / "none.json")):
        with pytest.raises(ConfigError, match="device map"):
            parse_device_map(text)
    for name in ("vision", "language_mode", "towers.vision"):
        with pytest.raises(ConfigError, match=f"no module '{name}'"):
            parse_device_map(json.dumps({"": "cpu", name: "disk"}))
    model = build_tiny(0)[0]
    model.set_words([1, 2], [1, 2])
    assert [name for name, _ in model.named_children()] == list(PARTS)
    file.write_text("[1]")
    with pytest.raises(ConfigError, match="not a JSON object"):
        parse_device_map(str(file))


def test_what_excludes_each_other():
    with pytest.raises(ConfigError, match="exclude"):
        Placement(CPU, device_map="auto", offload_encoders=True)
    with pytest.raises(ConfigError, match="quantiser"):
        Placement(CPU, quantiser="torchao")
    with pytest.raises(ConfigError, match="dtype is int8"):
        VideoSalmonn.load("tiny", dtype="int8", quantise="int4")
    with pytest.raises(ConfigError, match="folder"):
        place(build_tiny()[0], Placement(CPU, offload_encoders=True))


def test_a_profile_is_applied_before_the_one_model_is_built(plain, tmp_path, monkeypatch):
    plain.model.save_pretrained(tmp_path / "model")
    plain.processor.save_pretrained(tmp_path / "model")
    built = []
    begin = VideoSalmonnForConditionalGeneration.__init__
    monkeypatch.setattr(
        VideoSalmonnForConditionalGeneration,
        "__init__",
        lambda self, *a, **k: (built.append(1), begin(self, *a, **k))[1],
    )
    for name in ("tiny", tmp_path / "model"):
        built.clear()
        engine = VideoSalmonn.load(name, profile="released")
        assert len(built) == 1
        assert engine.model.config.connector_config.attend_padding and engine.model.generation_config.num_beams == 5
        assert engine.model.config.media_config.max_seconds == 60 and engine.model.tower.keep_padding
    for name, tensor in engine.model.state_dict().items():
        assert torch.equal(tensor, plain.model.state_dict()[name])


# --------------------------------------------------------------------------------------------------- fewer bits


KINDS = [
    pytest.param("int8", "bitsandbytes", 0.15, marks=needs_bnb),
    pytest.param("int4", "bitsandbytes", 1.5, marks=needs_bnb),
    pytest.param("int8", "torchao", 0.15, marks=needs_ao),
]


@pytest.mark.parametrize(("kind", "backend", "bound"), KINDS)
def test_packed_layers_answer_nearly_as_whole_ones(plain, kind, backend, bound):
    engine = VideoSalmonn.load("tiny", quantise=kind, quantiser=backend)
    assert not list(quantise.layers(engine.model.language_model)), "all are packed"
    apart = distance(logits(engine), logits(plain))
    print(f"{kind} ({backend}): {apart:.3f} of the logits' spread")
    assert 0 < apart < bound
    assert len(texts(engine)) == 2 and texts(engine, num_beams=2)
    alone = [engine.batch([item])[0].text for item in ITEMS]
    assert texts(engine) == alone, "batched is single"
    (note,) = [w for w in engine.ask(**ITEMS[0]).report["warnings"] if kind in w]
    assert backend in note


@needs_bnb
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_only_the_language_models_layers_are_packed(plain, kind):
    engine = VideoSalmonn.load("tiny", quantise=kind)
    whole = dict(plain.model.named_parameters())
    for name, parameter in engine.model.named_parameters():
        if ".layers." in name and name.startswith("language_model") and parameter.ndim == 2 and ".lora_" not in name:
            assert not parameter.dtype.is_floating_point and parameter.nbytes < whole[name].nbytes / 3
        else:
            assert torch.equal(parameter, whole[name])
    adapted = [layer for _, layer in lora_layers(engine.model.language_model)]
    assert adapted and all(packed(layer.base_layer) for layer in adapted)
    for _, layer in lora_layers(engine.model.language_model):
        nn.init.normal_(layer.lora_B["default"].weight, std=0.5)
    # not the answers' texts: with a random adapter both may be empty
    on, off = (engine.likelihoods({**ITEMS[0], "adapter_scale": scale}, ["Yes."])[0].log for scale in (1.0, 0.0))
    assert abs(on - off) > 1e-3, "LoRA works on top"
    with pytest.raises(ConfigError, match="quantised"):
        engine.model.merge_lora()


@needs_bnb
def test_int8_as_dtype_means_16_bits_for_the_rest():
    engine = VideoSalmonn.load("tiny", dtype="int8")
    assert engine.model.dtype == torch.bfloat16 and not list(quantise.layers(engine.model.language_model))
    assert engine.ask(**ITEMS[0]).report["new_tokens"] > 0


@needs_bnb
def test_packed_and_in_turn_together(plain):
    engine = VideoSalmonn.load("tiny", quantise="int8", offload_encoders=True, kv_cache="static")
    assert distance(logits(engine), logits(plain)) < 0.15
    spread = VideoSalmonn.load("tiny", quantise="int8", device_map={"": "cpu", "tower": "disk"})
    assert texts(spread) == texts(engine)
    with pytest.raises(ConfigError, match="cannot rest on 'disk'"):
        VideoSalmonn.load("tiny", quantise="int8", device_map={"": "cpu", "language_model.model.layers.1": "disk"})


def test_who_packs_is_named_when_missing(monkeypatch):
    monkeypatch.setattr(quantise, "find_spec", lambda name: None)
    for kind, word in (("int8", "bitsandbytes or torchao"), ("int4", "bitsandbytes")):
        with pytest.raises(MissingPartError, match=word) as error:
            VideoSalmonn.load("tiny", quantise=kind)
        assert "pip install" in error.value.remedy
    monkeypatch.setattr(quantise, "find_spec", lambda name: name == "torchao" or None)
    assert quantise.choose("int8") == "torchao"
    with pytest.raises(MissingPartError, match="bitsandbytes"):
        quantise.choose("int8", "bitsandbytes")
    with pytest.raises(ConfigError, match="does not offer int4"):
        quantise.choose("int4", "torchao")
    with pytest.raises(ConfigError, match="int3"):
        quantise.choose("int3")


# ------------------------------------------------------------------------------------------------------- caches


@pytest.mark.parametrize("beams", [1, 3])
def test_a_static_cache_changes_nothing(plain, beams):
    engine = VideoSalmonn.load("tiny", kv_cache="static")
    assert engine.model.generation_config.cache_implementation == "static"
    assert texts(engine, num_beams=beams) == texts(plain, num_beams=beams)
    assert texts(engine, num_beams=beams) == texts(plain, num_beams=beams), "nothing is left of the first"


def test_an_fp8_cache_answers_nearly_the_same(plain):
    model = plain.model.language_model
    torch.manual_seed(0)
    embeds = torch.randn(2, 40, model.config.hidden_size) * 0.1
    with torch.inference_mode():
        whole = model(inputs_embeds=embeds).logits[:, 30:]
        cache = QuantizedCache(config=model.config, **placement.KV_CACHES["fp8"]["cache_config"])
        model(inputs_embeds=embeds[:, :30], past_key_values=cache)
        steps = [model(inputs_embeds=embeds[:, n : n + 1], past_key_values=cache).logits for n in range(30, 40)]
    apart = distance(torch.cat(steps, dim=1), whole)
    print(f"fp8 cache: {apart:.3f} of the logits' spread")
    assert 0 < apart < 0.05
    engine = VideoSalmonn.load("tiny", kv_cache="fp8")
    for beams in (1, 3):
        answers = engine.batch([item | {"num_beams": beams, "min_new_tokens": 4} for item in ITEMS])
        assert all(answer.report["new_tokens"] >= 4 for answer in answers)
    assert any("fp8" in warning for warning in engine.ask(**ITEMS[0]).report["warnings"])


def test_missing_caches_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="kv_cache is 'ring'"):
        VideoSalmonn.load("tiny", kv_cache="ring")
    monkeypatch.delattr(placement.cache_utils, "Fp8QuantizedLayer", raising=False)
    with pytest.raises(MissingPartError, match="fp8"):
        VideoSalmonn.load("tiny", kv_cache="fp8")


# ----------------------------------------------------------------------------------------------------- commands


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, json.loads(result.stdout)


@needs_bnb
def test_the_commands_take_the_options():
    flags = ("--model", "tiny", "--max-new-tokens", 3, "--json")
    code, report = run("ask", CLIP, "What?", *flags, "--dtype", "int8", "--offload-encoders", "--kv-cache", "fp8")
    assert code == 0 and all(any(word in w for w in report["warnings"]) for word in ("in int8", "in fp8"))
    code, report = run("ask", CLIP, "What?", *flags, "--device-map", '{"": "cpu", "tower": "disk"}')
    assert code == 0 and report["new_tokens"] > 0


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (("--quantise", "int3"), "ConfigError"),
        (("--kv-cache", "ring"), "ConfigError"),
        (("--device-map", "balanced"), "ConfigError"),
        (("--device-map", "auto", "--offload-encoders"), "ConfigError"),
        (("--quantiser", "torchao"), "ConfigError"),
    ],
)
def test_impossible_options_are_one_json_error(flags, kind):
    code, value = run("ask", CLIP, "What?", "--model", "tiny", "--json", *flags)
    assert code == 2 and value["error"]["type"] == kind and value["error"]["remedy"]
