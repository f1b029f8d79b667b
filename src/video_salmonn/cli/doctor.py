"""``video-salmonn doctor``: is this installation able to work, and what to do where it is not."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stdout

CORE = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "numpy", "pillow", "av")
EXTRAS = {
    "embedded": ("gguf", "onnx"),
    "train": ("tensorboard", "matplotlib"),
    "eval": ("jiwer", "whisper_normalizer", "pycocoevalcap"),
    "serve": ("fastapi", "uvicorn"),
    "web": ("gradio",),
    "bulk": ("ray",),
}


@dataclass(frozen=True)
class Check:
    """One finding; what is optional may be absent without the installation being unfit."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False


def check_python() -> Check:
    """Interpreter version."""
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, platform.python_version(), "" if ok else "use Python 3.11 or newer")


def check_packages() -> list[Check]:
    """Core packages, with versions."""
    checks = []
    for name in CORE:
        try:
            checks.append(Check(name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            checks.append(Check(name, False, "not installed", f"pip install {name}"))
    return checks


def check_extras() -> list[Check]:
    """Optional groups."""
    checks = []
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        detail = f"missing: {', '.join(missing)}" if missing else "installed"
        remedy = f'pip install "video-salmonn[{extra}]"' if missing else ""
        checks.append(Check(f"extra {extra}", not missing, detail, remedy, optional=True))
    return checks


def check_torch() -> Check:
    """A matrix product on the best device."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{device}, {torch.get_num_threads()} threads"
    return Check("torch works", bool((product == 64).all()), name)


def check_codecs() -> Check:
    """FFmpeg's decoders for what people have."""
    import av

    wanted = ("h264", "hevc", "vp9", "av1", "mpeg1video", "aac", "mp3", "opus", "flac", "vorbis")
    missing = [name for name in wanted if name not in av.codecs_available]
    return Check("codecs", not missing, f"missing: {', '.join(missing)}" if missing else "all common decoders", "")


def check_model() -> Check:
    """The tiny preset, built and run through the connector."""
    import torch

    from video_salmonn.connector import MultiResolutionCausalQFormer
    from video_salmonn.model.presets import tiny

    config = tiny().connector_config
    visual = torch.zeros(1, 3, config.visual_tokens, config.visual_dim or 1)
    with torch.inference_mode():
        tokens = MultiResolutionCausalQFormer(config).eval()(visual).tokens
    return Check("connector works", bool(torch.isfinite(tokens).all()), f"{tokens.shape[1]} tokens")


def run_checks() -> list[Check]:
    """All checks; one that breaks is a finding, not a crash."""
    checks = [check_python(), *check_packages(), *check_extras()]
    runnable: list[Callable[[], Check]] = [check_torch, check_codecs, check_model]
    for check in runnable:
        try:
            checks.append(check())
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is to read it here
            name = check.__name__.removeprefix("check_")
            checks.append(
                Check(name, False, f"{type(error).__name__}: {error}", "reinstall: pip install video-salmonn")
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
            hint = f"  -> {check.remedy}".replace("[", r"\[") if check.remedy else ""
            colour, word = ("green", "ok") if check.ok else ("yellow", "absent") if check.optional else ("red", "fails")
            stdout.print(f"[{colour}]{word:<7}[/] {check.name:<16} {check.detail}{hint}", soft_wrap=True)
        stdout.print("ready" if ok else "not ready: see the lines that fail")
    if not ok:
        raise typer.Exit(1)
