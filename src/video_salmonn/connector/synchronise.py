"""Put sight and sound on one time axis (paper §3.1; released ``sequence_align_v2`` steps 1-5).

Every frame of 0.5 s holds V visual tokens and A audio steps. The streams are zero-padded to a common number of frames
and a common number of slots, and concatenated on the feature axis in the order [visual | speech | audio].

For the paper's ablation without synchronisation (Table 4) the same streams follow each other instead: first all frames
of the picture, then all of the sound, each with zeros in the other's place on the feature axis. What exactly the
authors put in place of synchronisation is not published; this form takes away the common time axis and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F


class Synchronised(NamedTuple):
    """Joint features on the frame axis.

    Attributes:
        values: ``(B, T, S, D_joint)``.
        frame_mask: ``(B, T)`` bool, True where at least one stream in use has a real frame.
        length: frames of the longest stream, before T was padded to whole windows.
        all_real: known without looking at the mask: no frame of any item is padding.
    """

    values: torch.Tensor
    frame_mask: torch.Tensor
    length: int
    all_real: bool


def fold_steps(steps: torch.Tensor, per_frame: int, frames: int | None = None) -> torch.Tensor:
    """Zero-pad steps on time to whole frames (or to ``frames``) and fold them: (B, N, D) -> (B, T, per_frame, D)."""
    batch, count, width = steps.shape
    wanted = -(-count // per_frame) if frames is None else frames
    steps = F.pad(steps, (0, 0, 0, wanted * per_frame - count))
    return steps.view(batch, wanted, per_frame, width)


def pad_frames(values: torch.Tensor, frames: int) -> torch.Tensor:
    """Append zero frames: (B, T, S, D) -> (B, frames, S, D)."""
    return F.pad(values, (0, 0, 0, 0, 0, frames - values.shape[1]))


def pad_slots(values: torch.Tensor, slots: int) -> torch.Tensor:
    """Append zero slots to every frame: (B, T, s, D) -> (B, T, slots, D)."""
    return F.pad(values, (0, 0, 0, slots - values.shape[2]))


def keep_real(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Set padding frames to exact zeros, after the projection (which would otherwise leave its bias there).

    Args:
        values: ``(B, T, S, D)``.
        mask: ``(B, T)`` bool, or None where every frame is real.
    """
    return values if mask is None else values.masked_fill(~mask[:, :, None, None], 0.0)


def synchronise(
    visual: torch.Tensor | None,
    sound: list[torch.Tensor],
    *,
    slots: int,
    multiple: int,
    absent_widths: tuple[int, int],
    visual_mask: torch.Tensor | None = None,
    sound_mask: torch.Tensor | None = None,
    modality_mask: torch.Tensor | None = None,
    side_by_side: bool = True,
) -> Synchronised:
    """Align projected streams and concatenate them.

    Args:
        visual: ``(B, Tv, V, D)`` or None where no item of the batch has a picture.
        sound: projected streams ``(B, Ta, A, D)``, all of one Ta; empty where no item has sound.
        slots: S, slots of a frame.
        multiple: T is padded with zero frames to a multiple of this.
        absent_widths: width of (visual, all sound streams), for the zeros of a missing modality.
        visual_mask: ``(B, Tv)`` bool of real frames, or None for all.
        sound_mask: ``(B, Ta)`` bool of real frames, or None for all.
        modality_mask: ``(B, 2)`` of 0 and 1 = [use picture, use sound]; a modality not used is exact zeros.
        side_by_side: False: each item's sound begins where its picture ends.

    Raises:
        ValueError: neither stream is given, or a mask has another shape.
    """
    present = [stream for stream in (visual, *sound) if stream is not None]
    if not present:
        raise ValueError("synchronise needs at least one of visual and sound")
    batch, device = present[0].shape[0], present[0].device
    if modality_mask is not None and modality_mask.shape != (batch, 2):
        raise ValueError(f"modality_mask is {tuple(modality_mask.shape)}, ({batch}, 2) is needed")
    lengths = [stream.shape[1] for stream in present]
    both = visual is not None and bool(sound)
    real = max(lengths) if side_by_side or not both else lengths[0] + lengths[1]
    frames = -(-real // multiple) * multiple

    parts: list[torch.Tensor] = []
    frame_mask = torch.zeros(batch, frames, dtype=torch.bool, device=device)
    pictures = [] if visual is None else [visual]
    first = torch.zeros(batch, dtype=torch.long, device=device)  # frame at which an item's stream begins
    for index, (streams, mask) in enumerate(((pictures, visual_mask), (sound, sound_mask))):
        if not streams:
            parts.append(present[0].new_zeros(batch, frames, slots, absent_widths[index]))
            continue
        joined = streams[0] if len(streams) == 1 else torch.cat(streams, dim=-1)
        length = joined.shape[1]
        if mask is not None and mask.shape != (batch, length):
            name = ("visual_mask", "sound_mask")[index]
            raise ValueError(f"{name} is {tuple(mask.shape)}, ({batch}, {length}) is needed: one entry per frame")
        joined = pad_slots(pad_frames(keep_real(joined, mask), frames), slots)
        in_use = torch.ones(batch, length, dtype=torch.bool, device=device) if mask is None else mask
        if modality_mask is not None:
            used = modality_mask[:, index, None] != 0
            joined = joined.masked_fill(~used[:, :, None, None], 0.0)
            in_use = in_use & used
        in_use = F.pad(in_use, (0, frames - length))
        if index and both and not side_by_side:
            joined, in_use = _begin_at(first, joined, in_use)
        first = in_use.sum(1)
        parts.append(joined)
        frame_mask |= in_use
    all_real = real == frames and visual_mask is None and sound_mask is None and modality_mask is None
    return Synchronised(torch.cat(parts, dim=-1), frame_mask, real, all_real)


def _begin_at(first: torch.Tensor, values: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each item's frames so that they begin at frame ``first`` (B,): (B, T, S, D), (B, T) -> the same shapes.

    What leaves at the end is padding, and comes in at the beginning.
    """
    frames = real.shape[1]
    source = (torch.arange(frames, device=first.device)[None] - first[:, None]) % frames
    rows = torch.arange(len(first), device=first.device)[:, None]
    return values[rows, source], real[rows, source]
