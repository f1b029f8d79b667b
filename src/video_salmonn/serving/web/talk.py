"""A visitor's clip: opened once in a process that can be killed, encoded once, asked about as often as one likes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError, LimitError, MediaError
from video_salmonn.inference.chat import ChatSession
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.transcript import Transcript
from video_salmonn.inference.transcript_options import DECODERS
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.inspection.player import Player, player_of
from video_salmonn.inspection.timeline import Timeline
from video_salmonn.inspection.timeline_html import clip_page
from video_salmonn.media.worker import Worker
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.types import Answer, Clip


@dataclass
class Talk:
    """One clip in front of one visitor.

    Attributes:
        token: names its player and page to the browser; nobody can guess it.
        path: the visitor's file, a link of its own.
        clip: decoded.
        timeline: what the model saw and heard.
        player: what the page plays.
        session: the conversation about it.
        transcript: once it was written.
        shown: messages that the visitor sees, answers that were stopped included.
        used: when it was used last, on the monotonic clock.
    """

    token: str
    path: Path
    clip: Clip
    timeline: Timeline
    player: Player
    session: ChatSession
    transcript: Transcript | None = None
    shown: list[dict[str, str]] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)

    def page(self, media: str = "", script: str = "") -> str:
        """The clip's page; arguments as for :func:`~video_salmonn.inspection.timeline_html.clip_page`."""
        return clip_page(self.timeline, self.player, self.transcript, media=media, script=script)


class Desk:
    """Opens visitors' files and keeps what was made of them until it is forgotten or has not been used for long.

    Args:
        engine: the model.
        settings: what is allowed; ``file_seconds`` is how long an unused clip is kept.
        folder: where visitors' files are linked; it is made, and deleted when the desk is closed.
    """

    def __init__(self, engine: VideoSalmonn, settings: ServerSettings, folder: Path) -> None:
        self.engine = engine
        self.settings = settings
        self.folder = folder
        self._talks: dict[str, Talk] = {}
        self._guard = threading.Lock()
        self._decoding = threading.Lock()
        self._worker = Worker(settings.decode_seconds, settings.decode_memory)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """End the decoding process and delete all files."""
        for talk in list(self._talks.values()):
            self.forget(talk)
        self._worker.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, path: Path, name: str | None = None) -> Talk:
        """Decode and encode a file.

        Args:
            path: the file; it may be gone afterwards.
            name: what it is called on the page.

        Raises:
            MediaError: it cannot be used.
            LimitError: too many clips are open.
        """
        self.sweep()
        name = name or path.name
        if len(self._talks) >= self.settings.max_files:
            raise LimitError(name, "too many clips are open on this server", remedy="try again later")
        token = secrets.token_urlsafe(24)
        own = self.folder / token
        own.mkdir(mode=0o700)
        kept = own / "media"
        try:
            _linked(path, kept, name)
            talk = self._opened(token, kept, name)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
        with self._guard:
            self._talks[token] = talk
        return talk

    def _opened(self, token: str, path: Path, name: str) -> Talk:
        try:
            with self._decoding:
                clip = self._worker.load(path.read_bytes(), options=self._decoding_options())
        except MediaError as error:
            raise type(error)(name, error.reason, remedy=error.remedy) from error
        clip = replace(clip, report=replace(clip.report, source=name))
        (encoded,) = self.engine.encode([clip])
        timeline = inspect_media(self.engine, encoded)
        player = player_of(timeline, path, address=f"/media/{token}")
        options = {"max_new_tokens": self.settings.max_new_tokens, "long": "coarse"}
        return Talk(token, path, clip, timeline, player, self.engine.chat(replace(encoded, clip=None), **options))

    def _decoding_options(self) -> Any:
        own = self.engine.processor.media_options()
        limits = self.settings.limits()
        if own.limits.max_seconds is not None:  # the model itself reads no more: cut and told, not refused
            most = min(own.limits.max_seconds, self.settings.max_media_seconds)
            limits = replace(limits, max_seconds=most, on_long="cut")
        return self.engine.processor.media_options(limits=limits, threads=1)

    def ask(self, talk: Talk, question: str) -> Generator[str, None, Answer]:
        """The answer to the next question, piece by piece; the generator's return value is the whole answer.

        Raises:
            ConfigError: no question, or one that is too long. ContextError: it does not fit the context.
        """
        question = question.strip()
        if not question:
            raise ConfigError("there is no question", remedy="write one")
        if len(question) > self.settings.max_text:
            raise ConfigError(
                f"the question has {len(question)} characters", remedy=f"at most {self.settings.max_text}"
            )
        talk.used = time.monotonic()
        until = talk.used + self.settings.request_seconds
        pieces = talk.session.stream(question)
        with contextlib.closing(pieces):
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    answer: Answer = end.value
                    return answer
                yield piece
                if time.monotonic() > until:
                    raise ConfigError("the answer took longer than this server allows", remedy="ask for less")

    def transcribe(self, talk: Talk, decoder: str) -> Transcript:
        """Write down what is said in the clip; its page then shows it.

        Raises:
            MediaError: there is no sound. MissingPartError, ConfigError: the decoder is not here.
        """
        if decoder not in DECODERS:
            raise ConfigError(f"decoder is {decoder!r}", remedy=f"use one of: {', '.join(DECODERS)}")
        talk.used = time.monotonic()
        talk.transcript = self.engine.transcribe(talk.clip, decoder=decoder)
        return talk.transcript

    def find(self, token: str) -> Talk | None:
        """The clip with this token."""
        with self._guard:
            found = self._talks.get(token)
        if found is not None:
            found.used = time.monotonic()
        return found

    def forget(self, talk: Talk | None) -> None:
        """Delete a clip and its file."""
        if talk is None:
            return
        with self._guard:
            self._talks.pop(talk.token, None)
        shutil.rmtree(talk.path.parent, ignore_errors=True)

    def sweep(self) -> None:
        """Forget clips that nobody has used for ``file_seconds``."""
        oldest = time.monotonic() - self.settings.file_seconds
        with self._guard:
            old = [talk for talk in self._talks.values() if talk.used < oldest]
        for talk in old:
            self.forget(talk)


def _linked(path: Path, kept: Path, name: str) -> None:
    try:
        try:
            os.link(path, kept)
        except OSError:  # another file system
            shutil.copyfile(path, kept)
    except OSError as error:
        raise MediaError(name, f"cannot be read ({error.strerror})", remedy="give it once more") from error
