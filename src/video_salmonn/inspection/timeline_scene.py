"""The timeline laid out: every lane on one time axis. What is drawn, and where; not how."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from video_salmonn.inference.transcript import Word
from video_salmonn.inspection.cosine_scene import STEPS
from video_salmonn.inspection.layout import WIDE, PageLayout
from video_salmonn.inspection.scene import (
    Area,
    Line,
    Picture,
    Rect,
    Scene,
    Shape,
    Text,
    clock,
    coloured,
    contrast,
    number,
    readable,
    shorten,
    width_of,
)
from video_salmonn.inspection.timeline import LevelView, Sight, Sound, SoundSegment, Timeline
from video_salmonn.inspection.words_heard import WordsHeard
from video_salmonn.types import PieceReport
from video_salmonn.wording import counted

GAP = 16.0
TICK_ROOM = 58.0
NUMBER_ROOM = 30.0
"""Least width of a window with its number in it."""
CELL = 66.0
"""Least distance between thumbnails."""
HERTZ = (500, 1000, 2000, 4000)
ROWS = 3
"""Most rows of words."""
TOP = 34.0


class Lanes:
    """A scene that grows downwards, lane by lane."""

    def __init__(self, timeline: Timeline, layout: PageLayout) -> None:
        self.timeline, self.layout = timeline, layout
        self.scene = Scene(layout.width, 0.0, f"Timeline of {timeline.name}")
        self.y = TOP
        self._label = 0.0

    @property
    def left(self) -> float:
        """Where time 0 is."""
        return self.layout.left

    @property
    def end(self) -> float:
        """Where the time axis ends."""
        return self.layout.left + self.layout.plot

    @property
    def pixels(self) -> float:
        """Pixels per second."""
        return self.layout.plot / self.timeline.axis_end

    def x(self, seconds: float) -> float:
        """Place of a time."""
        return self.left + min(max(seconds, 0.0), self.timeline.axis_end) * self.pixels

    def open(self, title: str, *details: str, colour: str = "ink") -> None:
        """Name a lane: beside it, or above it where labels are stacked."""
        self.scene.add(Text(0, self.y + 12, title, 13, colour, bold=True))
        if not self.layout.stacked:
            for row, detail in enumerate(details):
                self.scene.add(Text(0, self.y + 28 + 14 * row, detail, 11, "muted"))
            self._label = 20.0 + 14 * len(details)
            return
        self._label, line, at = 0.0, "", width_of(title, 15) + 4
        lines: list[tuple[float, str]] = []
        for detail in (words.rstrip(":,") for words in details):
            longer = f"{line}, {detail}" if line else detail
            if line and at + width_of(longer, 11) > self.layout.width:
                lines.append((at, f"{line},"))
                longer, at = detail, 0.0
            line = longer
        lines += [(at, line)] if line else []
        for row, (x, words) in enumerate(lines):
            self.scene.add(Text(x, self.y + 12 + 14 * row, words, 11, "muted"))
        self.y += 4 + 14 * max(len(lines), 1) + 2

    def close(self, height: float) -> None:
        """End a lane that is so high."""
        self.y += max(height, self._label) + GAP

    def missing(self, title: str, why: str) -> None:
        """A lane with nothing in it but the reason."""
        self.open(title)
        room = self.layout.plot - 16
        self.scene.add(Rect(self.left, self.y, self.layout.plot, 26, "panel"))
        self.scene.add(Text(self.left + 8, self.y + 17, shorten(why, room, 12), 12, "muted"))
        self.close(26)


def timeline_scene(timeline: Timeline, layout: PageLayout = WIDE) -> Scene:
    """All lanes on the shared axis."""
    lanes = Lanes(timeline, layout)
    seen, heard = timeline.report.seen, timeline.report.heard
    if timeline.sight is None:
        lanes.missing("Frames", f"not seen: {seen.status}" + (f" ({seen.detail})" if seen.detail else ""))
    else:
        _frames(lanes, timeline.sight)
    if timeline.sound is None:
        lanes.missing("Sound", f"not heard: {heard.status}" + (f" ({heard.detail})" if heard.detail else ""))
    else:
        silent = heard.status == "silent"
        _waveform(lanes, timeline.sound, silent)
        _log_mel(lanes, timeline.sound, silent)
        if timeline.words is None:
            lanes.missing("Words", "this model’s connector spells no words (it was not trained with CTC)")
        else:
            _words(lanes, timeline.words)
        _segments(lanes, timeline.sound.segments)
    if timeline.comparison is not None and timeline.comparison.pieces:
        _pieces(lanes, timeline.comparison.pieces)
    for index, level in enumerate(timeline.levels):
        _windows(lanes, level, index)
    _tokens(lanes)
    _axis(lanes)
    lanes.scene.height = lanes.y
    return lanes.scene


def _axis(lanes: Lanes) -> None:
    """Ticks and grid behind all lanes, and the padding at the end."""
    end, scene = lanes.timeline.axis_end, lanes.scene
    behind: list[Shape] = []
    room = TICK_ROOM if not lanes.layout.stacked else TICK_ROOM * 0.7
    step = next((s for s in STEPS if s * lanes.pixels >= room), end)
    long = end > 120
    unit = "min:s" if long else "s"
    if not lanes.layout.stacked:
        behind.append(Text(0, 14, f"time in the clip ({unit})", 11, "muted"))
    for tick in range(int(end / step + 1e-6) + 1):
        x = lanes.x(tick * step)
        at = "end" if x > lanes.layout.width - 26 else "start" if x < 8 else "middle"
        words = clock(tick * step, long) + (f" {unit}" if lanes.layout.stacked and not tick else "")
        behind.append(Text(min(x, lanes.layout.width - 2), 14, words, 11, "muted", at))
        behind.append(Line(x, 20, x, lanes.y - GAP + 4, "grid"))
    real = lanes.x(lanes.timeline.real_end)
    if real < lanes.end - 1:
        room = lanes.end - real
        behind.append(Rect(real, 20, room, lanes.y - GAP - 16, "panel"))
        behind.append(Line(real, 20, real, lanes.y - GAP + 4, "edge", 1, dashed=True))
        for words in ("end of the clip; padding from here on", "end; then padding", "padding"):
            if width_of(words, 11) < room - 8:
                behind.append(Text(real + 6, 32, words, 11, "muted"))
                break
    scene.shapes[:0] = behind


def _frames(lanes: Lanes, sight: Sight) -> None:
    """A tick for every frame, and thumbnails that hang from their ticks."""
    times, scene = sight.times, lanes.scene
    pitch = lanes.layout.plot
    if len(times) > 1:
        pitch = float(np.median(np.diff(times))) * lanes.pixels
    held = sight.still_frames * lanes.timeline.frame_seconds
    rate = 1 / max(float(np.median(np.diff(times))), 1e-6) if len(times) > 1 else 0.0
    details = ["one picture,", f"shown for {held:g} s"] if held else [counted(len(times), "frame")]
    if rate:
        details.append(f"about {rate:.3g} a second")
    details.append(f"model’s view: {sight.size[1]}×{sight.size[0]} px")
    lanes.open("Frames", *details, colour="picture")
    top = y = lanes.y + 6
    if held:
        scene.add(Rect(lanes.left, y, lanes.x(held) - lanes.left, 5, "picture"))
    elif pitch >= 3:
        for time in times:
            scene.add(Rect(lanes.x(time), y, 2, 8, "picture"))
    else:
        scene.add(Rect(lanes.x(times[0]), y, lanes.x(times[-1]) - lanes.x(times[0]) + 2, 6, "picture"))
    y += 11
    shown = sight.thumbnails
    height, width = shown[0].picture.shape[:2]
    border = lanes.x(max(lanes.timeline.real_end, held))  # no picture reaches into the padding
    apart = lanes.layout.plot if len(shown) < 2 else (shown[1].time - shown[0].time) * lanes.pixels
    every = max(1, int(np.ceil(CELL / max(apart, 1e-6))))
    room = apart * every - 3 if len(shown[::every]) > 1 else border - lanes.x(shown[0].time)
    scale = min(1.0, max(room, 1.0) / width, max(border - lanes.left, 1.0) / width)
    width, height = width * scale, height * scale
    free = lanes.left
    for thumb in shown[::every]:
        x = min(lanes.x(thumb.time), border - width)
        if x < free - 0.01:
            continue
        hint = f"frame {thumb.index + 1} at {thumb.time:.2f} s"
        scene.add(Line(lanes.x(thumb.time) + 1, y - 4, x + 1, y, "picture", 1.5))
        scene.add(Picture(x, y, width, height, thumb.picture, photo=True, hint=hint))
        free = x + width
    lanes.close(y + height - top + 6)


def _waveform(lanes: Lanes, sound: Sound, silent: bool) -> None:
    details = ["mono, 16 kHz"]
    if sound.peak > 0:
        details.append(f"peak {sound.peak:.2f} of 1" if sound.peak >= 0.005 else f"peak {sound.peak:.1e} of 1")
        details.append(number(20 * np.log10(sound.peak), 1) + " dBFS")
    else:
        details.append("nothing but zeros")
    lanes.open("Waveform", *details, colour="sound")
    height, middle = 64.0, lanes.y + 32.0
    end = lanes.x(sound.seconds)
    xs = np.linspace(lanes.left, end, len(sound.envelope))
    scale = height / 2 / max(sound.peak, 0.01)
    upper = np.stack([xs, middle - np.maximum(sound.envelope[:, 1] * scale, 0.4)], 1)
    lower = np.stack([xs, middle - np.minimum(sound.envelope[:, 0] * scale, -0.4)], 1)
    lanes.scene.add(Area(np.concatenate([upper, lower[::-1]]), "sound"))
    if silent:
        lanes.scene.add(Text(lanes.left + 8, middle - 10, "silence: the track is there, nothing is in it", 12, "muted"))
    lanes.close(height)


def _log_mel(lanes: Lanes, sound: Sound, silent: bool) -> None:
    if sound.mel is None:
        lanes.missing("Log-mel", "this model has no speech encoder")
        return
    height, end = 96.0, lanes.x(sound.seconds)
    low, high = float(sound.mel.min()), float(sound.mel.max())
    span = f"{number(low, 0)} … {number(high, 0)} dB" if high > low else f"{number(low, 0)} dB throughout"
    lanes.open("Log-mel", "Whisper’s view:", f"{sound.mel_bins} bands, 0–8 kHz", span, colour="sound")
    pixels = coloured(sound.mel[::-1], low, high, "loudness")
    hint = "log-mel spectrogram"
    lanes.scene.add(Picture(lanes.left, lanes.y, end - lanes.left, height, pixels, hint=hint))
    for hertz in () if lanes.layout.stacked else HERTZ:
        y = lanes.y + height * (1 - _mel(hertz) / _mel(8000))
        lanes.scene.add(Line(lanes.left - 5, y, lanes.left, y, "edge"))
        lanes.scene.add(Text(lanes.left - 8, y + 4, f"{hertz / 1000:g} kHz", 10, "muted", "end"))
    if silent:
        lanes.scene.add(Text(lanes.left + 8, lanes.y + height / 2, "silence", 12, "#ffffff"))
    lanes.close(height)


def _mel(hertz: float) -> float:
    """Slaney's mel scale, the one of Whisper's filters: linear to 1 kHz, logarithmic above."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))


