"""Numbers the paper published (Sun et al., ICML 2024), for a report to print *beside* measured ones, marked as such.

They were measured by the authors with a 13B model, their prompts and their scoring, neither of which was released.
The figures come from reading notes of the paper (tables 2, 3, 9 and 10), not from the authors' files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One published row.

    Attributes:
        metric: name of the contract.
        value: on this package's scale (fractions; CIDEr and SPIDEr where the paper prints x100).
        baseline: the best other system the paper names.
        baseline_value: its score; None where the paper gives none.
        source: table of the paper.
    """

    metric: str
    value: float
    baseline: str
    baseline_value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Levels:
    """A published score with both resolutions of the connector, with the fine one alone, with the coarse one alone."""

    metric: str
    both: str
    fine_only: str
    coarse_only: str


PUBLISHED_LEVELS: dict[str, Levels] = {
    "librispeech": Levels("wer", "0.026", "0.026", "more than 1"),
    "nextqa": Levels("accuracy", "0.496", "0.144", "0.419"),
    "flickr30k": Levels("cider", "0.896", "0.358", "0.230"),
}
"""Table 5 of the paper: one resolution set to zero at test time, without retraining."""

PUBLISHED: dict[str, Published] = {
    "librispeech": Published("wer", 0.026, "Whisper large-v2", 0.029, "table 2"),
    "audiocaps": Published("spider", 0.497, "", None, "table 2"),
    "flickr30k": Published("cider", 0.896, "InstructBLIP", 0.845, "table 2"),
    "textvqa": Published("accuracy", 0.378, "InstructBLIP", 0.365, "table 2"),
    "gqa": Published("accuracy", 0.448, "InstructBLIP", 0.489, "table 2"),
    "nextqa": Published("accuracy", 0.496, "InstructBLIP, fine-tuned", 0.247, "table 2"),
    "how2": Published("wer", 0.077, "Whisper large-v2", 0.083, "table 3"),
    "ego4d_qa": Published("accuracy", 0.498, "Video-LLaMA 7B", 0.182, "table 3"),
    "presentation_qa": Published("accuracy", 0.705, "Video-LLaMA 7B", 0.213, "table 3"),
    "avssd": Published("accuracy", 0.476, "InstructBLIP, fine-tuned", 0.419, "table 3; judged by ChatGPT"),
    "avm": Published("accuracy", 0.797, "Video-LLaMA", 0.523, "table 3"),
    "music_avqa": Published("accuracy", 0.526, "AV-LLM", 0.452, "table 10, zero-shot"),
    "lrs2": Published("wer", 0.049, "Whisper large-v2", 0.053, "table 9"),
}
