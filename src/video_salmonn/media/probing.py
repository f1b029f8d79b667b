"""What is in a file and how long it lasts, from its headers and the first frame of each stream."""

from __future__ import annotations

import contextlib
import math

from video_salmonn.media.feeds import Feed, open_feed
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.reporting import build_report, check_usable
from video_salmonn.media.sampling import count_uniform, parse_frame_times
from video_salmonn.media.source import MediaSource, errors_name, open_source
from video_salmonn.types import MediaReport

_FIRST_FRAMES = 400


def probe(source: MediaSource, *, sound: MediaSource | None = None, options: MediaOptions | None = None) -> MediaReport:
    """Say what :func:`~video_salmonn.media.load_clip` would see and hear, without decoding more than the first frames.

    Durations come from headers (from a count of packets where the format has none), so ``seen.frames`` is an estimate
    and a silent track still counts as ``used``; both are settled by decoding.

    Raises:
        MediaError, EmptyMediaError, LimitError: as :func:`~video_salmonn.media.load_clip` would.
    """
    options = options or MediaOptions()
    with errors_name(source), contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_source(source, options.limits))
        main = open_feed(opened, options, video=options.use_video, audio=options.use_audio and sound is None)
        stack.callback(main.close)
        ear: Feed | None = None
        if sound is not None and options.use_audio:
            separate = stack.enter_context(open_source(sound, options.limits))
            ear = open_feed(separate, options, video=False, audio=True)
            stack.callback(ear.close)
        for feed in (main, ear):
            if feed is not None:
                feed.duration = feed.measure()
                _taste(feed)
        check_usable(main, ear, options)
        report = build_report(main, ear, options, complete=False)
        _announce(report, main, ear or main, options)
        return report


def duration(source: MediaSource, *, options: MediaOptions | None = None) -> float:
    """Seconds on the clip axis that the headers promise, within ``start``, ``end`` and ``max_seconds``.

    For a single picture this is the time of one frame (0.5 s at 2 frames per second) or of its spotlight crops.
    """
    options = options or MediaOptions()
    with errors_name(source), contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_source(source, options.limits))
        feed = open_feed(opened, options, video=options.use_video, audio=options.use_audio)
        stack.callback(feed.close)
        return _within(feed.measure(), options)


def _taste(feed: Feed) -> None:
    """Read until every chosen stream has given something, or it is plain that one gives nothing."""
    start = feed.options.start or 0.0
    if feed.duration is not None and start >= feed.duration > 0:
        return
    tracks = [track for track in (feed.video, feed.audio) if track is not None]
    steps = feed.run(give_up=True)
    for _ in range(_FIRST_FRAMES):
        if next(steps, None) is None:
            break
        if all(track.first is not None for track in tracks):
            feed.partial = True
            break
    else:
        feed.partial = True
    steps.close()
    if feed.video is not None:
        feed.video.finish()
    if feed.audio is not None:
        feed.audio.finish()


def _within(seconds: float, options: MediaOptions) -> float:
    seconds = max(0.0, seconds - (options.start or 0.0))
    return seconds if options.stop is None else min(seconds, options.stop)


def _announce(report: MediaReport, main: Feed, ear: Feed, options: MediaOptions) -> None:
    """Replace what the first frames say about length by what the headers say."""
    strategy, rate = parse_frame_times(options.frame_times)
    ends = []
    if report.seen.status == "used" and not main.is_picture:
        end = _within(_end_of(main, "video"), options)
        shown = next(s.get("frame_rate") for s in main.streams if s["chosen"] and s["kind"] == "video")
        count = count_uniform(end, rate, shown) if strategy == "uniform" else 2 * math.ceil(end - 1e-5)
        most = options.limits.max_frames
        report.seen.end, report.seen.frames = end, count if most is None else min(count, most)
        ends.append(end)
    if report.heard.status in ("used", "silent"):
        # A few frames do not prove silence.
        report.heard.status, report.heard.end = "used", _within(_end_of(ear, "audio"), options)
        report.heard.detail = "not decoded: it may prove silent"
        ends.append(report.heard.end)
    if ends:
        report.duration = max(ends)


def _end_of(feed: Feed, kind: str) -> float:
    ends = [s.get("end") for s in feed.streams if s["kind"] == kind and s["chosen"]]
    return ends[0] if ends and ends[0] is not None else feed.duration or 0.0