def _words(lanes: Lanes, heard: WordsHeard) -> None:
    """Words at their times, in as many rows as they need."""
    if not heard.words:
        lanes.missing("Words", "none: the connector’s outputs say nothing but pauses")
        return
    told = ("of the answer,", "where CTC hears them") if heard.answered else ("as the connector", "spells (CTC)")
    lanes.open("Words", counted(len(heard.words), "word"), *told)
    rows = 0
    for word, x, row in placed_words(lanes, heard.words):
        y = lanes.y + 18 * row
        start, hint = lanes.x(word.start), f"{word.start:.2f}–{word.end:.2f} s: {readable(word.text)}"
        lanes.scene.add(Rect(start, y + 14, max(lanes.x(word.end) - start - 1, 2), 2.5, "token", hint=hint))
        lanes.scene.add(Text(x, y + 11, shorten(readable(word.text), lanes.layout.width - x, 12), 12))
        rows = max(rows, row + 1)
    lanes.close(18.0 * rows)


def placed_words(lanes: Lanes, words: Sequence[Word]) -> list[tuple[Word, float, int]]:
    """(word, place, row) of every word; where ``ROWS`` rows are too few, neighbours share a place."""
    cell = 0.0  # seconds that share a place
    while True:
        groups = [[word] for word in words]
        if cell:
            groups = [list(group) for _, group in groupby(words, key=lambda word: int(word.start / cell))]
        free, found = [0.0] * ROWS, []
        for group in groups:
            text = " ".join(word.text for word in group)
            if cell:
                text = shorten(text, ROWS * cell * lanes.pixels - 6, 12)
            wide = width_of(text)
            x = max(0.0, min(lanes.x(group[0].start), lanes.layout.width - wide))
            row = next((row for row, until in enumerate(free) if until <= x), None)
            if row is None:
                break
            free[row] = x + wide + 4
            found.append((Word(group[0].start, group[-1].end, text), x, row))
        if len(found) == len(groups):
            return found
        cell = max(cell * 1.5, 30 / lanes.pixels)


