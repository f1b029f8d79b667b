"""The plain connector that the benchmark compares with says what the golden files and the production module say."""

import sys
from pathlib import Path

import pytest
import torch

from video_salmonn.checkpoints.golden import read_golden
from video_salmonn.checkpoints.released import names
from video_salmonn.connector import ConnectorConfig, Level, MultiResolutionCausalQFormer

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from plain_connector import plain_connector

FILES = sorted((Path(__file__).parents[1] / "fixtures" / "golden").glob("connector_*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@torch.no_grad()
def test_plain_is_golden(path):
    golden = read_golden(path)
    config = names.released_connector_config(
        golden.config, golden.metadata["mask_direction"], len(golden.weights[names.POSITIONS[0]])
    )
    roles = tuple(role for role, _ in names.released_levels(golden.config))
    weights = names.place_connector(golden.weights, config, roles).state
    inputs = dict(golden.inputs)
    inputs["visual"] = inputs["visual"].unflatten(1, (-1, 32))
    tokens = plain_connector(config, weights, **inputs)
    assert (tokens - golden.outputs["tokens"]).abs().max() <= 1e-4


@pytest.mark.parametrize("use", [(1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize(("seen", "heard"), [(6, 9), (9, 6), (13, 13)])
@torch.no_grad()
def test_production_is_plain_in_float64_where_no_golden_file_looks(use, seen, heard):
    """A batch of one whose longer stream is switched off: the release still attends to its zero frames."""
    torch.manual_seed(0)
    config = ConnectorConfig(
        hidden_size=24,
        num_attention_heads=4,
        intermediate_size=40,
        visual_dim=24,
        speech_dim=20,
        audio_dim=12,
        llm_dim=32,
        levels=(Level(1, 3), Level(5, 15)),
        mask_direction="future",
        attend_padding=True,
        trim_padding=False,
    )
    connector = MultiResolutionCausalQFormer(config).double().eval()
    for parameter in connector.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    inputs = {
        "visual": torch.randn(1, seen, 32, 24).double(),
        "speech": torch.randn(1, heard * 25, 20).double(),
        "audio": torch.randn(1, heard * 25 - 4, 12).double(),
        "modality_mask": torch.tensor([use]),
    }
    plain = plain_connector(config, connector.state_dict(), **inputs)
    torch.testing.assert_close(connector(**inputs).tokens, plain, atol=1e-10, rtol=0)
