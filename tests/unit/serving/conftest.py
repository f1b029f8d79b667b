"""A real server with the tiny random model, on a port of its own."""

from __future__ import annotations

import contextlib

import pytest

from serving_client import Running, endless_engine
from video_salmonn import VideoSalmonn


@pytest.fixture(scope="session")
def tiny():
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def server(tiny):
    with Running(tiny) as running:
        yield running


@pytest.fixture(scope="session")
def endless():
    """An engine whose answers only a limit ends."""
    return endless_engine()


@pytest.fixture
def start(tiny):
    """Start a server with settings of a test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Running(settings.pop("engine", tiny), **settings))
