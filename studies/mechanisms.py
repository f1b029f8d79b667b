"""What do the paper's mechanisms do? Three questions at tiny scale, several seeds each, with the spread.

(a) Does the diversity loss lower the cosine between queries of a window (lambda 0, 0.1, 1)?
(b) Does unpaired mixing keep the model from answering from one modality?
(c) Does the fine level help speech, and the coarse level events (fine only, coarse only, both)?

The production connector, one layer of width 48 over the features of the embedded preset's encoders
(``small_system.py``), is trained from scratch. No language model: it would take most of the time and learn least. In
its place stands a reader that sees all of the connector's tokens, in order, through one linear map, and has a linear
classifier for each question.

For (a) and (c) the questions are the six words of GRID sentences (one speaker, 3 s), and which of two sounds of ESC-10
came first and which last (2.5 s each, joined from stored features), about clips that were not trained on. For (b) they
are what is seen and what is heard; training has pictures alone, sounds alone, and pairs in which a kind of picture
always comes with the same kind of sound, so that either tells the other; then pairs are shown that contradict this.

    python studies/mechanisms.py --manifests DIR --features STORE --out runs/mechanisms

Every run is written to OUT as it ends; a call continues with the missing ones and prints the tables of what is
there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from small_system import JoinedSounds, build_small, quiet, read_split, stored

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from common import finish
from video_salmonn.connector.diversity import mean_cosine
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import MixingConfig, Pools, mix
from video_salmonn.model.connect import MediaTokens
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

FINE, COARSE = (1, 3), (10, 30)
SINGLE = (5, 15)  # as many tokens a second as both levels give, from windows of one length in between
RUNS: dict[str, dict[str, Any]] = {
    "both": {},
    "fine only": {"levels": [FINE]},
    "coarse only": {"levels": [COARSE]},
    "one in between": {"levels": [SINGLE]},
    "lambda 0": {"weight": 0.0},
    "lambda 1": {"weight": 1.0},
    "no mixing": {"mixing": False},
    "mixing": {"mixing": True},
}
"""Name -> what differs from both levels with lambda 0.1 and no mixing."""
WORDS = ("verb", "colour", "preposition", "letter", "digit", "adverb")
"""Of a GRID sentence, in order."""
SEEN, HEARD = "What do you see?", "What do you hear?"
MOST_TOKENS = 30
BATCH = 24


@dataclass(frozen=True)
class Sample:
    """One item: features of its one medium, and the right answers by question."""

    features: MediaFeatures
    answers: dict[str, str]


class Reader(nn.Module):
    """All tokens of a clip, in order -> scores of the answers of each question.

    Args:
        width: of the tokens.
        answers: of each question.
    """

    def __init__(self, width: int, answers: dict[str, list[str]]) -> None:
        super().__init__()
        self.answers = answers
        self.narrow = nn.Linear(width, 24)
        self.heads = nn.ModuleDict({name: nn.Linear(24 * MOST_TOKENS, len(of)) for name, of in answers.items()})

    def forward(self, tokens: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tokens ``(L_i, D)`` of B clips -> ``(B, answers)`` for each question."""
        rows = torch.stack([F.pad(self.narrow(row), (0, 0, 0, MOST_TOKENS - len(row))) for row in tokens]).flatten(1)
        return {name: head(rows) for name, head in self.heads.items()}

    def loss(self, scores: dict[str, torch.Tensor], samples: Sequence[Sample]) -> torch.Tensor:
        """Mean cross entropy of all questions that the samples answer."""
        losses = []
        for name, of in self.answers.items():
            asked = [i for i, sample in enumerate(samples) if name in sample.answers]
            if asked:
                wanted = torch.tensor([of.index(samples[i].answers[name]) for i in asked])
                losses.append(F.cross_entropy(scores[name][asked], wanted, reduction="sum"))
        return torch.stack(losses).sum() / sum(len(sample.answers) for sample in samples)


