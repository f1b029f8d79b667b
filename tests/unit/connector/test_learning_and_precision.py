"""Gradients reach everything, window order, precisions, and weights that change under a model that has run."""

import copy

import pytest
import torch

from video_salmonn.connector import ConnectorConfig, Level, MultiResolutionCausalQFormer

from .conftest import SIZES, features, make


@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_gradient_reaches_every_trainable_tensor(direction, share, dropout):
    connector = make(mask_direction=direction, share_qformer=share, dropout=dropout).train()
    output = connector(**features(7, batch=2))
    output.tokens[output.mask].square().sum().backward()
    keys = {name for name, _ in connector.named_parameters() if name.endswith("attention.key.bias")}
    # a key's bias adds the same to every score of a query and falls out of the softmax: there, with nothing to learn
    assert keys
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name not in keys:
            assert parameter.grad.abs().max() > 1e-6, name
    assert connector.positions.grad[: connector.config.positions_used].abs().amax(1).min() > 0


def test_gradients_match_a_finite_difference():
    connector = make(hidden_size=8, num_attention_heads=2, visual_dim=8, speech_dim=6, audio_dim=4, llm_dim=5).double()
    inputs = features(3)
    inputs = {
        "visual": inputs["visual"][..., :8],
        "speech": inputs["speech"][..., :6],
        "audio": inputs["audio"][..., :4],
    }
    inputs = {name: value.double() for name, value in inputs.items()}
    weight = connector.qformers[0].layers[0].block_attention.query.weight
    loss = connector(**inputs).tokens.square().sum()
    (slope,) = torch.autograd.grad(loss, weight)
    step = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1e-5
    with torch.no_grad():
        up, down = copy.deepcopy(connector), copy.deepcopy(connector)
        up.qformers[0].layers[0].block_attention.query.weight += step
        down.qformers[0].layers[0].block_attention.query.weight -= step
        change = up(**inputs).tokens.square().sum() - down(**inputs).tokens.square().sum()
    torch.testing.assert_close(change, 2 * (slope * step).sum(), rtol=1e-4, atol=1e-10)


# ---------------------------------------------------------------------------------------- windows and order


def changed_tokens(connector, frame, frames=15):
    """Which (level, window) outputs change when one frame is perturbed."""
    inputs = features(frames)
    with torch.no_grad():
        before = connector(**inputs)
        inputs["visual"][:, frame] += 3.0
        after = connector(**inputs)
    return [
        [i for i in range(a.shape[1]) if not torch.equal(a[0, i], b[0, i])] for a, b in zip(before.levels, after.levels)
    ]


