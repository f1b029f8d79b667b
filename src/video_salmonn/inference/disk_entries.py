"""Encoded media that outlive the process: a feature store for each model, below one folder of a bounded size."""

from __future__ import annotations

import logging
from pathlib import Path

from video_salmonn.cache import Cache, Entry
from video_salmonn.data.feature_index import FORMAT
from video_salmonn.data.feature_store import SHARD_BYTES, FeatureStore, trim
from video_salmonn.errors import CheckpointError
from video_salmonn.files import digest

logger = logging.getLogger(__name__)
STREAMS = ("visual", "speech", "audio", "loudness")
"""Tensors of an entry."""


class DiskEntries:
    """Entries of one model in a cache's folder, each on disk as soon as it was put.

    The folder may be shared by models, which have a store each, and by processes. Whatever is wrong with it costs time,
    not the answer: damaged shards are deleted, and what cannot be read or written is logged.

    Args:
        cache: whose folder and bound they are.
        model_key: tells this model's features from others'.
    """

    def __init__(self, cache: Cache, model_key: str) -> None:
        assert cache.folder is not None
        self.root, self.most_bytes = Path(cache.folder), cache.disk_bytes
        self.store = FeatureStore(
            self.root / digest(FORMAT, model_key)[:16],
            {"encoders": model_key},
            shard_bytes=min(SHARD_BYTES, self.most_bytes // 8),
            disposable=True,
        )
        if any(self.root.glob("[0-9a-f][0-9a-f]/*.safetensors")):
            logger.warning(
                "%s: features that an earlier version kept there are no longer used; delete its folders of two letters",
                self.root,
            )

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""
        names = {stream: f"{key}.{stream}" for stream in STREAMS}
        for again in (False, True):  # another process may have written it
            if again:
                self.store.refresh()
            try:
                tensors = {stream: self.store[name] for stream, name in names.items() if name in self.store}
            except CheckpointError:  # deleted meanwhile
                continue
            if tensors:
                return Entry(tensors, self.store.facts(key))
        return None

    def put(self, key: str, entry: Entry) -> None:
        """Write an entry."""
        tensors = {f"{key}.{stream}": tensor.detach().cpu() for stream, tensor in entry.tensors.items()}
        try:
            self.store.put(tensors, {key: entry.facts})
            self.store.flush()
            if trim(self.root, self.most_bytes):
                self.store.refresh()
        except (OSError, CheckpointError) as error:  # a full disk costs time later, not the answer now
            logger.warning("%s: cannot keep an entry in the cache (%s)", self.root, error)
