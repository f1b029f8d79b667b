"""The auxiliary CTC loss: the connector goes on spelling words while the language model learns to read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from video_salmonn.data.mixing import PLAIN
from video_salmonn.errors import ConfigError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.batching import Prepared
from video_salmonn.training.ctc import BLANK_FILE, SHRUNK, CtcHead, Names, ctc_sum, name_sum, plain_name
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.run_state import load_prefixed, read_weights

NAMES = ("sound", "picture")
"""Tasks whose answer names one sound or picture that is there alone: every output is to give the name."""
SPOKEN = ("transcribe", "transcribe-av", "transcribe-talk", "transcribe-over")
"""Tasks whose answer is what is said, whatever else is there: aligned by CTC."""
AMONG = ("sound-av", "picture-av", "both-sound-av", "both-av")
"""Tasks about a sound or picture beside something else: the outputs' mean is to tell its name from all other names."""

_PARTS = re.compile(r"(?:I hear (?P<heard>.*)\. I see|It says: .*\. It shows) (?P<seen>.*?)\.?", re.DOTALL)


def names_in(task: str, answer: str) -> list[str]:
    """The names that an answer of one of the tasks of :data:`NAMES` and :data:`AMONG` holds, without articles."""
    if not task.startswith("both"):
        return [plain_name(answer)]
    parts = _PARTS.fullmatch(answer)
    return [] if parts is None else [plain_name(_capital(part)) for part in parts.groups() if part]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class CtcAuxiliary:
    """Holds the head: frozen embeddings, and the frozen blank of the warm-up.

    Args:
        model: gives the embeddings.
        processor: gives the tokenizer.
        maker: its items' answers are the vocabulary.
        init: folder that ``warmup`` exported to.
        device: where the model trains.

    Raises:
        ConfigError: the folder has no blank.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        maker: ExampleMaker,
        init: Path,
        device: torch.device,
    ) -> None:
        path = init / BLANK_FILE
        if not path.is_file():
            raise ConfigError(f"recipe: ctc_weight needs {path}", remedy="start from a folder that warmup exported")
        names = {name for item in maker.items if item.task in NAMES for name in names_in(item.task, item.answer)}
        texts = [item.answer for item in maker.items if item.task in SPOKEN]
        embeddings: torch.Tensor = model.language_model.get_input_embeddings().weight.detach()
        self.head = CtcHead(embeddings, [*texts, *sorted(names)], processor.tokenizer)
        self.names = Names(self.head, sorted(names))
        weights = read_weights(path)
        load_prefixed(self.head, weights, "head.")
        self.shrunk = float(weights.get(SHRUNK, torch.ones(())))
        self.head.requires_grad_(False).to(device)

    def __call__(self, rows: Sequence[Prepared], tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Summed loss of those items of a pass whose outputs should hold known words; mixed items are left out.

        Args:
            rows: the items that have media, in order.
            tokens: the connector's outputs ``(L_m, D_llm)`` for each.
        """
        spoken: tuple[list[torch.Tensor], list[str]] = ([], [])
        named: tuple[list[torch.Tensor], list[str]] = ([], [])
        among: tuple[list[torch.Tensor], list[str]] = ([], [])
        for row, small in zip(rows, tokens):
            outputs = small / self.shrunk
            task, answer = row.example.task, row.example.conversation[-1]["content"]
            if row.example.rule != PLAIN:
                continue
            if task in SPOKEN:
                spoken[0].append(outputs)
                spoken[1].append(answer)
            for name in names_in(task, answer) if task in NAMES + AMONG else []:
                chosen = named if task in NAMES else among
                chosen[0].append(outputs)
                chosen[1].append(name)
        return ctc_sum(self.head, *spoken) + name_sum(self.head, *named) + self.names.choice_sum(*among)
