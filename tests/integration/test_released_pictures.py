"""Single pictures reach the released model's encoder as the release prepares them: Pillow's antialiased bicubic."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from video_salmonn import VideoSalmonn
from video_salmonn.features.frames import CLIP_MEAN, CLIP_STD, prepare_frames
from video_salmonn.media import MediaOptions, load_clip

TINY = "the tiny model has random weights: its answers mean nothing"


def photograph(size: tuple[int, int] = (613, 401)) -> Image.Image:
    """Fine structure, which a filter without antialiasing turns into other patterns."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    rings = np.sin(((x - width / 2) ** 2 + (y - height / 2) ** 2) / 90)
    waves = np.stack([rings, np.sin(x / 1.3), np.cos(y / 2.1)], axis=-1)
    return Image.fromarray((waves * 120 + 128).astype(np.uint8))


def expected(image: Image.Image, size: int) -> torch.Tensor:
    """torchvision's Resize((size, size), bicubic), ToTensor and Normalize of the released picture path."""
    pixels = torch.from_numpy(np.array(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)))
    scaled = pixels.permute(2, 0, 1).float() / 255
    return (scaled - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


@pytest.fixture(scope="module")
def released() -> VideoSalmonn:
    return VideoSalmonn.load("tiny", profile="released")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_resized_as_the_release_resizes_pictures(released, kind):
    target = io.BytesIO()
    photograph().save(target, kind, quality=95)
    clip = released.processor.load(target.getvalue())
    made = released.processor.media_inputs([clip]).pixel_values
    wanted = expected(Image.open(io.BytesIO(target.getvalue())), made.shape[-1])
    assert made.shape[0] == 1 and torch.equal(made[0], wanted)
    video_path = prepare_frames(
        torch.from_numpy(np.asarray(photograph())[None].copy()), made.shape[-2:], how="released"
    )
    assert (video_path[0] - wanted).abs().mean() > 0.05, "the two filters differ on this picture"


def test_a_clip_decoded_at_its_own_size_is_resized_the_same_way(released):
    clip = load_clip(photograph())
    assert clip.frames.frames.shape == (1, 401, 613, 3)
    made = released.processor.media_inputs([clip]).pixel_values
    assert torch.equal(made[0], expected(photograph(), made.shape[-1]))


def test_spotlight_crops_are_resized_once_from_the_whole_picture(released):
    clip = released.processor.load(photograph(), spotlight=4)
    made = released.processor.media_inputs([clip]).pixel_values
    crop = photograph().crop((0, 0, round(2 * 613 / 4), round(2 * 401 / 4)))
    assert made.shape[0] == 10 and torch.equal(made[1], expected(crop, made.shape[-1]))


def test_a_picture_of_the_released_profile_gives_no_warning(released):
    clip = released.processor.load(photograph())
    assert clip.report.warnings == [] and clip.report.seen.frames == 1
    assert released.ask(photograph(), "What?", max_new_tokens=1).report["warnings"] == [TINY]
    assert load_clip(photograph(), options=MediaOptions(frame_times="released")).report.warnings == []


def test_videos_of_the_released_profile_keep_their_size_until_they_are_resized_its_way(released):
    frames = np.stack([np.asarray(photograph((96, 64)))] * 4)
    clip = released.processor.load((frames, 2.0))
    made = released.processor.media_inputs([clip]).pixel_values
    assert clip.frames.frames.shape[1:] == (64, 96, 3)
    assert torch.equal(made, prepare_frames(torch.from_numpy(clip.frames.frames), made.shape[-2:], how="released"))
