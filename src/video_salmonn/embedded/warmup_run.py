"""The embedded default's warm-up, from manifests and cached features to a connector that ``train`` starts from."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import AutoTokenizer

from video_salmonn.checkpoints.compact import compact
from video_salmonn.checkpoints.shipped import CONNECTOR_FILE
from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.data.media_keys import MediaKeys, key_name
from video_salmonn.data.media_recipes import Recipe
from video_salmonn.embedded.branches import open_branch
from video_salmonn.embedded.data.wordings import plain_name
from video_salmonn.embedded.grow import grow
from video_salmonn.embedded.pretrained import load_token_embeddings, part_directory
from video_salmonn.embedded.warmup import Utterance, Warmup, WarmupConfig, spread_positions, transcribe
from video_salmonn.errors import CheckpointError, ConfigError, MediaError
from video_salmonn.files import write_tensors
from video_salmonn.metrics.wer import wer
from video_salmonn.model.presets import embedded
from video_salmonn.training.ctc import WordHead
from video_salmonn.training.run_state import load_prefixed, read_run, read_weights

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


def _key(keys: MediaKeys, recipe: Recipe, root: Path) -> str:
    """A recipe's key; where its media can be neither listed nor read, a name that no features have."""
    try:
        return keys.key(recipe, root)
    except MediaError:
        return f"missing: {key_name(recipe)}"


def utterances(items: Sequence[Item], keys: MediaKeys, root: Path) -> list[Utterance]:
    """Every sound and picture whose words the items state (``words``), once each.

    Sound alone is speech where something is said, and a sound where something is heard; a picture alone has a name; a
    talking head is speech with its own moving pictures. What is put together of several of them is left out: the
    warm-up puts them together itself. Media that neither the store lists nor can be read get a key that has no
    features, so that whoever looks for these leaves the utterance (or its pictures) out and counts it.
    """
    found: dict[str, Utterance] = {}
    for item in items:
        words = item.extra.get("words", {})
        audio, sight = item.media.get("audio"), item.media.get("image", item.media.get("video"))
        if audio is not None and "video" in item.media and isinstance(sight, str) and words.get("said"):
            utterance = Utterance(_key(keys, audio, root), words["said"], "speech", _key(keys, sight, root))
            utterance = replace(utterance, seen=words.get("seen", ""))
        elif audio is not None and sight is None and (words.get("said") or words.get("heard")):
            text, kind = (words["said"], "speech") if words.get("said") else (words["heard"], "sound")
            if words.get("said") and words.get("heard"):
                continue  # speech over a sound: its key is of the mix
            utterance = Utterance(_key(keys, audio, root), text, kind)
        elif audio is None and isinstance(sight, str) and "image" in item.media and words.get("seen"):
            utterance = Utterance(_key(keys, sight, root), words["seen"], "picture")
        else:
            continue
        found.setdefault(f"{utterance.key}/{utterance.kind}", utterance)
    return list(found.values())


def transcripts(items: Sequence[Item], keys: MediaKeys, root: Path) -> list[Utterance]:
    """The transcription items that are sound alone, as utterances."""
    return [
        Utterance(_key(keys, item.media["audio"], root), item.answer)
        for item in items
        if item.task == "transcribe" and set(item.media) == {"audio"}
    ]


def names(items: Sequence[Item], keys: MediaKeys, root: Path) -> list[Utterance]:
    """The items that name what is heard or seen, sound or picture alone."""
    found = []
    for item in items:
        for task, medium in (("sound", "audio"), ("picture", "image")):
            if item.task == task and set(item.media) == {medium}:
                found.append(Utterance(_key(keys, item.media[medium], root), plain_name(item.answer), task))
    return found


def new_connector(
    seed: int, *, speech_only: bool = False, changes: Mapping[str, Any] | None = None
) -> MultiResolutionCausalQFormer:
    """A fresh connector of the embedded preset, made for training: spread positions, no dropout.

    Masks and pace changes on the features do what dropout would; without it attention takes torch's fused path.

    Args:
        seed: of its weights.
        speech_only: without the other branches: a third of the cost, to be grown later.
        changes: to the preset's connector, for ablations; as a recipe's ``connector``.
    """
    values = embedded().connector_config.to_dict() | {"dropout": 0.0, **(changes or {})}
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


def open_branches(
    connector: MultiResolutionCausalQFormer, store: FeatureStore, items: Sequence[Utterance], rarest: int = 5
) -> None:
    """Start the branches of pictures and sounds from what tells the training names apart (:func:`open_branch`).

    Args:
        connector: whose branches have learned nothing yet.
        store: features.
        items: with features; names that fewer than ``rarest`` of a kind have are left out.
        rarest: see ``items``.
    """
    for kind, projection in (("picture", connector.visual_projection), ("sound", connector.audio_projection)):
        count = Counter(item.text for item in items if item.kind == kind)
        place = {name: index for index, name in enumerate(sorted(name for name in count if count[name] >= rarest))}
        chosen = [item for item in items if item.kind == kind and item.text in place]
        if projection is None or len(place) < 2:
            continue
        if kind == "picture":
            rows = [store[item.tensor][0].float().mean(dim=0, keepdim=True) for item in chosen]
        else:
            rows = [store[f"{item.key}.audio"].float() for item in chosen]
        labels = [place[item.text] for item, part in zip(chosen, rows) for _ in part]
        open_branch(projection, torch.cat(rows), labels)


