"""The words and numbers beside the drawing, as plain strings: the page and the picture say the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from video_salmonn.inference.engine import STAGES
from video_salmonn.inspection.scene import number
from video_salmonn.inspection.timeline import Timeline
from video_salmonn.types import Heard, Seen
from video_salmonn.wording import counted

COSINE_NOTE = (
    "A cosine of 1: two outputs point the same way, that is, they say the same. 0: they have nothing in common. −1: "
    "they are mirror images, which carry no more than one of them. All maps share one fixed scale, so that clips, "
    "levels and models can be compared. Window against window (query by query, mean over the queries; padding left "
    "out): edges are where the model notices a change. Query against query (same window, mean over the windows): "
    "strong colours off the diagonal are queries that repeat or mirror each other. The mean cosine is what the "
    "diversity loss lowers; since opposite signs cancel in it, the mean absolute cosine is given beside it, and "
    "colours the windows of the timeline."
)
ANSWER_NOTE = (
    "Log-probability: how likely the full answer and its end, token by token, are to the language model under each "
    "condition (natural logarithm, mean over the tokens; 0 is certain). A changed answer shows that what was taken "
    "away took part in it; it does not show that the answer was right."
)
JOINT_NOTE = (
    "The answer asks for words, so it was decoded jointly with the connector’s CTC, as ask does; log-probabilities "
    "are those of the language model alone."
)


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of a stage."""

    name: str
    seconds: float


def headline(timeline: Timeline) -> str:
    """The clip in one line."""
    seen, heard = timeline.report.seen, timeline.report.heard
    frames = (
        f"{seen.frames} frame{'s' if seen.frames != 1 else ''} seen" if seen.status == "used" else _fate("seen", seen)
    )
    sound = f"sound heard {_span(heard)}" if heard.status == "used" else _fate("heard", heard)
    tokens = counted(timeline.tokens.given, "media token")
    return " · ".join((_length(timeline), frames, sound, tokens, f"model {timeline.model}"))


def _length(timeline: Timeline) -> str:
    still = 0 if timeline.sight is None else timeline.sight.still_frames
    if still:
        return f"a picture, shown for {still * timeline.frame_seconds:g} s"
    return f"{timeline.report.duration:.2f} s"


def fates(timeline: Timeline) -> list[tuple[str, str]]:
    """What was seen, heard and cut."""
    report = timeline.report
    seen, heard = report.seen, report.heard
    frames = f", {seen.frames} frame{'s' if seen.frames != 1 else ''}" if seen.status == "used" else ""
    rows = [
        ("seen", f"{seen.status}{_gap(_span(seen))}{frames}" + _detail(seen.detail)),
        ("heard", f"{heard.status}{_gap(_span(heard))}" + _detail(heard.detail)),
        (
            "length",
            _length(timeline) + (f", from {timeline.offset:g} s of the file" if timeline.offset else ""),
        ),
    ]
    rows += [("cut", sentence) for sentence in report.cuts] or [("cut", "nothing")]
    return rows


def told(timeline: Timeline) -> list[str]:
    """What was seen and heard, in sentences."""
    report = timeline.report
    seen, heard = report.seen, report.heard
    still = timeline.sight is not None and timeline.sight.still_frames
    looked = {
        "used": "The picture was looked at."
        if still
        else f"{counted(seen.frames, 'frame', 'were')} looked at, {_span(seen)} of the clip.",
        "absent": "There is no picture.",
        "off": "The picture was not looked at.",
        "failed": f"The picture could not be read{_detail(seen.detail)}.",
    }
    listened = {
        "used": f"The sound was listened to, {_span(heard)} of the clip.",
        "silent": "There is a sound track, but it is silent.",
        "absent": "There is no sound.",
        "off": "The sound was not listened to.",
        "failed": f"The sound could not be read{_detail(heard.detail)}.",
    }
    sentences = [looked.get(seen.status, _fate("seen", seen)), listened.get(heard.status, _fate("heard", heard))]
    return [*sentences, *(f"{cut[:1].upper()}{cut[1:]}." for cut in report.cuts)]


def warnings(timeline: Timeline) -> list[str]:
    """What a reader must not overlook."""
    return [*timeline.report.warnings, *timeline.warnings]


