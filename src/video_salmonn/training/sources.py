"""Where the features of an item come from: a store that was filled before, or the frozen encoders themselves."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.media_keys import MediaKeys
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

    def _get(self, item: Item, name: str) -> torch.Tensor:
        if name not in self.store:
            raise MediaError(item.id, f"no features {name} in the store", remedy="encode the data set first")
        return self.store[name]

    def sight(self, item: Item) -> MediaFeatures:
        """Visual tokens; slides are put together from their pictures."""
        root = item.root
        recipe: Any = item.media.get("video", item.media.get("image"))
        if isinstance(recipe, dict):
            frames = round(recipe["length"] * 2)
            slides = sorted(recipe["slides"], key=lambda slide: slide["at"])
            rows = []
            for index, slide in enumerate(slides):
                end = slides[index + 1]["at"] if index + 1 < len(slides) else recipe["length"]
                key = self.keys.key(slide["file"], root)
                shown = round(end * 2) - round(slide["at"] * 2)
                rows.append(self._get(item, f"{key}.visual")[:1].expand(shown, -1, -1))
            return MediaFeatures(visual=torch.cat(rows)[:frames])
        visual = self._get(item, f"{self.keys.key(recipe, root)}.visual")
        return MediaFeatures(visual=visual, still_frames=self.picture_frames if "image" in item.media else 0)

    def names(self, item: Item) -> list[str]:
        """Names of the tensors that an item is made of."""
        root, found = item.root, []
        if item.media.get("audio") is not None:
            key = self.keys.key(item.media["audio"], root)
            found += [f"{key}.speech", f"{key}.audio"]
        recipe: Any = item.media.get("video", item.media.get("image"))
        files = [slide["file"] for slide in recipe["slides"]] if isinstance(recipe, dict) else [recipe]
        return found + [f"{self.keys.key(file, root)}.visual" for file in files if file is not None]

    def frames(self, item: Item) -> int:
        """Frames of the item's sound, or else of its pictures; read from the store's headers."""
        recipe: Any = item.media.get("video")
        if item.media.get("audio") is not None:
            return self._rows(item, item.media["audio"], "audio")
        if isinstance(recipe, dict):
            return round(recipe["length"] * 2)
        if recipe is not None:
            return self._rows(item, recipe, "visual")
        return self.picture_frames if "image" in item.media else 0

    def _rows(self, item: Item, recipe: Any, stream: str) -> int:
        """Rows of a stream of stored features, 0 where there are none."""
        try:
            name = f"{self.keys.key(recipe, item.root)}.{stream}"
        except MediaError:  # neither listed by the store nor a file: whoever reads the features says so
            return 0
        return self.store.shape(name)[0] if name in self.store else 0

    def sound(self, item: Item) -> MediaFeatures:
        """Speech and sound-event features, the latter repeated over their frame's steps."""
        key = self.keys.key(item.media["audio"], item.root)
        speech, audio = self._get(item, f"{key}.speech"), self._get(item, f"{key}.audio")
        steps = audio.repeat_interleave(self.steps_per_frame, dim=0)
        return MediaFeatures(speech=speech, audio=steps, sound_frames=audio.shape[0])


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
            raise MediaError(repr(str(path)), "is no file name", remedy="correct the manifest")
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
