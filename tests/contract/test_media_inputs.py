"""Media inputs that contradict one another are refused by name, not cut, ignored or left to a tensor operation."""

import dataclasses

import pytest
import torch
from clips import clip

from video_salmonn.errors import ConfigError


@pytest.fixture(scope="module")
def inputs(tiny):
    return tiny[1].media_inputs([clip(2.0), clip(1.0, seed=1)])


LESS = {name: lambda tensor: tensor[:-1] for name in ("pixel_values", "log_mel", "audio_inputs", "segment_samples")}
FEWER_ITEMS = {name: lambda tensor: tensor[:-1] for name in ("sound_frames", "still_frames", "segment_counts")}
GONE = {name: lambda tensor: None for name in ("frame_counts", "segment_counts", "segment_samples", "sound_frames")}
OTHERS = {
    "frame_counts": lambda tensor: tensor + 1,
    "segment_counts": lambda tensor: tensor[:, None],
    "pixel_values": lambda tensor: None,
    "sound_frames": lambda tensor: -tensor,
    "still_frames": lambda tensor: tensor.float(),
}
CASES = [(name, change) for table in (LESS, FEWER_ITEMS, GONE, OTHERS) for name, change in table.items()]


@pytest.mark.parametrize(("name", "change"), CASES, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CASES)])
def test_inputs_that_do_not_fit_each_other_are_named(tiny, inputs, name, change):
    model, processor = tiny
    broken = dataclasses.replace(inputs, **{name: change(getattr(inputs, name))})
    with pytest.raises(ConfigError, match=name):
        model.encode_media(broken)
    given = processor("What happens?", media=[[clip(2.0), clip(1.0, seed=1)]])
    tensor = change(given[name])
    given = {**given, name: tensor} if tensor is not None else {key: v for key, v in given.items() if key != name}
    with pytest.raises(ConfigError, match=name):
        model.generate(**given, max_new_tokens=2)


def test_questions_of_another_number_of_items_are_named(tiny, inputs):
    model, _ = tiny
    ids = torch.ones(3, 4, dtype=torch.long)
    with pytest.raises(ConfigError, match="instruction_ids"):
        model.encode_media(dataclasses.replace(inputs, instruction_ids=ids))
    with pytest.raises(ConfigError, match="instruction_mask"):
        model.encode_media(dataclasses.replace(inputs, instruction_ids=ids[:2], instruction_mask=ids))
    with pytest.raises(ConfigError, match="frame_counts"):
        model.get_video_features(inputs.pixel_values, inputs.frame_counts[:-1])
