"""Options that several commands share, and the loading of a model for a command."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

MODEL = typer.Option("embedded", "--model", help="Model: embedded, tiny, a model directory, or owner/name on a hub.")
DEVICE = typer.Option("auto", "--device", help="cpu, cuda, cuda:N, mps, or auto for the best available.")
DTYPE = typer.Option(
    None,
    "--dtype",
    help="float32, bfloat16, float16; as stored by default. int8, int4: --quantise, rest in 16 bits.",
)
QUANTISE = typer.Option(None, "--quantise", help="int8 or int4: quantise the language model's layers.")
QUANTISER = typer.Option(
    None, "--quantiser", help="bitsandbytes, or torchao (int8 only); by default the first installed."
)
DEVICE_MAP = typer.Option(
    None, "--device-map", help="auto (fill the GPUs, then main memory), or JSON: which module on which device."
)
OFFLOAD_ENCODERS = typer.Option(False, "--offload-encoders", help="Move each encoder to the device only while it runs.")
KV_CACHE = typer.Option(
    "dynamic", "--kv-cache", help="Keys and values: dynamic, static (allocated at once) or fp8 (half the size)."
)
SOUND = typer.Option(None, "--sound", help="A sound file that replaces the media's own sound.")
NO_AUDIO = typer.Option(False, "--no-audio", help="Ignore the sound.")
NO_VIDEO = typer.Option(False, "--no-video", help="Ignore the picture.")
START = typer.Option(None, "--start", help="Start time in the file, in seconds.")
END = typer.Option(None, "--end", help="End time in the file, in seconds.")
NEW_TOKENS = typer.Option(None, "--max-new-tokens", help="Longest answer in tokens.")
BEAMS = typer.Option(None, "--num-beams", help="Number of beams of beam search.")
LONG = typer.Option("error", "--long", help="Media beyond the context: error, segments (ask piecewise) or coarse.")
PIECES = typer.Option(
    None,
    "--piece-seconds",
    help="Longest piece of long media; 0 for one piece. By default the length used in training.",
)
JOINT_CTC = typer.Option(
    None, "--joint-ctc", help="Decode with the connector's CTC: off, on, or auto (questions for what is said)."
)
DECLINE = typer.Option(
    None,
    "--decline-below",
    help="Decline answers one of whose first tokens the model holds less likely than this; 0: never.",
)
PROFILE = typer.Option(None, "--profile", help="released: reproduce the released code.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")
PLACEMENT: dict[str, tuple[type, Any]] = {
    "device": (str, DEVICE),
    "dtype": (str, DTYPE),
    "quantise": (str, QUANTISE),
    "quantiser": (str, QUANTISER),
    "device_map": (str, DEVICE_MAP),
    "offload_encoders": (bool, OFFLOAD_ENCODERS),
    "kv_cache": (str, KV_CACHE),
}
"""Where a model runs, in which numbers, and what memory it takes: name -> type and declaration."""


ANSWERING: dict[str, tuple[type, Any]] = {
    "no_audio": (bool, NO_AUDIO),
    "no_video": (bool, NO_VIDEO),
    "start": (float, START),
    "end": (float, END),
    "max_new_tokens": (int, NEW_TOKENS),
    "num_beams": (int, BEAMS),
    "long": (str, LONG),
    "piece_seconds": (float, PIECES),
    "joint_ctc": (str, JOINT_CTC),
    "decline_below": (float, DECLINE),
}
"""Options that are handed to the engine as they are: name -> type and declaration."""
Command = Callable[..., None]


def with_group(group: str, options: Mapping[str, tuple[type, Any]]) -> Callable[[Command], Command]:
    """Give a command these options; it gets them in one dictionary, its argument called ``group``."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            command(*args, **{group: {name: kwargs.pop(name) for name in options}}, **kwargs)

        own = inspect.signature(command)
        parameters = [parameter for name, parameter in own.parameters.items() if name != group]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in options.items()
        ]
        wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {name: value for name, value in command.__annotations__.items() if name != group}
        wrapped.__annotations__ |= {name: kind for name, (kind, _) in options.items()}
        return wrapped

    return decorate


with_placement = with_group("placement", PLACEMENT)


def answering(*names: str, **changed: Any) -> Callable[[Command], Command]:
    """Give a command options of :data:`ANSWERING`; it gets them in one dictionary called ``options``.

    Args:
        *names: which of them; all by default.
        **changed: declarations in place of theirs.
    """
    chosen = {name: ANSWERING[name] for name in names or ANSWERING}
    return with_group("options", chosen | {name: (ANSWERING[name][0], given) for name, given in changed.items()})


def choose_device(wanted: str) -> str:
    """``auto`` becomes the best device of this machine; anything else must be here. Raises ConfigError where not."""
    from video_salmonn.cli.checks import check_placement

    check_placement(wanted)
    import torch

    from video_salmonn.resources.placement import checked_device

    if wanted != "auto":
        return str(checked_device(wanted))
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_loading(
    model: str, device: str, dtype: str | None = None, profile: str | None = None, **options: Any
) -> None:
    """Raise what can be told of :func:`load_engine`'s arguments before anything heavy is imported.

    Raises:
        CheckpointError: no such model, or a damaged one. ConfigError: an impossible device, dtype or option of memory.
    """
    from video_salmonn.cli.checks import check_model, check_placement

    check_model(model, dtype, profile)
    check_placement(device, options)


def load_engine(
    model: str,
    device: str,
    dtype: str | None = None,
    profile: str | None = None,
    *,
    device_map: str | None = None,
    **options: Any,
) -> VideoSalmonn:
    """Load a model for a command. The libraries' own progress bars and notices stay off.

    Raises:
        CheckpointError, MissingPartError, ConfigError: before anything heavy is imported if possible.
    """
    from video_salmonn.cli.progress import working
    from video_salmonn.cli.startup import quiet_transformers, without_collection, without_scipy

    check_loading(model, device, dtype, profile, device_map=device_map, **options)
    with working(f"loading the model {model}"), without_collection(), without_scipy():
        quiet_transformers()
        from video_salmonn.inference.engine import VideoSalmonn
        from video_salmonn.resources.device_map import parse_device_map

        return VideoSalmonn.load(
            model,
            device=choose_device(device),
            dtype=dtype,
            profile=profile,
            device_map=parse_device_map(device_map),
            **options,
        )


def keys_of(given: list[str] | None, variable: str) -> list[str]:
    """The keys of a command's option and of an environment variable (``a,b``)."""
    return [*(given or []), *(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())]
