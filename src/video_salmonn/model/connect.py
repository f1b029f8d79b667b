"""Features of several items through the connector at once, so that no item notices its neighbours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from video_salmonn.connector import ConnectorOutput, MultiResolutionCausalQFormer, diversity_terms
from video_salmonn.connector.configuration import DiversityForm
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.tower import MediaTower


@dataclass(frozen=True)
class MediaTokens:
    """What the connector made of M items.

    Attributes:
        tokens: ``(L_m, D_llm)`` for each item: real tokens only.
        groups: the connector's outputs, each with the number of items it covers.
    """

    tokens: list[torch.Tensor]
    groups: list[tuple[int, ConnectorOutput]]

    @property
    def embeds(self) -> torch.Tensor:
        """All items' tokens, ``(Σ L_m, D_llm)``."""
        return torch.cat(self.tokens)

    def diversity_terms(self, form: str, count_padding: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums and counts of the diversity loss over all items (:func:`~video_salmonn.connector.diversity_terms`)."""
        chosen: DiversityForm = "paper" if form == "paper" else "released"
        terms = [diversity_terms(out, chosen, skip_padding=not count_padding) for _, out in self.groups]
        return torch.stack([sums for sums, _ in terms]).sum(0), torch.stack([counts for _, counts in terms]).sum(0)

    def mean_diversity(self, form: str, count_padding: bool) -> torch.Tensor:
        """The diversity loss over all items, scalar; in the released form every window weighs alike."""
        sums, counts = self.diversity_terms(form, count_padding)
        return (sums / counts.clamp(min=1)).sum()


def _stack(parts: list[torch.Tensor | None], length: int) -> torch.Tensor | None:
    """Zero-pad (n_i, …) parts to ``length`` and stack; None where no item has one."""
    known = next((part for part in parts if part is not None), None)
    if known is None:
        return None
    rows = []
    for part in parts:
        part = known.new_zeros(0, *known.shape[1:]) if part is None else part
        rows.append(F.pad(part, (*([0, 0] * (part.ndim - 1)), 0, length - part.shape[0])))
    return torch.stack(rows)


def _lengths(parts: Sequence[int], length: int, device: torch.device) -> torch.Tensor | None:
    """Mask (B, length) of the first n_i positions; None where all are real."""
    if all(n == length for n in parts):
        return None
    return torch.arange(length, device=device)[None] < torch.tensor(parts, device=device)[:, None]


def connect(
    tower: MediaTower,
    connector: MultiResolutionCausalQFormer,
    features: Sequence[MediaFeatures],
    instructions: tuple[torch.Tensor, torch.Tensor] | None = None,
    zero_levels: Collection[int] = (),
    coarseness: int = 1,
) -> MediaTokens:
    """Run the connector on items of any modality and length.

    Where padding is attended (released behaviour) only items of the same shape share a pass, since padding one to
    another's length would change it; elsewhere all items do.

    Args:
        tower: makes visual tokens from patch tokens where the question takes part.
        connector: the connector.
        features: one entry an item; all of the same ``places``.
        instructions: (ids, mask), ``(M, n)`` each.
        zero_levels: levels to set to zero.
        coarseness: make windows this many times longer.
    """
    per_frame = connector.config.audio_tokens
    visuals: list[torch.Tensor | None] = []
    for index, item in enumerate(features):
        pair = None if instructions is None else (instructions[0][index], instructions[1][index])
        visuals.append(tower.visual_tokens_of(item, pair))
    sights = [0 if visual is None else visual.shape[0] for visual in visuals]
    steps = [max((t.shape[0] for t in (item.speech, item.audio) if t is not None), default=0) for item in features]
    sounds = [-(-n // per_frame) for n in steps]

    rows = list(range(len(features)))
    groups = [rows]
    if connector.config.attend_padding:
        shapes = sorted({(sights[i], sounds[i]) for i in rows})
        groups = [[i for i in rows if (sights[i], sounds[i]) == shape] for shape in shapes]
    tokens: dict[int, torch.Tensor] = {}
    outputs = []
    for group in groups:
        frames, sound = max(sights[i] for i in group), max(sounds[i] for i in group)
        visual, places = _stack([visuals[i] for i in group], frames), features[group[0]].places
        config = connector.config  # a connector without the branch of a stream gets nothing of it
        speech = _stack([features[i].speech for i in group], sound * per_frame) if config.speech_dim else None
        audio = _stack([features[i].audio for i in group], sound * per_frame) if config.audio_dim else None
        device = next(t.device for t in (visual, speech, audio) if t is not None)
        output = connector(
            visual if visual is None or places is None else visual[:, :, list(places)],
            speech,
            audio,
            visual_mask=_lengths([sights[i] for i in group], frames, device) if visual is not None else None,
            sound_mask=_lengths([sounds[i] for i in group], sound, device) if sound else None,
            zero_levels=zero_levels,
            coarseness=coarseness,
            places=places,
        )
        outputs.append((len(group), output))
        for row, index in enumerate(group):
            tokens[index] = output.tokens[row][output.mask[row]]
    return MediaTokens([tokens[i] for i in rows], outputs)
