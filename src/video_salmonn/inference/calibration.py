"""What a model's probabilities are worth: temperatures that were fitted on held-out items, and how far they are off.

A model directory may hold :data:`FILE`, which ``studies/calibration.py`` writes. The embedded model's ships with the
package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from video_salmonn.checkpoints.shipped import ASSETS, shipped_weights
from video_salmonn.errors import CheckpointError
from video_salmonn.files import json_object

FILE = "decisions.json"
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Temperatures by type of question, and what was measured with them.

    Attributes:
        temperatures: type of question -> temperature; 1 where there is none.
        biases: type of question -> what is added to the first answer's scaled log-probability; 0 where there is none.
        measured: type of question -> figures on held-out items (``items``, ``error`` …); empty where nothing was.
        weights: :func:`~video_salmonn.checkpoints.shipped.shipped_weights` of the embedded model they were fitted on;
            with other weights they do not hold. Empty for a directory, which brings both.
    """

    temperatures: dict[str, float] = field(default_factory=dict)
    biases: dict[str, float] = field(default_factory=dict)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: str = ""

    def temperature(self, kind: str) -> float:
        """Of a type of question."""
        return self.temperatures.get(kind, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of reports: for every type its temperature, and the calibration error or ``not measured``."""
        return {
            kind: {
                "temperature": self.temperature(kind),
                "bias": self.biases.get(kind, 0.0),
                "expected_calibration_error": self.measured.get(kind, {}).get("error", "not measured"),
                "items": self.measured.get(kind, {}).get("items", 0),
            }
            for kind in ("predicate", "choice", "score")
        }


def calibration_of(model: str) -> Calibration:
    """What is known of a loaded model, by its name or folder; nothing for one that was changed or never measured.

    Raises:
        CheckpointError: the file of its directory is damaged.
    """
    folder = ASSETS if model == "embedded" else Path(model)
    path = folder / FILE
    if model == "tiny" or not path.is_file():
        return Calibration()
    found = read_calibration(path)
    return Calibration() if folder == ASSETS and found.weights != shipped_weights() else found


def read_calibration(path: Path) -> Calibration:
    """Read :data:`FILE`.

    Raises:
        CheckpointError: it is damaged.
    """
    found = json_object(path, CheckpointError, remedy="write it again, or delete it")
    try:
        temperatures = {str(kind): float(value) for kind, value in found["temperatures"].items()}
        biases = {str(kind): float(value) for kind, value in found.get("biases", {}).items()}
        measured = {str(kind): dict(value) for kind, value in found.get("measured", {}).items()}
        if not all(math.isfinite(value) and value > 0 for value in temperatures.values()):
            raise ValueError("a temperature is not a number above 0")
        if not all(map(math.isfinite, biases.values())):
            raise ValueError("a bias is not a number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not readable ({error})", remedy="write it again, or delete it") from error
    return Calibration(temperatures, biases, measured, str(found.get("weights", "")))


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write :data:`FILE`."""
    path.write_text(json.dumps(asdict(calibration), indent=2) + "\n", "utf-8")


@dataclass(frozen=True)
class Bin:
    """Items whose stated probability lies in a range.

    Attributes:
        low, high: the range.
        items: how many.
        stated: their mean stated probability.
        true: the share of them that is so.
    """

    low: float
    high: float
    items: int
    stated: float
    true: float


def reliability(stated: Sequence[float], true: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """The reliability table: in every range of stated probabilities, how often it was so. Empty ranges are left out."""
    found = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        members = [n for n, p in enumerate(stated) if low <= p < high or (number == bins - 1 and p == 1.0)]
        if members:
            mean = sum(stated[n] for n in members) / len(members)
            share = sum(true[n] for n in members) / len(members)
            found.append(Bin(low, high, len(members), mean, share))
    return found


def expected_calibration_error(stated: Sequence[float], true: Sequence[bool], bins: int = BINS) -> float:
    """Mean distance of stated probability and truth over the bins, weighted by their items."""
    table = reliability(stated, true, bins)
    return sum(row.items * abs(row.stated - row.true) for row in table) / max(1, len(stated))


def fit(logs: Sequence[Sequence[float]], right: Sequence[int], *, bias: bool = False) -> tuple[float, float]:
    """(temperature, bias) with the least cross-entropy of the right answers.

    Args:
        logs: for every item the log-probabilities of its possible answers.
        right: for every item which of them is right.
        bias: also fit what is added to the first answer's scaled log-probability; 0 otherwise.
    """
    scores = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.float64) for row in logs], batch_first=True, padding_value=-math.inf
    )
    scores = scores - scores.amax(dim=1, keepdim=True)
    wanted = torch.tensor(right)
    free = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logarithm of the temperature, bias
    optimizer = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = scores / free[0].clamp(math.log(0.05), math.log(20)).exp()
        if bias:
            scaled = torch.cat([scaled[:, :1] + free[1], scaled[:, 1:]], dim=1)
        value = torch.nn.functional.cross_entropy(scaled, wanted)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = free.detach().clamp(math.log(0.05), math.log(20))
    return math.exp(float(found[0])), float(free.detach()[1]) if bias else 0.0
