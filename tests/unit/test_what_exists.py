"""What docs, messages, `doctor` and pyproject.toml name is what there is: commands, extras, layers."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from command_line import every_command, is_group
from video_salmonn.cli import doctor
from video_salmonn.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = sorted((ROOT / "src").rglob("*.py"))
OTHER = [ROOT / "Makefile", *sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "recipes").rglob("*.yaml"))]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """Every command that can be run, under its full name, such as ``data validate``."""
    return {
        name: command
        for name, command in every_command().items()
        if not is_group(command) or getattr(command, "invoke_without_command", False)
    }


def spelled_out() -> list[str]:
    """pyproject.toml's requirements as an installed package's metadata have them."""
    lines = list(PROJECT["project"]["dependencies"])
    for extra, needed in EXTRAS.items():
        lines += [f'{requirement}; extra == "{extra}"' for requirement in needed]
    return lines


def test_every_command_that_a_page_or_a_message_names_exists(known):
    groups = {name.rpartition(" ")[0] for name in known if " " in name}
    first = {name.split()[0] for name in known} | groups
    wrong = []
    for file in [*PAGES, *CODE, *OTHER]:
        text = file.read_text("utf-8")
        for found in re.finditer(
            r"(?:[$`'\"(]|^|\n|, |: |then )\s*video-salmonn ([a-z][\w-]*)(?: ([a-z][\w-]*))?(?: ([a-z][\w-]*))?", text
        ):
            words = [word for word in found.groups() if word]
            if words[0] not in first:
                wrong.append(f"{file.relative_to(ROOT)}: video-salmonn {words[0]}")
                continue
            name = words[0]
            for word in words[1:]:
                if name not in groups:
                    break
                name = f"{name} {word}"
                if name not in known and name not in groups and name.rpartition(" ")[0] not in known:
                    wrong.append(f"{file.relative_to(ROOT)}: video-salmonn {name}")
        for word in re.findall(r"\bthe `?(?:video-salmonn )?([a-z-]+)`? command\b", text):
            if word not in known and word not in ("same", "last", "first", "second", "whole", "one"):
                wrong.append(f"{file.relative_to(ROOT)}: the {word} command")
    assert not wrong


def test_the_readme_lists_every_command_and_no_other():
    table = (ROOT / "README.md").read_text("utf-8").split("| command | does |")[1].split("\n\n")[0]
    named = [
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z-]+)`", row.split("|")[1] if "|" in row else "")
    ]
    assert sorted(named) == sorted(COMMANDS)


def test_every_command_takes_json(known):
    """As the README says."""
    assert [name for name, command in known.items() if not any("--json" in p.opts for p in command.params)] == []


def test_every_extra_that_is_named_exists_and_every_extra_is_named():
    named: dict[str, str] = {}
    for file in [*PAGES, *CODE, *OTHER]:
        for group in re.findall(r"(?:video-salmonn|\.)\[([a-z, ]+)\]", file.read_text("utf-8")):
            named |= {name.strip(): str(file.relative_to(ROOT)) for name in group.split(",")}
    assert {name: where for name, where in named.items() if name not in EXTRAS} == {}
    assert sorted(set(EXTRAS) - set(doctor.DEVELOPMENT) - set(named)) == []


def test_every_package_of_an_extra_is_used():
    """An extra for something that is not written yet installs packages that nothing imports."""
    source = "\n".join(file.read_text("utf-8") for file in CODE)
    modules = metadata.packages_distributions()
    # transformers reads SentencePiece models with protobuf, Starlette reads uploaded files with python-multipart
    indirect = {"protobuf": "sentencepiece", "python-multipart": "starlette"}
    unused = []
    for extra in sorted(set(EXTRAS) - set(doctor.DEVELOPMENT)):
        for requirement in EXTRAS[extra]:
            name = re.split(r"[\[<>=!~; ]", requirement)[0]
            name = indirect.get(name, name)
            tops = {name.replace("-", "_"), *(top for top, owners in modules.items() if name in owners)}
            if name != "video-salmonn" and not any(re.search(rf"\b{re.escape(top)}\b", source) for top in tops):
                unused.append(f"{extra}: {requirement}")
    assert unused == []


def test_doctor_checks_what_pyproject_declares():
    declared = spelled_out()
    assert set(doctor.extras(declared)) == set(EXTRAS) - set(doctor.DEVELOPMENT)
    assert {part.name for part in doctor.extras(declared)["train"]} == {"matplotlib", "tensorboard", "datasets"}
    core = [check.name for check in doctor.check_packages(declared)]
    assert core == [re.split(r"[\[<>=!~; ]", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert all(check.ok for check in doctor.check_packages(declared))


def test_doctor_names_what_is_absent_and_what_is_too_old():
    absent, old = doctor.check_packages(["no-such-package>=1", "typer>=1000"])
    assert (absent.ok, absent.detail) == (False, "not installed") and "no-such-package>=1" in absent.remedy
    assert not old.ok and "is installed, >=1000 is needed" in old.detail
    extra = doctor.check_extras(['no-such-package; extra == "plot"'])[0]
    assert extra.optional and not extra.ok and extra.remedy == 'pip install "video-salmonn[plot]"'


def test_the_layers_in_the_docs_are_those_that_lint_checks_and_all_exist():
    contract = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    layers = [layer.strip("() ") for row in contract for layer in row.split("|")]
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```text\n")[1].split("\n")[0]
    assert [layer.strip() for row in page.split(">") for layer in row.split("|")] == layers
    package = ROOT / "src" / "video_salmonn"
    assert [
        layer for layer in layers if not (package / layer).is_dir() and not (package / f"{layer}.py").is_file()
    ] == []
