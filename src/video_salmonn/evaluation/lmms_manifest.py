"""What lmms-eval's entry point loads.

Apart from the model: lmms-eval reads entry points while its own modules are still being imported, when the model's base
class may not exist yet, and would only log the failure.
"""

from __future__ import annotations

from typing import Any

MODEL_ID = "video_salmonn"


def manifest() -> Any:
    """The model's id in lmms-eval and where its class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id=MODEL_ID, chat_class_path="video_salmonn.evaluation.lmms_eval.VideoSalmonnForLmmsEval"
    )
