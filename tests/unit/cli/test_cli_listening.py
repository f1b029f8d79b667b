"""What `serve` and `web` share."""

import pytest

from video_salmonn.cli import listening
from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.serving.settings import ServerSettings


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["mib", "seconds"])
def test_limits_that_are_no_finite_numbers_are_refused(name, value):
    with pytest.raises(ConfigError, match=r"nan|inf"):
        listening.settings_of([], **{"mib": 1.0, "seconds": 1.0, "port": 0, name: value})
    with pytest.raises(ConfigError, match="drain_seconds"):
        ServerSettings(("long-enough-key",), drain_seconds=value)


@pytest.mark.parametrize(
    ("host", "message"),
    [("", "host is empty"), ("a" * 300, "cannot listen on aaa"), ("a..b", r"cannot listen on a\.\.b")],
)
def test_a_host_that_cannot_be_is_one_error(host, message):
    with pytest.raises(ConfigError, match=message) as caught:
        listening.settings_of([], mib=1, seconds=1, host=host, port=0)
    assert "--host" in caught.value.remedy
