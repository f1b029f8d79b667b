"""Models by their names on a hub of Hugging Face: ``owner/name``, or ``owner/name@revision``.

A name is taken for a hub's only where no such path can be meant: it has one slash, and there is no folder of the
owner's name in the working directory. Only settings and safetensors are fetched, never code or pickles.
"""

from __future__ import annotations

import re
from pathlib import Path

from video_salmonn.errors import CheckpointError

FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What of a repository is fetched."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def is_hub_name(name: str | Path) -> bool:
    """Whether a model's name is a hub's rather than a folder's."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not Path(name.split("/")[0]).exists()


def hub_folder(name: str) -> Path:
    """The folder of a hub's model on this machine; what is new of it is fetched, where the hub can be reached.

    Args:
        name: ``owner/name`` or ``owner/name@revision`` (a branch, tag or commit).

    Raises:
        CheckpointError: there is none of this name, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:  # all of the hub's and the network's errors are one of these
        raise CheckpointError(
            f"{name}: no folder of this name, and no model that the hub gives ({str(error).splitlines()[0]})",
            remedy="give a model directory, or owner/name of a model on the hub (HF_TOKEN for a private one)",
        ) from error
