"""Commands and Python of the documentation run as typed, from the repository's root, on files that are in it.

The pages run in a folder that links to the repository's, so that what they write stays out of it. Quick lines (no
embedded model, no training) run in every test run, whole pages in `make test-slow`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, SHELL, Block, blocks, own_arguments, pages
from typer.testing import CliRunner

from command_line import refused
from video_salmonn.cli.main import app
from video_salmonn.embedded.assemble import written_model

RUN = ["README.md", "docs/ask.md", "docs/inspect.md", "docs/huggingface.md", "docs/training.md"]
"""Pages whose blocks are run; of the others every command is parsed."""
QUICK_COMMANDS = ("probe", "info", "plan", "data validate", "data convert")
MEDIA = re.compile(r"[\w./-]+\.(?:mp4|mpg|webm|jpg|jpeg|flac|wav|mp3)\b")
embedded = pytest.mark.skipif(written_model() is None, reason="the embedded model is not set up: video-salmonn setup")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder like the repository's root, with nothing in it that a page could overwrite."""
    for name in ("examples", "recipes", "tests", "docs", "benchmarks", "studies"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def every_block() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def test_every_command_in_the_docs_is_spelled_as_the_command_line_takes_it():
    wrong = []
    for block in every_block():
        if block.language not in SHELL:
            continue
        for line, _ in block.commands():
            for arguments in own_arguments(line):
                shown = [word for word in arguments if word not in ("…", "$o")]
                if len(shown) == len(arguments) and not any(word.startswith("$") for word in shown):
                    problem = refused(shown)
                    if problem:
                        wrong.append(f"{block.where}: {line}: {problem}")
    assert wrong == []


def test_every_media_file_that_a_command_or_an_example_uses_is_in_the_repository():
    missing = []
    for block in every_block():
        if block.not_run or block.language not in (*SHELL, "python"):
            continue
        for name in MEDIA.findall(block.text):
            if not (ROOT / name).exists():
                missing.append(f"{block.where}: {name}")
    assert missing == []


def test_make_targets_in_the_docs_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {
        (page, name)
        for page in [*pages(), "CONTRIBUTING.md"]
        for name in re.findall(r"(?:`|^\$? ?)make ([a-z][a-z-]*)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    }
    assert {(page, name) for page, name in named if name not in targets} == set()


def test_scripts_in_the_docs_exist_and_have_the_options_they_are_given():
    wrong = []
    for block in every_block():
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines() if block.language in SHELL else ():
            for script, rest in re.findall(
                r"\bpython3? ((?:benchmarks|studies|examples|tests)/[\w/]+\.py)([^;|&]*)", line
            ):
                source = (ROOT / script).read_text("utf-8") if (ROOT / script).is_file() else ""
                options = re.findall(r"(?<=\s)--[a-z][a-z-]*", rest.split("#")[0])
                # options that several benchmarks share are declared in benchmarks/common modules
                shared = "".join(file.read_text("utf-8") for file in (ROOT / script).parent.glob("*.py"))
                wrong += [f"{block.where}: {script}"] if not source else []
                wrong += [f"{block.where}: {script} {name}" for name in options if name not in source + shared]
    for page in pages():
        for name in re.findall(
            r"`((?:benchmarks|studies|tests|examples|recipes|src)/[\w./-]+\.(?:py|yaml))`",
            (ROOT / page).read_text("utf-8"),
        ):
            wrong += [f"{page}: {name}"] if not (ROOT / name).is_file() else []
    assert wrong == []


def test_quick_commands_of_the_pages_run_as_typed(root):
    ran = []
    for page in [*RUN, "docs/media.md", "docs/index.md"]:
        for block in blocks(page):
            if block.language not in SHELL or block.not_run:
                continue
            for line, _ in block.commands():
                calls = own_arguments(line)
                if len(calls) == 1 and " ".join(calls[0]).startswith(QUICK_COMMANDS) and "--decode" not in line:
                    result = CliRunner().invoke(app, calls[0])
                    assert result.exit_code == 0, f"{block.where}: {line}\n{result.output}"
                    ran.append(line)
    assert len(ran) >= 6


@pytest.mark.parametrize("page", ["README.md", "docs/huggingface.md"])
def test_python_of_the_pages_runs_as_typed(page, root):
    run_python(page, root)


def run_python(page: str, root: Path) -> None:
    """All Python blocks of a page, one after the other in one interpreter, as a reader would type them."""
    text = "\n".join(
        f"# {block.where}\n{block.text}" for block in blocks(page) if block.language == "python" and not block.not_run
    )
    assert text
    done = subprocess.run([sys.executable, "-c", text], cwd=root, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{page}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def environment() -> dict[str, str]:
    """What a shell of the reader's has: the virtual environment's commands, and a Python that finds this package."""
    package = str(ROOT / "src")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PATH": path, "PYTHONPATH": found}


@pytest.mark.slow
@embedded
@pytest.mark.parametrize("page", RUN)
def test_every_shell_block_runs_as_typed(page, root):
    for block in blocks(page):
        if block.language not in SHELL or block.not_run:
            continue
        for line, typed in block.commands():
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                cwd=root,
                env=environment(),
                input=typed,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{block.where}: {line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@embedded
@pytest.mark.parametrize("page", ["docs/ask.md", "docs/inspect.md", "docs/media.md", "docs/evaluation.md"])
def test_every_python_block_runs_as_typed(page, root):
    run_python(page, root)
