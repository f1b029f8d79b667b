"""The memory plan against the model's own sizes and against measured peaks."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.cli.main import app
from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import ConfigError
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset
from video_salmonn.resources.cost import build_on_meta
from video_salmonn.resources.memory import live_bytes, memory_plan
from video_salmonn.resources.quantise import packed
from video_salmonn.resources.stages import clip_shapes, connector_inputs

MEASURE = """
import json, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from video_salmonn import VideoSalmonn
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.resources.placement import Placement, place
from video_salmonn.model.processing import VideoSalmonnProcessor
from test_memory_plan import medium

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

clip, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
small = VideoSalmonn.load("tiny", quantise=options.get("quantise"))
small.ask(clip, "What is said?", max_new_tokens=2)  # libraries loaded, their buffers made
before = status("VmRSS")
config = medium()
model = VideoSalmonnForConditionalGeneration(config).eval()
loading = status("VmHWM") - before
engine = VideoSalmonn(
    place(model, Placement(torch.device("cpu"), **options), folder),
    VideoSalmonnProcessor.from_config(config, byte_tokenizer()),
)
Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
answer = engine.ask(clip, "What is said?", max_new_tokens=16, min_new_tokens=16, end=3.0)
media = answer.report["media"][0]["seen"]
peak = status("VmHWM") - before
print(json.dumps({"peak": peak, "loading": loading, "seconds": media["to"] - media["from"]}))
"""


def medium():
    """A system of 260 M parameters, every part large beside what an interpreter needs: 1 GB in float32."""
    config = preset("tiny")
    vision = {**config.vision_config.to_dict(), "hidden_size": 704, "intermediate_size": 2816, "num_hidden_layers": 10}
    speech = {**config.speech_config.to_dict(), "d_model": 512, "encoder_layers": 10, "encoder_attention_heads": 8}
    audio = {
        "model_type": "beats",
        **config.audio_config.to_dict(),
        "encoder_embed_dim": 384,
        "encoder_ffn_embed_dim": 1536,
        "encoder_layers": 8,
    }
    qformer = {
        **config.qformer_config.to_dict(),
        "hidden_size": 256,
        "intermediate_size": 1024,
        "encoder_hidden_size": 704,
    }
    text = LlamaConfig(
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=10,
        num_attention_heads=16,
        vocab_size=384,
        max_position_embeddings=2048,
        pad_token_id=2,
    )
    widths = {"visual_dim": 256, "speech_dim": 512, "audio_dim": 384, "llm_dim": 1024}
    return VideoSalmonnConfig(
        text_config=text,
        vision={**vision, "image_size": 112, "num_attention_heads": 8},
        instruction_qformer=qformer,
        speech={**speech, "encoder_ffn_dim": 2048},
        audio={**audio, "conv_pos_groups": 16},
        connector=ConnectorConfig(hidden_size=256, num_attention_heads=4, intermediate_size=1024, **widths),
        media={"segment_seconds": 10.0, "image_size": 112},
        lora=config.lora,
    )


has_bnb = find_spec("bitsandbytes") is not None


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"quantise": "int8"}, {"offload_encoders": True}])
def test_the_prediction_meets_the_measured_peak(options, tmp_path):
    """Random weights, a real clip, a fresh process: one figure. Within 15 % both ways, and below what is asked for."""
    if "quantise" in options and not has_bnb:
        pytest.skip("bitsandbytes is not installed")
    clip = str(Path("tests/fixtures/media/big_buck_bunny_small.mp4").resolve())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, clip, str(tmp_path), json.dumps(options)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    predicted = memory_plan(medium(), measured["seconds"], "fp32", beams=1, new_tokens=16, **options)
    ratio = measured["peak"] / predicted["peak"]
    print(
        f"{options}: measured {measured['peak'] / 1e6:.0f} MB, predicted {predicted['peak'] / 1e6:.0f} MB, ratio "
        f"{ratio:.3f}; loading {measured['loading'] / 1e6:.0f} MB, predicted {predicted['loading'] / 1e6:.0f} MB"
    )
    assert 0.85 < ratio < 1.15
    assert measured["peak"] < predicted["needed"] * 1.05
    assert measured["loading"] == pytest.approx(predicted["loading"], rel=0.1)


def test_each_option_takes_away_what_it_says():
    config = medium()
    options = {
        "plain": {},
        "int8": {"quantise": "int8"},
        "int4": {"quantise": "int4"},
        "turns": {"offload_encoders": True},
        "both": {"quantise": "int4", "offload_encoders": True},
        "fp8": {"kv_cache": "fp8"},
        "static": {"kv_cache": "static"},
    }
    plans = {name: memory_plan(config, 10, "bf16", beams=1, **given) for name, given in options.items()}
    weights = plans["plain"]["weights"]
    encoders = [weights[name] for name in ("vision", "instruction_qformer", "speech", "audio")]
    saved = plans["plain"]["peak"] - plans["turns"]["peak"]
    assert sum(encoders) - max(encoders) <= saved <= sum(encoders), "at most the largest encoder is there"
    assert plans["turns"]["resting"] == sum(encoders) and plans["turns"]["weights"] == weights
    assert plans["both"]["peak"] < plans["int4"]["peak"] < plans["int8"]["peak"] < plans["plain"]["peak"]
    assert plans["fp8"]["kv_cache"] * 2 == plans["plain"]["kv_cache"] == plans["static"]["kv_cache"]
    assert len({plan["loading"] for plan in plans.values()}) == 1


@pytest.mark.skipif(not has_bnb, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_packed_weights_are_counted_exactly(kind):
    """Against the packed tensors themselves and their scales."""
    model = VideoSalmonn.load("tiny", quantise=kind).model.language_model
    held = sum(p.nbytes for p in model.parameters())
    for name, weight in model.named_parameters():
        if packed(model.get_submodule(name.rpartition(".")[0])):
            state = None if kind == "int8" else weight.quant_state
            held += weight.SCB.nbytes if state is None else state.absmax.nbytes + state.state2.absmax.nbytes
    planned = memory_plan(preset("tiny"), 4, "fp32", quantise=kind)["weights"]
    assert planned["language_model"] + planned["lora"] == held


def stage_bytes(model, stage, device):
    def zeros(*shape):
        return torch.zeros(*shape, device=device)

    runs = {
        "vision": lambda: model.tower.vision(zeros(3, 3, 28, 28)).values,
        "speech": lambda: model.tower.speech(zeros(1, 80, 1000)).values,
        "connector": lambda: model.connector(zeros(1, 20, 32, 32), zeros(1, 500, 32), zeros(1, 500, 32)).tokens,
    }
    return live_bytes(runs[stage])


@pytest.mark.parametrize("stage", ["vision", "speech", "connector"])
def test_activations_on_meta_are_those_of_real_tensors(stage):
    """The same counter on real tensors gives the same bytes."""
    config = preset("tiny")
    real = stage_bytes(VideoSalmonnForConditionalGeneration(config).eval(), stage, "cpu")
    assert stage_bytes(build_on_meta(config), stage, "meta") == pytest.approx(real, rel=0.1)


def test_live_bytes_by_hand():
    def run():
        a = torch.ones(1000)
        b = a + 1  # 8000 alive
        del a
        c = b.view(10, 100)  # no bytes of its own
        return c * 2  # 8000 again

    assert live_bytes(run) == 8000


def test_weights_are_counted_exactly():
    model = VideoSalmonnForConditionalGeneration(preset("tiny"))
    real = sum(p.nbytes for p in model.parameters())
    assert memory_plan(preset("tiny"), 4, "fp32")["weights"]["total"] == real


def test_smaller_numbers_need_less_and_longer_clips_more():
    config = preset("tiny")
    needed = [memory_plan(config, 20, dtype)["needed"] for dtype in ("int4", "int8", "bf16", "fp32")]
    assert needed == sorted(needed)
    short, long = (memory_plan(config, seconds, "bf16") for seconds in (10, 60))
    assert short["kv_cache"] < long["kv_cache"]
    assert short["weights"] == long["weights"]
    one, five = (memory_plan(config, 20, "bf16", beams=beams) for beams in (1, 5))
    assert five["kv_cache"] == 5 * one["kv_cache"]


def test_the_command():
    result = CliRunner().invoke(app, ["plan", "--model", "tiny", "--clip", "0.1m", "--dtype", "fp32", "--json"])
    assert result.exit_code == 0, result.output
    account = json.loads(result.stdout)
    assert account["clip_seconds"] == 6
    assert account["media_tokens"] == 36
    assert account["fits"]
    assert account["cards"] == {"24": True, "40": True, "48": True, "80": True}
    made = account["activations"]
    widest = max(*made.values(), made["prefill"] + account["kv_cache"])
    assert account["peak"] == account["weights"]["total"] + sum(account["features"].values()) + widest
    table = CliRunner().invoke(app, ["plan", "--model", "tiny", "--clip", "4s"])
    assert table.exit_code == 0
    assert "fits" in table.stdout and "loading takes" in table.stdout
    flags = ["--quantise", "int8", "--offload-encoders", "--kv-cache", "fp8"]
    more = CliRunner().invoke(app, ["plan", "--model", "tiny", "--clip", "4s", *flags])
    assert more.exit_code == 0 and "resting" in more.stdout and "fp8" in more.stdout


GIB = 2**30


def plan_on(monkeypatch, free, *flags):
    """The command's account on a machine with so many bytes free by device."""
    places = [{"device": device, "name": device, "free": bytes_} for device, bytes_ in free.items()]
    monkeypatch.setattr("video_salmonn.cli.plan._here", lambda: places)
    result = CliRunner().invoke(app, ["plan", *flags, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_model_that_cannot_be_loaded_does_not_fit(monkeypatch):
    """The card would hold it in 4 bits, but loading takes 28 GiB of main memory, of which 20 are free."""
    flags = ("--model", "released-13b", "--clip", "10s", "--quantise", "int4", "--num-beams", "1")
    account = plan_on(monkeypatch, {"cuda:0": 40 * GIB, "cpu": 20 * GIB}, *flags)
    assert account["needed"] < 20 * GIB < account["loading"]
    assert [place["fits"] for place in account["here"]] == [False, False] and not account["fits"]
    assert "loading" in account["here"][0]["reason"] and "running" not in account["here"][0]["reason"]
    account = plan_on(monkeypatch, {"cuda:0": 40 * GIB, "cpu": 60 * GIB}, *flags)
    assert account["fits"] and account["here"][0]["reason"] == ""


def test_encoders_that_rest_on_the_disk_need_room_there(monkeypatch):
    monkeypatch.setattr("video_salmonn.cli.plan._disk", lambda: 1000)
    flags = ("--model", "tiny", "--clip", "4s", "--offload-encoders")
    account = plan_on(monkeypatch, {"cuda:0": GIB, "cpu": GIB}, *flags)
    assert [place["fits"] for place in account["here"]] == [True, False]
    assert "disk" in account["here"][1]["reason"]


def test_a_device_map_is_planned_device_by_device(monkeypatch):
    spread = '{"tower": "cpu", "connector": 0, "language_model": 1}'
    flags = ("--model", "tiny", "--clip", "4s", "--dtype", "fp32", "--device-map", spread)
    account = plan_on(monkeypatch, {"cuda:0": GIB, "cuda:1": GIB, "cpu": GIB}, *flags)
    devices, weights = account["devices"], account["weights"]
    encoders = sum(weights[name] for name in ("vision", "instruction_qformer", "speech", "audio"))
    assert devices["cpu"]["weights"] == encoders and devices["cuda:0"]["weights"] == weights["connector"]
    assert devices["cuda:1"]["weights"] == weights["language_model"] + weights["lora"]
    assert devices["cpu"]["running"] == 0, "what rests in main memory runs on the first card"
    largest = max(weights[name] for name in ("vision", "instruction_qformer", "speech", "audio"))
    assert devices["cuda:0"]["running"] >= largest + sum(account["features"].values())
    assert devices["cuda:1"]["running"] >= account["kv_cache"]
    assert account["fits"]
    account = plan_on(monkeypatch, {"cuda:0": GIB, "cpu": GIB}, *flags)
    missing = next(place for place in account["here"] if place["device"] == "cuda:1")
    assert not account["fits"] and "not here" in missing["reason"]
    account = plan_on(monkeypatch, {"cuda:0": GIB, "cuda:1": GIB, "cpu": 1000}, *flags)
    assert not account["fits"] and "loading" in next(p for p in account["here"] if p["device"] == "cpu")["reason"]
    table = CliRunner().invoke(app, ["plan", *flags])
    assert (
        table.exit_code == 0 and "cuda:1: weights" in table.stdout and "not here" not in table.stdout.split("cpu (")[0]
    )


def test_an_automatic_map_puts_every_part_somewhere(monkeypatch):
    account = plan_on(monkeypatch, {"cpu": GIB}, "--model", "tiny", "--clip", "4s", "--device-map", "auto")
    assert sum(device["weights"] for device in account["devices"].values()) == account["weights"]["total"]


def test_without_synchronisation_each_sense_is_planned_at_its_own_length():
    """Memory and FLOPs come from one account of the clip: the connector's inputs are those of the model itself."""
    together = preset("tiny")
    apart = preset("tiny")
    apart.connector_config.synchronise = False
    for config in (together, apart):
        config.media_config.max_seconds = 4.0
    shapes = clip_shapes(apart, 30.0)
    visual, speech, _ = connector_inputs(apart, 30.0)
    assert visual.shape[1] == shapes.frames and speech.shape[1] == shapes.heard * 25
    whole = -(-max(shapes.frames, shapes.heard) // 10) * 10
    visual, speech, _ = connector_inputs(together, 30.0)
    assert visual.shape[1] == whole and speech.shape[1] == whole * 25
    plans = [memory_plan(config, 30.0, "fp32")["activations"]["connector"] for config in (together, apart)]
    assert plans[1] != plans[0]
    model = VideoSalmonnForConditionalGeneration(apart).eval()
    inputs = [None if part is None else torch.zeros(part.shape) for part in connector_inputs(apart, 30.0)]
    real = live_bytes(lambda: model.connector(*inputs)) + sum(part.nbytes for part in inputs if part is not None)
    assert plans[1] == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--clip", "soon"], "soon"),
        (["--clip", "0s"], "0s"),
        (["--dtype", "int2"], "int2"),
        (["--quantise", "int2"], "int2"),
        (["--kv-cache", "ring"], "ring"),
        (["--dtype", "int8", "--quantise", "int4"], "int4"),
        (["--model", "no"], "no"),
        (["--device-map", "somewhere"], "somewhere"),
        (["--device-map", '{"tower": "moon", "": 0}'], "moon"),
        (["--device-map", '{"towre": 0, "": 0}'], "towre"),
        (["--device-map", '{"tower": 0}'], "device map"),
        (["--device-map", '{"": 0}', "--offload-encoders"], "offload_encoders"),
    ],
)
def test_impossible_plans_are_named(flags, word):
    result = CliRunner().invoke(app, ["plan", "--model", "tiny", *flags, "--json"])
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert word in error["message"]
    assert error["remedy"]


def test_unknown_dtypes_are_refused():
    with pytest.raises(ConfigError, match="int2"):
        memory_plan(preset("tiny"), 4, "int2")
