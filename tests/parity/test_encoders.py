"""The encoders against the libraries they stand on, and the traps that would go unnoticed."""

import pytest
import torch
from torch import nn
from transformers import InstructBlipVisionConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from video_salmonn.encoders.beats import Beats, BeatsConfig
from video_salmonn.encoders.chunking import cut, segment_samples
from video_salmonn.encoders.eva import EvaViT
from video_salmonn.encoders.instructblip import InstructBlipQFormer, InstructionQFormerConfig
from video_salmonn.encoders.whisper import WhisperEncoder
from video_salmonn.errors import ConfigError
from video_salmonn.features.fbank import beats_fbank, frame_mask

WHISPER = WhisperConfig(
    d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, max_source_positions=1500
)
VISION = InstructBlipVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
)
QFORMER = InstructionQFormerConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=48,
    encoder_hidden_size=32,
    max_position_embeddings=64,
)
BEATS = BeatsConfig(
    embed_dim=16,
    encoder_layers=2,
    encoder_embed_dim=32,
    encoder_ffn_embed_dim=48,
    encoder_attention_heads=4,
    conv_pos=16,
    conv_pos_groups=4,
    num_buckets=32,
    max_distance=64,
)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with noise on every parameter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


# ------------------------------------------------------------------------------------------------- Whisper


@torch.no_grad()
def test_whisper_at_full_length_is_the_librarys_bit_for_bit():
    ours = shaken(WhisperEncoder(WHISPER))
    theirs = HFWhisperEncoder(WHISPER).eval()
    theirs.load_state_dict(ours.model.state_dict())
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours(mel).values, theirs(mel).last_hidden_state)


@torch.no_grad()
def test_the_library_refuses_what_ours_takes():
    """The trap: transformers' encoder raises for any input but 30 s, so callers pad, and lengths are lost."""
    ours = shaken(WhisperEncoder(WHISPER))
    mel = torch.randn(1, 80, 300)
    with pytest.raises(ValueError, match="3000"):
        ours.model(mel)
    features = ours(mel)
    assert features.values.shape == (1, 150, 32)
    assert features.times[:3].tolist() == pytest.approx([0.0, 0.02, 0.04])


@pytest.mark.parametrize("frames", [0, 3, 3002])
def test_whisper_lengths_that_cannot_be_fail(frames):
    with pytest.raises(ValueError, match=f"{frames} frames"):
        WhisperEncoder(WHISPER)(torch.zeros(1, 80, frames))


