"""``video-salmonn data …``: build and encode data sets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from video_salmonn.cli import data_bulk
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.data.manifest import Item

command = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="Build, encode and check data sets."
)

_SOURCE = typer.Option(..., "--source", help="Folder with speech/, sounds/, images/ and clips/ and their manifests.")
_OUT = typer.Option(..., "--out", help="Folder that gets train.jsonl, dev.jsonl and test.jsonl.")
_JSON = typer.Option(False, "--json", help="Print one JSON value.")


@command.command("build-embedded")
@reports_errors
def build_embedded(
    source: Path = _SOURCE,
    out: Path = _OUT,
    seed: int = typer.Option(0, "--seed", min=0, max=2**63 - 1, help="Seed of all random choices."),
    scale: float = typer.Option(1.0, "--scale", help="Multiplies the number of composed items."),
    wordnet: Path | None = typer.Option(
        None, "--wordnet", help="WordNet's folder: sentences that widen the vocabulary (Debian: wordnet-base)."
    ),
    further: list[Path] = typer.Option([], "--further", help="Folder written by prepare-further; repeatable."),
    held_out: Path | None = typer.Option(
        None, "--held-out-questions", help="JSON lines with question and media to keep out of training."
    ),
    speech_hours: str = typer.Option(
        "", "--speech-hours", help="Hours of synthetic speech by engine, like piper=20,kokoro=8,espeak=4."
    ),
    as_json: bool = _JSON,
) -> None:
    """Write the manifests that the embedded default is trained and tested on. Nothing is decoded or copied."""
    from video_salmonn.embedded.data.hours import parse_hours

    hours = parse_hours(speech_hours)
    from video_salmonn.embedded.data.plan import DataPlan

    plan = DataPlan(source, tuple(further), seed, scale, wordnet, held_out, hours)
    plan.check(out)
    from video_salmonn.embedded.data.build import build

    table = build(plan, out)
    if as_json:
        emit_json(table | {"out": str(out)})
        return
    for split, tasks in table["tasks"].items():
        stdout.print(f"{split}: {counted(table['items'][split], 'item')}")
        for task, count in tasks.items():
            stdout.print(f"  {count:6d} {task}")
    for name, value in table.get("speech", {}).items():
        stdout.print(f"synthetic speech, {name}: {value}")


@command.command("prepare-further")
@reports_errors
def prepare_further(
    clones: Path = typer.Option(..., "--clones", help="Folder of git clones: name, owner+name or owner/name."),
    source: Path = _SOURCE,
    out: Path = typer.Option(..., "--out", help="Folder that build-embedded takes as --further."),
    collection: list[str] = typer.Option([], "--collection", help="Only this one; repeatable."),
    as_json: bool = _JSON,
) -> None:
    """Write further real recordings and pictures out of public repositories, small. Continues where it stopped."""
    _folders(clones=clones, source=source)
    from video_salmonn.embedded.data.further.prepare import prepare

    table = prepare(clones, source, out, collection, lambda line: stderr.print(line, markup=False, soft_wrap=True))
    if as_json:
        emit_json(table | {"out": str(out)})
        return
    for name, figures in table.items():
        stdout.print(f"{figures['items']:6d} {figures['megabytes']:7.1f} MB {name}", markup=False)
        for reason in figures["failed"]:
            stdout.print(f"       cannot be used: {reason}", markup=False, soft_wrap=True)


@command.command("name-further")
@reports_errors
def name_further(
    source: Path = _SOURCE,
    further: Path = typer.Option(..., "--further", help="Folder written by prepare-further; gets names.jsonl."),
    threads: int = typer.Option(
        None, "--threads", min=1, help="That decode and ask; by default one for each processor."
    ),
    as_json: bool = _JSON,
) -> None:
    """Ask the encoders' own heads what all pictures and sounds show, for training. Names of an earlier run are kept."""
    from video_salmonn.embedded.data.sources import check_folder

    _folders(further=further)
    check_folder(source)
    import torch

    from video_salmonn.embedded.data.further.names import read_names, write_names
    from video_salmonn.embedded.data.further.sources import read_further
    from video_salmonn.embedded.data.further.teachers import name_all
    from video_salmonn.embedded.data.sources import read_sources

    torch.set_num_threads(1)
    sources = [*read_sources(source, further), *read_further(further, further)]
    failed: list[str] = []

    def report(done: int, reason: str) -> None:
        if reason:
            failed.append(reason)
            stderr.print(f"left out: {reason}", markup=False, soft_wrap=True)
        if done % 500 == 0:
            stderr.print(f"{done}", markup=False)

    count = write_names(further, name_all(sources, further, list(read_names(further)), report=report, threads=threads))
    if as_json:
        emit_json({"named": count, "left_out": failed})
    else:
        stdout.print(f"{count} named, {len(failed)} left out")


