"""Work in several processes: all of it is told, and what ends one of them is said."""

import os

import pytest

from video_salmonn.embedded.data.side_by_side import side_by_side
from video_salmonn.errors import ConfigError, MediaError


def numbers(share):
    for number in share:
        if number < 0:
            raise MediaError("a.wav", "cannot be read")
        if number > 99:
            os._exit(9)
        yield number


@pytest.mark.slow
def test_processes_tell_what_they_do_and_why_they_end():
    told: list[int] = []
    side_by_side(numbers, [[1, 2, 3], [4, 5]], told.append, wait=0.1)
    assert sorted(told) == [1, 2, 3, 4, 5]
    with pytest.raises(MediaError, match=r"a\.wav"):
        side_by_side(numbers, [[6, 7], [8, -1]], told.append, wait=0.1)
    assert sorted(told) == list(range(1, 9)), "the others come to their end"
    with pytest.raises(ConfigError, match="memory ran out"):
        side_by_side(numbers, [[100]], told.append, wait=0.1)
