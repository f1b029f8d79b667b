"""Photographs of phones (HEIC), AVIF, and pictures that a display matrix mirrors: shown whole and upright."""

from __future__ import annotations

import io
import struct

import heif_make
import numpy as np
import pytest
from heif_make import CORNERS, heic
from media_make import matrix_header, number, numbered, rotate_header
from PIL import Image, ImageOps

from video_salmonn.errors import LimitError, MediaError
from video_salmonn.media import Limits, MediaOptions, duration, heif, load_clip, probe
from video_salmonn.media.video import orientation, oriented


def corners(picture: np.ndarray) -> list[int]:
    """Which of the four colours is at each corner, row by row."""
    places = [picture[y, x].astype(int) for y in (4, -5) for x in (4, -5)]
    return [int(np.abs(np.array(CORNERS) - place).sum(axis=1).argmin()) for place in places]


def test_an_iphone_picture_is_one_picture_of_all_its_tiles(tmp_path):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(heic(thumbnail=True))
    for source in (path, path.read_bytes()):
        clip = load_clip(source)
        assert clip.frames.frames.shape == (1, 128, 128, 3) and corners(clip.frames.frames[0]) == [0, 1, 2, 3]
        assert clip.report.seen.detail == "picture" and clip.duration == 0.5 and not clip.report.warnings
        assert [s["kind"] for s in clip.report.streams] == ["picture"]
    assert probe(path).seen.frames == 1 and duration(path) == 0.5
    crops = load_clip(path, options=MediaOptions(spotlight=4, frame_size=(32, 32)))
    assert crops.frames.frames.shape == (10, 32, 32, 3)


