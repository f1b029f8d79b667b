"""Features of a stream that has not ended: encoded segment by segment, final as soon as a window is closed.

Decisions:

* The encoders run on the same segments as for a whole file: sound on segments of ``segment_seconds`` from the beginning
  of the stream, pictures two a second. A window is closed when everything in it was encoded; nothing later changes it.
* Pictures and samples are dropped once they are encoded, and features when they lie before the context that questions
  are asked about: memory does not grow with the length of the stream.
* A stream that falls far behind the other one does not hold it up: silence or the last picture is put in its place, and
  the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.errors import ConfigError
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

RATE = 16_000
CONTEXT = 30.0
"""Longest stretch in seconds that is asked about, for a model that does not state what it was trained on."""


def check_live(name: str, config: VideoSalmonnConfig) -> None:
    """Raise ConfigError where a model cannot understand a stream that has not ended, with the reason.

    Args:
        name: of the model, for the message.
        config: of the model.
    """
    media, connector = config.media_config, config.connector_config
    reason = ""
    if not connector.synchronise:
        reason = "its connector reads all pictures before all sound, so nothing is final before the end"
    elif connector.attend_padding or not connector.trim_padding:
        reason = "its connector attends to padding up to the longest media, so a window depends on what follows it"
    elif media.max_sound_seconds or media.max_seconds:
        seconds = media.max_sound_seconds or media.max_seconds
        reason = f"it hears or sees nothing after the first {seconds:g} s of media"
    elif media.frame_times != "uniform":
        reason = f"its pictures are taken by the rule {media.frame_times!r}, which depends on where a video ends"
    elif media.first_channel:
        reason = "it hears the first channel only, and short sound padded to 3 s"
    elif not media.pad_last_segment:
        reason = "it hears short sound without padding, so what it hears depends on where the sound ends"
    if reason:
        raise ConfigError(
            f"{name} cannot follow a live stream: {reason}",
            remedy="use a model whose connector masks padding (the embedded model, paper-7b), or ask about files",
        )


class LiveFeatures:
    """The features of one stream.

    Args:
        engine: encodes.
        sight, sound: which streams there are.
        context: seconds that are kept for questions; None for what the model was trained on.
        timer: collects computing time by stage.

    Raises:
        ConfigError: the model cannot follow a stream, or has neither of the streams.
    """

    def __init__(
        self,
        engine: VideoSalmonn,
        *,
        sight: bool = True,
        sound: bool = True,
        context: float | None = None,
        timer: Timer | None = None,
    ) -> None:
        config = engine.model.config
        check_live(engine.name, config)
        self.engine, self.timer = engine, timer if timer is not None else Timer()
        self.connector = engine.model.connector.config
        self.frame_seconds = self.connector.frame_seconds
        self.sight = sight and config.vision_config is not None
        self.sound = sound and self.connector.has_sound
        if not (self.sight or self.sound):
            raise ConfigError(f"{engine.name}: there is nothing to see or to hear", remedy="switch picture or sound on")
        self.segment_frames = round(config.media_config.segment_seconds / self.frame_seconds)
        self.window_frames = self.connector.window_multiple
        longest = max(config.media_config.trained_seconds or CONTEXT, self.window_frames * self.frame_seconds)
        self.context = self._context(longest if context is None else context, longest)
        self.warnings: dict[str, None] = {}
        self._visual: list[torch.Tensor] = []
        self._sounds: list[tuple[torch.Tensor | None, torch.Tensor | None]] = []
        self._first_sight = 0  # frame at which the first of _visual begins
        self._first_sound = 0
        self._seen = 0  # frames that were encoded
        self._pictures: list[NDArray[np.uint8]] = []
        self._last: NDArray[np.uint8] | None = None
        self._heard = 0  # samples that were encoded
        self._samples: list[NDArray[np.float32]] = []
        self._held = 0
        self._ended = False

    def _context(self, seconds: float, longest: float) -> int:
        """Frames of context: whole windows."""
        frames = math.floor(seconds / self.frame_seconds + 1e-6) // self.window_frames * self.window_frames
        if frames < self.window_frames or seconds > longest:
            window = self.window_frames * self.frame_seconds
            raise ConfigError(f"context is {seconds:g} s", remedy=f"give {window:g} to {longest:g} seconds")
        return frames

    # --------------------------------------------------------------------------------------------------- input

    @property
    def seen(self) -> float:
        """Seconds of picture that have come."""
        return (self._seen + len(self._pictures)) * self.frame_seconds

    @property
    def heard(self) -> float:
        """Seconds of sound that have come."""
        return (self._heard + self._held) / RATE

    @property
    def frames(self) -> int:
        """Frames that have come, the last one perhaps in part, by the stream that is furthest."""
        seen = self._seen + len(self._pictures) if self.sight else 0
        return max(seen, math.ceil(self.heard / self.frame_seconds - 1e-9) if self.sound else 0)

    @property
    def closed(self) -> float:
        """Seconds up to which all windows are closed."""
        return self.closed_frames * self.frame_seconds

    @property
    def closed_frames(self) -> int:
        """Frames up to which all windows are closed."""
        reached = []
        if self.sight:
            reached.append(self._seen)
        if self.sound:
            reached.append(round(self._heard / RATE / self.frame_seconds))
        return min(reached) // self.window_frames * self.window_frames

    @property
    def held_bytes(self) -> int:
        """Bytes of everything that is kept."""
        tensors = [*self._visual, *(t for pair in self._sounds for t in pair if t is not None)]
        held = sum(array.nbytes for array in self._pictures) + sum(array.nbytes for array in self._samples)
        return sum(tensor.nbytes for tensor in tensors) + held

    def push_picture(self, picture: NDArray[np.uint8], time: float) -> None:
        """Take the picture on screen at a time; of several within half a second the first is used.

        Args:
            picture: ``(H, W, 3)`` RGB.
            time: seconds on the stream's axis.
        """
        index = math.floor(time / self.frame_seconds + 1e-6)
        count = self._seen + len(self._pictures)
        if not self.sight or index < count:
            return
        if self._last is None:  # the first picture stands for the time before it, as in a file
            self._last = picture
        self._pictures += [self._last] * (index - count)
        self._pictures.append(picture)
        self._last = picture
        self._encode_pictures()
        self._catch_up()

    def push_sound(self, samples: NDArray[np.float32], start: float | None = None) -> None:
        """Take sound; a gap before it is filled with silence, an overlap is dropped.

        Args:
            samples: ``(n,)`` at 16 kHz.
            start: seconds on the stream's axis; None for right behind what came before.
        """
        if not self.sound or not len(samples):
            return
        if start is not None:
            gap = round(start * RATE) - self._heard - self._held
            if gap > 0:
                self._add(np.zeros(gap, np.float32))
            samples = samples[max(-gap, 0) :]
        self._add(np.asarray(samples, np.float32))
        self._catch_up()

    def _add(self, samples: NDArray[np.float32]) -> None:
        """Put samples behind those held, and encode the segments that are complete."""
        if not len(samples):
            return
        self._samples.append(samples)
        self._held += len(samples)
        size = round(self.segment_frames * self.frame_seconds * RATE)
        while self._held >= size:
            held = np.concatenate(self._samples)
            self._sounds.append(self._encoded_sound(held[:size]))
            self._samples, self._held = [held[size:].copy()], len(held) - size
            self._heard += size

    def _catch_up(self) -> None:
        """Do not let a stream that lags hold up the other for more than two segments."""
        if not (self.sight and self.sound):
            return
        most = 2 * self.segment_frames * self.frame_seconds
        if self.seen - self.heard > most:
            self.warnings["the sound fell behind the picture: silence was put in its place"] = None
            self._add(np.zeros(round((self.seen - self.heard) * RATE), np.float32))
        elif self.heard - self.seen > most:
            self.warnings["the picture fell behind the sound: the last picture was put in its place"] = None
            frames = math.floor((self.heard - self.seen) / self.frame_seconds)
            size = int(self.engine.model.config.media_config.image_size)
            last = self._last if self._last is not None else np.zeros((size, size, 3), np.uint8)
            self._pictures += [last] * frames
            self._encode_pictures()

    # ------------------------------------------------------------------------------------------------ encoding

    def _encode_pictures(self) -> None:
        """Encode pictures, a whole window of them at a time."""
        while len(self._pictures) >= self.window_frames:
            some = self._pictures[: self.window_frames]
            del self._pictures[: self.window_frames]
            self._visual.append(self._encoded_pictures(some))
            self._seen += len(some)

    def _encoded_pictures(self, pictures: list[NDArray[np.uint8]]) -> torch.Tensor:
        times = np.arange(len(pictures), dtype=np.float64) * self.frame_seconds
        length = len(pictures) * self.frame_seconds
        report = MediaReport("<live>", length, Seen("used", 0.0, length, len(pictures)), Heard("off"))
        clip = Clip(FrameBatch(np.stack(pictures), times), None, length, report)
        visual = self.engine.encode([clip], self.timer)[0].features.visual
        assert visual is not None
        return visual

    def _encoded_sound(self, samples: NDArray[np.float32]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(speech, audio) of a segment, or of the beginning of one."""
        length = len(samples) / RATE
        report = MediaReport("<live>", length, Seen("off"), Heard("used", 0.0, length))
        features = self.engine.encode([Clip(None, Waveform(samples, RATE), length, report)], self.timer)[0].features
        return features.speech, features.audio

    def forget(self) -> None:
        """Drop what lies before the context of the windows that are closed."""
        begin = self.begin(self.closed_frames)
        while self._visual and self._first_sight + len(self._visual[0]) <= begin:
            self._first_sight += len(self._visual.pop(0))
        while self._sounds and self._first_sound + self.segment_frames <= begin:
            self._sounds.pop(0)
            self._first_sound += self.segment_frames

    def begin(self, end: int) -> int:
        """Frame at which the context of a stretch that ends at a frame begins: a window's border."""
        return max(-(-(end - self.context) // self.window_frames) * self.window_frames, 0)

    # --------------------------------------------------------------------------------------------------- output

    def stretch(self, start: int | None, end: int) -> EncodedMedia:
        """The features of closed windows: those that the whole file has there.

        Args:
            start: frame, a window's border within the context; None for the beginning of the context.
            end: frame, a window's border.
        """
        start = self.begin(end) if start is None else start
        assert 0 <= start < end <= (self.frames if self._ended else self.closed_frames)
        heard = math.ceil(self._heard / RATE / self.frame_seconds - 1e-9)
        return self._media(start, end, self._visual, self._sounds, self._seen, heard)

    def end(self) -> None:
        """The stream has ended: encode what is left, so that :meth:`stretch` may go up to :attr:`frames`."""
        if self._pictures:
            self._visual.append(self._encoded_pictures(self._pictures))
            self._seen += len(self._pictures)
            self._pictures = []
        if self._held:
            self._sounds.append(self._encoded_sound(np.concatenate(self._samples)))
            self._heard += self._held
            self._samples, self._held = [], 0
        self._ended = True

    def so_far(self) -> EncodedMedia:
        """The features of the context up to now, those of open windows included, as if the stream ended here.

        Raises:
            ConfigError: nothing has come yet.
        """
        seen = self._seen + len(self._pictures) if self.sight else 0
        heard = math.ceil(self.heard / self.frame_seconds - 1e-9) if self.sound else 0
        end = self.frames
        if not end:
            raise ConfigError("no input has been received yet", remedy="send pictures or sound first")
        visual = [*self._visual, *([self._encoded_pictures(self._pictures)] if self._pictures else [])]
        sounds = [*self._sounds, *([self._encoded_sound(np.concatenate(self._samples))] if self._held else [])]
        return self._media(self.begin(end), end, visual, sounds, seen, heard)

    def _media(
        self,
        start: int,
        end: int,
        visual: list[torch.Tensor],
        sounds: list[tuple[torch.Tensor | None, torch.Tensor | None]],
        seen: int,
        heard: int,
    ) -> EncodedMedia:
        step, first = self.connector.audio_tokens, self._first_sound
        pictures = _slice(visual, start - self._first_sight, min(end, seen) - self._first_sight)
        cut = ((start - first) * step, (min(end, heard) - first) * step)
        speech = _slice([one for one, _ in sounds if one is not None], *cut)
        audio = _slice([one for _, one in sounds if one is not None], *cut)
        begin, length = start * self.frame_seconds, max(self.seen if self.sight else 0.0, self.heard)
        stop = min(end * self.frame_seconds, length)
        frames = 0 if pictures is None else len(pictures)
        found = speech if speech is not None else audio
        hears = 0 if found is None else -(-len(found) // step)
        report = MediaReport(
            "<live>",
            stop - begin,
            Seen("used", begin, begin + frames * self.frame_seconds, frames) if frames else _missing(Seen, self.sight),
            Heard("used", begin, min(begin + hears * self.frame_seconds, self.heard))
            if hears
            else _missing(Heard, self.sound),
            warnings=list(self.warnings),
        )
        return EncodedMedia(MediaFeatures(pictures, speech, audio, hears), report)


def _missing(kind: Callable[[Any], Any], wanted: bool) -> Any:
    return kind("absent" if wanted else "off")


def _slice(parts: list[torch.Tensor], start: int, end: int) -> torch.Tensor | None:
    """Rows from start to end of tensors that follow each other; None where there are none."""
    if not parts or end <= start:
        return None
    rows = torch.cat(parts)[start:end]
    return rows if len(rows) else None
