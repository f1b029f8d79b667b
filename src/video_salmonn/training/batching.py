"""Examples to the tensors of a forward pass: prompts with labels, features on the device, loss weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from video_salmonn.connector import ConnectorConfig, acting_levels
from video_salmonn.errors import ContextError
from video_salmonn.model import prompt
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.processing import VideoSalmonnProcessor, pad_rows, question_of
from video_salmonn.training.ctc import Words
from video_salmonn.training.examples import Example
from video_salmonn.training.variation import vary
from video_salmonn.wording import counted


@dataclass(frozen=True)
class PreparedExample:
    """One example, ready to be put into a batch.

    Attributes:
        example: where it comes from.
        counted: what its loss is divided by: answer tokens times its weight, or outputs of the connector.
        length: tokens, or outputs where there is no text.
        rendered: ids and labels; None where the language model does not run.
        words: that its outputs are to say; None where they are to say none, or none are known.
    """

    example: Example
    counted: float
    length: int
    rendered: prompt.Rendered | None = None
    words: Words | None = None


@dataclass(frozen=True)
class PromptBatch:
    """The prompts of a pass with their answers.

    Attributes:
        input_ids, attention_mask, labels: ``(B, L)``, padded on the left so that answers end together.
        weights: ``(B,)`` weights of the items' losses.
        answer_span: number of last positions that contain all labels.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    answer_span: int

    @property
    def targets(self) -> torch.Tensor:
        """``(B, answer_span - 1)``: the labels that the kept logits predict, all of them but the last."""
        return self.labels[:, -self.answer_span + 1 :]


@dataclass(frozen=True)
class Batch:
    """A forward pass.

    Attributes:
        rows: the examples.
        features: of the media items, in order of their places.
        instruction: (ids, mask) for InstructBLIP's Q-Former, or None.
        text: what the language model reads; None where it does not run.
    """

    rows: Sequence[PreparedExample]
    features: list[MediaFeatures]
    instruction: tuple[torch.Tensor, torch.Tensor] | None
    text: PromptBatch | None

    @property
    def with_media(self) -> list[PreparedExample]:
        """The examples that ``features`` belong to."""
        return [row for row in self.rows if row.example.features is not None]

    @property
    def inputs(self) -> dict[str, Any]:
        """Arguments of the ``forward`` of the model, or of its connector alone."""
        ids, mask = self.instruction or (None, None)
        media = {"media_features": self.features or None, "instruction_ids": ids, "instruction_mask": mask}
        if self.text is None:
            return media
        return media | {
            "input_ids": self.text.input_ids,
            "attention_mask": self.text.attention_mask,
            "logits_to_keep": self.text.answer_span,
            "use_cache": False,
        }


def outputs_of(example: Example, processor: VideoSalmonnProcessor) -> int:
    """How many outputs the connector makes of an example's media."""
    if example.features is None:
        return 0
    return processor.connector.tokens_for(processor.connector.axis_frames(*example.frames))


def prepare(example: Example, processor: VideoSalmonnProcessor, context: int) -> PreparedExample:
    """Tokenise one example.

    Raises:
        ContextError: it does not fit the context, or no label is left; names the item.
    """
    lengths = [] if example.features is None else [outputs_of(example, processor)]
    rendered = processor.render(example.conversation, lengths, add_generation_prompt=False)
    answers = sum(label != prompt.IGNORED for label in rendered.labels)
    if len(rendered.input_ids) > context:
        raise ContextError(
            f"{example.id}: {counted(len(rendered.input_ids), 'token', 'are')} more than the context of {context}"
        )
    if not answers:
        raise ContextError(f"{example.id}: nothing to learn: the answer is empty")
    return PreparedExample(example, answers * example.weight, len(rendered.input_ids), rendered)


def diversity_counts(rows: Sequence[PreparedExample], config: ConnectorConfig, form: str) -> list[int]:
    """What the sums of the diversity loss are divided by, a level: windows, or items in the paper's form."""
    frames = [config.axis_frames(*row.example.frames) for row in rows if row.example.features is not None]
    windows = [config.windows_for(n) if form == "released" else [1] * len(config.levels) for n in frames]
    return [sum(one[level] for one in windows) for level in acting_levels(len(config.levels))]


def features_on(features: MediaFeatures, device: torch.device, dtype: torch.dtype | None = None) -> MediaFeatures:
    """The same features on a device and in a dtype (None: in their own)."""
    visual, speech, audio = (
        None if t is None else t.to(device, dtype) for t in (features.visual, features.speech, features.audio)
    )
    return replace(features, visual=visual, speech=speech, audio=audio)


def _features(rows: Sequence[PreparedExample], device: torch.device, dtype: torch.dtype) -> list[MediaFeatures]:
    """The features of examples with media on the device, varied where that was drawn."""
    examples = [row.example for row in rows]
    moved = [features_on(e.features, device) for e in examples if e.features is not None]
    varied = vary(moved, [example.variation for example in examples])
    return [features_on(features, device, dtype) for features in varied]


def collate(
    rows: Sequence[PreparedExample], processor: VideoSalmonnProcessor, device: torch.device, dtype: torch.dtype
) -> Batch:
    """Put prepared examples into one batch on the device."""
    with_media = [row for row in rows if row.example.features is not None]
    questions = [question_of(row.example.conversation) for row in with_media]
    pair = processor.instruction(questions) if questions else None
    return Batch(
        rows=rows,
        features=_features(with_media, device, dtype),
        instruction=None if pair is None else (pair[0].to(device), pair[1].to(device)),
        text=_text(rows, processor.pad_id, device),
    )


def _text(rows: Sequence[PreparedExample], pad_id: int, device: torch.device) -> PromptBatch | None:
    """The prompts of examples that have one."""
    rendered = [row.rendered for row in rows if row.rendered is not None]
    if not rendered:
        return None
    padded = pad_rows(rendered, pad_id, left=True)
    labels = padded["labels"]
    first = int((labels != prompt.IGNORED).any(dim=0).nonzero()[0])
    return PromptBatch(
        input_ids=padded["input_ids"].to(device),
        attention_mask=padded["attention_mask"].to(device),
        labels=labels.to(device),
        weights=torch.tensor([row.example.weight for row in rows], device=device),
        answer_span=labels.shape[1] - first + 1,
    )