def _pieces(lanes: Lanes, pieces: Sequence[PieceReport]) -> None:
    """Answers of the pieces in which the media were understood."""
    height = 22.0
    lanes.open("Answers in pieces", f"{len(pieces)}, put together above")
    for piece in pieces:
        offset = lanes.timeline.offset
        x, end = lanes.x(piece["from"] - offset), lanes.x(piece["to"] - offset)
        words = readable(piece["answer"]) or "(empty)"
        hint = f"{piece['from']:g}–{piece['to']:g} s: {words}"
        lanes.scene.add(Rect(x, lanes.y, max(end - x - 1, 1), height, "panel", "edge", hint=hint))
        if end - x > 30:
            lanes.scene.add(Text(x + 5, lanes.y + 15, shorten(words, end - x - 10, 11), 11))
    lanes.close(height)


def _segments(lanes: Lanes, segments: tuple[SoundSegment, ...]) -> None:
    height, last = 22.0, segments[-1]
    padded = last.padded_end - last.end
    details = [f"{len(segments)} encoded one by one" if len(segments) > 1 else "encoded as one"]
    if padded > 0.005:
        details.append(f"padded by {padded:.2f} s")
    lanes.open("Sound segments", *details, colour="sound")
    scene = lanes.scene
    for count, segment in enumerate(segments, 1):
        x, end = lanes.x(segment.start), lanes.x(segment.end)
        hint = f"segment {count}: {segment.start:.2f}–{segment.end:.2f} s"
        scene.add(Rect(x, lanes.y, max(end - x - 1, 1), height, "sound-soft", "sound", hint=hint))
        for words in (hint, f"{segment.start:g}–{segment.end:.4g} s", str(count)):
            if width_of(words, 11) < end - x - 10:
                scene.add(Text(x + 6, lanes.y + 15, words, 11))
                break
        beyond = lanes.x(segment.padded_end)
        if beyond - end > 2:
            scene.add(Rect(end, lanes.y, beyond - end, height, "padding", "padding", hatched=True))
            words = f"silence added up to {segment.padded_end:g} s"
            if width_of(words, 11) < beyond - end - 12:
                scene.add(Rect(end + 5, lanes.y + 4, width_of(words, 11), 14, "panel"))
                scene.add(Text(end + 8, lanes.y + 15, words, 11, "muted"))
    lanes.close(height)


