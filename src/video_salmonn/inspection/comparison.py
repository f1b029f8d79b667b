"""What an answer rested on: the same question with sound, picture, or all media taken away (ablation at answer time).

Nothing here claims more than the comparison shows. A changed answer shows that what was taken away took part; an
unchanged one, that it was not needed for these words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import torch
from transformers import LogitsProcessorList

from video_salmonn.inference.engine import FirstToken, VideoSalmonn
from video_salmonn.inference.media_store import Timer
from video_salmonn.inspection.scene import number
from video_salmonn.model.inputs import MediaFeatures

WORTH_A_WORD = 0.05
"""Differences of mean log-probability below this are called none."""
RestsOn = Literal["sound", "picture", "both", "either", "not shown"]
TITLES = {
    "full": "everything",
    "no_sound": "sound taken away",
    "no_picture": "picture taken away",
    "zeroed": "media tokens set to zero",
    "no_media": "no media at all",
}
"""Conditions in their order, in words."""


@dataclass(frozen=True)
class Condition:
    """The question under one condition.

    Attributes:
        name: key of ``TITLES``.
        answer: the text.
        same: it equals the full answer, word for word.
        media_tokens: tokens of the media the language model was given.
        log_probability: mean natural logarithm of the probabilities that the model under this condition gives to the
            tokens of the *full* answer (its end token included, where it ended by itself); None for an empty answer.
    """

    name: str
    answer: str
    same: bool
    media_tokens: int
    log_probability: float | None

    @property
    def title(self) -> str:
        """The condition in words."""
        return TITLES[self.name]


@dataclass(frozen=True)
class Comparison:
    """A question's answers under every condition that makes sense for the media.

    Attributes:
        question: as it was put to the model.
        conditions: ``full`` first.
        answer_tokens: tokens of the full answer that the log-probabilities are means over.
        prompt_tokens: of the full prompt, media tokens included.
        rests_on: what the comparison shows.
        finding: the same as a sentence.
    """

    question: str
    conditions: tuple[Condition, ...]
    answer_tokens: int
    prompt_tokens: int
    rests_on: RestsOn
    finding: str

    @property
    def answer(self) -> str:
        """The answer with everything."""
        return self.conditions[0].answer

    def knowing(self, *, silent: bool) -> Comparison:
        """The same, with the finding qualified where the sound track holds nothing but silence."""
        if not silent or self.rests_on not in ("sound", "both", "either"):
            return self
        said = "The sound track is silent: what it contributes is silence and its length, nothing heard."
        return replace(self, finding=f"{self.finding} {said}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        names = ("answer", "same", "media_tokens", "log_probability")
        return {
            "question": self.question,
            "answer": self.answer,
            "answer_tokens": self.answer_tokens,
            "prompt_tokens": self.prompt_tokens,
            "conditions": {c.name: {name: getattr(c, name) for name in names} for c in self.conditions},
            "rests_on": self.rests_on,
            "finding": self.finding,
        }


@torch.inference_mode()
def compare(
    engine: VideoSalmonn, features: MediaFeatures, question: str, new_tokens: int, stretch: int, timer: Timer
) -> Comparison:
    """Ask with everything, then with one thing after another taken away.

    Args:
        engine: whose model answers, with its own generation defaults, as ``engine.ask`` does.
        features: encoder output of one media item.
        question: text (aliases already replaced).
        new_tokens: at most so many in every answer.
        stretch: windows so many times longer, the same under every condition.
        timer: gets ``prefill`` and ``generate`` of the full answer; everything else counts as ``comparison``.
    """
    media = _media_of(engine, features, question, stretch, timer)
    width = engine.model.connector.config.llm_dim
    prompts = {
        name: engine.processor.render(question, [len(t)] if len(t) else []).input_ids for name, t in media.items()
    }
    none = torch.zeros(0, width, device=engine.model.device, dtype=engine.model.dtype)
    prompts["no_media"], media["no_media"] = engine.processor.render(question, []).input_ids, none

    wanted = _generate(engine, prompts["full"], media["full"], new_tokens, timer)
    full = _text(engine, wanted)
    conditions = []
    with timer.stage("comparison"):
        for name in TITLES:
            if name not in media:
                continue
            answer = full
            if name != "full":
                answer = _text(engine, _generate(engine, prompts[name], media[name], new_tokens, None))
            likely = _log_probability(engine, prompts[name], media[name], wanted)
            conditions.append(Condition(name, answer, answer == full, len(media[name]), likely))
    rests_on, finding = conclude(conditions, "sound" if features.visual is None else "picture")
    return Comparison(question, tuple(conditions), len(wanted), len(prompts["full"]), rests_on, finding)


def _media_of(
    engine: VideoSalmonn, features: MediaFeatures, question: str, stretch: int, timer: Timer
) -> dict[str, torch.Tensor]:
    """Media tokens ``(L, D_llm)`` under each condition that leaves some."""

    def connected(kept: MediaFeatures) -> torch.Tensor:
        pair = engine.processor.instruction([question])
        if pair is not None:
            pair = (pair[0].to(engine.model.device), pair[1].to(engine.model.device))
        return engine.model.connect_media([kept], pair, stretch=stretch).tokens[0]

    with timer.stage("comparison"):
        full = connected(features)
        media = {"full": full, "zeroed": torch.zeros_like(full)}
        if features.visual is not None and (features.speech is not None or features.audio is not None):
            media["no_sound"] = connected(features.without(sound=True))
            media["no_picture"] = connected(features.without(sight=True))
    return media


def _generate(
    engine: VideoSalmonn, prompt: list[int], media: torch.Tensor, new_tokens: int, timer: Timer | None
) -> list[int]:
    """Ids of the answer, up to and including the end token."""
    ids = torch.tensor([prompt], device=engine.model.device)
    first, start = FirstToken(), perf_counter()
    output = engine.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        media_embeds=media,
        max_new_tokens=new_tokens,
        logits_processor=LogitsProcessorList([first]),
        pad_token_id=engine.processor.pad_id,
    )
    if timer is not None and first.at is not None:
        timer.seconds["prefill"] = first.at - start
        timer.seconds["generate"] = perf_counter() - first.at
    new = output[0, len(prompt) :].tolist()
    end = engine.processor.tokenizer.eos_token_id
    return new[: new.index(end) + 1] if end in new else new


def _text(engine: VideoSalmonn, ids: list[int]) -> str:
    return engine.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _log_probability(engine: VideoSalmonn, prompt: list[int], media: torch.Tensor, answer: list[int]) -> float | None:
    """Mean log-probability of ``answer`` after ``prompt``, in nats."""
    if not answer:
        return None
    device = engine.model.device
    before, after = torch.tensor([prompt], device=device), torch.tensor([answer], device=device)
    # embedded apart: an answer may hold the id that stands for media in a prompt
    embeds = torch.cat([engine.model.embed(before, media), engine.model.get_input_embeddings()(after)], dim=1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=device)
    logits = engine.model(inputs_embeds=embeds, attention_mask=mask, logits_to_keep=len(answer) + 1).logits
    likely = logits[0, :-1].float().log_softmax(-1)
    return float(likely.gather(1, after.T).mean())


def conclude(conditions: Sequence[Condition], only: Literal["sound", "picture"]) -> tuple[RestsOn, str]:
    """What the comparison shows, as a word and as a sentence.

    Args:
        conditions: ``full``, ``zeroed``, ``no_media``, and, where there are two modalities, ``no_sound`` and
            ``no_picture``.
        only: the one modality there is, where there is only one.
    """
    found = {condition.name: condition for condition in conditions}
    unmoved = [found[name].title for name in ("zeroed", "no_media") if found[name].same]
    if unmoved:
        return "not shown", (
            f"The answer is the same, word for word, with {' and with '.join(unmoved)}: nothing here shows that it "
            f"rests on what was seen or heard."
        )
    if "no_sound" not in found:
        lead = f"The answer changes without its media. Only the {only} was in use, so it rested on the {only}"
        return only, lead + _firmly(found["full"], found["no_media"])
    sound, picture = found["no_sound"], found["no_picture"]
    if sound.same and picture.same:
        return "either", (
            "The answer stays the same, word for word, without the sound and without the picture, but changes when all "
            "media tokens are set to zero or left out: either of the two was enough for these words."
        )
    if not sound.same and not picture.same:
        lead = "The answer changes without the sound, and it changes without the picture: its words depend on both"
        return "both", lead + _costlier(found["full"], sound, picture)
    needed: Literal["sound", "picture"] = "sound" if picture.same else "picture"
    spared, without = ("picture", sound) if needed == "sound" else ("sound", picture)
    lead = (
        f"The answer changes when the {needed} is taken away and stays the same, word for word, when the {spared} is: "
        f"of the two, it rested on the {needed}"
    )
    return needed, lead + _firmly(found["full"], without)


def _firmly(full: Condition, without: Condition) -> str:
    """End of a sentence: whether the full answer also becomes less likely, or only just lost to another."""
    if full.log_probability is None or without.log_probability is None:
        return "."
    figures = f"{number(full.log_probability)} to {number(without.log_probability)} a token"
    if full.log_probability - without.log_probability < WORTH_A_WORD:
        return f", but only just: the full answer stays about as likely without it (log-probability {figures})."
    return f" (log-probability of the full answer: from {figures})."


def _costlier(full: Condition, sound: Condition, picture: Condition) -> str:
    """End of a sentence: which of the two the full answer misses more, where the difference is worth a word."""
    likely = (full.log_probability, sound.log_probability, picture.log_probability)
    if None in likely:
        return "."
    whole, deaf, blind = (float(value) for value in likely if value is not None)
    figures = (
        f"(mean log-probability a token: everything {number(whole)}, without sound {number(deaf)}, "
        f"without picture {number(blind)})"
    )
    if max(whole - deaf, whole - blind) < WORTH_A_WORD:
        return f", but only just: the full answer stays about as likely without either {figures}."
    if abs(deaf - blind) < WORTH_A_WORD:
        return f". It is about as likely without the one as without the other {figures}."
    return f". It is less likely without the {'sound' if deaf < blind else 'picture'} {figures}."
