"""A small connector with random weights, and random features for it."""

import pytest
import torch

from video_salmonn.connector import ConnectorConfig, Level, MultiResolutionCausalQFormer

SIZES = {
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "visual_dim": 24,
    "speech_dim": 20,
    "audio_dim": 12,
    "llm_dim": 32,
    "levels": (Level(1, 3), Level(5, 15)),
    "dropout": 0.0,
}


def make(seed: int = 0, **changes) -> MultiResolutionCausalQFormer:
    """Random weights everywhere, biases and norms included, so that nothing is at a value that hides a fault."""
    module = MultiResolutionCausalQFormer(ConnectorConfig(**{**SIZES, **changes})).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return module


def features(frames: int, heard: int | None = None, *, batch: int = 1, seed: int = 0, config=None, rest: int = 0):
    """visual (B, T, V, 24), speech (B, 25 Ta, 20), audio (B, 25 Ta - rest, 12)."""
    generator = torch.Generator().manual_seed(seed)
    heard = frames if heard is None else heard
    return {
        "visual": torch.randn(batch, frames, 32, 24, generator=generator),
        "speech": torch.randn(batch, 25 * heard, 20, generator=generator),
        "audio": torch.randn(batch, 25 * heard - rest, 12, generator=generator),
    }


@pytest.fixture
def connector() -> MultiResolutionCausalQFormer:
    """Default profile: past, padding masked and trimmed, shared Q-Former."""
    return make()
