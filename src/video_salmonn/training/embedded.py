"""The embedded default's warm-up, from manifests and cached features to a connector that ``train`` starts from."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from video_salmonn.checkpoints.assemble import CONNECTOR_FILE
from video_salmonn.checkpoints.compact import compact
from video_salmonn.checkpoints.embedded import load_token_embeddings, part_directory
from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.connector.grow import grow
from video_salmonn.data.embedded.keys import MediaKeys
from video_salmonn.data.feature_batch import collate
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.metrics.wer import wer
from video_salmonn.model.presets import embedded
from video_salmonn.training.ctc import BLANK_FILE, SHRUNK, CtcHead, plain_name
from video_salmonn.training.run_state import load_prefixed, read_run, read_weights
from video_salmonn.training.warmup import Utterance, Warmup, WarmupConfig, load_clip, spread_positions, transcribe

Report = Callable[[dict[str, Any]], None]


class Stop:
    """Becomes true at SIGTERM or SIGINT, so that a run can save and leave. A second signal acts as usual."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked


def transcripts(items: Sequence[Item], keys: MediaKeys, root: Path) -> list[Utterance]:
    """The transcription items that are sound alone, as utterances."""
    return [
        Utterance(keys.key(item.media["audio"], root), item.answer)
        for item in items
        if item.task == "transcribe" and set(item.media) == {"audio"}
    ]


def names(items: Sequence[Item], keys: MediaKeys, root: Path) -> list[Utterance]:
    """The items that name what is heard or seen, sound or picture alone."""
    found = []
    for item in items:
        for task, medium in (("sound", "audio"), ("picture", "image")):
            if item.task == task and set(item.media) == {medium}:
                found.append(Utterance(keys.key(item.media[medium], root), plain_name(item.answer), task))
    return found


