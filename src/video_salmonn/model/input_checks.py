"""What the model refuses before it computes: tensors that torch would fail on without a word that helps, or, worse,
take: a prompt with places for media that are not there is answered about nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.model.inputs import MediaInputs

_PROCESSOR = "build prompt and media with the same VideoSalmonnProcessor"


def shape_of(value: Any) -> str:
    """A tensor's shape, or the type of what is none."""
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__


def is_continued(options: Mapping[str, Any]) -> bool:
    """Whether a call continues an earlier one, whose positions its mask covers too."""
    return any(options.get(name) is not None for name in ("cache", "past_key_values"))


def check_prompt(model: Any, input_ids: Any, attention_mask: Any, *, media: bool) -> None:
    """See that ids can be a prompt.

    Args:
        model: whose tokens they are.
        input_ids: ``(B, L)``.
        attention_mask: ``(B, L)`` or None.
        media: there are media for the places.

    Raises:
        ConfigError: no such tensor, ids that are no tokens, or places for media without media.
    """
    if not isinstance(input_ids, torch.Tensor) or input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ConfigError(f"input_ids is {shape_of(input_ids)}", remedy="give a tensor (B, L) of token ids")
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise ConfigError(f"input_ids is {input_ids.dtype}", remedy="give whole numbers (torch.int64)")
    if input_ids.is_meta or (media and input_ids.device.type != "cpu"):
        return  # on a device only what would be answered about nothing is worth the wait
    places = input_ids == model.config.media_token_id
    rows = model.get_input_embeddings().weight.shape[0]
    if not bool((((input_ids >= 0) & (input_ids < rows)) | places).all()):
        raise ConfigError(
            f"input_ids go from {int(input_ids.min())} to {int(input_ids.max())} of {counted(rows, 'token')}",
            remedy="use this model's own tokenizer",
        )
    if media:
        return
    if isinstance(attention_mask, torch.Tensor) and attention_mask.shape == input_ids.shape:
        places = places & attention_mask.bool()
    count = int(places.sum())
    if count:
        raise ConfigError(
            f"the prompt has {counted(count, 'media placeholder')}, but no media are given", remedy=_PROCESSOR
        )


def check_embeds(model: Any, inputs_embeds: Any, inputs: MediaInputs, *media: Any) -> None:
    """See that embeddings, where they are given, are a prompt by themselves.

    Args:
        model: that is to read them.
        inputs_embeds: ``(B, L, D_llm)`` or None.
        inputs, media: media in any form, which embeddings have no place for.

    Raises:
        ConfigError: another shape or kind of numbers, or media beside them, which would be ignored.
    """
    if inputs_embeds is None:
        return
    width = model.get_input_embeddings().weight.shape[1]
    tensor = isinstance(inputs_embeds, torch.Tensor)
    if not tensor or inputs_embeds.ndim != 3 or inputs_embeds.shape[2] != width or 0 in inputs_embeds.shape:
        raise ConfigError(f"inputs_embeds is {shape_of(inputs_embeds)}", remedy=f"give a tensor (B, L, {width})")
    if not inputs_embeds.is_floating_point():
        raise ConfigError(f"inputs_embeds is {inputs_embeds.dtype}", remedy="give floating-point numbers, or input_ids")
    if inputs.given or any(form is not None for form in media):
        raise ConfigError(
            "media are given beside inputs_embeds, which have no place for them",
            remedy="give input_ids, or put the media in with model.embed",
        )


def check_mask(attention_mask: Any, inputs_embeds: torch.Tensor, input_ids: torch.Tensor | None) -> None:
    """See that what belongs to the same positions is as long.

    Args:
        attention_mask: ``(B, L)``, a mask of another kind with more axes, or None.
        inputs_embeds: ``(B, L, D)``.
        input_ids: ``(B, L)`` or None.

    Raises:
        ConfigError: one of another length, or for another number of rows.
    """
    wanted = tuple(inputs_embeds.shape[:2])
    for name, value in (("attention_mask", attention_mask), ("input_ids", input_ids)):
        if value is None or (isinstance(value, torch.Tensor) and value.ndim == 4 and name == "attention_mask"):
            continue
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != wanted:
            raise ConfigError(f"{name} is {shape_of(value)}, the prompt {wanted}", remedy=_PROCESSOR)


def check_media(inputs: MediaInputs) -> None:
    """See that packed media inputs fit each other; what does not would be ignored, cut or end in a tensor operation.

    Raises:
        ConfigError: a count is missing, of another form, or does not add up. It names the tensor.
    """
    names = ("frame_counts", "segment_counts", "sound_frames", "still_frames")
    columns = {name: column for name in names if (column := getattr(inputs, name)) is not None}
    items = {len(_counts(name, column)) for name, column in columns.items()}
    if len(items) > 1:
        found = ", ".join(f"{name} {shape_of(column)}" for name, column in columns.items())
        raise _unfit(f"inputs are of different numbers of items: {found}")
    _check_packed(inputs, "frame_counts", ("pixel_values",))
    _check_packed(inputs, "segment_counts", ("log_mel", "audio_inputs", "segment_samples"))
    if inputs.segment_counts is not None and int(inputs.segment_counts.sum()):
        for name in ("segment_samples", "sound_frames"):
            if getattr(inputs, name) is None:
                raise _unfit(f"{name} is missing, but segment_counts names segments")
    if inputs.instruction_ids is not None:
        ids, mask = inputs.instruction_ids, inputs.instruction_mask
        if ids.ndim != 2 or (items and len(ids) not in items):
            raise _unfit(f"instruction_ids is {shape_of(ids)}, a row an item is needed")
        if mask is not None and mask.shape != ids.shape:
            raise _unfit(f"instruction_mask is {shape_of(mask)}, instruction_ids {shape_of(ids)}")


def _unfit(text: str) -> ConfigError:
    return ConfigError(text, remedy="pass on what VideoSalmonnProcessor makes of the media, all of it")


def _counts(name: str, column: torch.Tensor) -> list[int]:
    whole = column.ndim == 1 and not column.is_floating_point() and not column.is_complex()
    numbers: list[int] = column.tolist() if whole else []
    if not whole or min(numbers, default=0) < 0:
        raise _unfit(f"{name} must be whole numbers, one an item, none below 0, not {shape_of(column)} {column.dtype}")
    return numbers


def _check_packed(inputs: MediaInputs, counts: str, names: Sequence[str]) -> None:
    """See that packed tensors have as many rows as their items are said to have."""
    column = getattr(inputs, counts)
    packed = {name: tensor for name in names if (tensor := getattr(inputs, name)) is not None}
    if column is None:
        if packed:
            raise _unfit(f"{' and '.join(packed)} without {counts}: whose they are is not known")
        return
    named = sum(column.tolist())
    if named and not packed:
        raise _unfit(f"{counts} names {named} in all, but there is no {' or '.join(names[:2])}")
    for name, tensor in packed.items():
        if tensor.ndim < 1 or len(tensor) != named:
            raise _unfit(f"{name} is {shape_of(tensor)}, {counts} names {named} in all")
