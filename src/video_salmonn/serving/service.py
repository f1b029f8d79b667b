"""What every route shares: media are read, jobs wait for the model, and every stage is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.serving.files import FileStore
from video_salmonn.serving.media import MediaReader, ReadMedia
from video_salmonn.serving.metrics import Metrics
from video_salmonn.serving.parts import Wanted
from video_salmonn.serving.problems import RequestProblem
from video_salmonn.serving.protocol import MediaFields
from video_salmonn.serving.scheduler import Job, JobOutcome, Scheduler
from video_salmonn.serving.settings import ServerSettings

R = TypeVar("R")


def name_of(model: str) -> str:
    """What clients call a model by default: its name, or the last folder of its path."""
    return str(model).replace("\\", "/").rstrip("/").rpartition("/")[2] or "model"


class Service:
    """One engine behind a server.

    Args:
        engine: the model.
        settings: limits.
        name: what clients call the model; by default the engine's name without folders.
    """

    def __init__(self, engine: VideoSalmonn, settings: ServerSettings, name: str | None = None) -> None:
        self.engine = engine
        self.settings = settings
        self.name = name or name_of(engine.name)
        self.created = int(time.time())
        self.metrics = Metrics()
        self.files = FileStore(settings)
        self.reader = MediaReader(engine, settings, self.files)
        self.scheduler = Scheduler(engine, settings.max_batch, settings.stall_seconds)
        scheduler, pool, kept = self.scheduler, self.reader.pool, self.reader.kept
        self.metrics.gauge("num_requests_running", "Requests being answered.", lambda: scheduler.running)
        self.metrics.gauge("num_requests_waiting", "Requests that wait for the model.", lambda: scheduler.waiting)
        self.metrics.gauge("media_decode_queue", "Media items that wait for a decoding process.", lambda: pool.waiting)
        self.metrics.gauge("mm_cache_bytes", "Bytes of encoded media kept.", lambda: kept.nbytes)

    def start(self) -> None:
        """Begin to answer."""
        self.scheduler.start()

    def close(self) -> None:
        """End threads and processes, and delete uploaded files."""
        self.scheduler.close()
        self.reader.close()
        self.files.close()

    @property
    def trouble(self) -> str:
        """Why nothing can be answered; empty where all is well."""
        return self.scheduler.trouble

    def check_model(self, name: str | None) -> None:
        """Raise RequestProblem (404) for a model that is not here."""
        if name is not None and name != self.name:
            raise RequestProblem(404, f"the model here is {self.name!r}", param="model")

    async def read(self, wanted: Sequence[Wanted], options: MediaFields, owner: str) -> list[ReadMedia]:
        """Read media, several at once. Raises RequestProblem for the first that cannot be used."""
        tasks = [asyncio.ensure_future(self.reader.read(item, options, owner)) for item in wanted]
        try:
            found = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
        self.metrics.cache_queries.inc(len(found))
        for item in found:
            self.metrics.cache_hits.inc(item.reused)
            for stage, seconds in item.seconds.items():
                self.metrics.stage[stage].observe(seconds)
        return found

    async def answer(
        self,
        conversation: list[dict[str, Any]],
        media: Sequence[ReadMedia],
        options: Mapping[str, Any],
        stop: Sequence[str],
        deadline: float,
    ) -> AsyncIterator[str | JobOutcome]:
        """Answer: pieces of text as they come, then the outcome. Closing the iterator gives the model's place back.

        Raises:
            RequestProblem: it cannot be answered.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[str | JobOutcome | Exception] = asyncio.Queue()

        def tell(event: str | JobOutcome | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        encoded = [item.encoded for item in media]
        job = Job(conversation, encoded, options, stop, deadline, tell, tell)
        self.scheduler.submit(job)
        try:
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, JobOutcome):
                    self._measure(event)
                    return
        finally:
            job.cancelled = True

    async def with_model(self, work: Callable[[Callable[[], None]], R], deadline: float) -> R:
        """Run something with the model, in turn with the answers.

        Args:
            work: gets a function that it calls at every step; that raises where nobody waits any more.
            deadline: on the monotonic clock.

        Raises:
            RequestProblem: nothing is answered here any more. Whatever ``work`` raises.
        """
        loop = asyncio.get_running_loop()
        made: asyncio.Future[R] = loop.create_future()

        def tell(result: R | None, error: BaseException | None) -> None:
            if made.done():
                return
            if error is not None:
                made.set_exception(error)
            else:
                made.set_result(result)  # type: ignore[arg-type]

        def step() -> None:
            self.scheduler.moved()
            if made.cancelled():
                raise RequestProblem(499, "the client left")
            if time.monotonic() > deadline:
                raise RequestProblem(
                    408, "the answer took longer than this server allows", remedy="ask for less, or at a quieter time"
                )

        def run() -> None:
            result, failure = None, None
            try:
                step()
                result = work(step)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                failure = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, result, failure)

        self.scheduler.call(run)
        return await made

    def _measure(self, outcome: JobOutcome) -> None:
        metrics, report = self.metrics, outcome.answer.report
        seconds = report["seconds"]
        metrics.queued.observe(max(0.0, outcome.queued))
        metrics.prefill.observe(seconds["prefill"])
        metrics.decode.observe(seconds["generate"])
        metrics.stage["connect"].observe(seconds["connect"])
        metrics.batch.observe(outcome.batch)
        if report["new_tokens"] > 1:
            metrics.token_gap.observe((outcome.total - outcome.first) / (report["new_tokens"] - 1))
        metrics.prompt_size.observe(report["prompt_tokens"])
        metrics.prompt_tokens.inc(report["prompt_tokens"])
        metrics.media_tokens.inc(report["media_tokens"])
        metrics.new_tokens.inc(report["new_tokens"])
        metrics.success.labels(outcome.finish).inc()
