"""The encoders' own heads as teachers: what EfficientNet says of pictures and YAMNet of sounds, where they are sure.

They are asked at training time only; nothing of them reaches the language model when it answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from video_salmonn.embedded.data.further.at_once import at_once
from video_salmonn.embedded.data.further.heard import HEARD
from video_salmonn.embedded.data.further.heard import VAGUE as VAGUE_HEARD
from video_salmonn.embedded.data.further.names import Names
from video_salmonn.embedded.data.further.seen import VAGUE, WIDER, imagenet_names, seen_phrase
from video_salmonn.embedded.data.render import read_frames, read_sound
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.pretrained import load_efficientnet, load_yamnet, yamnet_classes
from video_salmonn.encoders.efficientnet import MEAN, SIZE, STD
from video_salmonn.errors import MediaError
from video_salmonn.features.frames import prepare_frames
from video_salmonn.features.patches import yamnet_patches

SEEN_SURE, GROUP_SURE, SEEN_ABSENT = 0.6, 0.85, 2e-3
"""Probability of a class, and of a group of classes, above which it is a name, and below which it is not there."""
HEARD_SURE, HEARD_NEAR, HEARD_ABSENT = 0.65, 0.3, 0.02
"""The same for a sound's highest score over time; a vague name gives way to others this near."""
ABSENT_NAMES = 12
BATCH = 16
PICTURES = ("photo", "stamp", "caption", "material")
SOUNDS = ("sound", "unnamed-sound")


class Teachers:
    """Both heads, loaded once.

    Args:
        home: cache of the pretrained parts.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.eye, self.ear = load_efficientnet(home), load_yamnet(home)
        classes = {name: index for index, name in enumerate(yamnet_classes(home))}
        self.heard = {phrase: [classes[name] for name in names] for phrase, names in HEARD.items()}
        self.seen = imagenet_names()

    @torch.inference_mode()
    def pictures(self, frames: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[Names]:
        """RGB ``(224, 224, 3)`` each -> names, and names that are not there, of the sources called ``names``."""
        inputs = prepare_frames(torch.from_numpy(np.stack(frames)), SIZE, mean=MEAN, std=STD)
        scores = self.eye.logits(inputs).softmax(-1).double().numpy()
        return [self._seen(row, frame, name) for row, frame, name in zip(scores, frames, names)]

    def _seen(self, scores: NDArray[np.float64], frame: NDArray[np.uint8], name: str) -> Names:
        """One picture's names by its probabilities ``(1000,)``."""
        sure: list[str] = []
        best = int(scores.argmax())
        if scores[best] >= SEEN_SURE and self.seen[best] not in VAGUE:
            sure.append(seen_phrase(best))
        groups = {group: float(scores[list(members)].sum()) for group, members in WIDER.items()}
        sure += [group for group, share in sorted(groups.items(), key=lambda pair: -pair[1])
                 if share >= GROUP_SURE and group not in sure]  # fmt: skip
        absent = [group for group, share in groups.items() if share <= SEEN_ABSENT]
        return Names(name, tuple(sure), _some(absent, name), colour_of(frame))

    @torch.inference_mode()
    def sound(self, samples: NDArray[np.float32], name: str) -> Names:
        """16 kHz samples ``(n,)`` -> names, the surest first, and names that are not there."""
        waveform = torch.from_numpy(samples)[None]
        scores = self.ear.scores(self.ear.embed(yamnet_patches(waveform)))[0].amax(0)
        found = {phrase: float(scores[members].max()) for phrase, members in self.heard.items()}
        return Names(name, sure_sounds(found), _some([p for p, share in found.items() if share <= HEARD_ABSENT], name))


def sure_sounds(found: dict[str, float]) -> tuple[str, ...]:
    """Phrases that are sure, the surest first; vague ones only where no other is near."""
    clear = [phrase for phrase in found if phrase not in VAGUE_HEARD]
    others = [phrase for phrase in clear if found[phrase] >= HEARD_NEAR]
    usable = clear if others else list(found)
    return tuple(sorted((phrase for phrase in usable if found[phrase] >= HEARD_SURE), key=lambda p: -found[p]))


