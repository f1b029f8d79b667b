"""``video-salmonn doctor``: is this installation able to work, and what to do where it is not."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.text import Text

from video_salmonn.cli.output import emit_json, reports_errors, stdout
from video_salmonn.wording import counted

PACKAGE = "video-salmonn"
DEVELOPMENT = ("docs", "fuzz", "dev")
"""Extras for work on this package itself; a user's installation is not expected to have them."""


@dataclass(frozen=True)
class DoctorCheck:
    """One finding; what is optional may be absent without the installation being unfit."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False


def check_python() -> DoctorCheck:
    """Interpreter version."""
    ok = sys.version_info >= (3, 11)
    return DoctorCheck("python", ok, platform.python_version(), "" if ok else "use Python 3.11 or newer")


def requirements() -> list[str]:
    """What this package declares in pyproject.toml, as its installed metadata have it."""
    return list(metadata.requires(PACKAGE) or [])


def lacking(requirement: Requirement) -> str:
    """Why a requirement is not met by what is installed; empty where it is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{version} is installed, {requirement.specifier} is needed"


def check_packages(declared: list[str]) -> list[DoctorCheck]:
    """Needed packages, with versions: everything that ``declared`` requires without an extra."""
    checks = []
    for requirement in map(Requirement, declared):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        missing = lacking(requirement)
        detail = missing or metadata.version(requirement.name)
        remedy = f'pip install "{requirement.name}{requirement.specifier}"' if missing else ""
        checks.append(DoctorCheck(requirement.name, not missing, detail, remedy))
    return checks


def extras(declared: list[str]) -> dict[str, list[Requirement]]:
    """Optional groups of ``declared`` that a user may want: name -> what each needs beyond the core.

    A group inside a group (``train`` includes ``plot``) is spelled out.
    """
    parsed = [requirement for requirement in map(Requirement, declared) if requirement.marker is not None]
    names = sorted({name for item in parsed for name in _named_extras(str(item.marker))} - set(DEVELOPMENT))

    def of(extra: str) -> list[Requirement]:
        found: list[Requirement] = []
        for item in parsed:
            assert item.marker is not None  # filtered above
            if not item.marker.evaluate({"extra": extra}) or item.marker.evaluate({"extra": ""}):
                continue
            own = canonicalize_name(item.name) == PACKAGE
            found += [part for inner in sorted(item.extras) for part in of(inner)] if own else [item]
        return found

    return {name: of(name) for name in names}


def _named_extras(marker: str) -> list[str]:
    return re.findall(r"""extra\s*==\s*["']([^"']+)["']""", marker)


def check_extras(declared: list[str]) -> list[DoctorCheck]:
    """Optional groups."""
    checks = []
    for extra, needed in extras(declared).items():
        missing = [f"{item.name} ({reason})" for item in needed if (reason := lacking(item))]
        detail = ", ".join(missing) or "installed"
        remedy = f'pip install "{PACKAGE}[{extra}]"' if missing else ""
        checks.append(DoctorCheck(f"extra {extra}", not missing, detail, remedy, optional=True))
    return checks


def check_torch() -> DoctorCheck:
    """A matrix product on the best device."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{device}, {counted(torch.get_num_threads(), 'thread')}"
    )
    return DoctorCheck("torch works", bool((product == 64).all()), name)


def check_codecs() -> DoctorCheck:
    """FFmpeg's decoders for what people have."""
    import av

    wanted = ("h264", "hevc", "vp9", "av1", "mpeg1video", "aac", "mp3", "opus", "flac", "vorbis")
    missing = [name for name in wanted if name not in av.codecs_available]
    return DoctorCheck(
        "codecs", not missing, f"missing: {', '.join(missing)}" if missing else "all common decoders", ""
    )


def check_model() -> DoctorCheck:
    """The tiny preset, built and run through the connector."""
    import torch

    from video_salmonn.connector import MultiResolutionCausalQFormer
    from video_salmonn.model.presets import tiny

    config = tiny().connector_config
    visual = torch.zeros(1, 3, config.visual_tokens, config.visual_dim or 1)
    with torch.inference_mode():
        tokens = MultiResolutionCausalQFormer(config).eval()(visual).tokens
    return DoctorCheck("connector works", bool(torch.isfinite(tokens).all()), counted(tokens.shape[1], "token"))


def run_checks() -> list[DoctorCheck]:
    """All checks; one that breaks is a finding, not a crash."""
    checks = [check_python()]
    try:
        declared = requirements()
    except metadata.PackageNotFoundError:
        checks.append(DoctorCheck(PACKAGE, False, "imported, but not installed", f"pip install {PACKAGE}"))
        declared = []
    checks += [*check_packages(declared), *check_extras(declared)]
    runnable: list[Callable[[], DoctorCheck]] = [check_torch, check_codecs, check_model]
    for check in runnable:
        try:
            checks.append(check())
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is to read it here
            name = check.__name__.removeprefix("check_")
            checks.append(
                DoctorCheck(name, False, f"{type(error).__name__}: {error}", "reinstall: pip install video-salmonn")
            )
    return checks


@reports_errors
def command(as_json: bool = typer.Option(False, "--json", help="Print one JSON object.")) -> None:
    """Check this installation; exit 1 if something needed does not work."""
    checks = run_checks()
    ok = all(check.ok or check.optional for check in checks)
    if as_json:
        emit_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            hint = f"  -> {check.remedy}" if check.remedy else ""
            colour, word = ("green", "ok") if check.ok else ("yellow", "absent") if check.optional else ("red", "fails")
            rest = f" {check.name:<16} {check.detail}{hint}"
            stdout.print(Text.assemble((f"{word:<7}", colour), rest), soft_wrap=True)
        stdout.print("ready" if ok else "not ready: see the lines that fail")
    if not ok:
        raise typer.Exit(1)
