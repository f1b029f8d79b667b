"""A model under another profile."""

from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import apply_profile
from video_salmonn.model.processing import VideoSalmonnProcessor


def as_released(model, processor):
    """The same weights in a second model, with everything the released code does."""
    config = apply_profile(model.config, "released")
    other = VideoSalmonnForConditionalGeneration.from_pretrained(None, config=config, state_dict=model.state_dict())
    return other.eval(), VideoSalmonnProcessor.from_config(config, processor.tokenizer, processor.qformer_tokenizer)
