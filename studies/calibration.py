"""Are a model's stated probabilities true? Reliability tables, calibration error, and temperatures fitted on dev items.

Yes/no questions and choices among ten sounds are asked about media that no training used. Temperature (and bias of
predicates) is fitted on the dev split; the tables are of the test split, before and after.

    python studies/calibration.py --source DATA --write src/video_salmonn/assets/embedded/decisions.json

What the model told is kept in ``--rows``, which a second run reads instead of asking again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.shipped import shipped_weights
from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking import presence
from video_salmonn.embedded.data.asking.common import YES
from video_salmonn.embedded.data.compose import speech_presence
from video_salmonn.embedded.data.render import RATE, render_sound
from video_salmonn.embedded.data.sources import Source, read_sources
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import sound_phrase
from video_salmonn.inference import calibration as measured
from video_salmonn.inference.calibration import Calibration, write_calibration
from video_salmonn.inference.decide import Choice, Option, Predicate, decide, probabilities
from video_salmonn.media import ArraySound
from video_salmonn.metrics.intervals import mean_interval

PREDICATES = {
    "somebody speaks": (speech_presence, 120),
    "sound is heard": (presence.sound_presence, 200),
    "thing is seen": (presence.picture_presence, 200),
    "speech, other words": (presence.speech_present, 100),
}
"""Group -> (composer, items of a split)."""
KINDS = ("predicate", "choice")
LEAST = 100
"""Dev items without which no temperature is fitted."""


@dataclass(frozen=True)
class Told:
    """What a model told of one item.

    Attributes:
        group: of items.
        logs: log-probability of each possible answer.
        right: which is right.
        mass: what of the probability fell on them at all.
    """

    group: str
    logs: list[float]
    right: int
    mass: float


def media_of(item: Item, root: Path) -> tuple[Any, Any]:
    """(picture, sound) of an item."""
    audio = item.media.get("audio")
    sound = None if audio is None else ArraySound(render_sound(audio, root), RATE)
    picture = item.media.get("image")
    return (str(root / picture) if picture else sound), (sound if picture else None)


def predicates(engine: VideoSalmonn, sources: list[Source], split: str, root: Path, scale: float) -> Iterator[Told]:
    """Yes/no items of a split."""
    for group, (composer, count) in PREDICATES.items():
        stock = Stock(split, by_kind(sources, split), [], random.Random(f"0/{split}/{group}"))
        for item in composer(stock, round(count * scale)):
            media, sound = media_of(item, root)
            found = decide(engine, media, [Predicate(item.conversation[0]["content"])], sound=sound).answers[0]
            share = min(max(found["probability"], 1e-12), 1 - 1e-12)
            yield Told(
                group, [math.log(share), math.log1p(-share)], int(item.conversation[1]["content"] != YES), found["mass"]
            )


def choices(engine: VideoSalmonn, sources: list[Source], split: str, root: Path, scale: float) -> Iterator[Told]:
    """Which of ten sounds is heard?"""
    sounds = by_kind(sources, split).get("sound", [])
    labels = sorted({source.label for source in sources if source.kind == "sound"})
    for source in sounds[: round(len(sounds) * min(scale, 1.0))]:
        question = Choice("What do you hear?", tuple(Option(sound_phrase(label)) for label in labels))
        found = decide(engine, str(root / source.path), [question]).answers[0]
        logs = [math.log(max(one["probability"], 1e-12)) for one in found["probabilities"]]
        yield Told("sounds", logs, labels.index(source.label), found["mass"])


def by_kind(sources: list[Source], split: str) -> dict[str, list[Source]]:
    """Sources of a split by kind."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        if source.split == split:
            found.setdefault(source.kind, []).append(source)
    return found


