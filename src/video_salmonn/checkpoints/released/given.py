"""Where the official files are, and what a look at their first bytes tells: nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from video_salmonn.checkpoints.directory import CONFIG, check_tensors
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.files import json_object

_AGAIN = "download it again and compare its size"
_TORCH = (b"PK", b"\x80")
"""What files of ``torch.save`` begin with: a ZIP archive, or, of old, a pickle."""


@dataclass(frozen=True)
class ReleasedFiles:
    """Where the official files are. ``instructblip`` and ``eva``, or ``instructblip_hf`` in place of both.

    Attributes:
        delta: the delta checkpoint; None for a model to be trained, whose connector and adapter are new.
        beats: BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt.
        whisper, llm: model folders.
        instructblip, eva: the two official files of the visual tower.
        instructblip_hf: Hugging Face folder of InstructBLIP.
        bert_tokenizer: folder of InstructBLIP's tokenizer; by default ``qformer_tokenizer`` of the folder above.
    """

    delta: Path | None
    beats: Path
    whisper: Path
    llm: Path
    instructblip: Path | None = None
    eva: Path | None = None
    instructblip_hf: Path | None = None
    bert_tokenizer: Path | None = None


def check_files(files: ReleasedFiles) -> None:
    """Raise unless all official files are given, are there, and are of their kinds.

    Raises:
        ConfigError: neither or both sources of the visual tower are given.
        CheckpointError: a file or folder is missing, empty, cut off, or of another kind.
    """
    pair = (files.instructblip is not None) + (files.eva is not None)
    if (files.instructblip_hf is None and pair < 2) or (files.instructblip_hf is not None and pair):
        raise ConfigError(
            "the visual tower needs --instructblip and --eva, or --instructblip-hf alone",
            remedy="give the two official files, or the folder of Salesforce/instructblip-vicuna-13b",
        )
    for file in (files.delta, files.instructblip, files.eva, files.beats):
        if file is not None:
            _check_file(file)
    for folder in (files.whisper, files.llm, files.instructblip_hf):
        if folder is not None:
            json_object(folder / CONFIG, CheckpointError, remedy=_AGAIN, absent="give the model's folder as downloaded")


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file", remedy="give the path of the downloaded file")
    if file.suffix == ".safetensors":
        check_tensors(file, _AGAIN)
        return
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})", remedy="check its permissions") from error
    if not start.startswith(_TORCH):
        raise CheckpointError(f"{file}: {'not a torch file' if start else 'holds zero bytes'}", remedy=_AGAIN)
