"""One live session: pictures and sound come in, answers go out.

Decisions:

* One task reads messages into a queue, which is bounded by number and by bytes: when it is full nothing is read, so the
  client waits. Another handles them in order; an answer is a task of its own, and a new query ends it.
* Of the pictures, two a second are decoded, each in a process that can be killed. Everything that runs the model waits
  its turn among the requests of other clients.
* A query is about the context up to now, as if the stream ended there. A standing question (``question``) and a
  transcript (``transcribe``) are this server's own additions to ``session.config``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from video_salmonn.inference import long as long_media
from video_salmonn.inference.live import LiveEvent, LiveSession
from video_salmonn.inference.live_features import RATE
from video_salmonn.media.sampling import UniformSampler
from video_salmonn.serving.guard import log_fault
from video_salmonn.serving.live_channel import AUDIO_BYTES, FRAME_BYTES, Channel, Inbox, SessionConfig
from video_salmonn.serving.media import ReadMedia, decode_base64, kind_of
from video_salmonn.serving.problems import RequestProblem, problem_of, unfitting
from video_salmonn.serving.scheduler import JobOutcome
from video_salmonn.serving.service import Service

R = TypeVar("R")
CONFIG_SECONDS = 10.0
IDLE_SECONDS = 60.0
AHEAD_SECONDS = 60.0
"""Most seconds by which the time of a picture may lie ahead of the one before."""
NOW = 2e-3
"""Seconds behind the latest picture up to which it is taken when nothing later has come."""


@dataclass(frozen=True)
class _Frame:
    """A picture as it was sent."""

    data: bytes
    frame_id: Any
    pts_ms: Any
    time: float


class LiveStream:
    """One session, from ``session.config`` to ``session.done``."""

    def __init__(self, channel: Channel, service: Service) -> None:
        self.channel, self.service = channel, service
        self.session: LiveSession
        self.config: SessionConfig
        self._inbox = Inbox()
        self._query: asyncio.Task[None] | None = None
        self._sampler: UniformSampler[_Frame] = UniformSampler(2.0, None, None)
        self._zero: float | None = None
        self._latest = 0.0
        self._heard = 0.0
        self._begun = time.monotonic()
        self._used: deque[tuple[float, _Frame]] = deque()
        self._newest: _Frame | None = None
        self._shown: tuple[_Frame, Any] | None = None
        engine = service.engine
        limits = replace(service.settings.limits(), on_long="cut")
        self._decoding = replace(
            engine.processor.media_options(limits=limits, threads=1), use_audio=False, use_video=True, spotlight=0
        )

    async def run(self) -> None:
        """Handle the session. Raises RequestProblem for what ends it, WebSocketDisconnect where the client left."""
        await self._configure()
        reader = asyncio.ensure_future(self._read())
        try:
            while True:
                message = await self._inbox.get()
                if isinstance(message, Exception):
                    raise message
                if message["type"] == "video.done":
                    await self._done()
                    return
                try:
                    await self._handle(message)
                except RequestProblem as problem:  # of one message; the session continues
                    if problem.status >= 500:
                        raise
                    await self.channel.error(problem)
        finally:
            reader.cancel()
            await self._end_query()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reader

    async def _read(self) -> None:
        """Put messages into the inbox, in the end the reason why no more come."""
        while True:
            try:
                message, size = await self.channel.receive(IDLE_SECONDS, "Idle timeout")
            except (RequestProblem, WebSocketDisconnect) as error:
                if isinstance(error, RequestProblem) and error.status == 400:
                    await self.channel.error(error)
                    continue
                await self._inbox.put(error)
                return
            message["type"] = str(message.get("type", ""))[:64]
            await self._inbox.put(message, size)
            if message["type"] == "video.done":
                return

    # ------------------------------------------------------------------------------------------------ messages

    async def _configure(self) -> None:
        message, _ = await self.channel.receive(CONFIG_SECONDS, "Timeout waiting for session.config")
        if message.pop("type", None) != "session.config":
            raise RequestProblem(400, "the first message must be session.config")
        try:
            self.config = config = SessionConfig(**message)
        except ValidationError as error:
            place, why = unfitting(error.errors(), message)
            raise RequestProblem(400, f"session.config: {place}: {why}") from None
        self.service.check_model(config.model)
        most = self.service.settings.max_new_tokens
        if config.max_tokens is not None and config.max_tokens > most:
            raise RequestProblem(400, f"max_tokens is more than the {most} that this server writes")
        engine = self.service.engine
        self.session = await self._with_model(
            lambda: LiveSession(
                engine,
                question=config.question,
                transcript=config.transcribe,
                asks=True,
                sound=config.use_audio_in_video,
                every=config.every,
                context=config.context,
                max_new_tokens=self._new_tokens(),
            )
        )
        features = self.session.features
        assert features is not None
        self._begun = time.monotonic()
        await self.channel.send(
            "session.config",
            model=self.service.name,
            frames_per_second=1 / features.frame_seconds,
            window_seconds=features.window_frames * features.frame_seconds,
            segment_seconds=features.segment_frames * features.frame_seconds if features.sound else None,
            context_seconds=features.context * features.frame_seconds,
            waits=self.session.waits if config.question or config.transcribe else {},
            ignored_fields=config.without_effect(),
        )

    def _new_tokens(self) -> int:
        return self.config.max_tokens or min(self.service.engine.new_tokens, self.service.settings.max_new_tokens)

    async def _handle(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "video.frame":
            await self._frame(message)
        elif kind == "audio.chunk":
            await self._sound(message)
        elif kind == "video.query":
            await self._start_query(message)
        elif kind == "ping":
            await self.channel.send("pong")
        else:
            raise RequestProblem(400, "Unknown type; use video.frame, audio.chunk, video.query, video.done or ping")

    async def _frame(self, message: dict[str, Any]) -> None:
        text, frame_id, pts = message.get("data"), message.get("frame_id"), message.get("pts_ms")
        if not isinstance(text, str) or len(text) > FRAME_BYTES:
            raise RequestProblem(413 if isinstance(text, str) else 400, "Frame too large or without data")
        received = time.monotonic()
        frame = _Frame(decode_base64(text, "data"), frame_id, pts, self._time_of(pts, received))
        pictures, self._newest = [], frame
        for at, shown in self._sampler.push(frame.time, frame):
            pictures.append((at, await self._picture(shown)))
            self._used.append((at, shown))
        await self._push(pictures=pictures)
        features = self.session.features
        assert features is not None
        begin = features.begin(features.frames) * features.frame_seconds
        while self._used and self._used[0][0] < begin - features.context * features.frame_seconds:
            self._used.popleft()
        if isinstance(frame_id, str) and frame_id:
            await self.channel.send(
                "video.frame.ack",
                frame_id=frame_id[:256],
                pts_ms=pts if isinstance(pts, (int, float)) else None,
                accepted=True,
                buffered_frames=sum(at >= begin for at, _ in self._used),
                server_receive_ts_ms=received * 1000,
            )

    def _time_of(self, pts: Any, received: float) -> float:
        """When a picture was taken, in seconds on the stream's axis.

        By the clients' clock where it sends times: the first picture belongs to the sound that has come before it.
        """
        if isinstance(pts, bool) or not isinstance(pts, (int, float)) or not abs(pts) < 1e15:
            found = received - self._begun
        else:
            if self._zero is None:
                self._zero = pts / 1000 - self._heard
            found = pts / 1000 - self._zero
        if found > self._latest + AHEAD_SECONDS:
            raise RequestProblem(400, f"pts_ms jumps by more than {AHEAD_SECONDS:g} s")
        self._latest = max(found, self._latest)
        return self._latest

    async def _picture(self, frame: _Frame) -> np.ndarray:
        """A picture as the model sees it, ``(H, W, 3)``; one that stays on the screen is decoded once."""
        if self._shown is not None and self._shown[0] is frame:
            return self._shown[1]  # type: ignore[no-any-return]
        try:
            async with self.service.reader.pool.worker() as load:
                clip = await load(frame.data, options=self._decoding)
        except Exception as error:
            raise problem_of(error, "Frame decode failed") from error
        if clip.frames is None or not len(clip.frames):
            raise RequestProblem(422, "Frame decode failed: not a picture")
        self._shown = (frame, clip.frames.frames[0])
        return clip.frames.frames[0]  # type: ignore[no-any-return]

    async def _sound(self, message: dict[str, Any]) -> None:
        text = message.get("data")
        if not isinstance(text, str) or len(text) > AUDIO_BYTES * 4 // 3 + 4:
            raise RequestProblem(413 if isinstance(text, str) else 400, "Audio chunk too large or without data")
        data = decode_base64(text, "data")
        samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
        self._heard += len(samples) / RATE
        await self._push(sound=samples)

    async def _push(self, **portion: Any) -> None:
        if not portion.get("pictures") and portion.get("sound") is None:
            return
        for event in await self._with_model(lambda: self.session.push(**portion)):
            await self._tell(event)

    async def _done(self) -> None:
        """The stream has ended: the running answer, what is left of standing ones, and the end."""
        if self._query is not None:
            await asyncio.wait({self._query})
        last = [(at, await self._picture(frame)) for at, frame in self._sampler.finish(self._latest + NOW)]
        await self._push(pictures=last)
        for event in await self._with_model(self.session.finish):
            await self._tell(event)
        await self.channel.send("session.done")

    # ------------------------------------------------------------------------------------------------- answers

    async def _tell(self, event: LiveEvent) -> None:
        """Something that became known without having been asked for just now."""
        about = {name: value for name, value in event.to_dict().items() if name not in ("type", "text", "media")}
        if event.kind == "transcript":
            await self.channel.send("transcription.delta", delta=event.text, **about)
            return
        request = f"video-{uuid4().hex[:12]}"
        await self.channel.send("response.start", request_id=request, standing=True)
        await self.channel.send("response.text.done", text=event.text, request_id=request, **about)

    async def _start_query(self, message: dict[str, Any]) -> None:
        await self._end_query()
        text = message.get("text")
        if not isinstance(text, str) or not text.strip() or len(text) > self.service.settings.max_text:
            raise RequestProblem(400, "video.query needs a text")
        if message.get("audio_data"):
            raise RequestProblem(400, "audio_data is not taken here", remedy="send it as audio.chunk before the query")
        waiting = self._sampler.finish(self._latest + NOW)  # the picture on screen now
        features = self.session.features
        if not waiting and self._newest is not None and features is not None and not features.seen:
            waiting = [(self._latest, self._newest)]  # those before it could not be decoded
        pictures = [(at, await self._picture(frame)) for at, frame in waiting]
        self._used.extend(waiting)
        await self._push(pictures=pictures)
        if features is None or not features.frames:
            raise RequestProblem(400, "No frames buffered: send video.frame or audio.chunk first")
        media = await self._with_model(self.session.so_far)
        config = self.service.engine.model.connector.config
        tokens = config.tokens_for(long_media.frames_of(media.features, config))
        self._query = asyncio.ensure_future(self._answer(text, ReadMedia(media, False, kind_of(media), tokens)))

    async def _answer(self, text: str, media: ReadMedia) -> None:
        """Stream one answer; an error is reported and ends only this answer."""
        system = self.config.system_prompt
        conversation: list[dict[str, Any]] = [] if not system else [{"role": "system", "content": system}]
        conversation.append({"role": "user", "content": [{"type": "media"}, {"type": "text", "text": text}]})
        request = f"video-{uuid4().hex[:12]}"
        deadline = time.monotonic() + self.service.settings.request_seconds
        options = {"max_new_tokens": self._new_tokens()}
        try:
            await self.channel.send("response.start", request_id=request)
            await self._tell_frames(request, media)
            async with contextlib.aclosing(
                self.service.answer(conversation, [media], options, (), deadline)  # type: ignore[type-var]
            ) as events:
                async for event in events:
                    if isinstance(event, JobOutcome):
                        told = media.encoded.report.to_dict()
                        await self.channel.send(
                            "response.text.done", text=event.text, request_id=request, media=[told],
                            media_tokens=event.answer.report["media_tokens"],
                        )  # fmt: skip
                    else:
                        await self.channel.send("response.text.delta", delta=event)
        except Exception as error:  # noqa: BLE001 - one answer's fault is not the session's
            problem = problem_of(error)
            if problem.status == 500:
                log_fault(error)
            await self.channel.error(problem)
            await self.channel.send("response.text.done", text="", request_id=request)
        finally:
            self.service.engine.preparer.tokens.forget([media.encoded])

    async def _tell_frames(self, request: str, media: ReadMedia) -> None:
        seen = media.encoded.report.seen
        begin = seen.start if seen.start is not None else float("inf")
        used = list({id(frame): frame for at, frame in self._used if at >= begin}.values())
        if not any(isinstance(frame.frame_id, str) for frame in used):
            return
        pts = [frame.pts_ms if isinstance(frame.pts_ms, (int, float)) else None for frame in used]
        names = [frame.frame_id[:256] if isinstance(frame.frame_id, str) else None for frame in used]
        await self.channel.send(
            "video.frames.consumed",
            request_id=request,
            frame_ids=[name for name in names if name],
            frames=[{"frame_id": name, "pts_ms": at} for name, at in zip(names, pts)],
            latest_pts_ms=pts[-1],
        )

    async def _end_query(self) -> None:
        query, self._query = self._query, None
        if query is not None:
            query.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await query

    async def _with_model(self, work: Callable[[], R]) -> R:
        """Run something of the session with the model, in turn with other clients' requests."""
        deadline = time.monotonic() + self.service.settings.request_seconds
        try:
            return await self.service.with_model(lambda step: work(), deadline)
        except Exception as error:
            raise problem_of(error) from error
