"""The multi-resolution causal Q-Former (paper §3.2): project, synchronise, read every level, fuse, map to the LLM."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.connector.configuration import ConnectorConfig
from video_salmonn.connector.qformer import CausalQFormer, level_input
from video_salmonn.connector.synchronise import Synchronised, fold_steps, synchronise
from video_salmonn.connector.windows import unfold_windows


@dataclass(frozen=True)
class ConnectorOutput:
    """What the connector makes of a batch.

    Attributes:
        tokens: ``(B, L, D_llm)``, the language model's input.
        mask: ``(B, L)`` bool: tokens the language model is to be given.
        fused: ``(B, L, D·R)`` before the projection to the language model, levels by ascending window.
        levels: query outputs of each level, ``(B, W, N, D)``.
        window_masks: ``(B, W)`` bool for each level: windows with at least one real frame.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    fused: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    window_masks: tuple[torch.Tensor, ...]


class MultiResolutionCausalQFormer(nn.Module):
    """Encoder features of a clip in, language-model tokens out.

    Since ``Linear(concat(h_1 … h_R)) = Σ_r W^(r) h_r + b``, the projection of the fused levels is the paper's Eq. 4.
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.visual_projection = (
            nn.Linear(config.visual_dim, hidden) if config.visual_dim and config.visual_dim != hidden else None
        )
        self.speech_projection = nn.Linear(config.speech_dim, hidden) if config.speech_dim else None
        self.audio_projection = nn.Linear(config.audio_dim, hidden) if config.audio_dim else None
        self.input_norm = nn.LayerNorm(config.joint_dim, eps=config.input_norm_eps)
        self.positions = nn.Parameter(torch.empty(config.position_rows or config.positions_used, config.joint_dim))
        self.level_queries = nn.ParameterList(torch.empty(level.queries, hidden) for level in config.levels)
        self.qformers = nn.ModuleList(
            CausalQFormer(config) for _ in range(1 if config.share_qformer else len(config.levels))
        )
        self.llm_projection = nn.Linear(hidden * len(config.levels), config.llm_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """BERT's initialisation (normal, std 0.02; zero biases), which the released modules start from."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        for parameter in (self.positions, *self.level_queries):
            nn.init.normal_(parameter, std=0.02)

    def project_sound(self, speech: torch.Tensor | None, audio: torch.Tensor | None) -> list[torch.Tensor]:
        """Project the sound streams and fold them into frames.

        The shorter stream is zero-padded *before* its projection, so its padding equals the bias, as released.

        Args:
            speech: ``(B, N, D_speech)``, 50 steps per second, or None.
            audio: ``(B, M, D_audio)`` or None.

        Returns:
            streams ``(B, Ta, A, D)`` in the order [speech, audio], empty where both are None.
        """
        streams = [(self.speech_projection, speech), (self.audio_projection, audio)]
        given = [steps for _, steps in streams if steps is not None]
        if not given:
            return []
        per_frame = self.config.audio_tokens
        frames = max(-(-steps.shape[1] // per_frame) for steps in given)
        projected = []
        for linear, steps in streams:
            if linear is None:
                continue
            if steps is None:
                steps = given[0].new_zeros(given[0].shape[0], 0, linear.in_features)
            projected.append(linear(fold_steps(steps, per_frame, frames)))
        return projected

    def synchronise(
        self,
        visual: torch.Tensor | None,
        speech: torch.Tensor | None,
        audio: torch.Tensor | None,
        visual_mask: torch.Tensor | None = None,
        sound_mask: torch.Tensor | None = None,
        modality_mask: torch.Tensor | None = None,
        coarseness: int = 1,
        places: Sequence[int] | None = None,
    ) -> Synchronised:
        """Project and align the streams; arguments as in :meth:`forward`. Returns (B, T, S, D_joint) and (B, T)."""
        config = self.config
        if visual is not None and self.visual_projection is not None:
            visual = self.visual_projection(visual)
        visual_width = config.hidden_size if config.visual_dim else 0
        return synchronise(
            visual,
            self.project_sound(speech, audio),
            slots=config.slots if places is None else len(places),
            multiple=config.window_multiple * coarseness,
            absent_widths=(visual_width, config.joint_dim - visual_width),
            visual_mask=visual_mask,
            sound_mask=sound_mask,
            modality_mask=modality_mask,
            side_by_side=config.synchronise,
        )

    def forward(
        self,
        visual: torch.Tensor | None = None,
        speech: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
        *,
        visual_mask: torch.Tensor | None = None,
        sound_mask: torch.Tensor | None = None,
        modality_mask: torch.Tensor | None = None,
        zero_levels: Collection[int] = (),
        coarseness: int = 1,
        places: Sequence[int] | None = None,
    ) -> ConnectorOutput:
        """Connect a batch of clips.

        Args:
            visual: visual tokens ``(B, Tv, V, D_visual)``, one row of V per frame of 0.5 s, or None.
            speech: speech features ``(B, N, D_speech)``, A steps per frame, or None.
            audio: sound-event features ``(B, M, D_audio)``, A steps per frame, or None.
            visual_mask: ``(B, Tv)`` bool of real frames; None for all.
            sound_mask: ``(B, ceil(max(N, M) / A))`` bool of real frames; None for all.
            modality_mask: ``(B, 2)`` = [use picture, use sound].
            zero_levels: indices of levels whose outputs are set to zero (paper Table 5).
            coarseness: make every window this many times longer at the same number of queries, for long media: fewer
                tokens per second. Frames of a longer window share the learned positions of their frame.
            places: which of a frame's S slots are given, ascending: ``visual`` then holds ``(B, Tv, len(places), D)``
                and there is no sound. Training on still pictures takes a few of their tokens, for a part of the cost.

        Returns:
            tokens and everything the losses and pictures need.

        Raises:
            ValueError: no stream is given, a shape does not fit the configuration, or a level does not exist.
        """
        config = self.config
        self._check_inputs(visual, speech, audio, zero_levels, coarseness, places)
        joint, frame_mask, length, all_real = self.synchronise(
            visual, speech, audio, visual_mask, sound_mask, modality_mask, coarseness, places
        )
        if config.attend_padding:  # as released: whatever is missing or switched off counts as real up to the longest
            frame_mask = (torch.arange(joint.shape[1], device=joint.device) < length).expand_as(frame_mask)
        content = self.input_norm(joint)

        see_all, slots = all_real or config.attend_padding, joint.shape[2]
        inputs = [
            level_input(config, level.frames * coarseness, queries, frame_mask, see_all, slots)
            for level, queries in zip(config.levels, self.level_queries)
        ]
        positions = self._positions(coarseness, places)
        if config.share_qformer:
            states = self.qformers[0](content, positions, inputs)
        else:
            states = [qformer(content, positions, [level])[0] for qformer, level in zip(self.qformers, inputs)]

        batch = joint.shape[0]
        levels = [unfold_windows(state, batch) for state in states]
        levels = [torch.zeros_like(level) if i in zero_levels else level for i, level in enumerate(levels)]
        fused = torch.cat([level.flatten(1, 2) for level in levels], dim=-1)
        return ConnectorOutput(
            tokens=self.llm_projection(fused),
            mask=self._token_mask(frame_mask, fused.shape[1]),
            fused=fused,
            levels=tuple(levels),
            window_masks=tuple(level.key_mask.any(dim=1).view(batch, -1) for level in inputs),
        )

    def _positions(self, coarseness: int, places: Sequence[int] | None) -> torch.Tensor:
        """The position table, for windows ``coarseness`` times as long (each frame's rows repeated for the frames in
        its place) and for those slots that are given."""
        if coarseness == 1 and places is None:
            return self.positions
        frames = self.positions[: self.config.positions_used].unflatten(0, (-1, self.config.slots))
        if places is not None:
            frames = frames[:, list(places)]
        return frames.repeat_interleave(coarseness, dim=0).flatten(0, 1)

    def _check_inputs(
        self,
        visual: torch.Tensor | None,
        speech: torch.Tensor | None,
        audio: torch.Tensor | None,
        zero_levels: Collection[int],
        coarseness: int,
        places: Sequence[int] | None,
    ) -> None:
        """Refuse what would otherwise be padded, cut or ignored without a word."""
        config = self.config
        if places is not None:
            if not places or speech is not None or audio is not None:
                raise ValueError("places are of pictures without sound, and at least one of them is needed")
            if sorted(set(places) & set(range(config.visual_tokens))) != list(places):
                raise ValueError(f"places {list(places)} are not ascending numbers below {config.visual_tokens}")
        given = config.visual_tokens if places is None else len(places)
        if visual is not None and (visual.ndim != 4 or visual.shape[2:] != (given, config.visual_dim)):
            wanted = f"(B, T, {given}, {config.visual_dim})"
            raise ValueError(f"visual is {tuple(visual.shape)}, {wanted} is needed")
        for name, steps, width in (("speech", speech, config.speech_dim), ("audio", audio, config.audio_dim)):
            if steps is not None and (steps.ndim != 3 or steps.shape[2] != width):
                raise ValueError(f"{name} is {tuple(steps.shape)}, (B, steps, {width}) is needed")
        batches = {stream.shape[0] for stream in (visual, speech, audio) if stream is not None}
        if len(batches) > 1:
            raise ValueError(f"the streams have different batch sizes: {sorted(batches)}")
        if coarseness < 1:
            raise ValueError(f"coarseness is {coarseness}, at least 1 is needed")
        unknown = sorted(set(zero_levels) - set(range(len(config.levels))))
        if unknown:
            raise ValueError(f"zero_levels {unknown} do not exist; there are levels 0 to {len(config.levels) - 1}")

    def _token_mask(self, frame_mask: torch.Tensor, length: int) -> torch.Tensor:
        """(B, T) -> (B, L): a token is real where its share of the time axis holds a real frame."""
        if not self.config.trim_padding:
            return torch.ones(frame_mask.shape[0], length, dtype=torch.bool, device=frame_mask.device)
        frames = frame_mask.shape[1]
        # the slot of the time axis a token stands for may be a part of a frame, or several
        starts = torch.arange(length, device=frame_mask.device) * frames // length
        ends = ((torch.arange(length, device=frame_mask.device) + 1) * frames - 1) // length
        real = F.pad(frame_mask.long().cumsum(1), (1, 0))
        return real[:, ends + 1] > real[:, starts]
