"""``video-salmonn plan``: the memory a model needs for a clip, part by part, and whether it is here."""

from __future__ import annotations

import re
from typing import Any

import typer
from rich.text import Text

from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stdout, styled
from video_salmonn.errors import ConfigError
from video_salmonn.resources.device_map import parse_device_map
from video_salmonn.wording import counted

CARDS = (24, 40, 48, 80)
"""Gigabytes of common cards (their makers' GB, 2**30 bytes)."""


@reports_errors
def command(
    model: str = typer.Option("released-13b", "--model", help="A preset or a model directory."),
    clip: str = typer.Option("60s", help="Length of the clip, such as 60s or 2m."),
    dtype: str = typer.Option("bf16", help="bf16, fp16, fp32; or int8, int4: --quantise, and 16 bits for the rest."),
    quantise: str = shared.QUANTISE,
    device_map: str = shared.DEVICE_MAP,
    offload_encoders: bool = shared.OFFLOAD_ENCODERS,
    kv_cache: str = shared.KV_CACHE,
    num_beams: int = typer.Option(None, "--num-beams", min=1, help="Beams; the model's own by default."),
    max_new_tokens: int = typer.Option(None, "--max-new-tokens", min=1, help="Longest answer; the model's own."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Compute what a question about a clip needs, from the model's configuration; nothing is loaded."""
    from video_salmonn.cli.info import read_config

    asked: dict[str, Any] = {
        "quantise": quantise,
        "kv_cache": kv_cache,
        "beams": num_beams,
        "new_tokens": max_new_tokens,
    }
    seconds, numbers = _seconds(clip), _short(dtype)
    parse_device_map(device_map)
    config = read_config(model)
    from video_salmonn.resources.memory import memory_plan

    places = _here()
    wanted = _map(device_map, config, seconds, numbers, asked)
    plan = memory_plan(config, seconds, numbers, offload_encoders=offload_encoders, device_map=wanted, **asked)
    account = {"model": model} | plan
    if wanted is None:
        account["here"] = [place | _verdict(place, account, places, offload_encoders) for place in places]
        account["fits"] = any(place["fits"] for place in account["here"])
    else:
        account["here"] = _spread(account, places)
        account["fits"] = all(place["fits"] for place in account["here"])
    account["cards"] = {str(size): account["needed"] <= size << 30 for size in CARDS}
    if as_json:
        emit_json(account)
        return
    _print(account)


def _short(dtype: str) -> str:
    """A dtype under its short name; `ask` and its kin take both."""
    return {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(dtype, dtype)


def _map(text: str | None, config: Any, seconds: float, dtype: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """A device map; ``auto`` as loading would make it on this machine."""
    found = parse_device_map(text)
    if not isinstance(found, str):
        return found
    from video_salmonn.resources.cost import build_on_meta
    from video_salmonn.resources.memory import DTYPES, memory_plan
    from video_salmonn.resources.placement import automatic_map

    plan = memory_plan(config, seconds, dtype, **asked)
    return automatic_map(
        build_on_meta(config).to(DTYPES.get(dtype, DTYPES["bf16"])), plan["needed"] - plan["weights"]["total"]
    )


def _free(places: list[dict[str, Any]], device: str) -> int | None:
    return next((int(place["free"]) for place in places if place["device"] == device), None)


def _short_of(what: str, needed: int, free: int | None) -> str:
    """Why something does not fit, or ""."""
    if free is None:
        return f"{what}: not here"
    return "" if needed <= free else f"{what}: {needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} free"


def _verdict(
    place: dict[str, Any], account: dict[str, Any], places: list[dict[str, Any]], offload: bool
) -> dict[str, Any]:
    """Whether a whole model fits a device, loading and resting included: weights pass through main memory first."""
    lacking = [
        _short_of("running", account["needed"], place["free"]),
        _short_of("loading in main memory", account["loading"], _free(places, "cpu")),
    ]
    if offload and place["device"] == "cpu":
        lacking.append(_short_of("encoders on the disk", account["resting"], _disk()))
    return {"fits": not any(lacking), "reason": "; ".join(filter(None, lacking))}


def _spread(account: dict[str, Any], places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether the parts of a spread model fit their devices."""
    devices = {"cpu": {"needed": 0}} | account["devices"]  # loading needs main memory, whatever the map says
    found = []
    for device, plan in devices.items():
        free = _disk() if device == "disk" else _free(places, device)
        lacking = [_short_of("its parts", plan["needed"], free)]
        if device == "cpu":
            lacking.append(_short_of("loading", account["loading"], free))
        name = next((place["name"] for place in places if place["device"] == device), "disk" * (device == "disk"))
        reason = "; ".join(filter(None, lacking))
        found.append({"device": device, "name": name, "free": free or 0, "fits": not reason, "reason": reason})
    return found


def _disk() -> int:
    """Free bytes where parts that rest on the disk are put."""
    import shutil
    import tempfile

    return shutil.disk_usage(tempfile.gettempdir()).free


def _seconds(text: str) -> float:
    found = re.fullmatch(r"\s*([0-9.]+)\s*(s|m|h|)\s*", text)
    try:
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600, "": 1}[found[2]] if found else 0.0
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"--clip is {text!r}", remedy="give a length such as 60s, 2.5m or 1h")
    return seconds


def _here() -> list[dict[str, Any]]:
    """Free memory of this machine's cards, and of the machine."""
    import os
    from pathlib import Path

    import torch

    places = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, _ = torch.cuda.mem_get_info(index)
            places.append({"device": f"cuda:{index}", "name": torch.cuda.get_device_name(index), "free": free})
    table = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", table.read_text()) if table.is_file() else None
    if found:
        free = int(found[1]) * 1024
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all of it: the free part is unknown here
    else:
        return places
    return [*places, {"device": "cpu", "name": "main memory", "free": free}]


def _print(account: dict[str, Any]) -> None:
    from rich.table import Table

    unit, scale = ("GiB", 2**30) if account["peak"] >= 2**30 else ("MiB", 2**20)

    def size(count: int) -> str:
        return f"{count / scale:,.2f}"

    more = ", ".join(word for word in (account["quantise"], "encoders in turn" * account["offload_encoders"]) if word)
    title = f"{account['model']}, {account['dtype']}{more and f' ({more})'}, a clip of {account['clip_seconds']:g} s"
    table = Table("what", "part", unit, title=title)
    for part, count in account["weights"].items():
        table.add_row("weights", part, size(count))
    for part, count in account["features"].items():
        table.add_row("features kept", part, size(count))
    for part, count in account["activations"].items():
        table.add_row("while running", part, size(count))
    tokens = (
        f"{counted(account['media_tokens'], 'media token')}, {account['new_tokens']} new, "
        f"{counted(account['beams'], 'beam')}"
    )
    table.add_row(f"cache ({account['kv_cache_kind']})", tokens, size(account["kv_cache"]))
    if account["resting"]:
        table.add_row("resting", "encoders that do not run, elsewhere", size(-account["resting"]))
    table.add_row("peak", "weights, features, widest stage", size(account["peak"]))
    table.add_row("needed", "peak and a tenth", size(account["needed"]))
    stdout.print(table)
    for device, plan in account.get("devices", {}).items():
        parts = ", ".join(f"{what} {size(count)}" for what, count in plan.items())
        stdout.print(f"{device}: {parts} {unit}", soft_wrap=True)
    stdout.print(f"loading takes {size(account['loading'])} {unit} of main memory on any device")
    for place in account["here"]:
        verdict = styled("fits", "green") if place["fits"] else styled("does not fit", "red")
        known = f"{place['name']}, {size(place['free'])} {unit} free" if place["name"] else "not here"
        reason = f" ({place['reason']})" if place["reason"] else ""
        stdout.print(Text.assemble(f"{place['device']} ({known}): ", verdict, reason), soft_wrap=True)
    if "devices" in account:
        return
    cards = ", ".join(f"{card} GB {'yes' if fits else 'no'}" for card, fits in account["cards"].items())
    stdout.print(f"an empty card of: {cards}")
