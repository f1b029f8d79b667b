"""Packed layers multiply rightly, also where the processor's 8-bit products saturate."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("bitsandbytes")

LAYERS = """
import torch
from torch import nn
from video_salmonn.resources.quantise import quantise
torch.manual_seed(0)
whole = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(512, n, bias=b) for n, b in ((64, True), (1536, False)))})
x = torch.randn(2, 7, 512)
with torch.inference_mode():
    before = [layer(x) for layer in whole["layers"]]
    holder = nn.ModuleDict({"model": whole})
    assert quantise(holder, "int8", "bitsandbytes", lambda name: torch.device("cpu")) == 2
    for was, layer in zip(before, holder["model"]["layers"]):
        print(float((layer(x) - was).abs().max() / was.abs().max()))
"""


@pytest.mark.parametrize("instructions", [None, "AVX2"])
def test_int8_layers_are_right_with_and_without_vnni(instructions):
    """oneDNN reads the variable when it is loaded, so each case has a process of its own."""
    settings = dict(os.environ)
    settings.pop("ONEDNN_MAX_CPU_ISA", None)
    if instructions:
        settings["ONEDNN_MAX_CPU_ISA"] = instructions
    done = subprocess.run([sys.executable, "-c", LAYERS], env=settings, capture_output=True, text=True, check=True)
    errors = [float(line) for line in done.stdout.split()]
    assert len(errors) == 2 and all(0 < error < 0.02 for error in errors), errors
