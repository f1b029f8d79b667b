"""Which functions of the package a question passes through, and a step of training: for docs/architecture.md.

Run it to print them: ``python tests/walks.py``.

A function counts once, when it is first called; what runs while a module is imported does not count. A climb is a pair
of functions where one calls the other and the file of the callee is already further up on the stack.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
CLIP = "examples/grid/swbo8n.mp4"


@dataclass
class Walk:
    """What was called, in the order of first calls."""

    package: Path
    functions: dict[str, list[str]] = field(default_factory=dict)
    """Functions by file, both in the order of first calls; files are relative to the package."""
    climbs: set[tuple[str, str]] = field(default_factory=set)
    names: dict[CodeType, tuple[str, str] | None] = field(default_factory=dict)

    def place(self, code: CodeType) -> tuple[str, str] | None:
        """File and function of code of the package."""
        if code not in self.names:
            name = code.co_qualname.replace(".<locals>", "")
            inside = code.co_filename.startswith(f"{self.package}/") and "<" not in name
            self.names[code] = (str(Path(code.co_filename).relative_to(self.package)), name) if inside else None
        return self.names[code]

    def enter(self, frame: FrameType) -> None:
        """Note a call."""
        here = self.place(frame.f_code)
        if here is None:
            return
        above = []
        caller = frame.f_back
        while caller:
            if caller.f_code.co_name == "<module>" and Path(caller.f_code.co_filename).is_relative_to(self.package):
                return
            above += filter(None, [self.place(caller.f_code)])
            caller = caller.f_back
        known = self.functions.setdefault(here[0], [])
        if here[1] not in known:
            known.append(here[1])
        if above and above[0][0] != here[0] and here[0] in {file for file, _ in above}:
            self.climbs.add((":".join(above[0]), ":".join(here)))


@contextlib.contextmanager
def walked(package: Path) -> Iterator[Walk]:
    """All calls inside the block, of every thread that starts in it."""
    walk = Walk(package)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            walk.enter(frame)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def ask() -> None:
    """``video-salmonn ask`` with the random tiny model."""
    from video_salmonn.cli.main import app

    app(["ask", CLIP, "Who speaks?", "--model", "tiny", "--max-new-tokens", "4"], standalone_mode=False)


def build() -> Any:
    """What ``video-salmonn train recipes/tiny.yaml`` does before its first step."""
    from video_salmonn.training.recipe import load_recipe
    from video_salmonn.training.stage import build_trainer

    changes = [f"output={tempfile.mkdtemp()}", "batch_size=2", "micro_batch=2"]
    return build_trainer(load_recipe(Path("recipes/tiny.yaml"), changes))


def train() -> None:
    """The same with one step."""
    build().train_step()


ROUTES = {"ask": ask, "build": build, "train": train}


def compact(walk: Walk) -> str:
    """The files in the order of first calls, those of one folder that follow each other together."""
    runs = [(folder, list(files)) for folder, files in groupby(walk.functions, lambda file: str(Path(file).parent))]
    shown = (f"`{folder}` " + ", ".join(Path(file).stem for file in files) for folder, files in runs)
    return " · ".join(shown).replace("`.` ", "")


def main() -> None:
    """Print the walks that are named, or all."""
    import video_salmonn

    os.environ["VIDEO_SALMONN_HOME"] = tempfile.mkdtemp()
    for name in sys.argv[1:] or ROUTES:
        with walked(Path(video_salmonn.__file__).parent) as walk:
            ROUTES[name]()
        count = sum(map(len, walk.functions.values()))
        print(f"\n{name}: {count} functions in {len(walk.functions)} files, {len(walk.climbs)} climbs\n{compact(walk)}")
        for folder, files in groupby(sorted(walk.functions), lambda file: file.split("/")[0]):
            names = list(files)
            print(f"  {folder}: {sum(len(walk.functions[file]) for file in names)} functions in {len(names)} files")
        for caller, callee in sorted(walk.climbs):
            print(f"  climb: {caller} -> {callee}")


if __name__ == "__main__":
    main()
