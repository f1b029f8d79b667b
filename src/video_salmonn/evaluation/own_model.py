"""This package's own model as an :class:`~video_salmonn.evaluation.engine.Engine`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.engine import Request
from video_salmonn.evaluation.item import Media
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.items import Item
from video_salmonn.types import Answer


class OwnModel:
    """Asks a :class:`~video_salmonn.inference.engine.VideoSalmonn`.

    Nothing is drawn at random. Media beyond the model's context are seen more coarsely (``long="coarse"``) rather than
    failed; the answer's warnings say so and are kept with the prediction.

    Args:
        engine: a loaded model.
        num_beams: width of the beam search; 1 is greedy.
        profile: the profile the model was loaded with, for the record.
    """

    def __init__(self, engine: VideoSalmonn, *, num_beams: int = 1, profile: str | None = None) -> None:
        self.engine = engine
        self.num_beams = num_beams
        self.profile = profile

    def describe(self) -> dict[str, Any]:
        """Name, numerics and decoding, and a fingerprint of the weights (another training run is another model)."""
        model = self.engine.model
        return {
            "name": self.engine.name,
            "weights": weights_fingerprint(self.engine),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device.type),
            "profile": self.profile or "own",
            "decoding": "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams",
            "context": self.engine.context,
        }

    def ask_many(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in order; requests with equal options run as one batch.

        Raises:
            ConfigError: if a request zeroes a level the connector does not have.
        """
        levels = len(self.engine.model.connector.config.levels)
        if beyond := sorted({level for request in requests for level in request.zero_levels if level >= levels}):
            raise ConfigError(
                f"{self.engine.name}: has {levels} connector level(s), so level {beyond[0]} cannot be set to zero",
                remedy="leave out the baselines fine_only and coarse_only",
            )
        return self.engine.ask_many([self._item(request) for request in requests])

    def _item(self, request: Request) -> Item:
        options: dict[str, Any] = {
            "max_new_tokens": request.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": False,
            "long": "coarse",
        }
        # Only what differs from the default is named, so that equal requests share a batch and a cache entry.
        given: dict[str, Any] = {"no_video": not request.use_video, "no_audio": not request.use_audio}
        given |= {"zero_levels": request.zero_levels, "start": request.media.start, "end": request.media.end}
        options |= {name: value for name, value in given.items() if value not in (None, False, ())}
        return Item(request.question, sources(request.media), options)


def sources(media: Media) -> list[Any]:
    """Media as the engine takes them: nothing, one file, or a (picture, sound) pair."""
    if media.picture is None:
        return [] if media.sound is None else [media.sound]
    return [media.picture if media.sound is None else (media.picture, media.sound)]


def weights_fingerprint(engine: VideoSalmonn) -> str:
    """A short digest over names, shapes and sums of all weights."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(engine.model.state_dict().items()):
        total = float(tensor.double().sum()) if tensor.is_floating_point() else int(tensor.sum())
        hashed.update(f"{name} {tuple(tensor.shape)} {total!r}\n".encode())
    return hashed.hexdigest()[:16]