def test_a_grid_is_cut_to_the_size_of_the_picture():
    colours = [CORNERS[k] for k in (0, 0, 1, 2, 2, 3)]
    clip = load_clip(heic(colours=colours, columns=3, shown=(150, 100)))
    assert clip.frames.frames.shape == (1, 100, 150, 3) and corners(clip.frames.frames[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("mirrored", [None, 0, 1])
def test_a_grid_is_turned_then_mirrored_as_its_properties_say(turned, mirrored):
    frame = load_clip(heic(turned=turned, mirrored=mirrored)).frames.frames[0]
    expected = np.rot90(np.arange(4).reshape(2, 2), turned)
    expected = expected if mirrored is None else expected[::-1] if mirrored == 0 else expected[:, ::-1]
    assert corners(frame) == expected.ravel().tolist()


def test_a_heic_of_one_item_is_shown_upright():
    clip = load_clip(heic(colours=CORNERS[:1], columns=1, turned=1))
    assert clip.frames.frames.shape == (1, 64, 64, 3) and corners(clip.frames.frames[0]) == [0] * 4


@pytest.mark.parametrize("kind", [b"iovl", b"unci"])
def test_a_heif_picture_of_another_make_is_refused_with_the_remedy(kind):
    with pytest.raises(MediaError, match="not read here") as caught:
        load_clip(heic(kind=kind))
    assert "JPEG" in caught.value.remedy


def test_a_damaged_heic_is_one_error():
    data = heic()
    for broken in (data[: len(data) // 3], data.replace(b"iloc", b"skip"), data.replace(b"pitm", b"skip"), data[:60]):
        with pytest.raises(MediaError) as caught:
            load_clip(broken)
        assert caught.value.source == "<bytes>"


@pytest.mark.parametrize("at", range(24, 700, 41))
def test_any_damaged_byte_of_the_description_is_survived(at):
    data = bytearray(heic())
    data[at % len(data)] ^= 0xFF
    try:
        load_clip(bytes(data))
    except MediaError as error:
        assert error.remedy


def test_a_grid_of_grids_of_grids_is_not_followed_for_ever():
    data = heic()
    inputs = struct.pack(">HHHHHH", 5, 4, 1, 2, 3, 4)
    grids = data.replace(inputs, struct.pack(">HHHHHH", 5, 4, 5, 5, 5, 5))
    assert grids != data
    with pytest.raises(MediaError, match=r"damaged|not read here"):
        load_clip(grids)


def test_a_heic_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(heif._Picture, "_decoded", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(LimitError, match="128x128"):
        load_clip(heic(), options=MediaOptions(limits=Limits(max_pixels=10_000)))


def avif(**options) -> bytes:
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    target = io.BytesIO()
    Image.fromarray(numbered(1234)).save(target, "AVIF", **options)
    return target.getvalue()


def test_an_avif_is_a_picture():
    clip = load_clip(avif(quality=90))
    assert number(clip.frames.frames[0]) == 1234 and clip.frames.frames.shape == (1, 64, 96, 3)
    assert clip.report.seen.detail == "picture" and clip.duration == 0.5
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_clip(avif(quality=90, exif=exif)).frames.frames[0]
    assert turned.shape == (96, 64, 3) and number(np.rot90(turned)) == 1234


@pytest.mark.parametrize("mark", range(1, 9))
def test_an_avif_is_read_without_pillow_too(monkeypatch, mark):
    exif = Image.Exif()
    exif[0x0112] = mark
    data = avif(quality=95, exif=exif)
    expected = load_clip(data).frames.frames[0]
    monkeypatch.setattr("video_salmonn.media.image._FORMATS", ("PNG",))
    clip = load_clip(data)
    assert clip.report.seen.detail == "picture"
    assert np.abs(clip.frames.frames[0].astype(int) - expected).mean() < 4


def test_an_animated_avif_is_a_silent_video():
    frames = [Image.fromarray(numbered(k)) for k in (2, 3, 4)]
    clip = load_clip(avif(save_all=True, append_images=frames, duration=500, quality=90))
    assert [number(f) for f in clip.frames.frames] == [1234, 2, 3, 4] and clip.duration == pytest.approx(2.0)


def test_a_tiff_of_several_pages_says_that_the_first_is_shown():
    target = io.BytesIO()
    pages = [Image.fromarray(numbered(k)) for k in (7, 8, 9)]
    pages[0].save(target, "TIFF", save_all=True, append_images=pages[1:])
    clip = load_clip(target.getvalue())
    assert number(clip.frames.frames[0]) == 7 and clip.report.warnings == ["the file holds 3 pages; the first is shown"]


def test_a_jpeg_that_carries_a_second_picture_is_read():
    target = io.BytesIO()
    pages = [Image.fromarray(numbered(k)) for k in (7, 8)]
    pages[0].save(target, "MPO", save_all=True, append_images=pages[1:], quality=95)
    clip = load_clip(target.getvalue())
    assert len(clip.frames) == 1 and number(clip.frames.frames[0]) == 7


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_mirrored_and_turned_video_is_shown_as_its_matrix_says(made, tmp_path, turns, mirror):
    path = tmp_path / "front.mp4"
    path.write_bytes(made("m.mp4", acodec=None, seconds=1).read_bytes())
    rotate_header(path, turns, mirror)
    plain = load_clip(made("m.mp4", acodec=None, seconds=1)).frames.frames
    clip = load_clip(path)
    image = Image.fromarray(plain[1])
    image = ImageOps.mirror(image) if mirror else image
    expected = np.asarray(image.rotate(-90 * turns, expand=True))
    assert clip.frames.frames[1].shape == expected.shape and np.array_equal(clip.frames.frames[1], expected)
    assert not clip.report.warnings
    scaled = load_clip(path, options=MediaOptions(frame_size=(48, 40))).frames.frames
    assert scaled.shape[1:] == (48, 40, 3)


def test_a_matrix_that_also_scales_or_leans(made, tmp_path):
    path = tmp_path / "scaled.mp4"
    path.write_bytes(made("m.mp4", acodec=None, seconds=1).read_bytes())
    matrix_header(path, 0, 0.5, 2, 0)
    assert load_clip(path).frames.frames.shape[1:] == (96, 64, 3)
    matrix_header(path, 0.8, 0.6, -0.6, 0.8)
    assert any("not a quarter turn" in w for w in load_clip(path).report.warnings)


def test_orientations_are_the_eight_of_exif():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    ways = {
        1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
        5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
    }  # fmt: skip
    for mark, (a, b, c, d) in ways.items():
        image, exif = Image.fromarray(array), Image.Exif()
        exif[0x0112] = mark
        target = io.BytesIO()
        image.save(target, "PNG", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(target.getvalue()))))
        matrix = np.array([a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30], np.int32).tobytes()
        assert np.array_equal(oriented(array, orientation(matrix)), expected), mark
    assert orientation(b"") is None and heif_make.CORNERS