def _some(names: list[str], seed: str) -> tuple[str, ...]:
    return tuple(random.Random(f"absent/{seed}").sample(names, min(ABSENT_NAMES, len(names))))


_HUES = ((0.04, "red"), (0.11, "orange"), (0.19, "yellow"), (0.44, "green"), (0.70, "blue"), (0.83, "purple"),
         (0.94, "pink"), (1.01, "red"))  # fmt: skip
COLOUR_SHARE = 0.6
UNSURE = "?"
"""Light grey or white in shade."""


def colour_of(frame: NDArray[np.uint8]) -> str:
    """The colour of the middle of a picture, or "" where no colour has a share of :data:`COLOUR_SHARE` there."""
    rows, columns = frame.shape[0] // 4, frame.shape[1] // 4
    middle = Image.fromarray(frame[rows:-rows, columns:-columns]).convert("HSV").resize((32, 32))
    hue, saturation, value = (np.asarray(middle, dtype=np.float32)[..., i] / 255 for i in range(3))
    names = np.full(hue.shape, "", dtype="<U8")
    for limit, name in reversed(_HUES):
        names[hue < limit] = name
    names[(saturation < 0.45) & (names == "red") & (value > 0.6)] = "pink"
    names[(value < 0.55) & ((names == "orange") | (names == "red") & (hue > 0.02) & (hue < 0.5))] = "brown"
    names[(value >= 0.55) & (saturation < 0.5) & ((names == "orange") | (names == "yellow") & (hue < 0.15))] = "beige"
    names[saturation < 0.16] = "grey"
    names[(saturation < 0.16) & (value > 0.6)] = UNSURE
    names[(saturation < 0.14) & (value > 0.78)] = "white"
    names[value < 0.22] = "black"
    found, counts = np.unique(names, return_counts=True)
    best = int(counts.argmax())
    return str(found[best]) if counts[best] >= COLOUR_SHARE * names.size and found[best] != UNSURE else ""


def name_all(
    sources: Iterable[Source],
    root: Path,
    known: Iterable[Names] = (),
    home: Path | None = None,
    report: Callable[[int, str], None] = lambda done, reason: None,
    threads: int | None = None,
) -> Iterator[Names]:
    """Names of all pictures and sounds among the sources: first those that are known, then the others in their order.

    Args:
        sources: of the builder.
        root: what their paths are relative to.
        known: names of an earlier run, which are kept.
        home: cache of the pretrained parts.
        report: gets the number done, and why a source was left out, or "".
        threads: that decode and ask, by default one for each processor; torch should have one thread then.
    """
    kept = {entry.id: entry for entry in known}
    wanted = [entry for entry in sources if entry.kind in (*PICTURES, *SOUNDS)]
    yield from (kept[source.id] for source in wanted if source.id in kept)
    new = [source for source in wanted if source.id not in kept]
    if not new:
        return
    teachers = Teachers(home)
    done = len(wanted) - len(new)
    parts = (new[start : start + BATCH] for start in range(0, len(new), BATCH))
    for names, reasons in at_once(lambda part: _name_part(teachers, part, root), parts, threads):
        yield from names
        for reason in reasons:
            done += 1
            report(done, reason)


def _name_part(teachers: Teachers, part: Sequence[Source], root: Path) -> tuple[list[Names], list[str]]:
    """The names of some sources, and for each why it was left out, or ""."""
    names: list[Names] = []
    frames: dict[str, NDArray[np.uint8]] = {}
    reasons: list[str] = []
    for source in part:
        try:
            if source.kind in PICTURES:
                frames[source.id] = read_frames(root / source.path, SIZE)[0]
            else:
                names.append(teachers.sound(read_sound(root / source.path), source.id))
            reasons.append("")
        except MediaError as error:
            reasons.append(str(error))
    return names + (teachers.pictures(list(frames.values()), list(frames)) if frames else []), reasons
