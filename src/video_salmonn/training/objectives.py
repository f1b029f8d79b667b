"""What a run learns: answers, with the whole model, or words, with the connector alone.

An objective says what runs in a pass, what of an example counts, and what is lost. The loop knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError, ContextError
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration, VideoSalmonnOutput
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.prompt import IGNORED
from video_salmonn.model.words import openings_of
from video_salmonn.training.answering import generate_answers
from video_salmonn.training.batching import Batch, PreparedExample, outputs_of, prepare
from video_salmonn.training.examples import Example
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.starting import learned_before
from video_salmonn.training.words import WordLoss, stated
from video_salmonn.wording import counted


class Objective(Protocol):
    """What a run learns.

    Attributes:
        shares: by name of a part of the loss, what it is multiplied by; the first one is validated on.
    """

    shares: dict[str, float]

    @property
    def network(self) -> nn.Module:
        """What runs in a pass, to be prepared for the device and the processes."""
        ...

    def prepare(self, example: Example) -> PreparedExample:
        """An example ready for a batch. Raises ContextError, naming it, where nothing can be learned from it."""
        ...

    def losses(self, output: VideoSalmonnOutput, batch: Batch) -> list[torch.Tensor]:
        """Summed loss of each part, scalars with gradient, from what the network made of the batch."""
        ...

    def answers(self, network: nn.Module, batch: Batch) -> list[str]:
        """What the network answers, in the order of the batch's rows."""
        ...


class AnswersObjective:
    """Answers to questions about media, and, beside them, words of what is said, seen and heard.

    Args:
        model: trained.
        processor: that belongs to it.
        context: tokens that fit.
        words: loss of words, or None.
        word_weight: of that loss.

    Raises:
        ConfigError: an answer's last token does not end generation, so that the model would learn to continue.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        context: int,
        words: WordLoss | None,
        word_weight: float,
    ) -> None:
        self.network, self.model, self.processor, self.context, self.words = model, model, processor, context, words
        self.shares = {"language": 1.0} | ({"word": word_weight} if words is not None else {})
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "."}]
        labels = processor.render(turns, [], add_generation_prompt=False).labels
        last = [label for label in labels if label != IGNORED][-1:]
        stated = None if model.generation_config is None else model.generation_config.eos_token_id
        ends = {processor.tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])}
        if not last or last[0] not in ends:
            token = processor.tokenizer.eos_token
            raise ConfigError(
                f"the prompt's template does not close an answer with the token that ends generation, {token!r}: a "
                "model trained so never stops",
                remedy="make the tokenizer's eos_token the one that the template writes after an answer",
            )

    def prepare(self, example: Example) -> PreparedExample:
        """The example tokenised, with its words."""
        prepared = prepare(example, self.processor, self.context)
        return prepared if self.words is None else replace(prepared, words=self.words.words_of(example))

    def losses(self, output: VideoSalmonnOutput, batch: Batch) -> list[torch.Tensor]:
        """Token cross entropies, weighted by item; and the words' loss."""
        assert batch.text is not None and output.logits is not None
        logits, labels = output.logits[:, :-1].float(), batch.text.targets
        tokens = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        summed = (tokens.view_as(labels).sum(dim=1) * batch.text.weights).sum()
        if self.words is None:
            return [summed]
        return [summed, self.words(batch.with_media, output.media_tokens or [])]

    def answers(self, network: nn.Module, batch: Batch) -> list[str]:
        """Greedy answers to the last questions."""
        return generate_answers(self.model, self.processor, [row.example for row in batch.rows])


class ConnectorAlone(nn.Module):
    """A model of which only the connector runs.

    Args:
        model: the whole.
    """

    def __init__(self, model: VideoSalmonnForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        media_features: Sequence[MediaFeatures],
        instruction_ids: torch.Tensor | None = None,
        instruction_mask: torch.Tensor | None = None,
        zero_levels: Collection[int] = (),
    ) -> VideoSalmonnOutput:
        """The connector's tokens and the terms of its diversity loss; arguments as for the whole model."""
        pair = None
        if instruction_ids is not None and instruction_mask is not None:
            pair = instruction_ids, instruction_mask
        connected = self.model.connect_media(media_features, pair, zero_levels)
        terms = connected.diversity_terms(self.model.config.diversity_form, self.model.connector.config.attend_padding)
        return VideoSalmonnOutput(media_tokens=connected.tokens, diversity_terms=terms)


class WordsObjective:
    """Words of what is said, seen and heard, in the language model's embeddings; the language model does not run.

    Args:
        model: its connector is trained.
        processor: that belongs to it.
        words: their loss.
    """

    def __init__(
        self, model: VideoSalmonnForConditionalGeneration, processor: VideoSalmonnProcessor, words: WordLoss
    ) -> None:
        self.network = ConnectorAlone(model)
        self.processor, self.words = processor, words
        self.shares = {"word": 1.0}

    def prepare(self, example: Example) -> PreparedExample:
        """The example, with the number of its outputs and its words."""
        outputs, words = outputs_of(example, self.processor), self.words.words_of(example)
        if words is None:
            raise ContextError(f"{example.id}: states no words of this vocabulary")
        if words.needed > outputs:
            needed = counted(words.needed, "token")
            raise ContextError(f"{example.id}: {needed} to be said by {counted(outputs, 'output')}")
        return PreparedExample(example, outputs, outputs, words=words)

    def losses(self, output: VideoSalmonnOutput, batch: Batch) -> list[torch.Tensor]:
        """The words' loss."""
        assert output.media_tokens is not None
        return [self.words(batch.rows, output.media_tokens)]

    def answers(self, network: nn.Module, batch: Batch) -> list[str]:
        """What the outputs say: speech by greedy CTC, sights and sounds by the name that fits best."""
        return self.words.read(batch.rows, network(**batch.inputs).media_tokens)


def build_objective(
    recipe: Recipe,
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    items: Iterable[Item],
    device: torch.device,
) -> Objective:
    """The objective of a recipe; the model learns which words its connector says, besides those that it could say.

    Args:
        recipe: what to do.
        model, processor: trained.
        items: whose words the connector may say.
        device: where training runs.

    Raises:
        ConfigError: the language model is to read words, and no words are known.
    """
    words: WordLoss | None = None
    if recipe.word_weight or recipe.loss == "words":
        # trained further on items with fewer words, a connector may still say those that it learned before
        known = model.words.columns.tolist() if model.words is not None and learned_before(recipe) else []
        words = WordLoss(model, processor, stated(items), device, known, recipe.word_sample)
        columns = words.head.tokens_of_column
        model.set_words(columns, openings_of(processor.tokenizer, columns))
    if model.config.word_inputs and model.words is None:
        raise ConfigError(
            "recipe: word_inputs needs to know which words", remedy="give word_weight, or init with words"
        )
    if recipe.loss == "words" and words is not None:
        return WordsObjective(model, processor, words)
    context = int(model.config.text_config.max_position_embeddings)
    return AnswersObjective(model, processor, context, words, recipe.word_weight)
