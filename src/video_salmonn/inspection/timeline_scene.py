"""The timeline laid out: every lane on one time axis, and the cosine maps. What is drawn, and where; not how."""

from __future__ import annotations

import numpy as np

from video_salmonn.inspection.scene import (
    Area,
    Line,
    Picture,
    Rect,
    Scene,
    Text,
    clock,
    coloured,
    contrast,
    number,
    width_of,
)
from video_salmonn.inspection.timeline import LevelView, Segment, Sight, Sound, Timeline
from video_salmonn.wording import counted

WIDTH = 1240.0
LEFT = 176.0
RIGHT = 14.0
PLOT = WIDTH - LEFT - RIGHT
GAP = 16.0
STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
TICK_ROOM = 58.0
NUMBER_ROOM = 30.0
"""Least width of a window with its number in it."""
CELL = 66.0
"""Least distance between thumbnails."""
HERTZ = (500, 1000, 2000, 4000)


class _Lanes:
    """A scene that grows downwards, lane by lane."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.scene = Scene(WIDTH, 0.0, f"Timeline of {timeline.name}")
        self.y = 0.0

    def x(self, seconds: float) -> float:
        """Place of a time."""
        return LEFT + min(max(seconds, 0.0), self.timeline.axis_end) / self.timeline.axis_end * PLOT

    @property
    def pixels(self) -> float:
        """Pixels a second."""
        return PLOT / self.timeline.axis_end

    def label(self, title: str, *details: str, colour: str = "ink") -> None:
        """Name of the lane that starts here."""
        self.scene.add(Text(0, self.y + 12, title, 13, colour, bold=True))
        for row, detail in enumerate(details):
            self.scene.add(Text(0, self.y + 28 + 14 * row, detail, 11, "muted"))

    def missing(self, title: str, why: str) -> None:
        """A lane with nothing in it but the reason."""
        self.label(title)
        self.scene.add(Rect(LEFT, self.y, PLOT, 26, "panel"), Text(LEFT + 8, self.y + 17, why, 12, "muted"))
        self.y += 26 + GAP


def timeline_scene(timeline: Timeline) -> Scene:
    """All lanes on the shared axis."""
    lanes = _Lanes(timeline)
    lanes.y = 34
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
        _segments(lanes, timeline.sound.segments)
    low = cosine_floor(timeline)
    for index, level in enumerate(timeline.levels):
        _windows(lanes, level, index, low)
    _tokens(lanes)
    _axis(lanes)
    lanes.scene.height = lanes.y
    return lanes.scene


def _axis(lanes: _Lanes) -> None:
    """Ticks and grid behind all lanes, and the padding at the end."""
    end, scene = lanes.timeline.axis_end, lanes.scene
    behind: list = []
    step = next((s for s in STEPS if s * lanes.pixels >= TICK_ROOM), end)
    long = end > 120
    unit = "min:s" if long else "s"
    behind.append(Text(0, 14, f"time in the clip ({unit})", 11, "muted"))
    for tick in range(int(end / step + 1e-6) + 1):
        x = lanes.x(tick * step)
        at = "end" if x > WIDTH - 26 else "middle"
        behind.append(Text(min(x, WIDTH - 2), 14, clock(tick * step, long), 11, "muted", at))
        behind.append(Line(x, 20, x, lanes.y - GAP + 4, "grid"))
    real = lanes.x(lanes.timeline.real_end)
    if real < LEFT + PLOT - 1:
        room = LEFT + PLOT - real
        behind.append(Rect(real, 20, room, lanes.y - GAP - 16, "panel"))
        behind.append(Line(real, 20, real, lanes.y - GAP + 4, "edge", 1, dashed=True))
        for words in ("end of the clip; padding from here on", "end; then padding", "padding"):
            if width_of(words, 11) < room - 8:
                behind.append(Text(real + 6, 32, words, 11, "muted"))
                break
    scene.shapes[:0] = behind


def _frames(lanes: _Lanes, sight: Sight) -> None:
    """A tick for every frame, and thumbnails that hang from their ticks."""
    times, scene, y = sight.times, lanes.scene, lanes.y + 6
    pitch = PLOT * 1.0
    if len(times) > 1:
        pitch = float(np.median(np.diff(times))) * lanes.pixels
    held = sight.still_frames * lanes.timeline.frame_seconds
    rate = 1 / max(float(np.median(np.diff(times))), 1e-6) if len(times) > 1 else 0.0
    details = ["one picture,", f"shown for {held:g} s"] if held else [counted(len(times), "frame")]
    if rate:
        details.append(f"about {rate:.3g} a second")
    details.append(f"model’s view: {sight.size[1]}×{sight.size[0]} px")
    lanes.label("Frames", *details, colour="picture")
    if held:
        scene.add(Rect(LEFT, y, lanes.x(held) - LEFT, 5, "picture"))
    elif pitch >= 3:
        for time in times:
            scene.add(Rect(lanes.x(time), y, 2, 8, "picture"))
    else:
        scene.add(Rect(lanes.x(times[0]), y, lanes.x(times[-1]) - lanes.x(times[0]) + 2, 6, "picture"))
    y += 11
    shown = sight.thumbnails
    height, width = shown[0].picture.shape[:2]
    apart = PLOT if len(shown) < 2 else (shown[1].time - shown[0].time) * lanes.pixels
    every = max(1, int(np.ceil(CELL / max(apart, 1e-6))))
    scale = min(1.0, (apart * every - 3) / width) if len(shown) > 1 else 1.0
    width, height = width * scale, height * scale
    free = LEFT
    for thumb in shown[::every]:
        x = min(lanes.x(thumb.time), LEFT + PLOT - width)
        if x < free - 0.01:
            continue
        hint = f"frame {thumb.index + 1} at {thumb.time:.2f} s"
        scene.add(Line(lanes.x(thumb.time) + 1, y - 4, x + 1, y, "picture", 1.5))
        scene.add(Picture(x, y, width, height, thumb.picture, photo=True, hint=hint))
        free = x + width
    lanes.y = max(y + height, lanes.y + 28 + 14 * len(details) - 8) + GAP


def _waveform(lanes: _Lanes, sound: Sound, silent: bool) -> None:
    height, middle = 64.0, lanes.y + 32.0
    details = ["mono, 16 kHz"]
    if sound.peak > 0:
        details.append(f"peak {sound.peak:.2f} of 1" if sound.peak >= 0.005 else f"peak {sound.peak:.1e} of 1")
        details.append(number(20 * np.log10(sound.peak), 1) + " dBFS")
    else:
        details.append("nothing but zeros")
    lanes.label("Waveform", *details, colour="sound")
    end = lanes.x(sound.seconds)
    xs = np.linspace(LEFT, end, len(sound.envelope))
    scale = height / 2 / max(sound.peak, 0.01)
    upper = np.stack([xs, middle - np.maximum(sound.envelope[:, 1] * scale, 0.4)], 1)
    lower = np.stack([xs, middle - np.minimum(sound.envelope[:, 0] * scale, -0.4)], 1)
    lanes.scene.add(Area(np.concatenate([upper, lower[::-1]]), "sound"))
    if silent:
        lanes.scene.add(Text(LEFT + 8, middle - 10, "silence: the track is there, nothing is in it", 12, "muted"))
    lanes.y += height + GAP


def _log_mel(lanes: _Lanes, sound: Sound, silent: bool) -> None:
    if sound.mel is None:
        lanes.missing("Log-mel", "this model has no speech encoder")
        return
    height, end = 96.0, lanes.x(sound.seconds)
    low, high = float(sound.mel.min()), float(sound.mel.max())
    span = f"{number(low, 0)} … {number(high, 0)} dB" if high > low else f"{number(low, 0)} dB throughout"
    lanes.label("Log-mel", "Whisper’s view:", f"{sound.mel_bins} bands, 0–8 kHz", span, colour="sound")
    pixels = coloured(sound.mel[::-1], low, high, "loudness")
    lanes.scene.add(Picture(LEFT, lanes.y, end - LEFT, height, pixels, hint="log-mel spectrogram"))
    for hertz in HERTZ:
        y = lanes.y + height * (1 - _mel(hertz) / _mel(8000))
        lanes.scene.add(Line(LEFT - 5, y, LEFT, y, "edge"))
        lanes.scene.add(Text(LEFT - 8, y + 4, f"{hertz / 1000:g} kHz", 10, "muted", "end"))
    if silent:
        lanes.scene.add(Text(LEFT + 8, lanes.y + height / 2, "silence", 12, "#ffffff"))
    lanes.y += height + GAP


def _mel(hertz: float) -> float:
    """Slaney's mel scale, the one of Whisper's filters: linear to 1 kHz, logarithmic above."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))


