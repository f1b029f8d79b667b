"""Strict placement of official files: every tensor of a file gets a place, is a checked alias, or is dropped by name.

Placement runs on headers (tensors without numbers), so a plan for 13B costs neither memory nor time. The same placement
functions are run again on the numbers of a few tensors when one of ours is made from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from video_salmonn.checkpoints.released.names import BUFFERS, PlacedTensors
from video_salmonn.checkpoints.released.sources import Ref
from video_salmonn.errors import CheckpointError

Place = Callable[[Mapping[str, torch.Tensor]], PlacedTensors]


@dataclass(frozen=True)
class TargetTensor:
    """One tensor of this package's model.

    Attributes:
        name: in the model's state dict.
        shape: of the tensor.
        inputs: official name as the placement knows it -> where its numbers are.
        place: makes the tensor from these.
    """

    name: str
    shape: tuple[int, ...]
    inputs: Mapping[str, Ref]
    place: Place

    def make(self, dtype: torch.dtype) -> torch.Tensor:
        """Read, check and convert.

        Raises:
            CheckpointError: a number is not finite, or does not fit ``dtype``.
        """
        placed = self.place({name: numbers(ref) for name, ref in self.inputs.items()})
        made = placed.state[self.name].to(dtype, copy=True).contiguous()  # a copy: the file's pages are given back
        if not bool(torch.isfinite(made).all()):
            named = ", ".join(str(ref) for ref in self.inputs.values())
            raise CheckpointError(f"{named}: has numbers too large for {dtype}", remedy="use --dtype bfloat16")
        return made


def numbers(ref: Ref) -> torch.Tensor:
    """A tensor's numbers. Raises CheckpointError where one of them is not finite."""
    tensor = ref.load()
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{ref}: holds numbers that are not finite", remedy="the file is damaged; fetch it again")
    return tensor


@dataclass(frozen=True)
class Alias:
    """A tensor stored twice: the second name, and the one it is placed under."""

    second: Ref
    first: Ref

    def check(self) -> None:
        """Compare the numbers, in the narrower of the two dtypes. Raises CheckpointError where they differ."""
        a, b = numbers(self.second), numbers(self.first)
        narrow = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
        if not torch.equal(a.to(narrow), b.to(narrow)):
            raise CheckpointError(
                f"{self.second} should equal {self.first.name!r} of {self.first.file.path.name}: they are one module",
                remedy="this checkpoint was not trained as the released one; it cannot be converted",
            )


@dataclass(frozen=True)
class Dropped:
    """A tensor that is not needed, and why."""

    ref: Ref
    reason: str


