"""A small store whose features are noisy codes of what is said, seen and heard, and manifests with every task."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from video_salmonn.data.feature_index import FeatureIndex  # noqa: E402
from video_salmonn.data.feature_store import FeatureStore  # noqa: E402
from video_salmonn.data.manifest import Item, write_manifest  # noqa: E402

WIDTH, VISUAL = 32, 5
LETTERS = "rgbxyz"
NAMES = ("rain", "a dog barking")
THINGS = ("a coat", "a cup", "a hat")


def question(name: str, task: str, media: dict, asked: str, answer: str, words: dict | None = None) -> Item:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Item(name, media, turns, task, extra={"words": words} if words else {})


def items_of(split: str, count: int) -> list[Item]:
    """``count`` of each recording, and questions that put them together; there are no media files."""
    rng = random.Random(split)
    made: list[Item] = []
    for index in range(count):
        said = " ".join(rng.sample(LETTERS, 2))
        heard, seen = NAMES[index % 2], THINGS[index % 3]
        speech, sound, picture = (f"{split}-{kind}{index}" for kind in ("said", "heard", "seen"))
        moving, both = {"video": f"{split}-moving", "audio": f"{split}-moving"}, {"image": picture, "audio": sound}
        with_speech = {"image": picture, "audio": speech}
        made += [
            question(
                f"transcribe/librispeech:{index}", "transcribe", {"audio": speech}, "Write.", said, {"said": said}
            ),
            question(f"sound/esc10:{index}", "sound", {"audio": sound}, "Hear?", f"{heard}.", {"heard": heard}),
            question(f"picture/photos:{index}", "picture", {"image": picture}, "See?", f"{seen}.", {"seen": seen}),
            question(f"picture+speech/{index}/t", "transcribe-av", with_speech, "Write.", said),
            question(f"picture+speech/{index}/p", "picture-av", with_speech, "See?", f"{seen}."),
            question(
                f"picture+speech/{index}/b", "both-av", with_speech, "Both?", f"It says: {said}. It shows {seen}."
            ),
            question(f"picture+sound/{index}", "both-sound-av", both, "Both?", f"I hear {heard}. I see {seen}."),
            question(f"match/{index}", "match", both, "Fit?", f"I hear {heard}. {('Yes.', 'No.')[index % 2]}"),
            question(f"yesno-sense/{index}", "yesno-sense", both, "Rain?", ("Yes.", "No.")[index % 2]),
            question(f"events/{index}", "event-first", {"audio": sound}, "First?", f"{heard}."),
            question(f"talk/{index}", "transcribe-talk", moving, "Write.", "r g"),
        ]
    return made


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``manifests`` and ``features``."""
    folder = tmp_path_factory.mktemp("ablations")
    generator = torch.Generator().manual_seed(0)
    names: set[str] = set()
    with FeatureStore(folder / "features") as store:
        for split, count in (("train", 12), ("test", 6)):
            items = items_of(split, count)
            write_manifest(folder / "manifests" / f"{split}.jsonl", items)
            for name in sorted({value for item in items for value in item.media.values()}):
                names.add(name)
                if "seen" not in name:
                    speech = torch.randn(75, WIDTH, generator=generator)
                    store.put({f"{name}.speech": speech, f"{name}.audio": speech[:3].clone()})
                if "seen" in name or "moving" in name:
                    frames = 3 if "moving" in name else 1
                    store.put({f"{name}.visual": torch.randn(frames, VISUAL, WIDTH, generator=generator)})
    store.add_to_index(FeatureIndex(keys={name: name for name in names}))
    return folder
