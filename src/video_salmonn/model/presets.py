"""Presets: the same classes at other sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from transformers import LlamaConfig

from video_salmonn.connector import ConnectorConfig
from video_salmonn.encoders.beats import BeatsConfig
from video_salmonn.encoders.efficientnet import EfficientNetLiteConfig
from video_salmonn.encoders.yamnet import YamnetConfig
from video_salmonn.errors import ConfigError
from video_salmonn.model.configuration import MediaConfig, VideoSalmonnConfig
from video_salmonn.model.generation import GenerationSettings

EVA_VIT_G = {
    "model_type": "instructblip_vision_model",
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
}
INSTRUCTBLIP = {"num_query_tokens": 32, "vocab_size": 30523, "encoder_hidden_size": 1408}
WHISPER_LARGE_V2 = {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}
WHISPER_BASE = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FEED_FORWARD = ["gate_proj", "up_proj", "down_proj"]
LORA_QKVO = {"r": 32, "alpha": 32, "dropout": 0.1, "targets": ATTENTION}
RELEASED_MEDIA = {"frame_times": "released", "resize": "released", "max_seconds": 60.0, "max_sound_seconds": 30.0}
RELEASED_MEDIA |= {"first_channel": True, "picture_frames": 60}
RELEASED_GENERATION = {"num_beams": 5, "repetition_penalty": 1.5, "max_new_tokens": 512, "min_length": 1}


def _llama(hidden: int, layers: int, heads: int, intermediate: int, **extra: Any) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        **{"vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, **extra},
    )


def released_13b() -> VideoSalmonnConfig:
    """The released checkpoint, with everything the released code does (mask ``future``, padding attended, beam 5)."""
    return VideoSalmonnConfig(
        text_config=_llama(5120, 40, 40, 13824),
        vision_config=EVA_VIT_G,
        qformer_config=INSTRUCTBLIP,
        speech_config=WHISPER_LARGE_V2,
        audio_config=BeatsConfig(),
        connector_config=ConnectorConfig(
            mask_direction="future", attend_padding=True, trim_padding=False, position_rows=4096
        ),
        media_config=RELEASED_MEDIA,
        prompt="vicuna",
        lora=LORA_QKVO,
        diversity_form="released",
        diversity_weight=0.01,
        generation=RELEASED_GENERATION,
    )


def paper_7b() -> VideoSalmonnConfig:
    """The paper's 7B system, to be trained: mask ``past``, padding masked, no tokens for time that is not there."""
    return VideoSalmonnConfig(
        text_config=_llama(4096, 32, 32, 11008),
        vision_config=EVA_VIT_G,
        qformer_config=INSTRUCTBLIP,
        speech_config=WHISPER_LARGE_V2,
        audio_config=BeatsConfig(),
        connector_config=ConnectorConfig(llm_dim=4096, mask_direction="past"),
        prompt="vicuna",
        lora=LORA_QKVO,
        diversity_form="released",
        diversity_weight=0.1,
    )


def embedded() -> VideoSalmonnConfig:
    """The small system that ships with the project: SmolLM2-135M, Whisper base, YAMNet, EfficientNet-Lite0."""
    return VideoSalmonnConfig(
        text_config=_llama(
            576,
            30,
            9,
            1536,
            num_key_value_heads=3,
            vocab_size=49152,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        ),
        vision_config=EfficientNetLiteConfig(side=5),
        speech_config=WHISPER_BASE,
        audio_config=YamnetConfig(),
        connector_config=ConnectorConfig(
            hidden_size=256,
            num_attention_heads=4,
            intermediate_size=1024,
            visual_dim=1280,
            speech_dim=512,
            audio_dim=1024,
            llm_dim=576,
            visual_tokens=25,
        ),
        media_config={
            "segment_seconds": 10.0,
            "trained_seconds": 20.0,
            "trained_speech_seconds": 10.0,
            "image_mean": [127 / 255] * 3,
            "image_std": [128 / 255] * 3,
        },
        prompt="chat",
        system="",  # SmolLM2's own would be 16 tokens more in every prompt
        # also in the feed-forward layers: so small a language model learns to read the connector with all it has
        lora={"r": 16, "alpha": 32, "dropout": 0.0, "targets": [*ATTENTION, *FEED_FORWARD]},
        diversity_form="released",
        diversity_weight=0.1,
        generation={
            "joint_ctc": "auto",
            "joint_ctc_weight": 0.5,
            "stop_repeats": 4,
            # chosen on the dev split (docs/embedded.md): none of 332 right answers, 21 % of 195 wrong ones
            "decline_below": 0.2,
            "decline_ids": [57, 416, 982, 2505, 429, 451, 16092, 30],  # "I can't tell from this clip."
        },
    )


def tiny() -> VideoSalmonnConfig:
    """Every part of the released stack, random and under a million parameters: for tests and for trying things out."""
    return VideoSalmonnConfig(
        text_config=_llama(
            64,
            2,
            4,
            128,
            vocab_size=384,
            max_position_embeddings=2048,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        ),
        vision_config={
            "model_type": "instructblip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
        },
        qformer_config={
            "num_query_tokens": 32,
            "vocab_size": 384,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 512,
            "encoder_hidden_size": 32,
        },
        speech_config={
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
        },
        audio_config={
            "model_type": "beats",
            "embed_dim": 16,
            "encoder_layers": 2,
            "encoder_embed_dim": 32,
            "encoder_ffn_embed_dim": 64,
            "encoder_attention_heads": 4,
            "conv_pos": 16,
            "conv_pos_groups": 4,
            "num_buckets": 32,
            "max_distance": 128,
        },
        connector_config=ConnectorConfig(
            hidden_size=32,
            num_attention_heads=4,
            intermediate_size=64,
            visual_dim=32,
            speech_dim=32,
            audio_dim=32,
            llm_dim=64,
        ),
        media_config={"segment_seconds": 10.0, "image_size": 28},
        prompt="vicuna",
        lora={"r": 4, "alpha": 8, "dropout": 0.0, "targets": LORA_QKVO["targets"]},
        diversity_weight=0.1,
    )


PRESETS: dict[str, Callable[[], VideoSalmonnConfig]] = {
    "released-13b": released_13b,
    "paper-7b": paper_7b,
    "embedded": embedded,
    "tiny": tiny,
}


def preset(name: str) -> VideoSalmonnConfig:
    """Configuration of a preset. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}", remedy=f"presets: {', '.join(PRESETS)}")
    return PRESETS[name]()


def apply_profile(config: VideoSalmonnConfig, profile: str) -> VideoSalmonnConfig:
    """A configuration with everything the released code does, for weights that were trained so.

    Args:
        config: any configuration.
        profile: ``released``.

    Raises:
        ConfigError: an unknown profile.
    """
    if profile != "released":
        raise ConfigError(f"profile {profile!r} is unknown", remedy="the only profile is: released")
    released: dict[str, Any] = {"attend_padding": True, "trim_padding": False, "mask_direction": "future"}
    if config.connector_config.mask_direction == "none":
        del released["mask_direction"]  # there is no block attention to turn round
    media = {**RELEASED_MEDIA, "segment_seconds": 30.0, "pad_last_segment": True}
    profiled = copy.deepcopy(config)
    profiled.connector_config = ConnectorConfig(**{**config.connector_config.to_dict(), **released})
    profiled.media_config = MediaConfig(**{**config.media_config.to_dict(), **media})
    profiled.prompt, profiled.system = "vicuna", None
    profiled.generation = GenerationSettings.of(RELEASED_GENERATION)
    return profiled
