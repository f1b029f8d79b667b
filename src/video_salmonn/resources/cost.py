"""What a model costs: parameters, FLOPs, bytes and tokens, from its configuration alone.

The model is built on the meta device, so a 13B preset takes seconds and no memory. FLOPs are counted by torch's own
counter while the production modules run on meta tensors, so they can't drift from the code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.lengths import media_tokens
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.resources.stages import connector_inputs, encoder_stages

TEXT_TOKENS = 64
"""Prompt tokens besides the media's, assumed for the prefill."""


def build_on_meta(config: VideoSalmonnConfig) -> VideoSalmonnForConditionalGeneration:
    """The model without memory behind its tensors."""
    with torch.device("meta"):
        return VideoSalmonnForConditionalGeneration(config).eval()


def count(module: nn.Module | None, *, trainable: bool = False) -> int:
    """Parameters of a module, 0 for None."""
    if module is None:
        return 0
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def parameters(model: VideoSalmonnForConditionalGeneration, *, trainable: bool = False) -> dict[str, int]:
    """Parameters by part. ``connector_trainable`` is the whole connector; ``joint_qformer`` its Q-Formers."""
    lora = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n and (p.requires_grad or not trainable))
    tower = model.tower
    parts = {
        "vision": count(tower.vision, trainable=trainable),
        "instruction_qformer": count(tower.instruction_qformer, trainable=trainable),
        "speech": count(tower.speech, trainable=trainable),
        "audio": count(tower.audio, trainable=trainable),
        "joint_qformer": count(model.connector.qformers, trainable=trainable),
        "connector_trainable": count(model.connector, trainable=trainable),
        "language_model": count(model.language_model, trainable=trainable) - lora,
        "lora": lora,
    }
    parts["total"] = sum(n for part, n in parts.items() if part != "joint_qformer")
    return parts


def kv_bytes_per_token(config: VideoSalmonnConfig, element_bytes: int = 2) -> int:
    """Cache bytes of one token in the language model: keys and values of every layer."""
    text: Any = config.text_config
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return 2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * head_dim * element_bytes


def _counted(run: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def flops(model: VideoSalmonnForConditionalGeneration, seconds: float) -> dict[str, int]:
    """FLOPs (two per multiply-add) of each stage for one clip of ``seconds`` with picture and sound.

    Args:
        model: on the meta device.
        seconds: duration of the clip.
    """
    config = model.config
    stages: dict[str, int] = {}

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta")

    for stage in encoder_stages(model, seconds):
        stages[stage.name] = round(stage.times * _counted(stage.run))
    features = connector_inputs(config, seconds)
    stages["connector"] = _counted(lambda: model.connector(*features))
    prompt = media_tokens(config, seconds) + TEXT_TOKENS
    width = config.text_config.hidden_size
    language = model.language_model
    stages["prefill"] = _counted(lambda: language(inputs_embeds=empty(1, prompt, width), logits_to_keep=1))
    stages["decode_per_token"] = _counted(lambda: language(inputs_embeds=empty(1, 1, width)))
    return stages


def info(config: VideoSalmonnConfig, seconds: float = 30.0, element_bytes: int = 2) -> dict[str, Any]:
    """The account that ``video-salmonn info`` prints.

    Args:
        config: the configuration.
        seconds: length of the clip that tokens, FLOPs and cache are stated for.
        element_bytes: bytes of a weight (2 for bf16 and fp16).
    """
    model = build_on_meta(config)
    known = parameters(model)
    tokens = media_tokens(config, seconds)
    cache = kv_bytes_per_token(config, element_bytes)
    bytes_of = {part: n * element_bytes for part, n in known.items()}
    return {
        "parameters": known,
        "trainable": parameters(model, trainable=True),
        "clip_seconds": seconds,
        "media_tokens_per_second": config.connector_config.tokens_per_second,
        "media_tokens": tokens,
        "flops": flops(model, seconds),
        "bytes": bytes_of | {"kv_cache": tokens * cache},
        "kv_bytes_per_token": cache,
    }
