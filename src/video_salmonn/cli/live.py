"""``video-salmonn live SOURCE``: a transcript, or answers to a standing question, while a stream lasts."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.checks import check_decoder, check_media, check_question
from video_salmonn.cli.output import emit_json_line, reports_errors, stderr, stdout, styled
from video_salmonn.errors import ConfigError
from video_salmonn.inference.transcript_options import check_spans, check_transcript, checked_look_ahead

if TYPE_CHECKING:
    from video_salmonn.inference.live import LiveEvent, LiveSession
    from video_salmonn.media.live import Portion

FASTEST = 1000.0


@reports_errors
@shared.with_placement
def command(
    source: str = typer.Argument(
        ..., help="A file, played in real time; - or a named pipe; camera, /dev/videoN or camera:NAME."
    ),
    question: str = typer.Option(
        None, "--question", help="Question about every closed window; without it, a transcript."
    ),
    model: str = shared.MODEL,
    transcript: bool = typer.Option(False, "--transcript", help="With --question: also write a transcript."),
    look_ahead: float = typer.Option(
        10.0, "--look-ahead", help="Longest piece of sound for the transcript in seconds, 2 to 300."
    ),
    every: float = typer.Option(
        None, "--every", help="Seconds from one answer to the next, in whole windows; by default one window (5 s)."
    ),
    context: float = typer.Option(
        None, "--context", help="Seconds that an answer covers, in whole windows; by default the new ones."
    ),
    decoder: str = typer.Option(
        "model",
        "--decoder",
        help="Decoder of the transcript. model: the whole system. whisper: the speech encoder's decoder.",
    ),
    language: str = typer.Option(None, "--language", help="Language of the speech, for --decoder whisper."),
    speed: float = typer.Option(1.0, "--speed", help="Play a file this many times as fast."),
    microphone: str = typer.Option(
        None, "--microphone", help="Microphone beside a camera: ffmpeg's name of the device (default with ALSA)."
    ),
    start: float = shared.START,
    end: float = shared.END,
    no_audio: bool = shared.NO_AUDIO,
    no_video: bool = shared.NO_VIDEO,
    max_new_tokens: int = shared.NEW_TOKENS,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value a line."),
    *,
    placement: dict[str, Any],
) -> None:
    """Follow a stream: write down what is said, or answer a question about every stretch of it. Ctrl-C ends it."""
    if question is not None:
        check_question(question)
    check_transcript(decoder, language=language)
    checked_look_ahead(look_ahead)
    check_spans(question is not None, every, context)
    if not 0 < speed <= FASTEST:
        raise ConfigError(f"speed is {speed:g}", remedy=f"give a number above 0, at most {FASTEST:g}")
    if question is None and no_audio:
        raise ConfigError("a transcript needs sound, which is switched off", remedy="give a --question")
    writes = transcript or question is None
    check_decoder(model, decoder if writes else "model")
    from video_salmonn.media.live import check_camera, check_source, open_live, source_kind

    check_source(source, start=start, end=end, speed=speed, microphone=microphone)
    looks = not no_video and question is not None
    kind = source_kind(source)
    if kind == "file":
        stretch = {"start": start, "end": end}
        check_media(source, None, {**stretch, "no_audio": no_audio, "no_video": not looks})
    elif kind == "camera":
        if question is None and microphone is None:
            raise ConfigError(
                "a camera without a microphone is not heard", remedy="give a --question or a --microphone"
            )
        check_camera(source, looks)
    engine = shared.load_engine(model, **placement)
    from video_salmonn.inference.live import LiveSession

    options = engine.processor.media_options(start=start, end=end, use_video=looks, use_audio=not no_audio)
    listens = options.use_audio and (kind != "camera" or microphone is not None)
    session = LiveSession(
        engine,
        question=question,
        transcript=writes and listens,
        sight=options.use_video,
        sound=listens,
        look_ahead=look_ahead,
        every=every,
        context=context,
        decoder=decoder,
        language=language,
        max_new_tokens=max_new_tokens,
        speed=speed,
    )
    stream = open_live(source, options, speed=speed, microphone=microphone)
    show = _Lines(as_json)
    if as_json:
        emit_json_line({"type": "start", "source": source, "model": engine.name, "waits": session.waits})
    with Ending() as ending:
        follow(session, stream, show, ending)
    show.end(session)


def follow(session: LiveSession, stream: Iterable[Portion], show: Any, ending: Ending) -> None:
    """Push a stream into a session until it ends or is interrupted, showing what becomes known.

    Args:
        session: takes what comes.
        stream: portions.
        show: called with every event.
        ending: what signals do meanwhile.
    """
    portions = iter(stream)
    try:
        for portion in portions:
            with ending.working():
                for event in session.push(
                    sound=portion.sound, start=portion.start, pictures=portion.pictures, arrived=portion.arrived
                ):
                    show(event)
    except KeyboardInterrupt:
        if not ending.is_urgent:
            stderr.print("interrupted: processing the input received so far", style="dim")
    finally:
        close = getattr(portions, "close", None)
        if close is not None:
            close()
    with contextlib.suppress(KeyboardInterrupt), ending.working():
        for event in () if ending.is_urgent else session.finish():
            show(event)
    if ending.is_urgent:
        stderr.print("note: interrupted twice: input received at the end is not processed", style="yellow")


class Ending:
    """How SIGINT and SIGTERM end a stream: reading stops at once, and what was read is processed as a whole.

    A signal that came while something was processed would otherwise lose it. A second signal ends everything at once.
    """

    def __init__(self) -> None:
        self._signals, self._is_working = 0, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Ending:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _tell(self, number: int, frame: Any) -> None:
        self._signals += 1
        if self.is_urgent or not self._is_working:
            raise KeyboardInterrupt

    @property
    def is_urgent(self) -> bool:
        """Whether a second signal came."""
        return self._signals > 1

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A block that the first signal does not interrupt; where one came, KeyboardInterrupt is raised behind it."""
        before, self._is_working = self._signals, True
        try:
            yield
        finally:
            self._is_working = False
        if self._signals > before:
            raise KeyboardInterrupt


class _Lines:
    """Events as lines, and how late they were."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._late: list[float] = []
        self._count = 0

    def __call__(self, event: LiveEvent) -> None:
        self._count += 1
        late = [one for one in (event.latencies or (event.latency,)) if one is not None]
        self._late = [*self._late, *late][-10_000:]
        if self._as_json:
            emit_json_line(event.to_dict())
            return
        from video_salmonn.inference.pieces import clock

        times = styled(f"{clock(event.start)}-{clock(event.end)}  ", "dim")
        stdout.print(times.append(event.text, "none"), soft_wrap=True)

    def end(self, session: LiveSession) -> None:
        """Say what there was."""
        late = sorted(self._late)
        told = None
        if late:
            told = {"median": round(median(late), 3), "most": round(late[-1], 3), "measured": len(late)}
        if self._as_json:
            emit_json_line({"type": "end", "events": self._count, "latency": told, "warnings": list(session.warnings)})
            return
        if not self._count:
            stderr.print("note: nothing was said" if session.question is None else "note: nothing came", style="yellow")
        if told:
            stderr.print(f"latency: median {told['median']:.1f} s, at most {told['most']:.1f} s", style="dim")
        for warning in session.warnings:
            stderr.print(f"note: {warning}", style="yellow", soft_wrap=True)
