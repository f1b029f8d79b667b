"""Write the further collections: small media files, and a manifest for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.further.at_once import at_once
from video_salmonn.embedded.data.further.collections import COLLECTIONS, Collection, Known
from video_salmonn.embedded.data.further.git import GitFolder
from video_salmonn.embedded.data.further.sources import grid_split
from video_salmonn.embedded.data.further.walls import write_walls
from video_salmonn.embedded.data.sources import lines_of
from video_salmonn.errors import ConfigError, ManifestError, MediaError

WALLS = "walls"


def known_ids(data: Path) -> Known:
    """Ids of the first collections' manifests, which further ones leave out."""
    found: Known = {}
    for path in sorted(data.glob("*/*.jsonl")):
        found.setdefault(path.stem, set()).update(str(row["id"]) for row in lines_of(path) if "id" in row)
    return found


def clone_of(clones: Path, repository: str) -> GitFolder:
    """The clone of ``owner/name`` in a folder of clones: ``owner+name``, ``owner/name`` or ``name``."""
    owner, name = repository.split("/")
    for place in (clones / f"{owner}+{name}", clones / owner / name, clones / name):
        if place.is_dir():
            return GitFolder(place, repository)
    raise ManifestError(f"{clones}: no clone of {repository}", remedy=f"git clone --depth 1 it into {clones / name}")


def prepare(
    clones: Path,
    data: Path,
    out: Path,
    names: Iterable[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write collections into ``out``; existing files are kept, so a stopped run is resumed.

    Args:
        clones: folder of git clones (:func:`clone_of`).
        data: the first data folder; what it has is left out.
        out: gets ``speech/``, ``sounds/``, ``images/`` and ``clips/``.
        names: collections to make; all by default.
        report: gets a line for each.

    Returns:
        by collection ``{"items", "megabytes", "failed"}``.

    Raises:
        ConfigError: no such collection.
        ManifestError: a clone is missing or not readable.
    """
    wanted = list(names)
    possible = [*(collection.name for collection in COLLECTIONS), WALLS]
    unknown = sorted(set(wanted) - set(possible))
    if unknown:
        known_names = ", ".join(possible)
        raise ConfigError(f"no such collections: {', '.join(unknown)}", remedy=f"some of {known_names}")
    known = known_ids(data)
    table: dict[str, Any] = {}
    for collection in COLLECTIONS:
        if wanted and collection.name not in wanted:
            continue
        table[collection.name] = _write(collection, clones, known, out)
        report(f"{collection.name}: {table[collection.name]}")
    if not wanted or WALLS in wanted:
        table[WALLS] = _walls(data, out)
        report(f"{WALLS}: {table[WALLS]}")
    return table


def _walls(data: Path, out: Path) -> dict[str, Any]:
    """Talking heads before painted walls (:mod:`video_salmonn.embedded.data.further.walls`)."""
    clips = [(row["id"], data / "clips" / row["media"], grid_split(row["id"]))
             for row in lines_of(data / "clips" / "grid_s1.jsonl")]  # fmt: skip
    clips += [(row["id"], data / "clips" / row["media"], "test")
              for row in lines_of(data / "clips" / "clips.jsonl") if row["source"] == "GRID"]  # fmt: skip
    rows = write_walls(clips, out / "images", "CC BY 4.0 (GRID corpus)", "GRID, its wall painted")
    size = sum((out / "images" / row["media"]).stat().st_size for row in rows)
    _write_rows(out / "images" / f"{WALLS}.jsonl", rows)
    return {"items": len(rows), "megabytes": round(size / 1e6, 1), "failed": []}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write(collection: Collection, clones: Path, known: Known, out: Path) -> dict[str, Any]:
    files = clone_of(clones, collection.repository)
    beside = None if collection.beside is None else clone_of(clones, collection.beside)
    base = out / collection.kind
    (base / collection.name).mkdir(parents=True, exist_ok=True)
    rows = {path: (row, convert) for row, path, convert in collection.rows(files, beside, known)}
    written: list[dict[str, Any]] = []
    failed: list[str] = []
    size = 0

    def keep(row: dict[str, Any], target: Path) -> None:
        nonlocal size
        size += target.stat().st_size
        media = {"id": row["id"], "media": f"{collection.name}/{target.name}"}
        written.append(media | row | {"licence": row.get("licence", collection.licence), "source": files.source})

    targets = {path: base / collection.name / f"{row['id']}{collection.suffix}" for path, (row, _) in rows.items()}
    for path, (row, _) in rows.items():
        if targets[path].is_file():
            keep(row, targets[path])

    def made(file: tuple[str, bytes]) -> tuple[str, str]:
        path, data = file
        try:
            rows[path][1](data, targets[path])
        except MediaError as error:
            return path, str(error)
        return path, ""

    for path, fault in at_once(made, files.read(path for path in rows if not targets[path].is_file())):
        if fault:
            failed.append(fault)
        else:
            keep(rows[path][0], targets[path])
    known.setdefault(collection.known_as or collection.name, set()).update(row["id"] for row in written)
    written.sort(key=lambda row: str(row["id"]))
    _write_rows(base / f"{collection.name}.jsonl", written)
    return {"items": len(written), "megabytes": round(size / 1e6, 1), "failed": failed}