def _segments(lanes: _Lanes, segments: tuple[Segment, ...]) -> None:
    height, last = 22.0, segments[-1]
    padded = last.padded_end - last.end
    details = [f"{len(segments)} encoded one by one" if len(segments) > 1 else "encoded as one"]
    if padded > 0.005:
        details.append(f"padded by {padded:.2f} s")
    lanes.label("Sound segments", *details, colour="sound")
    for count, segment in enumerate(segments, 1):
        x, end = lanes.x(segment.start), lanes.x(segment.end)
        scene = lanes.scene
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
    lanes.y += max(height, 20 + 14 * len(details)) + GAP


def _windows(lanes: _Lanes, level: LevelView, index: int, low: float) -> None:
    """Windows of a level, coloured by the mean cosine within each."""
    height, scene = 30.0, lanes.scene
    padding = int((~level.real).sum())
    wide = level.seconds * lanes.pixels
    counted = f"{len(level.real)} window{'s' if len(level.real) > 1 else ''} of {level.seconds:g} s"
    asked = f"{level.queries} quer{'ies' if level.queries > 1 else 'y'} each"
    details = [counted, asked + (f", {padding} padding" if padding else "")]
    if level.queries > 1:
        details.append(f"{'number' if wide >= NUMBER_ROOM else 'colour'}: mean cosine")
    lanes.label(f"Level {index + 1} windows", *details)
    many = int(level.real.sum())
    if many:
        shown = level.within[level.real]
        scene.add(Picture(LEFT, lanes.y, many * wide, height, coloured(shown, low, 1.0)[None], hint="mean cosine"))
    for place, (real, cosine) in enumerate(zip(level.real, level.within)):
        x = LEFT + place * wide
        if not real and (place == 0 or level.real[place - 1]):
            room = (len(level.real) - place) * wide
            scene.add(Rect(x, lanes.y, room, height, "padding", "padding", hatched=True))
        if real and wide >= NUMBER_ROOM and np.isfinite(cosine):
            colour = contrast(coloured(np.array([cosine]), low, 1.0)[0])
            scene.add(Text(x + wide / 2, lanes.y + 19, number(cosine), 11, colour, "middle"))
        if wide >= 5 and place:
            scene.add(Line(x, lanes.y, x, lanes.y + height, "paper", 1.5 if wide > 12 else 0.8))
    room = padding * wide
    if room > 60:
        middle = LEFT + many * wide + room / 2
        scene.add(Rect(middle - 28, lanes.y + 7, 56, 16, "panel"))
        scene.add(Text(middle, lanes.y + 19, "padding", 11, "muted", "middle"))
    lanes.y += max(height, 24 + 14 * len(details)) + GAP


