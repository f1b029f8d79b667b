"""Which part of the work this process does, by Accelerate's process group (``torchrun``, ``accelerate launch``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shards:
    """One process among several; the default is the only one.

    Attributes:
        rank: this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Shards:
        """As started: alone, or one of a group that Accelerate joins."""
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        from accelerate import PartialState

        state = PartialState()
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this process joins, scores and reports."""
        return self.rank == 0

    def file(self, whole: Path) -> Path:
        """Where this process writes: the file itself if it is alone, else a shard beside it."""
        return whole if self.count == 1 else whole.with_name(f"{whole.stem}.shard-{self.rank:05d}.jsonl")

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
