"""The memory plan against the model's own sizes and against measured peaks."""

import json
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.errors import ConfigError
from video_salmonn.model.cost import build_on_meta
from video_salmonn.model.memory import live_bytes, memory_plan
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset

MEASURE = """
import json, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from video_salmonn import VideoSalmonn
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset
from video_salmonn.model.processing import VideoSalmonnProcessor

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def engine(name):
    config = preset(name)
    config.prompt = "vicuna"
    model = VideoSalmonnForConditionalGeneration(config).eval()
    return VideoSalmonn(model, VideoSalmonnProcessor.from_config(config, byte_tokenizer()))

clip = sys.argv[1]
engine("tiny").ask(clip, "What is said?", max_new_tokens=2)  # libraries loaded, their buffers made
before = peak()
answer = engine("embedded").ask(clip, "What is said?", max_new_tokens=32, min_new_tokens=32)
media = answer.report["media"][0]["seen"]
print(json.dumps({"bytes": peak() - before, "seconds": media["to"] - media["from"]}))
"""


@pytest.mark.slow
def test_the_prediction_meets_the_measured_peak():
    """A model of the embedded default's size, random weights, a real clip, a fresh process: all in one figure."""
    clip = "tests/fixtures/media/big_buck_bunny_small.mp4"
    done = subprocess.run([sys.executable, "-c", MEASURE, clip], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    predicted = memory_plan(preset("embedded"), measured["seconds"], "fp32", beams=1, new_tokens=32)
    ratio = measured["bytes"] / predicted["peak"]
    print(f"measured {measured['bytes'] / 1e6:.0f} MB, predicted {predicted['peak'] / 1e6:.0f} MB, ratio {ratio:.3f}")
    assert 0.9 < ratio < 1.15
    assert measured["bytes"] < predicted["needed"] * 1.05


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


def test_int4_halves_the_layers_of_int8():
    layers = sum(
        p.numel()
        for n, p in build_on_meta(preset("tiny")).language_model.named_parameters()
        if ".layers." in n and p.ndim == 2 and "lora" not in n
    )
    int8, int4 = (memory_plan(preset("tiny"), 4, dtype)["weights"]["language_model"] for dtype in ("int8", "int4"))
    assert int8 - int4 == pytest.approx(layers * (0.5 + 2 / 4096 - 4 / 64), rel=1e-3)


def test_the_command():
    result = CliRunner().invoke(app, ["plan", "--model", "tiny", "--clip", "0.1m", "--dtype", "fp32", "--json"])
    assert result.exit_code == 0, result.output
    account = json.loads(result.stdout)
    assert account["clip_seconds"] == 6
    assert account["media_tokens"] == 36
    assert account["fits"]
    assert account["cards"] == {"24": True, "40": True, "48": True, "80": True}
    widest = max(max(account["activations"].values()), account["activations"]["prefill"] + account["kv_cache"])
    assert account["peak"] == account["weights"]["total"] + sum(account["features"].values()) + widest
    table = CliRunner().invoke(app, ["plan", "--model", "tiny", "--clip", "4s"])
    assert table.exit_code == 0
    assert "fits" in table.stdout


@pytest.mark.parametrize(
    ("flags", "word"),
    [(["--clip", "soon"], "soon"), (["--clip", "0s"], "0s"), (["--dtype", "int2"], "int2"), (["--model", "no"], "no")],
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
