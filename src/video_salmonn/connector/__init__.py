"""Synchronised features to language-model tokens: the multi-resolution causal Q-Former (paper §3.2)."""

from video_salmonn.connector.configuration import ConnectorConfig, Level
from video_salmonn.connector.diversity import acting_levels, diversity_loss, diversity_terms
from video_salmonn.connector.multi_resolution import ConnectorOutput, MultiResolutionCausalQFormer

__all__ = [
    "ConnectorConfig",
    "ConnectorOutput",
    "Level",
    "MultiResolutionCausalQFormer",
    "acting_levels",
    "diversity_loss",
    "diversity_terms",
]
