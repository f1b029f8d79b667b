"""This package's own model as an :class:`~video_salmonn.evaluation.engine.Engine`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import WhisperConfig

from video_salmonn.checkpoints.assemble import model_card
from video_salmonn.checkpoints.shipped import shipped_weights
from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.evaluation.engine import Engine, Request
from video_salmonn.evaluation.item import Media
from video_salmonn.evaluation.whisper_baseline import WhisperDecoder
from video_salmonn.files import fingerprint
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.options import whole
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.types import Answer
from video_salmonn.wording import counted

_NEUTRAL = {
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
}
"""Settings of transformers' ``generate`` that change an answer without a draw, and the value that changes nothing."""
_OF_BEAMS = ("length_penalty",)


class OwnModel:
    """Asks a :class:`~video_salmonn.inference.engine.VideoSalmonn`.

    Answers are generated with the model's own settings (beams, penalties), except that nothing is drawn at random and
    that the task limits the length. Media beyond the model's context are seen more coarsely (``long="coarse"``) rather
    than failed; the answer's warnings say so and are kept with the prediction.

    Args:
        engine: a loaded model.
        num_beams: width of the beam search; 1 is greedy, None is the model's own (the released model's is 5).
        profile: the profile the model was loaded with, for the record.
        whisper: folder of the Whisper (Hugging Face form) the model's speech encoder was taken from, for the baseline.
        known_whisper: gives name and folder of the one to take where ``whisper`` is None; asked when it is needed.
    """

    def __init__(
        self,
        engine: VideoSalmonn,
        *,
        num_beams: int | None = None,
        profile: str | None = None,
        whisper: Path | None = None,
        known_whisper: Callable[[], tuple[str, Path]] | None = None,
    ) -> None:
        self.engine = engine
        own = int(engine.model.generation_config.num_beams or 1)
        self.num_beams = own if num_beams is None else whole(num_beams, "num_beams")
        self.profile = profile
        self.whisper = whisper
        self.known_whisper = known_whisper

    def describe(self) -> dict[str, Any]:
        """Name, numerics and decoding, and a fingerprint of the weights (another training run is another model).

        Of the small default model also that of its files (``shipped``), by which its pages are known to be stale
        without loading it.
        """
        model = self.engine.model
        return {
            "name": self.engine.name,
            "weights": fingerprint(self.engine.model)[:16],
            **({"shipped": shipped_weights()} if self.engine.name == "embedded" else {}),
            "configuration": model.config.digest()[:16],
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device.type),
            "profile": self.profile or "own",
            "decoding": self._decoding(),
            "context": self.engine.context,
            "notices": [notice.replace(model_card(), "its model card") for notice in self.engine.notices],
        }

    def _decoding(self) -> str:
        """How answers are generated, with whatever of the model's own settings changes them."""
        own = self.engine.model.generation_config
        words = ["greedy" if self.num_beams == 1 else f"beam search, {counted(self.num_beams, 'beam')}"]
        for name, neutral in _NEUTRAL.items():
            value = getattr(own, name, None)
            if value not in (None, neutral) and (self.num_beams > 1 or name not in _OF_BEAMS):
                words.append(f"{name.replace('_', ' ')} {value}")
        return ", ".join(words)

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
        items = [self._item(request) for request in requests]
        answers = self.engine.ask_many(items)
        for request, item, answer in zip(requests, items, answers):
            # Notices are about the model and the same for every item: `describe` states them once.
            told = answer.report.get("warnings") or []
            answer.report["warnings"] = [warning for warning in told if warning not in self.engine.notices]
            if request.candidates:
                found = self.engine.likelihoods(item, request.candidates)
                answer.report["likelihoods"] = [asdict(one) for one in found]
        return answers

    def own_decoder(self) -> Engine:
        """The Whisper this model's speech encoder was taken from, whole.

        Raises:
            MissingPartError: the model hears by no Whisper, or that Whisper's decoder is not there.
        """
        speech = self.engine.model.tower.speech
        if speech is None:
            raise MissingPartError(f"{self.engine.name}: has no Whisper encoder, so no decoder belongs to it")
        if self.whisper is not None:
            name, folder = self.whisper.name, self.whisper
        elif self.known_whisper is not None:
            name, folder = self.known_whisper()
        else:
            raise MissingPartError(
                f"{self.engine.name}: which Whisper its speech encoder was taken from is not known",
                remedy="name that Whisper's folder by --whisper",
            )
        sizes = WhisperConfig.from_pretrained(folder) if (folder / "config.json").is_file() else None
        fits = sizes is None or (sizes.d_model, sizes.encoder_layers) == (speech.width, len(speech.model.layers))
        decoder = WhisperDecoder.from_folder(folder, self.engine.model.device) if fits else None
        if decoder is None or not decoder.shares_encoder(speech.model):
            raise MissingPartError(
                f"{self.engine.name}: its speech encoder is not that of {folder.name}, whose decoder is available",
                remedy="name the folder of the Whisper it was taken from by --whisper",
            )
        decoder.name = name
        return decoder

    def _item(self, request: Request) -> MediaQuestion:
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
        return MediaQuestion(request.question, sources(request.media), options)


def sources(media: Media) -> list[Any]:
    """Media as the engine takes them: nothing, one file, or a (picture, sound) pair."""
    if media.picture is None:
        return [] if media.sound is None else [media.sound]
    return [media.picture if media.sound is None else (media.picture, media.sound)]
