"""Errors a user can act on: each names the offender, what is wrong with it, and what to do about it.

Every error raised on purpose by this package derives from :class:`VideoSalmonnError`. Commands turn it into one line
(or, with ``--json``, into ``{"error": {"type", "message", "remedy"}}``) and exit code 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class VideoSalmonnError(Exception):
    """Base class. ``str(error)`` is the message; ``error.remedy`` is one sentence on what to do.

    Args:
        message: what is wrong, naming the offender (file, stream, key, line).
        remedy: what the user can do about it; :attr:`usual` where nothing closer is known.
    """

    usual = ""
    """What helps against most errors of a kind."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy or self.usual

    def to_dict(self) -> dict[str, str]:
        """The JSON form: type, message, remedy."""
        return {"type": type(self).__name__, "message": str(self), "remedy": self.remedy}

    def __reduce__(self) -> tuple:
        """Survive pickling between processes (decoding happens in workers)."""
        return (_rebuild, (type(self), str(self), dict(self.__dict__)))


def _rebuild(kind: type[VideoSalmonnError], message: str, state: dict) -> VideoSalmonnError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class MediaError(VideoSalmonnError):
    """A media file, stream or array cannot be used.

    Args:
        source: the file, URL or ``"<bytes>"`` / ``"<array>"``.
        reason: what is wrong, without repeating the source.
        stream: for example ``"video"`` or ``"audio #1"`` where one stream is to blame.
        remedy: what the user can do about it.
    """

    usual = "Check the file with `video-salmonn probe`."

    def __init__(self, source: str, reason: str, *, stream: str | None = None, remedy: str = "") -> None:
        where = f"{source} ({stream} stream)" if stream else source
        super().__init__(f"{where}: {reason}", remedy=remedy)
        self.source = source
        self.stream = stream
        self.reason = reason


class EmptyMediaError(MediaError):
    """The media opened but holds nothing that can be seen or heard."""


class LimitError(MediaError):
    """The media is larger, longer or slower to arrive than the limits allow, or comes from a forbidden place."""


class CheckpointError(VideoSalmonnError):
    """A checkpoint is missing, damaged, of another shape, or has tensors without a place."""

    usual = "copy, download or export these files again"


class ConfigError(VideoSalmonnError):
    """A configuration, option or recipe asks for something impossible; the message names the field."""

    usual = "correct this option or key"


class ManifestError(VideoSalmonnError):
    """A data manifest has a bad line; the message names file and line."""

    usual = "correct this file; docs/training.md says what its lines hold"


class TrainingError(VideoSalmonnError):
    """Training cannot continue (loss not finite, nothing left to train on); the message names the items."""

    usual = "correct the recipe or its data, then begin again"


class ContextError(VideoSalmonnError):
    """Media and text together do not fit the language model's context."""

    usual = "ask about a shorter stretch (start, end), or use long segments"


class MissingPartError(VideoSalmonnError):
    """An optional dependency or a pretrained part is not installed; the remedy is the command that brings it."""

    usual = "`video-salmonn doctor` says what is missing and how to get it"


@contextmanager
def needed(message: str, remedy: str) -> Iterator[None]:
    """A block of imports of optional packages; MissingPartError where one of them is not installed."""
    try:
        yield
    except ImportError as error:
        raise MissingPartError(message, remedy=remedy) from error


class EvaluationError(VideoSalmonnError):
    """Annotations, predictions or scores cannot be used; the message names the file and the item."""

    usual = "correct this file; docs/evaluation.md says what it holds"
