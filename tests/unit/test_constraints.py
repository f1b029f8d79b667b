"""What `make demo` and `make test` install is written down, version by version."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LINES = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line[:1] not in ("", "#")
]
HERE = {canonicalize_name(line.name): line for line in LINES if line.marker is None or line.marker.evaluate()}
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def needed() -> dict[str, list[Requirement]]:
    """Everything that an installation for development brings here, by name, with what is asked of its version."""
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += [line for name in extras for line in extras[name] if name != "fuzz"]
    found: dict[str, list[Requirement]] = {}
    waiting = [(Requirement(line), "") for line in asked]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "video-salmonn" or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        found.setdefault(name, []).append(requirement)
        for wanted in ("", *requirement.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                below = metadata.requires(requirement.name) or []
            except metadata.PackageNotFoundError:  # what only builds need is not installed
                continue
            waiting += [(Requirement(line), wanted) for line in below]
    return found


def test_every_package_of_the_development_installation_is_pinned_to_a_version_that_fits():
    found = needed()
    assert len(found) > 90
    unpinned = sorted(set(found) - set(HERE))
    assert unpinned == []
    for name, asked in found.items():
        version = str(HERE[name].specifier).removeprefix("==")
        for requirement in asked:
            local = canonicalize_name("torch") == name  # its builds have local versions, which others do not ask for
            assert local or requirement.specifier.contains(version, prereleases=True), (
                f"{requirement}, {version} pinned"
            )


def test_constraints_are_versions_and_name_no_place():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert "://" not in text and not re.search(r"^\s*-", text, re.MULTILINE)
    assert all(re.fullmatch(r"==[\w.]+", str(line.specifier)) and line.url is None for line in LINES)


def test_make_installs_by_the_constraints_and_keeps_torch():
    installs = [line for line in MAKEFILE.splitlines() if re.search(r'-e "\.\[', line)]
    pinned = [line for line in installs if "$(PINNED)" in line]
    own_venv = [line for line in installs if re.search(r"\$\((?:OLDEST|LATEST|LMMS|SERVING|WEB|CLUSTER)_VENV\)", line)]
    assert sorted(pinned + own_venv) == sorted(installs) and len(pinned) >= 3
    assert "torch is installed and kept" in MAKEFILE and "CUDA build" in MAKEFILE
    assert re.search(r"^test-latest:", MAKEFILE, re.MULTILINE) and re.search(r"^constraints:", MAKEFILE, re.MULTILINE)
