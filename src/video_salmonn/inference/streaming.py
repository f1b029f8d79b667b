"""Text piece by piece, while the model generates in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria, TextIteratorStreamer

from video_salmonn.model.repeats import looped, settled
from video_salmonn.types import Answer


class Abandoned(StoppingCriteria):
    """Ends a generation that nobody listens to any more."""

    def __init__(self, left: threading.Event) -> None:
        self.left = left

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for every row once the listener left."""
        return torch.full((input_ids.shape[0],), self.left.is_set(), dtype=torch.bool, device=input_ids.device)


def without_loop(ids: list[int], times: int, ends: Collection[int], tokenizer: Any) -> tuple[list[int], str]:
    """An answer's tokens without those that end or pad it; a loop at its end is said once, and the warning says so.

    Args:
        ids: tokens as generated.
        times: see :func:`video_salmonn.model.repeats.looped`.
        ends: tokens that end or pad.
        tokenizer: makes the warning's text.

    Returns:
        (tokens, warning or "").
    """
    spoken = list(ids)
    while spoken and spoken[-1] in ends:
        spoken.pop()
    kept = looped(spoken, times)
    if kept is None:
        return spoken, ""
    rest = len(spoken) - kept
    phrase = next(n for n in range(1, kept + 1) if all(spoken[i] == spoken[i - n] for i in range(kept, len(spoken))))
    text = tokenizer.decode(spoken[kept - phrase : kept], skip_special_tokens=True).strip()
    count = rest // phrase + 1
    return spoken[:kept], f"the answer was ended where it repeated itself: {text!r}, {count} times in a row"


class Spoken:
    """Streams the transcript of long media piece by piece; other answers, which take all pieces, in the end.

    Args:
        streamer: gets the texts; None for no stream.
    """

    def __init__(self, streamer: Any) -> None:
        self.streamer, self.begun = streamer, False

    def add(self, text: str) -> None:
        """A piece's transcript, which is a part of the whole one."""
        if self.streamer is not None and text:
            self.streamer.on_finalized_text(f" {text}" if self.begun else text)
            self.begun = True

    def end(self, whole: str) -> None:
        """The whole answer, passed on where nothing of it was yet."""
        if self.streamer is not None and not self.begun:
            self.streamer.on_finalized_text(whole)


class WithoutLoops:
    """A streamer before another: holds back what may be the beginning of a loop, and never passes the loop on.

    Args:
        streamer: gets the tokens that stay.
        times: see :func:`video_salmonn.model.repeats.looped`.
    """

    def __init__(self, streamer: Any, times: int) -> None:
        self.streamer, self.times = streamer, times
        self.ids: list[int] = []
        self.passed = 0

    def put(self, value: torch.Tensor) -> None:
        """Take new tokens."""
        self.ids += value.flatten().tolist()
        self._pass(settled(self.ids))

    def end(self) -> None:
        """The answer is complete."""
        kept = looped(self.ids, self.times)
        self._pass(len(self.ids) if kept is None else kept)
        self.streamer.end()

    def _pass(self, until: int) -> None:
        if until > self.passed:
            self.streamer.put(torch.tensor(self.ids[self.passed : until]))
            self.passed = until


def trimmed(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces without white space at either end of the whole text, so that joined they equal the answer."""
    held, begun = "", False
    for piece in pieces:
        text = held + piece if begun else (held + piece).lstrip()
        kept = text.rstrip()
        held = text[len(kept) :]
        if kept:
            begun = True
            yield kept


def stream(
    tokenizer: PreTrainedTokenizerBase, answer: Callable[[TextIteratorStreamer, StoppingCriteria], Answer]
) -> Generator[str, None, Answer]:
    """Yield the text of an answer as it is made; the generator's return value is the whole answer.

    Args:
        tokenizer: of the language model.
        answer: makes the answer, telling the streamer of every token and obeying the criterion. It runs in a thread;
            what it raises is raised here. Closing the generator ends it at the next token.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=False, skip_special_tokens=True)
    outcome: dict[str, Any] = {}
    left = threading.Event()

    def work() -> None:
        try:
            outcome["answer"] = answer(streamer, Abandoned(left))
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            outcome["error"] = error
        finally:
            streamer.end()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from trimmed(streamer)
    finally:
        left.set()
        thread.join()
    if "error" in outcome:
        raise outcome["error"]
    made: Answer = outcome["answer"]
    return made
