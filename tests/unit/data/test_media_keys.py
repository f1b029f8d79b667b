"""A store's list of keys: many writers lose none, and media that are not listed are looked up by what they hold."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from video_salmonn.data.media_keys import MediaKeys, key_name, read_keys, write_keys
from video_salmonn.errors import CheckpointError, MediaError


def test_processes_that_list_keys_at_once_lose_none(tmp_path):
    names = [[f"{writer}-{number}.wav" for number in range(12)] for writer in range(6)]

    def write(own):
        for name in own:
            write_keys(tmp_path, {name: name})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(write, names))
    assert set(read_keys(tmp_path)) == {name for own in names for name in own}


def test_keys_are_taken_from_the_list_else_from_the_files(tmp_path):
    recipe = {"layers": [{"file": "a.wav", "at": 1.0}]}
    write_keys(tmp_path, {"b.wav": "one"})
    write_keys(tmp_path, {key_name(recipe): "two"})
    keys = MediaKeys(tmp_path)
    assert keys.key("b.wav", tmp_path) == "one" and keys.key({**recipe}, tmp_path) == "two"
    with pytest.raises(MediaError, match=r"a\.wav"):
        keys.key("a.wav", tmp_path)
    (tmp_path / "a.wav").write_bytes(b"x")
    assert len(keys.key("a.wav", tmp_path)) == 24
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"keys\.json"):
        read_keys(tmp_path)
