from __future__ import annotations

import pytest
import torch
from profiles import as_released

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.inference.engine import VideoSalmonn


def louder(model):
    """Adapter and connector at a size at which a mistake shows in the logits."""
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
        elif name.startswith("connector.") and parameter.ndim > 1 and "llm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
        elif name == "connector.llm_projection.weight":
            torch.nn.init.normal_(parameter, std=5.0)
    return model


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny():
    model, processor = build_tiny()
    return louder(model), processor


@pytest.fixture(scope="session", params=["plain", "released"])
def system(request, tiny):
    """(model, processor), as trained from scratch and with everything the released code does."""
    return tiny if request.param == "plain" else as_released(*tiny)


@pytest.fixture(scope="session")
def engine(system):
    return VideoSalmonn(*system, name="tiny")


@pytest.fixture
def own_tiny():
    """A model the test may change."""
    model, processor = build_tiny()
    return louder(model), processor
