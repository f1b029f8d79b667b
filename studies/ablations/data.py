"""The training and test items of a run: which there are features for, and which a variant's mixing leaves in.

Everything is read from the manifests and the feature store; media files are not looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.ablations.variants import Mixing

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, check_splits, write_manifest
from video_salmonn.data.mixing import has_sight, has_sound
from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.errors import ConfigError
from video_salmonn.files import write_json
from video_salmonn.metrics.yesno import read_yes_no
from video_salmonn.training.items import read_items
from video_salmonn.training.sources import StoredFeatures

ROWS = (
    "speech",
    "speech-with-picture",
    "sounds",
    "pictures",
    "match",
    "both-speech",
    "both-sound",
    "yesno-sense",
    "picture-with-speech",
    "events",
)
"""Groups of held-out items that are asked about."""
MATCHING = ("match", "yesno-match")
"""Tasks that ask whether a sound fits a picture."""
_KINDS: tuple[Mixing, ...] = ("all", "without swaps", "none")
_TEST = "test"


@dataclass(frozen=True)
class Data:
    """What a run is trained and asked on.

    Attributes:
        folder: holds the manifests, one for each kind of mixing, and the test items.
        fingerprint: of all items and of the shapes of their features: the same wherever the same media were encoded.
        items: numbers of items, by kind of mixing and for ``test``.
        missing: items of the manifests that have no features.
    """

    folder: str
    fingerprint: str
    items: dict[str, int]
    missing: int

    def train(self, mixing: Mixing) -> Path:
        """The training manifest of a kind of mixing."""
        return Path(self.folder) / f"train-{mixing.replace(' ', '-')}.jsonl"

    @property
    def test(self) -> Path:
        """The held-out items that the rows are made of."""
        return Path(self.folder) / f"{_TEST}.jsonl"


def prepare(manifests: Path, features: Path, folder: Path) -> Data:
    """Write the manifests of a run, and what they are made from (``data.json``).

    Args:
        manifests: folder with ``train.jsonl`` and ``test.jsonl`` of ``data build-embedded``.
        features: feature store of ``data encode-embedded``.
        folder: written into.

    Raises:
        ConfigError: a manifest is not there, or no item of it has features.
    """
    check_splits(manifests, ["train", _TEST])
    store = FeatureStore(features)
    source = StoredFeatures(store, 1)
    rows = [group for group in GROUPS if group.name in ROWS]
    every = read_items([str(manifests / "train.jsonl")])
    asked = [item for item in read_items([str(manifests / f"{_TEST}.jsonl")]) if any(row.takes(item) for row in rows)]
    train, test = ([item for item in items if source.complete(item)] for items in (every, asked))
    for name, items in (("train", train), (_TEST, test)):
        if not items:
            raise ConfigError(
                f"{features}: no item of {manifests}/{name}.jsonl has features", remedy="data encode-embedded --split"
            )
    kept = {mixing: left_in(train, mixing) for mixing in _KINDS}
    data = Data(
        str(folder),
        fingerprint([*train, *test], source),
        {**{str(mixing): len(items) for mixing, items in kept.items()}, _TEST: len(test)},
        len(every) + len(asked) - len(train) - len(test),
    )
    for mixing, items in kept.items():
        write_manifest(data.train(mixing), items)
    write_manifest(data.test, test)
    write_json(folder / "data.json", asdict(data))
    return data


def read(folder: Path) -> Data:
    """What :func:`prepare` wrote."""
    return Data(**json.loads((folder / "data.json").read_text(encoding="utf-8")))


def put_together(item: Item) -> bool:
    """Whether an item shows a picture and plays a sound that was not recorded with it."""
    return has_sight(item) and has_sound(item) and item.media.get("video") != item.media["audio"]


def swapped(item: Item) -> bool:
    """Whether an item is a matching question whose sound is that of something else."""
    return item.task in MATCHING and read_yes_no(item.answer) is False


_LEFT_OUT: dict[Mixing, Callable[[Item], bool]] = {
    "all": lambda item: False,
    "without swaps": swapped,
    "none": lambda item: put_together(item) or item.task in MATCHING,
}


def left_in(items: Iterable[Item], mixing: Mixing) -> list[Item]:
    """The items that a kind of mixing trains on."""
    return [item for item in items if not _LEFT_OUT[mixing](item)]


def fingerprint(items: Iterable[Item], source: StoredFeatures) -> str:
    """A digest of items and of the shapes of their features; 16 hexadecimal digits.

    Names of features are left out: they are made from the media's bytes, and prepared on another processor the same
    recording is compressed to other bytes.
    """
    hasher = hashlib.sha256()
    for item in items:
        shapes = [tuple(source.store.shape(name)) for name in source.names(item)]
        row = [item.id, item.conversation, item.task, item.weight, item.extra, shapes]
        hasher.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return hasher.hexdigest()[:16]
