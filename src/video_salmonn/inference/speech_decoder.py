"""Whisper's own decoder on a model's speech encoder: transformers' long-form generation, with its time stamps.

Decoding is transformers' own: windows of 30 s that follow the time stamps, a temperature that rises where a window's
text repeats itself or is unlikely, and no text where nobody speaks. Draws at higher temperatures are seeded, so the
same sound gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from video_salmonn.features.logmel import log_mel
from video_salmonn.inference.transcript import Segment, Word
from video_salmonn.inference.transcript_options import language_code, unknown_language

RATE = 16_000
WINDOW = 30 * RATE
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
COMPRESSION, LIKELIHOOD, NO_SPEECH = 1.35, -1.0, 0.6
"""Thresholds of the fallback, those of Whisper's authors (in transformers' units): how repetitive a text may be, how
unlikely, and how surely nobody speaks."""


@dataclass
class SpeechDecoder:
    """A whole Whisper whose encoder belongs to a model.

    Attributes:
        model: ``WhisperForConditionalGeneration``.
        tokenizer: that belongs to it.
    """

    model: Any
    tokenizer: Any

    @property
    def tells_words(self) -> bool:
        """Whether it knows which attention heads follow the sound, so that words get times."""
        return bool(getattr(self.model.generation_config, "alignment_heads", None))

    def check_language(self, language: str | None) -> str | None:
        """Code of a language by its code or English name; None for None, and for a Whisper of one language.

        Raises:
            ConfigError: Whisper does not know it.
        """
        if language is None or not getattr(self.model.generation_config, "is_multilingual", False):
            return None
        code = language_code(language)
        if f"<|{code}|>" not in self.model.generation_config.lang_to_id:
            raise unknown_language(language)
        return code

    @torch.inference_mode()
    def language_of(self, samples: torch.Tensor) -> str | None:
        """Code of the language that the first 30 s of a sound ``(n,)`` at 16 kHz are in; None where it knows one."""
        settings = self.model.generation_config
        if not getattr(settings, "is_multilingual", False):
            return None
        features = self._features(samples[:WINDOW])
        (token,) = self.model.detect_language(input_features=features, generation_config=settings).tolist()
        return next(text.strip("<|>") for text, known in settings.lang_to_id.items() if known == token)

    @torch.inference_mode()
    def transcribe(
        self, samples: torch.Tensor, *, language: str | None, task: str, words: bool, start: float = 0.0
    ) -> list[Segment]:
        """Segments of a sound, as Whisper cuts them.

        Args:
            samples: ``(n,)`` float32 at 16 kHz, of any length.
            language: code, as :meth:`language_of` or :meth:`check_language` give it.
            task: one of :data:`TASKS`.
            words: give words times, by the cross-attention; about half as fast.
            start: seconds into the file at which the sound begins.
        """
        told: dict[str, Any] = {"language": language, "task": task} if language else {}
        features = self._features(samples)
        length = features.shape[-1]
        real = min(length, -(-len(samples) // 160))
        mask = torch.zeros(1, length, dtype=torch.long, device=features.device)
        mask[:, :real] = 1
        with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
            torch.manual_seed(0)
            made = self.model.generate(
                input_features=features,
                attention_mask=mask,
                return_timestamps=True,
                return_segments=True,
                return_token_timestamps=words,
                max_length=self.model.config.max_target_positions,
                num_beams=1,
                condition_on_prev_tokens=False,
                temperature=TEMPERATURES,
                compression_ratio_threshold=COMPRESSION,
                logprob_threshold=LIKELIHOOD,
                no_speech_threshold=NO_SPEECH,
                **told,
            )
        duration = len(samples) / RATE
        return [one for raw in made["segments"][0] if (one := self._segment(raw, start, duration, words)) is not None]

    def _features(self, samples: torch.Tensor) -> torch.Tensor:
        bins = self.model.config.num_mel_bins
        mel = log_mel(samples[None], bins, pad_to=max(WINDOW, -(-len(samples) // 320) * 320))
        return mel.to(self.model.device, self.model.dtype)

    def _segment(self, raw: dict[str, Any], start: float, duration: float, words: bool) -> Segment | None:
        """A segment of transformers' as ours; None for one without text."""
        ids, times = raw["tokens"].tolist(), raw["token_timestamps"].tolist() if words else []
        last = self.model.config.eos_token_id  # all control tokens and times lie behind it
        places = [place for place, token in enumerate(ids) if token < last]
        ids, times = [ids[place] for place in places], [times[place] for place in places] if words else []
        text = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip()
        text = re.sub(r"\s+", " ", text)
        if not text:
            return None
        begin, end = (min(float(raw[name]), duration) for name in ("start", "end"))
        spoken = self._words(ids, times, start, end) if words else ()
        return Segment(0, start + begin, start + max(begin, end), text, spoken)

    def _words(self, ids: Sequence[int], times: Sequence[float], start: float, end: float) -> tuple[Word, ...]:
        """Words out of tokens with the time at which each begins. A word begins at a space, as English has them."""
        pieces: list[tuple[list[int], float]] = []
        for token, time in zip(ids, times):
            if not pieces or self.tokenizer.convert_ids_to_tokens(token).startswith("Ġ"):
                pieces.append(([], time))
            pieces[-1][0].append(token)
        found = []
        for number, (tokens, begin) in enumerate(pieces):
            following = pieces[number + 1][1] if number + 1 < len(pieces) else end
            text = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False).strip()
            if text:
                found.append(Word(start + begin, start + max(begin, min(following, begin + 2.0)), text))
        return tuple(found)
