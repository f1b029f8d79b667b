"""Options and fixtures that the whole suite shares."""

import random
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "fixtures" / "golden"


def pytest_addoption(parser):
    parser.addoption("--run-packaging", action="store_true", help="also install the built wheel elsewhere (make build)")


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers in every run, alone and among others."""
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden files."""
    return GOLDEN
