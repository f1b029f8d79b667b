"""Whisper's own decoder as a baseline for speech: what the words are to the recogniser whose encoder a model hears by.

It is an engine of its own. It hears a request's sound and reads nothing of its question, and what it writes goes into
its own predictions file: no other engine ever sees it.

Windows of 30 s one after the other (padded to 30 s, as Whisper was trained), greedy, without time stamps or the
text of earlier windows; the windows' texts are joined by spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.checkpoints.speech_decoder import load_whole
from video_salmonn.evaluation.engine import Request
from video_salmonn.features.logmel import log_mel
from video_salmonn.files import fingerprint
from video_salmonn.media.clip import load_clip
from video_salmonn.media.options import MediaOptions
from video_salmonn.types import Answer, MediaAccount

RATE = 16_000
WINDOW = 30 * RATE
LONGEST = 444
"""Tokens a window's text may have: Whisper's 448 positions without its four control tokens."""


class WhisperDecoder:
    """Transcribes by a whole Whisper, encoder and decoder.

    Args:
        model: ``WhisperForConditionalGeneration``.
        tokenizer: that belongs to it.
        name: for the record.
        language: of the speech, for multilingual models.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, language: str = "en") -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.language = language if getattr(model.generation_config, "is_multilingual", False) else None

    @classmethod
    def from_folder(cls, folder: Path, device: str | torch.device = "cpu") -> WhisperDecoder:
        """Whisper from a Hugging Face model folder, in float32.

        Raises:
            MissingPartError: the folder holds no Whisper.
        """
        model, tokenizer = load_whole(folder)
        return cls(model.to(device), tokenizer, name=folder.name)

    def describe(self) -> dict[str, Any]:
        """Name, weights and decoding."""
        return {
            "name": self.name,
            "weights": fingerprint(self.model)[:16],
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "decoding": "greedy, windows of 30 s, no time stamps",
            "language": self.language or "of the model",
        }

    def shares_encoder(self, encoder: torch.nn.Module) -> bool:
        """Whether ``encoder`` (transformers' ``WhisperEncoder``) has this very Whisper's encoder weights."""
        own = self.model.get_encoder().state_dict()
        other = encoder.state_dict()
        if own.keys() != other.keys():
            return False
        same = (own[name].shape == other[name].shape for name in own)
        # The other may be kept in half precision: compared in its own type.
        return all(same) and all(torch.equal(own[n].to(other[n]), other[n]) for n in own)

    @torch.inference_mode()
    def ask_many(self, requests: Sequence[Request]) -> list[Answer]:
        """The transcript of every request's sound, in order; "" where there is none to hear.

        Raises:
            MediaError: a request's media cannot be decoded.
        """
        heard = [_heard(request) for request in requests]
        texts = self.transcribe([samples for samples, _ in heard])
        return [Answer(text, {"media": account}) for text, (_, account) in zip(texts, heard)]

    @torch.inference_mode()
    def transcribe(self, sounds: Sequence[torch.Tensor]) -> list[str]:
        """The words of sounds ``(n_i,)`` at 16 kHz of any length, in order; "" where there is none."""
        windows: list[torch.Tensor] = []
        spans: list[tuple[int, int]] = []
        for samples in sounds:
            begin = len(windows)
            windows += samples.split(WINDOW) if len(samples) else []
            spans.append((begin, len(windows)))
        texts = self._transcribe(windows)
        return [" ".join(texts[begin:end]).strip() for begin, end in spans]

    def _transcribe(self, windows: Sequence[torch.Tensor]) -> list[str]:
        """Texts of windows (n_i,) of at most 30 s, as one batch."""
        if not windows:
            return []
        bins = self.model.config.num_mel_bins
        mels = torch.cat([log_mel(window[None], bins, pad_to=WINDOW) for window in windows])
        told = {"language": self.language, "task": "transcribe"} if self.language else {}
        ids = self.model.generate(
            mels.to(self.model.device, self.model.dtype),
            do_sample=False,
            num_beams=1,
            return_timestamps=False,
            max_new_tokens=LONGEST,
            **told,
        )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _heard(request: Request) -> tuple[torch.Tensor, list[MediaAccount]]:
    """Samples ``(n,)`` at 16 kHz of what a request plays, and the account of it."""
    media = request.media
    source, sound = (media.picture, media.sound) if media.picture is not None else (media.sound, None)
    if source is None:
        return torch.zeros(0), []
    options = MediaOptions(use_video=False, start=media.start, end=media.end)
    clip = load_clip(source, sound=sound, options=options)
    samples = torch.zeros(0) if clip.sound is None else torch.from_numpy(clip.sound.samples)
    return samples, [clip.report.to_dict()]
