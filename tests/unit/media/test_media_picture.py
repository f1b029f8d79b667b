"""Pictures: still, animated, turned, transparent, and the image spotlight."""

from __future__ import annotations

import io

import numpy as np
import pytest
from media_make import number, numbered, tone
from PIL import Image

from video_salmonn.media import Limits, MediaOptions, duration, load_clip, probe
from video_salmonn.media.sampling import spotlight_boxes


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_picture_formats(kind):
    clip = load_clip(encoded(Image.fromarray(numbered(1234)), kind))
    assert clip.frames.frames.shape == (1, 64, 96, 3) and number(clip.frames.frames[0]) == 1234
    assert clip.frames.times.tolist() == [0.0] and clip.duration == 0.5
    report = clip.report
    assert report.seen.detail == "picture" and report.heard.status == "absent"
    assert report.streams[0]["kind"] == "picture" and not report.warnings


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode):
    grey = Image.fromarray(numbered(77)).convert("L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert("RGB").convert(mode)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    clip = load_clip(encoded(picture, kind))
    assert number(clip.frames.frames[0]) == 77


def test_the_camera_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = encoded(Image.fromarray(numbered(99)), "JPEG", exif=exif, quality=95)
    frame = load_clip(data).frames.frames[0]
    assert frame.shape == (96, 64, 3) and number(np.rot90(frame)) == 99


def test_transparency_is_shown_on_white():
    picture = np.zeros((4, 4, 4), np.uint8)
    picture[2:, :, 3] = 255
    clip = load_clip(encoded(Image.fromarray(picture), "PNG"))
    assert clip.frames.frames[0, :2].min() == 255 and clip.frames.frames[0, 2:].max() == 0
    assert clip.report.warnings == ["transparent parts are shown on white"]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animated_pictures_are_silent_videos(kind):
    frames = [Image.fromarray(numbered(k)) for k in (1, 2, 3, 4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=400, **options)
    clip = load_clip(data)
    assert [number(f) for f in clip.frames.frames] == [1, 2, 3, 4]
    assert clip.duration == pytest.approx(1.6) and clip.report.heard.status == "absent"
    assert clip.report.streams[0]["kind"] == "video"
    assert duration(data) == pytest.approx(1.6)
    assert probe(data).seen.frames == 4
    part = load_clip(data, options=MediaOptions(start=0.8))
    assert [number(f) for f in part.frames.frames] == [3, 4]


def test_spotlight_is_the_picture_and_its_overlapping_crops():
    assert len(spotlight_boxes(96, 64, 4)) == 10
    assert spotlight_boxes(96, 64, 4)[1] == (0, 0, 48, 32) and spotlight_boxes(96, 64, 4)[-1] == (48, 32, 96, 64)
    assert spotlight_boxes(96, 64, 4)[5] == (24, 16, 72, 48)
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[32:, 48:] = 255
    clip = load_clip(picture, options=MediaOptions(spotlight=4, frame_size=(32, 32)))
    assert clip.frames.frames.shape == (10, 32, 32, 3)
    assert clip.frames.frames[1].max() == 0 and clip.frames.frames[9].min() == 255
    assert clip.frames.times.tolist() == [k / 2 for k in range(10)] and clip.duration == 5.0
    assert clip.report.seen.detail == "picture and 9 crops of it"
    assert duration(encoded(Image.fromarray(picture), "PNG"), options=MediaOptions(spotlight=4)) == 5.0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2)])
def test_spotlight_of_tiny_pictures(size):
    clip = load_clip(np.full((*size, 3), 9, np.uint8), options=MediaOptions(spotlight=4))
    assert clip.frames.frames.shape == (10, *size, 3) and clip.frames.frames.min() == 9


def test_picture_with_sound(made):
    sound = made("s.wav", vcodec=None, acodec="pcm_s16le", rate=16_000, sound=tone(3, 16_000))
    clip = load_clip(encoded(Image.fromarray(numbered(5)), "PNG"), sound=sound)
    assert len(clip.frames) == 1 and len(clip.sound.samples) == 48_000 and clip.duration == 3.0
    assert clip.report.seen.status == clip.report.heard.status == "used"


def test_a_huge_jpeg_is_decoded_small_when_small_is_asked_for():
    picture = Image.fromarray(np.tile(numbered(513), (20, 20, 1))[:1280, :1920])
    data = encoded(picture.resize((1920, 1280)), "JPEG")
    clip = load_clip(data, options=MediaOptions(frame_size=(224, 224)))
    assert clip.frames.frames.shape == (1, 224, 224, 3)


def test_pillow_images_and_limits():
    clip = load_clip(Image.fromarray(numbered(7)), options=MediaOptions(limits=Limits(max_pixels=96 * 64)))
    assert number(clip.frames.frames[0]) == 7