def new_connector(seed: int, *, speech_only: bool = False) -> MultiResolutionCausalQFormer:
    """A fresh connector of the embedded preset, made for training: spread positions, no dropout.

    Masks and pace changes on the features do what dropout would; without it attention takes torch's fused path.

    Args:
        seed: of its weights.
        speech_only: without the other branches: a third of the cost, to be grown later.
    """
    values = embedded().connector_config.to_dict() | {"dropout": 0.0}
    if speech_only:
        values |= {"visual_dim": None, "audio_dim": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        connector = MultiResolutionCausalQFormer(ConnectorConfig.from_dict(values))
        spread_positions(connector)
    return connector


def is_speech_only(weights: dict[str, torch.Tensor]) -> bool:
    """Whether a warm-up's weights are of a speech-only connector."""
    return "connector.audio_projection.weight" not in weights


def warmed_up(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a warm-up.

    Args:
        path: the run's folder, or a weights file.

    Raises:
        CheckpointError: nothing is there, or it is damaged.
    """
    if not path.is_dir():
        return read_weights(path)
    saved = read_run(path)
    if saved is None:
        raise CheckpointError(f"{path}: no run was saved here", remedy="give a warm-up's folder or its weights file")
    return saved[1]


def start_from(weights: dict[str, torch.Tensor], connector: MultiResolutionCausalQFormer) -> None:
    """Fill a connector with a warm-up's weights; those of a speech-only one are grown into a full one.

    Raises:
        CheckpointError: they do not fit.
    """
    if is_speech_only(weights) and connector.config.audio_dim is not None:
        small = new_connector(0, speech_only=True)
        load_prefixed(small, weights, "connector.")
        grow(small, connector)
    else:
        load_prefixed(connector, weights, "connector.")


def export(path: Path, folder: Path, seed: int = 0, shrink: float = 1.0) -> Path:
    """Write a warm-up's connector, whole (grown if need be) and in bfloat16, as ``folder/connector.safetensors``.

    The CTC head's blank is written beside it, for a stage that keeps a CTC loss.

    Args:
        path: the run's folder, or a weights file.
        folder: created; a recipe's ``init``.
        seed: of what a grown connector has besides the speech branch.
        shrink: multiplies the outputs, see :func:`shrinking`; the auxiliary loss undoes it.

    Raises:
        CheckpointError: nothing is at ``path``, or it does not fit the embedded preset.
    """
    weights = warmed_up(path)
    connector = new_connector(seed)
    start_from(weights, connector)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        connector.llm_projection.weight.mul_(shrink)
        connector.llm_projection.bias.mul_(shrink)
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    save_file(head | {SHRUNK: torch.tensor(shrink)}, folder / BLANK_FILE)
    target = folder / CONNECTOR_FILE
    save_file({name: value.detach().bfloat16() for name, value in connector.state_dict().items()}, target)
    return target


@torch.inference_mode()
def shrinking(run: Warmup, items: int = 32) -> float:
    """What makes the connector's outputs as long as the language model's word embeddings.

    Peaked CTC scores take outputs several times as long (26.8 against 3.2 for SmolLM2). In the language model's
    residual stream such tokens drown what its layers add to them.

    Args:
        run: trained.
        items: of the training set to measure on.
    """
    run.connector.eval()
    lengths = []
    for item, _ in run.train_set[:: max(1, len(run.train_set) // items)][:items]:
        clip = load_clip(run.store, item, with_audio=run.connector.config.audio_dim is not None)
        output = run.connector(**vars(collate([clip]).to(run.device)))
        lengths.append(output.tokens[output.mask].norm(dim=-1).mean())
    return float(run.head.rows.norm(dim=1).mean() / torch.stack(lengths).mean())


def pack(path: Path, target: Path) -> Path:
    """Write a warm-up's own weights, connector and CTC blank, as int8 by rows: small to keep, enough to go on from."""
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(compact(warmed_up(path)), target)
    return target


def word_error_rate(utterances: Sequence[Utterance], texts: Sequence[str]) -> float:
    """WER of transcripts; an empty one counts as all words deleted."""
    value = wer([u.text for u in utterances], list(texts), resamples=1).value
    return float("nan") if value is None else round(value, 4)


def held_out_utterances(manifests: Path, split: str, features: FeatureStore) -> list[Utterance]:
    """The LibriSpeech utterances of ``dev`` or ``test`` (other speakers than training's) that have features."""
    items = [i for i in read_manifest(manifests / f"{split}.jsonl") if i.id.startswith("transcribe/librispeech:")]
    found = transcripts(items, MediaKeys(features.folder), manifests)
    return [utterance for utterance in found if f"{utterance.key}.speech" in features]


def make_head(manifests: Path) -> CtcHead:
    """The CTC head over the words of the training manifest's transcripts and names."""
    tokenizer = AutoTokenizer.from_pretrained(part_directory("smollm2-135m"))
    items = list(read_manifest(manifests / "train.jsonl"))
    texts = [item.answer for item in items if item.task == "transcribe"]
    texts += [plain_name(item.answer) for item in items if item.task in ("sound", "picture")]
    return CtcHead(load_token_embeddings(), texts, tokenizer)


def measure(path: Path, manifests: Path, store: Path, split: str, *, whole: bool = False) -> dict[str, Any]:
    """Greedy CTC WER of a warm-up on held-out LibriSpeech speakers; no language model and no lexicon take part.

    Args:
        path: the run's folder, or a weights file.
        manifests, store: as for :func:`warm_up`.
        split: ``dev`` or ``test``.
        whole: measure the full connector that a speech-only one grows into.
    """
    features, weights = FeatureStore(store), warmed_up(path)
    utterances = held_out_utterances(manifests, split, features)
    if not utterances:
        raise ConfigError(
            f"{manifests}: no {split} utterance has features", remedy="video-salmonn data encode-embedded"
        )
    connector = new_connector(0, speech_only=is_speech_only(weights) and not whole)
    start_from(weights, connector)
    head = make_head(manifests)
    load_prefixed(head, weights, "head.")
    texts = transcribe(connector.eval(), head, features, utterances)
    scored = wer([u.text for u in utterances], texts)
    examples = [{"said": u.text, "read": text} for u, text in zip(utterances[:3], texts)]
    value = {"wer": scored.value, "low": scored.low, "high": scored.high, "utterances": len(utterances)}
    return value | {
        "split": split,
        "connector": "speech" if connector.config.audio_dim is None else "whole",
        "examples": examples,
    }


def warm_up(
    manifests: Path,
    store: Path,
    out: Path,
    config: WarmupConfig,
    *,
    start: Path | None = None,
    speech_only: bool = False,
    device: str = "cpu",
    report: Report = print,
) -> None:
    """Run or go on with the CTC warm-up; validates on the dev speaker by greedy CTC WER; exports at the end.

    Args:
        manifests: folder with ``train.jsonl`` and ``dev.jsonl``.
        store: feature store.
        out: the run's folder; a run that is there goes on.
        config: see :class:`WarmupConfig`.
        start: another warm-up's folder or weights file to start from.
        speech_only: see :func:`new_connector`.
        device: where to train.
        report: gets a summary of the data and every line of the metrics.
    """
    features = FeatureStore(store)
    keys = MediaKeys(store)
    items = list(read_manifest(manifests / "train.jsonl"))
    train = transcripts(items, keys, manifests)
    held_out = held_out_utterances(manifests, "dev", features)
    unnamed: list[Utterance] = []
    if not speech_only:
        train += names(items, keys, manifests)
        unnamed = names(list(read_manifest(manifests / "dev.jsonl")), keys, manifests)
        unnamed = [item for item in unnamed if item.tensor in features]
    head = make_head(manifests)
    connector = new_connector(config.seed, speech_only=speech_only)
    if start is not None:
        weights = warmed_up(start)
        start_from(weights, connector)
        load_prefixed(head, weights, "head.")
    run = Warmup(connector, head, features, train, config, out, device)
    hours = round(sum(run.lengths) / 50 / 3600, 2)
    report({"utterances": len(run.train_set), "hours": hours, "skipped": run.skipped, "held_out": len(held_out)})
    run.resume()

    def validate() -> dict[str, float]:
        scores = {"dev_wer": word_error_rate(held_out, run.transcribe(held_out))} if held_out else {}
        for kind in ("sound", "picture"):
            items = [item for item in unnamed if item.kind == kind]
            if items:
                right = [text == item.text for item, text in zip(items, run.name(items))]
                scores[f"dev_{kind}_right"] = round(sum(right) / len(right), 4)
        return scores

    run.run(validate, Stop(), report)
    export(out, out / "export", config.seed, shrinking(run))