@torch.no_grad()
def test_whisper_short_is_the_plain_computation():
    """A shorter segment gets the first positions, nothing else changes: shown with a table cut beforehand."""
    ours = shaken(WhisperEncoder(WHISPER))
    short = WhisperConfig(**{**WHISPER.to_dict(), "max_source_positions": 200})
    theirs = HFWhisperEncoder(short).eval()
    state = ours.model.state_dict()
    theirs.load_state_dict(state | {"embed_positions.weight": state["embed_positions.weight"][:200]})
    mel = torch.randn(2, 80, 400)
    torch.testing.assert_close(ours(mel).values, theirs(mel).last_hidden_state, atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------- EVA, Q-Former


def test_epsilons_are_the_released_ones():
    vision = EvaViT(VISION).model
    assert vision.post_layernorm.eps == 1e-5  # ln_vision; the library's own would be 1e-6
    assert {layer.layer_norm1.eps for layer in vision.encoder.layers} == {1e-6}
    assert {layer.layer_norm2.eps for layer in vision.encoder.layers} == {1e-6}
    qformer = InstructBlipQFormer(QFORMER)
    assert {m.eps for m in qformer.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}


def test_the_final_norms_epsilon_is_used():
    vision = shaken(EvaViT(VISION))
    frames = 1e-3 * torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        hidden = vision.model.encoder(inputs_embeds=vision.model.embeddings(frames)).last_hidden_state
        norm = vision.model.post_layernorm
        expected = torch.nn.functional.layer_norm(hidden, (32,), norm.weight, norm.bias, 1e-5)
        torch.testing.assert_close(vision(frames).values, expected, atol=1e-6, rtol=0)


def test_attention_is_sdpa_everywhere():
    """The transformers parts ask for SDPA, and no encoder falls back to anything else without a word."""
    for module in (WhisperEncoder(WHISPER).model, EvaViT(VISION).model, InstructBlipQFormer(QFORMER).qformer):
        assert module.config._attn_implementation == "sdpa"


@torch.no_grad()
def test_a_padded_instruction_does_not_leak():
    """The trap: a float mask of zeros and ones would be added to the scores, and padding would be read."""
    qformer = shaken(InstructBlipQFormer(QFORMER))
    patches = torch.randn(2, 5, 32)
    ids = torch.tensor([[4, 9, 12, 0, 0], [5, 6, 7, 8, 9]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    before = qformer(patches, ids, mask).values
    other = ids.clone()
    other[0, 3:] = torch.tensor([33, 41])
    after = qformer(patches, other, mask).values
    assert torch.equal(before, after)
    alone = qformer(patches[:1], ids[:1, :3], mask[:1, :3]).values
    torch.testing.assert_close(before[:1], alone, atol=1e-6, rtol=2e-6)  # two items and one may be summed otherwise
    other[0, 1] = 40  # and what is not padding is read
    assert (qformer(patches, other, mask).values[0] - before[0]).abs().max() > 1e-3
    torch.testing.assert_close(qformer(patches[:1], ids[:1, :3]).values, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["long", "bool", "float"])
@torch.no_grad()
def test_every_kind_of_instruction_mask_is_the_same(kind):
    qformer = shaken(InstructBlipQFormer(QFORMER))
    patches, ids = torch.randn(1, 5, 32), torch.tensor([[4, 9, 12, 0]])
    mask = torch.tensor([[1, 1, 1, 0]])
    expected = qformer(patches, ids[:, :3]).values
    torch.testing.assert_close(qformer(patches, ids, getattr(mask, kind)()).values, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_queries_of_the_instruction_qformer_see_later_queries():
    """The trap of ``is_decoder``: self-attention would be causal, query 0 blind to query 3."""
    qformer = shaken(InstructBlipQFormer(InstructionQFormerConfig(**{**QFORMER.to_dict(), "num_query_tokens": 4})))
    patches = torch.randn(1, 5, 32)
    before = qformer(patches).values
    qformer.query_tokens[0, 3] += torch.randn(32)  # not a constant, which the norm would take away
    assert (qformer(patches).values - before)[0, 0].abs().max() > 1e-4


# --------------------------------------------------------------------------------------------------- BEATs


@torch.no_grad()
def test_beats_padding_is_not_read():
    beats = shaken(Beats(BEATS))
    wave = 0.1 * torch.randn(2, 32_000)
    lengths = torch.tensor([20_000, 32_000])
    fbank, mask = beats_fbank(wave), frame_mask(lengths, 32_000)
    before = beats(fbank, mask)
    real = before.mask[0]
    assert 0 < real.sum() < len(real)
    fbank[0, 16 * (int(real.sum()) // 8) + 16 :] += 3.0
    after = beats(fbank, mask)
    assert torch.equal(before.values[0][real], after.values[0][real])
    assert torch.equal(before.values[1], after.values[1])


@torch.no_grad()
def test_beats_batched_is_single_without_padding():
    beats = shaken(Beats(BEATS))
    fbank = beats_fbank(0.1 * torch.randn(3, 16_000))
    together = beats(fbank).values
    for row in range(3):
        torch.testing.assert_close(together[row], beats(fbank[row : row + 1]).values[0], atol=1e-5, rtol=0)


def test_beats_shapes_and_times():
    features = Beats(BEATS)(torch.zeros(1, 100, 128))
    assert features.values.shape == (1, 6 * 8, 32)
    assert features.times[[0, 7, 8]].tolist() == pytest.approx([0.0, 0.0, 0.16])
    with pytest.raises(ValueError, match="at least 16"):
        Beats(BEATS)(torch.zeros(1, 15, 128))


def test_beats_of_30_seconds_is_1496_tokens():
    with torch.device("meta"):
        assert Beats(BEATS)(torch.zeros(1, 2998, 128)).values.shape[1] == 1496


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_encoders_in_half_precision_are_finite_and_close(dtype, bound):
    wave = 0.1 * torch.randn(2, 16_000)
    mask = frame_mask(torch.tensor([9_000, 16_000]), 16_000)
    for module, inputs in (
        (shaken(Beats(BEATS)), (beats_fbank(wave), mask)),
        (shaken(EvaViT(VISION)), (torch.randn(2, 3, 28, 28),)),
        (shaken(WhisperEncoder(WHISPER)), (torch.randn(1, 80, 200),)),
    ):
        exact = module(*inputs).values
        rough = module.to(dtype)(*(t.to(dtype) if t.is_floating_point() else t for t in inputs)).values
        assert rough.dtype == dtype
        assert torch.isfinite(rough).all()
        assert (rough.float() - exact).abs().max() / exact.abs().max() < bound, type(module)


# ------------------------------------------------------------------------------------------------ segments


@pytest.mark.parametrize(
    ("samples", "pad_last", "shape", "frames", "lengths"),
    [
        (0, True, (1, 480_000), 1, [0]),
        (0, False, (1, 8_000), 1, [0]),
        (100_000, True, (1, 480_000), 13, [100_000]),
        (100_000, False, (1, 104_000), 13, [100_000]),
        (480_000, False, (1, 480_000), 60, [480_000]),
        (480_001, False, (2, 480_000), 61, [480_000, 1]),
        (1_000_000, True, (3, 480_000), 125, [480_000, 480_000, 40_000]),
    ],
)
def test_cutting(samples, pad_last, shape, frames, lengths):
    wave = torch.randn(samples)
    segments = cut(wave, 30.0, pad_last=pad_last)
    assert segments.waveform.shape == shape
    assert (segments.frames, segments.lengths.tolist()) == (frames, lengths)
    assert torch.equal(segments.waveform.flatten()[:samples], wave)
    assert not segments.waveform.flatten()[samples:].any()


@pytest.mark.parametrize("seconds", [0, -1, 30.5, 0.7])
def test_segments_that_cannot_be(seconds):
    with pytest.raises(ConfigError, match="segment_seconds"):
        segment_samples(seconds)
