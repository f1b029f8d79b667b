"""The container's files name extras, commands, options, variables and files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from typer import Context
from typer.main import get_command

from video_salmonn.cli.main import app
from video_salmonn.cli.serve import KEYS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")


def test_the_image_installs_extras_and_copies_files_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (named,) = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert {"embedded", "serve"} <= set(named.split(",")) <= set(project["optional-dependencies"])
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M) for name in line.split()]
    assert len(copied) == 5 and [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert ignored[0] == "*" and {f"!{name}" for name in copied} <= set(ignored)


def test_the_image_has_the_pinned_torch():
    (torch,) = re.findall(r"^ARG TORCH=(\S+)$", DOCKERFILE, re.M)
    assert torch in (ROOT / "constraints.txt").read_text("utf-8").splitlines()


def test_the_image_starts_a_command_and_the_key_comes_from_the_environment():
    (line,) = re.findall(r'^CMD \["video-salmonn", (.+)\]$', DOCKERFILE, re.M)
    name, *given = [part.strip('" ') for part in line.split(",")]
    group = get_command(app)
    command = group.get_command(Context(group), name)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {part for part in given if part.startswith("--")} <= options
    assert f"{KEYS}: ${{{KEYS}:?" in COMPOSE, "without a key nothing starts"
    assert '"127.0.0.1:8000:8000"' in COMPOSE, "this machine only"
