"""Where the features of an item come from: a store that was filled before, or the frozen encoders themselves."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.media_keys import MediaKeys
from video_salmonn.data.media_recipes import slides_of
from video_salmonn.errors import MediaError
from video_salmonn.inference.media_store import MediaStore
from video_salmonn.model.inputs import MediaFeatures


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


class StoredFeatures:
    """Features that were encoded before: needs neither media libraries nor encoders.

    Args:
        store: the feature store.
        picture_frames: frames a picture without sound is shown for.
        steps_per_frame: A.
    """

    def __init__(self, store: FeatureStore, picture_frames: int, steps_per_frame: int = 25) -> None:
        self.store = store
        self.keys = MediaKeys(store.folder)
        self.picture_frames = picture_frames
        self.steps_per_frame = steps_per_frame

    def sight(self, item: Item) -> MediaFeatures:
        """Visual tokens; a strip is put together from its pictures."""
        recipe = _sight(item)
        if isinstance(recipe, dict):
            pictures = [self._get(item, file, "visual")[:1].expand(shown, -1, -1) for file, shown in slides_of(recipe)]
            return MediaFeatures(visual=torch.cat(pictures)[: round(recipe["length"] * 2)])
        still = self.picture_frames if "image" in item.media else 0
        return MediaFeatures(visual=self._get(item, recipe, "visual"), still_frames=still)

    def sound(self, item: Item) -> MediaFeatures:
        """Speech and sound-event features, the latter repeated over their frame's steps."""
        speech, audio = (self._get(item, item.media["audio"], stream) for stream in ("speech", "audio"))
        steps = audio.repeat_interleave(self.steps_per_frame, dim=0)
        return MediaFeatures(speech=speech, audio=steps, sound_frames=audio.shape[0])

    def frames(self, item: Item) -> int:
        """Frames of the item's sound, or else of its pictures; read from the store's headers, 0 where it has none."""
        recipe: Any = item.media.get("audio") or item.media.get("video")
        if recipe is None:
            return self.picture_frames if "image" in item.media else 0
        if isinstance(recipe, dict) and "slides" in recipe:
            return round(recipe["length"] * 2)
        try:
            name = self._name(item, recipe, "audio" if item.media.get("audio") else "visual")
        except MediaError:  # neither listed by the store nor a file: whoever reads the features says so
            return 0
        return self.store.shape(name)[0] if name in self.store else 0

    def names(self, item: Item) -> list[str]:
        """Names of the tensors that an item is made of."""
        sound, recipe = item.media.get("audio"), _sight(item)
        found = [] if sound is None else [self._name(item, sound, stream) for stream in ("speech", "audio")]
        files = [file for file, _ in slides_of(recipe)] if isinstance(recipe, dict) else [recipe]
        return found + [self._name(item, file, "visual") for file in files if file is not None]

    def _name(self, item: Item, recipe: Any, stream: str) -> str:
        """A tensor's name. Raises MediaError where the store does not list the media and they are not there either."""
        return f"{self.keys.key(recipe, item.root)}.{stream}"

    def _get(self, item: Item, recipe: Any, stream: str) -> torch.Tensor:
        name = self._name(item, recipe, stream)
        if name not in self.store:
            raise MediaError(item.id, f"no features {name} in the store", remedy="encode the data set first")
        return self.store[name]


def _sight(item: Item) -> Any:
    """The path or recipe of an item's pictures, or None."""
    return item.media.get("video", item.media.get("image"))


class LiveFeatures:
    """Features made as they are needed, and kept by the media store's cache.

    Args:
        media: decodes and encodes.
    """

    def __init__(self, media: MediaStore) -> None:
        self.media = media

    def _get(self, item: Item, name: str, **options: Any) -> MediaFeatures:
        path = item.root / str(item.media[name])
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
