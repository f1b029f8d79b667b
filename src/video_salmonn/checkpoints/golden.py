"""Verify: golden files (weights, inputs, outputs of the released modules) against the production modules.

A golden file is a safetensors file whose metadata says what it pins (``module``) and how it is configured (``config``,
under the released names). Keys: ``weights.<released name>``, ``inputs.*``, ``outputs.*``. The modules checked are those
the model is built from; nothing is computed a second way here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import InstructBlipVisionConfig

from video_salmonn.checkpoints.golden_files import golden_files
from video_salmonn.checkpoints.released import names
from video_salmonn.connector import MultiResolutionCausalQFormer, diversity_loss
from video_salmonn.connector.diversity import mean_cosine
from video_salmonn.encoders.beats import Beats, BeatsConfig
from video_salmonn.encoders.eva import EvaViT
from video_salmonn.encoders.instructblip import InstructBlipQFormer, InstructionQFormerConfig
from video_salmonn.errors import CheckpointError, VideoSalmonnError
from video_salmonn.features.fbank import beats_fbank, frame_mask
from video_salmonn.files import json_value

TOLERANCE = 1e-4
"""Largest allowed absolute difference in float32."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Check:
    """One compared output.

    Attributes:
        file: name of the golden file.
        output: name of the output in it.
        max_abs_diff: largest absolute difference; infinite where shapes differ or a value is not finite.
        passed: whether it is within the tolerance.
    """

    file: str
    output: str
    max_abs_diff: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON form; an infinite difference becomes null."""
        return asdict(self) | {"max_abs_diff": self.max_abs_diff if self.max_abs_diff != float("inf") else None}


@dataclass(frozen=True)
class GoldenFile:
    """A golden file in memory: metadata, and tensors by their prefix."""

    path: Path
    metadata: Mapping[str, str]
    weights: Tensors
    inputs: Tensors
    outputs: Tensors

    @property
    def config(self) -> dict[str, Any]:
        """The configuration under the released names."""
        return json.loads(self.metadata["config"])


def read_golden(path: Path) -> GoldenFile:
    """Read one golden file.

    Raises:
        CheckpointError: no safetensors file, or its metadata or outputs are missing.
    """
    parts: dict[str, Tensors] = {"weights": {}, "inputs": {}, "outputs": {}}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                prefix, _, name = key.partition(".")
                if prefix not in parts:
                    raise CheckpointError(f"{path}: tensor {key!r} is none of weights.*, inputs.*, outputs.*")
                parts[prefix][name] = file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})", remedy="copy the file again") from error
    if not {"module", "config"} <= set(metadata) or not parts["outputs"]:
        raise CheckpointError(
            f"{path}: no golden file (metadata 'module' and 'config' and outputs.* are needed)",
            remedy="give a folder that holds golden files only",
        )
    try:
        config = json_value(metadata["config"])
    except ValueError as error:
        raise CheckpointError(f"{path}: metadata 'config' is {error}", remedy="copy the file again") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: metadata 'config' is not a JSON object", remedy="copy the file again")
    return GoldenFile(path, metadata, **parts)


def run_connector(golden: GoldenFile, mask_direction: str | None) -> Tensors:
    """Run the connector on a golden file's inputs."""
    config = golden.config
    roles = tuple(role for role, _ in names.released_levels(config))
    direction = mask_direction or golden.metadata.get("mask_direction", "future")
    rows = golden.weights[names.POSITIONS[0]].shape[0]
    ours = names.released_connector_config(config, direction, position_rows=rows)
    connector = MultiResolutionCausalQFormer(ours)
    placed = names.place_connector(golden.weights, ours, roles)
    names.check_complete(connector, placed, golden.path.name)
    connector.load_state_dict(placed.state)
    connector.eval()
    speech, audio = golden.inputs.get("speech"), golden.inputs.get("audio")
    visual = golden.inputs["visual"].unflatten(1, (-1, ours.visual_tokens))
    output = connector(visual, speech, audio, modality_mask=golden.inputs.get("modality_mask"))
    fused = output.fused.reshape(golden.outputs["fused"].shape)
    everything = mean_cosine(fused)
    # With a level coarser than the base and none finer the released code regroups nothing.
    regrouped = roles != ("base", "high")
    return {
        "projected_audio": torch.cat(connector.project_sound(speech, audio), dim=-1).flatten(1, 2),
        "fused": fused,
        "tokens": output.tokens,
        "diversity_all": everything.view(1),
        "diversity_released": (
            diversity_loss(output, "released", skip_padding=False) if regrouped else everything
        ).view(1),
    }