def figures(told: list[Told], temperature: float, bias: float = 0.0) -> dict[str, Any]:
    """Calibration of items: of the most likely answer, or for two answers of the first."""
    stated, true, right, loss = [], [], [], 0.0
    for one in told:
        shares = probabilities(one.logs, temperature, bias)
        top = 0 if len(shares) == 2 else shares.index(max(shares))
        stated.append(shares[top])
        true.append(one.right == top)
        right.append(float(shares.index(max(shares)) == one.right))
        loss -= math.log(max(shares[one.right], 1e-12)) / len(told)
    low, high = mean_interval(right)
    return {
        "items": len(told),
        "error": round(measured.expected_calibration_error(stated, true), 4),
        "loss": round(loss, 4),
        "accuracy": round(sum(right) / len(right), 4),
        "accuracy_interval": None if low is None or high is None else [round(low, 4), round(high, 4)],
        "bins": [
            {"from": r.low, "to": r.high, "items": r.items, "stated": round(r.stated, 3), "true": round(r.true, 3)}
            for r in measured.reliability(stated, true)
        ],
    }


def ask_all(name: str, source: Path, scale: float) -> dict[str, dict[str, list[Told]]]:
    """Type of question -> split -> what the model told."""
    engine = VideoSalmonn.load(name)
    measured.read_calibration = lambda path: Calibration()  # what is fitted here is not applied before
    found: dict[str, dict[str, list[Told]]] = {kind: {} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = read_sources(source, root)
        for split in ("dev", "test"):
            found["predicate"][split] = list(predicates(engine, sources, split, root, scale))
            found["choice"][split] = list(choices(engine, sources, split, root, scale))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="folder of open media")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of items")
    parser.add_argument("--rows", type=Path, help="what the model told; read where it is there, else written")
    parser.add_argument("--write", type=Path, help="the model's decisions.json")
    given = parser.parse_args()
    if given.rows is not None and given.rows.is_file():
        kept = json.loads(given.rows.read_text("utf-8"))
        asked = {kind: {split: [Told(**row) for row in kept[kind][split]] for split in kept[kind]} for kind in KINDS}
    else:
        asked = ask_all(given.model, given.source, given.scale)
        if given.rows is not None:
            plain = {k: {split: [asdict(one) for one in rows] for split, rows in v.items()} for k, v in asked.items()}
            given.rows.write_text(json.dumps(plain), "utf-8")
    temperatures, biases, found = {}, {}, {}
    for kind in KINDS:
        dev, test = asked[kind]["dev"], asked[kind]["test"]
        temperature, bias = 1.0, 0.0
        if len(dev) >= LEAST:
            temperature, bias = measured.fit([o.logs for o in dev], [o.right for o in dev], bias=kind == "predicate")
        temperatures[kind], biases[kind] = round(temperature, 4), round(bias, 4)
        before, after = figures(test, 1.0), figures(test, temperature, bias)
        found[kind] = {**after, "error_before": before["error"], "dev_items": len(dev), "groups": {}}
        print(
            f"\n{kind}: temperature {temperature:.3f}, bias {bias:.3f} of {len(dev)} dev items; {len(test)} test items"
        )
        print(f"expected calibration error {before['error']:.4f} -> {after['error']:.4f}", end=", ")
        print(f"accuracy {before['accuracy']} -> {after['accuracy']}")
        print("stated         items  mean stated  true")
        for row in after["bins"]:
            print(f"{row['from']:.1f} to {row['to']:.1f}  {row['items']:8d}  {row['stated']:11.3f}  {row['true']:.3f}")
        groups = {group: [one for one in test if one.group == group] for group in {one.group for one in test}}
        groups |= {"mass at least 0.5": [o for o in test if o.mass >= 0.5], "less": [o for o in test if o.mass < 0.5]}
        for group, rows in sorted(groups.items()):
            if rows:
                own = figures(rows, temperature, bias)
                print(f"  {group}: {own['items']} items, error {own['error']}, accuracy {own['accuracy']}")
                found[kind]["groups"][group] = {k: own[k] for k in ("items", "error", "accuracy")}
    if given.write is not None:
        weights = shipped_weights() if given.model == "embedded" else ""
        write_calibration(given.write, Calibration(temperatures, biases, found, weights))
    print(json.dumps({kind: {"temperature": temperatures[kind], "error": found[kind]["error"]} for kind in KINDS}))


if __name__ == "__main__":
    main()
