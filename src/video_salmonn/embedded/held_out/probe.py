"""A linear probe on frozen features: what a simple classifier reads from the same encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.held_out.groups import Group
from video_salmonn.embedded.held_out.measure import HeldOut, Report
from video_salmonn.embedded.held_out.page import figure
from video_salmonn.metrics.scored import require
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.wording import counted


def linear_probe(features: torch.Tensor, labels: Sequence[str], held_out: torch.Tensor) -> list[str]:
    """Labels of held-out features by scikit-learn's logistic regression on standardised features.

    Args:
        features: ``(n, D)`` float32.
        labels: n names.
        held_out: ``(m, D)``.

    Returns:
        m names; the same for the same arguments.

    Raises:
        MissingPartError: scikit-learn is not installed.
    """
    linear_model = require("sklearn.linear_model", "scikit-learn")
    if len(set(labels)) == 1:  # nothing to tell apart, which scikit-learn refuses
        return [labels[0]] * len(held_out)
    pipeline = require("sklearn.pipeline", "scikit-learn")
    scaler = require("sklearn.preprocessing", "scikit-learn").StandardScaler()
    probe = pipeline.make_pipeline(scaler, linear_model.LogisticRegression(max_iter=1000))
    return [str(name) for name in probe.fit(features.numpy(), list(labels)).predict(held_out.numpy())]


def probe_groups(
    config: VideoSalmonnConfig,
    groups: Sequence[Group],
    held_out: HeldOut,
    train: Path,
    *,
    report: Report = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """Linear probes on the mean features of the encoders that names of sounds and of pictures come from.

    Args:
        config: of the model; says which encoders there are.
        groups: rows of the table; those of sounds and pictures are probed.
        held_out: the items to name.
        train: manifest of the training split; its items of the same group are what a probe learns from.
        report: gets a line for each probe.

    Returns:
        ``{group: {"linear probe on ENCODER": {"value", "low", "high", "trained_on"}}}``, without the groups that the
        store has no features of.

    Raises:
        MissingPartError: scikit-learn is not installed.
        ConfigError: no item of the training split has features.
    """
    encoders = {"sounds": config.audio_config, "pictures": config.vision_config}
    probed = [group for group in groups if encoders.get(group.name)]
    if not probed:
        return {}
    data = HeldOut(train, held_out.store, int(config.media_config.picture_frames))
    found: dict[str, dict[str, Any]] = {}
    for group in probed:
        known, asked = data.items(group), held_out.items(group)
        if not known or not asked:
            continue
        answers = linear_probe(_means(data, known), [item.answer for item in known], _means(held_out, asked))
        scored = group.score(asked, answers)
        name = f"linear probe on {encoders[group.name].model_type}"
        found[group.name] = {name: scored.to_dict() | {"trained_on": len(known)}}
        report(f"{group.name}: {name} {figure(scored.to_dict())}, trained on {counted(len(known), 'item')}")
    return found


def _means(data: HeldOut, items: Sequence[Item]) -> torch.Tensor:
    """``(n, D)``: sound-event features over time, or else visual tokens over frames and places."""
    rows = []
    for item in items:
        features = data.example(item).features
        assert features is not None
        stream = features.visual if features.audio is None else features.audio
        assert stream is not None
        rows.append(stream.float().flatten(0, -2).mean(0))
    return torch.stack(rows)
