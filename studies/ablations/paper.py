"""What the paper reports (arXiv 2406.15704), and the claims that its rows and ours speak to.

Its figures are those of Tables 4 and 5, of the system of 13B; they come from reading notes of the paper, not from its
authors' files.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER_COLUMNS = ("Video QA", "AVQA", "AVM")
PAPER_FULL = (49.6, 60.2, 79.7)
PAPER_ROWS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "fine-only": ("w/o 5 s resolution", (47.2, 57.2, 77.5)),
    "coarse-only": ("w/o 0.5 s resolution", (49.9, 58.9, 80.6)),
    "no-mixing": ("w/o mixed training", (46.9, 54.0, 75.3)),
    "no-diversity": ("w/o diversity loss", (49.3, 53.5, 78.6)),
    "without-mrc": ("w/o MRC Q-Former", (42.7, 45.3, 74.5)),
    "without-mrc-sync-diversity": ("w/o MRC, sync., diversity", (36.0, 44.6, 72.0)),
}
"""Table 4: variant of ours -> (row of the paper, its figures in percent)."""

VIDEO, BOTH, MATCH = ("events",), ("both-speech", "both-sound"), ("match",)
SPEECH = ("speech", "speech-with-picture")
CONFLICT = ("yesno-sense", "picture-with-speech", "speech-with-picture")
OURS_FOR = dict(zip(PAPER_COLUMNS, (VIDEO, BOTH, MATCH)))
"""The rows here that come nearest to what a column of the paper asks."""
EVERY = ("speech", "sounds", "pictures", *VIDEO, *BOTH, *MATCH, "yesno-sense")


@dataclass(frozen=True)
class Claim:
    """One claim, as a difference that can be measured.

    Attributes:
        name: short id, also of its picture.
        text: what is claimed; it holds where the change costs something.
        rows: of held-out questions, whose mean cost decides.
        variant: the change; empty where ``zeroed`` says it.
        zeroed: the level of the full system that is set to zero.
        paper: what the paper says of it.
    """

    name: str
    text: str
    rows: tuple[str, ...]
    variant: str = ""
    zeroed: str = ""
    paper: str = "no figure"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "coarse-level", "Without the 5 s level, order in time, both senses at once and matching get worse",
        (*VIDEO, *BOTH, *MATCH), "fine-only", paper="Video QA 2.4, AVQA 3.0, AVM 2.2 points (Table 4)",
    ),
    Claim(
        "fine-level-speech", "Without the 0.5 s level, speech gets worse",
        SPEECH, "coarse-only", paper="ASR 0.3, AVSR 0.6 points of WER (text)",
    ),
    Claim(
        "fine-level", "Without the 0.5 s level, order in time, both senses at once and matching get worse",
        (*VIDEO, *BOTH, *MATCH), "coarse-only",
        paper="only AVQA, by 1.3 points; Video QA −0.3, AVM −0.9: better without (Table 4)",
    ),
    Claim(
        "two-resolutions", "Two resolutions are better than one in between",
        EVERY, "single-resolution", paper="Figure 4: smaller windows for speech, larger ones for video",
    ),
    Claim("three-resolutions", "Two resolutions are better than three", EVERY, "three-resolutions"),
    Claim("block-attention", "Block attention among the frames of a window helps", EVERY, "no-block-attention"),
    Claim("causal", "Frames that attend to the past are better than frames that attend to the future", EVERY,
          "mask-future", paper="no figure; the text has the past, the released weights the future"),
    Claim("shared", "One Q-Former for both levels is better than one for each", EVERY, "own-qformers"),
    Claim("synchronised", "Sight and sound on one time axis are better than one after the other", (*BOTH, *MATCH),
          "no-synchronisation", paper="with all else of the connector away, AVQA 0.7, AVM 2.5 points (Table 4)"),
    Claim("mixing", "Without unpaired mixing, questions about one sense are answered from the other, and both at once "
          "get worse", (*BOTH, *CONFLICT), "no-mixing", paper="Video QA 2.7, AVQA 6.2, AVM 4.4 points (Table 4)"),
    Claim("swaps", "Without swapped sounds, matching is not learned", MATCH, "mixing-without-swaps"),
    Claim("diversity", "Without the diversity loss, both senses at once get worse", (*BOTH, "yesno-sense"),
          "no-diversity", paper="Video QA 0.3, AVQA 6.7, AVM 1.1 points (Table 4)"),
    Claim("diversity-large", "A λ that is too large hurts speech beside pictures", ("speech-with-picture",),
          "diversity-0.3", paper="Figure 5: insertions in AVSR"),
    Claim("mrc", "Without the multi-resolution causal Q-Former all get worse", (*VIDEO, *BOTH, *MATCH), "without-mrc",
          paper="Video QA 6.9, AVQA 14.9, AVM 5.2 points (Table 4)"),
    Claim("all-together", "Without it, synchronisation and the diversity loss all get worse", (*VIDEO, *BOTH, *MATCH),
          "without-mrc-sync-diversity", paper="Video QA 13.6, AVQA 15.6, AVM 7.7 points (Table 4)"),
    Claim("fine-carries-speech", "The 0.5 s level carries the speech: with it zeroed, words are lost", ("speech",),
          zeroed="0.5 s", paper="WER from 2.6 % to over 100 % (Table 5)"),
    Claim("coarse-carries-time", "The 5 s level carries what lasts: with it zeroed, order in time is lost", VIDEO,
          zeroed="5 s", paper="Video QA from 49.6 % to 14.4 % (Table 5)"),
)  # fmt: skip
