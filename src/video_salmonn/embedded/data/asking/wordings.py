"""How the kinds of questions are put: wordings for training, others for dev, others again for test."""

from __future__ import annotations

import random

from video_salmonn.embedded.data.asking.grammar import styled
from video_salmonn.embedded.data.asking.lines import Lines
from video_salmonn.embedded.data.asking.wordings_particular import PARTICULAR
from video_salmonn.embedded.data.asking.wordings_presence import PRESENCE
from video_salmonn.embedded.data.asking.wordings_series import SERIES
from video_salmonn.embedded.data.sources import bucket

KINDS: dict[str, Lines] = PRESENCE | PARTICULAR | SERIES
"""Kind of question -> its wordings."""


def put(kind: str, seed: str, split: str, **fields: str) -> str:
    """A question of a kind, worded and styled for this item."""
    lines = KINDS[kind].of(split)
    rng = random.Random(f"style/{kind}/{seed}")
    question = lines[bucket(f"{kind}/{seed}", len(lines))].format(**fields)
    question = question[:1].upper() + question[1:]
    return styled(question, rng, tuple(fields.values()))
