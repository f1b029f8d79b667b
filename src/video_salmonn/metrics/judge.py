"""An optional judge: a language model behind any OpenAI-compatible endpoint says whether an answer is right.

Off unless the caller names an endpoint; nothing is sent anywhere otherwise. The wording is pinned and versioned
(:data:`JUDGE_VERSION`), the temperature is 0, and the judge's name belongs to the result: numbers of two judges are
not comparable, and none is the paper's.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.metrics.choice import Choices
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.yesno import read_yes_no

JUDGE_VERSION = 1
_INSTRUCTION = (
    "You compare an answer with a reference. Reply with the single word yes if the answer means the same as the "
    "reference or contains it, and with the single word no otherwise. Judge the meaning, not the wording."
)
_MAX_REPLY = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Judge:
    """A chat-completions endpoint.

    Attributes:
        base_url: up to and including ``/v1``.
        model: the name the endpoint knows the judge by.
        api_key: sent as a bearer token, if given.
        timeout: seconds a request may take.
    """

    base_url: str
    model: str
    api_key: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"judge: {self.base_url!r} is not an http(s) address", remedy="give the endpoint up to /v1"
            )

    def verdict(self, question: str, reference: str, prediction: str) -> bool | None:
        """True if the judge accepts the answer, False if not, None if its reply is neither yes nor no.

        Raises:
            EvaluationError: if the endpoint cannot be reached or answers with something else than a completion.
        """
        body = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": 8,
            "messages": [
                {"role": "system", "content": _INSTRUCTION},
                {"role": "user", "content": f"Question: {question}\nReference: {reference}\nAnswer: {prediction}"},
            ],
        }
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        address = self.base_url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                text = json.loads(reply.read(_MAX_REPLY))["choices"][0]["message"]["content"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            code = f" (HTTP {error.code})" if isinstance(error, urllib.error.HTTPError) else ""
            raise EvaluationError(
                f"the judge at {address} did not give a chat completion{code}: {error}",
                remedy="check the address, the key and the model's name, or score without a judge",
            ) from error
        return read_yes_no(str(text))


def judged_accuracy(
    judge: Judge,
    questions: Sequence[str],
    references: Sequence[str],
    predictions: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Choices:
    """Share of answers the judge accepts; replies that are neither yes nor no count as wrong and as unparsed.

    An empty prediction is wrong without asking.
    """
    same_length(questions=questions, references=references, predictions=predictions)
    verdicts = [judge.verdict(q, r, p) if p.strip() else False for q, r, p in zip(questions, references, predictions)]
    items = tuple(float(bool(v)) for v in verdicts)
    note = f"judged by {judge.model}, wording {JUDGE_VERSION}"
    scored = Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items, note)
    return Choices(scored, sum(v is None for v in verdicts))