def _windows(lanes: Lanes, level: LevelView, index: int) -> None:
    """Windows of a level, coloured by the mean absolute cosine within each."""
    height, scene = 30.0, lanes.scene
    padding = int((~level.real).sum())
    wide = level.seconds * lanes.pixels
    numbered = wide >= NUMBER_ROOM
    details = [f"{counted(len(level.real), 'window')} of {level.seconds:g} s"]
    details.append(f"{counted(level.queries, 'query')} each" + (f", {padding} padding" if padding else ""))
    if level.queries > 1:
        details.append(f"{'number' if numbered else 'colour'}: mean |cosine|")
        details.append(f"mean cosine {number(level.mean_within or 0.0)}")
    lanes.open(f"Level {index + 1} windows", *details)
    many = int(level.real.sum())
    if many:
        shown = level.absolute[level.real]
        pixels = coloured(shown, -1.0, 1.0)[None]
        scene.add(Picture(lanes.left, lanes.y, many * wide, height, pixels, hint="mean absolute cosine"))
        scene.add(Rect(lanes.left, lanes.y, many * wide, height, None, "edge"))
    for place, (real, cosine) in enumerate(zip(level.real, level.absolute)):
        x = lanes.left + place * wide
        if not real and (place == 0 or level.real[place - 1]):
            room = (len(level.real) - place) * wide
            scene.add(Rect(x, lanes.y, room, height, "padding", "padding", hatched=True))
        if real and numbered and np.isfinite(cosine):
            colour = contrast(coloured(np.array([cosine]), -1.0, 1.0)[0])
            scene.add(Text(x + wide / 2, lanes.y + 19, number(cosine), 11, colour, "middle"))
        if wide >= 5 and place:
            scene.add(Line(x, lanes.y, x, lanes.y + height, "paper", 1.5 if wide > 12 else 0.8))
    room = padding * wide
    if room > 60:
        middle = lanes.left + many * wide + room / 2
        scene.add(Rect(middle - 28, lanes.y + 7, 56, 16, "panel"))
        scene.add(Text(middle, lanes.y + 19, "padding", 11, "muted", "middle"))
    lanes.close(height)


def _tokens(lanes: Lanes) -> None:
    """Every media token, or bars if there are too many to distinguish."""
    tokens, height, scene = lanes.timeline.tokens, 22.0, lanes.scene
    kept, wide = tokens.kept, tokens.seconds * lanes.pixels
    trimmed = len(kept) - tokens.given
    details = [f"{tokens.given} given to the LLM", f"{1 / tokens.seconds:.3g} a second"]
    if trimmed:
        details.append(f"{trimmed} trimmed (padding)")
    lanes.open("Media tokens", *details, colour="token")
    if wide >= 3:
        for place, real in enumerate(kept):
            x = lanes.left + place * wide
            thin = max(wide - 1.2, 1.5)
            if real:
                scene.add(Rect(x, lanes.y, thin, height, "token", hint=f"token {place + 1}"))
            else:
                scene.add(Rect(x + 0.5, lanes.y + 0.5, thin - 1, height - 1, None, "padding"))
    else:
        split = lanes.left + tokens.given * wide
        scene.add(Rect(lanes.left, lanes.y, split - lanes.left, height, "token"))
        scene.add(Rect(split, lanes.y, lanes.end - split, height, "padding", "padding", hatched=True))
    lanes.close(height)
