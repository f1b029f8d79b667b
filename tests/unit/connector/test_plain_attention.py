"""The step-by-step attention taken for bfloat16 training on CPUs gives what torch's fused one gives."""

import pytest
import torch
from torch.nn import functional as F

from video_salmonn.connector.qformer import fused_is_slow, plain_attention


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_plain_equals_fused_with_gradients(dtype, within):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(4, 2, n, 16, generator=generator).to(dtype).requires_grad_() for n in (3, 7, 7))
    mask = torch.rand(4, 1, 3, 7, generator=generator) < 0.6
    mask[..., 0] = True
    results = []
    for attend in (plain_attention, F.scaled_dot_product_attention):
        out = attend(q, k, v, attn_mask=mask, dropout_p=0.0)
        out.float().square().sum().backward()
        results.append([out, *(t.grad.clone() for t in (q, k, v))])
        for tensor in (q, k, v):
            tensor.grad = None
    for ours, theirs in zip(*results):
        assert ours.dtype == dtype
        assert (ours - theirs).abs().max() <= within * max(1.0, float(theirs.abs().max()))


def test_it_is_taken_only_where_it_pays():
    q = torch.zeros(1, 1, 1, 4, dtype=torch.bfloat16)
    assert fused_is_slow(q, 0.0)
    assert not fused_is_slow(q, 0.1) and not fused_is_slow(q.float(), 0.0)
    with torch.no_grad():
        assert not fused_is_slow(q, 0.0)