@dataclass
class Section:
    """Tensors that go into one part of the model.

    Attributes:
        parts: prefixes in the model's state dict of what the section gives.
        where: the file or folder, for errors.
        refs: tensors under the names the placement knows.
        place: the placement; its names are those of the whole model.
        official: our name -> the official one, to name what is missing.
        adapter: whether it gives the adapters within ``parts``, and nothing but them.
    """

    parts: tuple[str, ...]
    where: str
    refs: dict[str, Ref]
    place: Place
    official: Callable[[str], str]
    adapter: bool = False
    targets: list[TargetTensor] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def gives(self, name: str) -> bool:
        """Whether a tensor of the model is this section's to give."""
        return name.startswith(self.parts) and (".lora_" in name) == self.adapter

    def plan(self, wanted: Mapping[str, tuple[int, ...]]) -> None:
        """Fill ``targets`` and ``dropped``.

        Args:
            wanted: name -> shape of every tensor of the model that this section has to give.

        Raises:
            CheckpointError: a tensor has no place, is missing, or has another shape; names it and the file.
        """
        try:
            placed = self.place({name: ref.meta() for name, ref in self.refs.items()})
        except CheckpointError as error:
            remedy = LAYOUT if error.remedy == error.usual else error.remedy
            raise CheckpointError(f"{self.where}: {error}", remedy=remedy) from error
        for name in placed.state:
            if name not in wanted:
                raise CheckpointError(f"{self._refs(placed, name)} has no place (it would be {name!r})", remedy=LAYOUT)
        if missing := [name for name in wanted if name not in placed.state]:
            name, more = missing[0], len(missing) - 1
            raise CheckpointError(
                f"{self.where}: tensor {self.official(name)!r} is missing; {wanted[name]} is needed for {name!r}"
                + (f" ({more} more are missing)" if more else ""),
                remedy="the file is incomplete or of another layout; every tensor must be loaded. For a checkpoint "
                "trained with fewer layers or adapted maps, state their number in --settings",
            )
        for name, tensor in placed.state.items():
            if tuple(tensor.shape) != wanted[name]:
                named = self._refs(placed, name)
                raise CheckpointError(f"{named} does not fit {name!r}, which is {wanted[name]}", remedy=LAYOUT)
            inputs = {given: self.refs[given] for given in placed.inputs[name]}
            for ref in inputs.values():
                if not isinstance(ref.dtype, torch.dtype) or not ref.dtype.is_floating_point:
                    raise CheckpointError(f"{ref} holds {ref.dtype}, floating-point numbers are needed", remedy=LAYOUT)
            self.targets.append(TargetTensor(name, wanted[name], inputs, self.place))
        self.dropped += [Dropped(self.refs[name], reason) for name, reason in placed.dropped.items()]

    def _refs(self, placed: PlacedTensors, name: str) -> str:
        return ", ".join(str(self.refs[given]) for given in placed.inputs[name])


LAYOUT = "check that each file was given to its own option, and that none is of another model"


def prefixed(placed: PlacedTensors, prefix: str) -> PlacedTensors:
    """The same placement with ``prefix`` before our names."""
    return replace(
        placed,
        state={prefix + name: tensor for name, tensor in placed.state.items()},
        origin={prefix + name: text for name, text in placed.origin.items()},
        inputs={prefix + name: names for name, names in placed.inputs.items()},
    )


def merged(*placements: PlacedTensors) -> PlacedTensors:
    """Several placements of one file as one."""
    whole = PlacedTensors()
    for placed in placements:
        whole.state |= placed.state
        whole.origin |= placed.origin
        whole.inputs |= placed.inputs
        whole.dropped |= placed.dropped
    return whole


def take_out(refs: dict[str, Ref], unwanted: Callable[[str], str | None]) -> list[Dropped]:
    """Remove from ``refs`` the tensors that ``unwanted`` gives a reason for, and return them."""
    found = {name: reason for name in refs if (reason := unwanted(name)) is not None}
    return [Dropped(refs.pop(name), reason) for name, reason in found.items()]


def is_buffer(name: str) -> bool:
    """Whether a tensor holds no learned numbers, by its name."""
    return name.rsplit(".", 1)[-1] in BUFFERS


def take_aliases(
    refs: dict[str, Ref], table: Mapping[str, str], firsts: Mapping[str, Ref] | None = None
) -> list[Alias]:
    """Remove second names from ``refs`` and return them with their first names.

    Args:
        refs: tensors by name.
        table: prefix of the second names -> prefix of the first.
        firsts: where the first names are; by default ``refs`` too.

    Raises:
        CheckpointError: the first name is not there, or the shapes differ.
    """
    aliases = []
    for name in list(refs):
        prefix = next((prefix for prefix in table if name.startswith(prefix)), None)
        if prefix is None or is_buffer(name):
            continue
        second = refs.pop(name)
        original = table[prefix] + name.removeprefix(prefix)
        first = (refs if firsts is None else firsts).get(original)
        if first is None:
            raise CheckpointError(f"{second} is a second name of {original!r}, which is missing", remedy=LAYOUT)
        if first.shape != second.shape:
            raise CheckpointError(f"{second} should equal {first}: they are one module", remedy=LAYOUT)
        aliases.append(Alias(second, first))
    return aliases
