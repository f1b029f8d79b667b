"""Decoding in a process of its own that can be killed, and several files at once, one process each.

Decisions:

* A worker is a fresh interpreter, started with the caller's import path. It is not forked (an open decoder must not
  cross a fork) and does not need the caller's script to be importable.
* The answer comes back as JSON and raw bytes, never as a pickle: what has touched an untrusted file cannot make the
  caller run anything.
* Whoever started it decides when it ends. It ignores Ctrl-C, and ends without a word when nobody reads its answers.
* One file is never split over processes: a sequential pass with decoder threads is faster.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import IO, Any

import numpy as np

import video_salmonn.errors as errors
from video_salmonn.errors import ConfigError, MediaError, VideoSalmonnError
from video_salmonn.media.clip import load_clip
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.source import MediaSource, errors_name, source_name
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform

_LENGTH = struct.Struct("<Q")
_BOOT = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # Ctrl-C reaches all processes of a terminal
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from video_salmonn.media.worker import serve; serve()"
)


class Worker:
    """One decoding process. It is started on first use and again after it had to be killed.

    Args:
        timeout: seconds that one clip may take before the process is killed; None for no limit.
        memory: bytes of address space that the process may use (Linux); None for no limit.
    """

    def __init__(self, timeout: float | None = None, memory: int | None = None) -> None:
        self._timeout = timeout
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def load(
        self, source: MediaSource, *, sound: MediaSource | None = None, options: MediaOptions | None = None
    ) -> Clip:
        """:func:`~video_salmonn.media.load_clip` in the process.

        Raises:
            MediaError: also when the process crashed, ran out of memory or took longer than ``timeout``.
            LimitError, EmptyMediaError: as :func:`~video_salmonn.media.load_clip`.
        """
        name = source_name(source)
        with errors_name(source):
            parts = (_portable(source), None if sound is None else _portable(sound), options, name)
        try:
            request = pickle.dumps(parts)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            remedy = "Pass a path, bytes or arrays."
            raise MediaError(name, f"cannot go to another process ({error})", remedy=remedy) from error
        try:
            process = self._process or self._start()
        except OSError as error:
            reason = f"its decoding process cannot be started ({error.strerror})"
            raise MediaError(name, reason, remedy="Use fewer processes, or a machine with more memory.") from error
        assert process.stdin is not None and process.stdout is not None
        expired = threading.Event()

        def kill() -> None:
            expired.set()
            process.kill()

        timer = None if self._timeout is None else threading.Timer(self._timeout, kill)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            process.stdin.write(_LENGTH.pack(len(request)))
            process.stdin.write(request)
            process.stdin.flush()
            return _receive(process.stdout)
        except (OSError, EOFError, ValueError) as error:
            code = self._kill()
            if expired.is_set():
                reason = f"not decoded within {self._timeout:g} s; its process was stopped"
            else:
                reason = f"its decoding process died ({_cause(code)})"
            remedy = "The file is damaged or too large: re-encode it, or raise the limit."
            raise MediaError(name, reason, remedy=remedy) from error
        except VideoSalmonnError:
            raise
        except BaseException:
            self._kill()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Stop the process."""
        self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(self._memory or 0)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def _kill(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code


def load_many(
    items: Iterable[MediaSource | tuple[MediaSource, MediaSource]],
    *,
    workers: int = 2,
    options: MediaOptions | None = None,
    timeout: float | None = None,
    memory: int | None = None,
) -> Iterator[Clip | MediaError]:
    """Decode several clips at once, each in one process, and yield them in the order of ``items``.

    A file that fails yields its :class:`~video_salmonn.errors.MediaError` instead of a clip and disturbs no other. At
    most ``2 * workers`` clips are in memory.

    Args:
        items: sources, or ``(source, sound)`` pairs.
        workers: number of processes.
        options: for all of them. With ``threads=0`` each process gets an equal share of the cores.
        timeout: seconds one clip may take.
        memory: bytes of address space one process may use.
    """
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more, not {workers!r}", remedy="Use the number of cores.")
    idle: deque[Worker] = deque(Worker(timeout, memory) for _ in range(workers))
    everyone = list(idle)

    def load(item: Any) -> Clip | MediaError:
        source, sound = item if _is_pair(item) else (item, None)
        worker = idle.popleft()
        try:
            return worker.load(source, sound=sound, options=options)
        except MediaError as error:
            return error
        finally:
            idle.append(worker)

    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Clip | MediaError]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for worker in everyone:
            worker.close()
        pool.shutdown(wait=True)


