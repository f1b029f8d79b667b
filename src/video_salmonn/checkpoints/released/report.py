"""``CONVERSION.md``: what a converted model was made from, what was left out, and what was chosen."""

from __future__ import annotations

from typing import Any

from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.presets import released_13b
from video_salmonn.version import __version__
from video_salmonn.wording import counted

RECORD = "CONVERSION.md"


def choices(config: VideoSalmonnConfig) -> list[str]:
    """What the files do not contain, and how it was chosen."""
    connector, lora = config.connector_config, config.lora
    levels = ", ".join(
        f"{counted(level.frames, 'frame')} with {counted(level.queries, 'query')}" for level in connector.levels
    )
    shared = "one Q-Former for all levels" if connector.share_qformer else "a Q-Former for each level"
    return [
        f"windows of {levels}; {shared}",
        f"block mask: a frame attends to the {connector.mask_direction} of its window",
        f"attention heads: connector {connector.num_attention_heads}, vision {_heads(config.vision_config)}, "
        f"InstructBLIP's Q-Former {_heads(config.qformer_config)}",
        f"LoRA: rank {lora.r}, alpha {lora.alpha} (scale {lora.scale:g}), on {', '.join(lora.targets)}"
        if lora is not None
        else "no LoRA",
        f"prompt {config.prompt}; generation {config.generation.to_dict()}",
        f"media {config.media_config.to_dict()}",
        "the norm after the vision encoder has torch's epsilon, 1e-5",
        "the language model's pad token is its end token",
    ]


def differences(config: VideoSalmonnConfig) -> str:
    """Sizes and settings that are not the released 13B model's, as one sentence; "" where there are none."""
    ours, released = _flat(config), _flat(released_13b())
    found = [f"{name} {value} (released: {released[name]})" for name, value in ours.items() if value != released[name]]
    return f"not as in the released 13B model: {', '.join(found)}" if found else ""


def _flat(config: VideoSalmonnConfig) -> dict[str, Any]:
    connector = config.connector_config
    text: Any = config.text_config
    names = ("num_hidden_layers", "hidden_size", "levels", "mask_direction", "attend_padding", "trim_padding")
    found: dict[str, Any] = {f"connector {name}": getattr(connector, name) for name in names}
    found["connector levels"] = [(level.frames, level.queries) for level in connector.levels]
    found["vision blocks"] = getattr(config.vision_config, "num_hidden_layers", None)
    found["speech layers"] = getattr(config.speech_config, "encoder_layers", None)
    found["language model layers"] = text.num_hidden_layers
    found |= {f"LoRA {name}": getattr(config.lora, name, None) for name in ("r", "alpha", "targets")}
    return found


def _heads(sizes: Any) -> Any:
    return getattr(sizes, "num_attention_heads", None)


def _origin(report: dict[str, Any]) -> str:
    tensors = report["tensors"]
    if report["new"]:
        made = tensors["connector"] + tensors.get("lora", 0)
        return (
            f"**To be trained:** {counted(made, 'tensor')} of connector and adapter are new (random), and each "
            f"of the other "
            f"{tensors['total'] - made} comes"
        )
    return f"No tensor is random: each one of {tensors['total']} comes"


def record(report: dict[str, Any], config: VideoSalmonnConfig) -> str:
    """The file's text."""
    lines = [
        "# Conversion",
        "",
        f"Made by `video-salmonn convert` {__version__} in {report['dtype']}. {_origin(report)} from the files below, "
        "and each of theirs is in this model, equals another, or is listed as left out.",
        "",
        "## Sources",
        "",
        "| file | bytes | tensors | SHA-256 |",
        "|---|---|---|---|",
    ]
    for source in report["sources"]:
        name = source["file"].rsplit("/", 1)[-1]
        lines.append(f"| {name} | {source['bytes']} | {source['tensors']} | `{source['sha256']}` |")
    lines += ["", "## Parts", "", "| part | tensors | parameters |", "|---|---|---|"]
    lines += [f"| {part} | {report['tensors'][part]} | {count} |" for part, count in report["parameters"].items()]
    lines += ["", "## Left out", ""]
    for drop in report["dropped"]:
        name = drop["file"].rsplit("/", 1)[-1]
        shown = ", ".join(f"`{tensor}`" for tensor in drop["tensors"][:4])
        more = f" and {drop['count'] - 4} more" if drop["count"] > 4 else ""
        lines.append(f"- {drop['count']} of {name} ({drop['reason']}): {shown}{more}")
    lines += [] if report["dropped"] else ["nothing"]
    lines += ["", "## Second names, compared and equal", ""]
    lines += [f"- `{alias['tensor']}` = `{alias['equals']}`" for alias in report["aliases"]] or ["none"]
    lines += ["", "## Choices (what the files do not contain)", ""]
    lines += [f"- {choice}" for choice in choices(config)]
    lines += ["", "## Notes", ""]
    lines += [f"- {note}" for note in report["notes"]] or ["none"]
    return "\n".join(lines) + "\n"
