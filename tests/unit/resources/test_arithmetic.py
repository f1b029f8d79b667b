"""Number formats that a device only imitates are said to be slow, once, in every report."""

import torch

from video_salmonn import VideoSalmonn
from video_salmonn.resources import arithmetic


def test_a_processor_without_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)
    assert not arithmetic.multiplies_bfloat16("cpu")
    assert arithmetic.slow_numbers(torch.float32, "cpu") == []
    (said,) = arithmetic.slow_numbers(torch.bfloat16, "cpu")
    assert "float32" in said and "--dtype fp32" in said
    assert said in VideoSalmonn.load("tiny", dtype="bf16").notices
    assert said not in VideoSalmonn.load("tiny").notices
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert arithmetic.slow_numbers(torch.bfloat16, "cpu") == []
