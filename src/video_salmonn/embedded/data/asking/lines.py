"""The wordings of one kind of question."""

from __future__ import annotations

from typing import NamedTuple

from video_salmonn.embedded.data.asking.grammar import readings


class Lines(NamedTuple):
    """Lines of a kind, by split (:mod:`video_salmonn.embedded.data.asking.grammar`)."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, split: str) -> tuple[str, ...]:
        """All wordings for a split."""
        return readings({"train": self.train, "dev": self.dev, "test": self.test}[split])
