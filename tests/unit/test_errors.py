"""Every error says what to do."""

from __future__ import annotations

import pickle

import pytest

from video_salmonn import errors
from video_salmonn.errors import MediaError, VideoSalmonnError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VideoSalmonnError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not VideoSalmonnError])
def test_an_error_without_a_remedy_of_its_own_gives_the_usual_one_of_its_kind(kind):
    given = ("a.mp4", "is odd") if issubclass(kind, MediaError) else ("a.mp4: is odd",)
    error = kind(*given)
    assert str(error) == "a.mp4: is odd" and error.remedy
    assert kind(*given, remedy="do this").remedy == "do this"
    assert pickle.loads(pickle.dumps(error)).to_dict() == error.to_dict()
