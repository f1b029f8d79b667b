"""Do 64 real items fit, and is it the media that tell? Exact answers after training on them, and with media swapped.

Sixteen spoken sentences, twenty pictures, eight sound events and twenty talking faces, all from a data folder. Within
each kind the question is one and the same and all answers differ, so nothing but the media tells which is right; then
the media are handed round within each kind, and answers should follow the media, not the item.

    python studies/fit_64.py --data DATA                          # encodes what it needs, about a minute
    python studies/fit_64.py --manifests DIR --features STORE     # of `data build-embedded`, `data encode-embedded`

Exit code 1 unless more than 95 % are right, and less than 30 % with swapped media.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from small_system import JoinedSounds, build_trainer, exact_answers, quiet, read_split, recipe_rates, stored

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from common import finish
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import MixingConfig
from video_salmonn.embedded.data.build import build, jobs
from video_salmonn.embedded.data.encode import encode
from video_salmonn.embedded.data.plan import DataPlan

KINDS = {"transcribe": 16, "picture": 20, "sound": 8, "transcribe-talk": 20}
"""Items of each task."""
QUESTIONS = {
    "transcribe": "What words are spoken?",
    "picture": "What do you see?",
    "sound": "What do you hear?",
    "transcribe-talk": "What does the speaker say?",
}
LONGEST = 7
"""Words of an answer."""


def choose(items: list[Item], usable: Callable[[Item], bool]) -> list[Item]:
    """The first items of each kind whose answers differ, asked in one wording each."""
    chosen: list[Item] = []
    for kind, count in KINDS.items():
        answers: set[str] = set()
        for item in items:
            if item.task != kind or item.answer in answers or len(item.answer.split()) > LONGEST or not usable(item):
                continue
            turns = [{"role": "user", "content": QUESTIONS[kind]}, {"role": "assistant", "content": item.answer}]
            chosen.append(replace(item, conversation=turns))
            answers.add(item.answer)
            if len(answers) == count:
                break
        if len(answers) < count:
            raise SystemExit(f"only {len(answers)} usable items of {kind}, {count} are needed")
    return chosen


def swapped(items: list[Item]) -> list[Item]:
    """Each item with the media of the next one of its kind."""
    out: list[Item] = []
    for kind in KINDS:
        own = [item for item in items if item.task == kind]
        out += [replace(item, media=other.media) for item, other in zip(own, [*own[1:], own[0]])]
    return out


def by_kind(items: list[Item], right: list[bool]) -> dict[str, float]:
    """Share of right answers of each kind."""
    return {
        kind: sum(r for i, r in zip(items, right) if i.task == kind) / sum(i.task == kind for i in items)
        for kind in KINDS
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with speech/, sounds/, images/, clips/ and their manifests")
    parser.add_argument("--manifests", type=Path, help="folder of `data build-embedded`, in place of --data")
    parser.add_argument("--features", type=Path, help="feature store of `data encode-embedded`; it is only read")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.data is None) == (options.manifests is None):
        parser.error("give --data, or --manifests (with --features)")
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        manifests = options.manifests or work / "manifests"
        if options.data:
            build(DataPlan(options.data, scale=0.01), manifests)
        items = read_split(manifests, "train")
        if options.features:
            features, source = options.features, JoinedSounds(FeatureStore(options.features), 6)
            chosen = choose(items, lambda item: stored(source, item))
        else:
            features = work / "features"
            chosen = choose(items, lambda item: True)
            counts = encode(jobs(chosen), manifests, features)
            if counts["failed"]:
                raise SystemExit((features / "failed.txt").read_text())
            source = JoinedSounds(FeatureStore(features), 6)
        return fit(chosen, source, options.steps, options.seed)


def fit(chosen: list[Item], source: JoinedSounds, steps: int, seed: int) -> int:
    """Train on the chosen items, then ask each about its own and about another's media."""
    trainer = build_trainer(
        chosen,
        source,
        seed=seed,
        max_steps=steps,
        batch_size=16,
        micro_batch=16,
        mixing=MixingConfig(enabled=False),
        optim=recipe_rates(steps, 2e-3),
    )
    began, cpu, seen = time.perf_counter(), time.process_time(), 0
    while trainer.step < steps:
        loss = trainer.train_step()["language_loss"]
        if trainer.step % 50 == 0:
            right = sum(exact_answers(trainer, chosen))
            print(f"step {trainer.step}: loss {loss:.3f}, {right} of {len(chosen)} right", flush=True)
            seen = seen + 1 if right == len(chosen) else 0
            if seen == 2:
                break
    other = swapped(chosen)
    own, handed_round = exact_answers(trainer, chosen), exact_answers(trainer, other)
    accuracy, with_swapped = sum(own) / len(own), sum(handed_round) / len(own)
    kinds, kinds_swapped = by_kind(chosen, own), by_kind(other, handed_round)
    print(f"{'kind':<18}{'items':>6}{'own media':>11}{'swapped':>9}")
    for kind, count in KINDS.items():
        print(f"{kind:<18}{count:>6}{kinds[kind]:>11.1%}{kinds_swapped[kind]:>9.1%}")
    print(f"{'all':<18}{len(chosen):>6}{accuracy:>11.1%}{with_swapped:>9.1%}")
    results = {
        "items": len(chosen),
        "steps": trainer.step,
        "accuracy": accuracy,
        "swapped": with_swapped,
        "kinds": kinds,
        "kinds_swapped": kinds_swapped,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    finish("fit_64", results, threads=torch.get_num_threads(), seed=seed)
    return 0 if accuracy > 0.95 and with_swapped < 0.3 else 1


if __name__ == "__main__":
    sys.exit(main())
