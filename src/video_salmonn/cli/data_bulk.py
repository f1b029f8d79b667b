"""Commands of ``video-salmonn data`` that make the small model's sounds and features in bulk, on a GPU or a CPU."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.data.manifest import SPLITS, check_splits, read_manifest
from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted

_JSON = typer.Option(False, "--json", help="Print one JSON value.")


def _part(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ConfigError(f"--parts {text!r} is not understood", remedy="for example 1/2 here and 2/2 elsewhere")
    return int(first) - 1, int(count)


@reports_errors
def speak_embedded(
    manifests: Path = typer.Option(None, "--manifests", help="Folder written by build-embedded."),
    split: list[str] = typer.Option(SPLITS, "--split", help="Repeatable."),
    out: Path = typer.Option(
        None, "--out", help="Folder of speech; by default the one encode-embedded reads ($VIDEO_SALMONN_SPEECH)."
    ),
    parts: str = typer.Option("1/1", "--parts", help="I/N: this process speaks the I-th of N parts."),
    batch: int = typer.Option(0, "--batch", min=0, help="Sentences at once; 0: 48 of Piper's, 16 of Kokoro's."),
    device: str = typer.Option("cpu", "--device", help="cpu (by onnxruntime), or cuda, mps … (by torch, in batches)."),
    jobs: Path = typer.Option(None, "--jobs", help="List written by --write-jobs, in place of --manifests."),
    write: Path = typer.Option(
        None, "--write-jobs", help="Speak nothing: list phonemes for a machine without espeak-ng."
    ),
    threads: int = typer.Option(1, "--threads", min=1, help="Of torch."),
    as_json: bool = _JSON,
) -> None:
    """Speak every sentence that the manifests give to the neural voices, once. Continues where it stopped."""
    part, count = _part(parts)
    if (manifests is None) == (jobs is None):
        raise ConfigError("speak-embedded needs one of --manifests and --jobs", remedy="data speak-embedded --help")
    if manifests is not None:
        check_splits(manifests, split)
    elif not jobs.is_file():
        raise ConfigError(f"{jobs}: no such file", remedy="data speak-embedded --manifests M --write-jobs FILE")
    import torch

    from video_salmonn.data.feature_store import FeatureStore
    from video_salmonn.embedded.data.speaking.jobs import neural_layers, read_jobs, speech_jobs, write_jobs
    from video_salmonn.embedded.data.speaking.run import share, speak_all
    from video_salmonn.embedded.data.voices import speech_folder, speech_key
    from video_salmonn.files import write_text

    torch.set_num_threads(threads)
    folder = out or speech_folder()
    already = 0
    failed: dict[str, str] = {}
    if manifests is None:
        wanted = share(list(read_jobs(jobs)), part, count)
    else:
        layers = list(neural_layers(item for name in split for item in read_manifest(manifests / f"{name}.jsonl")))
        layers = share(layers, part, count)
        if write is None:
            there = FeatureStore(folder)
            left = [layer for layer in layers if speech_key(layer) not in there]
            already, layers = len(layers) - len(left), left
        wanted, failed = speech_jobs(layers)
    if write is not None:
        value: dict[str, object] = {"sentences": write_jobs(write, wanted), "out": str(write)}
        said = f"{counted(len(wanted), 'sentence')} listed in {write}"
    else:
        began = time.monotonic()
        told = began

        def progress(done: int, total: int, seconds: float) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= 5 or done == total:
                told = now
                pace = seconds / (now - began)
                stderr.print(f"{done} / {total}, {seconds / 3600:.2f} h, {pace:.0f} times real time", soft_wrap=True)

        account = speak_all(wanted, folder, shared.choose_device(device), batch=batch or None, progress=progress)
        failed |= account.failed
        already += account.already
        pace = round(account.seconds / account.spent, 1) if account.spoken else None
        value = {"spoken": account.spoken, "already": already, "hours": round(account.seconds / 3600, 3)}
        value |= {"seconds": round(account.spent, 1), "times_real_time": pace, "out": str(folder)}
        said = f"{account.spoken} spoken, {already} were there: {value['hours']} h in {value['seconds']} s, in {folder}"
    listed = (write.parent if write is not None else folder) / (
        "failed.txt" if count == 1 else f"failed-{part + 1}.txt"
    )
    if failed:
        listed.parent.mkdir(parents=True, exist_ok=True)
        write_text(listed, "".join(f"{key}: {reason}\n" for key, reason in failed.items()))
        stderr.print(f"{len(failed)} cannot be spoken: {listed}", markup=False, soft_wrap=True)
    if as_json:
        emit_json(value | {"failed": len(failed)})
    else:
        stdout.print(said, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@reports_errors
def encode_embedded(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by build-embedded."),
    out: Path = typer.Option(..., "--out", help="Feature store: a folder of safetensors shards."),
    split: list[str] = typer.Option(SPLITS, "--split", help="Repeatable."),
    task: str = typer.Option("", "--task", help="Only tasks that begin with this."),
    threads: int = typer.Option(1, "--threads", help="Of torch."),
    fast: bool = typer.Option(False, "--bf16", help="Speech encoder in bfloat16."),
    device: str = typer.Option("cpu", "--device", help="cpu, cuda, mps …"),
    workers: int = typer.Option(
        0, "--workers", min=0, help="Processes that decode, speak and mix beside the encoders."
    ),
    processes: int = typer.Option(
        1, "--processes", min=1, help="Encoding processes on the device, each with its own --workers."
    ),
    as_json: bool = _JSON,
) -> None:
    """Encode every sound and picture of the manifests once, with the frozen encoders. Continues where it stopped."""
    check_splits(manifests, split)
    import torch

    from video_salmonn.embedded.data.build import jobs
    from video_salmonn.embedded.data.encode import encode

    torch.set_num_threads(threads)
    began = time.monotonic()
    sound: list[float] = []
    reported = 0

    def progress(done: int, total: int) -> None:
        nonlocal reported
        if done >= reported + 100 or done == total:
            reported = done
            spent, hours = time.monotonic() - began, sum(sound) / 3600
            pace = f", {spent / hours:.0f} s for an hour of sound" if hours else ""
            line = f"{done} / {total}, {spent:.0f} s, {done / spent:.0f} a second{pace}"
            stderr.print(line, soft_wrap=True, end="\r" if stderr.is_terminal and done < total else "\n")

    items = (item for name in split for item in read_manifest(manifests / f"{name}.jsonl"))
    device = shared.choose_device(device)
    wanted = jobs(item for item in items if item.task.startswith(task))
    dtype = torch.bfloat16 if fast else torch.float32
    counts = encode(
        wanted,
        manifests,
        out,
        dtype=dtype,
        device=device,
        workers=workers,
        processes=processes,
        progress=progress,
        heard=sound.append,
    )
    hours, spent = sum(sound) / 3600, time.monotonic() - began
    pace = round(spent / hours, 1) if hours else None
    if as_json:
        emit_json(counts | {"hours": round(hours, 3), "seconds_per_hour": pace})
    else:
        stdout.print(f"{counts['done']} encoded, {counts['already']} were there, {counts['failed']} failed")
        if pace is not None:
            stdout.print(f"{hours:.2f} h of sound, {pace:.0f} s for an hour of it")
    if counts["failed"]:
        raise typer.Exit(1)


@reports_errors
def time_embedded(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by build-embedded; its files are changed."),
    features: Path = typer.Option(..., "--features", help="Feature store of encode-embedded."),
    split: list[str] = typer.Option(["train"], "--split", help="Repeatable."),
    model: str = typer.Option("embedded", "--model", help="Model whose connector says words."),
    threads: int = typer.Option(1, "--threads", min=1, help="Of torch."),
    device: str = typer.Option("cpu", "--device", help="cpu, cuda, mps …"),
    as_json: bool = _JSON,
) -> None:
    """State when each word of the manifests' speech is said, as a trained model aligns it, for the loss of words."""
    check_splits(manifests, split)
    if not features.is_dir():
        raise ConfigError(f"{features}: no such folder", remedy="data encode-embedded --manifests M --out FOLDER")
    import torch

    from video_salmonn.embedded.data.timing import state_times
    from video_salmonn.inference.engine import VideoSalmonn

    torch.set_num_threads(threads)
    engine = VideoSalmonn.load(model, device=shared.choose_device(device))

    def progress(done: int, total: int) -> None:
        if done % 400 < 16 or done == total:
            stderr.print(f"{done} / {total} sounds", end="\r" if stderr.is_terminal and done < total else "\n")

    timed = missing = 0
    for name in split:
        manifest = manifests / f"{name}.jsonl"
        got, lacking = state_times(manifest, features, engine.model, engine.processor.tokenizer, progress)
        timed, missing = timed + got, missing + lacking
    if as_json:
        emit_json({"items": timed, "without_features": missing})
    else:
        lack = f", {missing} have no features" if missing else ""
        stdout.print(f"{counted(timed, 'item')} with the times of their words{lack}")


@reports_errors
def pack_media(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by build-embedded."),
    out: Path = typer.Option(..., "--out", help="Folder that gets media-000.tar … and a README."),
    split: list[str] = typer.Option(SPLITS, "--split", help="Repeatable."),
    part_mb: int = typer.Option(55, "--part-mb", min=1, help="Largest part, in millions of bytes."),
    as_json: bool = _JSON,
) -> None:
    """Pack manifests and all their media to travel: tar files of a bounded size, pictures as small as encoders see."""
    check_splits(manifests, split)
    from video_salmonn.embedded.data import travel

    def report(done: int, total: int) -> None:
        if done % 1000 == 0:
            stderr.print(f"{done} / {total}")

    value = travel.pack_media(manifests, out, split, part_mb * 1_000_000, report)
    failed = value["failed"]
    if as_json:
        emit_json(value | {"out": str(out)})
    else:
        for reason in failed:
            stderr.print(f"left out: {reason}", markup=False, soft_wrap=True)
        files, parts = counted(value["files"], "file"), counted(value["parts"], "part")
        size = f"{files}, {value['pictures']} of them small pictures, in {parts}"
        stdout.print(f"{size}: {out}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