@command.command("answer-text")
@reports_errors
def answer_text(
    further: Path = typer.Option(..., "--further", help="Folder written by prepare-further; gets text/base.jsonl."),
    count: int = typer.Option(1400, "--prompts", min=1, help="How many prompts."),
    threads: int = typer.Option(1, "--threads", help="Of torch."),
    as_json: bool = _JSON,
) -> None:
    """Let the untouched language model answer prompts without media; its answers are what training keeps."""
    _folders(further=further)
    import torch

    from video_salmonn.embedded.data.build import TEXT
    from video_salmonn.embedded.data.further.text import base_answers, prompts, write_answers
    from video_salmonn.embedded.pretrained import load_language_model

    torch.set_num_threads(threads)
    model, tokenizer = load_language_model()
    pairs = base_answers(prompts(count), model, tokenizer, report=lambda done: stderr.print(f"{done} / {count}"))
    write_answers(further / TEXT, pairs)
    if as_json:
        emit_json({"prompts": count, "answers": len(pairs), "out": str(further / TEXT)})
    else:
        stdout.print(f"{counted(len(pairs), 'answer')} in {further / TEXT}", markup=False, soft_wrap=True)


command.command("speak-embedded")(data_bulk.speak_embedded)
command.command("encode-embedded")(data_bulk.encode_embedded)
command.command("time-embedded")(data_bulk.time_embedded)
command.command("pack-media")(data_bulk.pack_media)


@command.command("validate")
@reports_errors
def validate(
    manifest: Path = typer.Argument(..., help="A manifest: JSON lines."),
    decode: bool = typer.Option(False, "--decode", help="Decode every file, each in a process of its own."),
    workers: int = typer.Option(2, "--workers", min=1, help="Decoding processes."),
    as_json: bool = _JSON,
) -> None:
    """Check every line and every file of a manifest. Exit code 1 if anything is wrong."""
    from video_salmonn.data.checking import check_manifest

    account = check_manifest(manifest, decode=decode, workers=workers)
    if as_json:
        emit_json(account.to_dict())
    else:
        for label, problems in (("error", account.problems), ("warning", account.warnings)):
            for problem in problems:
                line = f", line {problem.line}" if problem.line else ""
                file = f"{problem.file}: " if problem.file else ""
                stdout.print(f"{label}: {manifest}{line}: {file}{problem.reason}", markup=False, soft_wrap=True)
        length = f", {account.decoded} decoded ({account.seconds / 3600:.2f} h)" if decode else ""
        stdout.print(
            f"{counted(account.items, 'item')}, {counted(account.files, 'file')}{length}, "
            f"{counted(len(account.problems), 'error')}"
        )
    if account.problems:
        raise typer.Exit(1)


