"""InstructBLIP's Q-Former: 32 visual tokens a frame, read in the light of the question.

Because the question takes part, these tokens can't be reused for another question; the patch tokens below them can.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

from video_salmonn.types import Features


class InstructionQFormerConfig(InstructBlipQFormerConfig):
    """transformers' sizes of the Q-Former, and V, which transformers keeps beside them.

    Attributes:
        num_query_tokens: V, visual tokens of a frame.
    """

    num_query_tokens: int = 32


class InstructBlipQFormer(nn.Module):
    """Patch tokens and instruction in, V visual tokens a frame out.

    Args:
        config: sizes of the Q-Former.
    """

    def __init__(self, config: InstructionQFormerConfig) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.hidden_size))
        nn.init.normal_(self.query_tokens, std=config.initializer_range)
        self.qformer = InstructBlipQFormerModel(config)
        self.width: int = config.hidden_size

    def forward(
        self,
        patches: torch.Tensor,
        instruction_ids: torch.Tensor | None = None,
        instruction_mask: torch.Tensor | None = None,
    ) -> Features:
        """Read the patches of every frame.

        Args:
            patches: ``(T, P, D_vision)``.
            instruction_ids: ``(T, n)`` BERT tokens of the question, or None for none.
            instruction_mask: ``(T, n)`` of 0 and 1, 1 for real tokens; None where all are.

        Returns:
            values ``(T, V, D)``.
        """
        queries = self.query_tokens.expand(patches.shape[0], -1, -1)
        mask = None
        if instruction_ids is not None and instruction_mask is not None:
            ones = instruction_mask.new_ones(queries.shape[:2])
            mask = torch.cat([ones, instruction_mask], dim=1)
        hidden = self.qformer(
            input_ids=instruction_ids,
            attention_mask=mask,
            query_embeds=queries,
            encoder_hidden_states=patches,
        ).last_hidden_state
        return Features(hidden[:, : queries.shape[1]])