def _tokens(lanes: _Lanes) -> None:
    """Every media token, or bars where there are too many to tell apart."""
    tokens, height, scene = lanes.timeline.tokens, 22.0, lanes.scene
    kept, wide = tokens.kept, tokens.seconds * lanes.pixels
    trimmed = len(kept) - tokens.given
    details = [f"{tokens.given} given to the LLM", f"{1 / tokens.seconds:.3g} a second"]
    if trimmed:
        details.append(f"{trimmed} trimmed (padding)")
    lanes.label("Media tokens", *details, colour="token")
    if wide >= 3:
        for place, real in enumerate(kept):
            x = LEFT + place * wide
            thin = max(wide - 1.2, 1.5)
            if real:
                scene.add(Rect(x, lanes.y, thin, height, "token", hint=f"token {place + 1}"))
            else:
                scene.add(Rect(x + 0.5, lanes.y + 0.5, thin - 1, height - 1, None, "padding"))
    else:
        split = LEFT + tokens.given * wide
        scene.add(Rect(LEFT, lanes.y, split - LEFT, height, "token"))
        scene.add(Rect(split, lanes.y, LEFT + PLOT - split, height, "padding", "padding", hatched=True))
    lanes.y += max(height, 20 + 14 * len(details)) + GAP


def cosine_floor(timeline: Timeline) -> float:
    """Lower end of the colour scale of cosines within windows, all levels: the smallest, rounded down to a tenth."""
    return float(np.floor(min(level.queries_map.min() for level in timeline.levels) * 10 - 1e-6) / 10)


