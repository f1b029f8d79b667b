"""The built wheel and sdist: what is in them, and that the wheel works away from the clone (``make build``)."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dist(request):
    if not request.config.getoption("--run-packaging"):
        pytest.skip("needs --run-packaging and a built dist/ (make build)")
    return ROOT / "dist"


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, f"{pattern} in {folder}: {found}"
    return found[0]


def test_wheel_holds_the_package_and_nothing_else(dist):
    names = zipfile.ZipFile(only(dist, "*.whl")).namelist()
    assert "video_salmonn/py.typed" in names
    assert "video_salmonn/assets/embedded/requirements.txt" in names
    assert all(name.startswith(("video_salmonn/", "video_salmonn-")) for name in names)
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in names if name.startswith("video_salmonn/")} == {
        line.removeprefix("src/") for line in tracked.splitlines()
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_can_be_tested(dist):
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        names = archive.getnames()
    top = names[0].split("/")[0]
    for name in (
        "Makefile",
        "pyproject.toml",
        "src/video_salmonn/py.typed",
        "tests/fixtures/golden/README.md",
        "LICENSE",
    ):
        assert f"{top}/{name}" in names


def test_wheel_works_outside_the_clone(dist, tmp_path):
    """A fresh environment that sees the installed dependencies, but neither this clone nor its editable install."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    wheel = only(dist, "*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # a path behind the venv's own: .pth files in it (the editable install) are not read
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command: str) -> str:
        return subprocess.run(
            [str(part) for part in command], cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
        ).stdout

    where = run(python, "-c", "import video_salmonn; print(video_salmonn.__file__)").strip()
    assert Path(where).is_relative_to(venv)
    script = venv / "bin" / "video-salmonn"
    version = run(script, "--version").strip()
    assert wheel.name.startswith(f"video_salmonn-{version}-")
    account = json.loads(run(script, "info", "tiny", "--json"))
    assert account["media_tokens_per_second"] == 6
    checks = json.loads(run(script, "verify", ROOT / "tests" / "fixtures" / "golden", "--json"))
    assert all(check["passed"] for check in checks)