def clip_to_bytes(clip: Clip) -> bytes:
    """A clip as bytes: a JSON head and the arrays as they are, no pickle."""
    buffer = io.BytesIO()
    _send(buffer, *_pack(clip))
    return buffer.getvalue()


def clip_from_bytes(data: bytes) -> Clip:
    """The clip that :func:`clip_to_bytes` wrote. Raises EOFError or ValueError for anything else."""
    return _receive(io.BytesIO(data))


def serve() -> None:
    """The worker's side: read requests from stdin, decode, answer on stdout, until either ends."""
    with contextlib.suppress(BrokenPipeError):
        _serve()
    os._exit(0)  # at once: an answer that nobody takes would be tried again


def _serve() -> None:
    memory = int(sys.argv[2])
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but answers may go to the pipe
    while len(header := requests.read(_LENGTH.size)) == _LENGTH.size:
        try:
            request = _read(requests, _LENGTH.unpack(header)[0])
        except EOFError:  # whoever asked ended meanwhile
            return
        source, sound, options, name = pickle.loads(request)
        try:
            clip = load_clip(source, sound=sound, options=options)
        except VideoSalmonnError as error:
            state = {k: v for k, v in error.__dict__.items() if isinstance(v, (str, type(None)))}
            _send(answers, {"error": type(error).__name__, "message": str(error), "state": state}, [])
        except MemoryError:
            state = {"source": name, "stream": None, "reason": "not enough memory", "remedy": "Use a smaller file."}
            _send(answers, {"error": "MediaError", "message": f"{name}: not enough memory", "state": state}, [])
        else:
            _send(answers, *_pack(clip))


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], np.ndarray)


def _portable(source: Any) -> Any:
    """What can cross to another process: file objects become their bytes."""
    return source.read() if hasattr(source, "read") else source


def _pack(clip: Clip) -> tuple[dict[str, Any], list[np.ndarray]]:
    head: dict[str, Any] = {"report": asdict(clip.report), "duration": clip.duration, "arrays": []}
    arrays: list[np.ndarray] = []
    if clip.frames is not None:
        arrays += [clip.frames.frames, clip.frames.times]
    if clip.sound is not None:
        arrays.append(clip.sound.samples)
        head["rate"] = clip.sound.rate
    head["arrays"] = [[array.dtype.str, array.shape] for array in arrays]
    return head, arrays


def _send(pipe: IO[bytes], head: dict[str, Any], arrays: list[np.ndarray]) -> None:
    text = json.dumps(head).encode()
    pipe.write(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        pipe.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Clip:
    head = json.loads(_read(pipe, _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]))
    if "error" in head:
        raise _error(head)
    arrays = []
    for dtype, shape in head["arrays"]:
        array = np.empty(shape, np.dtype(dtype))
        _read_into(pipe, array)
        arrays.append(array)
    sound = Waveform(arrays.pop(), head["rate"]) if "rate" in head else None
    frames = FrameBatch(arrays[0], arrays[1]) if arrays else None
    report = head["report"]
    report["seen"], report["heard"] = Seen(**report["seen"]), Heard(**report["heard"])
    return Clip(frames, sound, head["duration"], MediaReport(**report))


def _error(head: dict[str, Any]) -> VideoSalmonnError:
    kind = getattr(errors, head["error"], MediaError)
    error: VideoSalmonnError = kind.__new__(kind)
    Exception.__init__(error, head["message"])
    error.__dict__.update(head["state"])
    return error


def _read(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) != count:
        raise EOFError("the decoding process ended")
    return data


def _read_into(pipe: IO[bytes], array: np.ndarray) -> None:
    view = array.reshape(-1).view(np.uint8).data
    while len(view):
        count = pipe.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the decoding process ended")
        view = view[count:]


def _cause(code: int) -> str:
    if code == -9:
        return "killed, probably because memory ran out"
    return f"signal {-code}" if code < 0 else f"exit status {code}"
