"""Text without media: prompts, and what the untouched language model answers to them, as training targets.

A model that is trained on media alone forgets how to answer without them. The language model's own answers keep it as
it was.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.embedded.data.asking.grammar import readings
from video_salmonn.model import prompt
from video_salmonn.model.presets import preset

_PLACES = (
    "Italy|Spain|Japan|Canada|Egypt|Norway|Brazil|India|Greece|Kenya|Peru|Poland|Turkey|Mexico|Ireland|Australia|China"
)
_THINGS = (
    "a bicycle|a volcano|the moon|a bridge|gravity|a magnet|the sun|a battery|rain|snow|a rainbow|a computer|"
    "the heart|an atom|"
    "a tree|bread|cheese|a whale|a spider|an eagle|a piano|a ship|the sea|an island|a castle|money|music|time|"
    "a lighthouse|"
    "photosynthesis|electricity|a telescope|an engine|a dictionary|a comet|a glacier|a novel|a poem|an orchestra|"
    "chess|tea"
)
_TOPICS = (
    "winter|the sea|my dog|autumn|a long journey|an old house|friendship|a lost key|the night sky|a small town|a train|"
    "a garden|the morning|a birthday|the mountains|a quiet lake|a cup of tea|learning|a letter|a storm"
)
_LINES = (
    f"(Where is|How big is|Which language do they speak in|What do people eat in) ({_PLACES})?",
    f"(Tell me about|Describe|Say something about) ({_PLACES}).",
    f"(Tell me about|Describe|Say something about|Give me a fact about|Write two sentences about) ({_THINGS}).",
    f"(What is|What's) the (capital|currency|biggest city|national flag) of ({_PLACES})?",
    f"(What is|Who knows what is|Why do we need|What do you know about) ({_THINGS})?",
    f"(Write|Give me) (a sentence|a short poem|one line|a headline|a question) about ({_TOPICS}).",
    "(Hello|Hi|Hey|Good morning|Good evening)( there|, how are you| again|)!",
    "((Who|What) are you?|What can you do?|What is your name?|Can you help me?|Thank you!|Are you a person?)",
    "(Tell me|Give me|I want) a (joke|riddle|fun fact|proverb|short story|recipe for soup|tip for sleeping well).",
    "(How do I|How can I|What is the best way to) (boil an egg|learn a language|sleep better|save money|write a letter|"
    "make tea|tie a knot|bake bread|plant a tree|clean a window|stay healthy|read faster|draw a cat|fix a puncture)?",
    "(Name|List|Tell me) (three|two|five|some) (fruits|colours|animals|countries|planets|rivers|instruments|tools|"
    "sports|"
    "trees|birds|metals|vegetables|months|cities in Europe).",
    "(What is|Calculate|How much is) (2 + 3|7 times 8|10 minus 4|12 divided by 3|15 + 27|9 squared|half of 50|"
    "100 - 37)?",
    "(What is|Give me) (the opposite|a synonym|the plural|another word) (of|for) (hot|big|mouse|happy|fast|child|dark|"
    "strong|foot|early|cheap|quiet)?",
    "(Who|In which century did somebody) (wrote Hamlet|invented the telephone|painted the Mona Lisa|discovered America|"
    "was Napoleon|built the pyramids|was the first person on the moon|was Einstein)?",
    "(Why|How) (is the sky blue|do birds fly|do we sleep|does the wind blow|do leaves fall|is the sea salty|"
    "do cats purr|"
    "does bread rise|do stars shine|does ice float|do we dream)?",
    "(Translate|Say) (good morning|thank you|the cat|water|I am hungry) (to|in) (French|Spanish|Italian).",
    "(Correct|Rewrite|Shorten|Finish) this sentence: (he go to school|me likes apples|"
    "the weather is very very good today|"
    "she have two cat|once upon a time|the train was late because|in the middle of the night).",
)


def prompts(count: int, seed: int = 0) -> list[str]:
    """So many different prompts without media, in random order."""
    by_line = [list(readings((line,))) for line in _LINES]
    rng = random.Random(f"{seed}/prompts")
    for lines in by_line:
        rng.shuffle(lines)
    found: dict[str, None] = {}
    while len(found) < count and any(by_line):
        for lines in by_line:
            if lines:
                found[lines.pop()] = None
    return list(found)[:count]


@torch.inference_mode()
def base_answers(
    asked: Sequence[str], model: Any, tokenizer: Any, *, new_tokens: int = 40, batch: int = 16,
    report: Callable[[int], None] = lambda done: None,
) -> list[tuple[str, str]]:  # fmt: skip
    """What the language model answers, greedily, in the prompt form that the embedded model uses; answers that
    were cut off end with their last whole sentence, those without one are left out.

    Args:
        asked: prompts.
        model: the language model without adapter, in eval mode.
        tokenizer: its tokenizer.
        new_tokens: maximum length of an answer.
        batch: prompts at once.
        report: gets the number of prompts done.
    """
    config = preset("embedded")
    rows = []
    for text in asked:
        pieces = prompt.build_pieces(
            config.prompt, prompt.parse(text, 0), tokenizer, add_generation_prompt=True, system=config.system
        )
        rows.append(prompt.tokenise(pieces, tokenizer, config.media_token_id, begin=config.prompt != "chat").input_ids)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    answers = [""] * len(rows)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = max(len(rows[index]) for index in group)
        ids = torch.tensor([[pad] * (width - len(rows[index])) + list(rows[index]) for index in group])
        mask = torch.tensor([[0] * (width - len(rows[index])) + [1] * len(rows[index]) for index in group])
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=pad
        )
        for index, row in zip(group, out[:, width:]):
            whole = bool((row == tokenizer.eos_token_id).any())
            answers[index] = _trimmed(tokenizer.decode(row, skip_special_tokens=True).strip(), whole)
        report(start + len(group))
    return [(text, answer) for text, answer in zip(asked, answers) if answer]


def _trimmed(answer: str, whole: bool) -> str:
    """An answer that was cut off, up to the end of its last sentence; "" where not one is whole."""
    if whole:
        return answer
    end = max(answer.rfind(mark) for mark in ".!?")
    return answer[: end + 1] if end > 0 else ""


def write_answers(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """JSON lines with ``prompt`` and ``answer``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps({"prompt": asked, "answer": answer}, ensure_ascii=False) for asked, answer in pairs)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
