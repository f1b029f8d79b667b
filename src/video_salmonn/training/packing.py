"""A recipe's features in one folder, encoded once: with it and the recipe, another machine trains without the media.

The folder is a feature store (:mod:`video_salmonn.data.feature_store`) and ``packed.json``, which says under which
key each sound and picture of the manifests stands, what could not be used and why, and which encoders made it. Training
from it needs neither media files, nor PyAV, nor the time of the encoders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from video_salmonn.data.feature_store import SHARD_BYTES, FeatureStore, FeatureWriter
from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import has_sight, has_sound
from video_salmonn.errors import CheckpointError, ConfigError, EmptyMediaError, ManifestError, MediaError
from video_salmonn.files import digest, fingerprint, write_json
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.sources import FeatureSource

INDEX = "packed.json"
STREAMS = ("visual", "speech", "audio")


@dataclass
class Packed:
    """One sight or sound of a pack.

    Attributes:
        key: of its tensors in the store; empty where it could not be used.
        sound_frames, still_frames: as in :class:`MediaFeatures`.
        audio_repeat: number of steps that each row of the sound-event features covers.
        failed: why it could not be used.
        absent: it could not be used because the file has no such stream.
    """

    key: str = ""
    sound_frames: int = 0
    still_frames: int = 0
    audio_repeat: int = 1
    failed: str = ""
    absent: bool = False


@dataclass
class Index:
    """What ``packed.json`` holds: the encoders' fingerprint, and entries by name."""

    encoders: str
    entries: dict[str, Packed] = field(default_factory=dict)


def encoders_of(model: VideoSalmonnForConditionalGeneration) -> str:
    """What features depend on, as a digest: how media are prepared, the encoders' sizes and their weights."""
    connector = model.config.connector_config
    sizes = (connector.visual_dim, connector.speech_dim, connector.audio_dim, connector.trim_padding)
    reader = ("instruction_qformer.",)  # it reads what is stored
    return fingerprint(model.tower, model.config.encoder_settings(), sizes, leave_out=reader)


def name_of(item: Item, kind: str) -> str:
    """How a manifest names a sight or sound: its path (or recipe) and the stretch wanted."""
    media = item.media
    source: Any = media.get("audio") if kind == "sound" else media.get("video", media.get("image"))
    span = [media.get("start"), media.get("end")]
    return json.dumps([kind, source, *span], sort_keys=True, ensure_ascii=False)


def read_index(folder: Path) -> Index | None:
    """The index of a pack; None where the folder is none. Raises CheckpointError where it is damaged."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Index(values["encoders"], {name: Packed(**entry) for name, entry in values["entries"].items()})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged ({error})", remedy="pack again into another folder") from error


def _write_index(folder: Path, index: Index) -> None:
    values = {"encoders": index.encoders, "entries": {name: asdict(entry) for name, entry in index.entries.items()}}
    write_json(folder / INDEX, values, indent=None)


def _rows(audio: torch.Tensor, per_frame: int) -> tuple[torch.Tensor, int]:
    """Sound-event features without repetition: rows that repeat under each frame are kept once."""
    if len(audio) % per_frame == 0:
        frames = audio.unflatten(0, (-1, per_frame))
        if bool((frames == frames[:, :1]).all()):
            return frames[:, 0].contiguous(), per_frame
    return audio, 1


def pack(
    items: Iterable[Item],
    source: FeatureSource,
    model: VideoSalmonnForConditionalGeneration,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Encode every sight and sound of ``items`` that the pack lacks. Goes on where an earlier call stopped.

    Args:
        items: of manifests.
        source: makes features.
        model: whose encoders they are.
        folder: the pack.
        dtype: that floating features are kept in.
        progress: called with the number done after each.

    Returns:
        counts: ``done``, ``already`` there, ``failed`` (kept as such, so that training counts and names them).

    Raises:
        ConfigError: the folder holds features of other encoders.
        ManifestError: two manifests call different files by one name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = read_index(folder) or Index(encoders_of(model))
    _check_encoders(index, model, folder)
    store, per_frame = FeatureStore(folder), model.connector.config.audio_tokens
    files: dict[str, Path] = {}
    counts = {"done": 0, "already": 0, "failed": 0}
    waiting: dict[str, Packed] = {}

    def settle() -> None:
        """Name what now stands in a shard."""
        index.entries.update(waiting)
        waiting.clear()
        _write_index(folder, index)

    with FeatureWriter(folder) as writer:
        for item in items:
            for kind, there in (("sight", has_sight(item)), ("sound", has_sound(item))):
                if not there:
                    continue
                name = name_of(item, kind)
                file = _file(item, kind)
                seen = name in files
                if files.setdefault(name, file) != file:
                    raise ManifestError(
                        f"{files[name]} and {file} have the same name in two manifests",
                        remedy="use absolute paths, or one manifest",
                    )
                if seen:
                    continue
                known = index.entries.get(name)
                if known is not None and not known.failed and _all_there(known, kind, store):
                    counts["already"] += 1
                    continue
                entry = waiting[name] = _packed(item, kind, source, writer, per_frame, dtype, digest(name))
                counts["failed" if entry.failed else "done"] += 1
                progress(counts["done"] + counts["failed"])
                if writer.pending_bytes >= SHARD_BYTES:
                    writer.flush()
                    settle()
    settle()
    return counts


def _file(item: Item, kind: str) -> Path:
    """Where an item's sight or sound comes from on this machine."""
    source: Any = item.media.get("audio") if kind == "sound" else item.media.get("video", item.media.get("image"))
    return (item.root / str(source)).resolve()


