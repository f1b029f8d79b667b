"""FSDP2: parameters, gradients and optimiser state spread over the processes, by torch's ``fully_shard``.

Called directly, because the launchers' own ways train as plain data parallel on a CPU without saying so. The frozen
encoders stay whole on every process: a rank whose batch lacks a modality does not run them, so they must not be part of
what all ranks do together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from video_salmonn.errors import ConfigError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration


def shard(model: VideoSalmonnForConditionalGeneration, device: torch.device, processes: int) -> None:
    """Shard everything but the encoders, in place: a unit a layer of the language model, the connector, the rest.

    Raises:
        ConfigError: part of the encoders is to be trained.
    """
    if any(p.requires_grad for p in model.tower.parameters()):
        raise ConfigError("recipe: strategy fsdp2 cannot train parts of the tower", remedy="--set strategy=ddp")
    model.to(device)
    mesh = init_device_mesh(device.type, (processes,))
    layers = model.get_decoder().layers
    assert isinstance(layers, torch.nn.ModuleList)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    # The connector may run several times a pass (items of several shapes), so it is gathered once and kept.
    fully_shard(model.connector, mesh=mesh, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=set(model.tower.parameters()))


def sync_gradients(model: torch.nn.Module, on: bool) -> None:
    """Whether the next backward pass exchanges gradients, or only adds them up here."""
    assert isinstance(model, FSDPModule)
    model.set_requires_gradient_sync(on)


@contextmanager
def whole(model: torch.nn.Module) -> Iterator[None]:
    """A block in which modules may be called by themselves (generation); all processes must enter and run it alike."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()


def full(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor, gathered from all processes where it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(own: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor, sharded as ``own`` is."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)
