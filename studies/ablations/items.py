"""The items that all variants are trained and asked on: kept with the code, so that lines of different days compare.

``data build-embedded`` draws its items from whatever sources and teachers' names there are, so that one name more
changes most of them. An ablation that is run over days, and on other machines, needs the same items each time.

``python -m studies.ablations.items write`` makes the manifests out of ``items.jsonl.xz`` beside this file;
``keep`` makes that file out of manifests.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from video_salmonn.errors import ManifestError, VideoSalmonnError
from video_salmonn.files import json_lines, written
from video_salmonn.wording import counted

KEPT = Path(__file__).with_name("items.jsonl.xz")
SPLITS = ("train", "test")
PLACES = ("source", "further")
"""Folders that hold the media: ``data build-embedded`` takes them by the same names."""


def paths_mapped(media: Any, change: Callable[[str], str]) -> Any:
    """A media entry of a manifest with every path in it changed: whole files, layers and slides."""
    if isinstance(media, str):
        return change(media)
    if isinstance(media, list):
        return [paths_mapped(part, change) for part in media]
    if isinstance(media, dict):
        return {
            name: paths_mapped(value, change) if name in ("layers", "slides", "file") else value
            for name, value in media.items()
        }
    return media


def keep(manifests: Path, places: dict[str, Path], kept: Path = KEPT) -> int:
    """Write the items of ``train.jsonl`` and ``test.jsonl``, with paths below the named places; returns their number.

    Raises:
        ManifestError: a manifest cannot be read, or media lie in none of the places.
    """

    def named(path: str) -> str:
        file = Path(os.path.normpath(manifests.resolve() / path))
        for name, folder in places.items():
            if file.is_relative_to(folder.resolve()):
                return f"{{{name}}}/{file.relative_to(folder.resolve())}"
        raise ManifestError(f"{file} is in none of {', '.join(str(folder) for folder in places.values())}")

    lines = []
    for split in SPLITS:
        file = manifests / f"{split}.jsonl"
        for number, row in json_lines(file, ManifestError, "keep reads the manifests of data build-embedded"):
            if not isinstance(row.get("media"), dict):
                raise ManifestError(f"{file}, line {number}: no 'media' object", remedy="data build-embedded writes it")
            row |= {"split": split, "media": {kind: paths_mapped(value, named) for kind, value in row["media"].items()}}
            lines.append(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
    with written(kept) as partial:
        partial.write_bytes(lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))
    return len(lines)


def write(out: Path, places: dict[str, Path], kept: Path = KEPT) -> dict[str, int]:
    """Write ``train.jsonl`` and ``test.jsonl`` with paths relative to their folder; returns numbers of items.

    Raises:
        ManifestError: a media file is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []

    def found(path: str) -> str:
        file = Path(path.format_map({name: str(folder.resolve()) for name, folder in places.items()}))
        if not file.is_file():
            missing.append(str(file))
        return os.path.relpath(file, out.resolve())

    rows: dict[str, list[str]] = {split: [] for split in SPLITS}
    for line in lzma.decompress(kept.read_bytes()).decode().splitlines():
        row = json.loads(line)
        row["media"] = {kind: paths_mapped(value, found) for kind, value in row["media"].items()}
        rows[row["split"]].append(json.dumps(row, ensure_ascii=False) + "\n")
    if missing:
        raise ManifestError(
            f"{counted(len(missing), 'media file')} not there, the first: {missing[0]}",
            remedy="video-salmonn data prepare-further makes those of --further",
        )
    for split, lines in rows.items():
        with written(out / f"{split}.jsonl") as partial:
            partial.write_text("".join(lines), encoding="utf-8")
    return {split: len(lines) for split, lines in rows.items()}


def main(words: Iterable[str] | None = None) -> int:
    """The command. Returns 2 for bad input."""
    made = argparse.ArgumentParser(prog="python -m studies.ablations.items", description=__doc__.split("\n")[0])
    made.add_argument("action", choices=["write", "keep"])
    made.add_argument("--source", type=Path, required=True, help="folder with speech/, sounds/, images/ and clips/")
    made.add_argument("--further", type=Path, required=True, help="of data prepare-further")
    made.add_argument("--manifests", type=Path, default=Path("runs/ablation-data"), help="written, or read by keep")
    arguments = made.parse_args(None if words is None else list(words))
    places = {name: getattr(arguments, name) for name in PLACES}
    try:
        if arguments.action == "keep":
            print(f"{keep(arguments.manifests, places)} items in {KEPT}")
        else:
            print(f"{arguments.manifests}: {write(arguments.manifests, places)}")
    except OSError as error:
        print(f"{error.filename}: {error.strerror} (give a folder)", file=sys.stderr)
        return 2
    except VideoSalmonnError as error:
        print(f"{error}{f' ({error.remedy})' if getattr(error, 'remedy', None) else ''}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
