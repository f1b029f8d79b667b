"""What the embedded manifests are built from, and whether it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from video_salmonn.embedded.data.sources import check_folder, lines_of
from video_salmonn.embedded.data.wordnet import check_files
from video_salmonn.errors import ConfigError


@dataclass(frozen=True)
class DataPlan:
    """What a build is made from.

    Attributes:
        folder: the data folder; see :func:`video_salmonn.embedded.data.sources.read_sources`.
        further: folders written by ``data prepare-further``.
        seed: decides every choice.
        scale: multiplies the number of composed items.
        wordnet: WordNet's folder, to widen the vocabulary (:mod:`video_salmonn.embedded.data.wordnet`); None without.
        held_out: questions (JSON lines with ``question`` and ``media``) whose wordings and media no training may use.
        hours: of synthetic speech, by engine (:mod:`video_salmonn.embedded.data.spoken`); takes the place of the groups
            ``synthetic`` and ``vocabulary``.
    """

    folder: Path
    further: tuple[Path, ...] = ()
    seed: int = 0
    scale: float = 1.0
    wordnet: Path | None = None
    held_out: Path | None = None
    hours: dict[str, float] | None = None

    def check(self, out: Path) -> None:
        """Whether everything that is named is there; takes a fraction of a second, and nothing heavy is imported.

        Args:
            out: the folder that is to be written.

        Raises:
            ConfigError: the scale is no number above 0, ``out`` is a file, or a folder is none of ``prepare-further``.
            ManifestError: a manifest of ``folder``, WordNet's data or a line of the questions is missing.
        """
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"scale is {self.scale:g}", remedy="give a number above 0; 1 is the usual size")
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: is a file", remedy="name a folder for the manifests")
        check_folder(self.folder)
        for folder in self.further:
            if next(folder.glob("*/*.jsonl"), None) is None:
                raise ConfigError(
                    f"{folder}: holds nothing of prepare-further", remedy="video-salmonn data prepare-further"
                )
        if self.wordnet is not None:
            check_files(self.wordnet)
        for row in lines_of(self.held_out) if self.held_out is not None else ():
            row["question"]
