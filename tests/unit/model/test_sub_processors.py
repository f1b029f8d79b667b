"""The processor's parts by themselves, and as they are saved."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.errors import ConfigError
from video_salmonn.model.sub_processors import VideoSalmonnFeatureExtractor, VideoSalmonnImageProcessor


@pytest.fixture(scope="module")
def processor():
    return build_tiny()[1]


def test_pictures_and_frames_become_pixels():
    image_processor = VideoSalmonnImageProcessor({"height": 28, "width": 28})
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), dtype=np.uint8)
    assert image_processor(frames)["pixel_values"].shape == (3, 3, 28, 28)
    mixed = image_processor([Image.fromarray(frames[0]), frames[1]])["pixel_values"]
    torch.testing.assert_close(mixed, image_processor(frames[:2], pictures=True)["pixel_values"])
    with pytest.raises(ConfigError, match="float64"):
        image_processor([np.zeros((4, 4, 3))])


def test_sound_becomes_both_encoders_inputs(processor):
    extractor = processor.feature_extractor
    tone, short = np.sin(np.arange(16_000 * 12) / 9).astype(np.float32), np.zeros(8_000, np.float32)
    made = extractor([tone, None, short], sampling_rate=16_000)
    assert made["segment_counts"].tolist() == [2, 0, 1] and made["sound_frames"].tolist() == [24, 0, 1]
    assert made["log_mel"].shape == (3, 80, 1000) and len(made["audio_inputs"]) == 3
    alone = extractor(tone)
    torch.testing.assert_close(alone["log_mel"], made["log_mel"][:2])
    with pytest.raises(ConfigError, match="44100"):
        extractor(tone, sampling_rate=44_100)


def test_they_are_saved_with_the_processor_and_changes_last(processor, tmp_path, caplog):
    model, own = build_tiny()
    own.image_processor.image_mean = [0.5, 0.5, 0.5]
    model.save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.image_processor.image_mean == [0.5, 0.5, 0.5] != processor.image_processor.image_mean
    assert again.feature_extractor.to_dict() == own.feature_extractor.to_dict()
    alone = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(alone, VideoSalmonnFeatureExtractor) and alone.events == "beats"
    pictures = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(pictures, VideoSalmonnImageProcessor) and pictures.to_dict() == own.image_processor.to_dict()
    assert caplog.text == ""


def test_a_width_that_only_its_own_heads_divide_is_read_back(tmp_path):
    """Of the language model the processor keeps what has to fit together, not its width alone."""
    from transformers import LlamaConfig

    from video_salmonn.connector import ConnectorConfig
    from video_salmonn.model.byte_tokenizer import byte_tokenizer
    from video_salmonn.model.configuration import VideoSalmonnConfig
    from video_salmonn.model.processing import VideoSalmonnProcessor

    config = VideoSalmonnConfig(
        text_config=LlamaConfig(hidden_size=24, num_attention_heads=3, num_hidden_layers=1, vocab_size=384),
        speech_config={"d_model": 8, "encoder_attention_heads": 2},
        connector_config=ConnectorConfig(visual_dim=None, speech_dim=8, audio_dim=None, llm_dim=24),
    )
    VideoSalmonnProcessor.from_config(config, byte_tokenizer()).save_pretrained(tmp_path)
    assert VideoSalmonnProcessor.from_pretrained(tmp_path).config.text_config.hidden_size == 24
