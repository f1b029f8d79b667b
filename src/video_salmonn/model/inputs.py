"""What the processor hands to the model, and what the encoders make of it, item by item."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class MediaInputs:
    """Encoder inputs of M media items, packed without padding: items follow each other on the first axis.

    Attributes:
        pixel_values: frames of all items, ``(ΣT, 3, H, W)``, or None.
        frame_counts: frames of each item, ``(M,)`` int64, 0 for none.
        log_mel: speech-encoder input of all segments, ``(ΣS, bins, m)``, or None.
        audio_inputs: sound-event input of all segments: fbank ``(ΣS, n, 128)`` (BEATs) or patches
            ``(ΣS, frames, 96, 64)`` (YAMNet), or None.
        segment_counts: sound segments of each item, ``(M,)`` int64, 0 for none.
        segment_samples: real samples of each segment, ``(ΣS,)`` int64.
        sound_frames: real frames of 0.5 s of each item's sound, ``(M,)`` int64.
        still_frames: ``(M,)`` int64: a picture's tokens are repeated for this many frames; 0 for moving pictures.
        instruction_ids, instruction_mask: the question for InstructBLIP's Q-Former, ``(M, n)``, or None.
    """

    pixel_values: torch.Tensor | None = None
    frame_counts: torch.Tensor | None = None
    log_mel: torch.Tensor | None = None
    audio_inputs: torch.Tensor | None = None
    segment_counts: torch.Tensor | None = None
    segment_samples: torch.Tensor | None = None
    sound_frames: torch.Tensor | None = None
    still_frames: torch.Tensor | None = None
    instruction_ids: torch.Tensor | None = None
    instruction_mask: torch.Tensor | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the tensors, which are keyword arguments of the model's ``forward`` and ``generate``."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def taken_from(cls, values: dict[str, Any]) -> MediaInputs:
        """Take the tensors out of keyword arguments, whatever else there is among them."""
        return cls(**{name: values.pop(name) for name in cls.names() if name in values})

    @property
    def given(self) -> bool:
        """Whether there are media items."""
        return any(getattr(self, name) is not None for name in self.names() if not name.startswith("instruction_"))

    @property
    def instructions(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(ids, mask) of the questions, ``(M, n)`` each, or None without."""
        if self.instruction_ids is None:
            return None
        mask = self.instruction_mask
        return self.instruction_ids, torch.ones_like(self.instruction_ids) if mask is None else mask

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> MediaInputs:
        """Move all tensors; floating ones also to ``dtype``."""
        moved = {}
        for name in self.names():
            tensor = getattr(self, name)
            if tensor is not None:
                moved[name] = tensor.to(device, dtype if tensor.is_floating_point() else None)
        return replace(self, **moved)


@dataclass(frozen=True)
class MediaFeatures:
    """Frozen encoders' output for one item: all that is worth caching.

    Attributes:
        visual: ``(T, P, D)``: patch tokens where a question-aware Q-Former follows, else the V visual tokens; or None.
        speech: ``(N, D)``, 50 steps per second, or None.
        audio: ``(N, D)``, or None.
        sound_frames: real frames of 0.5 s of the sound (the steps may continue to the end of a padded segment).
        still_frames: repeat the visual tokens of a picture for this many frames; 0 for moving pictures.
        loudness: ``(sound frames + 1,)``: mean square of the sound around the borders of its frames, where it is known.
        places: which visual tokens of a frame the connector is given; None for all (training on still pictures).
    """

    visual: torch.Tensor | None = None
    speech: torch.Tensor | None = None
    audio: torch.Tensor | None = None
    sound_frames: int = 0
    still_frames: int = 0
    loudness: torch.Tensor | None = None
    places: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(t.nbytes for t in (self.visual, self.speech, self.audio) if t is not None)

    def without(self, *, sight: bool = False, sound: bool = False) -> MediaFeatures:
        """The same item with a modality taken away."""
        features = replace(self, visual=None) if sight else self
        return replace(features, speech=None, audio=None, sound_frames=0, loudness=None) if sound else features