@command.command("convert")
@reports_errors
def convert(
    source: str = typer.Argument(..., help="A JSON file; for huggingface NAME[:SPLIT] or a saved folder."),
    layout: str = typer.Option(..., "--format", help="released, llava or huggingface."),
    out: Path = typer.Option(..., "--out", help="The manifest to write."),
    media: Path | None = typer.Option(None, "--media", help="Folder that relative paths start from."),
    task: str = typer.Option("answer", "--task", help="Task of items whose source names none."),
    as_json: bool = _JSON,
) -> None:
    """Turn another format into a manifest."""
    from video_salmonn.data.manifest import write_manifest
    from video_salmonn.data.readers import Reader, read

    reader = Reader(source, task, media)
    count = write_manifest(out, _some(read(reader, layout), source, reader.left_out))
    _tell_written(out, count, dict(reader.left_out), as_json)


@command.command("prepare")
@reports_errors
def prepare(
    name: str = typer.Argument(..., help="librispeech, audiocaps, llava … (an unknown name lists them all)."),
    folder: Path = typer.Argument(..., help="Folder that the data set was unpacked into."),
    out: Path = typer.Option(..., "--out", help="The manifest to write."),
    split: str = typer.Option("train", "--split", help="Part of the data set, as its makers name it."),
    as_json: bool = _JSON,
) -> None:
    """Make a manifest of one of the paper's training sets. Nothing is copied or decoded."""
    from video_salmonn.data.manifest import write_manifest
    from video_salmonn.data.prepare import prepare as prepare_set

    layout, items = prepare_set(name, folder, split)
    count = write_manifest(out, _some(items, folder, layout.left_out))
    _tell_written(out, count, dict(layout.left_out), as_json)


@command.command("pack")
@reports_errors
def pack(
    recipe: Path = typer.Argument(..., help="A training recipe, for example recipes/tiny.yaml."),
    out: Path = typer.Option(..., "--out", help="The pack: a folder that data.features may name."),
    changes: list[str] = typer.Option([], "--set", help="Change a key of the recipe: key=value; repeatable."),
    dtype: str = typer.Option("float16", "--dtype", help="float16, bfloat16 or float32: how features are kept."),
    as_json: bool = _JSON,
) -> None:
    """Encode all media of a recipe once, so that another machine trains without them. Continues where it stopped."""
    from video_salmonn.training.recipe import load_recipe

    read = load_recipe(recipe, list(changes))
    import torch

    from video_salmonn.training.stage import pack_recipe

    kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    if dtype not in kinds:
        raise ConfigError(f"--dtype {dtype!r} is unknown", remedy=f"use one of {', '.join(kinds)}")
    began = time.monotonic()

    def progress(done: int) -> None:
        if done % 100 == 0:
            stderr.print(f"{done}, {time.monotonic() - began:.0f} s", soft_wrap=True)

    counts = pack_recipe(read, out, kinds[dtype], progress)
    if as_json:
        emit_json(counts | {"out": str(out)})
    else:
        stdout.print(f"{counts['done']} encoded, {counts['already']} were there, {counts['failed']} cannot be used")


def _some(items: Iterable[Item], source: Path | str, left_out: Mapping[str, int]) -> Iterator[Item]:
    """The items. Raises ManifestError where there is not one, before a manifest that is there is replaced."""
    count = 0
    for item in items:
        count += 1
        yield item
    if not count:
        reasons = "; ".join(f"{number} left out ({reason})" for reason, number in left_out.items())
        raise ManifestError(
            f"{source}: no items can be made of it{f': {reasons}' if reasons else ''}",
            remedy="give a file or folder of this format; docs/training.md shows each",
        )


def _folders(**given: Path) -> None:
    """Raise ConfigError for an option that names no folder, before anything heavy is imported."""
    for name, folder in given.items():
        if not folder.is_dir():
            raise ConfigError(f"--{name} {folder}: no such folder", remedy=f"give the folder as --{name}")


def _tell_written(out: Path, count: int, left_out: dict[str, int], as_json: bool) -> None:
    """Say what was written and what was left out."""
    if as_json:
        emit_json({"out": str(out), "items": count, "left_out": left_out})
        return
    stdout.print(f"{counted(count, 'item')} in {out}", markup=False, soft_wrap=True)
    for reason, number in left_out.items():
        stdout.print(f"left out: {number} ({reason})", markup=False)