def run_beats(golden: GoldenFile, mask_direction: str | None) -> Tensors:
    """Run fbank and BEATs on a golden file's waveforms."""
    known = set(BeatsConfig.own_fields())
    config = {key: value for key, value in golden.config.items() if key in known}
    for key, needed in (("layer_norm_first", False), ("deep_norm", True), ("gru_rel_pos", True)):
        if golden.config.get(key, needed) != needed:
            raise CheckpointError(f"{golden.path}: BEATs with {key}={golden.config[key]} is not supported")
    beats = Beats(BeatsConfig(**config))
    placed = names.place_beats(golden.weights)
    names.check_complete(beats, placed, golden.path.name)
    beats.load_state_dict(placed.state)
    beats.eval()
    waveform = golden.inputs["waveform"]
    features = beats_fbank(waveform)
    mask = frame_mask(golden.inputs["lengths"], waveform.shape[1])
    return {"normalised_fbank": features, "features": beats(features, mask).values}


def run_visual_tower(golden: GoldenFile, mask_direction: str | None) -> Tensors:
    """Run EVA-ViT and InstructBLIP's Q-Former on a golden file's frames."""
    config = golden.config
    vision = EvaViT(
        InstructBlipVisionConfig(
            hidden_size=config["hidden_size"],
            intermediate_size=int(config["hidden_size"] * config["mlp_ratio"]),
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            image_size=config["image_size"],
            patch_size=config["patch_size"],
            layer_norm_eps=config["layer_norm_eps"],
        )
    )
    qformer = InstructBlipQFormer(
        InstructionQFormerConfig(encoder_hidden_size=config["hidden_size"], **config["qformer"])
    )
    for module, placed in zip((vision.model, qformer), names.place_visual_tower(golden.weights)):
        names.check_complete(module, placed, golden.path.name)
        module.load_state_dict(placed.state, strict=True)
    vision.eval()
    qformer.eval()
    inputs = golden.inputs
    patches = vision(inputs["frames"]).values
    return {
        "patch_grid": patches,
        "tokens_with_instruction": qformer(patches, inputs["instruction_ids"], inputs["instruction_mask"]).values,
        "tokens_without_instruction": qformer(patches).values,
    }


RUNNERS: dict[str, Callable[[GoldenFile, str | None], Tensors]] = {
    "connector": run_connector,
    "beats": run_beats,
    "visual_tower": run_visual_tower,
}


def compare(file: str, output: str, ours: torch.Tensor | None, golden: torch.Tensor, tolerance: float) -> Check:
    """Compare one output."""
    difference = float("inf")
    if ours is not None and ours.shape == golden.shape and golden.numel():
        largest = (ours.double() - golden.double()).abs().max().item()
        difference = largest if largest == largest else float("inf")
    return Check(file, output, difference, difference <= tolerance)


@torch.inference_mode()
def verify_file(path: Path, *, mask_direction: str | None = None, tolerance: float = TOLERANCE) -> list[Check]:
    """Run the production modules on one golden file, in float32 on the CPU.

    Args:
        path: the golden file.
        mask_direction: ``past`` | ``future`` | ``none`` in place of the file's own.
        tolerance: largest allowed absolute difference.

    Raises:
        CheckpointError: the file is unreadable, pins an unknown module, or its weights do not fit.
    """
    golden = read_golden(path)
    module = golden.metadata["module"]
    if module not in RUNNERS:
        raise CheckpointError(f"{path}: pins module {module!r}", remedy=f"known modules: {sorted(RUNNERS)}")
    try:
        ours = RUNNERS[module](golden, mask_direction)
    except VideoSalmonnError as error:
        if path.name in str(error):
            raise
        raise CheckpointError(f"{path}: {error}", remedy=error.remedy) from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # a tensor or setting is missing or misshapen
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: cannot be run: {reason}", remedy="see docs/verify.md for what a golden file holds"
        ) from error
    return [
        compare(path.name, name, ours.get(name), expected, tolerance)
        for name, expected in sorted(golden.outputs.items())
    ]


def verify(folder: Path, *, mask_direction: str | None = None, tolerance: float = TOLERANCE) -> list[Check]:
    """Run :func:`verify_file` on every ``*.safetensors`` of a folder.

    Raises:
        CheckpointError: the folder has none.
    """
    return [
        c
        for file in golden_files(folder)
        for c in verify_file(file, mask_direction=mask_direction, tolerance=tolerance)
    ]
