"""Frames and tokens that a clip becomes, known from its duration and the configuration alone."""

from __future__ import annotations

from video_salmonn.model.configuration import VideoSalmonnConfig


def sound_frames(config: VideoSalmonnConfig, seconds: float) -> int:
    """Frames of 0.5 s the sound branch runs over: whole segments where padding is kept, else the real ones."""
    connector = config.connector_config
    if config.media_config.max_sound_seconds:
        seconds = min(seconds, config.media_config.max_sound_seconds)
    frames = connector.frames_for(seconds)
    per_segment = round(config.media_config.segment_seconds / connector.frame_seconds)
    return frames if connector.trim_padding else -(-frames // per_segment) * per_segment


def sight_frames(config: VideoSalmonnConfig, seconds: float) -> int:
    """Pictures taken of a clip; the released sampling takes two of every started second."""
    connector = config.connector_config
    if config.media_config.max_seconds:
        seconds = min(seconds, config.media_config.max_seconds)
    if config.media_config.frame_times == "released":
        return 2 * connector.frames_for(seconds / 2)
    return connector.frames_for(seconds)


def media_tokens(config: VideoSalmonnConfig, seconds: float, *, sight: bool = True, sound: bool = True) -> int:
    """Tokens the language model gets for a clip, known from its duration alone.

    Args:
        config: the model's configuration.
        seconds: duration of the clip.
        sight: the clip has a picture.
        sound: the clip has sound.
    """
    connector = config.connector_config
    if config.media_config.max_seconds:
        seconds = min(seconds, config.media_config.max_seconds)
    frames = sight_frames(config, seconds) if sight and config.vision_config else 0
    if sound and connector.has_sound:
        frames = connector.axis_frames(frames, sound_frames(config, seconds))
    return connector.tokens_for(frames) if frames else 0
