"""The weights of a saved model, put into it straight from the files they are mapped from.

``from_pretrained`` prepares for weights that have to be renamed, converted or initialised, and compiles an expression
for each of them. A directory that this package saved needs nothing of that. Its tensors become the model's parameters
as they lie in the mapped file: nothing is initialised only to be overwritten, nothing is held twice, and pages come
into memory when they are used. Whatever does not fit exactly goes to ``from_pretrained``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import nn
from transformers import GenerationConfig
from transformers.initialization import no_init_weights

from video_salmonn.checkpoints.directory import INDEX, WEIGHTS, weight_files
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

GENERATION = "generation_config.json"
Report = dict[str, Any]


def load_weights(
    folder: Path, config: VideoSalmonnConfig, dtype: torch.dtype | None = None
) -> tuple[VideoSalmonnForConditionalGeneration, Report]:
    """The model of a directory, on the CPU.

    Args:
        folder: that ``save_pretrained`` wrote.
        config: the model's.
        dtype: of all weights; None for the stored one.

    Returns:
        the model, and transformers' report with ``missing_keys`` and ``unexpected_keys``.

    Raises:
        OSError, ValueError, SafetensorError, RuntimeError: as ``from_pretrained``.
    """
    model = _mapped(folder, config, dtype)
    if model is not None:
        return model, {"missing_keys": [], "unexpected_keys": []}
    loaded: tuple[VideoSalmonnForConditionalGeneration, Report] = VideoSalmonnForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=dtype or "auto", output_loading_info=True, local_files_only=True
    )
    return loaded


def _mapped(
    folder: Path, config: VideoSalmonnConfig, dtype: torch.dtype | None
) -> VideoSalmonnForConditionalGeneration | None:
    """The model with its tensors mapped; None where something does not fit exactly."""
    files = weight_files(folder) if any((folder / name).is_file() for name in (WEIGHTS, INDEX)) else []
    if not files or getattr(config, "quantization_config", None) is not None:
        return None
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= load_file(file)
    wanted = dtype or _dtype(getattr(config, "dtype", None)) or next(iter(state.values())).dtype
    config.name_or_path = str(folder)
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is not None:
            part.dtype = wanted
    with _default(wanted), no_init_weights(), init_empty_weights(include_buffers=False):
        model = VideoSalmonnForConditionalGeneration(config)
    model.tie_weights()
    if not _fits(model, state):
        return None
    state = {name: t.to(wanted) if t.is_floating_point() else t for name, t in state.items()}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()  # what is tied was given a tensor at one of its places only
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        return None
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if (folder / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def _dtype(value: Any) -> torch.dtype | None:
    """A dtype as configurations name it."""
    found = getattr(torch, value, None) if isinstance(value, str) else value
    return found if isinstance(found, torch.dtype) else None


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """A block in which buffers get this dtype, as in ``from_pretrained``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype if dtype.is_floating_point else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _fits(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    """Whether a state has every tensor of the model, of the same shape, and no other; of tied ones one is enough."""
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    tied = {id(parameter): name for name, parameter in model.named_parameters() if name in state}
    several = dict(model.named_parameters(remove_duplicate=False))
    missing = [name for name in own if name not in state and id(several.get(name)) not in tied]
    return not missing and all(name in own and own[name] == tensor.shape for name, tensor in state.items())