def _all_there(entry: Packed, kind: str, store: FeatureStore) -> bool:
    """Whether a crash lost none of an entry's tensors."""
    names = ("visual",) if kind == "sight" else ("speech", "audio")
    return any(f"{entry.key}.{name}" in store for name in names)


def _packed(
    item: Item,
    kind: str,
    source: FeatureSource,
    writer: FeatureWriter,
    per_frame: int,
    dtype: torch.dtype,
    key: str,
) -> Packed:
    try:
        features = source.sight(item) if kind == "sight" else source.sound(item)
    except MediaError as error:
        return Packed(failed=error.reason, absent=isinstance(error, EmptyMediaError))
    entry = Packed(key, features.sound_frames, features.still_frames)
    for stream in STREAMS:
        value: torch.Tensor | None = getattr(features, stream)
        if value is None:
            continue
        value = value.detach().cpu().to(dtype)
        if stream == "audio":
            value, entry.audio_repeat = _rows(value, per_frame)
        writer.put({f"{key}.{stream}": value})
    return entry


def _check_encoders(index: Index, model: VideoSalmonnForConditionalGeneration, folder: Path) -> None:
    if index.encoders != encoders_of(model):
        raise ConfigError(
            f"{folder}: these features were made by other encoders, or for other settings of media, than this model's",
            remedy="pack again into another folder, with the recipe that is trained",
        )


class PackedFeatures:
    """The features of a pack.

    Args:
        folder: written by :func:`pack`.
        model: that is trained.

    Raises:
        ConfigError: the features are another model's.
        CheckpointError: the folder is not a pack, or is damaged.
    """

    def __init__(self, folder: Path | str, model: VideoSalmonnForConditionalGeneration) -> None:
        index = read_index(Path(folder))
        if index is None:
            raise CheckpointError(f"{folder}: no {INDEX} here", remedy="video-salmonn data pack RECIPE --out FOLDER")
        _check_encoders(index, model, Path(folder))
        self.store = FeatureStore(folder)
        self.entries = index.entries

    def sight(self, item: Item) -> MediaFeatures:
        """Visual features of the item's video or picture."""
        return self._get(item, "sight")

    def sound(self, item: Item) -> MediaFeatures:
        """Sound features of the item."""
        return self._get(item, "sound")

    def frames(self, item: Item) -> int:
        """Frames of the item's sound, or else of its pictures; read from the store's headers."""
        for kind, there in (("sound", has_sound(item)), ("sight", has_sight(item))):
            entry = self.entries.get(name_of(item, kind)) if there else None
            if entry is None or entry.failed:
                continue
            if kind == "sound":
                return entry.sound_frames
            return entry.still_frames or self.store.shape(f"{entry.key}.visual")[0]
        return 0

    def _get(self, item: Item, kind: str) -> MediaFeatures:
        entry = self.entries.get(name_of(item, kind))
        if entry is None:
            raise MediaError(item.id, f"its {kind} is not in the pack", remedy="pack again with this manifest")
        if entry.failed:
            raise (EmptyMediaError if entry.absent else MediaError)(item.id, entry.failed)
        streams: dict[str, torch.Tensor] = {}
        for stream in ("visual",) if kind == "sight" else ("speech", "audio"):
            if f"{entry.key}.{stream}" in self.store:
                streams[stream] = self.store[f"{entry.key}.{stream}"]
        if "audio" in streams:
            streams["audio"] = streams["audio"].repeat_interleave(entry.audio_repeat, dim=0)
        return MediaFeatures(**streams, sound_frames=entry.sound_frames, still_frames=entry.still_frames)
