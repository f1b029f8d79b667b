"""Whatever the system says when media are opened or read is one MediaError that names the file."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from media_make import click, numbered
from PIL import Image

from video_salmonn.errors import MediaError
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.files import is_there
from video_salmonn.inference.media_store import content_key
from video_salmonn.media import duration, iter_clip, load_clip, load_many, probe

WAYS = {"load": load_clip, "probe": probe, "duration": duration, "pieces": lambda source: list(iter_clip(source))}


class Failing(io.BytesIO):
    """A file on a disk that fails from a position on."""

    def __init__(self, data: bytes, good: int, error: int = errno.EIO) -> None:
        super().__init__(data)
        self.good, self.error, self.name = good, error, "share/talk.mkv"

    def read(self, size: int | None = -1) -> bytes:
        wanted = len(self.getvalue()) if size is None or size < 0 else size
        if self.tell() + wanted > self.good:
            raise OSError(self.error, os.strerror(self.error))
        return super().read(size)


@pytest.fixture
def forbidden(tmp_path, made):
    """A file that may not be read, and one in a folder that may not be entered; as an ordinary user."""
    data = made("plain.mp4").read_bytes()
    unreadable, inside = tmp_path / "unreadable.mp4", tmp_path / "closed" / "talk.mp4"
    unreadable.write_bytes(data)
    inside.parent.mkdir()
    inside.write_bytes(data)
    unreadable.chmod(0)
    inside.parent.chmod(0)
    root = os.geteuid() == 0
    here = Path.cwd()
    os.chdir(tmp_path)  # the folders above are for their owner only
    tmp_path.chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        yield [Path(unreadable.name), Path("closed/talk.mp4")]
    finally:
        if root:
            os.seteuid(0)
        os.chdir(here)
        inside.parent.chmod(0o755)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_may_not_be_read_is_one_error_that_names_it(forbidden, way):
    for path in forbidden:
        with pytest.raises(MediaError, match="Permission denied") as caught:
            WAYS[way](path)
        assert caught.value.source == str(path) and caught.value.remedy
        assert content_key(path) is None and is_there(path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EPERM])
@pytest.mark.parametrize("good", [0, 3000])
def test_a_disk_that_fails_at_once_is_one_error_that_names_the_file(made, way, error, good):
    data = made("disk.mp4", seconds=20).read_bytes()
    with pytest.raises(MediaError) as caught:
        WAYS[way](Failing(data, good, error))
    assert caught.value.source == "share/talk.mkv" and os.strerror(error) in str(caught.value)
    assert "points to other files" not in str(caught.value) and caught.value.remedy


def test_a_disk_that_fails_in_the_middle_costs_what_could_not_be_read(made):
    path = made("disk.mkv", seconds=60, acodec="pcm_s16le", rate=16_000, sound=click(60, 16_000, [1.0]))
    data = path.read_bytes()
    clip = load_clip(Failing(data, len(data) // 2))
    assert 10 < clip.duration < 50 and any("Input/output error" in w for w in clip.report.warnings)


def test_a_picture_on_a_failing_disk(tmp_path):
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)).save(target, "PNG")
    for good in (0, 5000, 200_000):
        with pytest.raises(MediaError) as caught:
            load_clip(Failing(target.getvalue(), good))
        assert caught.value.source == "share/talk.mkv"


def test_the_sound_that_fails_is_the_one_that_is_named(made):
    broken = Failing(made("disk.mp4", seconds=20).read_bytes(), 0)
    with pytest.raises(MediaError) as caught:
        load_clip(numbered(3), sound=broken)
    assert caught.value.source == "share/talk.mkv"


def test_a_closed_file_object_and_a_stream_that_breaks():
    closed = io.BytesIO(b"abc")
    closed.close()
    with pytest.raises(MediaError, match="cannot be read"):
        load_clip(closed)

    class Pipe:
        name = "pipe"

        def read(self, size: int) -> bytes:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    with pytest.raises(MediaError, match=r"pipe: cannot be read .Connection reset"):
        load_clip(Pipe())


def test_one_failing_source_costs_one_item_of_many(made):
    good = made("plain.mp4")
    found = list(load_many([good, Failing(b"x" * 100, 0), good], workers=1))
    assert [isinstance(one, MediaError) for one in found] == [False, True, False]
    assert found[1].source == "share/talk.mkv"


def test_names_that_the_system_refuses_cost_their_item(tmp_path, made):
    (tmp_path / "talk.mp4").write_bytes(made("plain.mp4").read_bytes())
    index = MediaIndex(tmp_path)
    assert index.find("a" * 5000 + ".mp4", "how2") is None and index.find("talk.mp4", "how2") == tmp_path / "talk.mp4"
    assert not is_there(Path("a" * 5000)) and not is_there(Path("a\0b"))
