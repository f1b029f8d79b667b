"""What lmms-eval's entry point loads.

Apart from the model: lmms-eval reads entry points while its own modules are still being imported, when the model's base
class may not exist yet, and would only log the failure.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

MODEL_ID = "video_salmonn"
INSTALL = (
    'pip install --no-deps "lmms-eval==0.7.3" loguru tenacity',
    'pip install "filelock<4" pytz sacrebleu evaluate datasets opencv-python-headless',
)
"""How to install lmms-eval beside this package: the release that `make test-lmms` runs, and what it needs of its own.

It reaches into filelock's private modules, which filelock 4 moved; its pinned requirements are left out.
"""


def manifest() -> Any:
    """The model's id in lmms-eval and where its class is."""
    if find_spec("filelock._api") is None:
        warnings.warn(f"lmms-eval fails with this filelock when it starts: {INSTALL[1]}", stacklevel=2)
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id=MODEL_ID, chat_class_path="video_salmonn.evaluation.lmms_eval.VideoSalmonnForLmmsEval"
    )