def cosine_scene(timeline: Timeline) -> Scene:
    """Two maps a level: window against window, and query against query."""
    side, top, row = 214.0, 46.0, 318.0
    low = cosine_floor(timeline)
    rows = -(-len(timeline.levels) // 2)
    scene = Scene(WIDTH, rows * row, f"Cosine similarity between query outputs of {timeline.name}")
    for index, level in enumerate(timeline.levels):
        left, y = (index % 2) * (WIDTH / 2 + 6), (index // 2) * row
        title = f"Level {index + 1}: {level.seconds:g} s windows, {counted(level.queries, 'query')}"
        scene.add(Text(left, y + 13, title, 13, bold=True))
        _windows_map(scene, level, left + 34, y + top, side)
        _queries_map(scene, level, left + 366, y + top, side * 0.8, low)
    return scene


def _windows_map(scene: Scene, level: LevelView, left: float, top: float, side: float) -> None:
    """Window against window on the time axis; a colour scale of its own, since these cosines lie close together."""
    end = int(level.real.sum()) * level.seconds
    if len(level.windows_map) == 1:
        scene.add(Rect(left, top, side, side, "panel"))
        scene.add(Text(left + side / 2, top + side / 2, "one window: nothing to compare", 12, "muted", "middle"))
        return
    low = min(float(level.windows_map.min()), 1 - 1e-4)
    nearest = "" if level.neighbours is None else f"; next window {number(level.neighbours, 4)}"
    scene.add(Text(left - 34, top - 12, f"window against window{nearest}", 11, "muted"))
    scene.add(Picture(left, top, side, side, coloured(level.windows_map, low, 1.0), hint="window against window"))
    _scale(scene, left + side + 10, top, side, low, max(3, 1 - int(np.floor(np.log10(1 - low)))))
    step = next((s for s in STEPS if s >= level.seconds and s / end * side >= 40), end)
    long = end > 120
    for tick in range(int(end / step + 1e-6) + 1):
        at = tick * step / end * side
        scene.add(Text(left + at, top + side + 14, clock(tick * step, long), 10, "muted", "middle"))
        scene.add(Text(left - 5, top + at + 4, clock(tick * step, long), 10, "muted", "end"))
    unit = "min:s" if long else "s"
    grouped = f"; a cell is {level.grouped} × {counted(level.grouped, 'window')}" if level.grouped > 1 else ""
    words = f"start of the window ({unit}){grouped}"
    scene.add(Text(left + side / 2, top + side + 31, words, 11, "muted", "middle"))


def _queries_map(scene: Scene, level: LevelView, left: float, top: float, side: float, low: float) -> None:
    """Query against query, on the scale of the windows in the timeline."""
    mean = "" if level.mean_within is None else f"; mean {number(level.mean_within)}"
    scene.add(Text(left - 22, top - 12, f"query against query{mean}", 11, "muted"))
    scene.add(Picture(left, top, side, side, coloured(level.queries_map, low, 1.0), hint="query against query"))
    _scale(scene, left + side + 10, top, side, low, 2)
    count, cell = level.queries, side / level.queries
    shown = range(count) if count <= 6 else sorted({0, *range(4, count, 5), count - 1})
    for query in shown:
        at = (query + 0.5) * cell
        scene.add(Text(left + at, top + side + 14, str(query + 1), 10, "muted", "middle"))
        scene.add(Text(left - 5, top + at + 4, str(query + 1), 10, "muted", "end"))
    scene.add(Text(left + side / 2, top + side + 31, "query", 11, "muted", "middle"))


def _scale(scene: Scene, x: float, top: float, side: float, low: float, digits: int) -> None:
    """A colour scale from ``low`` up to 1."""
    scene.add(Picture(x, top, 12, side, coloured(np.linspace(1.0, low, 96)[:, None], low, 1.0), hint="colour scale"))
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        words = number(1 - part * (1 - low), digits)
        scene.add(Text(x + 17, top + 4 + part * (side - 2), words, 10, "muted"))
