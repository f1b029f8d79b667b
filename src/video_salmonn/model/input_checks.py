"""What the model refuses before it computes: tensors that torch would fail on without a word that helps, or, worse,
take: a prompt with places for media that are not there is answered about nothing."""

from __future__ import annotations

from collections.abc import Mapping
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
