"""Options that several commands share, and the loading of a model for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

MODEL = typer.Option("embedded", "--model", help="Model: embedded, tiny, or a model directory.")
DEVICE = typer.Option("auto", "--device", help="cpu, cuda, cuda:N, mps, or auto for the best there is.")
DTYPE = typer.Option(None, "--dtype", help="float32, bfloat16 or float16; the stored one by default.")
SOUND = typer.Option(None, "--sound", help="A sound file in place of the media's own sound.")
NO_AUDIO = typer.Option(False, "--no-audio", help="Do not listen.")
NO_VIDEO = typer.Option(False, "--no-video", help="Do not look.")
START = typer.Option(None, "--start", help="Begin so many seconds into the file.")
END = typer.Option(None, "--end", help="End so many seconds into the file.")
NEW_TOKENS = typer.Option(None, "--max-new-tokens", help="Longest answer.")
BEAMS = typer.Option(None, "--num-beams", help="Beam search with so many beams.")
LONG = typer.Option("error", "--long", help="Media beyond the context: error, segments (ask piecewise) or coarse.")
PROFILE = typer.Option(None, "--profile", help="released: do everything as the released code does.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")


def choose_device(wanted: str) -> str:
    """``auto`` becomes the best device of this machine; anything else stays."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_engine(model: str, device: str, dtype: str | None, profile: str | None = None, **options: Any) -> VideoSalmonn:
    """Load a model for a command. The library's own progress bars and notices stay off."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    from video_salmonn.inference.engine import VideoSalmonn

    return VideoSalmonn.load(model, device=choose_device(device), dtype=dtype, profile=profile, **options)
