"""How likely is each of several given answers? The prompt with its media runs once; the answers share its cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.model.caching import CACHE, cache_of
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import Conversation, VideoSalmonnProcessor
from video_salmonn.model.prompt import Rendered


def answer_ids(processor: VideoSalmonnProcessor, conversation: Conversation, asked: Rendered, answer: str) -> list[int]:
    """Token ids of an answer as training would see it after this conversation, with the token that ends it.

    Args:
        processor: whose prompt form is used.
        conversation: a question, or messages that end with one.
        asked: its prompt, as :meth:`~VideoSalmonnProcessor.render_text` made it.
        answer: the answer's text.

    Raises:
        ConfigError: an empty answer, or a chat template that puts something else before an answer than where one is to
            be generated: the likelihood would be of a place where the model never answers.
    """
    if not answer.strip():
        raise ConfigError("an answer whose likelihood is asked for is empty", remedy="leave it out")
    messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else list(conversation)
    answered = [*messages, {"role": "assistant", "content": answer}]
    whole = processor.render_text(answered, len(asked.places), add_generation_prompt=False)
    start = len(asked.input_ids)
    if whole.input_ids[:start] != asked.input_ids:
        raise ConfigError(
            "the chat template renders an open answer differently from a complete one, so likelihoods are undefined",
            remedy="use prompt: vicuna or llama2, or a template without a thinking part",
        )
    return [token for token, label in zip(whole.input_ids[start:], whole.labels[start:]) if label == token]


@torch.inference_mode()
def log_likelihoods(
    model: VideoSalmonnForConditionalGeneration,
    prompt: Sequence[int],
    media_embeds: torch.Tensor | None,
    answers: Sequence[Sequence[int]],
) -> list[float]:
    """Log-probability of each answer after one prompt.

    Args:
        model: the model.
        prompt: ids with the model's placeholder where media tokens go.
        media_embeds: media tokens ``(n, D_llm)``, None without media.
        answers: ids of each answer, none empty.

    Returns:
        the sum of the natural log-probabilities of each answer's tokens, computed in float32.
    """
    ids = torch.tensor([list(prompt)], device=model.device)
    first = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        media_embeds=model.no_media() if media_embeds is None else media_embeds,
        use_cache=True,
        logits_to_keep=1,
    )
    count, longest = len(answers), max(map(len, answers))
    # Padding is on the right, where no real token looks.
    rows = torch.tensor([[*answer, *[answer[-1]] * (longest - len(answer))] for answer in answers], device=model.device)
    logits = first.logits.expand(count, -1, -1)
    if longest > 1:
        cache = cache_of(first)
        cache.batch_repeat_interleave(count)
        following = model(
            inputs_embeds=model.get_input_embeddings()(rows[:, :-1]),
            position_ids=len(prompt) + torch.arange(longest - 1, device=model.device).expand(count, -1),
            use_cache=True,
            **{CACHE: cache},
        )
        logits = torch.cat([logits, following.logits], dim=1)
    told = logits.float().log_softmax(-1).gather(2, rows[..., None])[..., 0]
    return [min(0.0, float(row[: len(answer)].double().sum())) for row, answer in zip(told, answers)]
