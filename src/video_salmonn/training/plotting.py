"""The curves of a run as one picture: losses, learning rate, validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError, needed
from video_salmonn.training.logbook import METRICS, read_metrics
from video_salmonn.wording import counted

Line = dict[str, Any]


def plot(run: Path, out: Path) -> dict[str, int]:
    """Draw ``metrics.jsonl`` of a run into a picture file; the suffix decides its format.

    Returns:
        numbers of points drawn: ``{"training", "validation"}``.

    Raises:
        ConfigError: the run has written nothing yet, or the picture cannot be written.
        MissingPartError: matplotlib is not installed.
    """
    path = run / METRICS
    lines = read_metrics(path) if path.is_file() else []
    training = [line for line in lines if isinstance(line.get("loss"), int | float)]
    checks = [line for line in lines if "validation_loss" in line]
    if not training:
        raise ConfigError(f"{path}: no training step in it", remedy="give the output folder of a run")
    with needed("matplotlib is not installed", remedy="pip install 'video-salmonn[train]'"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    losses, answers, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.4))
    _curve(losses, training, "language_loss", "cross entropy, training", "C0-")
    _curve(losses, training, "diversity_loss", "diversity", "C2-")
    _curve(losses, checks, "validation_loss", "cross entropy, validation", "C3o-")
    losses.set_ylabel("loss")
    _curve(answers, checks, "validation_exact", "exact answers", "C0o-")
    _curve(answers, checks, "validation_wer", "word error rate", "C1s-")
    answers.set_ylabel("share")
    answers.set_ylim(bottom=0)
    if not answers.lines:
        answers.text(0.5, 0.5, "no answers were generated", transform=answers.transAxes, ha="center", color="grey")
    _curve(rate, training, "lr", "learning rate", "C4-")
    rate.set_ylabel("rate")
    rate.set_xlabel("optimiser step")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, answers, rate):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="best", frameon=False)
    figure.suptitle(f"{run.name}: {counted(training[-1]['step'], 'step')}, loss {training[-1]['loss']:.3f}")
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{out}: cannot be written ({error})", remedy="give --out FILE.png, .svg or .pdf") from error
    return {"training": len(training), "validation": len(checks)}


def _curve(axes: Any, lines: list[Line], key: str, label: str, style: str) -> None:
    points = [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
    if points:
        axes.plot(*zip(*points), style, label=label, markersize=3.5, linewidth=1.3)