class Stock:
    """What the studies draw from, by split: GRID clips, sounds and pictures by class."""

    def __init__(self, manifests: Path, source: JoinedSounds) -> None:
        self.source = source
        self.talks: dict[str, list[Item]] = {}
        self.sounds: dict[str, dict[str, list[Item]]] = {}
        self.pictures: dict[str, dict[str, list[Item]]] = {}
        for split in ("train", "dev", "test"):
            for item in read_split(manifests, split):
                if item.task in ("transcribe-talk", "sound", "picture") and stored(source, item):
                    self._add("train" if split == "train" else "held out", item)
        ranked = sorted(self.pictures["train"], key=lambda label: -len(self.pictures["train"][label]))
        self.seen = sorted([label for label in ranked if label in self.pictures["held out"]][:8])
        self.heard = sorted(set(self.sounds["train"]) & set(self.sounds["held out"]))[:8]

    def _add(self, kind: str, item: Item) -> None:
        if item.task == "transcribe-talk":
            if "grid_s1" in str(item.media["audio"]) and len(item.answer.split()) == len(WORDS):
                self.talks.setdefault(kind, []).append(item)
            return
        table = self.sounds if item.task == "sound" else self.pictures
        table.setdefault(kind, {}).setdefault(item.answer, []).append(item)

    def sentence(self, item: Item) -> Sample:
        """The sound of a GRID clip, and its words."""
        return Sample(self.source.sound(item), dict(zip(WORDS, item.answer.split())))

    def order(self, kind: str, rng: random.Random) -> Sample:
        """Two different sounds, one after the other."""
        pair = rng.sample(sorted(self.sounds[kind]), 2)
        parts = [{"file": rng.choice(self.sounds[kind][label]).media["audio"], "frames": 5} for label in pair]
        some = next(iter(self.sounds[kind].values()))[0]
        sound = self.source.sound(replace(some, media={"audio": {"joined": parts}}))
        return Sample(sound, {"first": pair[0], "last": pair[1]})

    def picture(self, kind: str, label: str, rng: random.Random) -> Item:
        """A picture of one kind."""
        item = rng.choice(self.pictures[kind][label])
        return replace(item, conversation=_turns(SEEN, label))

    def sound(self, kind: str, label: str, rng: random.Random) -> Item:
        """The first three seconds of a sound of one kind."""
        item = rng.choice(self.sounds[kind][label])
        media = {"audio": {"joined": [{"file": item.media["audio"], "frames": 6}]}}
        return replace(item, media=media, conversation=_turns(HEARD, label))

    def shown(self, sight: Item | None, sound: Item | None, answers: dict[str, str]) -> Sample:
        """A picture, a sound, or both at once."""
        heard = self.source.sound(sound) if sound is not None else None
        seen = self.source.sight(sight) if sight is not None else None
        if heard is None or seen is None:
            found = heard or seen
            assert found is not None
            return Sample(found, answers)
        return Sample(replace(heard, visual=seen.visual, still_frames=heard.sound_frames), answers)


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


