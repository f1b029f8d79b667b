"""What each part of the system is worth at the embedded default's scale: variants trained alike, from nothing.

Every variant gets a new connector and adapter, the same two stages with the same number of steps and seed, and the same
held-out items. Run several at once, each with ``--only``, where a GPU has room; ``--table`` prints what all have found.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.embedded.held_out.measure import HeldOut, measure
from video_salmonn.training.checkpointing import CONNECTOR_FILE, last_checkpoint
from video_salmonn.training.recipe import load_recipe
from video_salmonn.training.stage import build_trainer

WORDS, READING = (Path(__file__).parents[1] / "recipes" / name for name in ("embedded-words.yaml", "embedded.yaml"))
ROWS = (
    "speech",
    "speech-with-picture",
    "sounds",
    "pictures",
    "picture-with-speech",
    "match",
    "both-speech",
    "both-sound",
)
SHARES = {"transcribe": 12.0, "sound": 3.0, "picture": 2.0}
COMPOSED = ("picture+speech/", "picture+sound/", "match/")
"""Ids of items that put unlike pictures and sounds together: what the paper's mixing does."""


@dataclass(frozen=True)
class Variant:
    """What is changed.

    Attributes:
        connector: of its configuration.
        diversity: weight of the diversity loss.
        mixing: pictures and sounds that do not belong together are put together.
    """

    connector: dict[str, Any] = field(default_factory=dict)
    diversity: float = 0.0
    mixing: bool = True


VARIANTS = {
    "full": Variant(),
    "fine-only": Variant({"levels": [[1, 3]]}),
    "coarse-only": Variant({"levels": [[10, 30]]}),
    "single-resolution": Variant({"levels": [[5, 15]]}),
    "no-causal-mask": Variant({"mask_direction": "none"}),
    "no-mixing": Variant(mixing=False),
    "diversity-0.1": Variant(diversity=0.1),
}


def run(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one variant and measure it; its line of the results."""
    variant, out = VARIANTS[name], arguments.out / f"{name}-{arguments.seed}"
    began = time.perf_counter()
    manifest = arguments.manifests / "train.jsonl"
    fixed = [f"data.train=[{manifest}]", "data.validation=null", f"data.features={arguments.features}"]
    words = replace(
        load_recipe(WORDS, fixed),
        connector={"dropout": 0.0, **variant.connector},
        open_branches=True,
        output=str(out / "words"),
        max_steps=arguments.word_steps,
        batch_size=arguments.batch,
        micro_batch=arguments.batch,
        seed=arguments.seed,
        validate_every=0,
        log_every=100,
        save_every=0,
    )
    words.optim.warmup_steps = min(60, arguments.word_steps)
    words.data.shares = SHARES
    words.mixing = replace(words.mixing, audio_alone=0.5 if variant.mixing else 1.0)
    build_trainer(words).run(lambda line: print(name, json.dumps(line), flush=True))
    warmed = time.perf_counter() - began
    recipe = load_recipe(READING, fixed)
    if not variant.mixing:
        recipe.data.repeat |= dict.fromkeys(COMPOSED, 0.0)
    recipe = replace(
        recipe,
        init=str(last_checkpoint(out / "words") / CONNECTOR_FILE),
        fresh=["lora"],
        connector={"dropout": 0.0, **variant.connector},
        output=str(out / "run"),
        max_steps=arguments.steps,
        batch_size=arguments.batch,
        micro_batch=arguments.batch,
        diversity_weight=variant.diversity,
        seed=arguments.seed,
        log_every=100,
        validate_every=0,
        save_every=0,
    )
    recipe.optim.warmup_steps = min(30, arguments.steps)
    trainer = build_trainer(recipe)
    trainer.run(lambda line: print(name, json.dumps(line), flush=True))
    model = trainer.plain.eval()
    trained = time.perf_counter() - began - warmed
    frames = int(model.config.media_config.picture_frames)
    data = HeldOut(arguments.manifests / "test.jsonl", arguments.features, frames, arguments.limit)
    data.source.store.hold(arguments.device)
    rows = [group for group in GROUPS if group.name in ROWS]
    with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.device == "cuda"):
        found = measure(model, trainer.processor, data, out, groups=rows, only_full=True, batch=128)
    line = {"variant": name, "seed": arguments.seed, "word_seconds": warmed, "train_seconds": trained, "rows": found}
    (out / "result.json").write_text(json.dumps(line) + "\n")
    return line


def table(folder: Path) -> str:
    """A Markdown table of all results in the folder."""
    lines = [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]
    titles = {group.name: (group.title, group.metric) for group in GROUPS}
    head = ["variant", "seed", *(f"{name} ({titles[name][1]})" for name in ROWS)]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in sorted(lines, key=lambda line: (list(VARIANTS).index(line["variant"]), line["seed"])):
        cells = [line["variant"], str(line["seed"])]
        for name in ROWS:
            figure = line["rows"].get(name, {}).get("conditions", {}).get("full")
            cells.append("" if figure is None else f"{figure['value']:.3f} ({figure['low']:.2f}–{figure['high']:.2f})")
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", type=Path, default=Path("runs/embedded-data"))
    parser.add_argument("--features", type=Path, default=Path("runs/features"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--only", choices=sorted(VARIANTS), action="append", help="default: all, one after the other")
    parser.add_argument("--word-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int, default=None, help="held-out items of a row, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--table", action="store_true", help="train nothing, print what is in OUT")
    arguments = parser.parse_args()
    if not arguments.table:
        for name in arguments.only or VARIANTS:
            print(json.dumps(run(name, arguments)), flush=True)
    print(table(arguments.out))


if __name__ == "__main__":
    main()
