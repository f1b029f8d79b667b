"""Which part of the work this process does, by Accelerate's process group (``torchrun``, ``accelerate launch``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted


@dataclass(frozen=True, slots=True)
class Shards:
    """One process among several; the default is the only one.

    Attributes:
        rank: this process, from 0.
        count: how many there are.
        local: this process' place on its machine, which decides its GPU.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls, device: str = "auto") -> Shards:
        """As started: alone, or one of a group that Accelerate joins.

        Args:
            device: where the model will run. On the CPU Accelerate must be told so, or it silently makes every
                process a group of its own.

        Raises:
            ConfigError: if the group is not as large as the launcher said: each process would do all the work.
        """
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started <= 1:
            return cls()
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        if state.num_processes != started:
            raise ConfigError(
                f"{counted(started, 'process', 'were')} started, but they form a group of {state.num_processes}",
                remedy="start them with torchrun, or with accelerate launch and the right kind of device",
            )
        return cls(state.process_index, state.num_processes, state.local_process_index)

    def device(self, wanted: str) -> str:
        """The device of this process: of several, each takes its own GPU where ``cuda`` is wanted."""
        return f"cuda:{self.local}" if self.count > 1 and wanted == "cuda" else wanted

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
