"""What is changed in each variant, in the order in which they run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Mixing = Literal["all", "without swaps", "none"]
DIVERSITY = 0.1
"""Weight of the diversity loss in the full system (released form)."""


@dataclass(frozen=True)
class Variant:
    """What differs from the full system.

    Attributes:
        title: for readers.
        connector: changes to the connector's configuration.
        diversity: weight λ of the diversity loss, in both stages.
        form: of the diversity loss: ``released`` (mean over windows) or ``paper`` (sum over windows and pairs).
        mixing: ``all``: pictures and sounds that were not recorded together are put together. ``without swaps``: no
            matching question gets the sound of something else, so that all are answered Yes. ``none``: neither such
            pairs nor matching questions.
    """

    title: str
    connector: dict[str, Any] = field(default_factory=dict)
    diversity: float = DIVERSITY
    form: str = "released"
    mixing: Mixing = "all"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the title."""
        values = asdict(self)
        del values["title"]
        return values


_ONE_WINDOW: dict[str, Any] = {"levels": [[10, 30]], "mask_direction": "none"}

VARIANTS: dict[str, Variant] = {
    "full": Variant("0.5 s and 5 s, causal, λ = 0.1, mixing"),
    "no-mixing": Variant("no unpaired mixing", mixing="none"),
    "fine-only": Variant("0.5 s alone", {"levels": [[1, 3]]}),
    "coarse-only": Variant("5 s alone", {"levels": [[10, 30]]}),
    "no-diversity": Variant("no diversity loss", diversity=0.0),
    "no-block-attention": Variant("no block attention", {"mask_direction": "none"}),
    "single-resolution": Variant("one resolution in between, 2.5 s", {"levels": [[5, 15]]}),
    "three-resolutions": Variant("0.5 s, 2.5 s and 5 s", {"levels": [[1, 3], [5, 15], [10, 30]]}),
    "mask-future": Variant("frames attend to later ones, as released", {"mask_direction": "future"}),
    "own-qformers": Variant("a Q-Former for each level", {"share_qformer": False}),
    "no-synchronisation": Variant("sight and sound one after the other", {"synchronise": False}),
    "mixing-without-swaps": Variant("matching questions always answered Yes", mixing="without swaps"),
    "diversity-0.03": Variant("λ = 0.03", diversity=0.03),
    "diversity-0.3": Variant("λ = 0.3", diversity=0.3),
    "paper-diversity-0.03": Variant("λ = 0.03, the paper's sum", diversity=0.03, form="paper"),
    "paper-diversity-0.1": Variant("λ = 0.1, the paper's sum", diversity=0.1, form="paper"),
    "paper-diversity-0.3": Variant("λ = 0.3, the paper's sum", diversity=0.3, form="paper"),
    "without-mrc": Variant("one window of 5 s, no block attention", _ONE_WINDOW),
    "without-mrc-sync-diversity": Variant(
        "one window of 5 s, no block attention, no synchronisation, no diversity loss",
        {**_ONE_WINDOW, "synchronise": False},
        diversity=0.0,
    ),
}
"""``mask_direction: none`` is the connector without block attention, so it is one variant and not two. The weight 0 is
the same in both forms of the diversity loss, and 0.1 in the released form is the full system."""

FIRST = tuple(VARIANTS)[:6]
"""Those that decide the paper's main claims."""
