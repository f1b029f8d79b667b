"""Growing a speech-only connector: for speech alone the wide one starts out as the small one, and then it can learn."""

import pytest
import torch

from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.connector.growing import grow
from video_salmonn.connector.starts import spread_positions
from video_salmonn.errors import ConfigError

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "speech_dim": 12, "llm_dim": 24}


def connector(seed=0, **changes):
    torch.manual_seed(seed)
    model = MultiResolutionCausalQFormer(ConnectorConfig(**(SIZES | {"dropout": 0.0} | changes)))
    spread_positions(model)
    return model


def trained_small():
    """A small connector some steps away from its start, so that gains and biases are not ones and zeros."""
    small = connector(visual_dim=None, audio_dim=None)
    optimizer = torch.optim.Adam(small.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        speech = torch.randn(2, 250, 12, generator=generator)
        loss = (small(None, speech).tokens - speech[:, :30, :1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return small.eval()


@pytest.mark.parametrize("mask", ["past", "none"])
def test_speech_alone_gives_what_the_small_one_gives(mask):
    small = trained_small() if mask == "past" else connector(visual_dim=None, audio_dim=None, mask_direction=mask)
    full = connector(1, visual_dim=20, audio_dim=10, visual_tokens=25, mask_direction=mask)
    speech = torch.randn(2, 325, 12)
    with torch.no_grad():
        before = full(None, speech, torch.zeros(2, 325, 10)).tokens
        grow(small, full)
        wanted, found = small(None, speech), full(None, speech, torch.zeros(2, 325, 10))
    assert torch.equal(wanted.mask, found.mask)
    spread = wanted.tokens.std()
    assert (found.tokens - wanted.tokens).abs().mean() < 0.03 * spread < 0.2 * (before - wanted.tokens).abs().mean()


def test_other_modalities_are_felt_and_trained():
    small = trained_small()
    full = connector(1, visual_dim=20, audio_dim=10, visual_tokens=25)
    grow(small, full)
    speech, audio = torch.randn(1, 250, 12), torch.randn(1, 250, 10)
    visual = torch.randn(1, 10, 25, 20)
    plain = full(None, speech, audio * 0).tokens
    assert (full(visual, speech, audio * 0).tokens - plain).abs().max() > 1e-4
    full(visual, speech, audio).tokens.square().sum().backward()
    for name, parameter in full.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_it_fails_clearly():
    small = connector(visual_dim=None, audio_dim=None)
    with pytest.raises(ConfigError, match="intermediate_size"):
        grow(small, connector(visual_dim=20, audio_dim=10, visual_tokens=25, intermediate_size=32))
    with pytest.raises(ConfigError, match="speech branch only"):
        grow(connector(visual_dim=None, audio_dim=10), connector(visual_dim=20, audio_dim=10, visual_tokens=25))
    with pytest.raises(ConfigError, match="slots"):
        grow(small, connector(visual_dim=20, audio_dim=10, visual_tokens=32))
