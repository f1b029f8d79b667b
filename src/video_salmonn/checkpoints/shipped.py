"""The small default model as the loader knows it: a model directory that ``video-salmonn setup`` writes once.

Its name is a fingerprint of what ships with this package (trained weights, and the preset's own settings), so another
version of the package asks for another directory and finds none until ``setup`` has run again.
"""

from __future__ import annotations

from pathlib import Path

from video_salmonn.cache import cache_home
from video_salmonn.errors import MissingPartError
from video_salmonn.files import digest, digest_file
from video_salmonn.model.presets import embedded

SETUP = "video-salmonn setup"
ASSETS = Path(__file__).parent.parent / "assets" / "embedded"
CONNECTOR_FILE = "connector.safetensors"
LORA_FILE = "lora.safetensors"
WORDS_FILE = "words.safetensors"
"""Which tokens the connector's outputs say (:class:`video_salmonn.model.words.WordOutputs`)."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML as the language model learned it, without its default system message: fewer tokens before the media."""
FORM = 3
"""Raise it when the same shipped files and settings become another directory."""
RECORD = "embedded.json"
"""Written last into the directory: which pretrained parts it was made of."""
SETTINGS = ("prompt", "system", "lora", "generation")
"""What of the preset is this package's own; the sizes of language model and Whisper come with the parts."""


def shipped_weights(assets: Path = ASSETS) -> str:
    """Fingerprint of the trained files that ship, 12 hexadecimal digits: what figures and calibrations belong to."""
    trained = [assets / name for name in (CONNECTOR_FILE, LORA_FILE, WORDS_FILE)]
    return digest([digest_file(path) if path.is_file() else None for path in trained])[:12]


def shipped_key(assets: Path = ASSETS) -> str:
    """Identifies this version's embedded model, 12 hexadecimal digits."""
    config = embedded()
    values = config.to_dict()
    settings = {name: values[name] for name in SETTINGS}
    parts = (config.encoder_settings(), config.connector_config.to_dict())
    return digest(FORM, CHAT_TEMPLATE, settings, parts, shipped_weights(assets))[:12]


def shipped_place(home: Path | None = None, assets: Path = ASSETS) -> Path:
    """Where the embedded model's directory is or would be, below ``home`` (:func:`~video_salmonn.cache.cache_home`)."""
    return (home or cache_home()) / "models" / f"embedded-{shipped_key(assets)}"


def shipped_model(home: Path | None = None) -> Path:
    """The embedded model's directory.

    Raises:
        MissingPartError: it is not there; the remedy is ``video-salmonn setup``.
    """
    folder = shipped_place(home)
    if not (folder / RECORD).is_file():
        raise MissingPartError(f"the embedded model is not set up ({folder} is not there)", remedy=SETUP)
    return folder