def export(path: Path, folder: Path, seed: int = 0, changes: Mapping[str, Any] | None = None) -> Path:
    """Write a warm-up's connector, whole (grown if need be) and in bfloat16, as ``folder/connector.safetensors``.

    Args:
        path: the run's folder, or a weights file.
        folder: created; a recipe's ``init``.
        seed: of what a grown connector has besides the speech branch.
        changes: that the warm-up was made with.

    Raises:
        CheckpointError: nothing is at ``path``, or it does not fit the embedded preset.
    """
    connector = new_connector(seed, changes=changes)
    start_from(warmed_up(path), connector)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / CONNECTOR_FILE
    write_tensors(target, {name: value.bfloat16() for name, value in connector.state_dict().items()})
    return target


def pack(path: Path, target: Path) -> Path:
    """Write a warm-up's own weights as int8 by rows: small to keep, enough to go on from."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(target, compact(warmed_up(path)))
    return target


def word_error_rate(utterances: Sequence[Utterance], texts: Sequence[str]) -> float:
    """WER of transcripts; an empty one counts as all words deleted."""
    value = wer([u.text for u in utterances], list(texts), resamples=1).value
    return float("nan") if value is None else round(value, 4)


def held_out_utterances(items: Sequence[Item], keys: MediaKeys, root: Path, features: FeatureStore) -> list[Utterance]:
    """The LibriSpeech utterances of ``dev`` or ``test`` (other speakers than training's) that have features."""
    found = transcripts([item for item in items if item.id.startswith("transcribe/librispeech:")], keys, root)
    return [utterance for utterance in found if utterance.tensor in features]


def make_head(items: Sequence[Item]) -> WordHead:
    """The head over all words that the training items state."""
    tokenizer = AutoTokenizer.from_pretrained(part_directory("smollm2-135m"))
    texts = {text for item in items for text in item.extra.get("words", {}).values() if text}
    return WordHead(load_token_embeddings(), sorted(texts), tokenizer)


def measure(path: Path, manifests: Path, store: Path, split: str, *, whole: bool = False) -> dict[str, Any]:
    """Greedy CTC WER of a warm-up on held-out LibriSpeech speakers; no language model and no lexicon take part.

    Args:
        path: the run's folder, or a weights file.
        manifests, store: as for :func:`warm_up`.
        split: ``dev`` or ``test``.
        whole: measure the full connector that a speech-only one grows into.
    """
    features, weights = FeatureStore(store), warmed_up(path)
    items = list(read_manifest(manifests / f"{split}.jsonl"))
    utterances = held_out_utterances(items, MediaKeys(store), manifests, features)
    if not utterances:
        raise ConfigError(
            f"{manifests}: no {split} utterance has features", remedy="video-salmonn data encode-embedded"
        )
    connector = new_connector(0, speech_only=is_speech_only(weights) and not whole)
    start_from(weights, connector)
    head = make_head(list(read_manifest(manifests / "train.jsonl")))
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
    changes: Mapping[str, Any] | None = None,
    device: str = "cpu",
    report: Report = print,
) -> None:
    """Run or go on with the CTC warm-up; validates on the dev speaker by greedy CTC; exports at the end.

    Args:
        manifests: folder with ``train.jsonl`` and ``dev.jsonl``.
        store: feature store.
        out: the run's folder; a run that is there goes on.
        config: see :class:`WarmupConfig`.
        start: another warm-up's folder or weights file to start from.
        speech_only, changes: see :func:`new_connector`.
        device: where to train.
        report: gets a summary of the data and every line of the metrics.
    """
    features = FeatureStore(store)
    features.hold(device)
    keys = MediaKeys(store)
    items = list(read_manifest(manifests / "train.jsonl"))
    train = utterances(items, keys, manifests)
    dev = list(read_manifest(manifests / "dev.jsonl"))
    held_out = held_out_utterances(dev, keys, manifests, features)
    unnamed: list[Utterance] = []
    if speech_only:
        config = replace(config, shares={"speech": 1})
        train = [replace(item, sight="", seen="") for item in train]
    else:
        unnamed = [item for item in names(dev, keys, manifests) if item.tensor in features]
    head = make_head(items)
    connector = new_connector(config.seed, speech_only=speech_only, changes=changes)
    weights = None if start is None else warmed_up(start)
    if weights is not None:
        start_from(weights, connector)
    if not speech_only and (weights is None or is_speech_only(weights)):
        open_branches(connector, features, [item for item in train if item.tensor in features])
    run = Warmup(connector, head, features, train, config, out, device)
    hours = round(sum(run.lengths) / 50 / 3600, 2)
    told = {"utterances": len(run.train_set), "hours": hours, "skipped": run.skipped, "held_out": len(held_out)}
    report(told | ({"without_sight": run.without_sight} if run.without_sight else {}))
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
    export(out, out / "export", config.seed, changes)
