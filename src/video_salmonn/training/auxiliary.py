"""The auxiliary CTC loss: the connector goes on spelling words while the language model learns to read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.batching import Prepared
from video_salmonn.training.ctc import BLANK_FILE, CtcHead, ctc_sum, name_sum, plain_name
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.run_state import load_prefixed, read_weights

TASKS = ("transcribe", "sound", "picture")
"""Tasks whose answer is what one sound or picture says or shows; a name loses its article."""


def target(task: str, answer: str) -> str | None:
    """What the connector's outputs should spell for an item, or None where the task does not say."""
    if task not in TASKS:
        return None
    return answer if task == "transcribe" else plain_name(answer)


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
        texts = [target(item.task, item.answer) for item in maker.items]
        embeddings: torch.Tensor = model.language_model.get_input_embeddings().weight.detach()
        self.head = CtcHead(embeddings, [text for text in texts if text], processor.tokenizer)
        load_prefixed(self.head, read_weights(path), "head.")
        self.head.requires_grad_(False).to(device)

    def __call__(self, rows: Sequence[Prepared], tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Summed loss of those items of a pass that are one sound or one picture, unmixed.

        Args:
            rows: the items that have media, in order.
            tokens: the connector's outputs ``(L_m, D_llm)`` for each.
        """
        spoken: tuple[list[torch.Tensor], list[str]] = ([], [])
        named: tuple[list[torch.Tensor], list[str]] = ([], [])
        for row, outputs in zip(rows, tokens):
            example = row.example
            single = example.features is not None and (example.features.visual is None) != (
                example.features.speech is None
            )
            text = target(example.task, example.conversation[-1]["content"]) if single else None
            if text:
                chosen, texts = spoken if example.task == "transcribe" else named
                chosen.append(outputs)
                texts.append(text)
        return ctc_sum(self.head, *spoken) + name_sum(self.head, *named)
