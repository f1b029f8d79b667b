"""What `serve` and `web` share."""

import pytest

from video_salmonn.cli import listening
from video_salmonn.errors import MissingPartError


@pytest.mark.parametrize(("name", "more"), [("fastapi", ()), ("uvicorn.server", ()), ("gradio", ("gradio",))])
def test_a_package_of_the_extra_that_is_missing_is_named_with_its_remedy(name, more):
    with pytest.raises(MissingPartError, match=name) as raised, listening.packages("web", *more):
        raise ImportError(f"No module named {name!r}", name=name)
    assert raised.value.remedy == 'pip install "video-salmonn[web]"'


@pytest.mark.parametrize("name", ["gradio", "video_salmonn.none_such", None])
def test_another_fault_of_importing_is_not_called_a_missing_package(name):
    with pytest.raises(ImportError), listening.packages("serve"):
        raise ImportError("broken", name=name)


def test_settings_follow_the_longest_file_and_item():
    settings = listening.settings_of(
        ["second-key", "first-key", "second-key"], mib=2, seconds=700, host="0.0.0.0", port=1
    )
    assert (
        settings.keys == ("second-key", "first-key")
        and settings.max_body_bytes == 2 << 20
        and settings.max_frames == 1400
    )
    assert not settings.is_loopback
    (made,) = listening.settings_of([], mib=1, seconds=1).keys
    assert len(made) > 20
