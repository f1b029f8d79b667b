"""Encoding with the real encoders: processes change nothing, what is half there is made again, failures are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.embedded.data.encode import Job, encode
from video_salmonn.errors import MissingPartError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def jobs():
    clips = sorted((ROOT / "examples" / "grid").glob("*.mp4"))[:2]
    names = [str(clip.relative_to(ROOT)) for clip in clips]
    recipe = {"layers": [{"file": names[0], "speed": 1.1}, {"noise": "white", "seed": 1, "level": -50}]}
    return [Job("sound", names[0]), Job("sound", recipe), Job("visual", names[1])]


@pytest.fixture(scope="module")
def stores(jobs, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("features") for _ in range(2)]
    try:
        counts = [encode(jobs, ROOT, folder, workers=workers) for folder, workers in zip(folders, (0, 2))]
    except MissingPartError as error:
        pytest.skip(f"the embedded model's parts are not installed: {error}")
    assert counts == [{"done": 3, "already": 0, "failed": 0}] * 2
    return folders


def test_processes_change_nothing(stores):
    alone, helped = (FeatureStore(folder) for folder in stores)
    assert set(alone._where) == set(helped._where) and len(alone) == 5
    for key in alone._where:
        assert torch.equal(alone[key], helped[key]), key


def test_what_is_half_there_is_made_again(stores, jobs, tmp_path):
    whole = FeatureStore(stores[0])
    key = next(name.split(".")[0] for name in whole._where if name.endswith(".speech"))
    with FeatureWriter(tmp_path) as writer:
        writer.put({f"{key}.speech": whole[f"{key}.speech"]})
    heard: list[float] = []
    found = encode([job for job in jobs if job.kind == "sound"], ROOT, tmp_path, heard=heard.append)
    assert found == {"done": 2, "already": 0, "failed": 0}
    assert 4 < sum(heard) < 8, "seconds of sound that were encoded"
    assert f"{key}.audio" in FeatureStore(tmp_path)


def test_media_that_cannot_be_decoded_are_named(stores, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    found = encode([Job("sound", "broken.wav")], tmp_path, tmp_path / "features", workers=1)
    assert found == {"done": 0, "already": 0, "failed": 1}
    assert "broken.wav" in (tmp_path / "features" / "failed.txt").read_text()


def test_a_file_that_is_gone_costs_its_own_features_only(jobs, stores, tmp_path):
    found = encode([Job("visual", "gone.png"), jobs[0], Job("sound", "gone.wav")], ROOT, tmp_path)
    assert found == {"done": 1, "already": 0, "failed": 2}
    told = (tmp_path / "failed.txt").read_text()
    assert "gone.png" in told and "gone.wav" in told and "No such file" in told
    assert encode([Job("visual", "gone.png")], ROOT, tmp_path) == {"done": 0, "already": 0, "failed": 1}
