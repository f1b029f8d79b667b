"""What a command checks before it loads a model: the file, the question, the options. It takes a fraction of a second.

Nothing here imports PyTorch or transformers, and only a look at a file imports the decoder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from video_salmonn.checkpoints import directory
from video_salmonn.checkpoints.hub import is_hub_name
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.files import json_object
from video_salmonn.inference.options import DTYPES, KV_CACHES, PACKED, checked
from video_salmonn.media.limits import Limits, check_url, display_url, resolve_public
from video_salmonn.media.options import MediaOptions
from video_salmonn.model import prompt
from video_salmonn.resources.device_map import parse_device_map

NAMES = ("embedded", "tiny")
"""Models that need no directory."""
PRESETS = ("released-13b", "paper-7b", *NAMES)
"""Configurations that have a name."""
PROFILES = ("released",)
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "npu", "hpu", "mtia", "xla", "meta")
"""Kinds of devices that PyTorch may have; which of them is here is found when the model is loaded."""


def check_model(name: str, dtype: str | None = None, profile: str | None = None) -> None:
    """Raise unless there can be such a model in such numbers."""
    if name not in NAMES and not is_hub_name(name) and not (Path(name) / "config.json").is_file():
        raise CheckpointError(
            f"{name}: no model here (config.json is missing)",
            remedy=f"give a model directory (video-salmonn convert makes one of the official files), or one of: "
            f"{', '.join(NAMES)}",
        )
    if name not in NAMES and not is_hub_name(name):
        directory.check_directory(Path(name))
    if dtype is not None and dtype not in (*DTYPES, *PACKED):
        raise ConfigError(f"dtype {dtype!r} is unknown", remedy=f"one of {', '.join((*DTYPES, *PACKED))}")
    if profile is not None and profile not in PROFILES:
        raise ConfigError(f"profile {profile!r} is unknown", remedy=f"the only profile is: {', '.join(PROFILES)}")


def check_decoder(name: str, decoder: str, whisper: Path | None = None) -> None:
    """Raise unless a model has what a decoder of transcripts needs, as far as that can be told without PyTorch."""
    if whisper is not None:
        again = "give the folder of a Whisper in the Hugging Face form"
        json_object(whisper / directory.CONFIG, CheckpointError, remedy=again, absent=again)
    elif decoder == "whisper" and name != "embedded" and not is_hub_name(name):
        directory.check_decoder(Path(name))


def check_placement(device: str, memory: Mapping[str, Any] | None = None) -> None:
    """Raise for a device or an option of memory that is impossible, as far as that is known without PyTorch."""
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise ConfigError(f"device {device!r} is unknown", remedy="use cpu, cuda, cuda:N or mps")
    if kind == "cuda" and version("torch").endswith("+cpu"):
        raise ConfigError(
            f"device {device}: no GPU that PyTorch can use here (this PyTorch is built without CUDA)",
            remedy="use device cpu",
        )
    if kind == "mps" and sys.platform != "darwin":
        raise ConfigError(f"device {device} is of Apple's machines only", remedy="use device cpu")
    given = memory or {}
    for name, allowed in (("quantise", PACKED), ("kv_cache", KV_CACHES)):
        value = given.get(name)
        if value is not None and value not in allowed:
            raise ConfigError(f"{name} is {value!r}", remedy=f"use one of: {', '.join(allowed)}")
    parse_device_map(given.get("device_map"))
    if given.get("quantiser") is not None and given.get("quantise") is None:
        raise ConfigError(f"quantiser is {given['quantiser']!r}, but nothing is quantised", remedy="give quantise too")
    if given.get("device_map") is not None and given.get("offload_encoders"):
        raise ConfigError("offload_encoders and device_map exclude each other", remedy="give one of them")


def check_question(question: str) -> None:
    """Raise unless the question asks something in valid Unicode."""
    prompt.parse(question, 0)


def check_out(out: Path, sources: Sequence[str | None] = ()) -> None:
    """Raise unless a file can be written at this place, and it is none of those that are read.

    Args:
        out: the file; folders that are missing are made when it is written.
        sources: what is read; URLs and None do not count.

    Raises:
        ConfigError: naming the file.
    """
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder", remedy="give the name of a file")
    folder = next(place for place in out.absolute().parents if place.exists())
    if out.exists() and not out.is_file():  # a pipe or a device is written into, where it lies
        if not os.access(out, os.W_OK):
            raise ConfigError(f"--out {out} cannot be written to", remedy="choose another --out")
    elif not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ConfigError(f"--out {out}: {folder} is not a folder one can write to", remedy="choose another --out")
    for source in sources:
        try:
            same = source is not None and "://" not in source and out.exists() and out.samefile(source)
        except OSError:  # a source that cannot even be looked at is refused where it is read
            same = False
        if same:
            raise ConfigError(f"--out {out} is the media file itself", remedy="give another name")


def check_media(media: str, sound: str | None, options: Mapping[str, Any]) -> None:
    """Raise unless the file can be opened and what is asked for may be in it; of URLs the host is looked up, no more.

    Raises:
        MediaError: it cannot be used. ConfigError: an option is impossible.
    """
    from video_salmonn.media import probe  # the decoder: --help has no use for it
    from video_salmonn.media.source import open_source

    given = checked(options)
    looked = MediaOptions(
        use_video=not given.get("no_video"),
        use_audio=not given.get("no_audio"),
        start=given.get("start"),
        end=given.get("end"),
        frame_size=(32, 32),  # only whether there are frames matters
    )
    local = []
    for source in (media, sound):
        if source is None:
            continue
        if not source:
            raise ConfigError("the name of the media file is empty", remedy="give a file or an https URL")
        if "://" in source:
            parts = check_url(source, Limits())
            resolve_public(str(parts.hostname), parts.port or 443, Limits(), display_url(source))
        else:
            local.append(source)
    if local == [one for one in (media, sound) if one is not None]:
        probe(media, sound=sound, options=looked)
    else:  # what else is in the clip is known once the URL was fetched
        for source in local:
            with open_source(source, Limits()):
                pass
