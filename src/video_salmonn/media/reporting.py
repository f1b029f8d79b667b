"""The account of a clip: what was seen, heard, cut, chosen and lost, in sentences a user can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from video_salmonn.errors import EmptyMediaError, MediaError
from video_salmonn.media.container import Track
from video_salmonn.media.feeds import Feed
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.sampling import TOLERANCE, parse_frame_times
from video_salmonn.types import Heard, MediaReport, Seen, Status
from video_salmonn.wording import counted

_WHOLE_FILE = "Check the file with `video-salmonn probe`; re-encode it if a player opens it."


def build_report(main: Feed, sound: Feed | None, options: MediaOptions, *, complete: bool = True) -> MediaReport:
    """The report on what has been read so far from the main source and, if there is one, the separate sound.

    ``complete`` says that reading is over, so that an end that differs from the header's is worth a warning.
    """
    ear = sound if sound is not None else main
    seen, heard = _seen(main, options), _heard(ear, options)
    report = MediaReport(main.name, _duration(main, ear, options), seen, heard)
    report.streams = [dict(stream) for stream in main.streams]
    if sound is not None:
        report.streams += [dict(stream, source=sound.name) for stream in sound.streams]
        own = [s for s in main.streams if s["kind"] == "audio"]
        if own and options.use_audio:
            report.warnings.append(f"the file's own sound was replaced by {sound.name}")
    report.cuts = _cuts(main, options)
    report.warnings += _warnings(main, options, "", complete)
    if sound is not None:
        report.warnings += _warnings(sound, options, f"{sound.name}: ", complete)
    return report


def _duration(main: Feed, ear: Feed, options: MediaOptions) -> float:
    heard = ear.audio.end if ear.audio is not None and ear.audio.first is not None else 0.0
    if main.is_picture and main.video is not None:
        shown = main.video.taken / parse_frame_times(options.frame_times)[1]
        return heard if heard > 0 else shown
    return max(heard, main.video.end if main.video is not None else 0.0)


def _seen(feed: Feed, options: MediaOptions) -> Seen:
    if not options.use_video:
        return Seen("off")
    track = feed.video
    if track is None:
        if feed.undecodable["video"]:
            return Seen("failed", detail=f"no decoder for {', '.join(feed.undecodable['video'])}")
        covers = [s for s in feed.streams if s["kind"] == "cover"]
        return Seen(
            "absent", detail="the file holds cover art, which is not a video" if covers else _none(feed, "video")
        )
    if not track.taken:
        status, detail = _why_nothing(feed, "video", options)
        return Seen(status, 0.0 if status == "used" else None, detail=detail)
    if feed.is_picture:
        detail = "picture" if track.taken == 1 else f"picture and {counted(track.taken - 1, 'crop')} of it"
        return Seen("used", 0.0, track.taken / parse_frame_times(options.frame_times)[1], track.taken, detail)
    end = min(track.end, track.frames_cut_at) if track.frames_cut_at is not None else track.end
    return Seen("used", 0.0, end, track.taken)


def _heard(feed: Feed, options: MediaOptions) -> Heard:
    if not options.use_audio:
        return Heard("off")
    track = feed.audio
    if track is None:
        if feed.undecodable["audio"]:
            return Heard("failed", detail=f"no decoder for {', '.join(feed.undecodable['audio'])}")
        return Heard("absent", detail=_none(feed, "sound"))
    if track.first is None or not track.samples:
        status, detail = _why_nothing(feed, "audio", options)
        return Heard(status, _announced_start(feed) if status == "used" else None, detail=detail)
    if track.silent:
        return Heard("silent", track.first, track.end, track.silent)
    return Heard("used", track.first, track.end)


def _announced_start(feed: Feed) -> float:
    starts = [s["start"] for s in feed.streams if s["chosen"] and s["kind"] == "audio" and s["start"] is not None]
    return max(0.0, starts[0] - (feed.options.start or 0.0)) if starts else 0.0


def _none(feed: Feed, what: str) -> str:
    unknown = [f"#{s['index']}" for s in feed.streams if s["codec"] == "unknown"]
    stranger = f" (of unknown kind: {', '.join(unknown)})" if unknown else ""
    return f"no {what} stream" + stranger


def _why_nothing(feed: Feed, kind: str, options: MediaOptions) -> tuple[Status, str]:
    statistics = feed.tracks.get(kind)
    what = "picture" if kind == "video" else "sound"
    if statistics is not None and statistics.lost:
        chosen = next(s for s in feed.streams if s["index"] == statistics.index)
        if kind == "video" and not chosen["width"]:
            most = options.limits.max_pixels
            return "failed", f"its header gives no usable picture size, or one of more than {most} pixels"
        return (
            "failed",
            f"none of it could be decoded: {counted(len(statistics.lost), 'damaged packet')} ({statistics.error})",
        )
    if statistics is not None and statistics.decoded:
        short = not (options.start or options.end) and kind == "audio"
        reason = "its sound is shorter than one sample at 16 kHz" if short else f"no {what} in the stretch asked for"
        return "absent", reason
    if feed.partial and statistics is not None:
        return "used", f"not decoded: the first {what} comes later in the file"
    if feed.broken:
        return "failed", f"no {what} could be read ({feed.broken})"
    return "failed", f"the stream is announced but holds no {what}"


def _cuts(feed: Feed, options: MediaOptions) -> list[str]:
    cuts = []
    start = options.start or 0.0
    total = (feed.duration or 0.0) - start
    for track in (feed.video, feed.audio):
        if track is not None:
            total = max(total, track.end)
    if start:
        cuts.append(f"start={start:g}: the first {start:g} s were not asked for")
    stop = options.stop
    if stop is not None and (total > stop + TOLERANCE or _passed(feed, stop)):
        asked = options.end is not None and stop == options.end - start
        cause = f"end={options.end:g}" if asked else f"max_seconds={options.limits.max_seconds:g}"
        rest = f"up to {start + total:.2f} s" if total > stop + TOLERANCE else "onwards"
        cuts.append(f"{cause}: {start + stop:.2f} s {rest} {'was not asked for' if asked else 'was not used'}")
    if feed.video is not None and feed.video.frames_cut_at is not None:
        cuts.append(
            f"max_frames={options.limits.max_frames}: the picture from {feed.video.frames_cut_at:.2f} s on was not used"
        )
    return cuts


def _passed(feed: Feed, stop: float) -> bool:
    return feed.video is not None and not feed.is_picture and feed.video.reached >= stop


def _warnings(feed: Feed, options: MediaOptions, prefix: str, complete: bool) -> list[str]:
    found = list(feed.notes)
    video, audio = feed.video, feed.audio
    for kind, statistics in feed.tracks.items():
        found += _losses(kind, statistics)
    if video is not None and not feed.is_picture:
        if video.damaged:
            found.append(f"picture damaged in {counted(len(video.damaged), 'frame')} at {_span(video.damaged)}")
        if video.first is not None and video.first > 0.1:
            found.append(f"the picture starts at {video.first:.2f} s; until then its first frame is shown")
        found += video.notes
    if video is not None and feed.is_picture:
        found += video.notes
    if audio is not None:
        if audio.first is not None and audio.first > 0.1:
            found.append(f"the sound starts at {audio.first:.2f} s; before that there is silence")
        if audio.gaps:
            missing = sum(end - start for start, end in audio.gaps)
            where = _span([audio.gaps[0][0], audio.gaps[-1][1]])
            found.append(
                f"{missing:.2f} s of sound are missing in {counted(len(audio.gaps), 'gap')} at {where}; filled "
                f"with silence"
            )
        if audio.dropped > 0.02:
            lost = f"{audio.dropped:.2f} s of sound "
            if audio.overtaken:
                found.append(lost + "came after their piece had been handed out and were dropped; load_clip keeps them")
            else:
                found.append(lost + "overlapped what came before and were dropped")
        if audio.turned:
            found.append(
                f"sound channels of opposite polarity cancel each other for {audio.turned:.2f} s; "
                "mixed there with the opposed channels turned over"
            )
        if audio.not_finite:
            found.append(f"{counted(audio.not_finite, 'sound sample', 'were')} NaN or infinite; replaced by silence")
        found += audio.notes
    found += _wrong_end(feed, options) if complete else []
    return [prefix + sentence for sentence in found]


def _losses(kind: str, statistics: Track) -> list[str]:
    if not statistics.lost or not statistics.decoded:
        return []
    times = [time for time in statistics.lost if time is not None]
    where = f" at {_span(times)}" if times else ""
    what = "picture" if kind == "video" else "sound"
    return [f"{what}: {counted(len(statistics.lost), 'packet')} could not be decoded{where} ({statistics.error})"]


def _wrong_end(feed: Feed, options: MediaOptions) -> list[str]:
    """Whether the file ended where its header says."""
    found = []
    if feed.broken:
        found.append(f"reading stopped or stumbled: {feed.broken}")
    start, stop = options.start or 0.0, options.stop
    ends = [track.end for track in (feed.video, feed.audio) if track is not None and track.end > 0]
    if feed.audio is not None and ends:
        ends[-1] -= feed.audio.padding if feed.audio.end > 0 else 0.0
    if feed.duration is None or feed.is_picture or not ends:
        return found
    claims = [stream.get("end") for stream in feed.streams if stream["chosen"]]
    known = [end for end in claims if end is not None]
    claimed: float = max(known) if known and len(known) == len(claims) else feed.duration
    expected = claimed - start if stop is None else min(stop, claimed - start)
    if feed.video is not None and feed.video.frames_cut_at is not None:
        return found
    slack = max(0.5, 0.02 * expected)
    if max(ends) < expected - slack and len(feed.tracks) >= _decodable_kinds(feed):
        found.append(f"the file ends at {start + max(ends):.2f} s although its header says {start + expected:.2f} s")
    elif stop is None and max(ends) > expected + slack:
        found.append(
            f"the header says {start + expected:.2f} s but the file lasts {start + max(ends):.2f} s; all was used"
        )
    return found


def _decodable_kinds(feed: Feed) -> int:
    return len({s["kind"] for s in feed.streams if s["kind"] in ("video", "audio") and s.get("decodable")})


def _span(times: Sequence[float]) -> str:
    low, high = min(times), max(times)
    return f"{low:.2f} s" if high - low < 0.01 else f"{low:.2f}–{high:.2f} s"


def check_usable(main: Feed, sound: Feed | None, options: MediaOptions) -> None:
    """Raise unless something of what was asked for can be seen or heard.

    Raises:
        EmptyMediaError: there is nothing of that kind in it.
        MediaError: it is there but cannot be decoded; or the separate sound cannot be used.
    """
    report = build_report(main, sound, options)
    seen, heard = report.seen, report.heard
    if sound is not None and heard.status in ("absent", "failed"):
        _refuse(sound.name, "audio", heard.status, heard.detail)
    if options.on_corrupt == "raise":
        for kind, status, detail in (("video", seen.status, seen.detail), ("audio", heard.status, heard.detail)):
            if status == "failed":
                _refuse(main.name, kind, status, detail)
    if "used" in (seen.status, heard.status) or heard.status == "silent":
        return
    start = options.start or 0.0
    if start and main.duration is not None and start >= main.duration:
        raise EmptyMediaError(
            main.name,
            f"start={start:g} s lies behind its end at {main.duration:.2f} s",
            remedy="Choose a start within the file.",
        )
    failed = [(k, s.detail) for k, s in (("video", seen), ("audio", heard)) if s.status == "failed"]
    if failed:
        kind, detail = failed[0]
        _refuse(main.name, kind, "failed", detail)
    if seen.status == "absent" and heard.status == "absent":
        raise EmptyMediaError(
            main.name,
            f"nothing in it can be seen or heard: {seen.detail}; {heard.detail}",
            remedy="Pass a file with a video or audio stream.",
        )
    kind, detail = ("video", seen.detail) if seen.status == "absent" else ("audio", heard.detail)
    other = "sound" if kind == "video" else "picture"
    raise EmptyMediaError(
        main.name,
        f"{detail}, and its {other} is not used",
        stream=kind,
        remedy=f"Pass a file with {'a picture' if kind == 'video' else 'sound'}; or, where an option switched the "
        f"{other} off, leave that option out.",
    )


def _refuse(name: str, kind: str, status: str, detail: str) -> NoReturn:
    error = EmptyMediaError if status == "absent" else MediaError
    raise error(name, detail, stream=kind, remedy=_WHOLE_FILE)