class Run:
    """One connector with its reader, trained and asked.

    Args:
        seed: of everything random.
        answers: of each question.
        levels: of the connector.
        weight: lambda.
    """

    def __init__(
        self, seed: int, answers: dict[str, list[str]], levels: Sequence[Any] = (FINE, COARSE), weight: float = 0.1
    ) -> None:
        self.model: VideoSalmonnForConditionalGeneration = build_small([], seed, levels=list(levels))[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.reader = Reader(self.model.connector.config.llm_dim, answers)
        self.weight = weight

    def connect(self, samples: Sequence[Sample]) -> MediaTokens:
        """The samples through the connector."""
        return self.model.connect_media([sample.features for sample in samples])

    def train(self, make: Callable[[random.Random], Sample], steps: int, seed: int) -> float:
        """Train on what ``make`` gives; returns the mean loss of the last ten steps."""
        parameters = [*self.model.connector.parameters(), *self.reader.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
        losses = []
        self.model.connector.train()
        for step in range(steps):
            rng = random.Random(f"{seed}/{step}")
            samples = [make(rng) for _ in range(BATCH)]
            connected = self.connect(samples)
            loss = self.reader.loss(self.reader(connected.tokens), samples)
            losses.append(float(loss.detach()))
            loss = loss + self.weight * connected.mean_diversity("released", count_padding=False)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
        return mean(losses[-10:])

    @torch.inference_mode()
    def ask(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Share of right answers to each question."""
        self.model.connector.eval()
        right: dict[str, list[bool]] = {}
        for start in range(0, len(samples), 2 * BATCH):
            part = samples[start : start + 2 * BATCH]
            scores = self.reader(self.connect(part).tokens)
            for name, of in self.reader.answers.items():
                for sample, row in zip(part, scores[name]):
                    if name in sample.answers:
                        right.setdefault(name, []).append(of[int(row.argmax())] == sample.answers[name])
        return {name: sum(found) / len(found) for name, found in right.items()}

    @torch.inference_mode()
    def cosines(self, samples: Sequence[Sample]) -> list[float]:
        """Mean cosine between different queries of a window, for each level (what the released loss measures)."""
        self.model.connector.eval()
        ((_, output),) = self.connect(samples).groups
        return [float(mean_cosine(s.flatten(0, 1), m.flatten())) for s, m in zip(output.levels, output.window_masks)]


def study_levels(stock: Stock, seed: int, steps: int, change: dict[str, Any]) -> dict[str, float]:
    """One run of (a) and (c): accuracy on held-out clips, and the mean cosine between queries of each level."""
    words = [item.answer.split() for items in stock.talks.values() for item in items]
    answers = {name: sorted({row[place] for row in words}) for place, name in enumerate(WORDS)}
    answers |= {name: sorted(stock.sounds["train"]) for name in ("first", "last")}
    levels = change.get("levels", [FINE, COARSE])
    run = Run(seed, answers, levels, change.get("weight", 0.1))
    sentences = [stock.sentence(item) for item in stock.talks["train"]]
    loss = run.train(
        lambda rng: rng.choice(sentences) if rng.random() < 0.5 else stock.order("train", rng), steps, seed
    )
    test = random.Random("test")
    speech = [stock.sentence(item) for item in stock.talks["held out"]]
    events = [stock.order("held out", test) for _ in range(150)]
    said, order = run.ask(speech), run.ask(events)
    found = {"words": mean(said.values()), "letter": said["letter"], "events": mean(order.values())}
    for (frames, _), cosine in zip(levels, run.cosines(speech[:40] + events[:40])):
        found[f"cosine {frames * 0.5:g} s"] = cosine
    return found | {"loss": loss}


def study_mixing(stock: Stock, seed: int, steps: int, mixing: bool) -> dict[str, float]:
    """One run of (b): accuracy by question on pairs as trained, pairs that contradict them, and single modalities."""
    couples = list(zip(stock.seen, stock.heard))
    config = MixingConfig(enabled=mixing)
    pool = random.Random(f"{seed}/pool")
    pools = Pools(
        [stock.picture("train", pool.choice(stock.seen), pool) for _ in range(200)],
        [stock.sound("train", pool.choice(stock.heard), pool) for _ in range(200)],
    )

    def make(rng: random.Random) -> Sample:
        if rng.random() < 0.5:  # a pair, asked about one of the two
            seen, heard = rng.choice(couples)
            answers = {"seen": seen} if rng.random() < 0.5 else {"heard": heard}
            return stock.shown(stock.picture("train", seen, rng), stock.sound("train", heard, rng), answers)
        mixed = mix(rng.choice((*pools.sights, *pools.sounds)), pools, config, rng)
        question = mixed.conversation[0]["content"].lower()
        asked = {"seen": (mixed.sight, SEEN), "heard": (mixed.sound, HEARD)}
        answers = {
            name: item.answer
            for name, (item, text) in asked.items()
            if item is not None and text[:-1].lower() in question
        }
        return stock.shown(mixed.sight, mixed.sound, answers)

    run = Run(seed, {"seen": stock.seen, "heard": stock.heard})
    loss = run.train(make, steps, seed)
    test = random.Random("test")
    found: dict[str, float] = {}
    for name, wanted in (("fitting", 0), ("contradicting", 1), ("alone", None)):
        samples: list[Sample] = []
        for number in range(96):
            index = number % len(couples)
            shift = wanted and 1 + number // len(couples) % (len(couples) - 1)
            seen, heard = couples[index][0], couples[(index + (shift or 0)) % len(couples)][1]
            picture, sound = stock.picture("held out", seen, test), stock.sound("held out", heard, test)
            if wanted is None:
                samples += [stock.shown(picture, None, {"seen": seen}), stock.shown(None, sound, {"heard": heard})]
            else:
                samples.append(stock.shown(picture, sound, {"seen": seen, "heard": heard}))
        found |= {f"{question}, {name}": share for question, share in run.ask(samples).items()}
    return found | {"loss": loss}


def rounds(seeds: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """A whole round of runs a seed, so that an unfinished study compares like with like."""
    for seed in range(seeds):
        for name, change in RUNS.items():
            yield seed, name, change


def summary(found: dict[str, dict[int, dict[str, float]]]) -> dict[str, dict[str, list[float | None]]]:
    """[mean, standard deviation, seeds] of each measure of each run."""
    table: dict[str, dict[str, list[float | None]]] = {}
    for run, seeds in found.items():
        for measure in next(iter(seeds.values())):
            values = [result[measure] for result in seeds.values()]
            spread = round(stdev(values), 4) if len(values) > 1 else None
            table.setdefault(run, {})[measure] = [round(mean(values), 4), spread, len(values)]
    return table


def show(title: str, table: dict[str, dict[str, list[float | None]]], runs: Sequence[str]) -> None:
    """One table: a row a run, a column a measure."""
    rows = [run for run in runs if run in table]
    if not rows:
        return
    measures = list(dict.fromkeys(m for run in rows for m in table[run] if m not in ("cpu seconds", "loss")))
    print(f"\n{title}\n{'':<15}{'seeds':>6}" + "".join(f"{m:>21}" for m in measures))
    for run in rows:
        cells = [table[run].get(m) for m in measures]
        seeds = next(cell[2] for cell in cells if cell)
        texts = ["-" if c is None else f"{c[0]:.3f}" + ("" if c[1] is None else f" ± {c[1]:.3f}") for c in cells]
        print(f"{run:<15}{seeds:>6}" + "".join(f"{text:>21}" for text in texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", type=Path, required=True, help="folder of `data build-embedded`")
    parser.add_argument("--features", type=Path, required=True, help="store of `data encode-embedded`; only read")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    quiet()
    options.out.mkdir(parents=True, exist_ok=True)
    stock: Stock | None = None
    found: dict[str, dict[int, dict[str, float]]] = {}
    for seed, name, change in rounds(options.seeds):
        path = options.out / f"{name.replace(' ', '-')}.{options.steps}.{seed}.json"
        if not path.exists():
            stock = stock or Stock(options.manifests, JoinedSounds(FeatureStore(options.features), 6))
            cpu = time.process_time()
            if "mixing" in change:
                result = study_mixing(stock, seed, options.steps, change["mixing"])
            else:
                result = study_levels(stock, seed, options.steps, change)
            result["cpu seconds"] = round(time.process_time() - cpu, 1)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(result))
            partial.replace(path)
            print(f"seed {seed}, {name}: {result}", flush=True)
        found.setdefault(name, {})[seed] = json.loads(path.read_text())
    table = summary(found)
    show("(a) diversity loss", table, ["lambda 0", "both", "lambda 1"])
    show("(b) mixing", table, ["no mixing", "mixing"])
    show("(c) levels", table, ["fine only", "coarse only", "one in between", "both"])
    finish("study_mechanisms", table, threads=torch.get_num_threads(), seed=0)


if __name__ == "__main__":
    main()
