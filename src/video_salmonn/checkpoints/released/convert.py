"""Convert the official files to a model directory: plan, check, write shard by shard, and put in place at the end.

The directory appears complete or not at all. Nothing is random in it, and what was left out is written down in it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from video_salmonn.checkpoints.released.files import read_headers
from video_salmonn.checkpoints.released.given import ReleasedFiles
from video_salmonn.checkpoints.released.plan import ConversionPlan, plan_conversion
from video_salmonn.checkpoints.released.report import RECORD, differences, record
from video_salmonn.checkpoints.shards import SHARD_BYTES, Planned, write_shards
from video_salmonn.checkpoints.tokenizers import bert_tokenizer, llm_tokenizer
from video_salmonn.errors import CheckpointError
from video_salmonn.files import settle_modes
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.resources.cost import build_on_meta

Progress = Callable[[str], None]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def convert(
    files: ReleasedFiles,
    out: Path,
    *,
    dtype: str = "float16",
    settings: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Convert.

    Args:
        files: the official files.
        out: directory to make; must not exist, or be empty.
        dtype: ``float16`` (what the release computes in), ``bfloat16`` or ``float32``.
        settings: see :func:`released_config`.
        dry_run: plan and check names and shapes from headers; read no numbers and write nothing.
        shard_bytes: largest shard; twice this is the memory needed.
        progress: gets a line now and then.

    Returns:
        the report that ``--json`` prints.

    Raises:
        CheckpointError: a file or tensor does not fit, or ``out`` cannot be written.
        ConfigError: impossible settings.
        MissingPartError: the tokenizer needs a library that is not installed.
    """
    _refuse_existing(out)
    target = DTYPES[dtype]
    progress("reading headers")
    plan = plan_conversion(read_headers(files), settings)
    tokenizer, notes = llm_tokenizer(files.llm, plan.vocabulary)
    vocabulary = plan.config.qformer_config.vocab_size
    own = files.bert_tokenizer or (files.instructblip_hf and files.instructblip_hf / "qformer_tokenizer")
    bert = bert_tokenizer(own, vocabulary)
    report = account(plan, target)
    report["notes"] += notes
    report |= {"out": str(out), "dry_run": dry_run, "dtype": dtype, "new": files.delta is None}
    if not report["new"] and (other := differences(plan.config)):
        report["notes"].append(other)
    if report["new"]:
        report["notes"].append("connector and adapter are new: the model has to be trained before it says anything")
    if dry_run:
        report["notes"].append("dry run: names, shapes and dtypes were checked; numbers, aliases and hashes were not")
        return report
    _need_space(out.parent, report["bytes"])
    work = _workplace(out)
    try:
        _write(plan, work, target, (tokenizer, bert), shard_bytes, report, progress)
        if out.is_dir():
            out.rmdir()
        settle_modes(work)
        work.rename(out)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{out}: cannot be written ({error})", remedy="free some space, or choose another place"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def account(plan: ConversionPlan, dtype: torch.dtype) -> dict[str, Any]:
    """What a plan amounts to, JSON-ready."""
    parts: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for target in plan.targets:
        part = (
            "lora"
            if ".lora_" in target.name
            else ".".join(target.name.split(".")[: 2 if target.name.startswith("tower.") else 1])
        )
        parts[part] += torch.Size(target.shape).numel()
        tensors[part] += 1
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for drop in plan.dropped:
        reasons[drop.reason, str(drop.ref.file.path)].append(drop.ref.name)
    return {
        "parameters": dict(parts) | {"total": sum(parts.values())},
        "tensors": dict(tensors) | {"total": len(plan.targets)},
        "bytes": sum(parts.values()) * dtype.itemsize,
        "aliases": [
            {"tensor": alias.second.name, "equals": alias.first.name, "file": str(alias.second.file.path)}
            for alias in plan.aliases
        ],
        "dropped": [
            {"reason": reason, "file": file, "count": len(found), "tensors": found}
            for (reason, file), found in reasons.items()
        ],
        "sources": [
            {"file": str(f.path), "bytes": f.path.stat().st_size, "tensors": len(f.refs), "sha256": None}
            for f in plan.files
        ],
        "notes": [note for file in plan.files for note in file.notes],
    }


def _write(
    plan: ConversionPlan,
    work: Path,
    dtype: torch.dtype,
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    shard_bytes: int,
    report: dict[str, Any],
    progress: Progress,
) -> None:
    """Everything of the model directory, into the folder ``work``."""
    for file, line in zip(plan.files, report["sources"]):
        progress(f"hashing {file.path.name}")
        line["sha256"] = file.sha256()
    with torch.no_grad():
        for alias in plan.aliases:
            alias.check()
        _release(plan)

        def after(done: int, total: int) -> None:
            _release(plan)
            progress(f"shard {done} of {total}")

        planned = [
            Planned(
                one.name,
                torch.Size(one.shape).numel() * dtype.itemsize,
                lambda one=one: one.make(dtype),  # type: ignore[misc]
            )
            for one in plan.targets
        ]
        shards = write_shards(planned, work, limit=shard_bytes, after_shard=after)
    report["shards"] = len(shards)
    config = plan.config
    config.dtype = dtype
    text: Any = config.text_config
    text.dtype = dtype  # else the language model's own file would say what it is no more
    config.architectures = ["VideoSalmonnForConditionalGeneration"]
    config.save_pretrained(work)
    build_on_meta(config).generation_config.save_pretrained(work)
    VideoSalmonnProcessor.from_config(config, *tokenizers).save_pretrained(work)
    (work / RECORD).write_text(record(report, config), encoding="utf-8")


def _release(plan: ConversionPlan) -> None:
    for file in plan.files:
        file.release()


def _refuse_existing(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: is there already", remedy="choose another --out, or remove it first")


def _workplace(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be written ({error})", remedy="choose another --out") from error


def _need_space(folder: Path, needed: int) -> None:
    """Refuse before the work and not in the middle of it. Raises CheckpointError."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed", remedy="choose another --out"
        )