@pytest.mark.parametrize("frame", [0, 4, 5, 14])
def test_a_frame_reaches_its_own_windows_only(connector, frame):
    assert changed_tokens(connector, frame) == [[frame], [frame // 5]]


@torch.no_grad()
def test_tokens_follow_the_order_of_windows(connector):
    """Swapping two whole coarse windows swaps their tokens: positions restart in every window."""
    inputs = features(15)
    order = torch.tensor([5, 6, 7, 8, 9, 0, 1, 2, 3, 4, *range(10, 15)])
    swapped = {name: value.unflatten(1, (15, -1))[:, order].flatten(1, 2) for name, value in inputs.items()}
    swapped["visual"] = inputs["visual"][:, order]
    tokens = order.repeat_interleave(3) * 3 + torch.arange(3).repeat(15)
    before, after = connector(**inputs).tokens, connector(**swapped).tokens
    torch.testing.assert_close(after, before[:, tokens], atol=2e-5, rtol=0)


@torch.no_grad()
def test_fused_features_are_fine_then_coarse(connector):
    output = connector(**features(10))
    fine, coarse = output.levels
    assert fine.shape == (1, 10, 3, 24)
    assert coarse.shape == (1, 2, 15, 24)
    torch.testing.assert_close(output.fused, torch.cat([fine.flatten(1, 2), coarse.flatten(1, 2)], -1), atol=0, rtol=0)
    torch.testing.assert_close(output.tokens, connector.llm_projection(output.fused), atol=0, rtol=0)


@pytest.mark.parametrize(("direction", "seers"), [("past", [2, 3, 4]), ("future", [0, 1, 2])])
@torch.no_grad()
def test_block_attention_shows_a_frame_to_one_side_only(direction, seers):
    """The block attention itself: features after it change for the frames that may see the perturbed one."""
    connector = make(mask_direction=direction, levels=(Level(5, 15),))
    layer = connector.qformers[0].layers[0]
    seen = {}
    attend = layer.attend

    def keep(*args):
        seen["features"] = attend(*args)
        return seen["features"]

    layer.attend = keep
    inputs = features(5)
    connector(**inputs)
    before = seen["features"]
    inputs["visual"][:, 2] += 3.0
    connector(**inputs)
    differs = (seen["features"] - before).abs().amax(-1).view(5, 32).amax(1) > 0
    assert differs.nonzero().flatten().tolist() == seers


@torch.no_grad()
def test_a_zeroed_level_is_zero_and_leaves_the_other(connector):
    """The paper's Table 5: one level is masked with zeros at test time."""
    inputs = features(7)
    whole = connector(**inputs)
    for level in (0, 1):
        output = connector(**inputs, zero_levels=(level,))
        half = slice(24 * level, 24 * (level + 1))
        other = slice(24 * (1 - level), 24 * (2 - level))
        assert not output.fused[..., half].any()
        torch.testing.assert_close(output.fused[..., other], whole.fused[..., other], atol=0, rtol=0)
        kept = connector.llm_projection.weight[:, other]
        expected = whole.fused[..., other] @ kept.T + connector.llm_projection.bias
        torch.testing.assert_close(output.tokens, expected, atol=1e-5, rtol=0)
    nothing = connector(**inputs, zero_levels=(0, 1)).tokens
    torch.testing.assert_close(nothing, connector.llm_projection.bias.expand_as(nothing))


# -------------------------------------------------------------------------------------------------- precision

BOUNDS = {torch.bfloat16: 0.02, torch.float16: 0.004}
"""Largest difference to float32 as a share of the largest token value; measured 0.0096 and 0.0014."""


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("gradients", [False, True])
def test_half_precisions_agree(dtype, direction, gradients):
    connector = make(mask_direction=direction)
    inputs = features(12)
    masks = {"visual_mask": torch.arange(12)[None] < 8, "sound_mask": torch.arange(12)[None] < 6}
    with torch.set_grad_enabled(gradients):
        exact = connector(**inputs, **masks)
        half = copy.deepcopy(connector).to(dtype)
        rough = half(**{name: value.to(dtype) for name, value in inputs.items()}, **masks)
    assert rough.tokens.dtype == dtype
    assert torch.equal(rough.mask, exact.mask)
    difference = (rough.tokens.float() - exact.tokens)[exact.mask].abs().max() / exact.tokens[exact.mask].abs().max()
    assert difference < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("attend_padding", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_window_of_padding_alone_gives_no_nan(dtype, direction, attend_padding, gradients):
    """Also where activations are large: the release's finfo.min masks overflow in float16 there."""
    connector = make(mask_direction=direction, attend_padding=attend_padding, trim_padding=False).to(dtype)
    inputs = {name: (40 * value).to(dtype) for name, value in features(11).items()}
    masks = {"visual_mask": torch.arange(11)[None] < 2, "sound_mask": torch.arange(11)[None] < 1}
    with torch.set_grad_enabled(gradients):
        output = connector(**inputs, **masks)
        if gradients:
            output.tokens.float().square().mean().backward()
            assert all(torch.isfinite(p.grad).all() for p in connector.parameters())
    assert torch.isfinite(output.tokens).all()
    if not attend_padding:
        assert output.window_masks[1].tolist() == [[True, False, False]]


@torch.no_grad()
def test_all_padding_gives_no_nan(connector):
    inputs = features(6)
    output = connector(**inputs, modality_mask=torch.zeros(1, 2, dtype=torch.long))
    assert torch.isfinite(output.tokens).all()
    assert not output.mask.any()


@torch.no_grad()
def test_a_window_of_padding_reads_the_plain_average(connector):
    """As the release's masks come down to: the same for every query, whatever the queries are."""
    connector = make(trim_padding=False)
    inputs = features(5)
    masks = {"visual_mask": torch.arange(5)[None] < 1}
    output = connector(visual=inputs["visual"], **masks)
    connector.qformers[0].layers[-1].cross_attention.query.weight.mul_(3.0)
    again = connector(visual=inputs["visual"], **masks)
    torch.testing.assert_close(again.levels[0][:, 1:], output.levels[0][:, 1:], atol=0, rtol=0)
    assert (again.levels[0][:, :1] - output.levels[0][:, :1]).abs().max() > 1e-4


# ------------------------------------------------------------------------------------- two paths, one answer


@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("pays", [True, False])
def test_the_reassociated_reading_is_the_plain_one(monkeypatch, direction, pays):
    """Inference may read without making keys and values; forced on and off, it gives the plain path's numbers."""
    from video_salmonn.connector.qformer import Attention

    monkeypatch.setattr(Attention, "reassociation_pays", lambda *_: pays)
    connector = make(mask_direction=direction).double()
    inputs = {name: value.double() for name, value in features(12).items()}
    masks = {"visual_mask": torch.arange(12)[None] < 7, "sound_mask": torch.arange(12)[None] < 6}
    plain = connector(**inputs, **masks).tokens
    with torch.no_grad():
        short = connector(**inputs, **masks).tokens
    torch.testing.assert_close(short, plain.detach(), atol=1e-12, rtol=0)


def test_reassociation_is_chosen_where_it_is_cheaper():
    layer = MultiResolutionCausalQFormer(ConnectorConfig()).qformers[0].layers[0].cross_attention
    for frames, queries, pays in ((1, 3, True), (10, 30, True), (20, 60, False)):
        asked, read = torch.empty(1, queries, 768, device="meta"), torch.empty(1, frames * 32, 2304, device="meta")
        assert layer.reassociation_pays(asked, read) is pays


def test_changed_weights_are_used_at_once(connector):
    """Nothing of an earlier pass is kept: not after a step, a write through .data, a cast and back, or a load."""
    inputs = features(6)

    def tokens(module=connector):
        with torch.no_grad():
            kept = module(**inputs).tokens
        fresh = MultiResolutionCausalQFormer(module.config).eval()
        fresh.load_state_dict(module.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(kept, fresh(**inputs).tokens, atol=0, rtol=0)
        return kept

    with torch.inference_mode():
        connector(**inputs)
    first = tokens()
    with torch.no_grad():
        connector.positions.add_(0.1)
    second = tokens()
    connector.qformers[0].layers[0].block_attention.value.weight.data.mul_(1.5)
    third = tokens()
    connector.bfloat16().float()
    fourth = tokens()
    connector.load_state_dict(make(seed=5).state_dict(), assign=True)
    fifth = tokens()
    for one, other in ((first, second), (second, third), (third, fourth), (fourth, fifth)):
        assert not torch.equal(one, other)


def test_inference_mode_and_no_grad_agree(connector):
    inputs = features(6)
    with torch.inference_mode():
        one = connector(**inputs).tokens.clone()
    with torch.no_grad():
        torch.testing.assert_close(one, connector(**inputs).tokens, atol=0, rtol=0)
    connector(**inputs).tokens.sum().backward()  # and learning goes on afterwards
    assert connector.positions.grad is not None


def test_a_state_survives_saving(connector, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file(connector.state_dict(), tmp_path / "connector.safetensors")
    again = MultiResolutionCausalQFormer(ConnectorConfig(**SIZES)).eval()
    again.load_state_dict(load_file(tmp_path / "connector.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(again(**features(3)).tokens, connector(**features(3)).tokens, atol=0, rtol=0)
