"""Where the features of an item come from: a store that was filled before, or the frozen encoders themselves."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from video_salmonn.cache import Cache
from video_salmonn.data.feature_index import failure_name
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.media_recipes import slides_of
from video_salmonn.errors import EmptyMediaError, MediaError
from video_salmonn.files import fingerprint
from video_salmonn.inference.media_store import MediaStore
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor

STREAMS = {"sight": ("visual",), "sound": ("speech", "audio")}
"""What the features of a kind of media are called in a store, after the key."""


class FeatureSource(Protocol):
    """Gives the features of a stream of an item."""

    def sight(self, item: Item) -> MediaFeatures:
        """Visual features of the item."""
        ...

    def sound(self, item: Item) -> MediaFeatures:
        """Sound features of the item."""
        ...

    def frames(self, item: Item) -> int:
        """Frames of 0.5 s of the item's media, 0 where that is not known beforehand."""
        ...


def wanted(item: Item, kind: str) -> Any:
    """The media recipe that an item's ``sight`` or ``sound`` comes from, as a store names it; None for none.

    A stretch of a file is ``{"file": path, "start": s, "end": s}``.
    """
    recipe = item.media.get("audio") if kind == "sound" else item.media.get("video", item.media.get("image"))
    span = {name: item.media[name] for name in ("start", "end") if item.media.get(name) is not None}
    return {"file": recipe, **span} if span and isinstance(recipe, str) else recipe


@dataclass(eq=False)
class StoredFeatures:
    """Features that were encoded before: needs neither media libraries nor encoders.

    Attributes:
        store: the feature store.
        picture_frames: frames a picture without sound is shown for.
        steps_per_frame: A.
    """

    store: FeatureStore
    picture_frames: int
    steps_per_frame: int = 25

    def sight(self, item: Item) -> MediaFeatures:
        """Visual tokens; a strip is put together from its pictures."""
        recipe = wanted(item, "sight")
        if isinstance(recipe, dict) and "slides" in recipe:
            pictures = [
                self._entry(item, "sight", file)["visual"][:1].expand(shown, -1, -1)
                for file, shown in slides_of(recipe)
            ]
            return MediaFeatures(visual=torch.cat(pictures)[: round(recipe["length"] * 2)])
        visual = self._entry(item, "sight", recipe)["visual"]
        return MediaFeatures(visual=visual, still_frames=self._still(item, recipe))

    def sound(self, item: Item) -> MediaFeatures:
        """Speech and sound-event features; the latter are stored once a frame and repeated over its steps."""
        recipe = wanted(item, "sound")
        streams, facts = self._entry(item, "sound", recipe), self._facts(item, recipe)
        audio = streams.get("audio")
        frames = facts.get("sound_frames", 0 if audio is None else len(audio))
        if audio is not None:
            streams["audio"] = audio.repeat_interleave(facts.get("audio_repeat", self.steps_per_frame), dim=0)
        return MediaFeatures(speech=streams.get("speech"), audio=streams.get("audio"), sound_frames=frames)

    def frames(self, item: Item) -> int:
        """Frames of the item's sound, or else of its pictures; reads no tensor, 0 where the store has none."""
        try:
            for kind in ("sound", "sight"):
                recipe = wanted(item, kind)
                if isinstance(recipe, dict) and "slides" in recipe:
                    return round(recipe["length"] * 2)
                if kind == "sight" and "image" in item.media:
                    return self.picture_frames
                there = [name for name in self._names(item, kind, recipe) if name in self.store] if recipe else []
                if kind == "sound" and there:
                    return int(self._facts(item, recipe).get("sound_frames") or self.store.shape(there[-1])[0])
                if there:
                    return self._still(item, recipe) or self.store.shape(there[0])[0]
        except MediaError:  # neither listed by the store nor a file: whoever reads the features says so
            pass
        return 0

    def names(self, item: Item) -> list[str]:
        """Names of the tensors that an item is made of."""
        found: list[str] = []
        for kind in ("sound", "sight"):
            recipe = wanted(item, kind)
            slides = slides_of(recipe) if isinstance(recipe, dict) and "slides" in recipe else [(recipe, 1)]
            found += [name for file, _ in slides if file is not None for name in self._names(item, kind, file)]
        return found

    def complete(self, item: Item) -> bool:
        """Whether the store has all of them; looks at names only."""
        try:
            return all(name in self.store for name in self.names(item))
        except MediaError:  # neither listed by the store nor a file that could be looked up in it
            return False

    def _still(self, item: Item, recipe: Any) -> int:
        return self.picture_frames if self._facts(item, recipe).get("still", "image" in item.media) else 0

    def _facts(self, item: Item, recipe: Any) -> dict[str, Any]:
        return self.store.facts(self.store.key(recipe, item.root))

    def _names(self, item: Item, kind: str, recipe: Any) -> list[str]:
        """Tensors of a kind. Raises MediaError where the store does not list the media and they are not to be read."""
        key = self.store.key(recipe, item.root)
        return [f"{key}.{stream}" for stream in STREAMS[kind]]

    def _entry(self, item: Item, kind: str, recipe: Any) -> dict[str, torch.Tensor]:
        reason = MediaError(item.id, f"no features of its {kind} in the store", remedy="encode this manifest first")
        try:
            names = zip(STREAMS[kind], self._names(item, kind, recipe))
            found = {stream: self.store[name] for stream, name in names if name in self.store}
            if found:
                return found
        except MediaError as error:
            reason = error
        failure = self.store.index.failed.get(failure_name(kind, recipe))
        if failure is None:
            raise reason
        raise (EmptyMediaError if failure.absent else MediaError)(item.id, failure.reason)


@dataclass(eq=False)
class OnDemandFeatures:
    """Features made as they are needed, by the model's own encoders, and kept.

    Attributes:
        model, processor: decode and encode.
        folder: where features are also kept on disk; None for memory only.
    """

    model: VideoSalmonnForConditionalGeneration
    processor: VideoSalmonnProcessor
    folder: Path | None = None
    _media: MediaStore | None = field(default=None, init=False)
    _making: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def media(self) -> MediaStore:
        """Encodes and keeps; made when the first features are asked for."""
        with self._making:  # threads make examples
            if self._media is None:
                cache = Cache(folder=self.folder)
                self._media = MediaStore(self.model, self.processor, cache, fingerprint(self.model.tower))
            return self._media

    def _get(self, item: Item, name: str, **options: Any) -> MediaFeatures:
        if not isinstance(item.media[name], str):
            raise MediaError(
                item.id,
                f"its {name} is composed of files, which this training does not do",
                remedy="encode the manifest (video-salmonn data encode-embedded) and name the folder as data.features",
            )
        path = item.root / item.media[name]
        span = {k: item.media[k] for k in ("start", "end") if item.media.get(k) is not None}
        if "\0" in str(path):
            raise MediaError(repr(str(path)), "is not a file name", remedy="correct the manifest")
        try:
            return self.media.get(str(path), **options, **span).features
        except OSError as error:  # whatever keeps a file from being opened costs its item, not the run
            reason = f"cannot be read ({error.strerror or error})"
            raise MediaError(str(path), reason, remedy="check the path and its permissions") from error

    def frames(self, item: Item) -> int:
        """0: known only once it is decoded."""
        return 0

    def sight(self, item: Item) -> MediaFeatures:
        """Visual features of the item's video or picture."""
        return self._get(item, "video" if "video" in item.media else "image", use_audio=False)

    def sound(self, item: Item) -> MediaFeatures:
        """Sound features of the item's sound file, or of its video's own track."""
        return self._get(item, "audio", use_video=False)
