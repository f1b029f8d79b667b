"""Run by torchrun: trains a few steps under all strategies and writes what each process saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from training_runs import recipe

from video_salmonn.training.stage import build_trainer

STEPS = ("batch_size=4", "micro_batch=1", "max_steps=3", "save_every=3", "validate_every=3")
VALIDATED = ("data.validation_items=3", "data.validation_samples=1")


def main(folder: Path, cache: Path, manifest: str) -> None:
    for strategy in ("ddp", "fsdp2"):
        more = (*STEPS, *VALIDATED, f"strategy={strategy}", f"data.train=[{manifest}]")
        trainer = build_trainer(recipe(folder / strategy, cache, *more))
        lines: list[dict] = []
        trainer.run(lines.append)
        sharded = [n for n, p in trainer.plain.named_parameters() if isinstance(p, DTensor)]
        found = {"world": trainer.accelerator.num_processes, "sharded": len(sharded), "lines": lines}
        (folder / f"{strategy}-{trainer.accelerator.process_index}.json").write_text(json.dumps(found))
    apart(folder, cache, manifest)


def apart(folder: Path, cache: Path, manifest: str) -> None:
    """Under ``local``: the weights of each process before and after every mean, and what was reported."""
    more = ("average_every=2", "strategy=local", f"data.train=[{manifest}]")
    trainer = build_trainer(recipe(folder / "local", cache, *STEPS, *VALIDATED, *more))
    means: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    take_mean = trainer.average

    def weights() -> torch.Tensor:
        return torch.cat([p.detach().flatten().clone() for p in trainer.plain.parameters() if p.requires_grad])

    def watched() -> None:
        before = weights()
        take_mean()
        means.append((trainer.step, before, weights()))

    trainer.average = watched  # type: ignore[method-assign]
    lines: list[dict] = []
    trainer.run(lines.append)
    torch.save((means, lines), folder / f"local-{trainer.accelerator.process_index}.pt")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
