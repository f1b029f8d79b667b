"""Options of generation that transformers does not know. Light: no framework is imported."""

from __future__ import annotations

from typing import Any

JOINT_CTC = ("off", "auto", "on")
"""Values of the option ``joint_ctc``."""
OWN_GENERATION: dict[str, Any] = {"joint_ctc": "off", "joint_ctc_weight": 0.5, "stop_repeats": 0}
"""The options, with their defaults; a model's ``generation`` may set them.

- ``joint_ctc``: decode transcripts jointly with the connector's CTC (:mod:`video_salmonn.model.joint_decoding`):
  ``auto`` for questions that ask for the words that are spoken, ``on`` for every question about sound, or ``off``.
- ``joint_ctc_weight``: of CTC's log-probabilities; the language model's have the rest.
- ``stop_repeats``: a phrase that comes this many times in a row ends the answer (:mod:`video_salmonn.model.repeats`);
  0 for never.
"""
