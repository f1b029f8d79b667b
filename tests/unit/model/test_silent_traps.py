"""Faults of the stack underneath that raise nothing, each held off by a test; and the layering that users feel."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from video_salmonn.model import adapters
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return VideoSalmonnForConditionalGeneration(preset("tiny")).eval()


@pytest.mark.parametrize("auto", [False, True])
def test_no_weight_is_renamed_on_the_way_through_a_checkpoint(tiny, tmp_path, auto):
    """Without a base_model_prefix transformers strips a letter of keys on load and leaves the weight at random."""
    with torch.no_grad():  # nothing at an initial value that a fresh model would have as well
        for parameter in tiny.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    tiny.save_pretrained(tmp_path)
    kind = AutoModelForCausalLM if auto else VideoSalmonnForConditionalGeneration
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    states = tiny.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def test_adapters_hit_the_language_model_alone(tiny):
    """Targets are matched by the last parts of names: q_proj and its kin also live in Whisper, BEATs and EVA."""
    outside = [
        name for name, _ in tiny.named_parameters() if "lora_" in name and not name.startswith("language_model.")
    ]
    assert outside == []
    carried = [name for name, _ in adapters.lora_layers(tiny.language_model)]
    assert len(carried) == 2 * 4
    assert {name.rsplit(".", 1)[-1] for name in carried} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert any(name.endswith("q_proj.weight") for name, _ in tiny.tower.named_parameters())  # the trap is real


def test_what_learns_is_connector_and_adapter(tiny):
    learning = {name.split(".")[0] for name, p in tiny.named_parameters() if p.requires_grad}
    assert learning == {"connector", "language_model"}
    assert all("lora_" in n for n, p in tiny.language_model.named_parameters() if p.requires_grad)


def test_frozen_encoders_stay_in_evaluation_mode(tiny):
    """The released code's .train() turns dropout on in Whisper, BEATs and the visual Q-Former as well."""
    tiny.train()
    try:
        assert not any(module.training for module in tiny.tower.modules())
        assert tiny.connector.training
        assert tiny.language_model.training
    finally:
        tiny.eval()


def test_layer_norms_of_the_connector(tiny):
    norms = {name: m.eps for name, m in tiny.connector.named_modules() if isinstance(m, nn.LayerNorm)}
    assert norms.pop("input_norm") == 1e-5
    assert set(norms.values()) == {1e-12}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, video_salmonn; print([m for m in ('torch', 'transformers', 'av', 'numpy') if m in sys.modules])"
    assert python(code).strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in ("verify", "info", "ask", "chat", "inspect", "train"))],
)
def test_help_is_quick_and_light(arguments):
    code = (
        "import sys; from video_salmonn.cli.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as error: assert not error.code, error.code\n"
        "print([m for m in ('torch', 'transformers', 'av') if m in sys.modules])"
    )
    started = time.perf_counter()
    assert python(code).strip().endswith("[]")
    assert time.perf_counter() - started < 20  # seconds, on a machine busy with something else; usually below 1