def streams(timeline: Timeline) -> list[tuple[bool, str, str, str]]:
    """(chosen, stream, codec, details) of every stream of the container."""
    rows = []
    for stream in timeline.report.streams:
        where = f" of {stream['source']}" if stream.get("source") else ""
        name = f"#{stream.get('index', '–')} {stream.get('kind', '')}{where}"
        rows.append((bool(stream.get("chosen")), name, str(stream.get("codec") or "–"), _stream_details(stream)))
    return rows


def _stream_details(stream: dict[str, Any]) -> str:
    parts = []
    if "width" in stream:
        parts.append(f"{stream['width']}×{stream['height']}")
        if stream.get("frame_rate"):
            parts.append(f"{stream['frame_rate']:.4g} frames/s")
    if "sample_rate" in stream:
        parts += [
            f"{stream['sample_rate']} Hz",
            str(stream.get("layout") or counted(stream["channels"], "channel")),
        ]
    if stream.get("language") and stream["language"] != "und":
        parts.append(str(stream["language"]))
    if stream.get("decodable") is False and stream.get("kind") in ("video", "audio"):
        parts.append("cannot be decoded")
    return ", ".join(parts)


def stages(timeline: Timeline) -> list[StageSeconds]:
    """Seconds by stage in their order; stages that did not run are left out."""
    extra = ("comparison", "drawing")
    names = [n for n in STAGES if n != "total"]
    rows = [StageSeconds(n, timeline.seconds[n]) for n in (*names, *extra) if timeline.seconds.get(n, 0) > 0]
    return [*rows, StageSeconds("total", timeline.seconds["total"])]


def time_note(timeline: Timeline) -> str:
    """What the total counts."""
    if timeline.comparison is None:
        return "The total goes from decoding to the media tokens. Loading the model and drawing are not counted."
    return (
        "The total is that of one question, as ask counts it: without loading the model, and without the comparison "
        "and the drawing, which only this page needs."
    )


def answers(timeline: Timeline) -> list[tuple[str, str, str, str, str]]:
    """(condition, media tokens, log-probability, verdict, answer) of every condition."""
    if timeline.comparison is None:
        return []
    rows = []
    for condition in timeline.comparison.conditions:
        likely = "–" if condition.log_probability is None else number(condition.log_probability)
        verdict = "" if condition.name == "full" else "same" if condition.same else "different"
        rows.append((condition.title, str(condition.media_tokens), likely, verdict, condition.answer or "(empty)"))
    return rows


def caveats(timeline: Timeline) -> list[str]:
    """The text right below the answer: how far it can be trusted, and what was lost."""
    return [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in (*timeline.caveats, *warnings(timeline))]


def mirrored(timeline: Timeline) -> list[str]:
    """A sentence for each level whose mean cosine reads as diverse although its outputs are not."""
    return [
        f"Level {index} ({level.seconds:g} s windows): the mean cosine of {number(level.mean_within or 0)} reads as "
        f"diverse, but the mean absolute cosine is {number(level.mean_absolute or 0)}: the outputs of a window are "
        f"copies and mirror images of each other. Opposite signs cancel in the mean."
        for index, level in enumerate(timeline.levels, 1)
        if level.mirrored
    ]


def described(timeline: Timeline) -> str:
    """The drawing in words, for who cannot see it."""
    levels = [
        f"level {index}: {counted(len(level.real), 'window')} of {level.seconds:g} s, of which "
        f"{int((~level.real).sum())} padding"
        + ("" if level.mean_absolute is None else f", mean absolute cosine {number(level.mean_absolute)}")
        for index, level in enumerate(timeline.levels, 1)
    ]
    spoken = timeline.words
    said = [] if spoken is None else [f"words: {spoken.text or 'none'}"]
    shown = f"{timeline.name} from 0 to {timeline.axis_end:g} s, of which the clip ends at {timeline.real_end:g} s"
    return "; ".join([shown, headline(timeline), *said, *levels])


def _span(fate: Seen | Heard) -> str:
    if fate.start is None or fate.end is None or fate.status not in ("used", "silent"):
        return ""
    return f"{fate.start:.2f}–{fate.end:.2f} s"


def _gap(text: str) -> str:
    return f", {text}" if text else ""


def _detail(text: str) -> str:
    return f" ({text})" if text else ""


def _fate(verb: str, fate: Seen | Heard) -> str:
    if fate.status == "silent":
        return "sound track silent"
    return f"nothing {verb} ({fate.status})"
