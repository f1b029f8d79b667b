"""The released repository's own example files: the same items in, the same ``eval_result.json`` out.

An item is ``{"image_name": file | [picture, sound], "conversation": [{"from": "human" | "gpt", "value"}, …]}``. A
single video file brings its own sound, which the released code could not do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_salmonn.errors import ContextError, ManifestError, MediaError
from video_salmonn.files import is_there, json_file, write_json
from video_salmonn.inference.options import checked

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

REMEDY = 'each item needs "image_name" (a file or [picture, sound]) and "conversation" with a human turn'


def read_items(path: Path) -> list[dict[str, Any]]:
    """Items of a file in the released format.

    Raises:
        ManifestError: the file cannot be read, or an item lacks something; names file and item.
    """
    items = json_file(path, ManifestError, remedy=REMEDY)
    if not isinstance(items, list):
        raise ManifestError(f"{path}: a list of items is needed", remedy=REMEDY)
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict) or not item.get("image_name") or not _question(item):
            raise ManifestError(f"{path}: item {number} lacks image_name or a question", remedy=REMEDY)
        names = item["image_name"]
        if not isinstance(names, str) and not (isinstance(names, list) and len(names) == 2):
            raise ManifestError(f"{path}: item {number}: image_name must be a file or [picture, sound]", remedy=REMEDY)
    return items


def _question(item: dict[str, Any]) -> str:
    turns = item.get("conversation")
    if not isinstance(turns, list):
        return ""
    return next((str(t.get("value", "")) for t in turns if isinstance(t, dict) and t.get("from") == "human"), "")


def _reference(item: dict[str, Any]) -> str:
    return next((str(t.get("value", "")) for t in item["conversation"] if t.get("from") == "gpt"), "")


def _media(item: dict[str, Any], folder: Path) -> Any:
    """Paths are as in the file: absolute, or relative to the working directory, else to the file's folder."""

    def resolve(name: str) -> str:
        direct = Path(name)
        beside = folder / name
        return str(beside if not is_there(direct) and is_there(beside) else direct)

    names = item["image_name"]
    return resolve(names) if isinstance(names, str) else (resolve(names[0]), resolve(names[1]))


def answer_file(engine: VideoSalmonn, path: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    """Answer every item and write the result file after each of them, atomically.

    An item whose media cannot be used gets an empty ``gen_answer`` and an ``error``; the others are answered.

    Returns:
        one entry an item: ``id``, ``conversation`` (the question), ``task``, ``ref_answer``, ``gen_answer`` as the
        released code writes them, and ``report``, the account of what was seen and heard (or ``error``).

    Raises:
        ManifestError: the file is not in the released format, or the result cannot be written.
        ConfigError: an option is impossible.
    """
    items = read_items(path)
    checked(options)
    results: list[dict[str, Any]] = []
    for item in items:
        question = _question(item)
        entry = {
            "id": item["image_name"],
            "conversation": question,
            "task": item.get("task", "audiovisual"),
            "ref_answer": _reference(item),
            "gen_answer": "",
        }
        try:
            answer = engine.ask([_media(item, path.parent)], question, **options)
            entry |= {"gen_answer": answer.text, "report": answer.report}
        except (MediaError, ContextError) as error:
            entry |= {"error": error.to_dict()}
        results.append(entry)
        _write(results, out)
    return results


def check_out(out: Path) -> None:
    """Raise ManifestError unless a result file can be written there."""
    if out.is_dir():
        raise ManifestError(f"{out}: is a folder", remedy="give the name of a file as --out")
    folder = next((parent for parent in out.absolute().parents if parent.exists()), None)
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ManifestError(f"{out}: cannot be written there ({folder})", remedy="give another --out")


def _write(results: list[dict[str, Any]], out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, results)
    except OSError as error:
        raise ManifestError(f"{out}: cannot be written ({error.strerror})", remedy="give another --out") from error
