"""Text piece by piece, while the model goes on writing in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria, TextIteratorStreamer

from video_salmonn.types import Answer


class Abandoned(StoppingCriteria):
    """Ends a generation that nobody listens to any more."""

    def __init__(self, left: threading.Event) -> None:
        self.left = left

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for every row once the listener left."""
        return torch.full((input_ids.shape[0],), self.left.is_set(), dtype=torch.bool, device=input_ids.device)


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
) -> Iterator[str]:
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
    return outcome["answer"]
