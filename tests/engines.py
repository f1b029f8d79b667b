"""Engines for tests of the runner: they answer by rule, so every expected number can be worked out by hand."""

import zlib

from video_salmonn.errors import MediaError
from video_salmonn.types import Answer


class RuleEngine:
    """Answers from the request alone: the same request gives the same answer in any batch.

    Args:
        broken: file names that cannot be decoded.
        stop_after: raise KeyboardInterrupt after so many answers (a killed run).
        lose: give one answer too few for batches (a faulty engine).
    """

    def __init__(self, broken=(), stop_after=None, lose=False, name="rule"):
        self.broken, self.stop_after, self.lose, self.name = set(broken), stop_after, lose, name
        self.asked = []

    def describe(self):
        return {"name": self.name, "dtype": "float32"}

    def ask_many(self, requests):
        answers = []
        for request in requests:
            paths = [p for p in (request.media.video, request.media.image, request.media.sound) if p]
            for path in paths:
                if path.name in self.broken:
                    raise MediaError(str(path), "is truncated")
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(request)
            answers.append(self.answer(request, paths))
        return answers[:-1] if self.lose else answers

    def answer(self, request, paths):
        used = [p.name for p in paths]
        told = repr((used, request.question, request.use_video, request.use_audio, request.zero_levels))
        text = f"{'ABCDE'[zlib.crc32(told.encode()) % 5]}. yes 2 {' '.join(used)}"
        media = [{"source": f"/somewhere/{name}", "seen": {"status": "used", "from": 0.0, "to": 2.0}} for name in used]
        return Answer(text, {"media": media, "seconds": {"total": zlib.crc32(told.encode()) / 1e9}})
