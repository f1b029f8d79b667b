"""Likelihoods of given answers to several prompts that begin alike: what they share is read once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.model.caching import CACHE, cache_of

ROWS = 16
"""Rows of the language model's batch."""


def shared_log_likelihoods(
    model: Any,
    prompts: Sequence[Sequence[int]],
    media_embeds: torch.Tensor | None,
    answers: Sequence[Sequence[Sequence[Sequence[int]]]],
    media_id: int,
    on_step: Callable[[], None] | None = None,
) -> tuple[list[list[float]], int]:
    """Log-probabilities of the answers to several prompts that begin alike.

    Args:
        model: the model.
        prompts: token ids; the media id where media tokens go.
        media_embeds: media tokens ``(n, D_llm)``, the same for all prompts; None without media.
        answers: for every prompt its answers, each in one or more spellings, as token ids.
        media_id: where media tokens go.
        on_step: called before every further pass.

    Returns:
        (for every prompt the natural log-probability of each answer, over all its spellings; tokens that were read once
        for all).
    """
    shared = _common(prompts)
    if any(media_id in ids[shared:] for ids in prompts):
        raise ConfigError("media come after the words of a question", remedy="put media before the questions")
    device = model.device
    first_ids = torch.tensor([list(prompts[0][:shared])], device=device)
    none = torch.zeros(0, model.connector.config.llm_dim, device=device, dtype=model.dtype)
    first = model(
        input_ids=first_ids,
        attention_mask=torch.ones_like(first_ids),
        media_embeds=none if media_embeds is None else media_embeds,
        use_cache=True,
        logits_to_keep=1,
    )
    step = on_step or (lambda: None)
    begun, tails = cache_of(first), [list(ids[shared:]) for ids in prompts]
    short = [all(len(form) == 1 for forms in options for form in forms) for options in answers]
    logs: list[list[float]] = [[] for _ in prompts]
    told: dict[tuple[int, ...], torch.Tensor] = {}  # what follows a tail: (V,)
    waiting = sorted({tuple(tail) for tail, is_short in zip(tails, short) if is_short}, key=len)
    for begin in range(0, len(waiting), ROWS):
        step()
        part = waiting[begin : begin + ROWS]
        logits, _ = _continued(model, begun, part, shared)
        told |= {tail: row[len(tail) - 1].float().log_softmax(-1) for tail, row in zip(part, logits)}
    for number, (tail, options) in enumerate(zip(tails, answers)):
        if short[number]:
            scores = told[tuple(tail)]
            logs[number] = [_log_sum([float(scores[form[0]]) for form in forms]) for forms in options]
            continue
        step()
        logits, cache = _continued(model, begun, [tail], shared)
        opening = logits[0, -1].float().log_softmax(-1)
        forms = [form for option in options for form in option]
        found: list[float] = []
        for begin in range(0, len(forms), ROWS):
            step()
            rows = [list(form[:-1]) or [form[0]] for form in forms[begin : begin + ROWS]]
            logits, _ = _continued(model, cache, rows, shared + len(tail))
            for form, row in zip(forms[begin : begin + ROWS], logits):
                rest = row[: len(form) - 1].float().log_softmax(-1)
                after = rest.gather(1, torch.tensor(form[1:], device=device, dtype=torch.long)[:, None])
                found.append(min(0.0, float(opening[form[0]].double() + after.double().sum())))
        said = iter(found)
        logs[number] = [_log_sum([next(said) for _ in option]) for option in options]
    return logs, shared


def _continued(model: Any, cache: Any, rows: Sequence[Sequence[int]], begin: int) -> tuple[torch.Tensor, Any]:
    """Read several continuations of what a cache of one row holds, which stays as it is.

    Args:
        model: the model.
        cache: of the beginning.
        rows: token ids of each; padded on the right, where no real token looks.
        begin: how many tokens the cache holds.

    Returns:
        (logits ``(R, longest, V)``, the cache with them).
    """
    width = max(map(len, rows))
    padded = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows], device=model.device)
    cache = copy.deepcopy(cache)
    if len(rows) > 1:
        cache.batch_repeat_interleave(len(rows))
    output = model(
        inputs_embeds=model.get_input_embeddings()(padded),
        position_ids=begin + torch.arange(width, device=model.device).expand(len(rows), -1),
        use_cache=True,
        **{CACHE: cache},
    )
    return output.logits, cache_of(output)


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts share; of each at least one token stays."""
    least = min(map(len, prompts)) - 1
    for place in range(least):
        if len({ids[place] for ids in prompts}) > 1:
            return place
    return least


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top if math.isinf(top) else top + math.log(sum(math.exp(log - top) for log in logs))


def probabilities(logs: Sequence[float], temperature: float = 1.0, bias: float = 0.0) -> list[float]:
    """Log-probabilities of the possible answers as probabilities that sum to 1.

    Args:
        logs: of each answer.
        temperature: divides them.
        bias: is added to the first of them then.
    """
    top = max(logs)
    if math.isinf(top):
        return [1 / len(logs)] * len(logs)
    scaled = [(log - top) / temperature + (0.0 if place else bias) for place, log in enumerate(logs)]
    whole = _log_sum(scaled)
    return [math.exp(value - whole) for value in scaled]
